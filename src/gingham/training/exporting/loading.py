"""A checkpoint → the `MultiVectorEncoder` in memory whose folder gingham can run, or why it cannot.

Native folders and what sentence-transformers reads besides: PyLate's and Stanford's. Low-rank
updates are merged. What no exported folder could say is refused before anything is written.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

from gingham.encoder.projection import ACTIVATIONS
from gingham.errors import ModelError, shown
from gingham.evaluation.quiet_libraries import quiet_libraries
from gingham.training.modelling import is_late_interaction, merge_low_rank_updates

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_AFTER = (Dense, MultiVectorMask, Normalize)


def load_model(checkpoint: str | os.PathLike[str]) -> MultiVectorEncoder:
    """The model of a folder or hub name, on the CPU in float32, its low-rank updates merged.

    Raises:
        ModelError: it cannot be loaded, or computes something that gingham cannot run.
    """
    name = os.fspath(checkpoint)
    if not Path(name).is_dir() and (isinstance(checkpoint, Path) or not _HUB_NAME.fullmatch(name)):
        raise ModelError(f"{shown(name)}: no such folder: give the folder of a trained model")
    if not is_late_interaction(name):
        raise ModelError(
            f"{shown(name)}: has no trained projection of token vectors: give a ColBERT model, or "
            "train one (gingham train)"
        )
    with quiet_libraries():
        try:
            model = MultiVectorEncoder(name, device="cpu")
        except Exception as error:  # of torch, transformers, safetensors, json: each has its own
            raise ModelError(
                f"{shown(name)}: sentence-transformers cannot load it ({_line(error)}): give a "
                "folder that MultiVectorEncoder loads"
            ) from error
    model.float().eval()
    _merge(model)
    _check(model, name)
    return model


def transformer_of(model: MultiVectorEncoder) -> Any:
    """The `Transformer` module, which comes first."""
    return model[0]


def _merge(model: MultiVectorEncoder) -> None:
    if not isinstance(model[0], Transformer):
        return
    merge_low_rank_updates(model)
    transformer = transformer_of(model)
    loaded = transformer.auto_model
    if getattr(loaded, "_hf_peft_config_loaded", False):
        # A model that an adapter was loaded into would save its weights under the adapter's names:
        # a new one of the same weights has no such memory.
        config = loaded.config
        plain = type(loaded)(config).to(torch.float32)
        plain.load_state_dict(loaded.state_dict())
        transformer.model = plain.eval()


def _check(model: MultiVectorEncoder, name: str) -> None:
    """Refuse what no exported folder could say.

    Raises:
        ModelError: why.
    """
    modules = list(model)
    kinds = [type(module).__name__ for module in modules]
    if not isinstance(modules[0], Transformer):
        raise ModelError(
            f"{shown(name)}: begins with {kinds[0]}, where gingham runs a Transformer: it cannot "
            "be exported"
        )
    for module in modules[1:]:
        if type(module) not in _AFTER:
            raise ModelError(
                f"{shown(name)}: has the module {type(module).__name__} after the Transformer, "
                "where gingham runs Dense, MultiVectorMask and Normalize: export it without"
            )
        if isinstance(module, Dense):
            activation = type(module.activation_function).__name__
            if activation not in ACTIVATIONS:
                raise ModelError(
                    f"{shown(name)}: a dense layer has the activation function {activation}, and "
                    f"gingham runs {', '.join(ACTIVATIONS)}: it cannot be exported"
                )
    transformer = transformer_of(model)
    tokenizer = transformer.tokenizer
    if tokenizer is None or getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ModelError(
            f"{shown(name)}: has no fast tokenizer (tokenizer.json): convert its tokenizer first"
        )
    if list(transformer.modalities) not in (["text"], ["text", "message"]):
        raise ModelError(
            f"{shown(name)}: takes {', '.join(map(str, transformer.modalities))}, and gingham "
            "encodes text alone: it cannot be exported"
        )
    if transformer.modality_config["text"]["method_output_name"] != "last_hidden_state":
        raise ModelError(
            f"{shown(name)}: its vectors are not the transformer's last hidden states: it cannot "
            "be exported"
        )
    if tokenizer.padding_side != "right":
        raise ModelError(
            f"{shown(name)}: its tokenizer pads on the {tokenizer.padding_side}, and gingham on "
            "the right: it cannot be exported"
        )


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
