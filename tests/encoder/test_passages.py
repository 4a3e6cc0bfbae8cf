"""Passages fit the model, index the text exactly, and lose nothing but white space."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gingham import Encoder, InputError
from gingham.encoder import passages
from gingham.encoder.tokenization import printable

pytestmark = pytest.mark.parity
MARKERS = 3  # [CLS], the marker and [SEP]
CAPACITY = 24 - MARKERS


def check(
    encoder: Encoder, text: str, *, length: int = 24, titled: bool = False
) -> list[tuple[int, int]]:
    """Split, and check what every result must be."""
    spans = encoder.split(text, length=length, titled=titled)
    assert spans
    ends = [0]
    for start, end in spans:
        assert ends[-1] <= start < end <= len(text) or not text
        assert not text[ends[-1] : start].strip()
        ends.append(end)
        [encoded] = encoder.passage_texts(text, [(start, end)], length=length, titled=titled)
        assert encoded.endswith(text[start:end])
        piece = printable(encoded)
        tokens = encoder._tokenization.tokenizer.encode(piece, add_special_tokens=False)
        assert len(tokens) <= min(length, 24) - MARKERS
    assert not text[ends[-1] :].strip()
    return spans


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    text=st.lists(
        st.one_of(
            st.sampled_from(["the tide rises. ", "\n\n", "\n", "漢字", "e\u0301", "😀", "a" * 30]),
            st.text(st.characters(codec=None, exclude_categories=()), max_size=10),
        ),
        max_size=60,
    ).map("".join)
)
def test_passages_cover_everything_and_fit(encoder: Encoder, text: str) -> None:
    check(encoder, text)
    check(encoder, text, length=11, titled=True)
    check(encoder, f"A sea\n{text}", titled=True)


def test_a_text_that_fits_is_not_split(encoder: Encoder) -> None:
    for text in ("the tide", " \n the\n\n tide \n", " ".join(["sea"] * CAPACITY)):
        assert encoder.split(text) == [(0, len(text))]
    assert len(encoder.split(" ".join(["sea"] * (CAPACITY + 1)))) == 2


@pytest.mark.parametrize("text", ["", " ", "\n\n\t", "\u2003" * 1000, " " * 100_000])
def test_a_blank_text_is_one_passage(encoder: Encoder, text: str) -> None:
    assert encoder.split(text) == [(0, len(text))]


def test_paragraphs_are_kept_together(encoder: Encoder) -> None:
    paragraph = "the tide rises twice a day of water"
    text = "\n\n".join([paragraph] * 4)
    assert {text[start:end] for start, end in encoder.split(text)} <= {
        paragraph,
        f"{paragraph}\n\n{paragraph}",
    }


LONG = "the moon pulls the sea " * 12


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("The tides\n" + LONG, "The tides"),
        ("\n # The tides \r\n\r\nthe moon\n", "The tides"),
        ("the tides of the sea .\n" + LONG, "the tides of the sea ."),
        ("The tides\nThe moon pulls\n" + LONG, "The tides"),
        ("潮\n漢字\n" + LONG, "潮"),
        ("The tides rise because the moon\npulls at the sea\n" + LONG, ""),
        (LONG, ""),
        (LONG * 5 + "\nThe end", ""),
        ("=====\nThe tides\n" + LONG, ""),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_the_first_line_is_the_title_unless_the_second_goes_on(text: str, title: str) -> None:
    assert text[slice(*passages.title_span(text))] == title


@pytest.mark.parametrize("title", ["The tides", "## The tides", " The sea "])
def test_a_passage_has_the_title_of_its_text_in_front(encoder: Encoder, title: str) -> None:
    text = f"{title}\nThe moon pulls. " + LONG
    spans = check(encoder, text, titled=True)
    first, *others = encoder.passage_texts(text, spans, titled=True)
    assert len(others) > 1
    assert first == text[slice(*spans[0])]
    for passage, (start, end) in zip(others, spans[1:], strict=True):
        assert passage == f"{title.strip(' #')}\n{text[start:end]}"
    assert encoder.passage_texts(text, spans) == [text[start:end] for start, end in spans]


@pytest.mark.parametrize("heading", ["# The tides", "The tides"])
def test_a_heading_is_no_passage_of_its_own(encoder: Encoder, heading: str) -> None:
    text = f"{heading}\n\nThe moon pulls. " + LONG
    assert text[slice(*encoder.split(text)[0])] == heading
    first = check(encoder, text, titled=True)[0]
    assert text[slice(*first)].startswith(f"{heading}\n\nThe moon pulls.")


def test_a_title_that_would_fill_passages_is_not_repeated(encoder: Encoder) -> None:
    for words, repeated in ((4, True), (6, False)):
        text = " ".join(["Tide"] * words) + "\n\n" + LONG
        spans = check(encoder, text, titled=True)
        last = encoder.passage_texts(text, spans, titled=True)[-1]
        assert last.startswith("Tide") is repeated
        if not repeated:
            assert spans == encoder.split(text)


def test_passages_are_as_long_as_is_asked_or_as_the_model_takes(encoder: Encoder) -> None:
    counts = [len(check(encoder, LONG, length=length)) for length in (4, 8, 12, 24, 1000)]
    assert counts == sorted(counts, reverse=True)
    tokens = encoder._tokenization.tokenizer.encode(LONG, add_special_tokens=False)
    assert counts[0] == len(tokens)
    assert encoder.split(LONG, length=1000) == encoder.split(LONG, length=24) == encoder.split(LONG)
    for length in (3, 1):
        with pytest.raises(InputError, match=f"a passage of {length} tokens has no room for text"):
            encoder.split(LONG, length=length)
    with pytest.raises(InputError, match="length must be a whole number of at least 1, got 0"):
        encoder.passage_texts(LONG, [(0, 3)], length=0)


@pytest.mark.parametrize("separator", ["\n\n", " ", ""])
def test_a_book_is_cut_into_pieces_first(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, separator: str
) -> None:
    monkeypatch.setattr(passages, "_PIECE", 500)
    text = separator.join(["the tide rises twice a day"] * 200)
    check(encoder, text)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_title_stays_with_the_text_below_it(encoder: Encoder, end: str) -> None:
    text = "The tides" + end + "The moon pulls the sea. " * 12
    first = check(encoder, text)[0]
    assert first[0] == 0
    assert "moon" in text[slice(*first)]


@pytest.mark.parametrize("threads", [1, 3])
def test_many_are_split_as_one(colbert: Path, threads: int) -> None:
    encoder = Encoder(colbert, threads=threads)
    texts = ["the tide. " * n for n in (0, 1, 90, 7, 400)] + ["\n\n", "漢字 😀", " tide"] * 20
    texts.append("The tides\n" + LONG)
    assert encoder.split_many(texts, titled=True)[-1] == encoder.split(texts[-1], titled=True)
    expected = [encoder.split(text) for text in texts]
    assert encoder.split_many(texts) == expected
    assert encoder.split_many(tuple(texts[2:3])) == expected[2:3]
    assert encoder.split_many([]) == []
    with pytest.raises(InputError, match="is a bytes, not a str"):
        encoder.split_many(["the tide", b"the tide"])  # type: ignore[list-item]


@pytest.mark.slow
def test_a_megabyte_takes_seconds(encoder: Encoder) -> None:
    text = "the tide rises twice a day, why does the sea? " * 20_000
    started = time.perf_counter()
    spans = encoder.split(text)
    assert time.perf_counter() - started < 60
    assert spans[-1][1] == len(text.rstrip())


def test_only_text_is_split(encoder: Encoder) -> None:
    with pytest.raises(InputError, match="is a bytes, not a str"):
        encoder.split(b"the tide")  # type: ignore[arg-type]
