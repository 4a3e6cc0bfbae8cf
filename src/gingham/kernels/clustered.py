"""The codec and the staged search over clustered segments: the face of the compiled kernels.

Every function has its specification in `reference_codec` or `reference_search`, equal to the byte
(scores to float32 rounding of a square root). As in `gingham.kernels`, `GINGHAM_KERNELS` chooses
the body.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham.errors import CorruptionError, InputError
from gingham.kernels import _compiled, instruction_set, reference_codec, reference_search
from gingham.kernels.codebook import CODE_BYTES, Codebook
from gingham.threads import resolve_threads

Float32 = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]


def quantize_rows(values: Float32, scale: float, row: int, threads: int | None = None) -> Int8:
    """(n, dim) float32 vectors on the int8 grid: (n, row), padded with zeros."""
    if instruction_set() == "reference":
        return reference_codec.quantize_rows(values, scale, row)
    rows = np.empty((len(values), row), dtype=np.int8)
    _compiled().quantize(values, scale, rows, resolve_threads(threads))
    return rows


def nearest(
    rows: Int8, parents: UInt32, centroids: Int8, children: Int64, threads: int | None = None
) -> UInt32:
    """For each row the number of the nearest (L2) of its parent's centroids, the first of equals.

    Args:
        rows: (n, row) int8.
        parents: (n) uint32.
        centroids: (n_centroids, row) int8.
        children: (n_parents + 1) int64 ascending: parent i owns children[i]:children[i + 1].
        threads: the result does not depend on it.
    """
    name = instruction_set()
    if name == "reference":
        return reference_codec.nearest(rows, parents, centroids, children)
    found = np.empty(len(rows), dtype=np.uint32)
    _compiled().nearest(rows, parents, centroids, children, found, resolve_threads(threads), name)
    return found


def kmeans(
    rows: Int8, groups: Int64, children: Int64, iterations: int, threads: int | None = None
) -> Int8:
    """Lloyd's k-means of each group of rows on its own, all at once.

    Args:
        rows: (n, row) int8; group i is groups[i]:groups[i + 1].
        groups: (n_groups + 1) int64 ascending.
        children: (n_groups + 1) int64 ascending: group i gets the centroids
            children[i]:children[i + 1], no more than it has rows.
        iterations: rounds.
        threads: the result does not depend on it.

    Returns:
        (children[-1], row) int8 centroids.
    """
    name = instruction_set()
    if name == "reference":
        return reference_codec.kmeans(rows, groups, children, iterations)
    centroids = np.empty((int(children[-1]), rows.shape[1]), dtype=np.int8)
    n_threads = resolve_threads(threads)
    _compiled().kmeans(rows, groups, children, iterations, centroids, n_threads, name)
    return centroids


class Coder:
    """A codebook, ready for the kernels."""

    def __init__(self, codebook: Codebook) -> None:
        """Hand the arrays over; they are not copied."""
        self.codebook = codebook

    @cached_property
    def native(self) -> Any:
        """The compiled side's view of the arrays."""
        book = self.codebook
        try:
            return _compiled().Codebook(
                book.supers,
                book.children,
                book.centroids,
                book.points,
                book.levels,
                book.bits,
                book.dim,
                book.scale,
            )
        except ValueError as error:
            raise InputError(str(error)) from None

    def assign(self, values: Float32, threads: int | None = None) -> UInt32:
        """The centroid of each vector: the nearest super-centroid's nearest child."""
        book = self.codebook
        rows = quantize_rows(values, book.scale, book.row, threads)
        none = np.zeros(len(rows), dtype=np.uint32)
        all_supers = np.array([0, len(book.supers)], dtype=np.int64)
        parents = nearest(rows, none, book.supers, all_supers, threads)
        return nearest(rows, parents, book.centroids, book.children, threads)

    def encode(self, values: Float32, threads: int | None = None) -> tuple[UInt8, UInt8]:
        """Codes (n, 3) and residuals (n, residual_bytes) of (n, dim) float32 unit vectors."""
        book = self.codebook
        centroids = self.assign(values, threads)
        name = instruction_set()
        if name == "reference":
            return reference_codec.encode(book, values, centroids)
        codes = np.empty((len(values), CODE_BYTES), dtype=np.uint8)
        residuals = np.empty((len(values), book.residual_bytes), dtype=np.uint8)
        n_threads = resolve_threads(threads)
        _compiled().encode(self.native, values, centroids, codes, residuals, n_threads, name)
        return codes, residuals

    def decode(
        self, codes: UInt8, residuals: UInt8, threads: int | None = None
    ) -> tuple[Int8, Float32]:
        """Rows (n, row) int8 and the float32 that each is multiplied by for unit length."""
        name = instruction_set()
        if name == "reference":
            return reference_codec.decode(self.codebook, codes, residuals)
        rows = np.empty((len(codes), self.codebook.row), dtype=np.int8)
        scales = np.empty(len(codes), dtype=np.float32)
        n_threads = resolve_threads(threads)
        _compiled().decode(self.native, codes, residuals, rows, scales, n_threads, name)
        return rows, scales


