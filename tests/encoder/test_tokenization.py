"""Spans point at the text that the caller gave, whatever is in it."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gingham import Encoder, InputError
from gingham.encoder import tokenization

pytestmark = pytest.mark.parity
relaxed = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# Everything a str can hold, lone surrogates included, with the alphabet of the tiny vocabulary
# often enough to be met.
anything = st.text(
    st.one_of(
        st.sampled_from("the tide rises, TWICE a day! 漢字é\u0301😀👩\u200d👧\n\0[MASK]"),
        st.characters(codec=None, exclude_categories=()),
    ),
    max_size=80,
)


def words(encoder: Encoder, text: str) -> list[tuple[str, str]]:
    """Each token of a document with the characters that its span holds."""
    tokens = encoder.tokenize_documents(text)
    return [
        (encoder.token_text(int(token)), text[start:end])
        for token, (start, end) in zip(tokens.token_ids, tokens.spans.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the tide", [("the", "the"), ("tide", "tide")]),
        ("  The, TIDE!", [("the", "The"), ("tide", "TIDE")]),
        ("😀 sea", [("😀", "😀"), ("sea", "sea")]),
        ("👩\u200d👩\u200d👧 sea", [("[UNK]", "👩\u200d👩\u200d👧"), ("sea", "sea")]),
        ("漢字 sea", [("漢", "漢"), ("字", "字"), ("sea", "sea")]),
        ("cafe\u0301 sea", [("cafe", "cafe"), ("sea", "sea")]),  # BERT drops the accent
        ("caf\u00e9 sea", [("cafe", "caf\u00e9"), ("sea", "sea")]),
        ("\x00the\x00 \ud800 sea", [("the", "the"), ("sea", "sea")]),
        ("un[MASK]able", [("un", "un"), ("[MASK]", "[MASK]"), ("able", "able")]),
        ("unbelievable", [("un", "un"), *((f"##{c}", c) for c in "believ"), ("##able", "able")]),
    ],
)
def test_spans_hold_the_words(encoder: Encoder, text: str, expected: list[tuple[str, str]]) -> None:
    found = words(encoder, text)
    assert found[:2] == [("[CLS]", ""), ("[unused1]", "")]
    assert found[-1] == ("[SEP]", "")
    assert found[2:-1] == expected


@relaxed
@given(text=anything)
def test_spans_are_in_range_and_in_order(encoder: Encoder, text: str) -> None:
    for tokens in (encoder.tokenize_documents(text), encoder.tokenize_queries(text)):
        spans = tokens.spans
        assert spans.dtype == np.int32
        assert ((spans[:, 0] >= 0) & (spans[:, 0] <= spans[:, 1])).all()
        assert (spans[:, 1] <= len(text)).all()
        inner = spans[spans[:, 1] > 0]
        assert (np.diff(inner[:, 0]) >= 0).all()
        assert (np.diff(inner[:, 1]) >= 0).all()


@relaxed
@given(text=anything)
def test_a_span_tokenises_to_its_token(encoder: Encoder, text: str) -> None:
    for token, piece in words(encoder, text):
        if not piece or token == "[UNK]":
            continue
        again = [
            name.removeprefix("##") for name, characters in words(encoder, piece) if characters
        ]
        # A piece from the middle of a word may be split further when it stands alone.
        assert "".join(again) == token.removeprefix("##") or "[UNK]" in again


@relaxed
@given(text=anything)
def test_vectors_have_the_tokens_of_tokenize(encoder: Encoder, text: str) -> None:
    for tokens, vectors in (
        (encoder.tokenize_documents(text), encoder.encode_documents(text)),
        (encoder.tokenize_queries(text), encoder.encode_queries(text)),
    ):
        assert vectors.token_ids is not None
        assert vectors.spans is not None
        np.testing.assert_array_equal(tokens.token_ids, vectors.token_ids)
        np.testing.assert_array_equal(tokens.spans, vectors.spans)
        np.testing.assert_array_equal(tokens.offsets, vectors.offsets)


def test_a_query_is_filled_with_masks_that_stand_for_no_characters(encoder: Encoder) -> None:
    tokens = encoder.tokenize_queries(["the tide", "why"])
    assert tokens.offsets.tolist() == [0, 12, 24]
    assert tokens.token_ids.dtype == np.uint32
    names = [encoder.token_text(int(token)) for token in tokens.token_ids[:12]]
    assert names == ["[CLS]", "[unused0]", "the", "tide", "[SEP]", *["[MASK]"] * 7]
    assert tokens.spans[:12].tolist() == [[0, 0], [0, 0], [0, 3], [4, 8], *[[0, 0]] * 8]


def test_punctuation_of_documents_has_no_vector_that_of_queries_has(encoder: Encoder) -> None:
    assert [name for name, _ in words(encoder, "the, tide.")][2:-1] == ["the", "tide"]
    names = [encoder.token_text(int(t)) for t in encoder.tokenize_queries("the, tide.").token_ids]
    assert names[2:6] == ["the", ",", "tide", "."]


def test_a_long_text_is_cut_and_keeps_its_end_mark(encoder: Encoder) -> None:
    tokens = encoder.tokenize_documents("the tide " * 100)
    assert len(tokens.token_ids) == encoder.document_length == 24
    assert encoder.token_text(int(tokens.token_ids[-1])) == "[SEP]"
    assert tokens.spans[-2:].tolist() == [[90, 93], [0, 0]]
    query = encoder.tokenize_queries("the tide " * 100)
    assert len(query.token_ids) == encoder.query_length == 12


@pytest.mark.parametrize(
    "text",
    [
        "the tide " * 10_000,
        " " * 50_000 + "the tide " * 10_000,
        "x" * 50_000 + " tide" * 100,
        "the " * 8 + "x" * 50_000 + " tide" * 100,
        "\n".join(["tide"] * 10_000),
    ],
)
def test_the_head_of_a_book_has_the_tokens_of_the_book(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    head = encoder.tokenize_documents(text)
    monkeypatch.setattr(tokenization, "_CHARACTERS_OF_A_TOKEN", 10**9)
    whole = encoder.tokenize_documents(text)
    np.testing.assert_array_equal(head.token_ids, whole.token_ids)
    np.testing.assert_array_equal(head.spans, whole.spans)


def test_every_character_of_unicode_survives(encoder: Encoder) -> None:
    text = "".join(
        chr(i) for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i)) != "Cn"
    )
    tokens = encoder.tokenize_documents([text[i : i + 20] for i in range(0, len(text), 20)])
    assert (tokens.spans <= 20).all()


def test_no_texts_have_no_tokens(encoder: Encoder) -> None:
    tokens = encoder.tokenize_documents([])
    assert len(tokens) == 0
    assert tokens.offsets.tolist() == [0]
    assert tokens.spans.shape == (0, 2)


def test_a_token_that_does_not_exist(encoder: Encoder) -> None:
    for token in (-1, 10**6):
        with pytest.raises(InputError, match=f"no token {token}"):
            encoder.token_text(token)
