"""Codes → posting lists: for each centroid the passages that have a token of it.

A list is runs of 16-bit numbers: the high half of the passage numbers, their count less one, then
their low halves ascending. Passages are named once however many of their tokens share a centroid.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gingham.document import Int64

UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]


def centroids_of(codes: UInt8) -> Int64:
    """(n) int64 centroids of (n, 3) codes."""
    parts = codes.astype(np.int64)
    return parts[:, 0] | parts[:, 1] << 8 | (parts[:, 2] & 0xF) << 16


def postings(codes: UInt8, offsets: Int64, n_centroids: int) -> tuple[Int64, UInt16]:
    """Posting lists of the passages of a segment.

    Args:
        codes: (n_tokens, 3) uint8.
        offsets: (n_passages + 1) int64 tokens of each passage.
        n_centroids: of the codebook.

    Returns:
        (n_centroids + 1) int64: where each list begins in the postings, and the postings, uint16.
    """
    passages = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    pairs = centroids_of(codes)
    pairs <<= 32
    pairs |= passages
    pairs.sort()
    pairs = pairs[np.flatnonzero(np.diff(pairs, prepend=-1))]
    if len(pairs) == 0:
        return np.zeros(n_centroids + 1, dtype=np.int64), np.empty(0, dtype=np.uint16)
    heads = pairs >> 16  # centroid and high half: one run each
    starts = np.flatnonzero(np.diff(heads, prepend=-1))
    counts = np.diff(starts, append=len(pairs))
    run_of = np.repeat(np.arange(len(starts)), counts)
    words = np.empty(len(pairs) + 2 * len(starts), dtype=np.uint16)
    words[np.arange(len(pairs)) + 2 * (run_of + 1)] = pairs & 0xFFFF
    at = starts + 2 * np.arange(len(starts))
    words[at] = heads[starts] & 0xFFFF
    words[at + 1] = counts - 1
    lengths = np.bincount(heads[starts] >> 16, weights=counts + 2, minlength=n_centroids)
    lists = np.concatenate([[0], np.cumsum(lengths.astype(np.int64))]).astype(np.int64)
    return lists, words
