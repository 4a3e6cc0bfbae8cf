"""Every way in which a checkpoint can be wrong is a ModelError of one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gingham
from gingham import Encoder, InputError, ModelError
from gingham.encoder.checkpoint import load_checkpoint
from gingham.encoder.files import BUNDLED, locate
from gingham.encoder.layouts import recognise

FOLDER = Path(gingham.__file__).parent / "models" / BUNDLED


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def edit_module(folder: Path, index: int, **changes: Any) -> None:
    path = folder / "modules.json"
    modules = json.loads(path.read_text())
    modules[index] |= changes
    path.write_text(json.dumps(modules))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def save_weights(folder: Path, **tensors: Any) -> None:
    from safetensors.numpy import save_file

    save_file(
        {k.replace("_", "."): v for k, v in tensors.items()}, folder / "1_Dense/model.safetensors"
    )


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def forget_lengths(folder: Path) -> None:
    edit(folder / "sentence_bert_config.json", document_length=None)
    edit(folder / "tokenizer_config.json", model_max_length=None)
    edit(folder / "config.json", max_position_embeddings=None)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "emptied folder": (empty, "not a checkpoint"),
    "no modules": (lambda f: (f / "modules.json").unlink(), "modules.json: missing"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "no weights": (lambda f: (f / "1_Dense/model.safetensors").unlink(), "safetensors: missing"),
    "no dense settings": (lambda f: (f / "1_Dense/config.json").unlink(), "config.json: missing"),
    "no onnx": (lambda f: shutil.rmtree(f / "onnx"), "no ONNX file for precision 'auto'"),
    "no lengths": (lambda f: (f / "sentence_bert_config.json").unlink(), "json: missing"),
    "no mask settings": (lambda f: (f / "2_MultiVectorMask/config.json").unlink(), "missing"),
    "cut JSON": (lambda f: cut(f / "config_sentence_transformers.json"), "damaged JSON"),
    "JSON not UTF-8": (lambda f: (f / "modules.json").write_bytes(b"\xff\xfe["), "damaged JSON"),
    "deep JSON": (lambda f: (f / "modules.json").write_text("[" * 200_000), "damaged JSON"),
    "JSON of another kind": (
        lambda f: (f / "1_Dense/config.json").write_text("[]"),
        "an? JSON object",
    ),
    "modules no list": (lambda f: (f / "modules.json").write_text("{}"), "JSON list of objects"),
    "modules no objects": (
        lambda f: (f / "modules.json").write_text("[1]"),
        "JSON list of objects",
    ),
    "no transformer": (
        lambda f: (f / "modules.json").write_text("[]"),
        "must begin with the Trans",
    ),
    "transformer elsewhere": (lambda f: edit_module(f, 0, path="0"), "must begin with the Transf"),
    "unknown module": (
        lambda f: edit_module(f, 3, type="a.b.WardPooling"),
        "'a.b.WardPooling' cannot",
    ),
    "path up": (lambda f: edit_module(f, 1, path="../../x"), "leaves the checkpoint"),
    "path within, then up": (lambda f: edit_module(f, 1, path="1_Dense/../../x"), "leaves the"),
    "absolute path": (lambda f: edit_module(f, 1, path="/etc"), "leaves the checkpoint"),
    "Windows path": (lambda f: edit_module(f, 1, path="..\\x"), "leaves the checkpoint"),
    "drive": (lambda f: edit_module(f, 1, path="C:/x"), "leaves the checkpoint"),
    "path no text": (lambda f: edit_module(f, 1, path=3), "leaves the checkpoint"),
    "cut tokenizer": (lambda f: cut(f / "tokenizer.json"), "damaged tokenizer"),
    "cut weights": (lambda f: cut(f / "1_Dense/model.safetensors"), "damaged safetensors"),
    "weights no safetensors": (
        lambda f: (f / "1_Dense/model.safetensors").write_bytes(b"PK\x03\x04" * 9),
        "damaged safetensors",
    ),
    "huge header": (
        lambda f: (f / "1_Dense/model.safetensors").write_bytes(b"\xff" * 64),
        "damaged safetensors",
    ),
    "weights under other names": (
        lambda f: save_weights(f, other=np.zeros((16, 32), np.float32)),
        "no matrix linear.weight",
    ),
    "weights of another shape": (
        lambda f: save_weights(f, linear_weight=np.zeros((8, 32), np.float32)),
        "do not have the shape",
    ),
    "bias missing": (lambda f: edit(f / "1_Dense/config.json", bias=True), "do not have the shape"),
    "residual missing": (
        lambda f: edit(f / "1_Dense/config.json", use_residual=True),
        "without residual.weight",
    ),
    "unknown activation": (
        lambda f: edit(f / "1_Dense/config.json", activation_function="torch.nn.Softmax"),
        "activation function 'torch.nn.Softmax' is not one of",
    ),
    "activation of its own": (
        lambda f: edit(f / "1_Dense/config.json", activation_function="evil.Tanh"),
        "activation function 'evil.Tanh'",
    ),
    "dense of the sentence": (
        lambda f: edit(f / "1_Dense/config.json", module_input_name="sentence_embedding"),
        "does not project token vectors",
    ),
    "cut onnx": (lambda f: cut(f / "onnx/model.onnx"), "model.onnx: damaged"),
    "onnx no protobuf": (lambda f: (f / "onnx/model.onnx").write_bytes(b"x" * 99), "onnx: damaged"),
    "length of text": (
        lambda f: edit(f / "sentence_bert_config.json", document_length="long"),
        "document_length is 'long', of the wrong type",
    ),
    "length without room": (
        lambda f: edit(f / "sentence_bert_config.json", document_length=3),
        "3 tokens leave no room",
    ),
    "length zero": (
        lambda f: edit(f / "sentence_bert_config.json", document_length=0),
        "document_length is 0",
    ),
    "query longer than the model": (
        lambda f: edit(
            f / "sentence_bert_config.json", query_expansion={"strategy": "fixed", "length": 999}
        ),
        "query_length is 999, the transformer takes 1 to 128 tokens",
    ),
    "unknown strategy": (
        lambda f: edit(
            f / "sentence_bert_config.json", query_expansion={"strategy": "max", "length": 9}
        ),
        "it must have a strategy, fixed or min",
    ),
    "augmentation no object": (
        lambda f: edit(f / "sentence_bert_config.json", query_expansion=[1]),
        "it must have a strategy",
    ),
    "filling not in the vocabulary": (
        lambda f: edit(
            f / "sentence_bert_config.json",
            query_expansion={"strategy": "fixed", "length": 9, "token": "[NONE]"},
        ),
        "needs a mask token",
    ),
    "no mask token": (
        lambda f: edit(f / "tokenizer_config.json", mask_token=None),
        "needs a mask token",
    ),
    "nothing says how long": (
        forget_lengths,
        "no limit of tokens is known: set document_length",
    ),
    "prompts no object": (
        lambda f: edit(f / "config_sentence_transformers.json", prompts=["a"]),
        "prompts is .* of the wrong type",
    ),
}


@pytest.mark.parity
@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_told_in_one_line(damaged: Path, name: str) -> None:
    spoil, expected = DAMAGE[name]
    spoil(damaged)
    with pytest.raises(ModelError, match=expected) as raised:
        Encoder(damaged, threads=1)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


@pytest.mark.parity
def test_an_onnx_file_of_another_task(damaged: Path) -> None:
    import onnx

    graph = onnx.load(damaged / "onnx/model.onnx")
    graph.graph.output[0].name = "logits"
    for node in graph.graph.node:
        node.output[:] = ["logits" if n == "last_hidden_state" else n for n in node.output]
    onnx.save(graph, damaged / "onnx/model.onnx")
    with pytest.raises(ModelError, match="gives logits: export the transformer"):
        Encoder(damaged)


@pytest.mark.parity
def test_a_transformer_that_fails_is_told(damaged: Path) -> None:
    edit(damaged / "sentence_bert_config.json", document_length=200)
    edit(damaged / "tokenizer_config.json", model_max_length=200)
    edit(damaged / "config.json", max_position_embeddings=200)  # it has 128
    with pytest.raises(ModelError, match=r"failed on a run of shape \(1, 200\)"):
        Encoder(damaged).encode_documents("the tide " * 200)


@pytest.mark.parity
def test_a_transformer_of_another_size_is_told(damaged: Path) -> None:
    save_weights(damaged, linear_weight=np.zeros((16, 48), np.float32))
    edit(damaged / "1_Dense/config.json", in_features=48)
    with pytest.raises(ModelError, match=r"shape \(1, 4, 32\), where the checkpoint has"):
        Encoder(damaged).encode_documents("tide")


@pytest.mark.parity
def test_precision_chooses_the_file(colbert: Path, damaged: Path) -> None:
    assert load_checkpoint(colbert).onnx.name == "model.onnx"
    assert load_checkpoint(colbert, "int8").onnx.name == "model_int8.onnx"
    assert load_checkpoint(colbert, "int8").quantised
    (damaged / "onnx/model.onnx").rename(damaged / "onnx/model_qint8_arm64.onnx")
    (damaged / "onnx/model_int8.onnx").unlink()
    assert load_checkpoint(damaged).quantised
    with pytest.raises(ModelError, match=r"precision 'fp32' .onnx/ has model_qint8_arm64"):
        load_checkpoint(damaged, "fp32")


@pytest.mark.parity
def test_the_fingerprint_changes_with_what_changes_vectors(
    colbert: Path, damaged: Path, build: Callable[..., Path]
) -> None:
    prints = {load_checkpoint(colbert).fingerprint, load_checkpoint(damaged).fingerprint}
    assert len(prints) == 1, "where it lies does not matter"
    edit(damaged / "config_sentence_transformers.json", similarity_fn_name="maxsim")
    assert load_checkpoint(damaged).fingerprint in prints, "nor does what is not read"

    prints.add(load_checkpoint(colbert, "int8").fingerprint)
    edit(damaged / "sentence_bert_config.json", document_length=23)
    prints.add(load_checkpoint(damaged).fingerprint)
    edit(damaged / "2_MultiVectorMask/config.json", skiplist_words=["."])
    prints.add(load_checkpoint(damaged).fingerprint)
    save_weights(damaged, linear_weight=np.zeros((16, 32), np.float32))
    prints.add(load_checkpoint(damaged).fingerprint)
    (damaged / "tokenizer.json").write_text((damaged / "tokenizer.json").read_text() + " ")
    prints.add(load_checkpoint(damaged).fingerprint)
    assert len(prints) == 6


@pytest.mark.parity
def test_a_file_that_has_gone_has_no_fingerprint(damaged: Path) -> None:
    checkpoint = load_checkpoint(damaged)
    (damaged / "onnx/model.onnx").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        _ = checkpoint.fingerprint


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("config_sentence_transformers.json", '{"model_type": "ColBERT"}', "'PyLate', which ging"),
        ("config_sentence_transformers.json", '{"query_prefix": "[Q] "}', "'PyLate', which ging"),
        ("config_sentence_transformers.json", "{}", "one vector a text.*choose a ColBERT model"),
        ("artifact.metadata", "{}", "'Stanford ColBERT', which gingham cannot read yet: load it"),
        ("config.json", '{"architectures": ["HF_ColBERT"]}', "'Stanford ColBERT'"),
        ("config.json", '{"architectures": ["BertModel"]}', "no projection of token vectors"),
        ("onnx_config.json", "{}", "'next-plaid ONNX'"),
    ],
)
def test_other_layouts_are_recognised(
    tmp_path: Path, file: str, content: str, expected: str
) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(ModelError, match=expected):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("/no/such/folder", "no such folder"),
        ("./nowhere", "no such folder"),
        ("a/b/c", "no such folder"),
        ("a/../b", "no such folder"),
        ("x" * 5000, "not a path nor a model's name"),
        ("nul\0", "no such folder"),
        (Path("some/where"), "no such folder"),
        (Path(__file__), "a file: give the folder"),
    ],
)
def test_models_that_are_not_there(model: str | Path, expected: str) -> None:
    with pytest.raises(ModelError, match=expected):
        load_checkpoint(model)


@pytest.mark.parametrize("model", ["", 3, b"model"])
def test_models_of_the_wrong_kind(model: Any) -> None:
    with pytest.raises(InputError, match="model must be a folder"):
        load_checkpoint(model)


def test_the_bundled_model_has_one_place() -> None:
    if not FOLDER.is_dir():
        with pytest.raises(ModelError, match="the bundled model is missing"):
            locate(None, "auto")
    else:
        assert locate(None, "auto") == locate(BUNDLED, "auto") == (BUNDLED, FOLDER)


def test_a_hub_that_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    def offline(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("not in the cache\nand the network is down")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ModelError, match="the hub cannot be reached") as raised:
        load_checkpoint("some/model")
    assert "\n" not in str(raised.value)

    def unknown(*_: object, **__: object) -> str:
        raise RepositoryNotFoundError("404 Client Error.\nRequest ID …", response=_response())

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unknown)
    with pytest.raises(ModelError, match=r"does not give it .404 Client Error") as raised:
        load_checkpoint("some/model")
    assert "\n" not in str(raised.value)


@pytest.mark.parity
def test_a_hub_model_is_fetched_in_parts(monkeypatch: pytest.MonkeyPatch, damaged: Path) -> None:
    import fnmatch

    import huggingface_hub

    fetched: list[str] = []

    def snapshot(name: str, *, allow_patterns: list[str]) -> str:
        assert name == "some/model"
        paths = [str(p.relative_to(damaged)) for p in damaged.rglob("*") if p.is_file()]
        fetched.extend(p for p in paths if any(fnmatch.fnmatch(p, a) for a in allow_patterns))
        return str(damaged)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert load_checkpoint("some/model").name == "some/model"
    assert "onnx/model.onnx" in fetched
    assert "1_Dense/model.safetensors" in fetched
    assert "tokenizer.json" in fetched
    assert "2_MultiVectorMask/config.json" in fetched
    assert "model.safetensors" not in fetched
    assert "onnx/model_int8.onnx" not in fetched

    (damaged / "onnx/model.onnx").unlink()
    assert load_checkpoint("some/model").onnx.name == "model_int8.onnx"
    assert "onnx/model_int8.onnx" in fetched


def _response() -> Any:
    import httpx2 as httpx

    return httpx.Response(404, request=httpx.Request("GET", "https://huggingface.co"))
