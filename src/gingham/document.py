"""The values that go in: documents, and the token vectors that stand for texts.

`TokenVectors` is the one ragged value that every layer passes: the encoder makes it, the index
stores it, the kernels score it. This module knows nothing of models, files or scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from gingham.errors import DimensionError, InputError

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
UInt32 = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Document:
    """A document as a collection keeps it.

    Attributes:
        id: the caller's own name for it, unique in a collection.
        text: the whole text; None where only vectors were added.
        metadata: JSON values by name; what `where` filters look at.
    """

    id: str
    text: str | None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class TokenVectors:
    """The token vectors of several texts, packed without padding.

    Text `i` owns the rows `offsets[i]:offsets[i + 1]` of `values`; a text may own no row.

    Attributes:
        values: (n_tokens, dim) float32, one vector a token.
        offsets: (n_texts + 1) int64, first 0, never decreasing, last n_tokens.
        token_ids: (n_tokens) uint32 vocabulary ids, or None where unknown.
        spans: (n_tokens, 2) int32 half-open character positions in the text, (0, 0) for tokens that
            stand for no characters (markers, [MASK]); None where unknown.

    Raises:
        InputError: the arrays have the wrong type or shape, or disagree.
    """

    values: Float32
    offsets: Int64
    token_ids: UInt32 | None = None
    spans: Int32 | None = None

    def __post_init__(self) -> None:
        """Check every invariant once, so that no later layer has to."""
        values, offsets = self.values, self.offsets
        _require(values, np.float32, 2, "values")
        _require(offsets, np.int64, 1, "offsets")
        if values.shape[1] == 0:
            raise InputError(f"vectors need at least one dimension, got shape {values.shape}")
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(values):
            raise InputError(
                f"offsets must start at 0 and end at the number of tokens, {len(values)}; "
                f"got {offsets[:1].tolist()} … {offsets[-1:].tolist()}"
            )
        if len(offsets) > 1 and (np.diff(offsets) < 0).any():
            raise InputError("offsets must never decrease")
        if self.token_ids is not None:
            _require(self.token_ids, np.uint32, 1, "token_ids", len(values))
        if self.spans is not None:
            _require(self.spans, np.int32, 2, "spans", len(values))
            if self.spans.shape[1] != 2:
                raise InputError(f"spans must be (n_tokens, 2); got {self.spans.shape}")

    @classmethod
    def from_arrays(cls, arrays: Iterable[npt.ArrayLike]) -> TokenVectors:
        """Pack one (n_tokens, dim) array a text.

        Raises:
            InputError: there is no array, or one is not two-dimensional.
            DimensionError: the arrays have different dimensions.
        """
        try:
            parts = [np.asarray(array, dtype=np.float32) for array in arrays]
        except (TypeError, ValueError) as error:
            raise InputError(f"vectors must be arrays of numbers: {error}") from None
        if not parts:
            raise InputError("no arrays given: token vectors need at least one text")
        for i, part in enumerate(parts):
            if part.ndim != 2:
                raise InputError(f"text {i}: expected a (n_tokens, dim) array, got {part.shape}")
            if part.shape[1] != parts[0].shape[1]:
                raise DimensionError(
                    f"text {i} has vectors of {part.shape[1]} dimensions, text 0 of "
                    f"{parts[0].shape[1]}: all must agree"
                )
        offsets = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return cls(np.ascontiguousarray(np.concatenate(parts)), offsets)

    @classmethod
    def concatenate(cls, parts: Iterable[TokenVectors]) -> TokenVectors:
        """Join several values; token ids and spans are kept where all parts have them.

        Raises:
            InputError: there is no part.
            DimensionError: the parts have different dimensions.
        """
        joined = list(parts)
        if not joined:
            raise InputError("nothing to concatenate: token vectors need at least one part")
        if len(joined) == 1:
            return joined[0]
        dims = {part.dim for part in joined}
        if len(dims) > 1:
            raise DimensionError(f"parts have {sorted(dims)} dimensions: all must agree")
        counts = np.concatenate([np.diff(part.offsets) for part in joined])
        offsets = np.zeros(len(counts) + 1, dtype=np.int64)
        np.cumsum(counts, out=offsets[1:])
        ids = [part.token_ids for part in joined if part.token_ids is not None]
        spans = [part.spans for part in joined if part.spans is not None]
        return cls(
            np.concatenate([part.values for part in joined]),
            offsets,
            np.concatenate(ids) if len(ids) == len(joined) else None,
            np.concatenate(spans) if len(spans) == len(joined) else None,
        )

    @property
    def dim(self) -> int:
        """Dimensions of each vector."""
        return int(self.values.shape[1])

    @property
    def n_tokens(self) -> int:
        """Vectors of all texts together."""
        return len(self.values)

    def __len__(self) -> int:
        """Texts."""
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Float32: ...

    @overload
    def __getitem__(self, index: slice) -> TokenVectors: ...

    def __getitem__(self, index: int | slice) -> Float32 | TokenVectors:
        """The (n_tokens, dim) vectors of one text, or a run of texts, without copying."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise InputError(f"texts are sliced in order: step must be 1, got {step}")
            stop = max(start, stop)
            first, last = int(self.offsets[start]), int(self.offsets[stop])
            return TokenVectors(
                self.values[first:last],
                self.offsets[start : stop + 1] - first,
                None if self.token_ids is None else self.token_ids[first:last],
                None if self.spans is None else self.spans[first:last],
            )
        if not -len(self) <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        index %= len(self)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[Float32]:
        """One (n_tokens, dim) array a text."""
        for start, stop in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.values[start:stop]

    def __repr__(self) -> str:
        """Sizes, not contents."""
        return f"TokenVectors({len(self)} texts, {self.n_tokens} tokens, dim {self.dim})"


def _require(
    array: npt.NDArray[Any], dtype: type, ndim: int, name: str, length: int | None = None
) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != ndim:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array)
        raise InputError(f"{name} must be a {ndim}-d {np.dtype(dtype)} array, got {found}")
    if length is not None and len(array) != length:
        raise InputError(f"{name} must have a row a token, {length}; got {len(array)}")
