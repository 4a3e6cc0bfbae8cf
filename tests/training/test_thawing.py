"""Weights out of a quantised graph: they give the vectors that the graph gives."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest

import gingham
from encoder.conftest import Build
from gingham.errors import ModelError
from gingham.training.thawing import thaw, trainable

BUNDLED = Path(gingham.__file__).parent / "models" / "gingham-mini"
TEXTS = [
    "The moon pulls the sea, and so the tide rises twice a day.",
    "A reader of comma separated files gives one dictionary for each row.",
]


@pytest.mark.parity
def test_the_bundled_model_gets_its_weights_back(tmp_path: Path) -> None:
    folder = Path(trainable("gingham-mini", tmp_path))
    assert folder.parent == tmp_path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import MultiVectorEncoder

        model = MultiVectorEncoder(str(folder), device="cpu")
        ours = model.encode_document(TEXTS, convert_to_numpy=True, show_progress_bar=False)
    theirs = gingham.Encoder(threads=1).encode_documents(TEXTS)
    for one, other in zip(ours, theirs, strict=True):
        cosines = (one * other).sum(1)
        assert cosines.min() > 0.99
        assert cosines.mean() > 0.999
    assert not (folder / "onnx").exists()


def test_what_has_weights_is_taken_as_it_is(build: Build, tmp_path: Path) -> None:
    folder = build()
    assert Path(trainable(str(folder), tmp_path)) == folder
    assert not any(tmp_path.iterdir())


def test_a_graph_of_another_shape_is_refused(build: Build, tmp_path: Path) -> None:
    folder = tmp_path / "foreign"
    shutil.copytree(build(), folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights, and its graph is none"):
        trainable(str(folder), tmp_path / "work")
    assert not (tmp_path / "work" / "weights").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelError):
        thaw(folder, tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())
