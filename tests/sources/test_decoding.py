"""Bytes to lines: whole lines whatever the chunks, and the exact place of a wrong byte."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gingham.errors import SourceError
from gingham.sources import decoding


def lines(data: bytes, encoding: str | None = None) -> list[str]:
    return list(decoding.decoded_lines(io.BytesIO(data), "f", encoding, lambda _: None))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\ufeff")), st.integers(1, 9))
def test_lines_do_not_depend_on_chunks(text: str, chunk: int) -> None:
    whole = decoding._CHUNK
    try:
        decoding._CHUNK = chunk
        assert lines(text.encode()) == list(io.StringIO(text, newline="\n"))
    finally:
        decoding._CHUNK = whole


@pytest.mark.parametrize("encoding", [None, "utf-8", "UTF8", "utf-16"])
def test_byte_order_mark_is_dropped(encoding: str | None) -> None:
    data = "a\nb".encode("utf-16" if encoding == "utf-16" else "utf-8-sig")
    assert lines(data, encoding) == ["a\n", "b"]
    assert decoding.decoded(data, "f", encoding) == "a\nb"


@pytest.mark.parametrize("lead", [0, 3, 1 << 16, (1 << 16) - 1, (1 << 17) + 5])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_place_of_a_wrong_byte(lead: int, mark: bytes) -> None:
    data = mark + b"first\n" + b"x" * lead + b"\n" + "Zoë".encode("latin-1") + b"\n"
    position = data.index(b"\xeb")
    expected = (
        f"f, line 3: not UTF-8 (byte 0xeb at position {position}); convert the file, or name "
        "its encoding: gingham add --encoding latin-1"
    )
    with pytest.raises(SourceError) as streamed:
        lines(data)
    with pytest.raises(SourceError) as whole:
        decoding.decoded(data, "f", None)
    assert str(streamed.value) == str(whole.value) == expected


def test_truncated_character_at_the_end() -> None:
    with pytest.raises(SourceError, match=r"f, line 2: not UTF-8 \(byte 0xc3 at position 3\)"):
        lines(b"ab\n\xc3")


def test_utf_16_is_guessed_in_the_remedy() -> None:
    with pytest.raises(SourceError, match="--encoding utf-16"):
        lines("text".encode("utf-16"))


def test_wrong_encoding_named_by_the_user() -> None:
    with pytest.raises(SourceError, match=r"not ascii .*--encoding utf-8"):
        lines("é".encode(), "ascii")


def test_unknown_encoding() -> None:
    with pytest.raises(SourceError, match="unknown encoding 'klingon'"):
        decoding.check_encoding("klingon")


def test_advance_counts_every_byte() -> None:
    read: list[int] = []
    list(decoding.decoded_lines(io.BytesIO(b"a\n" * 100_000), "f", None, read.append))
    assert sum(read) == 200_000
