"""The codec's compiled bodies, each that this machine runs, against the NumPy reference."""

from __future__ import annotations

import dataclasses
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gingham import kernels
from gingham.codec import training
from gingham.errors import InputError
from gingham.kernels import _compiled, clustered, reference_codec
from gingham.kernels.codebook import BITS, LEVELS, POINTS, Bits, Codebook, bits_of, parts_of, row_of

SETS = kernels.instruction_sets()
DIMS = (1, 2, 7, 16, 24, 31, 32, 33, 48, 63, 64, 65, 96, 100, 127, 128, 129, 200)
Array = npt.NDArray[Any]
Generator = np.random.Generator

seeds = st.integers(0, 2**32 - 1)
dims = st.sampled_from(DIMS)
bits_drawn = st.sampled_from(BITS)


def split(random: Generator, total: int, groups: int) -> npt.NDArray[np.int64]:
    """Offsets of `groups` ranges, none empty, that cover `total`."""
    inner = np.sort(random.choice(np.arange(1, total), groups - 1, replace=False))
    return np.concatenate([[0], inner, [total]]).astype(np.int64)


def int8(random: Generator, shape: tuple[int, ...], spread: int = 127) -> npt.NDArray[np.int8]:
    """Within ±spread: small numbers make equals."""
    return random.integers(-spread, spread, shape, endpoint=True).astype(np.int8)


def drawn_codebook(random: Generator, bits: Bits, dim: int, centroids: int) -> Codebook:
    """Not a good one."""
    row, supers = row_of(dim, bits), int(random.integers(1, centroids, endpoint=True))
    grid = int8(random, (centroids, row), int(random.choice([1, 5, 60, 127])))
    grid[:, dim:] = 0
    points = np.sort(int8(random, (LEVELS, parts_of(bits), POINTS), int(random.choice([2, 127]))))
    children = split(random, centroids, supers)
    scale = float(np.float32(random.uniform(20, 500)))
    most = 256 * int(random.choice([10, 1000, 100_000]))
    levels = np.sort(random.integers(0, most, LEVELS - 1)).astype(np.int64)
    return Codebook(bits, dim, scale, grid[children[:-1]], children, grid, points, levels)


def unit_vectors(random: Generator, n: int, dim: int) -> npt.NDArray[np.float32]:
    """Some of them zero."""
    values = random.standard_normal((n, dim), dtype=np.float32)
    values *= (random.random((n, 1)) < 0.95).astype(np.float32)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.float32(1e-12))
    return values


def encoded(
    coder: clustered.Coder, values: Array, centroids: Array, name: str, threads: int = 1
) -> tuple[Array, Array]:
    codes = np.full((len(values), 3), 0xAB, dtype=np.uint8)
    residuals = np.full((len(values), coder.codebook.residual_bytes), 0xAB, dtype=np.uint8)
    _compiled().encode(coder.native, values, centroids, codes, residuals, threads, name)
    return codes, residuals


def with_each_body(work: Any) -> list[Any]:
    """What `work` returns under every instruction set."""
    results = []
    for name in SETS:
        with patch.object(clustered, "instruction_set", return_value=name):
            results.append(work())
    return results


