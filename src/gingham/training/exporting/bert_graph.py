"""A BERT-like encoder's weights as a float32 ONNX graph, written node by node instead of traced.

Written, it is already fused (ONNX Runtime's MultiHeadAttention and BiasGelu) and has no
token_type_ids (segment 0 is added to the positions). BERT, RoBERTa with its kin and DistilBERT are
one graph under three sets of names; they differ in how positions are counted.

Inputs input_ids and attention_mask (batch, sequence) int64; output last_hidden_state
(batch, sequence, hidden) float32. Projection and normalisation are not in the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from gingham.document import Float32

OPSET, IR_VERSION = 17, 8  # readable by every ONNX Runtime from 1.14 on
MICROSOFT = "com.microsoft"

# transformers' model_type → whether positions are counted over what is no padding, from its id on.
_COUNTS_FROM_PADDING = {
    "bert": False,
    "distilbert": False,
    "roberta": True,
    "xlm-roberta": True,
    "camembert": True,
}
# DistilBERT's names, in BERT's.
_OF_DISTILBERT = {
    "transformer.layer.": "encoder.layer.",
    ".attention.q_lin.": ".attention.self.query.",
    ".attention.k_lin.": ".attention.self.key.",
    ".attention.v_lin.": ".attention.self.value.",
    ".attention.out_lin.": ".attention.output.dense.",
    ".sa_layer_norm.": ".attention.output.LayerNorm.",
    ".ffn.lin1.": ".intermediate.dense.",
    ".ffn.lin2.": ".output.dense.",
    ".output_layer_norm.": ".output.LayerNorm.",
}


@dataclass(frozen=True, slots=True)
class BertShape:
    """What the weights do not say.

    Attributes:
        layers: how many.
        heads: of attention, in each.
        epsilon: of the normalisations.
        padding: the id of padding where positions are counted from it on; None where the first
            token has position 0.
    """

    layers: int
    heads: int
    epsilon: float
    padding: int | None = None


@dataclass(slots=True)
class _Graph:
    """Nodes and constants written so far."""

    weights: Mapping[str, Float32]
    shape: BertShape
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self.constants[name] = np.ascontiguousarray(value)
        return name

    def node(
        self, operator: str, inputs: list[str], name: str, domain: str = "", **attributes: Any
    ) -> str:
        self.nodes.append(
            helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes)
        )
        return name


def read_bert(model: Any) -> tuple[dict[str, Float32], BertShape] | None:
    """A transformers model's weights under BERT's names, and its shape.

    Returns:
        None where the model computes something that is not written here.
    """
    config = model.config
    kind = config.model_type
    gelu = getattr(config, "hidden_act", getattr(config, "activation", None)) == "gelu"
    absolute = getattr(config, "position_embedding_type", None) in (None, "absolute")
    if kind not in _COUNTS_FROM_PADDING or not (gelu and absolute):
        return None
    if getattr(config, "is_decoder", False):
        return None
    weights = {name: value.float().cpu().numpy() for name, value in model.state_dict().items()}
    if kind == "distilbert":
        for theirs, ours in _OF_DISTILBERT.items():
            weights = {name.replace(theirs, ours): value for name, value in weights.items()}
        return weights, BertShape(config.n_layers, config.n_heads, 1e-12)
    padding = config.pad_token_id if _COUNTS_FROM_PADDING[kind] else None
    heads, epsilon = config.num_attention_heads, config.layer_norm_eps
    return weights, BertShape(config.num_hidden_layers, heads, epsilon, padding)


def write_bert(weights: Mapping[str, Float32], shape: BertShape) -> onnx.ModelProto:
    """The graph; `weights` is a state dict with BERT's names, as `read_bert` gives it."""
    graph = _Graph(weights, shape)
    mask = graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    hidden = _embeddings(graph)
    for layer in range(shape.layers):
        last = layer == shape.layers - 1
        hidden = _layer(graph, layer, hidden, mask, "last_hidden_state" if last else "")

    hidden_size = weights["embeddings.LayerNorm.weight"].shape[0]
    tokens = ["batch", "sequence"]
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "bert",
            [
                helper.make_tensor_value_info("input_ids", TensorProto.INT64, tokens),
                helper.make_tensor_value_info("attention_mask", TensorProto.INT64, tokens),
            ],
            [
                helper.make_tensor_value_info(
                    "last_hidden_state", TensorProto.FLOAT, [*tokens, hidden_size]
                )
            ],
            [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
        producer_name="gingham",
        ir_version=IR_VERSION,
    )


