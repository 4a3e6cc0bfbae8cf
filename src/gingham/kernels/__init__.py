"""MaxSim over many documents at once: the face of the compiled kernels.

`maxsim` is public and takes what a user has at hand; `score` is what the layers above call with
the arrays of a segment, which may be memory-mapped: nothing large is copied. Both check what they
are given; neither knows texts, codes or files.

The bodies are compiled, one an instruction set (`cpp/`), and the best that the processor runs is
used. `GINGHAM_KERNELS` names another: one of `instruction_sets()`, or `reference` for the NumPy
specification in `reference.py`, which also works without the compiled extension. The choice is made
once, at the first use.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham.document import TokenVectors
from gingham.errors import DimensionError, InputError, MissingDependencyError
from gingham.kernels import reference
from gingham.threads import resolve_threads

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Documents = TokenVectors | Sequence[npt.ArrayLike] | npt.NDArray[Any]

__all__ = ["instruction_set", "instruction_sets", "maxsim", "score"]


def maxsim(query: npt.ArrayLike, documents: Documents, *, threads: int | None = None) -> Float32:
    """Score documents against a query: for each query vector its best document token, summed.

    ColBERT, eq. 3: https://arxiv.org/abs/2004.12832. Vectors are taken as they are: for cosine
    similarities they must have unit length, as those of the encoder do.

    Args:
        query: (n_query, dim) vectors.
        documents: `TokenVectors`, one (n_tokens, dim) array a document, or one
            (n_documents, n_tokens, dim) array.
        threads: the argument, else `GINGHAM_THREADS`, else all cores; scores do not depend on it.

    Returns:
        (n_documents,) float32; -inf for a document without tokens.

    Raises:
        DimensionError: query and documents differ in dimension.
        InputError: an array has the wrong shape or is not finite.
    """
    vectors = _float32(query, "query")
    if vectors.ndim != 2:
        raise InputError(f"query must be a (n_query, dim) array, got shape {vectors.shape}")
    if isinstance(documents, TokenVectors):
        values, offsets = documents.values, documents.offsets
    elif isinstance(documents, np.ndarray):
        if documents.ndim != 3:
            raise InputError(
                f"documents as one array must be (n_documents, n_tokens, dim), got shape "
                f"{documents.shape}; pass a list of arrays for documents of different lengths"
            )
        count, length, dim = documents.shape
        values = _float32(documents, "documents").reshape(count * length, dim)
        offsets = np.arange(count + 1, dtype=np.int64) * length
    elif len(documents) == 0:
        return np.empty(0, dtype=np.float32)
    else:
        packed = TokenVectors.from_arrays([_float32(array, "documents") for array in documents])
        values, offsets = packed.values, packed.offsets
    if not _finite(values):
        raise InputError("documents hold NaN or infinity: all vectors must be finite")
    return score(vectors, np.ascontiguousarray(values), offsets, threads=threads)


def score(
    query: Float32,
    values: npt.NDArray[Any],
    offsets: Int64,
    *,
    scales: Float32 | None = None,
    selection: Int64 | None = None,
    threads: int | None = None,
    instructions: str | None = None,
) -> Float32:
    """Score ragged documents, or a selection of them, by the type in which they are stored.

    With int8 values the query is quantised too, each vector by its own scale, and products are
    exact integers: the scores are the same bytes on every machine. Values are not checked to be
    finite; a similarity that is NaN never wins.

    Args:
        query: (n_query, dim) float32.
        values: (n_tokens, dim) float32, float16 or int8, C-contiguous, perhaps memory-mapped.
        offsets: (n_documents + 1) int64; document i owns the rows offsets[i]:offsets[i + 1].
        scales: (n_tokens) float32, given with int8 only: what a row's values are multiplied by.
        selection: (n_selected) int64 numbers of the documents to score; None for all.
        threads: as `maxsim`.
        instructions: an instruction set in place of the chosen one, for tests and benchmarks.

    Returns:
        (n_selected,) float32, in the order of the selection.

    Raises:
        DimensionError: query and documents differ in dimension.
        InputError: a wrong type or shape, a query that is not finite, or an offset or a selected
            number out of range.
    """
    _require(query, "query", 2, np.float32)
    _require(values, "values", 2, np.float32, np.float16, np.int8)
    _require(offsets, "offsets", 1, np.int64)
    if selection is not None:
        _require(selection, "selection", 1, np.int64)
    if (scales is not None) != (values.dtype == np.int8):
        raise InputError("scales are given with int8 values, and only with them")
    if scales is not None:
        _require(scales, "scales", 1, np.float32)
        if len(scales) != len(values):
            raise InputError(f"scales must be one a row, {len(values)}; got {len(scales)}")
    if query.shape[1] != values.shape[1]:
        raise DimensionError(
            f"query vectors have {query.shape[1]} dimensions, document vectors "
            f"{values.shape[1]}: both must come from the same model"
        )
    if len(offsets) == 0:
        raise InputError("offsets must hold at least one number, 0")
    if not _finite(query):
        raise InputError("query holds NaN or infinity: all vectors must be finite")
    name = instruction_set() if instructions is None else instructions
    n_threads = resolve_threads(threads)
    if name == "reference":
        return reference.score(query, values, offsets, scales=scales, selection=selection)
    native = _compiled()
    scores = np.empty(len(offsets) - 1 if selection is None else len(selection), dtype=np.float32)
    try:
        if scales is not None:
            native.maxsim_int8(query, values, scales, offsets, selection, scores, n_threads, name)
        elif values.dtype == np.float16:
            halves = values.view(np.uint16)
            native.maxsim_float16(query, halves, offsets, selection, scores, n_threads, name)
        else:
            native.maxsim_float32(query, values, offsets, selection, scores, n_threads, name)
    except ValueError as error:
        raise InputError(str(error)) from None
    return scores


@functools.cache
def instruction_set() -> str:
    """The name of the body that runs: `GINGHAM_KERNELS`, else the best that the processor has.

    Raises:
        InputError: `GINGHAM_KERNELS` names none that this machine runs.
        MissingDependencyError: the compiled extension is missing.
    """
    asked = os.environ.get("GINGHAM_KERNELS", "").strip()
    if asked == "reference":
        return asked
    available = instruction_sets()
    if not asked:
        return available[0]
    if asked not in available:
        raise InputError(
            f"GINGHAM_KERNELS={asked} is unknown or not run by this machine: unset it, or choose "
            f"one of {', '.join(available)}, reference"
        )
    return asked


def instruction_sets() -> tuple[str, ...]:
    """The compiled bodies that this machine runs, the best first."""
    return tuple(_compiled().instruction_sets())


@functools.cache
def _compiled() -> ModuleType:
    try:
        from gingham.kernels import _native as native
    except ImportError as error:
        raise MissingDependencyError(
            f"the compiled kernels cannot be loaded ({error}): reinstall gingham from a wheel or "
            "with a C++20 compiler, or set GINGHAM_KERNELS=reference for slow NumPy ones"
        ) from error
    return native


def _float32(array: npt.ArrayLike, name: str) -> Float32:
    try:
        return np.ascontiguousarray(array, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: not an array of numbers ({error})") from None


def _finite(values: Float32) -> bool:
    # One pass without a temporary: NaN and infinity survive minimum and maximum.
    return values.size == 0 or bool(np.isfinite(values.min()) and np.isfinite(values.max()))


def _require(array: npt.NDArray[Any], name: str, ndim: int, *dtypes: type) -> None:
    if not isinstance(array, np.ndarray) or array.ndim != ndim or array.dtype not in dtypes:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array)
        names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        raise InputError(f"{name} must be a {ndim}-d {names} array, got {found}")
    if not array.flags.c_contiguous:
        raise InputError(f"{name} must be C-contiguous: pass np.ascontiguousarray({name})")
