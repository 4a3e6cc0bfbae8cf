"""Texts through an exported graph in batches of like length, and the backbone as a rival.

gingham's own encoder makes the ColBERT vectors; here is only what it does not do: mean pooling.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from graph import BertShape, bert_to_onnx
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Encoding, Tokenizer

BATCH = 32


class MeanEncoder:
    """A single-vector BERT: the mean of the token vectors, of length one."""

    def __init__(self, folder: Path, length: int, threads: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(length)
        config = json.loads((folder / "config.json").read_text())
        shape = BertShape(
            config["num_hidden_layers"], config["num_attention_heads"], config["layer_norm_eps"]
        )
        graph = bert_to_onnx(load_file(folder / "model.safetensors"), shape)
        self._session = open_graph(graph.SerializeToString(), threads)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n_texts, hidden) float32"""
        rows: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(texts)
        for positions, ids, attention in length_sorted_batches(
            self._tokenizer.encode_batch(list(texts))
        ):
            states = self._session.run(None, {"input_ids": ids, "attention_mask": attention})[0]
            means = (states * attention[..., None]).sum(1) / attention.sum(1, keepdims=True)
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            for row, position in enumerate(positions):
                rows[position] = means[row]
        return np.stack(rows).astype(np.float32)


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
