"""Which whole number each entry of a matrix becomes.

Rounding each entry to its nearest minimises the change of the matrix. What counts is the change of
its products with what enters it: an error in one row can be made up for in rows whose inputs are
correlated with its (Optimal Brain Quantization; GPTQ, https://arxiv.org/abs/2210.17323).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gingham.document import Float32

Float64 = npt.NDArray[np.float64]

# Rows that are rounded before what they leave is taken to all rows below.
_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Rounding:
    """How a matrix is rounded.

    Attributes:
        compensated: make up for each row's error in the rows below; False rounds to nearest.
        damping: is added to the inputs' moments, as a part of their mean diagonal.
        clipping: the smallest part of a column's largest entry that may be the largest step; 1
            clips nothing.
    """

    compensated: bool = True
    damping: float = 0.1
    clipping: float = 1.0


def column_steps(
    matrix: Float32, levels: int, moments: Float64 | None, rounding: Rounding
) -> Float32:
    """(n_out) float32, the size of one step in each column.

    Where clipping is allowed, of twenty sizes the one whose rounding to nearest changes the
    column's products least.
    """
    full: Float32 = np.maximum(np.abs(matrix).max(0), np.float32(1e-12))
    steps: Float32 = full / np.float32(levels)
    if rounding.clipping >= 1 or moments is None:
        return steps
    best = np.full(matrix.shape[1], np.inf)
    weights = np.diag(moments)[:, None]
    for part in np.linspace(rounding.clipping, 1, 20):
        step = full * np.float32(part / levels)
        rounded = np.clip(np.rint(matrix / step), -levels, levels) * step
        error = (weights * (rounded - matrix) ** 2).sum(0)
        steps = np.where(error < best, step, steps)
        best = np.minimum(error, best)
    return steps


def round_matrix(
    matrix: Float32, scale: Float32, levels: int, moments: Float64 | None, rounding: Rounding
) -> npt.NDArray[np.int8]:
    """(n_in, n_out) int8, so that x @ (result * scale) is close to x @ matrix.

    Args:
        matrix: (n_in, n_out) float32.
        scale: (n_out) float32, see `column_steps`.
        levels: the largest absolute value of the result.
        moments: (n_in, n_in) float64, the mean of x xᵀ; None rounds to nearest.
        rounding: how.
    """
    if moments is None or not rounding.compensated:
        nearest = np.clip(np.rint(matrix / scale), -levels, levels)
        return np.asarray(nearest, np.int8)
    factor = _inverse_factor(moments, rounding.damping)
    left: Float64 = np.asarray(matrix, np.float64)
    scale64: Float64 = np.asarray(scale, np.float64)
    steps = np.empty(matrix.shape, np.int8)
    n_in = len(matrix)
    for start in range(0, n_in, _BLOCK):
        end = min(start + _BLOCK, n_in)
        errors = np.empty((end - start, matrix.shape[1]))
        for row in range(start, end):
            steps[row] = np.clip(np.rint(left[row] / scale64), -levels, levels)
            error = (left[row] - steps[row] * scale64) / factor[row, row]
            left[row + 1 : end] -= np.outer(factor[row, row + 1 : end], error)
            errors[row - start] = error
        left[end:] -= factor[start:end, end:].T @ errors
    return steps


def _inverse_factor(moments: Float64, damping: float) -> Float64:
    """The upper Cholesky factor of the inverse of the damped moments."""
    n = len(moments)
    mean = max(float(np.trace(moments)) / n, 1e-12)
    inverse = np.linalg.inv(moments + damping * mean * np.eye(n))
    return np.asarray(np.linalg.cholesky((inverse + inverse.T) / 2).T, np.float64)
