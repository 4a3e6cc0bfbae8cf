"""A BERT encoder's weights as an ONNX graph, in float32 or with eight-bit matrices.

The graph is written node by node instead of traced, because that makes three things plain: it is
already fused (ONNX Runtime's MultiHeadAttention and BiasGelu), it has no
token_type_ids (segment 0 is added to the positions), and the eight-bit form quantises every token's
vector with a scale of its own. ONNX Runtime's own dynamic quantisation takes one scale for a whole
batch, which loses more, and makes a text's vectors depend on the texts beside it.

    x W + b  is computed as  s (q W8) w + b,  q = round(x / s), s = max|x| / 127 of the token,
                                              W8 = round(W / w), w = max|W| / levels of the column

What a GELU gives is never below -0.17: it is shifted to start at 0, which gains its q a bit.

Inputs input_ids and attention_mask (batch, sequence) int64; output last_hidden_state
(batch, sequence, hidden) float32. Projection and normalisation are not in the graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

LEAST_GELU = -0.17
OPSET, IR_VERSION = 17, 8  # readable by every ONNX Runtime from 1.14 on
MICROSOFT = "com.microsoft"

Array = NDArray[np.generic]


@dataclass(frozen=True)
class BertShape:
    """What the weights do not say."""

    layers: int
    heads: int
    epsilon: float


@dataclass(frozen=True)
class Quantisation:
    """How matrices become eight bits.

    levels: largest weight. x86 before VNNI adds two products of u8 x s8 in 16 bits, which saturate:
        with 127 one pair in 12,000 does, and vectors turn four times as far as with 90, where one
        in millions does. 63 is safe by arithmetic, but coarser.
    unsigned: store weights as uint8 around 128; ONNX Runtime then takes its u8 x u8 kernels, which
        never saturate.
    channel_sizes: for a matrix's name, the largest absolute value seen in each input. Inputs
        are then divided, and rows of the matrix multiplied, by sqrt(input size / row size), so that
        a few large inputs no longer set the scale of all (SmoothQuant,
        https://arxiv.org/abs/2211.10438). The product is the same but for rounding.
    """

    levels: int = 90
    unsigned: bool = False
    channel_sizes: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass
class _Graph:
    """Nodes and constants written so far."""

    quantisation: Quantisation | None
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def constant(self, name: str, value: Array) -> str:
        self.constants[name] = np.ascontiguousarray(value)
        return name

    def node(
        self, operator: str, inputs: list[str], name: str, domain: str = "", **attributes: object
    ) -> str:
        self.nodes.append(
            helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes)
        )
        return name


def bert_to_onnx(
    weights: Mapping[str, NDArray[np.float32]],
    shape: BertShape,
    quantisation: Quantisation | None = None,
) -> onnx.ModelProto:
    """Write the graph of a BERT encoder; `weights` is its state dict, as transformers names it."""
    graph = _Graph(quantisation)
    mask = graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    hidden = _embeddings(graph, weights, shape)
    for layer in range(shape.layers):
        last = layer == shape.layers - 1
        hidden = _layer(
            graph, weights, shape, layer, hidden, mask, "last_hidden_state" if last else ""
        )

    hidden_size = weights["embeddings.LayerNorm.weight"].shape[0]
    tokens = ["batch", "sequence"]
    model = helper.make_model(
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
    onnx.checker.check_model(model)
    return model


def _embeddings(graph: _Graph, weights: Mapping[str, NDArray[np.float32]], shape: BertShape) -> str:
    """Words plus positions plus segment 0, normalised."""
    words = weights["embeddings.word_embeddings.weight"]
    if graph.quantisation is None:
        embedded = graph.node(
            "Gather", [graph.constant("words", words), "input_ids"], "words_of_tokens"
        )
    else:
        # One scale a word: a rare word with small entries loses no more than a frequent one.
        scales = np.maximum(np.abs(words).max(1, keepdims=True), 1e-12) / 127
        table = np.clip(np.rint(words / scales), -127, 127).astype(np.int8)
        rows = graph.node("Gather", [graph.constant("words", table), "input_ids"], "words_int8")
        steps = graph.node("Cast", [rows], "words_steps", to=TensorProto.FLOAT)
        scales_name = graph.constant("words_scale", scales.astype(np.float32))
        scale = graph.node("Gather", [scales_name, "input_ids"], "words_scale_of_tokens")
        embedded = graph.node("Mul", [steps, scale], "words_of_tokens")

    positions = weights["embeddings.position_embeddings.weight"]
    positions = positions + weights["embeddings.token_type_embeddings.weight"][0]
    length = graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    start, axis = graph.constant("zero", np.array([0])), graph.constant("axis", np.array([0]))
    table_name = graph.constant("positions", positions)
    placed = graph.node("Slice", [table_name, start, length, axis], "positions_of_tokens")
    added = graph.node("Add", [embedded, placed], "embedded")
    return graph.node(
        "LayerNormalization",
        [
            added,
            graph.constant("embeddings_norm_weight", weights["embeddings.LayerNorm.weight"]),
            graph.constant("embeddings_norm_bias", weights["embeddings.LayerNorm.bias"]),
        ],
        "hidden",
        axis=-1,
        epsilon=shape.epsilon,
    )


def _layer(
    graph: _Graph,
    weights: Mapping[str, NDArray[np.float32]],
    shape: BertShape,
    layer: int,
    hidden: str,
    mask: str,
    name_of_output: str,
) -> str:
    """Self-attention and feed-forward, each added to its input and normalised."""
    source, name = f"encoder.layer.{layer}", f"layer{layer}"

    def weight(part: str) -> NDArray[np.float32]:
        return weights[f"{source}.{part}"]

    parts = ("query", "key", "value")
    matrix = np.concatenate([weight(f"attention.self.{part}.weight") for part in parts])
    bias = np.concatenate([weight(f"attention.self.{part}.bias") for part in parts])
    projected = _matmul(graph, hidden, matrix.T, f"{name}_attention_in")
    split = [f"{name}_{part}" for part in parts]
    graph.nodes.append(helper.make_node("Split", [projected], split, name=f"{name}_split", axis=-1))
    bias_name = graph.constant(f"{name}_attention_in_bias", bias)
    attended = graph.node(
        "MultiHeadAttention",
        [*split, bias_name, mask],
        f"{name}_attended",
        MICROSOFT,
        num_heads=shape.heads,
    )
    mixed = _matmul(
        graph, attended, weight("attention.output.dense.weight").T, f"{name}_attention_out"
    )
    attention_bias = weight("attention.output.dense.bias")
    hidden = _add_and_normalise(
        graph,
        mixed,
        hidden,
        attention_bias,
        weight("attention.output.LayerNorm.weight"),
        weight("attention.output.LayerNorm.bias"),
        shape,
        f"{name}_middle",
    )
    wide = _matmul(graph, hidden, weight("intermediate.dense.weight").T, f"{name}_feed_in")
    wide_bias = graph.constant(f"{name}_feed_in_bias", weight("intermediate.dense.bias"))
    active = graph.node("BiasGelu", [wide, wide_bias], f"{name}_active", MICROSOFT)
    matrix = weight("output.dense.weight").T
    narrow, shift = _matmul_from(graph, LEAST_GELU, active, matrix, f"{name}_feed_out")
    return _add_and_normalise(
        graph,
        narrow,
        hidden,
        weight("output.dense.bias") + shift,
        weight("output.LayerNorm.weight"),
        weight("output.LayerNorm.bias"),
        shape,
        name_of_output or f"{name}_hidden",
    )


def _add_and_normalise(
    graph: _Graph,
    value: str,
    residual: str,
    bias: NDArray[np.float32],
    norm_weight: NDArray[np.float32],
    norm_bias: NDArray[np.float32],
    shape: BertShape,
    name: str,
) -> str:
    # Sum, because ONNX Runtime would fuse Add into SkipLayerNormalization, which on CPUs is slower
    # than the two apart: it took a quarter of the whole eight-bit graph's time.
    bias_name = graph.constant(f"{name}_bias", bias)
    added = graph.node("Sum", [value, residual, bias_name], f"{name}_sum")
    constants = [
        graph.constant(f"{name}_norm_weight", norm_weight),
        graph.constant(f"{name}_norm_bias", norm_bias),
    ]
    inputs = [added, *constants]
    return graph.node("LayerNormalization", inputs, name, axis=-1, epsilon=shape.epsilon)


def _matmul(graph: _Graph, value: str, matrix: NDArray[np.float32], name: str) -> str:
    """value @ matrix, (batch, sequence, inputs) by (inputs, outputs)."""
    quantisation = graph.quantisation
    if quantisation is None:
        return graph.node("MatMul", [value, graph.constant(f"{name}_weight", matrix)], name)

    sizes = quantisation.channel_sizes.get(name)
    if sizes is not None:
        smoothing = np.sqrt(np.maximum(sizes, 1e-5) / np.maximum(np.abs(matrix).max(1), 1e-5))
        divisor = graph.constant(f"{name}_smoothing", (1 / smoothing).astype(np.float32))
        value = graph.node("Mul", [value, divisor], f"{name}_smoothed")
        matrix = matrix * smoothing[:, None]
    size = graph.node("Abs", [value], f"{name}_size")
    _int8_product(graph, quantisation, value, size, 128, matrix, name)
    return name


def _matmul_from(
    graph: _Graph, least: float, value: str, matrix: NDArray[np.float32], name: str
) -> tuple[str, NDArray[np.float32]]:
    """value @ matrix of a value nowhere below `least`, and what is still to be added to it."""
    quantisation = graph.quantisation
    if quantisation is None:
        return _matmul(graph, value, matrix, name), np.zeros(matrix.shape[1], np.float32)
    offset = graph.constant("shift", np.array(-least, np.float32))
    value = graph.node("Add", [value, offset], f"{name}_shifted")
    stored = _int8_product(graph, quantisation, value, value, 0, matrix, name)
    return name, (least * stored.sum(0)).astype(np.float32)


def _int8_product(
    graph: _Graph,
    quantisation: Quantisation,
    value: str,
    size: str,
    zero: int,
    matrix: NDArray[np.float32],
    name: str,
) -> NDArray[np.float32]:
    """Write value @ matrix in eight bits, the value's 0 at `zero`; return the matrix as kept."""
    column_scale = np.maximum(np.abs(matrix).max(0), 1e-12) / quantisation.levels
    steps = np.clip(np.rint(matrix / column_scale), -quantisation.levels, quantisation.levels)
    middle = 128 if quantisation.unsigned else 0
    stored = (steps + middle).astype(np.uint8 if quantisation.unsigned else np.int8)

    one = graph.constant("one", np.array(1, np.float32))
    zero_name = graph.constant(f"zero_{zero}", np.array(zero, np.uint8))
    step = graph.constant(f"step_{zero}", np.array(1 / (255 - zero), np.float32))
    largest = graph.node("ReduceMax", [size], f"{name}_largest", axes=[-1], keepdims=1)
    token_scale = graph.node("Mul", [largest, step], f"{name}_token_scale")
    scaled = graph.node("Div", [value, token_scale], f"{name}_scaled")
    quantised = graph.node("QuantizeLinear", [scaled, one, zero_name], f"{name}_quantised")
    product = graph.node(
        "MatMulIntegerToFloat",
        [
            quantised,
            graph.constant(f"{name}_weight", stored),
            one,
            graph.constant(f"{name}_scale", column_scale.astype(np.float32)),
            zero_name,
            graph.constant(f"{name}_zero", np.full(matrix.shape[1], middle, stored.dtype)),
        ],
        f"{name}_product",
        MICROSOFT,
    )
    graph.node("Mul", [product, token_scale], name)
    kept: NDArray[np.float32] = steps * column_scale
    return kept
