"""Codebooks: the same bytes whoever trains them, and near what they were trained on."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest

from gingham import kernels
from gingham.codec import training
from gingham.codec.training import Sizes
from gingham.kernels import clustered
from gingham.kernels.codebook import BITS, MOST_CENTROIDS, Bits, Codebook, row_of

Float32 = npt.NDArray[np.float32]

# Mean and first percentile of the cosine to hold; measured are .999 and .996 with 4 bits.
FAITHFUL: dict[Bits, tuple[float, float]] = {
    1: (0.93, 0.85),
    2: (0.975, 0.95),
    4: (0.998, 0.99),
    8: (0.9999, 0.9995),
}


def clusters(n: int, dim: int, seed: int = 0) -> Float32:
    """Unit vectors around fifty others."""
    random = np.random.default_rng(seed)
    middles = random.standard_normal((50, dim))
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    values = middles[random.integers(0, 50, n)]
    values += 0.6 / np.sqrt(dim) * random.standard_normal((n, dim))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype(np.float32)


def trained(
    vectors: Float32,
    sizes: Sizes,
    bits: Bits = 4,
    threads: int | None = None,
    fitted: int = 3000,
) -> Codebook:
    scale = training.scale_of(vectors)
    rows = clustered.quantize_rows(vectors, scale, row_of(vectors.shape[1], bits), threads)
    order = np.random.default_rng(1).permutation(len(rows))
    return training.train(rows, order, vectors[:fitted], sizes, bits, scale, threads)


def decoded(book: Codebook, vectors: Float32) -> Float32:
    coder = clustered.Coder(book)
    rows, scales = coder.decode(*coder.encode(vectors))
    values: Float32 = rows[:, : book.dim] * scales[:, None]
    return values


def as_bytes(book: Codebook) -> list[bytes]:
    arrays = (book.supers, book.children, book.centroids, book.points, book.levels)
    return [array.tobytes() for array in arrays]


@pytest.mark.parametrize("bits", BITS)
def test_the_number_of_threads_does_not_change_a_byte(bits: Bits) -> None:
    vectors = clusters(10_000, 24)
    alone, *others = (
        as_bytes(trained(vectors, Sizes(100, 20, 10_000), bits, threads, fitted=500))
        for threads in (1, 2, 3)
    )
    assert others == [alone, alone]


def test_the_instruction_set_does_not_change_a_byte() -> None:
    vectors = clusters(1000, 33)
    books = []
    for name in [*kernels.instruction_sets(), "reference"]:
        with patch.object(clustered, "instruction_set", return_value=name):
            books.append(as_bytes(trained(vectors, Sizes(20, 7, 1000))))
    assert all(book == books[0] for book in books)


@pytest.mark.parametrize("dim", [48, 96, 128])
def test_decoded_vectors_are_near_and_nearer_with_more_bits(dim: int) -> None:
    vectors = clusters(3000, dim)
    means = []
    for bits in BITS:
        found = decoded(trained(vectors, Sizes(60, 20, 3000), bits), vectors)
        cosines = (found * vectors).sum(axis=1)
        mean, percentile = FAITHFUL[bits]
        assert cosines.mean() > mean
        assert np.quantile(cosines, 0.01) > percentile
        assert np.linalg.norm(found, axis=1).max() < 1.000_01
        means.append(cosines.mean())
    assert means == sorted(means)


def test_vectors_that_were_not_trained_on_are_near_too() -> None:
    vectors = clusters(6000, 96)
    book = trained(np.ascontiguousarray(vectors[:4000]), Sizes(60, 20, 4000))
    rest = np.ascontiguousarray(vectors[4000:])
    assert (decoded(book, rest) * rest).sum(axis=1).mean() > 0.997


@pytest.mark.parametrize("n", [2000, 300])
def test_the_shape_of_a_codebook(n: int) -> None:
    vectors = clusters(n, 40)
    book = trained(vectors, Sizes(120, 30, n), 4)
    assert book.row == 64
    assert 2 <= len(book.supers) <= 30
    assert 100 <= len(book.centroids) <= 125
    assert not book.supers[:, 40:].any()
    assert not book.centroids[:, 40:].any()
    # Each super has the share of centroids that it has of the vectors, and no more than vectors.
    rows = clustered.quantize_rows(vectors, book.scale, book.row)
    everything = np.array([0, len(book.supers)], dtype=np.int64)
    parents = clustered.nearest(rows, np.zeros(n, dtype=np.uint32), book.supers, everything)
    counts = np.bincount(parents, minlength=len(book.supers))
    shares = np.diff(book.children)
    assert (shares <= counts).all()
    assert np.abs(shares - np.maximum(counts * (120 / n), 1)).max() <= 2
    # The points of a level are those of the one before, larger.
    lengths = (book.points.astype(np.int64) ** 2).sum(axis=(1, 2))
    assert (np.diff(lengths) >= 0).all()
    assert lengths[-1] > lengths[0]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("asked", [(1, 1), (3, 2), (100, 30)])
@pytest.mark.parametrize(
    ("vectors", "least"),
    [
        (np.eye(1, 16), 0.9999),  # one vector
        (np.eye(5, 16), 0.8),  # fewer than centroids
        (np.full((300, 16), 0.25), 0.9999),  # all equal: no residuals
        (np.repeat(np.eye(2, 16), 50, axis=0), 0.98),
        (np.zeros((40, 16)), 0.0),
    ],
)
def test_little_to_train_on(
    vectors: npt.NDArray[np.float64], least: float, asked: tuple[int, int], bits: Bits
) -> None:
    values = vectors.astype(np.float32)
    book = trained(values, Sizes(*asked, len(values)), bits)
    assert 1 <= len(book.supers) <= min(asked[1], len(values))
    assert len(book.centroids) <= min(asked[0], len(values))
    found = decoded(book, values)
    assert np.isfinite(found).all()
    if asked[0] >= 100 and values.any():
        least = 0.9999  # each has a centroid of its own
    assert (found * values).sum(axis=1).min() >= least


def test_what_has_no_residual_is_its_centroid() -> None:
    book = trained(np.full((50, 16), 0.25, dtype=np.float32), Sizes(1, 1, 50))
    assert not book.levels.any()
    assert not book.points.any()
    rows, _ = clustered.Coder(book).decode(
        *clustered.Coder(book).encode(np.full((1, 16), 0.25, dtype=np.float32))
    )
    assert rows.tolist() == book.centroids.tolist()


@pytest.mark.parametrize("bits", BITS)
def test_sizes(bits: Bits) -> None:
    assert training.sizes(1, bits) == Sizes(1, 1, 1)
    tokens = 700 * training.TOKENS_PER_CENTROID[bits]
    assert training.sizes(tokens, bits) == Sizes(700, 70, 700 * training.SAMPLE_PER_CENTROID)
    largest = training.sizes(10**12, bits)
    assert largest.centroids == MOST_CENTROIDS
    assert largest.sample == training.LARGEST_SAMPLE
    for tokens in (1, 50, 1000, 10**5, 10**7, 10**9):
        sizes = training.sizes(tokens, bits)
        assert 1 <= sizes.supers <= sizes.centroids <= MOST_CENTROIDS
        assert sizes.centroids <= sizes.sample <= tokens


def test_the_grid_clips_one_component_in_ten_thousand() -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((2000, 50), dtype=np.float32)
    scale = training.scale_of(vectors)
    clipped = (np.abs(vectors) * scale > 127).mean()
    assert 0 < clipped < 2e-4
    assert np.float32(scale) == scale
    assert training.scale_of(np.zeros((3, 4), dtype=np.float32)) > 0
    assert training.scale_of(np.zeros((0, 4), dtype=np.float32)) == 127
