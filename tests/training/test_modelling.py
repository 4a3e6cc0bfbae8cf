"""Whatever training starts from, and every option of the papers."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gingham.errors import InputError, ModelError
from gingham.training import TrainingSettings
from training.toys import toy_set, toy_settings

TEXTS = list(toy_set(40, 1).documents.values())
QUERY, DOCUMENT = ["why does the tide rise?"], ["The moon, and the sea."]


def build_model(settings: TrainingSettings, documents: list[str] | None = None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch

        from gingham.training import modelling

        torch.set_num_threads(1)  # many small operations: threads only wait for each other
        return modelling.build_model(settings, TEXTS if documents is None else documents)


def n_vectors(model: Any) -> tuple[int, int]:
    return len(model.encode_query(QUERY)[0]), len(model.encode_document(DOCUMENT)[0])


def test_a_plain_encoder_gets_what_colbert_has(backbone: Path) -> None:
    model = build_model(TrainingSettings(backbone=str(backbone), dim=24))
    transformer = model[0]
    assert model.prompts == {"query": "[unused0] ", "document": "[unused1] "}
    assert (transformer.query_expansion["length"], transformer.query_expansion["attend"]) == (
        32,
        False,
    )
    assert n_vectors(model)[0] == 32
    assert model.encode_query(QUERY)[0].shape[1] == 24
    assert len(model.tokenizer) <= transformer.auto_model.get_input_embeddings().num_embeddings


def test_a_sentence_transformer(dense_model: Path) -> None:
    model = build_model(toy_settings(dense_model))
    assert n_vectors(model) == (12, len(model.tokenizer(DOCUMENT)["input_ids"][0]) + 1 - 2)


def test_lengths_filling_and_punctuation(backbone: Path) -> None:
    without = build_model(toy_settings(backbone, augmentation=False, keep_punctuation=True))
    plain = build_model(toy_settings(backbone))
    words = len(plain.tokenizer(QUERY)["input_ids"][0])
    assert n_vectors(without)[0] == words + 1
    assert n_vectors(without)[1] == n_vectors(plain)[1] + 2  # a comma and a full stop
    short = build_model(
        toy_settings(backbone, augmentation=False, query_length=5, document_length=6)
    )
    assert n_vectors(short)[0] == 5
    attending = build_model(toy_settings(backbone, attend=True))
    assert attending[0].query_expansion["attend"]


def test_a_late_interaction_checkpoint_keeps_what_it_has(build: Callable[..., Path]) -> None:
    import torch

    expansion = {"strategy": "fixed", "attend": True, "length": 9}
    folder = build(query_expansion=expansion, document_length=17, skiplist=())
    kept = build_model(TrainingSettings(backbone=str(folder)))
    assert kept[0].query_expansion["attend"]
    assert (kept[0].query_expansion["length"], kept[0].document_length) == (9, 17)
    assert not kept[2].skiplist_words
    changed = build_model(TrainingSettings(backbone=str(folder), attend=False, query_length=11))
    assert not changed[0].query_expansion["attend"]
    assert changed[0].query_expansion["length"] == 11
    assert torch.equal(kept[1].linear.weight, changed[1].linear.weight)
    smaller = build_model(TrainingSettings(backbone=str(folder), dim=8))
    assert smaller.encode_query(QUERY)[0].shape[1] == 8


def test_a_pylate_checkpoint(build: Callable[..., Path], tmp_path: Path) -> None:
    """Its names for the modules, its settings at the top level."""
    folder = tmp_path / "pylate"
    shutil.copytree(build(query_expansion=None), folder)
    config = json.loads((folder / "config_sentence_transformers.json").read_text())
    config |= {"model_type": "ColBERT", "query_prefix": "[unused0]", "document_prefix": "[unused1]"}
    config |= {"query_length": 13, "document_length": 21, "do_query_expansion": True}
    config |= {"attend_to_expansion_tokens": False, "skiplist_words": [","], "prompts": {}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    modules = json.loads((folder / "modules.json").read_text())[:2]
    modules[1]["type"] = "pylate.models.Dense.Dense"
    (folder / "modules.json").write_text(json.dumps(modules))
    own = json.loads((folder / "sentence_bert_config.json").read_text())
    for name in ("query_length", "document_length", "query_expansion"):
        own.pop(name, None)
    (folder / "sentence_bert_config.json").write_text(json.dumps(own))
    model = build_model(TrainingSettings(backbone=str(folder)))
    assert n_vectors(model)[0] == 13
    assert model[0].document_length == 21


def test_a_stanford_checkpoint(backbone: Path, tmp_path: Path) -> None:
    """One file with the projection among the encoder's weights, and artifact.metadata."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "stanford"
    shutil.copytree(backbone, folder)
    weights = {
        f"bert.{name}": value for name, value in load_file(folder / "model.safetensors").items()
    }
    projection = torch.arange(8 * 32, dtype=torch.float32).reshape(8, 32)
    save_file(
        {**weights, "linear.weight": projection}, folder / "model.safetensors", {"format": "pt"}
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["HF_ColBERT"]}))
    metadata = {"query_maxlen": 14, "doc_maxlen": 23, "attend_to_mask_tokens": True}
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
    model = build_model(TrainingSettings(backbone=str(folder)))
    assert torch.equal(model[1].linear.weight.data, projection)
    assert n_vectors(model)[0] == 14
    assert model[0].query_expansion["attend"]


def test_new_projections(backbone: Path) -> None:
    import torch

    axes = [build_model(toy_settings(backbone))[1].linear.weight for _ in range(2)]
    assert torch.equal(axes[0], axes[1])  # of the texts, not of chance
    torch.testing.assert_close(axes[0] @ axes[0].T, torch.eye(16), atol=1e-4, rtol=0)
    torch.manual_seed(1)
    random = build_model(toy_settings(backbone, projection="random"))[1].linear.weight
    assert not torch.allclose(random @ random.T, torch.eye(16), atol=1e-2)


def test_what_is_frozen(backbone: Path) -> None:
    model = build_model(toy_settings(backbone, freeze_layers=1))
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert not any("embeddings" in name or "layer.0." in name for name in trained)
    assert any("layer.1." in name for name in trained)
    assert any("linear" in name for name in trained)


def test_low_rank_updates_are_merged(backbone: Path) -> None:
    import torch

    from gingham.training.modelling import merge_low_rank_updates, trained_parameters

    model = build_model(toy_settings(backbone, lora_rank=2, freeze_layers=1, dropout=0.0))
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert all("lora_" in name or name.endswith("linear.weight") for name in trained)
    assert not any("layer.0." in name for name in trained)
    assert trained_parameters(model) == sum(
        value.numel() for name, value in model.named_parameters() if name in trained
    )
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.3)
    before = model.encode_document(DOCUMENT)[0]
    names = set(build_model(toy_settings(backbone)).state_dict())
    merge_low_rank_updates(model)
    assert set(model.state_dict()) == names
    torch.testing.assert_close(model.encode_document(DOCUMENT)[0], before, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 33}, "dim may be at most 32"),
        ({"document_length": 500}, "reads 128 tokens at most, and a length of 500"),
        ({"attend": True, "augmentation": False}, "attend is about the filling of queries"),
        ({"freeze_layers": 3}, "freeze_layers may be at most 2"),
        ({"freeze_layers": 2, "lora_rank": 2}, "lora_rank needs a layer that is not frozen"),
    ],
)
def test_what_does_not_fit(backbone: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_model(toy_settings(backbone, **options))


def test_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot load a model from"):
        build_model(TrainingSettings(backbone=str(tmp_path)))