class CodedPassages:
    """The arrays of one clustered segment, perhaps memory-mapped, ready for the kernels.

    Args:
        coder: of their codebook.
        codes: (n_tokens, 3) uint8.
        residuals: (n_tokens, residual_bytes) uint8.
        offsets: (n_passages + 1) int64.
        lists: (n_centroids + 1) int64 into the postings.
        postings: uint16, see `gingham.codec.postings`.
    """

    def __init__(
        self,
        coder: Coder,
        codes: UInt8,
        residuals: UInt8,
        offsets: Int64,
        lists: Int64,
        postings: UInt16,
    ) -> None:
        """Nothing is copied."""
        self.coder = coder
        self.codes, self.residuals, self.offsets = codes, residuals, offsets
        self.lists, self.postings = lists, postings

    @cached_property
    def native(self) -> Any:
        """The compiled side's view of the arrays."""
        arrays = (self.codes, self.residuals, self.offsets, self.lists, self.postings)
        try:
            return _compiled().Segment(self.coder.native, *arrays)
        except ValueError as error:
            raise CorruptionError(str(error)) from None


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """Candidates of a staged search, in the order of segments and passages.

    Attributes:
        scores: (n) float32 MaxSim.
        segments: (n) int64 positions in the list of segments.
        passages: (n) int64 passages of that segment.
    """

    scores: Float32
    segments: Int64
    passages: Int64


def search(
    coder: Coder,
    segments: Sequence[CodedPassages],
    eligible: Sequence[UInt64 | None],
    query: Float32,
    *,
    supers: int,
    probes: int,
    candidates: int,
    refined: int,
    k: int | None = None,
    margin: float | None = None,
    threads: int | None = None,
    instructions: str | None = None,
) -> Refined:
    """Pool, probe, gather, sift and refine in one call.

    Args:
        coder: whose codebook all segments share.
        segments: to search.
        eligible: for each segment a bitmap of its passages, (n_passages / 64 rounded up) uint64,
            None for all.
        query: (n_query, dim) float32, finite, at least one vector.
        supers: super-centroids whose children are probed, for each query vector.
        probes: centroids whose lists are gathered, for each query vector.
        candidates: passages that are sifted at most, by the tokens near the query.
        refined: passages that are scored in full.
        k: passages that are wanted; `refined` where None.
        margin: sifting ends once the k-th best score is so many standard deviations above what is
            to be expected of the next candidate; None for never.
        threads: for sifting and refining.
        instructions: an instruction set in place of the chosen one, for tests.

    Raises:
        CorruptionError: a posting list or an offset is damaged.
    """
    name = instruction_set() if instructions is None else instructions
    k = refined if k is None else k
    margin = math.inf if margin is None else margin
    if name == "reference":
        sizes = (supers, probes, candidates, k, margin, refined)
        return Refined(*reference_search.search(coder, segments, eligible, query, *sizes))
    try:
        found = _compiled().search(
            query,
            coder.native,
            [segment.native for segment in segments],
            list(eligible),
            supers,
            probes,
            candidates,
            k,
            margin,
            refined,
            resolve_threads(threads),
            name,
        )
    except ValueError as error:
        raise CorruptionError(str(error)) from None
    return Refined(*found[:3])


def score(
    passages: CodedPassages,
    query: Float32,
    selection: Int64 | None = None,
    *,
    threads: int | None = None,
    instructions: str | None = None,
) -> Float32:
    """MaxSim of compressed passages, or a selection of them: the oracle of the staged search.

    Args:
        passages: of one segment.
        query: (n_query, dim) float32.
        selection: (n) int64 passages; all where None.
        threads: to share the passages out to.
        instructions: as `search`.

    Returns:
        (n) float32; -inf for a passage without tokens.
    """
    n_passages = len(passages.offsets) - 1
    chosen = np.arange(n_passages) if selection is None else selection
    name = instruction_set() if instructions is None else instructions
    if name == "reference":
        return reference_search.score(passages, query, chosen)
    beyond = chosen[(chosen < 0) | (chosen >= n_passages)]
    if len(beyond):
        raise CorruptionError(f"selection holds passage {beyond[0]}; there are {n_passages}")
    listed = np.zeros((len(chosen), 2), dtype=np.uint32)
    listed[:, 1] = chosen
    scores = np.empty(len(chosen), dtype=np.float32)
    try:
        _compiled().score_listed(
            query,
            passages.coder.native,
            [passages.native],
            listed,
            scores,
            resolve_threads(threads),
            name,
        )
    except ValueError as error:
        raise CorruptionError(str(error)) from None
    return scores
