"""Texts through an exported graph in batches of like length, to see its hidden states."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Encoding

BATCH = 32


def open_graph(graph: Path | bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def length_sorted_batches(
    encoded: Sequence[Encoding],
) -> Iterator[tuple[list[int], NDArray[np.int64], NDArray[np.int64]]]:
    """Positions, padded ids and attention mask of batches of texts of like length."""
    order = sorted(range(len(encoded)), key=lambda position: len(encoded[position].ids))
    for start in range(0, len(order), BATCH):
        positions = order[start : start + BATCH]
        width = len(encoded[positions[-1]].ids)
        ids = np.zeros((len(positions), width), np.int64)
        attention = np.zeros_like(ids)
        for row, position in enumerate(positions):
            length = len(encoded[position].ids)
            ids[row, :length] = encoded[position].ids
            attention[row, :length] = 1
        yield positions, ids, attention
