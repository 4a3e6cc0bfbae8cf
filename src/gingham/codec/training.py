"""A sample of token vectors → a codebook. Seeded; the same bytes on any number of threads.

Two levels of k-means: some thousands of vectors find the super-centroids, then each super's share
of the sample finds its children. That costs sqrt(K) where one level costs K, and a query that looks
into the children of the best few supers finds nearly what it would find among all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gingham.document import Float32, Int64
from gingham.kernels import clustered
from gingham.kernels.codebook import (
    FINER,
    LEVELS,
    MOST_CENTROIDS,
    POINTS,
    Bits,
    Codebook,
    parts_of,
    row_of,
)

Int8 = npt.NDArray[np.int8]
Float64 = npt.NDArray[np.float64]

# Measured, see docs/log.md: more centroids put more of the best passages among few candidates; with
# short residuals they would weigh too much.
TOKENS_PER_CENTROID = {1: 96, 2: 96, 4: 64, 8: 64}
SAMPLE_PER_CENTROID = 48
LARGEST_SAMPLE = 1 << 23  # rows: 1 GiB at 128 dimensions
_SAMPLE_PER_SUPER = 256
_ROWS_AT_ONCE = 1 << 20
_SUPER_ROUNDS = 8
_CHILD_ROUNDS = 6
FINE_SAMPLE = 1 << 16  # vectors that levels and points are fitted to
_GROUPS = 1 << 18  # groups of dimensions that points are fitted to


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a codebook for so many tokens is.

    Attributes:
        centroids: one for 64 tokens, 96 with 1 or 2 bits, at most 2^20.
        supers: such that probing both levels costs about the same.
        sample: token vectors to train on.
    """

    centroids: int
    supers: int
    sample: int


