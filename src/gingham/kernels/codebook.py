"""What vectors are compressed with: two levels of centroids, and points for the residuals.

`cpp/codec.h` says what a code means; `gingham.codec.training` makes codebooks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from gingham.errors import InputError

Int8 = npt.NDArray[np.int8]
Int64 = npt.NDArray[np.int64]
Bits = Literal[1, 2, 4, 8]

BITS: tuple[Bits, ...] = (1, 2, 4, 8)
CODE_BYTES = 3
LEVELS = 16
POINTS = 16
FINER = 16  # residuals are measured on a grid so many times finer than that of int8
MOST_CENTROIDS = 1 << 20
MOST_DIMENSIONS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Codebook:
    """How the vectors of clustered segments are kept.

    Attributes:
        bits: of the residual, a dimension.
        dim: dimensions of the vectors.
        scale: component * scale is on the int8 grid.
        supers: (n_supers, row) int8 super-centroids; rows are padded with zeros, see `row_of`.
        children: (n_supers + 1) int64: super i owns the centroids children[i]:children[i + 1].
        centroids: (n_centroids, row) int8.
        points: (16, 4 / bits, 16) int8: what a nibble of the residual adds, by level; (16, 0, 16)
            for 8 bits.
        levels: (15) int64 ascending squared lengths that part the levels, on the finer grid.

    Raises:
        InputError: the arrays have the wrong type or shape, or contradict each other.
    """

    bits: Bits
    dim: int
    scale: float
    supers: Int8
    children: Int64
    centroids: Int8
    points: Int8
    levels: Int64

    def __post_init__(self) -> None:
        """Check what the kernels rely on."""
        if self.bits not in BITS:
            raise InputError(f"bits must be one of {BITS}, got {self.bits}")
        if not 1 <= self.dim <= MOST_DIMENSIONS:
            raise InputError(f"a codebook has 1 to {MOST_DIMENSIONS} dimensions, got {self.dim}")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"a codebook's scale must be positive, got {self.scale}")
        row, parts = row_of(self.dim, self.bits), parts_of(self.bits)
        shapes: dict[str, tuple[npt.NDArray[Any], type, tuple[int, ...]]] = {
            "supers": (self.supers, np.int8, (len(self.supers), row)),
            "children": (self.children, np.int64, (len(self.supers) + 1,)),
            "centroids": (self.centroids, np.int8, (len(self.centroids), row)),
            "points": (self.points, np.int8, (LEVELS, parts, POINTS)),
            "levels": (self.levels, np.int64, (LEVELS - 1,)),
        }
        for name, (array, dtype, shape) in shapes.items():
            if array.dtype != dtype or array.shape != shape:
                raise InputError(
                    f"{name} of a codebook must be {np.dtype(dtype).name} {shape}, "
                    f"got {array.dtype} {array.shape}"
                )
        ascending = (self.children[1:] > self.children[:-1]).all()
        if not ascending or self.children[0] != 0 or self.children[-1] != len(self.centroids):
            raise InputError(f"children must ascend from 0 to {len(self.centroids)}")
        if not 0 < len(self.centroids) <= MOST_CENTROIDS:
            raise InputError(f"a codebook has 1 to 2^20 centroids, got {len(self.centroids)}")
        if (self.levels[1:] < self.levels[:-1]).any() or self.levels[0] < 0:
            raise InputError("levels must ascend")
        if parts == 1 and (np.diff(self.points.astype(np.int16), axis=2) < 0).any():
            raise InputError("points must ascend")

    @property
    def row(self) -> int:
        """Dimensions of a decoded row, padding included."""
        return row_of(self.dim, self.bits)

    @property
    def residual_bytes(self) -> int:
        """Bytes of a token's residual."""
        return self.row * self.bits // 8


def row_of(dim: int, bits: Bits) -> int:
    """Dimensions padded so that a residual is whole groups of 16 bytes."""
    unit = 128 // bits
    return -(-dim // unit) * unit


def parts_of(bits: Bits) -> int:
    """Dimensions that a nibble of the residual codes together; none with 8 bits."""
    return 4 // bits


def bits_of(value: object) -> Bits:
    """Bits as a caller gave them.

    Raises:
        InputError: not 1, 2, 4 or 8.
    """
    if isinstance(value, bool) or value not in BITS:
        raise InputError(f"bits must be one of {', '.join(map(str, BITS))}; got {value!r}")
    return cast(Bits, int(cast(int, value)))