def _embeddings(graph: _Graph) -> str:
    """Words plus positions plus segment 0, normalised."""
    weights = graph.weights
    words = graph.constant("words", weights["embeddings.word_embeddings.weight"])
    embedded = graph.node("Gather", [words, "input_ids"], "words_of_tokens")
    added = graph.node("Add", [embedded, _positions(graph)], "embedded")
    return _normalised(graph, added, "embeddings.LayerNorm", "embeddings", "hidden")


def _positions(graph: _Graph) -> str:
    """The rows for the tokens' positions, segment 0 included."""
    table = graph.weights["embeddings.position_embeddings.weight"]
    segments = graph.weights.get("embeddings.token_type_embeddings.weight")
    if segments is not None:
        table = table + segments[0]
    positions = graph.constant("positions", table)
    padding = graph.shape.padding
    if padding is None:
        length = graph.node("Shape", ["input_ids"], "length", start=1, end=2)
        start, axis = graph.constant("zero", np.array([0])), graph.constant("axis", np.array([0]))
        return graph.node("Slice", [positions, start, length, axis], "positions_of_tokens")
    pad = graph.constant("padding", np.array(padding, np.int64))
    is_pad = graph.node("Equal", ["input_ids", pad], "is_padding")
    is_text = graph.node("Not", [is_pad], "is_text")
    ones = graph.node("Cast", [is_text], "ones", to=TensorProto.INT64)
    axis = graph.constant("axis", np.array(1, np.int64))
    count = graph.node("CumSum", [ones, axis], "count")
    counted = graph.node("Mul", [count, ones], "counted")
    numbers = graph.node("Add", [counted, pad], "position_ids")
    return graph.node("Gather", [positions, numbers], "positions_of_tokens")


def _layer(graph: _Graph, layer: int, hidden: str, mask: str, name_of_output: str) -> str:
    """Self-attention and feed-forward, each added to its input and normalised."""
    source, name = f"encoder.layer.{layer}", f"layer{layer}"

    def weight(part: str) -> Float32:
        return graph.weights[f"{source}.{part}"]

    parts = ("query", "key", "value")
    matrix = np.concatenate([weight(f"attention.self.{part}.weight") for part in parts])
    bias = np.concatenate([weight(f"attention.self.{part}.bias") for part in parts])
    projected = _matmul(graph, hidden, matrix, f"{name}_attention_in")
    split = [f"{name}_{part}" for part in parts]
    graph.nodes.append(helper.make_node("Split", [projected], split, name=f"{name}_split", axis=-1))
    attended = graph.node(
        "MultiHeadAttention",
        [*split, graph.constant(f"{name}_attention_in_bias", bias), mask],
        f"{name}_attended",
        MICROSOFT,
        num_heads=graph.shape.heads,
    )
    dense = "attention.output.dense"
    mixed = _matmul(graph, attended, weight(f"{dense}.weight"), f"{name}_attention_out")
    middle = f"{name}_middle"
    added = _sum(graph, mixed, hidden, weight(f"{dense}.bias"), middle)
    hidden = _normalised(graph, added, f"{source}.attention.output.LayerNorm", middle, middle)
    wide = _matmul(graph, hidden, weight("intermediate.dense.weight"), f"{name}_feed_in")
    wide_bias = graph.constant(f"{name}_feed_in_bias", weight("intermediate.dense.bias"))
    active = graph.node("BiasGelu", [wide, wide_bias], f"{name}_active", MICROSOFT)
    narrow = _matmul(graph, active, weight("output.dense.weight"), f"{name}_feed_out")
    output = name_of_output or f"{name}_hidden"
    added = _sum(graph, narrow, hidden, weight("output.dense.bias"), output)
    return _normalised(graph, added, f"{source}.output.LayerNorm", output, output)


def _matmul(graph: _Graph, value: str, weight: Float32, name: str) -> str:
    """Write value @ weight.T, (batch, sequence, inputs) by (outputs, inputs)."""
    return graph.node("MatMul", [value, graph.constant(f"{name}_weight", weight.T)], name)


def _sum(graph: _Graph, value: str, residual: str, bias: Float32, name: str) -> str:
    # Sum, because ONNX Runtime would fuse Add into SkipLayerNormalization, which on CPUs is slower
    # than the two apart: it took a quarter of the whole eight-bit graph's time.
    bias_name = graph.constant(f"{name}_bias", bias)
    return graph.node("Sum", [value, residual, bias_name], f"{name}_sum")


def _normalised(graph: _Graph, value: str, source: str, constants: str, name: str) -> str:
    inputs = [
        value,
        graph.constant(f"{constants}_norm_weight", graph.weights[f"{source}.weight"]),
        graph.constant(f"{constants}_norm_bias", graph.weights[f"{source}.bias"]),
    ]
    epsilon = graph.shape.epsilon
    return graph.node("LayerNormalization", inputs, name, axis=-1, epsilon=epsilon)
