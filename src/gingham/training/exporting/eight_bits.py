"""A float32 ONNX graph → the same graph with eight-bit matrices, whatever wrote or traced it.

Each product of a value with a constant matrix becomes an integer product in which every token's
vector has a scale of its own. ONNX Runtime's own dynamic quantisation takes one scale for a whole
batch, which loses more, and makes a text's vectors depend on the texts beside it.

    x W + b  is computed as  s (q W8) w + b,  q = round(x / s), s = max|x| / 127 of the token,
                                              W8 = round(W / w), w = step of the column

What a GELU gives is never below -0.17: it is shifted to start at 0, which gains its q a bit. The
table of words becomes eight bits a word, with a scale each. What is not such a product stays
float32: attention, normalisation, the positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from gingham.document import Float32
from gingham.training.exporting.rounding import Rounding, column_steps, round_matrix
from gingham.training.exporting.watching_inputs import InputStatistics

MICROSOFT = "com.microsoft"
# What these operators give is never below so much.
_LEAST = {"BiasGelu": -0.17, "Gelu": -0.17, "FastGelu": -0.17, "Relu": 0.0}
# A matrix of fewer entries gains neither time nor size.
_SMALLEST = 1024
# The version of ONNX's operators from which on ReduceMax has its axes as an input.
_AXES_ARE_INPUTS = 18


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How matrices become eight bits.

    Attributes:
        levels: largest weight. x86 before VNNI adds two products of u8 x s8 in 16 bits, which
            saturate: with 127 one pair in 12,000 does, and vectors turn four times as far as with
            90, where one in millions does. 63 is safe by arithmetic, but coarser.
        smoothing: inputs are divided, and rows of the matrix multiplied, by
            (input's size)^smoothing / (row's size)^(1 - smoothing), so that a few large inputs no
            longer set the scale of all (SmoothQuant, https://arxiv.org/abs/2211.10438). 0 does not.
        smoothed: which products are: "normalised", those after a normalisation, or "all".
        rounding: see `Rounding`.
        kept: names of products that stay float32.
    """

    levels: int = 90
    smoothing: float = 0.5
    smoothed: Literal["normalised", "all"] = "all"
    rounding: Rounding = field(default_factory=Rounding)
    kept: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Rewriting:
    """The graph as it is being rewritten."""

    quantisation: Quantisation
    statistics: Mapping[str, InputStatistics]
    constants: dict[str, npt.NDArray[Any]]
    producers: Mapping[str, onnx.NodeProto]
    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    # Constants that have become eight bits: see `_eight_bits_of`.
    matrices: dict[str, tuple[Float32 | None, npt.NDArray[np.int8], Float32]] = field(
        default_factory=dict
    )
    # Outputs of products that lack so much → (n_out) float32.
    lacking: dict[str, Float32] = field(default_factory=dict)
    # … → outputs of the nodes that add it.
    completed: dict[str, str] = field(default_factory=dict)

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


def products(graph: onnx.ModelProto) -> dict[str, str]:
    """The products with constant matrices that can become eight bits: name → name of the input."""
    constants = {constant.name: constant for constant in graph.graph.initializer}
    return {
        node.output[0]: node.input[0]
        for node in graph.graph.node
        if node.op_type == "MatMul" and _is_matrix(constants.get(node.input[1]))
    }


def after_normalisation(graph: onnx.ModelProto) -> set[str]:
    """The products whose input is what a normalisation gives: those with a few large inputs."""
    producers = {output: node for node in graph.graph.node for output in node.output}
    return {
        name
        for name, value in products(graph).items()
        if value in producers and "Normalization" in producers[value].op_type
    }


