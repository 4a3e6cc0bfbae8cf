"""An exported folder is the model: for gingham, for sentence-transformers, in eight bits."""

from __future__ import annotations

import json
import os
import shutil
import string
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from encoder.conftest import VOCABULARY
from encoder.test_parity import TEXTS, load_oracle
from gingham import Encoder, InputError, ModelError
from gingham.training.exporting import Exported, export
from gingham.training.exporting.bert_graph import read_bert
from gingham.training.exporting.folder import recover
from gingham.training.thawing import thaw
from training.tiny_models import HIDDEN, make_backbone, make_model

pytestmark = pytest.mark.parity

FIXED = {"strategy": "fixed", "attend": False, "length": 16}
CALIBRATION = [
    "the tide rises twice a day because the moon pulls at the sea",
    "naive cafe in the sea of water hello hello world",
    "why does the water of the sea rise a day and 10 believable un",
    "hello world and the moon of a tide in water 1 2 10",
] * 2


def exported(checkpoint: Path, output: Path, **settings: Any) -> Exported:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch and transformers, of their own future
        return export(checkpoint, output, CALIBRATION, **{"check": None, "threads": 1, **settings})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("bert"), query_expansion=FIXED)


def assert_agrees(folder: Path, texts: list[str] = TEXTS) -> Encoder:
    """gingham and sentence-transformers make the same vectors of a folder."""
    encoder, oracle = Encoder(folder, threads=1, precision="fp32"), load_oracle(folder)
    for ours, theirs in (
        (encoder.encode_queries(texts), oracle.encode_query(texts, convert_to_numpy=True)),
        (encoder.encode_documents(texts), oracle.encode_document(texts, convert_to_numpy=True)),
    ):
        for text, mine, its in zip(texts, ours, theirs, strict=True):
            np.testing.assert_allclose(mine, its, atol=1e-4, err_msg=text)
    return encoder


@pytest.mark.parametrize(
    ("architecture", "graph"),
    [
        ("Bert", "written"),
        ("Roberta", "written"),
        ("DistilBert", "written"),
        ("ModernBert", "traced"),
        ("DebertaV2", "traced"),
    ],
)
def test_architectures(architecture: str, graph: str, tmp_path: Path) -> None:
    model = make_model(tmp_path, architecture, query_expansion=FIXED)
    done = exported(model, tmp_path / "out")
    assert done.graph == graph
    assert done.parity.states < 1e-4
    assert done.parity.vectors < 1e-4
    assert done.turned is not None
    assert done.turned.document_mean > 0.97
    encoder = assert_agrees(done.folder)
    constants = onnx.load(done.folder / "onnx" / "model_int8.onnx").graph.initializer
    tables = {c.data_type for c in constants if list(c.dims) == [len(VOCABULARY), HIDDEN]}
    assert onnx.TensorProto.INT8 in tables, "the words"
    coarse = Encoder(done.folder, threads=1, precision="int8")
    exact = encoder.encode_documents(CALIBRATION).values
    assert (exact * coarse.encode_documents(CALIBRATION).values).sum(1).mean() > 0.97
    # A text's vectors do not depend on its neighbours: each token has its own scale.
    alone = coarse.encode_queries(TEXTS[4:5]).values
    np.testing.assert_array_equal(alone, coarse.encode_queries(TEXTS)[4])


def test_what_is_not_written_is_traced(tmp_path: Path) -> None:
    assert read_bert(make_backbone(tmp_path / "a", "Bert")) is not None
    assert read_bert(make_backbone(tmp_path / "b", "Bert, another activation")) is None
    assert read_bert(make_backbone(tmp_path / "c", "Electra")) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"dim": 24, "query_expansion": {**FIXED, "attend": True}},
        {"dim": 48, "query_expansion": {**FIXED, "length": 32}, "skiplist": ()},
        {"dim": 128, "query_expansion": None, "query_length": 64, "similarity": "meanmaxsim"},
        {"dim": 16, "query_expansion": {**FIXED, "strategy": "min"}, "normalise": False},
    ],
)
def test_options_of_the_paper_stay(settings: dict[str, Any], tmp_path: Path) -> None:
    model = make_model(tmp_path, **settings)
    done = exported(model, tmp_path / "out")
    encoder = assert_agrees(done.folder)
    before, after = load_oracle(model), load_oracle(done.folder)
    assert encoder.dim == settings["dim"]
    assert after[0].query_expansion == before[0].query_expansion
    assert after[0].query_length == before[0].query_length
    assert after[2].skiplist_words == list(settings.get("skiplist", string.punctuation))
    assert after.similarity_fn_name == settings.get("similarity", "maxsim")
    expansion = settings["query_expansion"]
    length = len(encoder.encode_queries("the tide")[0])
    assert length == (expansion["length"] if expansion else 5)
    norms = np.linalg.norm(encoder.encode_documents("the tide").values, axis=1)
    assert np.allclose(norms, 1, atol=1e-5) == settings.get("normalise", True)