def assert_same(found: tuple[Array, ...], expected: tuple[Array, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()


@given(
    seed=seeds,
    n=st.integers(0, 20),
    dim=dims,
    more=st.sampled_from([0, 1, 56]),
    scale=st.sampled_from([1.0, 200.0, 0.1, 1e5]),
)
@settings(max_examples=30, deadline=None)
def test_vectors_on_the_grid(seed: int, n: int, dim: int, more: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    values = random.standard_normal((n, dim), dtype=np.float32)
    values[random.random(values.shape) < 0.3] = np.float32(1.5 / scale)  # halves go to the even
    expected = reference_codec.quantize_rows(values, scale, dim + more)
    assert_same((clustered.quantize_rows(values, scale, dim + more),), (expected,))


def test_halves_go_to_the_even_and_what_is_beyond_is_clipped() -> None:
    values = np.array([[0.5, 1.5, -0.5, -1.5, 126.5, 127.5, 1e9, -1e9]], dtype=np.float32)
    rows = clustered.quantize_rows(values, 1.0, 10)
    assert rows.tolist() == [[0, 2, 0, -2, 126, 127, 127, -127, 0, 0]]


@given(
    seed=seeds,
    n=st.integers(0, 80),
    dim=dims,
    centroids=st.integers(1, 150),
    spread=st.sampled_from([1, 3, 127]),
)
@settings(max_examples=40, deadline=None)
def test_nearest(seed: int, n: int, dim: int, centroids: int, spread: int) -> None:
    random = np.random.default_rng(seed)
    children = split(random, centroids, int(random.integers(1, min(centroids, 9), endpoint=True)))
    parents = random.integers(0, len(children) - 1, n).astype(np.uint32)
    rows, places = int8(random, (n, dim), spread), int8(random, (centroids, dim), spread)
    expected = reference_codec.nearest(rows, parents, places, children)
    for found in with_each_body(lambda: clustered.nearest(rows, parents, places, children, 2)):
        assert_same((found,), (expected,))
    if n > 0:
        distances = ((rows[:, None].astype(int) - places.astype(int)) ** 2).sum(axis=2)
        for row in range(n):
            first, last = children[parents[row]], children[parents[row] + 1]
            least = distances[row, first:last].min()
            assert first <= expected[row] < last
            assert distances[row, expected[row]] <= least + 1  # halves are rounded down


def test_of_equals_the_first_is_nearest() -> None:
    rows = np.zeros((30, 8), dtype=np.int8)
    places = np.ones((300, 8), dtype=np.int8)
    children = np.array([0, 1, 70, 300], dtype=np.int64)
    parents = np.arange(30, dtype=np.uint32) % 3
    for found in with_each_body(lambda: clustered.nearest(rows, parents, places, children)):
        assert (found == children[parents]).all()
    places[[64, 65, 128, 299]] = 0
    for found in with_each_body(lambda: clustered.nearest(rows, parents, places, children)):
        assert (found == np.array([0, 64, 128])[parents]).all()


@given(
    seed=seeds,
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    dim=dims,
    iterations=st.integers(0, 4),
    spread=st.sampled_from([1, 4, 127]),
)
@settings(max_examples=40, deadline=None)
def test_kmeans(seed: int, sizes: list[int], dim: int, iterations: int, spread: int) -> None:
    random = np.random.default_rng(seed)
    groups = np.cumsum([0, *sizes]).astype(np.int64)
    shares = [int(random.integers(1, size, endpoint=True)) for size in sizes]
    children = np.cumsum([0, *shares]).astype(np.int64)
    rows = int8(random, (sum(sizes), dim), spread)
    expected = reference_codec.kmeans(rows, groups, children, iterations)
    for found in with_each_body(lambda: clustered.kmeans(rows, groups, children, iterations, 2)):
        assert_same((found,), (expected,))


def test_as_many_centroids_as_rows_are_the_rows() -> None:
    # Though the second row, with halves rounded down, is as near to the first.
    rows, whole = np.array([[1], [0]], dtype=np.int8), np.array([0, 2], dtype=np.int64)
    for found in with_each_body(lambda: clustered.kmeans(rows, whole, whole, 3)):
        assert found.tolist() == rows.tolist()
    assert reference_codec.kmeans(rows, whole, whole, 3).tolist() == rows.tolist()


@given(
    seed=seeds,
    bits=bits_drawn,
    dim=dims,
    n=st.integers(0, 40),
    centroids=st.integers(1, 40),
    length=st.sampled_from([0.01, 1.0, 30.0]),
)
@settings(max_examples=60, deadline=None)
def test_encoding(seed: int, bits: Bits, dim: int, n: int, centroids: int, length: float) -> None:
    random = np.random.default_rng(seed)
    coder = clustered.Coder(drawn_codebook(random, bits, dim, centroids))
    values = unit_vectors(random, n, dim) * np.float32(length)
    chosen = random.integers(0, centroids, n).astype(np.uint32)  # the nearest or any other
    expected = reference_codec.encode(coder.codebook, values, chosen)
    for name in SETS:
        assert_same(encoded(coder, values, chosen, name), expected)


@given(seed=seeds, bits=bits_drawn, dim=dims, n=st.integers(3, 40), centroids=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_decoding_whatever_bytes(seed: int, bits: Bits, dim: int, n: int, centroids: int) -> None:
    random = np.random.default_rng(seed)
    coder = clustered.Coder(drawn_codebook(random, bits, dim, centroids))
    codes = random.integers(0, 256, (n, 3)).astype(np.uint8)  # most are beyond the centroids
    codes[: n // 2, 0] %= centroids
    codes[: n // 2, 1:] &= 0xF0
    codes[: n // 2, 1] = 0
    codes[:3] = [[centroids + beyond, 0, 0x10] for beyond in (0, -1, 1)]
    residuals = random.integers(0, 256, (n, coder.codebook.residual_bytes)).astype(np.uint8)
    if bits == 8:
        residuals[residuals == 0x80] = 0  # -128 is never encoded
    expected = reference_codec.decode(coder.codebook, codes, residuals)
    for found in with_each_body(lambda: coder.decode(codes, residuals, 1)):
        assert_same(found, expected)


def test_a_minus_128_that_was_never_encoded_is_harmless() -> None:
    random = np.random.default_rng(1)
    coder = clustered.Coder(drawn_codebook(random, 8, 100, 3))
    residuals = np.full((5, coder.codebook.residual_bytes), 0x80, dtype=np.uint8)
    for rows, scales in with_each_body(
        lambda: coder.decode(np.zeros((5, 3), dtype=np.uint8), residuals)
    ):
        assert (rows == -128).all()
        assert np.isfinite(scales).all()


def test_a_row_of_zeros_has_scale_zero() -> None:
    random = np.random.default_rng(1)
    for bits in BITS:
        book = drawn_codebook(random, bits, 40, 3)
        still = dataclasses.replace(
            book, points=np.zeros_like(book.points), centroids=np.zeros_like(book.centroids)
        )
        coder = clustered.Coder(still)
        values = np.zeros((2, 40), dtype=np.float32)
        for codes, residuals in with_each_body(
            lambda coder=coder, values=values: coder.encode(values)
        ):
            rows, scales = coder.decode(codes, residuals)
            assert not rows.any()
            assert scales.tolist() == [0, 0]


@pytest.mark.parametrize("dim", [1, 24, 48, 96, 128])
@pytest.mark.parametrize("bits", BITS)
def test_trained_codebooks(bits: Bits, dim: int) -> None:
    random = np.random.default_rng(dim)
    vectors = unit_vectors(random, 3000, dim)
    scale = training.scale_of(vectors)
    rows = clustered.quantize_rows(vectors, scale, row_of(dim, bits))
    book = training.train(
        rows, np.arange(3000), vectors[:500], training.Sizes(60, 12, 3000), bits, scale
    )
    coder, some = clustered.Coder(book), np.ascontiguousarray(vectors[:200])
    with patch.object(clustered, "instruction_set", return_value="reference"):
        expected = coder.encode(some)
        decoded = coder.decode(*expected)
    for found in with_each_body(lambda: coder.encode(some)):
        assert_same(found, expected)
    for found in with_each_body(lambda: coder.decode(*expected)):
        assert_same(found, decoded)


@pytest.mark.parametrize("bits", BITS)
def test_any_number_of_threads_gives_the_same_bytes(bits: Bits) -> None:
    random = np.random.default_rng(bits)
    book = drawn_codebook(random, bits, 24, 90)
    coder = clustered.Coder(book)
    values = unit_vectors(random, 13_000, 24)  # several chunks of 4096
    parents = random.integers(0, len(book.supers), len(values)).astype(np.uint32)
    single = np.array([0, len(values)], dtype=np.int64)

    def everything(threads: int) -> tuple[Array, ...]:
        rows = clustered.quantize_rows(values, book.scale, book.row, threads)
        nearest = clustered.nearest(rows, parents, book.centroids, book.children, threads)
        means = clustered.kmeans(rows, single, np.array([0, 70], dtype=np.int64), 2, threads)
        codes, residuals = coder.encode(values, threads)
        return rows, nearest, means, codes, residuals, *coder.decode(codes, residuals, threads)

    alone = everything(1)
    for threads in (2, 3):
        assert_same(everything(threads), alone)
    with patch.object(clustered, "instruction_set", return_value="reference"):
        assert_same(everything(1), alone)


def test_what_would_be_read_or_written_beyond_its_end_is_refused() -> None:
    random = np.random.default_rng(2)
    native, name = _compiled(), SETS[0]
    book = drawn_codebook(random, 4, 40, 6)
    coder = clustered.Coder(book)
    rows = int8(random, (5, book.row))
    parents, found = np.zeros(5, dtype=np.uint32), np.zeros(5, dtype=np.uint32)

    def refused(function: str, *arguments: Any) -> None:
        with pytest.raises(ValueError):
            getattr(native, function)(*arguments)

    for children in ([0, 7], [1, 6], [0, 3, 3, 6], [0, -1, 6], [0, 8, 6], [0], []):
        numbers = np.array(children, dtype=np.int64)
        refused("nearest", rows, parents, book.centroids, numbers, found, 1, name)
        refused("kmeans", rows, numbers, numbers, 1, book.centroids.copy(), 1, name)
    whole = np.array([0, 6], dtype=np.int64)
    refused("nearest", rows, parents + 1, book.centroids, whole, found, 1, name)
    refused("nearest", rows, parents[:4], book.centroids, whole, found, 1, name)
    refused("nearest", rows, parents, book.centroids, whole, found[:4], 1, name)
    refused("nearest", rows[:, :8].copy(), parents, book.centroids, whole, found, 1, name)
    five = np.array([0, 5], dtype=np.int64)  # rows are fewer than centroids
    refused("kmeans", rows, five, whole, 1, book.centroids.copy(), 1, name)
    refused("quantize", np.zeros((5, 9), dtype=np.float32), 1.0, rows[:, :8].copy(), 1)
    refused("quantize", np.zeros((4, 8), dtype=np.float32), 1.0, rows, 1)

    values = unit_vectors(random, 5, 40)
    codes, residuals = encoded(coder, values, parents, name)
    refused("encode", coder.native, values, parents + 6, codes, residuals, 1, name)
    refused("encode", coder.native, values, parents[1:], codes, residuals, 1, name)
    refused("encode", coder.native, values[:, :39].copy(), parents, codes, residuals, 1, name)
    refused("encode", coder.native, values, parents, codes[:4], residuals, 1, name)
    refused("encode", coder.native, values, parents, codes, residuals[:, :16].copy(), 1, name)
    out, scales = coder.decode(codes, residuals)
    refused("decode", coder.native, codes, residuals[:4], out, scales, 1, name)
    refused("decode", coder.native, codes, residuals[:, :16].copy(), out, scales, 1, name)
    refused("decode", coder.native, codes[:, :2].copy(), residuals, out, scales, 1, name)
    refused("decode", coder.native, codes, residuals, out[:4], scales, 1, name)
    refused("decode", coder.native, codes, residuals, out, scales[:4], 1, name)


def test_codebooks_that_contradict_themselves_are_refused() -> None:
    book = drawn_codebook(np.random.default_rng(3), 4, 40, 9)
    falling = book.points.copy()
    falling[3, 0, :2] = (5, 4)
    wrong: list[dict[str, Any]] = [
        {"bits": 3},
        {"dim": 0},
        {"dim": 65},
        {"dim": 4097},
        {"scale": 0.0},
        {"scale": float("nan")},
        {"supers": book.supers[:, :32].copy()},
        {"centroids": book.centroids[:8]},
        {"centroids": book.centroids.astype(np.int16)},
        {"children": book.children[:-1]},
        {"children": book.children + 1},
        {"children": np.zeros_like(book.children)},
        {"points": falling},
        {"points": book.points[:, :, :8].copy()},
        {"levels": book.levels[:14]},
        {"levels": book.levels[::-1].copy()},
        {"levels": book.levels - 2**40},
    ]
    for change in wrong:
        with pytest.raises(InputError):
            dataclasses.replace(book, **change)
    assert [bits_of(value) for value in (1, 2, 4, 8)] == [1, 2, 4, 8]
    for value in (0, 3, 16, True, "4", None, 4.5):
        with pytest.raises(InputError, match="bits must be one of"):
            bits_of(value)