def sizes(tokens: int, bits: Bits) -> Sizes:
    """For a collection of so many tokens."""
    centroids = min(MOST_CENTROIDS, max(1, tokens // TOKENS_PER_CENTROID[bits]))
    # A query vector meets all supers, and with all its fellows the children of about a fifth of
    # them: the best ratio was measured to be flat around 7, see docs/log.md.
    supers = min(centroids, max(1, round(math.sqrt(7 * centroids))))
    return Sizes(centroids, supers, min(tokens, LARGEST_SAMPLE, SAMPLE_PER_CENTROID * centroids))


def scale_of(vectors: Float32) -> float:
    """The int8 grid: all but one in ten thousand components fit, the rest is clipped."""
    largest = float(np.quantile(np.abs(vectors), 0.9999)) if vectors.size else 1.0
    return float(np.float32(127 / max(largest, 1e-6)))


def train(
    rows: Int8,
    order: Int64,
    vectors: Float32,
    sizes: Sizes,
    bits: Bits,
    scale: float,
    threads: int | None = None,
    report: Callable[[int], None] | None = None,
) -> Codebook:
    """Fit a codebook.

    Args:
        rows: (n, row_of(dim, bits)) int8: the sample on the grid.
        order: (n) a random order of the sample.
        vectors: (m, dim) float32: some of the sample as it is.
        sizes: how many centroids.
        bits: of the residual, a dimension.
        scale: of the grid.
        threads: the result does not depend on it.
        report: told how many of the centroids are done.
    """
    n_supers = min(sizes.supers, len(rows))
    few = rows[order[: n_supers * _SAMPLE_PER_SUPER]]
    all_supers = np.array([0, n_supers], dtype=np.int64)
    supers = clustered.kmeans(
        few, np.array([0, len(few)], dtype=np.int64), all_supers, _SUPER_ROUNDS, threads
    )
    none = np.zeros(len(rows), dtype=np.uint32)
    parents = clustered.nearest(rows, none, supers, all_supers, threads)
    counts = np.bincount(parents, minlength=n_supers)
    supers, counts = supers[counts > 0], counts[counts > 0]
    children = _shares(counts, min(sizes.centroids, len(rows)))
    centroids = _children_of(rows, parents, counts, children, threads, report)
    levels, points = _residuals(supers, children, centroids, vectors[:FINE_SAMPLE], bits, scale)
    return Codebook(bits, vectors.shape[1], scale, supers, children, centroids, points, levels)


def _children_of(
    rows: Int8,
    parents: npt.NDArray[np.uint32],
    counts: Int64,
    children: Int64,
    threads: int | None,
    report: Callable[[int], None] | None,
) -> Int8:
    """Each super's children, of its own rows; some supers at a time, as their rows are copied."""
    order = np.argsort(parents, kind="stable")
    groups = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    centroids = np.empty((int(children[-1]), rows.shape[1]), dtype=np.int8)
    first = 0
    while first < len(counts):
        last = int(np.searchsorted(groups, groups[first] + _ROWS_AT_ONCE, side="right")) - 1
        last = max(first + 1, last)
        own, made = groups[first : last + 1], children[first : last + 1]
        centroids[made[0] : made[-1]] = clustered.kmeans(
            rows[order[own[0] : own[-1]]], own - own[0], made - made[0], _CHILD_ROUNDS, threads
        )
        if report is not None:
            report(int(made[-1]))
        first = last
    return centroids


def _shares(counts: Int64, total: int) -> Int64:
    """Children of each super in proportion to its rows, at least one and no more than rows.

    Returns:
        (n_supers + 1) int64 offsets; the last may miss `total` by what rounding takes.
    """
    ideal = counts * (total / counts.sum())
    shares = np.clip(np.rint(ideal).astype(np.int64), 1, counts)
    excess = int(shares.sum()) - total
    if excess > 0:  # rounded up too often: from the largest, which feel it least
        largest = np.argsort(-shares, kind="stable")[:excess]
        shares[largest] = np.maximum(shares[largest] - 1, 1)
    return np.concatenate([[0], np.cumsum(shares)]).astype(np.int64)


def _residuals(
    supers: Int8, children: Int64, centroids: Int8, vectors: Float32, bits: Bits, scale: float
) -> tuple[Int64, Int8]:
    """Levels and points, fitted to what the centroids leave of some vectors."""
    dim, parts = vectors.shape[1], parts_of(bits)
    if parts == 0:
        return np.zeros(LEVELS - 1, dtype=np.int64), np.zeros((LEVELS, 0, POINTS), dtype=np.int8)
    book = Codebook(
        bits,
        dim,
        scale,
        supers,
        children,
        centroids,
        np.zeros((LEVELS, parts, POINTS), dtype=np.int8),
        np.zeros(LEVELS - 1, dtype=np.int64),
    )
    nearest = clustered.Coder(book).assign(vectors)
    row = row_of(dim, bits)
    residuals = np.zeros((len(vectors), row))
    residuals[:, :dim] = vectors * np.float64(scale)
    residuals -= centroids[nearest]
    lengths = np.sqrt((residuals**2).sum(axis=1))
    levels = _lloyd(np.sort(lengths), LEVELS)
    borders = ((levels[1:] + levels[:-1]) / 2 * FINER) ** 2

    units = residuals / np.maximum(lengths, 1e-9)[:, None] * math.sqrt(dim)
    # Nibble n codes the dimensions n, n + row / parts, …
    groups = units.reshape(len(units), parts, row // parts).transpose(0, 2, 1).reshape(-1, parts)
    step = max(1, len(groups) // _GROUPS)
    points = _lbg(groups[::step][:_GROUPS], parts)
    grid = np.rint(levels[:, None, None] / math.sqrt(dim) * points.T[None])
    return np.rint(borders).astype(np.int64), np.clip(grid, -127, 127).astype(np.int8, order="C")


def _lloyd(values: Float64, n: int) -> Float64:
    """Lloyd–Max levels of ascending values (https://doi.org/10.1109/TIT.1982.1056489)."""
    levels = np.quantile(values, (np.arange(n) + 0.5) / n)
    for _ in range(50):
        edges = np.searchsorted(values, (levels[1:] + levels[:-1]) / 2)
        edges = np.concatenate([[0], edges, [len(values)]])
        sums = np.concatenate([[0], np.cumsum(values)])
        counts = np.diff(edges)
        full = counts > 0
        levels[full] = np.diff(sums[edges])[full] / counts[full]
    return levels


def _lbg(groups: Float64, parts: int) -> Float64:
    """16 points for groups of dimensions, ascending where a group is one: (16, parts).

    Starts from the product of scalar levels, which Lloyd's iterations then bend to the data.
    """
    each = _lloyd(np.sort(groups.ravel()), round(POINTS ** (1 / parts)))
    points = np.stack(np.meshgrid(*[each] * parts, indexing="ij"), axis=-1).reshape(POINTS, parts)
    if parts == 1:
        return points
    for _ in range(25):
        # argmin |x - p|^2 = argmax x . p - |p|^2 / 2
        nearest = (groups @ points.T - (points**2).sum(axis=1) / 2).argmax(axis=1)
        counts = np.bincount(nearest, minlength=POINTS)
        for part in range(parts):
            sums = np.bincount(nearest, weights=groups[:, part], minlength=POINTS)
            points[counts > 0, part] = sums[counts > 0] / counts[counts > 0]
    return points