def test_only_int8_holds_what_gingham_needs(checkpoint: Path, tmp_path: Path) -> None:
    whole = exported(checkpoint, tmp_path / "whole")
    small = exported(checkpoint, tmp_path / "small", only="int8")
    assert set(whole.files) - set(small.files) == {"model.safetensors", "onnx/model.onnx"}
    assert {p.relative_to(small.folder).as_posix() for p in small.folder.rglob("*.*")} == set(
        small.files
    )
    with pytest.raises(ModelError, match="no ONNX file for precision 'fp32'"):
        Encoder(small.folder, precision="fp32")
    one, other = (Encoder(e.folder, threads=1, precision="int8") for e in (whole, small))
    assert one.fingerprint == other.fingerprint, "the same bytes, whenever they are made"
    fp32 = exported(checkpoint, tmp_path / "fp32", only="fp32")
    assert fp32.turned is None
    assert "onnx/model_int8.onnx" not in fp32.files


def test_weights_can_be_read_back_from_int8(checkpoint: Path, tmp_path: Path) -> None:
    small = exported(checkpoint, tmp_path / "small", only="int8")
    (tmp_path / "thawed").mkdir()
    thaw(small.folder, tmp_path / "thawed")
    again = exported(tmp_path / "thawed", tmp_path / "again", only="fp32")
    coarse = Encoder(small.folder, threads=1).encode_documents(CALIBRATION).values
    weights = Encoder(again.folder, threads=1).encode_documents(CALIBRATION).values
    cosines = (coarse * weights).sum(1)
    assert cosines.mean() > 0.998  # what is left is the rounding of inputs
    assert cosines.min() > 0.97


def make_pylate(native: Path, folder: Path) -> None:
    """The same model as PyLate 1 to 3 saves it."""
    shutil.copytree(native, folder)
    config = folder / "config_sentence_transformers.json"
    settings = json.loads(config.read_text())
    config.write_text(
        json.dumps(
            {
                **settings,
                "model_type": "ColBERT",
                "prompts": {},
                "query_prefix": "[unused0] ",
                "document_prefix": "[unused1] ",
                "query_length": 16,
                "document_length": 100,
                "attend_to_expansion_tokens": False,
                "skiplist_words": list(string.punctuation),
            }
        )
    )
    modules = json.loads((folder / "modules.json").read_text())[:2]
    (folder / "modules.json").write_text(json.dumps(modules))
    transformer = folder / "sentence_bert_config.json"
    kept = json.loads(transformer.read_text())
    for key in ("query_expansion", "document_length", "query_length"):
        kept.pop(key, None)
    transformer.write_text(json.dumps(kept))


def make_stanford(native: Path, folder: Path) -> None:
    """The same model as Stanford's ColBERT saves it."""
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(native / name, folder / name)
    config = json.loads((native / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["HF_ColBERT"]}))
    weights = {f"bert.{k}": v for k, v in load_file(native / "model.safetensors").items()}
    linear = load_file(native / "1_Dense" / "model.safetensors")["linear.weight"]
    save_file(
        {**weights, "linear.weight": linear},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    metadata = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_maxlen": 16,
        "doc_maxlen": 100,
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
    }
    (folder / "artifact.metadata").write_text(json.dumps(metadata))


@pytest.mark.parametrize("make", [make_pylate, make_stanford])
def test_other_layouts_become_ours(
    make: Callable[[Path, Path], None], checkpoint: Path, tmp_path: Path
) -> None:
    make(checkpoint, tmp_path / "theirs")
    with pytest.raises(ModelError, match="gingham cannot read yet"):
        Encoder(tmp_path / "theirs")
    done = exported(tmp_path / "theirs", tmp_path / "ours")
    theirs = load_oracle(tmp_path / "theirs")
    encoder = assert_agrees(done.folder)
    native = load_oracle(checkpoint)
    for oracle in (theirs, native):
        for text, mine, its in zip(
            TEXTS, encoder.encode_queries(TEXTS), oracle.encode_query(TEXTS), strict=True
        ):
            np.testing.assert_allclose(mine, its.numpy(), atol=1e-4, err_msg=text)