def quantise(
    graph: onnx.ModelProto,
    quantisation: Quantisation,
    statistics: Mapping[str, InputStatistics],
) -> onnx.ModelProto:
    """A copy of the graph in eight bits.

    Args:
        graph: in float32.
        quantisation: how.
        statistics: of the inputs of products, by the product's name as `products` gives it; one
            without is neither smoothed nor rounded by them.
    """
    constants = {c.name: numpy_helper.to_array(c) for c in graph.graph.initializer}
    producers = {output: node for node in graph.graph.node for output in node.output}
    statistics = _shared(graph, statistics)
    opset = next(o.version for o in graph.opset_import if o.domain in ("", "ai.onnx"))
    rewriting = _Rewriting(quantisation, statistics, constants, producers, opset)
    wanted = products(graph).keys() - quantisation.kept
    smoothed = (
        wanted & after_normalisation(graph) if quantisation.smoothed == "normalised" else wanted
    )
    for node in graph.graph.node:
        if node.op_type == "MatMul" and node.output[0] in wanted:
            _product(rewriting, node, node.output[0] in smoothed)
        elif _gathers_words(node, constants):
            _words(rewriting, node)
        else:
            _other(rewriting, node)
    used = {name for node in rewriting.nodes for name in node.input}
    made = onnx.ModelProto()
    made.CopyFrom(graph)
    del made.graph.node[:]
    del made.graph.initializer[:]
    del made.graph.value_info[:]
    made.graph.node.extend(rewriting.nodes)
    made.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items() if name in used
    )
    if all(opset.domain != MICROSOFT for opset in made.opset_import):
        made.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return made


def _shared(
    graph: onnx.ModelProto, statistics: Mapping[str, InputStatistics]
) -> dict[str, InputStatistics]:
    """The statistics, those of products with the same matrix joined."""
    groups: dict[str, list[str]] = {}
    for node in graph.graph.node:
        if node.op_type == "MatMul" and node.output[0] in statistics:
            groups.setdefault(node.input[1], []).append(node.output[0])
    joined = {}
    for names in groups.values():
        whole = InputStatistics.joined([statistics[name] for name in names])
        joined.update(dict.fromkeys(names, whole))
    return joined


def _is_matrix(constant: onnx.TensorProto | None) -> bool:
    return (
        constant is not None
        and constant.data_type == TensorProto.FLOAT
        and len(constant.dims) == 2
        and int(np.prod(constant.dims)) >= _SMALLEST
    )


def _gathers_words(node: onnx.NodeProto, constants: Mapping[str, npt.NDArray[Any]]) -> bool:
    table = constants.get(node.input[0]) if node.op_type == "Gather" else None
    if table is None or node.input[1] != "input_ids":
        return False
    along = next((a.i for a in node.attribute if a.name == "axis"), 0)
    return table.ndim == 2 and table.dtype == np.float32 and along == 0


def _words(rewriting: _Rewriting, node: onnx.NodeProto) -> None:
    """One scale a word: a rare word with small entries loses no more than a frequent one."""
    table_name, ids = node.input
    output = node.output[0]
    table = rewriting.constants[table_name]
    scales = np.maximum(np.abs(table).max(1, keepdims=True), 1e-12) / 127
    steps = np.clip(np.rint(table / scales), -127, 127).astype(np.int8)
    eight = rewriting.constant(f"{table_name}_eight_bits", steps)
    rows = rewriting.node("Gather", [eight, ids], f"{output}_eight_bits")
    floats = rewriting.node("Cast", [rows], f"{output}_steps", to=TensorProto.FLOAT)
    scale_name = rewriting.constant(f"{table_name}_scale", scales.astype(np.float32))
    scale = rewriting.node("Gather", [scale_name, ids], f"{output}_scale")
    rewriting.node("Mul", [floats, scale], output)


def _product(rewriting: _Rewriting, node: onnx.NodeProto, smoothed: bool) -> None:
    """Write value @ matrix, (…, inputs) by (inputs, outputs)."""
    value, matrix_name = node.input
    name = node.output[0]
    statistics = rewriting.statistics.get(name)
    producer = rewriting.producers.get(value)
    least = _LEAST.get(producer.op_type) if producer is not None else None

    smooth, steps, scale = _eight_bits_of(rewriting, matrix_name, smoothed, statistics)
    if smooth is not None:
        divisor = rewriting.constant(f"{matrix_name}_smoothing", 1 / smooth)
        value = rewriting.node("Mul", [value, divisor], f"{name}_smoothed")
    if least is None:
        size = rewriting.node("Abs", [value], f"{name}_size")
        _integer_product(rewriting, value, size, 128, matrix_name, name)
        return
    divisors = np.ones(1, np.float32) if smooth is None else smooth
    shift = rewriting.constant(f"{matrix_name}_shift", (-least / divisors).astype(np.float32))
    shifted = rewriting.node("Add", [value, shift], f"{name}_shifted")
    _integer_product(rewriting, shifted, shifted, 0, matrix_name, name)
    shifts = np.broadcast_to(least / divisors, len(steps))
    rewriting.lacking[name] = (shifts @ (steps * scale)).astype(np.float32)


