"""The codec of clustered segments in NumPy: the specification of `cpp/codec.h`, equal to the byte.

`cpp/codec.h` says what a code means, `gingham.kernels.codebook` what a codebook is. The step onto a
grid is one float32 product, clipped, then rounded half to even; all that follows is in whole
numbers. So every instruction set and this file agree. Obvious, not fast.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gingham.kernels.codebook import CODE_BYTES, FINER, POINTS, Codebook, parts_of

Float32 = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
UInt32 = npt.NDArray[np.uint32]


def quantize_rows(values: Float32, scale: float, row: int) -> Int8:
    """(n, dim) float32 vectors on the int8 grid: (n, row) int8, padded with zeros."""
    rows = np.zeros((len(values), row), dtype=np.int8)
    rows[:, : values.shape[1]] = _on_grid(values, np.float32(scale), 127)
    return rows


def nearest(rows: Int8, parents: UInt32, centroids: Int8, children: Int64) -> UInt32:
    """For each row the nearest centroid (L2) of its parent, the first of equals.

    argmin |x - c|^2 = argmax x . c - |c|^2 / 2. The half is rounded down, so squared distances
    count as equal that differ by 1 only.

    Args:
        rows: (n, row) int8.
        parents: (n) uint32.
        centroids: (n_centroids, row) int8.
        children: (n_parents + 1) int64: parent i owns the centroids children[i]:children[i + 1].

    Returns:
        (n) uint32 numbers of centroids.
    """
    found = np.zeros(len(rows), dtype=np.uint32)
    for parent in np.unique(parents).tolist():
        first, last = int(children[parent]), int(children[parent + 1])
        own = centroids[first:last].astype(np.int64)
        mine = parents == parent
        nearness = rows[mine].astype(np.int64) @ own.T - (own**2).sum(axis=1) // 2
        found[mine] = first + nearness.argmax(axis=1)
    return found


def kmeans(rows: Int8, groups: Int64, children: Int64, iterations: int) -> Int8:
    """Lloyd's k-means (https://doi.org/10.1109/TIT.1982.1056489) of each group of rows.

    Starts from rows spread evenly over the group. A centroid is the mean of its rows, rounded half
    to even; one that loses all its rows stays. A group with as many centroids as rows keeps them.

    Args:
        rows: (n, row) int8; group i is groups[i]:groups[i + 1].
        groups: (n_groups + 1) int64.
        children: (n_groups + 1) int64: group i gets the centroids children[i]:children[i + 1].
        iterations: rounds.

    Returns:
        (children[-1], row) int8.
    """
    centroids = np.zeros((int(children[-1]), rows.shape[1]), dtype=np.int8)
    for group in range(len(groups) - 1):
        own = rows[groups[group] : groups[group + 1]]
        k = int(children[group + 1] - children[group])
        means = own[np.arange(k) * len(own) // k]
        for _ in range(iterations if k < len(own) else 0):
            means = _means(own, means)
        centroids[children[group] : children[group + 1]] = means
    return centroids


def _means(rows: Int8, centroids: Int8) -> Int8:
    """One round: (k, row) means of the rows nearest to each centroid."""
    everything = np.array([0, len(centroids)], dtype=np.int64)
    owners = nearest(rows, np.zeros(len(rows), dtype=np.uint32), centroids, everything)
    means = centroids.copy()
    for i in range(len(centroids)):
        own = rows[owners == i]
        if len(own) > 0:
            means[i] = np.rint(own.sum(axis=0, dtype=np.int64) / len(own))
    return means


def encode(codebook: Codebook, values: Float32, centroids: UInt32) -> tuple[UInt8, UInt8]:
    """Codes and residuals of vectors whose centroids are known.

    Args:
        codebook: of the vectors.
        values: (n, dim) float32.
        centroids: (n) uint32.

    Returns:
        (n, 3) uint8 codes and (n, residual_bytes) uint8 residuals.
    """
    codes = np.zeros((len(values), CODE_BYTES), dtype=np.uint8)
    for byte in range(CODE_BYTES):
        codes[:, byte] = centroids >> 8 * byte & 0xFF
    if codebook.bits == 8:
        largest = np.abs(values).max(axis=1, initial=0)
        some = largest > 0
        scales = np.where(some, np.float32(127), 0) / np.where(some, largest, np.float32(1))
        rows = np.zeros((len(values), codebook.row), dtype=np.int8)
        rows[:, : codebook.dim] = _on_grid(values, scales.astype(np.float32)[:, None], 127)
        return codes, rows.view(np.uint8)

    fine = np.zeros((len(values), codebook.row), dtype=np.int64)
    scale = np.float32(codebook.scale) * np.float32(FINER)
    fine[:, : codebook.dim] = _on_grid(values, scale, 127 * FINER)
    fine -= FINER * codebook.centroids[centroids].astype(np.int64)
    levels = np.searchsorted(codebook.levels, (fine**2).sum(axis=1), side="right")
    codes[:, 2] |= (levels << 4).astype(np.uint8)

    # A nibble's dimensions are n, n + row / parts, ...: (n, parts, nibbles).
    parts = parts_of(codebook.bits)
    groups = fine.reshape(len(fine), parts, codebook.row // parts)
    nibbles = _nearest_points(groups, FINER * codebook.points[levels].astype(np.int64))
    half = codebook.residual_bytes
    return codes, (nibbles[:, :half] | nibbles[:, half:] << 4).astype(np.uint8)


def _nearest_points(groups: Int64, points: Int64) -> Int64:
    """(n, nibbles) numbers of the points nearest to (n, parts, nibbles) groups of dimensions.

    `points` are (n, parts, 16), those of each token's level. Alone, points ascend: the nearest is
    how many midpoints lie below. Otherwise it is the first of the least squared distance.
    """
    if groups.shape[1] == 1:
        middles = (points[:, 0, 1:] + points[:, 0, :-1]) // 2  # exact: they are multiples of 16
        below: Int64 = (groups[:, 0, :, None] > middles[:, None, :]).sum(axis=2)
        return below
    distances = [((groups - points[:, :, point, None]) ** 2).sum(axis=1) for point in range(POINTS)]
    first: Int64 = np.argmin(distances, axis=0)
    return first


def decode(codebook: Codebook, codes: UInt8, residuals: UInt8) -> tuple[Int8, Float32]:
    """Rows of codes.

    Args:
        codebook: that encoded them.
        codes: (n, 3) uint8.
        residuals: (n, residual_bytes) uint8.

    Returns:
        (n, row) int8, and the (n) float32 that each is multiplied by for unit length; 0 for a row
        of zeros.
    """
    rows = residuals.view(np.int8)
    if codebook.bits != 8:
        levels = codes[:, 2] >> 4
        nibbles = np.concatenate([residuals & 0xF, residuals >> 4], axis=1)
        parts = np.arange(parts_of(codebook.bits))
        added = codebook.points[levels[:, None, None], parts[None, :, None], nibbles[:, None, :]]
        sums = codebook.centroids[centroids_of(codebook, codes)].astype(np.int16)
        sums += added.reshape(-1, codebook.row)
        rows = np.clip(sums, -127, 127).astype(np.int8)
    squares = (rows.astype(np.int64) ** 2).sum(axis=1).astype(np.float32)
    lengths = np.sqrt(np.where(squares > 0, squares, np.float32(1)))
    scales = np.where(squares > 0, np.float32(1) / lengths, np.float32(0))
    return rows.copy(), scales


def centroids_of(codebook: Codebook, codes: UInt8) -> Int64:
    """(n) int64 centroids of (n, 3) codes; beyond the last, which only damage makes, the last."""
    wide = codes.astype(np.int64)
    numbers: Int64 = wide[:, 0] | wide[:, 1] << 8 | (wide[:, 2] & 0xF) << 16
    return numbers.clip(max=len(codebook.centroids) - 1)


def _on_grid(values: Float32, scale: np.float32 | Float32, limit: int) -> Float32:
    """Values * scale, clipped, then rounded half to even."""
    rounded: Float32 = np.rint(np.clip(values * scale, np.float32(-limit), np.float32(limit)))
    return rounded
