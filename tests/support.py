"""What test modules share that is no fixture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gingham import TokenVectors


def random_vectors(lengths: Sequence[int], dim: int = 16, seed: int = 0) -> TokenVectors:
    """Unit vectors, `lengths[i]` of them for text i."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((sum(lengths), dim), dtype=np.float32)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return TokenVectors(values, offsets)
