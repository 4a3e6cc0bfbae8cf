"""A backbone or a checkpoint → the `MultiVectorEncoder` that is trained.

A late-interaction checkpoint keeps what it has (markers, lengths, projection, skiplist) where the
settings say nothing; a plain encoder gets markers, a projection, ColBERT's lengths and skiplist.
Low-rank updates are put in here, and merged into the weights again at the end.
"""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from transformers import AddedToken

from gingham.errors import InputError, ModelError, shown
from gingham.training.settings import TrainingSettings

DIM, QUERY_LENGTH, DOCUMENT_LENGTH = 128, 32, 220  # ColBERT's
# In BERT's vocabulary already and in no text; other vocabularies get two new tokens.
_UNUSED = ("[unused0]", "[unused1]")
_NEW = ("[Q]", "[D]")


def build_model(
    settings: TrainingSettings, documents: Sequence[str] = (), *, device: str = "cpu"
) -> MultiVectorEncoder:
    """The model as it stands before the first step; the caller has seeded PyTorch.

    Args:
        settings: which backbone, and the options of the paper.
        documents: some texts, for a projection along the principal axes of their token vectors;
            without any, a new projection starts at random.
        device: where it is put.

    Raises:
        ModelError: the backbone cannot be found or is of no kind that can be trained.
        InputError: an option does not fit the model.
    """
    late = is_late_interaction(settings.backbone)
    try:
        loaded = MultiVectorEncoder(settings.backbone, device=device, similarity_fn_name="maxsim")
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(
            f"cannot load a model from {shown(settings.backbone)}: "
            f"{' '.join(str(error).split())[:300]}; name a folder or a model of the hub"
        ) from error
    model = loaded if late else _from_encoder(loaded, settings, device)
    _apply_options(model, settings)
    _check_lengths(model, settings)
    dense = _module(model, Dense)
    wanted = settings.dim or (dense.linear.out_features if late else DIM)
    if not late or wanted != dense.linear.out_features:
        _new_projection(model, wanted, settings, documents)
    _set_dropout(_encoder(model), settings.dropout)
    for name, parameter in _encoder(model).named_parameters():
        if name.startswith("pooler."):  # of one vector a text: no token vector depends on it
            parameter.requires_grad_(False)
    if settings.freeze_layers:
        _freeze(_encoder(model), settings.freeze_layers)
    if settings.lora_rank:
        _add_low_rank_updates(_encoder(model), settings)
    return model


def merge_low_rank_updates(model: MultiVectorEncoder) -> None:
    """Add low-rank updates, where there are any, to the weights they are of, and forget them."""
    encoder = _encoder(model)
    layers = [(name, module) for name, module in encoder.named_modules() if _is_adapted(module)]
    for name, module in layers:
        module.merge()
        parent, _, attribute = name.rpartition(".")
        setattr(encoder.get_submodule(parent), attribute, module.get_base_layer())
    for parameter in model.parameters():
        parameter.requires_grad_(True)


def projection_names(model: MultiVectorEncoder) -> str:
    """A regular expression of the names of the projection's parameters."""
    index = next(index for index, module in enumerate(model) if isinstance(module, Dense))
    return rf"(?:^|\.){index}\.linear\."


def trained_parameters(model: MultiVectorEncoder) -> int:
    """How many numbers training changes."""
    return sum(value.numel() for value in model.parameters() if value.requires_grad)


