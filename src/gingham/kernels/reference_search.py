"""The staged search in NumPy: the specification of `cpp/search.h`, equal to the byte.

    pool     the query in fewer vectors, for all stages but the last
    probe    for each query vector its best centroids
    gather   what those promise to the passages that their lists name, summed; the best of these
    sift     of those the best by MaxSim over the tokens that lie near the query
    refine   MaxSim over all tokens of what is left

The stages are PLAID's (https://arxiv.org/abs/2205.09707). What a passage is taken to have where
none of a query vector's lists name it is imputed as in WARP (https://arxiv.org/abs/2501.17788): the
product of the best centroid that was not gathered. Obvious, not fast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gingham.errors import CorruptionError
from gingham.kernels import reference, reference_codec
from gingham.kernels.codebook import Codebook

if TYPE_CHECKING:
    from gingham.kernels.clustered import CodedPassages, Coder

Bools = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]

TOGETHER, LEFT = 32, 12  # of so many query vectors so many are left
LOOKS = 64  # candidates between two looks at whether the rest may be given up
FIRST_SIFTED, LEAST_SIFTED = 64, 192
FARTHER = 29  # 64ths: how far below the imputed is near, of what the best is above it


def search(
    coder: Coder,
    segments: Sequence[CodedPassages],
    eligible: Sequence[UInt64 | None],
    query: Float32,
    supers: int,
    probes: int,
    candidates: int,
    k: int,
    margin: float,
    refined: int,
) -> tuple[Float32, Int64, Int64]:
    """All stages, as `gingham.kernels.clustered.search` describes them.

    Returns:
        (n) float32 scores, (n) int64 segments and (n) int64 passages, in the order of the latter.

    Raises:
        CorruptionError: a posting list or an offset is damaged.
    """
    book, few = coder.codebook, pool(query)
    found = gather(book, few, segments, eligible, supers, probes, candidates)
    kept = sift(book, few, segments, found, supers, probes, k, margin, refined)
    pairs = kept[:, :2].tolist()
    scores = [_maxsim(segments[segment], query, passage) for segment, passage in pairs]
    return np.array(scores, dtype=np.float32), kept[:, 0].copy(), kept[:, 1].copy()


def pool(query: Float32) -> Float32:
    """A query in fewer vectors: of each 32 the two most alike are summed, until 12 are left.

    Most alike are those of the least (1 - cosine) * vectors that the lesser sum is made of, which
    is 0 where one is zero; of equals the first pair. Their sum stands where the first of them
    stood. All of it in whole numbers, 127 steps to the largest component of the query.

    Args:
        query: (n_query, dim) float32.

    Returns:
        (n, dim) float32; what has up to 12 vectors, a whole query or its rest, stays as it is.
    """
    step = np.abs(query).max(initial=0) / np.float32(127)
    pooled = [query[:0]]
    for first in range(0, len(query), TOGETHER):
        vectors = query[first : first + TOGETHER]
        if len(vectors) > LEFT and step > 0:
            sums = _joined(np.rint(vectors / step).astype(np.int64))
            vectors = sums.astype(np.float32) * step
        pooled.append(vectors)
    return np.concatenate(pooled)


def _joined(sums: Int64) -> Int64:
    weights = np.ones(len(sums), dtype=np.int64)
    while len(sums) > LEFT:
        products = (sums @ sums.T).astype(np.float64)
        squares = np.diag(products)
        inverses = np.where(squares > 0, 1 / np.sqrt(np.where(squares > 0, squares, 1.0)), 0.0)
        unlike = 1 - products * inverses[:, None] * inverses
        unlike *= np.minimum(weights[:, None], weights)
        unlike[inverses == 0], unlike[:, inverses == 0] = 0, 0
        unlike[np.tril_indices(len(sums))] = np.inf
        a, b = np.unravel_index(unlike.argmin(), unlike.shape)
        for each in (sums, weights):
            each[a] += each[b]
        sums, weights = np.delete(sums, b, axis=0), np.delete(weights, b)
    return sums


def probe(codebook: Codebook, query: Float32, supers: int, probes: int) -> tuple[Int64, Int64]:
    """For each query vector its best centroids.

    They are sought among the children of the best super-centroids of all query vectors. Best is
    the largest product with the quantised query vector (`reference.quantize`), then the lowest
    number.

    Args:
        codebook: of the segments.
        query: (n_query, dim) float32.
        supers: super-centroids that each query vector chooses.
        probes: centroids that each query vector gathers.

    Returns:
        (n_query, probes + 1) int64 centroids and their int64 products, best first. The last imputes
        and is not gathered. Where there are no more than `probes` centroids, all are gathered
        and the worst is repeated, to impute.
    """
    numbers, products = _looked_into(codebook, query, supers)
    order = _best(products, probes + 1)
    if order.shape[1] <= probes:
        order = np.concatenate([order, order[:, -1:]], axis=1)
    return numbers[order], np.take_along_axis(products, order, axis=1)


def _looked_into(codebook: Codebook, query: Float32, supers: int) -> tuple[Int64, Int64]:
    """The children of the best `supers` super-centroids of any query vector, and their products."""
    chosen = np.zeros(len(codebook.supers), dtype=np.bool_)
    chosen[_best(_products(query, codebook.supers), supers)] = True
    numbers = np.flatnonzero(np.repeat(chosen, np.diff(codebook.children)))
    return numbers, _products(query, codebook.centroids[numbers])


def _near(codebook: Codebook, query: Float32, supers: int, probes: int) -> Bools:
    """(n_centroids) whether a centroid is near any query vector, see `sift`."""
    numbers, products = _looked_into(codebook, query, supers)
    chosen = probe(codebook, query, supers, probes)[1]
    best, imputed = chosen[:, :1], chosen[:, -1:]
    near = np.zeros(len(codebook.centroids), dtype=np.bool_)
    near[numbers] = (products >= imputed - ((best - imputed) * FARTHER >> 6)).any(axis=0)
    return near


def gather(
    codebook: Codebook,
    query: Float32,
    segments: Sequence[CodedPassages],
    eligible: Sequence[UInt64 | None],
    supers: int,
    probes: int,
    candidates: int,
) -> Int64:
    """What the probed centroids promise to passages, and the passages with the most.

    A passage gains from each query vector what the best centroid that it has a token of promises
    above the imputed. Sums are whole numbers, in steps of 1 / 65535 of the most there can be; each
    gain is rounded down, computed in float64 in this order.

    Args:
        codebook: of the segments.
        query: (n_query, dim) float32.
        segments: to search.
        eligible: for each segment a bitmap of its passages, None for all.
        supers: as `probe`.
        probes: as `probe`.
        candidates: how many to return.

    Returns:
        (n, 3) int64: segment, passage and sum of the eligible passages with the largest sums, in
        that order, the earlier where equal. Passages that no gathered list names are never among
        them.

    Raises:
        CorruptionError: a list of a probed centroid is damaged.
    """
    scales = reference.quantize(query)[1].astype(np.float64)
    centroids, products = probe(codebook, query, supers, probes)
    above = products - products[:, -1:]
    most = 0.0
    for scale, promised in zip(scales.tolist(), above[:, 0].tolist(), strict=True):
        most += scale * promised
    steps = 65535.0 / most if most > 0 else 0.0

    rows = [np.empty((0, 3), dtype=np.int64)]
    for number, (segment, bitmap) in enumerate(zip(segments, eligible, strict=True)):
        sums = np.zeros(len(segment.offsets) - 1, dtype=np.int64)
        named = np.zeros(len(sums), dtype=np.bool_)
        for i in range(len(query)):
            best = np.zeros(len(sums), dtype=np.int64)  # best first: gains descend
            for centroid, promised in zip(centroids[i, :-1], above[i, :-1], strict=True):
                gain = int(scales[i] * float(promised) * steps * 0.9999)
                passages = _listed(segment, int(centroid))
                best[passages] = np.maximum(best[passages], gain)
                named[passages] = True
            sums += best
        if bitmap is not None:
            named &= _unpacked(bitmap, len(sums))
        passages = np.flatnonzero(named)
        rows.append(np.stack([np.full_like(passages, number), passages, sums[passages]], axis=1))
    every = np.concatenate(rows)
    return every[np.argsort(-every[:, 2], kind="stable")[:candidates]]


def sift(
    codebook: Codebook,
    query: Float32,
    segments: Sequence[CodedPassages],
    candidates: Int64,
    supers: int,
    probes: int,
    k: int,
    margin: float,
    kept: int,
) -> Int64:
    """The candidates with the largest MaxSim over tokens whose centroids are near the query.

    Near is, of the centroids that `probe` chooses from, what lies at most 29 / 64 as far below what
    is imputed as the best lies above it, in products with any one query vector. The other tokens
    are far from every query vector and seldom are a maximum. After each 64 candidates, from 192 on,
    a line through scores and promised sums of all but the first 64 (least squares) says what to
    expect of the next: once the k-th best score is `margin` standard deviations of what the line
    leaves above that, the rest are given up.

    Args:
        codebook: of the segments.
        query: (n_query, dim) float32, the one that was probed with.
        segments: to search.
        candidates: (n, 3) int64, what `gather` returns.
        supers: as `probe`.
        probes: as `probe`.
        k: passages that are wanted in the end.
        margin: see above.
        kept: how many are kept.

    Returns:
        (n, 3) int64: the best, the first where equal, in the order of segments and passages; all of
        them, unscored, where there are no more than `kept`.

    Raises:
        CorruptionError: an offset of a candidate is damaged.
    """
    if len(candidates) > kept:
        near = _near(codebook, query, supers, probes)
        scores: list[float] = []
        for segment, passage, _ in candidates.tolist():
            scores.append(float(_maxsim(segments[segment], query, passage, near)))
            if len(scores) < len(candidates) and _is_enough(candidates[:, 2], scores, k, margin):
                break
        candidates = candidates[np.argsort(-np.array(scores), kind="stable")[:kept]]
    return candidates[np.lexsort((candidates[:, 1], candidates[:, 0]))]


def _is_enough(totals: Int64, scores: list[float], k: int, margin: float) -> bool:
    """Whether the next candidate is so unlikely among the k best that sifting ends."""
    n = len(scores)
    if n % LOOKS != 0 or n < LEAST_SIFTED or n < k:
        return False
    m = x = y = xx = xy = yy = 0.0  # one after the other: to the byte as in C++
    for total, score in zip(totals[FIRST_SIFTED:n].tolist(), scores[FIRST_SIFTED:], strict=True):
        m += 1
        x += total
        y += score
        xx += total * total
        xy += total * score
        yy += score * score
    spread, common = xx - x * x / m, xy - x * y / m
    slope = common / spread if spread > 0 else 0.0
    rest = yy - y * y / m - slope * common
    deviation = math.sqrt((rest if rest > 0 else 0.0) / m)
    promised = y / m + slope * (int(totals[n]) - x / m)
    return sorted(scores)[-k] > promised + margin * deviation


def score(passages: CodedPassages, query: Float32, selection: Int64) -> Float32:
    """MaxSim of decoded passages: `reference.score` of the rows and scales that codes decode to.

    Args:
        passages: of one segment.
        query: (n_query, dim) float32.
        selection: (n) int64 passages.

    Returns:
        (n) float32; -inf for a passage without tokens.

    Raises:
        CorruptionError: an offset or a selected passage is out of range.
    """
    scores = [_maxsim(passages, query, number) for number in selection.tolist()]
    return np.array(scores, dtype=np.float32)


def _maxsim(
    passages: CodedPassages, query: Float32, number: int, near: Bools | None = None
) -> np.float32:
    """The score of one passage; over the tokens of `near` centroids where these are given."""
    codebook, offsets = passages.coder.codebook, passages.offsets
    if not 0 <= number < len(offsets) - 1:
        raise CorruptionError(f"selection holds passage {number}; there are {len(offsets) - 1}")
    start, stop = int(offsets[number]), int(offsets[number + 1])
    if not 0 <= start <= stop <= len(passages.codes):
        raise CorruptionError(
            f"offsets give passage {number} the rows {start}:{stop} of {len(passages.codes)}"
        )
    codes, residuals = passages.codes[start:stop], passages.residuals[start:stop]
    if near is not None:
        own = near[reference_codec.centroids_of(codebook, codes)]
        codes, residuals = codes[own], residuals[own]
    rows, scales = reference_codec.decode(codebook, codes, residuals)
    wide = np.pad(query, ((0, 0), (0, codebook.row - query.shape[1])))
    return reference.sum_of_maxima(reference.similarities(wide, rows, scales))


def _products(query: Float32, centroids: npt.NDArray[np.int8]) -> Int64:
    """(n_query, n_centroids) products with the quantised query."""
    codes = reference.quantize(query)[0].astype(np.int64)
    return codes @ centroids[:, : query.shape[1]].astype(np.int64).T  # the rest is padding


def _best(products: Int64, keep: int) -> Int64:
    """(n, keep) columns of the largest products of each row, the first of equals first."""
    return np.argsort(-products, axis=1, kind="stable")[:, :keep]


def _listed(segment: CodedPassages, centroid: int) -> Int64:
    """The passages of a posting list, see `gingham.codec.postings`."""
    begin, end = int(segment.lists[centroid]), int(segment.lists[centroid + 1])
    if not 0 <= begin <= end <= len(segment.postings):
        raise CorruptionError(f"posting list {centroid} is out of range")
    n_passages = len(segment.offsets) - 1
    n_blocks = (n_passages + 0xFFFF) >> 16
    found = [np.empty(0, dtype=np.int64)]
    while end - begin > 2:
        block, count = int(segment.postings[begin]), int(segment.postings[begin + 1]) + 1
        begin += 2
        if block >= n_blocks or count > end - begin:
            raise CorruptionError(f"posting list {centroid} is damaged")
        found.append(block << 16 | segment.postings[begin : begin + count].astype(np.int64))
        begin += count
    passages = np.concatenate(found)
    return passages[passages < n_passages]


def _unpacked(bitmap: UInt64, n_passages: int) -> Bools:
    numbers = np.arange(n_passages, dtype=np.uint64)
    bits: UInt64 = bitmap[numbers // np.uint64(64)] >> numbers % np.uint64(64) & np.uint64(1)
    return bits.astype(np.bool_)
