"""Tiny random models of every kind that training meets."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from encoder.conftest import backbone, build

__all__ = ["backbone", "build"]


@pytest.fixture(scope="session")
def dense_model(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single-vector model: the backbone, its tokens averaged."""
    folder = tmp_path_factory.mktemp("models") / "dense"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling

        transformer = Transformer(str(backbone))
        pooling = Pooling(transformer.get_embedding_dimension())
        model = SentenceTransformer(modules=[transformer, pooling], device="cpu")
        model.save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def cross_model(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder: the backbone with a head of one number."""
    folder = tmp_path_factory.mktemp("models") / "cross"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from sentence_transformers import CrossEncoder

        torch.manual_seed(5)
        model = CrossEncoder(str(backbone), num_labels=1, device="cpu")
        model.save_pretrained(str(folder), create_model_card=False)
    return folder
