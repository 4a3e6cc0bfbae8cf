"""The same vectors as sentence-transformers, for every setting of a checkpoint and hard texts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gingham import Encoder

pytestmark = pytest.mark.parity

FIXED = {"strategy": "fixed", "attend": False, "length": 12}
CHECKPOINTS: dict[str, dict[str, Any]] = {
    "fixed": {"query_expansion": FIXED},
    "fixed attended": {"query_expansion": {**FIXED, "attend": True}},
    "min": {"query_expansion": {**FIXED, "strategy": "min"}},
    "min attended, with a ceiling": {
        "query_expansion": {**FIXED, "strategy": "min", "attend": True},
        "query_length": 16,
    },
    "another filling": {"query_expansion": {**FIXED, "token": "[UNK]"}},
    "no augmentation": {"query_length": 10},
    "no lengths": {"document_length": None},
    "no skiplist": {"query_expansion": FIXED, "skiplist": ()},
    "skiplist for queries": {
        "query_expansion": FIXED,
        "skiplist": ("[MASK]", "?", "the"),
        "skiplist_tasks": ("query", "document"),
    },
    "skiplist with unknown words": {"skiplist": ("[UNK]", "~", "~~", ".")},
    "only some ids": {"keep_only": [50, 51, 52, 53, 54, 55]},
    "dense layers": {
        "dense": (
            {"out_features": 24, "bias": True, "activation_function": "Tanh"},
            {"out_features": 24, "bias": True, "activation_function": "GELU", "use_residual": True},
            {"out_features": 8, "bias": False, "activation_function": "ReLU", "use_residual": True},
            {"out_features": 8, "bias": True, "activation_function": "SiLU"},
            {"out_features": 8, "bias": True, "activation_function": "Sigmoid"},
        ),
        "normalise": False,
    },
    "no dense layer": {"dense": ()},
    "prompts in words": {"prompts": {"query": "why: ", "document": "the sea"}},
    "no prompts": {"prompts": {"query": "", "document": ""}},
}
TEXTS = [
    "",
    " ",
    "...!?",
    "~ ~",
    "the tide rises twice a day.",
    "Why DOES the Sea rise, twice a day?",
    "the sea and the moon and the water of the tide and a day " * 8,
    "a,b;c:d " * 20,
    "[MASK] the [CLS] tide [SEP] [PAD] [UNK] [unused0] [unused1] ##ing",
    "unbelievable naïve café Ünüß ﬁn ½ Ⅷ",
    "cafe\u0301 e\u0301\u0323 n\u0303",
    "漢字日本語 the 日本",
    "😀 👩‍👩‍👧 the 👍🏽 sea",
    "\ttabs\r\nlines\u00a0spaces\u200bzero \x00\x01\ufffd",
    "مرحبا שלום हिन्दी ไทย",
    "x" * 300,
    "q" + "!" * 40,
]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_vectors_are_those_of_sentence_transformers(name: str, build: Any) -> None:
    folder = build(**_with_modules(CHECKPOINTS[name]))
    oracle = load_oracle(folder)
    encoder = Encoder(folder, threads=2)

    for ours, theirs in (
        (encoder.encode_queries(TEXTS), oracle.encode_query(TEXTS, convert_to_numpy=True)),
        (encoder.encode_documents(TEXTS), oracle.encode_document(TEXTS, convert_to_numpy=True)),
    ):
        assert len(ours) == len(theirs) == len(TEXTS)
        for text, mine, its in zip(TEXTS, ours, theirs, strict=True):
            assert mine.shape == its.shape, text
            np.testing.assert_allclose(mine, its, atol=1e-4, err_msg=text)
    assert encoder.dim == oracle.get_embedding_dimension()


def load_oracle(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers warns of its own future
        from sentence_transformers import MultiVectorEncoder

        return MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)


def _with_modules(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, with torch modules in the place of the names of activation functions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch

    layers = settings.get("dense", ())
    made = tuple(
        {**layer, "activation_function": getattr(torch.nn, layer["activation_function"])()}
        for layer in layers
    )
    return {**settings, "dense": made} if "dense" in settings else settings
