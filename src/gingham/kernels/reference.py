"""MaxSim in NumPy: the specification of the compiled kernels, and the oracle of their tests.

    score(q, d) = sum over query vectors i of max over document tokens j of q_i . d_j

ColBERT, eq. 3: https://arxiv.org/abs/2004.12832. A document without tokens scores -inf, a query
without vectors 0; a NaN similarity never wins. Obvious, not fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gingham.errors import InputError

Float32 = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]
Int64 = npt.NDArray[np.int64]


def score(
    query: Float32,
    values: npt.NDArray[Any],
    offsets: Int64,
    *,
    scales: Float32 | None = None,
    selection: Int64 | None = None,
) -> Float32:
    """What `gingham.kernels.score` returns, to the byte for int8."""
    numbers = np.arange(len(offsets) - 1) if selection is None else selection
    scores = np.empty(len(numbers), dtype=np.float32)
    for i, number in enumerate(numbers.tolist()):
        start, stop = document_rows(offsets, number, len(values))
        row_scales = None if scales is None else scales[start:stop]
        scores[i] = sum_of_maxima(similarities(query, values[start:stop], row_scales))
    return scores


def document_rows(offsets: Int64, number: int, n_rows: int) -> tuple[int, int]:
    """The rows of a document, checked: offsets and numbers may come from a damaged file."""
    if not 0 <= number < len(offsets) - 1:
        raise InputError(f"selection holds document {number}; there are {len(offsets) - 1}")
    start, stop = int(offsets[number]), int(offsets[number + 1])
    if not 0 <= start <= stop <= n_rows:
        raise InputError(f"offsets give document {number} the rows {start}:{stop} of {n_rows}")
    return start, stop


def similarities(
    query: Float32, document: npt.NDArray[Any], scales: Float32 | None = None
) -> Float32:
    """The (n_query, n_tokens) float32 similarities that a score is made of.

    With int8 documents, a scale each, the query is quantised alike. Products are exact integers,
    then each is rounded to float32 in a fixed order: conversion, document scale, query scale. (The
    compiled bodies multiply by the query's scale after the maximum: rounding keeps the order of
    numbers, so the result is the same.)
    """
    if scales is None:
        return query @ document.astype(np.float32).T
    codes, query_scales = quantize(query)
    products = codes.astype(np.int32) @ document.astype(np.int32).T
    similar: Float32 = products.astype(np.float32) * scales * query_scales[:, None]
    return similar


def sum_of_maxima(similarities: Float32) -> np.float32:
    """The score that similarities make."""
    n_query, n_tokens = similarities.shape
    if n_query == 0:
        return np.float32(0)
    if n_tokens == 0:
        return np.float32(-np.inf)
    maxima = np.fmax.reduce(similarities, axis=1)
    # Left to right: np.sum adds in another order, and float32 addition is not associative.
    return np.float32(np.add.accumulate(maxima)[-1])


def quantize(vectors: Float32) -> tuple[Int8, Float32]:
    """Codes and scale of each vector: scale = max |v| / 127, codes = v / scale, half to even."""
    scales = np.abs(vectors).max(axis=1, initial=0) / np.float32(127)
    safe = np.where(scales == 0, np.float32(1), scales)[:, None]
    codes = np.where(scales[:, None] == 0, np.float32(0), np.rint(vectors / safe))
    return np.clip(codes, -127, 127).astype(np.int8), scales
