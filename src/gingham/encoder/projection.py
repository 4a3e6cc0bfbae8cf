"""Hidden states → token vectors: the dense layers and the L2 normalisation after the transformer.

In NumPy and fp32. It knows no tokens and no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gingham.document import Float32
from gingham.encoder.files import read_json
from gingham.errors import ModelError

# What a torch module of this name computes; others are refused, not guessed.
_ERF = np.vectorize(math.erf, otypes=[np.float64])
ACTIVATIONS: dict[str, Callable[[Float32], Float32]] = {
    "Identity": lambda x: x,
    "Tanh": lambda x: np.tanh(x),
    "ReLU": lambda x: np.maximum(x, np.float32(0)),
    "Sigmoid": lambda x: 0.5 * (1 + np.tanh(0.5 * x)),
    "SiLU": lambda x: x * 0.5 * (1 + np.tanh(0.5 * x)),
    "GELU": lambda x: (x * 0.5 * (1 + _ERF(x / math.sqrt(2)))).astype(np.float32),
}


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """One dense layer: activation(x @ weight.T + bias), plus a residual where the model has one.

    Attributes:
        weight: (out, in) float32.
        bias: (out) float32, or None.
        activation: a key of `ACTIVATIONS`.
        residual: (out, in) float32; an empty array where x itself is added; None for no residual.
    """

    weight: Float32
    bias: Float32 | None
    activation: str
    residual: Float32 | None

    def __call__(self, x: Float32) -> Float32:
        """(n, in) float32 → (n, out) float32."""
        y = _product(x, self.weight)
        if self.bias is not None:
            y = y + self.bias
        y = ACTIVATIONS[self.activation](y)
        if self.residual is not None:
            y = y + (_product(x, self.residual) if self.residual.size else x)
        return y


def load_dense(folder: Path) -> Dense:
    """Read one `N_Dense` folder of a checkpoint.

    Raises:
        ModelError: a file is missing or damaged, the weights contradict the configuration, or the
            layer computes something that is not known here.
    """
    config = read_json(folder / "config.json")
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    package, _, name = activation.rpartition(".")
    if name not in ACTIVATIONS or not package.startswith("torch."):
        raise ModelError(
            f"{folder}: the activation function {activation!r} is not one of "
            f"{', '.join(ACTIVATIONS)}: it cannot be run without its code"
        )
    for key in ("module_input_name", "module_output_name"):
        if (config.get(key) or "token_embeddings") != "token_embeddings":
            raise ModelError(
                f"{folder}: {key} is {config[key]!r}, not 'token_embeddings': the layer does not "
                "project token vectors; choose a late-interaction model"
            )
    tensors = _read_tensors(folder / "model.safetensors")
    weight = tensors.get("linear.weight")
    if weight is None or weight.ndim != 2:
        raise ModelError(f"{folder}: model.safetensors has no matrix linear.weight: get it again")
    residual = None
    if config.get("use_residual"):
        square = weight.shape[0] == weight.shape[1]
        residual = np.empty((0, 0), np.float32) if square else tensors.get("residual.weight")
        if residual is None:
            raise ModelError(f"{folder}: use_residual without residual.weight: get it again")
    bias = tensors.get("linear.bias") if config.get("bias", True) else None
    shape = (config.get("out_features"), config.get("in_features"))
    fits = (
        weight.shape == shape
        and (bias is None or bias.shape == shape[:1])
        and (residual is None or not residual.size or residual.shape == shape)
    )
    if not fits or (config.get("bias", True) and bias is None):
        raise ModelError(
            f"{folder}: the weights do not have the shape {shape} that config.json gives: get both "
            "files again"
        )
    return Dense(weight, bias, name, residual)


def _product(x: Float32, weight: Float32) -> Float32:
    """Compute x @ weight.T, row by row.

    So written, a row's result does not depend on how many rows there are, and BLAS starts no
    threads: on a busy machine they took 40 ms for what one thread does in 0.1 ms.
    """
    rows: Float32 = x[:, None, :] @ weight.T
    return rows[:, 0]


def _read_tensors(path: Path) -> dict[str, Float32]:
    # Never a pickle: pytorch_model.bin is not looked at.
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise ModelError(
            f"{path}: missing: gingham reads weights from safetensors only; save the model again"
        ) from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: damaged safetensors ({error}): get the file again") from error
    return {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}


def normalise(x: Float32) -> Float32:
    """(n, dim) float32 with each row divided by its L2 norm; a zero row stays zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", x, x))
    unit: Float32 = x / np.maximum(norms, np.float32(1e-12))[:, None]
    return unit
