"""A checkpoint that was shipped without its weights → one that can be trained.

The bundled model is a quantised graph alone. Its integers times their scales are weights again, to
the precision that they were kept in: the model that comes back ranks as the graph does. What is
read here is the shape that `exporting.eight_bits` writes of a BERT; nothing goes by names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham.document import Float32
from gingham.encoder.checkpoint import load_checkpoint
from gingham.errors import ModelError
from gingham.training.steps import finish

_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
# Of a layer, in the order in which the graph computes them.
_PRODUCTS = (
    ("attention.self.query", "attention.self.key", "attention.self.value"),
    ("attention.output.dense",),
    ("intermediate.dense",),
    ("output.dense",),
)
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")


def trainable(model: str, work: Path) -> str:
    """The name or folder of a model that has weights: the model itself, or made of its graph.

    Args:
        model: that `gingham.Encoder` loads.
        work: where a folder `weights` is made, if one must be.

    Raises:
        ModelError: it has neither weights nor a graph that they can be read from.
    """
    folder = load_checkpoint(model).folder
    if any((folder / name).is_file() for name in _WEIGHTS):
        return os.fspath(folder)
    if not Path(model).is_dir() and "/" in model:
        return model  # of the hub, which gave us the graph only because nothing else was asked for
    made = work / "weights"
    finish(made, lambda draft: thaw(folder, draft))
    return os.fspath(made)


def thaw(folder: Path, output: Path) -> None:
    """Write a copy of a checkpoint with weights in place of its graph.

    Args:
        folder: of a BERT whose `onnx` folder has an int8 graph of ours.
        output: a folder that exists.

    Raises:
        ModelError: the graph is of another shape.
    """
    import torch
    from transformers import BertConfig, BertModel

    from gingham.evaluation.quiet_libraries import quiet_libraries

    graph_file = load_checkpoint(folder, "int8").onnx
    try:
        config = BertConfig.from_pretrained(folder)
        weights = dict(_weights(graph_file, config.num_hidden_layers))
        tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
        tensors["embeddings.token_type_embeddings.weight"] = torch.zeros(
            config.type_vocab_size, config.hidden_size
        )
        with torch.device("meta"):  # no weights that would be drawn at random first
            bert = BertModel(config, add_pooling_layer=False)
        bert.load_state_dict(tensors, assign=True)
    except (OSError, ValueError, KeyError, IndexError, StopIteration, RuntimeError) as error:
        line = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{folder}: has no weights, and its graph is none that they can be read from ({line}): "
            "name a model that has, to start from"
        ) from error
    for entry in sorted(folder.iterdir()):
        if entry.is_file():
            shutil.copy2(entry, output / entry.name)
        elif entry.name != "onnx":
            shutil.copytree(entry, output / entry.name, dirs_exist_ok=True)
    with quiet_libraries():
        bert.save_pretrained(output)


def _weights(graph_file: Path, layers: int) -> Iterator[tuple[str, Float32]]:
    """Weights under the names that transformers gives them.

    The embeddings of segments are in those of positions.
    """
    graph = _Graph(graph_file)
    words, positions = graph.embeddings()
    yield "embeddings.word_embeddings.weight", words
    yield "embeddings.position_embeddings.weight", positions
    names = ["embeddings.LayerNorm"]
    names += [f"encoder.layer.{layer}.{norm}" for layer in range(layers) for norm in _NORMS]
    for name, norm in zip(names, graph.of_type("LayerNormalization"), strict=True):
        yield f"{name}.weight", graph.constants[norm.input[1]]
        yield f"{name}.bias", graph.constants[norm.input[2]]
    products = [(layer, parts) for layer in range(layers) for parts in _PRODUCTS]
    for (layer, parts), product in zip(
        products, graph.of_type("MatMulIntegerToFloat"), strict=True
    ):
        matrix, bias = graph.product(product)
        pieces = zip(
            parts,
            np.split(matrix, len(parts), axis=1),
            np.split(bias, len(parts)),
            strict=True,
        )
        for part, own, own_bias in pieces:
            yield f"encoder.layer.{layer}.{part}.weight", np.ascontiguousarray(own.T)
            yield f"encoder.layer.{layer}.{part}.bias", np.ascontiguousarray(own_bias)


class _Graph:
    """An ONNX graph: constants by name, nodes by what they give and what they take."""

    def __init__(self, path: Path) -> None:
        import onnx
        from onnx import numpy_helper

        graph = onnx.load(path).graph
        self.constants: Mapping[str, npt.NDArray[Any]] = {
            constant.name: numpy_helper.to_array(constant).copy() for constant in graph.initializer
        }
        self._nodes = list(graph.node)
        self._makers = {name: node for node in self._nodes for name in node.output}

    def of_type(self, operator: str) -> list[Any]:
        """In the order of the graph."""
        return [node for node in self._nodes if node.op_type == operator]

    def embeddings(self) -> tuple[Float32, Float32]:
        """(n_words, hidden) of words and (n_positions, hidden) of positions."""
        tables = {
            self.constants[node.input[0]].dtype: self.constants[node.input[0]]
            for node in self.of_type("Gather")
            if node.input[1] == "input_ids"
        }
        words = tables[np.dtype(np.int8)] * tables[np.dtype(np.float32)]
        (positions,) = (self.constants[node.input[0]] for node in self.of_type("Slice"))
        return words.astype(np.float32), positions.astype(np.float32)

    def product(self, node: Any) -> tuple[Float32, Float32]:
        """The (inputs, outputs) matrix and the (outputs) bias of one product."""
        steps, scale = self.constants[node.input[1]], self.constants[node.input[3]]
        matrix = (steps * scale).astype(np.float32)
        bias = self._bias_after(node)
        # quantised ← scaled ← the value, which was smoothed and shifted where constants met it.
        value = self._makers[self._makers[node.input[0]].input[0]].input[0]
        while (before := self._makers[value]).op_type in ("Mul", "Add"):
            constant = next((self.constants[n] for n in before.input if n in self.constants), None)
            if constant is None or constant.size not in (1, len(matrix)):
                break
            entries = np.broadcast_to(constant.reshape(-1), len(matrix))
            if before.op_type == "Mul":
                matrix = matrix * entries[:, None]
            else:  # what the shift adds to the product was taken off the bias
                bias = bias + entries @ matrix
            value = next(name for name in before.input if name not in self.constants)
        return matrix, bias.astype(np.float32)

    def _bias_after(self, node: Any) -> Float32:
        """The constant of the outputs' size that is added to a product, behind its own scaling."""
        outputs = len(self.constants[node.input[3]])
        name, size = node.output[0], outputs
        for _ in range(4):
            user = next(other for other in self._nodes if name in other.input)
            for other in user.input:
                value = self.constants.get(other)
                if value is not None and value.shape == (size,) and value.dtype == np.float32:
                    return value
            name = user.output[0]
        raise ValueError(f"no bias behind {node.name or node.output[0]}")
