"""What is left in the output is loaded by gingham and by sentence-transformers, and is the same."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gingham
from training.toys import run, toy_set, toy_settings

QUERIES = ["why does the tide rise twice a day?", "hello"]
DOCUMENTS = ["The moon, and the sea.", "naive cafe"]


@pytest.mark.parity
@pytest.mark.parametrize(
    "options",
    [
        {"similarity": "l2", "lora_rank": 4, "dim": 24},
        {"augmentation": False, "keep_punctuation": True, "query_length": 9},
    ],
)
def test_both_libraries_load_it(backbone: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    settings = toy_settings(backbone, steps=4, **options)
    run(settings, [toy_set(80, 1)], toy_set(10, 2), tmp_path / "out", export=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import MultiVectorEncoder

        theirs = MultiVectorEncoder(str(tmp_path / "out"), device="cpu")
    assert theirs.similarity_fn_name == "maxsim"
    graph = tmp_path / "out" / "onnx" / "model_int8.onnx"
    graph.unlink(missing_ok=True)
    ours = gingham.Encoder(str(tmp_path / "out"))
    for texts, encode, oracle in (
        (QUERIES, ours.encode_queries, theirs.encode_query),
        (DOCUMENTS, ours.encode_documents, theirs.encode_document),
    ):
        vectors = encode(texts)
        for index, wanted in enumerate(oracle(texts, convert_to_numpy=True)):
            rows = vectors.values[vectors.offsets[index] : vectors.offsets[index + 1]]
            assert rows.shape == wanted.shape
            np.testing.assert_allclose(rows, wanted, atol=2e-4)
    assert ours.dim == options.get("dim", 16)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "4 steps of 8 queries on cpu" in card
    assert "| toy | " in card
    assert "| toy (dev) | " in card
    assert ("trained with squared L2" in card) == (options.get("similarity") == "l2")