def test_low_rank_updates_are_merged(checkpoint: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_backbone(tmp_path / "backbone", "Bert")
        shutil.copytree(checkpoint, tmp_path / "base")
        model = load_oracle(tmp_path / "base")
        lora = peft.LoraConfig(r=2, lora_alpha=8, target_modules=["query", "value", "dense"])
        model[0].auto_model.add_adapter(lora)
        generator = torch.Generator().manual_seed(3)
        for name, parameter in model[0].auto_model.named_parameters():
            if "lora_B" in name:
                parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        model.eval()
        expected = model.encode_query(TEXTS, convert_to_numpy=True)
        model.save_pretrained(str(tmp_path / "adapted"), create_model_card=False)
    assert (tmp_path / "adapted" / "adapter_model.safetensors").is_file()
    done = exported(tmp_path / "adapted", tmp_path / "out")
    assert not [name for name in done.files if "adapter" in name]
    plain = Encoder(exported(checkpoint, tmp_path / "plain", only="fp32").folder, threads=1)
    encoder = assert_agrees(done.folder)
    for text, mine, its in zip(TEXTS, encoder.encode_queries(TEXTS), expected, strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-4, err_msg=text)
    assert np.abs(plain.encode_queries(TEXTS).values - np.concatenate(expected)).max() > 0.05


def test_a_folder_is_replaced_only_on_demand(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    exported(checkpoint, target, only="fp32")
    with pytest.raises(
        InputError, match=r"exists: name another folder, or replace it with --force"
    ):
        exported(checkpoint, target, only="fp32")
    (target / "README.md").write_text("old")
    exported(checkpoint, target, only="fp32", force=True)
    assert not (target / "README.md").exists()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds no model"):
        exported(checkpoint, tmp_path / "notes", force=True)
    with pytest.raises(InputError, match="is no folder"):
        exported(checkpoint, tmp_path / "notes" / "thesis.txt", force=True)
    with pytest.raises(InputError, match="is the checkpoint itself"):
        exported(target, target, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "out"]


def test_what_killed_exports_left_is_put_away(checkpoint: Path, tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f".out.{dead.pid}.part", f".out.{os.getpid()}.0.part", ".out.notes"):
        (tmp_path / name).mkdir()
    # Killed after the old model was set aside, before the new one had its name.
    shutil.copytree(checkpoint, tmp_path / f".out.{dead.pid}.old")
    alive = tmp_path / f".out.{os.getppid()}.part"
    alive.mkdir()
    recover(tmp_path / "out")
    assert (tmp_path / "out" / "modules.json").is_file()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"out", alive.name, f".out.{os.getpid()}.0.part", ".out.notes"}


def test_a_graph_that_is_not_the_model_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gingham.training.exporting import bert_graph

    write = bert_graph.write_bert

    def wrong(weights: Any, shape: Any) -> Any:
        name = "encoder.layer.1.output.dense.weight"
        return write({**weights, name: weights[name] * 1.01}, shape)

    target = tmp_path / "out"
    exported(checkpoint, target, only="fp32")
    kept = Encoder(target).fingerprint
    monkeypatch.setattr(bert_graph, "write_bert", wrong)
    with pytest.raises(
        ModelError, match=r"off those of PyTorch by \d\.\de-0[1-3], more than 1e-04"
    ):
        exported(checkpoint, target, force=True)
    assert Encoder(target).fingerprint == kept
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda f: make_backbone(f / "x", "Bert"), "has no trained projection of token vectors"),
        (lambda f: (f / "x").mkdir(), "has no trained projection"),
        (lambda f: None, "no such folder"),
    ],
)
def test_what_is_no_late_interaction_model(
    make: Callable[[Path], Any], expected: str, tmp_path: Path
) -> None:
    make(tmp_path)
    with pytest.raises(ModelError, match=expected) as raised:
        exported(tmp_path / "x", tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_modules_that_gingham_does_not_run(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(checkpoint, folder)
    config = folder / "1_Dense" / "config.json"
    settings = json.loads(config.read_text())
    config.write_text(
        json.dumps({**settings, "activation_function": "torch.nn.modules.activation.Softplus"})
    )
    with pytest.raises(ModelError, match="activation function Softplus, and gingham runs"):
        exported(folder, tmp_path / "out")
    shutil.copytree(checkpoint, tmp_path / "left")
    path = tmp_path / "left" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "padding_side": "left"}))
    with pytest.raises(ModelError, match="pads on the left"):
        exported(tmp_path / "left", tmp_path / "out")
    shutil.copytree(checkpoint, tmp_path / "torn")
    (tmp_path / "torn" / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="sentence-transformers cannot load it"):
        exported(tmp_path / "torn", tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"only": "onnx"}, "only is"),
        ({"allow": -0.1}, "allow is nDCG@10"),
        ({"allow": float("nan")}, "allow is nDCG@10"),
    ],
)
def test_arguments(
    settings: dict[str, Any], expected: str, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=expected):
        exported(checkpoint, tmp_path / "out", **settings)
    with pytest.raises(InputError, match="no text to calibrate"):
        export(checkpoint, tmp_path / "out", ["", " "])
    with pytest.raises(InputError, match="calibration is a list of texts"):
        export(checkpoint, tmp_path / "out", "one text")
