"""Scalar codes: each token vector on its own, as int8 with one scale or as fp16.

Nothing is trained and nothing is shared between tokens, which makes these the codes of flat
segments: small or fresh data, scored exhaustively. At 128 dimensions int8 keeps 132 bytes a token
where float32 needs 512.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gingham.document import Float32
from gingham.kernels.reference import quantize

ScalarCodec = Literal["int8", "fp16"]
SCALAR_CODECS: tuple[ScalarCodec, ...] = ("int8", "fp16")


def encode(values: Float32, codec: ScalarCodec) -> tuple[npt.NDArray[Any], Float32 | None]:
    """Code token vectors.

    int8 is symmetric, see `quantize`: every component is kept to within half a scale.

    Args:
        values: (n_tokens, dim) float32, finite.
        codec: "int8" or "fp16".

    Returns:
        (n_tokens, dim) codes and, for int8, (n_tokens) float32 scales.
    """
    if codec == "fp16":
        return values.astype(np.float16), None
    return quantize(values)
