"""The compiled bodies, each that this machine runs, against the NumPy reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gingham import kernels
from gingham.document import TokenVectors
from gingham.errors import DimensionError, InputError

SETS = kernels.instruction_sets()
TYPES = ("float32", "float16", "int8")
Array = npt.NDArray[Any]


def stored(values: npt.NDArray[np.float32], kind: str) -> tuple[Array, Array | None]:
    """Values as a segment stores them, and the scales of int8."""
    if kind != "int8":
        return values.astype(kind), None
    scales = np.abs(values).max(axis=1, initial=0).astype(np.float32) / np.float32(127)
    codes = np.rint(values / np.where(scales == 0, 1, scales)[:, None]).astype(np.int8)
    return codes, scales


def drawn(
    seed: int, lengths: list[int], n_query: int, dim: int, kind: str, shift: float = 0.0
) -> tuple[npt.NDArray[np.float32], Array, npt.NDArray[np.int64], Array | None]:
    """A query, and documents of the given lengths; a negative shift makes similarities negative."""
    random = np.random.default_rng(seed)
    query = random.standard_normal((n_query, dim), dtype=np.float32) - np.float32(shift)
    values = random.standard_normal((sum(lengths), dim), dtype=np.float32) + np.float32(shift)
    codes, scales = stored(values, kind)
    return query, codes, np.cumsum([0, *lengths]).astype(np.int64), scales


def assert_equal(found: Array, expected: Array, kind: str, dim: int, n_query: int) -> None:
    assert found.dtype == np.float32
    if kind == "int8":
        assert found.tobytes() == expected.tobytes()
    else:
        # Sums in another order: a rounding error an addition, of terms of size 1 here.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * dim * max(n_query, 1))


@pytest.mark.parametrize("kind", TYPES)
@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(0, 40) | st.sampled_from([0, 1, 12, 13, 24, 25]), max_size=8),
    n_query=st.sampled_from([0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 49, 64, 70]),
    dim=st.sampled_from([1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 200]),
    shift=st.sampled_from([0.0, -3.0, 3.0]),
)
@settings(max_examples=60, deadline=None)
def test_every_body_computes_what_the_reference_does(
    kind: str, seed: int, lengths: list[int], n_query: int, dim: int, shift: float
) -> None:
    query, values, offsets, scales = drawn(seed, lengths, n_query, dim, kind, shift)
    expected = kernels.score(query, values, offsets, scales=scales, instructions="reference")
    for instructions in SETS:
        found = kernels.score(query, values, offsets, scales=scales, instructions=instructions)
        assert_equal(found, expected, kind, dim, n_query)


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("kind", TYPES)
def test_thousands_of_tokens_and_any_number_of_threads(kind: str, instructions: str) -> None:
    query, values, offsets, scales = drawn(7, [3000, 0, 1, *[90] * 40, 2500], 40, 128, kind)
    alone = kernels.score(
        query, values, offsets, scales=scales, threads=1, instructions=instructions
    )
    expected = kernels.score(query, values, offsets, scales=scales, instructions="reference")
    assert_equal(alone, expected, kind, 128, 40)
    for threads in (2, 3, 4):
        found = kernels.score(
            query, values, offsets, scales=scales, threads=threads, instructions=instructions
        )
        assert found.tobytes() == alone.tobytes()


@pytest.mark.parametrize("instructions", [*SETS, "reference"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_selection_is_scored_in_its_order(kind: str, instructions: str) -> None:
    query, values, offsets, scales = drawn(1, [5, 0, 17, 30, 2], 32, 64, kind)
    every = kernels.score(query, values, offsets, scales=scales, instructions=instructions)
    selection = np.array([4, 1, 1, 3], dtype=np.int64)
    some = kernels.score(
        query, values, offsets, scales=scales, selection=selection, instructions=instructions
    )
    assert some.tobytes() == every[selection].tobytes()
    none = kernels.score(
        query, values, offsets, scales=scales, selection=selection[:0], instructions=instructions
    )
    assert none.shape == (0,)


@pytest.mark.parametrize("instructions", [*SETS, "reference"])
@pytest.mark.parametrize("kind", TYPES)
def test_empty_queries_documents_and_collections(kind: str, instructions: str) -> None:
    query, values, offsets, scales = drawn(1, [0, 3, 0], 4, 8, kind)
    scores = kernels.score(query, values, offsets, scales=scales, instructions=instructions)
    assert np.isneginf(scores[[0, 2]]).all()
    assert np.isfinite(scores[1])
    empty = kernels.score(query[:0], values, offsets, scales=scales, instructions=instructions)
    assert empty.tolist() == [0, 0, 0]
    nothing = kernels.score(query, values, offsets[:1], scales=scales, instructions=instructions)
    assert nothing.shape == (0,)


@pytest.mark.parametrize("instructions", SETS)
def test_every_half_float(instructions: str) -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    offsets = np.arange(2**16 + 1, dtype=np.int64)
    found = kernels.score(
        np.ones((1, 1), dtype=np.float32), halves[:, None], offsets, instructions=instructions
    )
    expected = halves.astype(np.float32)
    expected[np.isnan(expected)] = -np.inf  # a similarity that is NaN never wins
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("instructions", [*SETS, "reference"])
def test_the_extremes_of_int8(instructions: str) -> None:
    values = np.full((3, 65_536), -128, dtype=np.int8)
    values[1] = 127
    scales = np.ones(3, dtype=np.float32)
    query = np.ones((2, 65_536), dtype=np.float32) * np.array([[1], [-1]], dtype=np.float32)
    offsets = np.arange(4, dtype=np.int64)
    found = kernels.score(query, values, offsets, scales=scales, instructions=instructions)
    assert found.tolist() == [0, 0, 0]
    found = kernels.score(query[:1], values, offsets, scales=scales, instructions=instructions)
    expected = kernels.score(query[:1], values, offsets, scales=scales, instructions="reference")
    assert found.tobytes() == expected.tobytes()
    assert found[0] == pytest.approx(-128 * 65_536)


@pytest.mark.parametrize("instructions", SETS)
def test_a_similarity_that_is_nan_never_wins(instructions: str) -> None:
    values = np.array([[1, 0], [np.nan, 0], [0, 2]], dtype=np.float32)
    offsets = np.array([0, 3, 3], dtype=np.int64)
    query = np.eye(2, dtype=np.float32)
    scores = kernels.score(query, values, offsets, instructions=instructions)
    assert scores.tolist() == [3, -np.inf]


@pytest.mark.parametrize("kind", TYPES)
def test_memory_mapped_files_are_scored_in_place(kind: str, tmp_path: Path) -> None:
    query, values, offsets, scales = drawn(2, [9, 4, 30], 32, 128, kind)
    mapped: list[Any] = []
    for name, array in {"values": values, "offsets": offsets, "scales": scales}.items():
        if array is None:
            mapped.append(None)
            continue
        np.save(tmp_path / name, array)
        mapped.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    found = kernels.score(query, mapped[0], mapped[1], scales=mapped[2])
    expected = kernels.score(query, values, offsets, scales=scales)
    assert found.tobytes() == expected.tobytes()
    read_only = np.frombuffer(offsets.tobytes(), dtype=np.int64)
    found = kernels.score(query, values, read_only, scales=scales)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("instructions", [*SETS, "reference"])
@pytest.mark.parametrize(
    "offsets",
    [
        [-1, 2, 4],
        [0, 5, 4],
        [0, 2, 5],
        [0, 2**62, 4],
        [-(2**63), 2, 4],
        [0, 2, 2**63 - 1],
        [3, 2, 4],
    ],
)
def test_hostile_offsets_raise(offsets: list[int], instructions: str) -> None:
    values = np.zeros((4, 8), dtype=np.float32)
    with pytest.raises(InputError, match="offsets give document"):
        kernels.score(values, values, np.array(offsets, np.int64), instructions=instructions)


@pytest.mark.parametrize("instructions", [*SETS, "reference"])
@pytest.mark.parametrize("number", [-1, 2, 2**63 - 1, -(2**63)])
def test_hostile_selections_raise(number: int, instructions: str) -> None:
    values = np.zeros((4, 8), dtype=np.float32)
    selection = np.array([0, number], dtype=np.int64)
    offsets = np.array([0, 2, 4], np.int64)
    with pytest.raises(InputError, match="selection holds document"):
        kernels.score(values, values, offsets, selection=selection, instructions=instructions)


def test_wrong_arrays_raise() -> None:
    query, values, offsets, scales = drawn(1, [4], 4, 8, "int8")
    floats = values.astype(np.float32)
    with pytest.raises(DimensionError, match="8 dimensions, document vectors 4"):
        kernels.score(query, np.ascontiguousarray(floats[:, :4]), offsets)
    for wrong in (floats.astype(np.float64), floats[0], floats[:, ::2], np.asfortranarray(floats)):
        with pytest.raises(InputError, match="values must be"):
            kernels.score(query, wrong, offsets)
    with pytest.raises(InputError, match="scales are given with int8"):
        kernels.score(query, values, offsets)
    with pytest.raises(InputError, match="scales are given with int8"):
        kernels.score(query, floats, offsets, scales=scales)
    with pytest.raises(InputError, match="one a row, 4; got 3"):
        kernels.score(query, values, offsets, scales=None if scales is None else scales[:3])
    with pytest.raises(InputError, match="at least one number"):
        kernels.score(query, floats, offsets[:0])
    with pytest.raises(InputError, match="query holds NaN"):
        kernels.score(np.full_like(query, np.nan), floats, offsets)
    with pytest.raises(InputError, match="from 1 to 65536"):
        kernels.score(query[:, :0], floats[:, :0], offsets)
    with pytest.raises(InputError, match="unknown or not run by this machine"):
        kernels.score(query, floats, offsets, instructions="mmx")


def test_maxsim_takes_what_a_user_has() -> None:
    query, values, offsets, _ = drawn(3, [6, 6, 6], 5, 16, "float32")
    vectors = TokenVectors(values, offsets)
    expected = kernels.maxsim(query, vectors)
    np.testing.assert_allclose(
        expected, [(query @ document.T).max(axis=1).sum() for document in vectors], rtol=1e-5
    )
    same: list[Any] = [list(vectors), values.reshape(3, 6, 16), values.reshape(3, 6, 16).tolist()]
    for documents in same:
        assert kernels.maxsim(query.tolist(), documents).tobytes() == expected.tobytes()
    doubles = kernels.maxsim(query.astype(np.float64), values.reshape(3, 6, 16).astype(np.float64))
    assert doubles.tobytes() == expected.tobytes()
    assert kernels.maxsim(query, []).shape == (0,)
    assert kernels.maxsim(query, np.empty((0, 4, 16))).shape == (0,)
    assert np.isneginf(kernels.maxsim(query, np.empty((2, 0, 16)))).all()
    assert kernels.maxsim(np.empty((0, 16)), vectors).tolist() == [0, 0, 0]


def test_maxsim_refuses_what_has_no_score() -> None:
    query, values, offsets, _ = drawn(3, [2], 2, 4, "float32")
    with pytest.raises(InputError, match="query must be"):
        kernels.maxsim(query[0], [values])
    with pytest.raises(InputError, match="n_documents, n_tokens, dim"):
        kernels.maxsim(query, values)
    with pytest.raises(InputError, match="not an array of numbers"):
        kernels.maxsim("the tide", [values])
    with pytest.raises(DimensionError):
        kernels.maxsim(query[:, :3], [values])
    for bad in (np.nan, np.inf, -np.inf):
        holed = values.copy()
        holed[1, 2] = bad
        with pytest.raises(InputError, match="documents hold NaN or infinity"):
            kernels.maxsim(query, [holed])
        with pytest.raises(InputError, match="documents hold NaN or infinity"):
            kernels.maxsim(query, TokenVectors(holed, offsets))
        with pytest.raises(InputError, match="query holds NaN or infinity"):
            kernels.maxsim(holed, [values])
