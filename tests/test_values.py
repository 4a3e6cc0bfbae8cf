"""The values that go in and come out: TokenVectors keeps its promises, highlights merge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gingham import DimensionError, Explanation, InputError, TokenMatch, TokenVectors
from gingham.codec import scalar
from support import random_vectors

lengths = st.lists(st.integers(0, 5), min_size=1, max_size=8)


@given(lengths=lengths)
def test_packing_and_unpacking_are_inverse(lengths: list[int]) -> None:
    vectors = random_vectors(lengths, dim=3)
    again = TokenVectors.from_arrays(list(vectors))
    assert np.array_equal(again.values, vectors.values)
    assert np.array_equal(again.offsets, vectors.offsets)
    assert len(again) == len(lengths)
    assert [len(text) for text in again] == lengths


@given(lengths=lengths, data=st.data())
def test_slices_and_concatenation_are_inverse(lengths: list[int], data: st.DataObject) -> None:
    vectors = random_vectors(lengths, dim=2)
    cut = data.draw(st.integers(0, len(lengths)))
    joined = TokenVectors.concatenate([vectors[:cut], vectors[cut:]])
    assert np.array_equal(joined.values, vectors.values)
    assert np.array_equal(joined.offsets, vectors.offsets)


def test_one_text_is_a_view() -> None:
    vectors = random_vectors([2, 3, 1])
    assert np.shares_memory(vectors[1], vectors.values)
    assert np.array_equal(vectors[-1], vectors.values[5:])
    with pytest.raises(IndexError):
        vectors[3]
    with pytest.raises(InputError, match="step"):
        vectors[::2]


VALUES = np.zeros((3, 2), dtype=np.float32)
OFFSETS = np.array([0, 1, 3], dtype=np.int64)


@pytest.mark.parametrize(
    ("values", "offsets", "ids", "spans"),
    [
        (VALUES.astype(np.float64), OFFSETS, None, None),
        (VALUES[0], OFFSETS, None, None),
        (VALUES, OFFSETS.astype(np.int32), None, None),
        (VALUES, OFFSETS[1:], None, None),
        (VALUES, OFFSETS[:-1], None, None),
        (VALUES, OFFSETS[:0], None, None),
        (VALUES, np.array([0, 2, 1, 3]), None, None),
        (VALUES, OFFSETS, np.zeros(2, dtype=np.uint32), None),
        (VALUES, OFFSETS, None, np.zeros((3, 3), dtype=np.int32)),
        ([[1.0]], OFFSETS, None, None),
    ],
)
def test_broken_vectors_are_refused(
    values: np.ndarray, offsets: np.ndarray, ids: np.ndarray, spans: np.ndarray
) -> None:
    with pytest.raises(InputError):
        TokenVectors(values, offsets, ids, spans)


def test_dimensions_must_agree() -> None:
    with pytest.raises(DimensionError):
        TokenVectors.from_arrays([np.zeros((1, 2)), np.zeros((1, 3))])
    with pytest.raises(DimensionError):
        TokenVectors.concatenate([random_vectors([1], dim=2), random_vectors([1], dim=3)])
    with pytest.raises(InputError):
        TokenVectors.from_arrays([])


def test_int8_keeps_each_component_within_half_a_scale() -> None:
    values = random_vectors([50], dim=128).values
    codes, scales = scalar.encode(values, "int8")
    assert scales is not None
    error = np.abs(values - codes * scales[:, None])
    assert (error <= scales[:, None] * 0.5001).all()
    zero, zero_scale = scalar.encode(np.zeros((1, 4), dtype=np.float32), "int8")
    assert not zero.any()
    assert zero_scale is not None
    assert zero_scale[0] == 0


def match(query: tuple[int, int], document: tuple[int, int], score: float) -> TokenMatch:
    return TokenMatch("q", query, "d", document, score, 0)


def test_highlights_merge_and_leave_out_markers_and_weak_matches() -> None:
    matches = (
        match((0, 3), (10, 14), 0.9),
        match((4, 6), (14, 18), 0.7),  # touches the one before
        match((0, 0), (30, 35), 0.99),  # [MASK]
        match((7, 9), (0, 0), 0.99),  # answered by a marker
        match((7, 9), (40, 44), 0.3),  # weak
        match((7, 9), (2, 5), 0.8),
    )
    explanation = Explanation("id", "query", "text", (0, 50), 4.0, matches)
    assert explanation.highlights() == [(2, 5, 0.8), (10, 18, 0.9)]
    assert (40, 44, 0.3) in explanation.highlights(minimum=0.2)