def _eight_bits_of(
    rewriting: _Rewriting, matrix_name: str, smoothed: bool, statistics: InputStatistics | None
) -> tuple[Float32 | None, npt.NDArray[np.int8], Float32]:
    """What the inputs are divided by (None for nothing), the matrix's steps, the columns' scales.

    A matrix that several layers share is quantised once, by what enters all of them.
    """
    known = rewriting.matrices.get(matrix_name)
    if known is not None:
        return known
    quantisation = rewriting.quantisation
    matrix = rewriting.constants[matrix_name]
    smooth = None
    if smoothed and statistics is not None and quantisation.smoothing > 0:
        power = quantisation.smoothing
        largest, rows = np.maximum(statistics.largest, 1e-5), np.abs(matrix).max(1)
        smooth = (largest**power / np.maximum(rows, 1e-5) ** (1 - power)).astype(np.float32)
        matrix = matrix * smooth[:, None]
        statistics = statistics.divided(smooth)
    moments = statistics.moments if statistics is not None else None
    scale = column_steps(matrix, quantisation.levels, moments, quantisation.rounding)
    steps = round_matrix(matrix, scale, quantisation.levels, moments, quantisation.rounding)
    rewriting.constant(f"{matrix_name}_steps", steps)
    rewriting.constant(f"{matrix_name}_scale", scale)
    rewriting.constant(f"{matrix_name}_zero", np.zeros(len(scale), np.int8))
    rewriting.matrices[matrix_name] = smooth, steps, scale
    return smooth, steps, scale


def _integer_product(
    rewriting: _Rewriting, value: str, size: str, zero: int, matrix_name: str, name: str
) -> None:
    """Write value @ matrix, the value's 0 at `zero`, by the steps and scales that are kept."""
    one = rewriting.constant("one", np.array(1, np.float32))
    zero_name = rewriting.constant(f"zero_{zero}", np.array(zero, np.uint8))
    step = rewriting.constant(f"step_{zero}", np.array(1 / (255 - zero), np.float32))
    if rewriting.opset < _AXES_ARE_INPUTS:
        largest = rewriting.node("ReduceMax", [size], f"{name}_largest", axes=[-1], keepdims=1)
    else:
        axes = rewriting.constant("last_axis", np.array([-1], np.int64))
        largest = rewriting.node("ReduceMax", [size, axes], f"{name}_largest", keepdims=1)
    token_scale = rewriting.node("Mul", [largest, step], f"{name}_token_scale")
    scaled = rewriting.node("Div", [value, token_scale], f"{name}_scaled")
    quantised = rewriting.node("QuantizeLinear", [scaled, one, zero_name], f"{name}_quantised")
    product = rewriting.node(
        "MatMulIntegerToFloat",
        [
            quantised,
            f"{matrix_name}_steps",
            one,
            f"{matrix_name}_scale",
            zero_name,
            f"{matrix_name}_zero",
        ],
        f"{name}_product",
        MICROSOFT,
    )
    rewriting.node("Mul", [product, token_scale], name)


def _other(rewriting: _Rewriting, original: onnx.NodeProto) -> None:
    """Copy a node; what the products it reads lack joins the bias that it adds, else is added."""
    node = onnx.NodeProto()
    node.CopyFrom(original)
    for place, name in enumerate(original.input):
        missing = rewriting.lacking.get(name)
        if missing is None:
            continue
        bias = _bias(rewriting, original, missing.shape)
        if bias is not None:
            whole = rewriting.constants[node.input[bias]] + missing
            node.input[bias] = rewriting.constant(f"{name}_whole_bias", whole)
            continue
        if name not in rewriting.completed:
            amount = rewriting.constant(f"{name}_lacking", missing)
            rewriting.completed[name] = rewriting.node("Add", [name, amount], f"{name}_whole")
        node.input[place] = rewriting.completed[name]
    rewriting.nodes.append(node)


def _bias(rewriting: _Rewriting, node: onnx.NodeProto, shape: tuple[int, ...]) -> int | None:
    """Which input of a sum is a constant of this shape."""
    if node.op_type not in ("Add", "Sum"):
        return None
    for place, name in enumerate(node.input):
        constant = rewriting.constants.get(name)
        if constant is not None and constant.shape == shape:
            return place
    return None