def _from_encoder(
    loaded: MultiVectorEncoder, settings: TrainingSettings, device: str
) -> MultiVectorEncoder:
    """The encoder alone, in a model with markers, mask and normalisation of our own choice."""
    transformer = _module(loaded, Transformer)
    tokenizer = transformer.tokenizer
    if tokenizer is None or tokenizer.mask_token is None:
        raise ModelError(
            f"{settings.backbone}: its tokenizer has no [MASK], which fills queries; choose an "
            "encoder that was trained with masked words, such as a BERT"
        )
    vocabulary = tokenizer.get_vocab()
    markers = _UNUSED if all(token in vocabulary for token in _UNUSED) else _NEW
    tokenizer.add_special_tokens(
        {
            "additional_special_tokens": [
                AddedToken(marker, normalized=False, special=True) for marker in markers
            ]
        }
    )
    if len(tokenizer) > transformer.auto_model.get_input_embeddings().num_embeddings:
        transformer.auto_model.resize_token_embeddings(len(tokenizer))
    dense = Dense(
        in_features=transformer.get_embedding_dimension(),
        out_features=settings.dim or DIM,
        bias=False,
        activation_function=torch.nn.Identity(),
        module_input_name="token_embeddings",
    )
    most = getattr(transformer.config, "max_position_embeddings", DOCUMENT_LENGTH)
    transformer.document_length = min(DOCUMENT_LENGTH, most)
    transformer.query_expansion = {"strategy": "fixed", "attend": False, "length": QUERY_LENGTH}
    return MultiVectorEncoder(
        modules=[
            transformer,
            dense,
            MultiVectorMask(skiplist_words=list(string.punctuation)),
            Normalize(module_input_name="token_embeddings"),
        ],
        prompts={"query": f"{markers[0]} ", "document": f"{markers[1]} "},
        similarity_fn_name="maxsim",
        device=device,
    )


def _apply_options(model: MultiVectorEncoder, settings: TrainingSettings) -> None:
    """What the settings say of lengths, filling and punctuation, over what the model has."""
    transformer = _module(model, Transformer)
    if settings.document_length is not None:
        transformer.document_length = settings.document_length
    expansion = transformer.query_expansion
    augmentation = expansion is not None if settings.augmentation is None else settings.augmentation
    length = settings.query_length or (
        expansion["length"] if expansion else transformer.query_length or QUERY_LENGTH
    )
    if settings.attend and not augmentation:
        raise InputError("attend is about the filling of queries; it needs augmentation")
    transformer.query_expansion = None
    if augmentation:
        attend = expansion["attend"] if expansion and settings.attend is None else settings.attend
        kept = {name: expansion[name] for name in ("token",) if expansion and expansion.get(name)}
        transformer.query_length = None
        transformer.query_expansion = {
            "strategy": "fixed",
            "attend": bool(attend),
            "length": length,
            **kept,
        }
    else:
        transformer.query_length = length
    if settings.keep_punctuation is not None:
        mask = _module(model, MultiVectorMask)
        mask.skiplist_words = [] if settings.keep_punctuation else list(string.punctuation)
        mask.resolve_with_tokenizer(model.tokenizer)


def _check_lengths(model: MultiVectorEncoder, settings: TrainingSettings) -> None:
    transformer = _module(model, Transformer)
    most = getattr(transformer.config, "max_position_embeddings", None)
    longest = max(
        transformer.document_length or 0,
        transformer.query_length or 0,
        (transformer.query_expansion or {}).get("length", 0),
    )
    if most is not None and longest > most:
        raise InputError(
            f"{settings.backbone} reads {most:,} tokens at most, and a length of {longest:,} was "
            "asked for; ask for shorter queries and documents"
        )


def _new_projection(
    model: MultiVectorEncoder, dim: int, settings: TrainingSettings, documents: Sequence[str]
) -> None:
    hidden = _module(model, Transformer).get_embedding_dimension()
    if dim > hidden:
        raise InputError(
            f"dim may be at most {hidden}, the dimensions of {settings.backbone}, got {dim}"
        )
    dense = _module(model, Dense)
    linear = torch.nn.Linear(hidden, dim, bias=False)
    if settings.projection == "axes" and documents:
        linear.weight.data.copy_(principal_axes(model, documents, dim))
    dense.linear = linear.to(dense.linear.weight.device)
    dense.in_features, dense.out_features, dense.bias = hidden, dim, False


