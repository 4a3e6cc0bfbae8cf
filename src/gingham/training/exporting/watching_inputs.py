"""What enters each matrix of a graph, over texts: sizes and second moments.

The texts come as token ids; nothing here knows where from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx

from gingham.document import Float32

Float64 = npt.NDArray[np.float64]

_AT_ONCE = 2048


@dataclass(frozen=True, slots=True, eq=False)
class InputStatistics:
    """Of the rows that entered one product.

    Attributes:
        largest: (n_in) float32, the largest absolute value of each input.
        moments: (n_in, n_in) float64, the mean of x xᵀ.
    """

    largest: Float32
    moments: Float64

    @staticmethod
    def joined(parts: Sequence[InputStatistics]) -> InputStatistics:
        """Of as many rows from each part."""
        if len(parts) == 1:
            return parts[0]
        largest = np.max([part.largest for part in parts], axis=0)
        return InputStatistics(largest, np.mean([part.moments for part in parts], axis=0))

    def divided(self, by: Float32) -> InputStatistics:
        """Of the same inputs, each divided by an entry of (n_in) `by`."""
        return InputStatistics(self.largest / by, self.moments / np.outer(by, by))


def watch(
    graph: onnx.ModelProto,
    inputs: Mapping[str, str],
    runs: Iterable[Mapping[str, npt.NDArray[np.int64]]],
    threads: int,
) -> dict[str, InputStatistics]:
    """Run the graph and look at what enters its products.

    Args:
        graph: in float32.
        inputs: name of a product → name of the value that enters it.
        runs: input_ids and attention_mask, (1, n) int64 each, of every text.
        threads: of a run.
    """
    import onnxruntime

    values = sorted(set(inputs.values()))
    watched = onnx.ModelProto()
    watched.CopyFrom(graph)
    known = {output.name for output in watched.graph.output}
    watched.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in values if name not in known
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    # As in the encoder: on a busy machine spinning threads made this ten times as slow.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    sums = {name: _Sum() for name in values}
    for run in runs:
        for name, found in zip(values, session.run(values, dict(run)), strict=True):
            sums[name].add(found.reshape(-1, found.shape[-1]))
    found_of = {name: one.statistics() for name, one in sums.items() if one.rows or one.count}
    return {product: found_of[name] for product, name in inputs.items() if name in found_of}


@dataclass(slots=True)
class _Sum:
    """Rows of one value, some thousand of them in one product: small ones cost more."""

    rows: list[Float32] = field(default_factory=list)
    waiting: int = 0
    count: int = 0
    largest: Float32 | None = None
    moments: Float64 | None = None

    def add(self, rows: Float32) -> None:
        self.rows.append(rows)
        self.waiting += len(rows)
        if self.waiting >= _AT_ONCE:
            self._fold()

    def statistics(self) -> InputStatistics:
        if self.rows:
            self._fold()
        assert self.largest is not None
        assert self.moments is not None
        return InputStatistics(self.largest, self.moments / self.count)

    def _fold(self) -> None:
        rows = np.concatenate(self.rows)
        size, moments = np.abs(rows).max(0), (rows.T @ rows).astype(np.float64)
        self.largest = size if self.largest is None else np.maximum(self.largest, size)
        self.moments = moments if self.moments is None else self.moments + moments
        self.count += len(rows)
        self.rows, self.waiting = [], 0