def principal_axes(
    model: MultiVectorEncoder, texts: Sequence[str], dim: int, batch_size: int = 32
) -> torch.Tensor:
    """(dim, hidden) float32: principal axes of the token vectors, less their mean direction."""
    transformer = _module(model, Transformer)
    training = transformer.training
    transformer.eval()
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(texts), batch_size):
            features = transformer.preprocess(
                list(texts[start : start + batch_size]), task="document"
            )
            features = {
                name: value.to(model.device) if isinstance(value, torch.Tensor) else value
                for name, value in features.items()
            }
            output = transformer(features)
            vectors.append(output["token_embeddings"][output["attention_mask"].bool()].cpu())
    transformer.train(training)
    values = torch.cat(vectors).double()
    mean = torch.nn.functional.normalize(values.mean(0), dim=0)
    values = values - (values @ mean)[:, None] * mean  # every token shares it: it tells none apart
    _, axes = torch.linalg.eigh(values.T @ values)
    return axes.flip(1)[:, :dim].T.float()


def _set_dropout(encoder: torch.nn.Module, probability: float) -> None:
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = probability
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = probability


def _freeze(encoder: torch.nn.Module, count: int) -> None:
    name, layers = _layers(encoder)
    if count > len(layers):
        raise InputError(f"freeze_layers may be at most {len(layers)}, the layers, got {count}")
    frozen = tuple(f"{name}.{index}." for index in range(count))
    for parameter_name, parameter in encoder.named_parameters():
        if parameter_name.startswith(frozen) or "embeddings" in parameter_name:
            parameter.requires_grad_(False)


def _add_low_rank_updates(encoder: torch.nn.Module, settings: TrainingSettings) -> None:
    """LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685) on the layers' linear maps."""
    from peft import LoraConfig, inject_adapter_in_model

    name, layers = _layers(encoder)
    targets = [
        f"{name}.{index}.{inner}"
        for index, layer in enumerate(layers)
        for inner, module in layer.named_modules()
        if isinstance(module, torch.nn.Linear) and index >= settings.freeze_layers
    ]
    if not targets:
        raise InputError("lora_rank needs a layer that is not frozen; lower freeze_layers")
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha or 2 * settings.lora_rank,
        lora_dropout=settings.dropout,
        target_modules=targets,
    )
    inject_adapter_in_model(config, encoder)
    for parameter_name, parameter in encoder.named_parameters():
        parameter.requires_grad_("lora_" in parameter_name)


def _is_adapted(module: torch.nn.Module) -> bool:
    return hasattr(module, "get_base_layer") and hasattr(module, "merge")


def _layers(encoder: torch.nn.Module) -> tuple[str, torch.nn.ModuleList]:
    lists = [
        (name, module)
        for name, module in encoder.named_modules()
        if isinstance(module, torch.nn.ModuleList)
    ]
    if not lists:
        raise InputError("the encoder has no list of layers to freeze or to adapt")
    return max(lists, key=lambda item: len(item[1]))


def _encoder(model: MultiVectorEncoder) -> torch.nn.Module:
    encoder: torch.nn.Module = _module(model, Transformer).auto_model
    return encoder


def _module(model: MultiVectorEncoder, kind: type) -> Any:
    found = next((module for module in model if isinstance(module, kind)), None)
    if found is None:
        raise ModelError(f"the model has no {kind.__name__} module, so it cannot be trained here")
    return found


def is_late_interaction(backbone: str) -> bool:
    """Whether the checkpoint has a trained projection of token vectors."""
    config = _json(backbone, "config_sentence_transformers.json")
    if config.get("model_type") in ("MultiVectorEncoder", "ColBERT") or "query_prefix" in config:
        return True
    return "HF_ColBERT" in (_json(backbone, "config.json").get("architectures") or [])


def _json(backbone: str, name: str) -> dict[str, Any]:
    from sentence_transformers.util import load_file_path

    try:
        path = load_file_path(backbone, name)
        value = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {name} of {shown(backbone)}: {error}") from error
    return value if isinstance(value, dict) else {}
