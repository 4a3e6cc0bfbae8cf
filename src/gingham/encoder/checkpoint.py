"""A folder, or a name on the hub → a frozen `Checkpoint`: all that decides what the vectors are.

It reads configuration and the dense layers; it runs no model, tokenises nothing, never unpickles
and never runs code of a checkpoint. Semantics are those of sentence-transformers'
`MultiVectorEncoder`, the layout in which our own models are saved.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from gingham.encoder.files import (
    external_data,
    find_onnx,
    inside,
    locate,
    read_json,
    read_json_list,
)
from gingham.encoder.layouts import recognise
from gingham.encoder.projection import Dense, load_dense
from gingham.errors import InputError, ModelError

Precision = Literal["auto", "fp32", "int8"]

# Part of every fingerprint: raised when a change of ours makes other vectors from the same files.
ENCODING_VERSION = 1
# transformers writes about 1e30 for a tokenizer without a limit of its own.
_NO_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Query augmentation: [MASK] tokens that fill a short query.

    Attributes:
        strategy: "fixed": every query is cut or filled to `length`; "min": filled to it only.
        length: tokens, markers and special tokens included.
        attend: whether the other tokens attend to the filling.
        token: what fills; None for the tokenizer's [MASK], or its end-of-sequence token.
    """

    strategy: Literal["fixed", "min"]
    length: int
    attend: bool
    token: str | None


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk, read and checked.

    Attributes:
        name: what opens it again: a hub name, an absolute folder, or "gingham-mini".
        folder: where its files are.
        onnx: the transformer.
        quantised: whether it computes with integers: then its activations are scaled a run.
        query_prompt, document_prompt: marker text before each text.
        query_length, document_length: most tokens of each, markers and special tokens included.
        augmentation: of queries; None for none.
        scores_augmentation: whether filling that nobody attends to has vectors.
        skiplist: tokens of documents that get no vector.
        skips_documents, skips_queries: whom the skiplist applies to.
        kept_ids: the only token ids of documents that get a vector; empty for all.
        dense: the layers between hidden states and vectors.
        normalises: whether vectors are scaled to unit length.
        dim: of a vector.
        hidden_size: of the transformer's output.
    """

    name: str
    folder: Path
    onnx: Path
    quantised: bool
    query_prompt: str
    document_prompt: str
    query_length: int
    document_length: int
    augmentation: Augmentation | None
    scores_augmentation: bool
    skiplist: tuple[str, ...]
    skips_documents: bool
    skips_queries: bool
    kept_ids: tuple[int, ...]
    dense: tuple[Dense, ...]
    normalises: bool
    dim: int
    hidden_size: int

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over everything that changes vectors, and nothing else.

        Raises:
            ModelError: a file has gone.
        """
        digest = hashlib.sha256()
        settings = {
            "version": ENCODING_VERSION,
            "prompts": [self.query_prompt, self.document_prompt],
            "lengths": [self.query_length, self.document_length],
            "augmentation": self.augmentation and asdict(self.augmentation),
            "scores_augmentation": self.scores_augmentation,
            "skiplist": sorted(self.skiplist),
            "skips": [self.skips_documents, self.skips_queries],
            "kept_ids": sorted(self.kept_ids),
            "activations": [layer.activation for layer in self.dense],
            "normalises": self.normalises,
        }
        digest.update(json.dumps(settings, sort_keys=True).encode())
        for layer in self.dense:
            for array in (layer.weight, layer.bias, layer.residual):
                if array is not None:
                    digest.update(f"{array.shape}".encode() + array.tobytes())
        for path in (self.folder / "tokenizer.json", self.onnx, *external_data(self.onnx)):
            _digest_file(digest, path)
        return digest.hexdigest()


def load_checkpoint(
    model: str | os.PathLike[str] | None = None, precision: Precision = "auto"
) -> Checkpoint:
    """Find a model and read what it is; see `Encoder` for the arguments.

    Raises:
        InputError: an argument is of the wrong kind.
        ModelError: the model is unknown, incomplete, damaged, or of an unsupported layout.
    """
    if model is not None and (not isinstance(model, str | os.PathLike) or not str(model)):
        raise InputError(f"model must be a folder, a name on the hub or None, got {model!r}")
    if precision not in ("auto", "fp32", "int8"):
        raise InputError(f'precision must be "auto", "fp32" or "int8", got {precision!r}')
    name, folder = locate(model, precision)
    recognise(folder)
    mask, dense, normalises = _read_modules(folder)
    prompts = _field(read_json(folder / "config_sentence_transformers.json"), "prompts", dict, {})
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{folder}: tokenizer.json is missing: save the model's fast tokenizer")
    query_length, document_length, augmentation = _read_lengths(folder)
    tasks = _field(mask or {}, "skiplist_tasks", (list, str), ["document"])
    onnx = find_onnx(folder, precision)
    hidden_size = dense[0].weight.shape[1] if dense else _hidden_size(folder)
    return Checkpoint(
        name=name,
        folder=folder,
        onnx=onnx,
        quantised=onnx.name != "model.onnx",
        query_prompt=str(prompts.get("query") or ""),
        document_prompt=str(prompts.get("document") or ""),
        query_length=query_length,
        document_length=document_length,
        augmentation=augmentation,
        scores_augmentation=mask is not None,
        skiplist=tuple(map(str, _field(mask or {}, "skiplist_words", list, []))),
        skips_documents="document" in tasks,
        skips_queries="query" in tasks,
        kept_ids=tuple(map(int, _field(mask or {}, "keep_only_token_ids", list, []))),
        dense=dense,
        normalises=normalises,
        dim=len(dense[-1].weight) if dense else hidden_size,
        hidden_size=hidden_size,
    )


def _digest_file(digest: hashlib._Hash, path: Path) -> None:
    # Through one small buffer: the hash then reads from cache, three times as fast as from a copy.
    buffer = memoryview(bytearray(1 << 18))
    try:
        digest.update(f"{path.suffix} {path.stat().st_size}\n".encode())
        with path.open("rb", buffering=0) as file:
            while size := file.readinto(buffer):
                digest.update(buffer[:size])
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error}): get the model again") from error


def _read_modules(folder: Path) -> tuple[dict[str, Any] | None, tuple[Dense, ...], bool]:
    """The scoring mask's configuration, the dense layers, whether vectors are normalised."""
    mask: dict[str, Any] | None = None
    dense: list[Dense] = []
    normalises = False
    modules = read_json_list(folder / "modules.json")
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    if kinds[:1] != ["Transformer"] or modules[0].get("path") != "":
        raise ModelError(
            f"{folder}: modules.json must begin with the Transformer, saved in the folder itself, "
            f"got {', '.join(kinds) or 'nothing'}: save the model with sentence-transformers"
        )
    for kind, module in zip(kinds[1:], modules[1:], strict=True):
        path = inside(folder, module.get("path"))
        if kind == "Dense" and not normalises:
            dense.append(load_dense(path))
        elif kind == "MultiVectorMask":
            mask = read_json(path / "config.json")
        elif kind == "Normalize":
            config = read_json(path / "config.json")
            normalises |= config.get("module_input_name") == "token_embeddings"
        else:
            raise ModelError(
                f"{folder}: the module {module.get('type')!r} cannot stand where modules.json has "
                "it: gingham runs Transformer, Dense, MultiVectorMask, Normalize; export the model "
                "without it"
            )
    for before, after in itertools.pairwise(dense):
        if len(before.weight) != after.weight.shape[1]:
            raise ModelError(f"{folder}: the dense layers do not fit each other: save it again")
    return mask, tuple(dense), normalises


def _read_lengths(folder: Path) -> tuple[int, int, Augmentation | None]:
    """Query length, document length, query augmentation."""
    config = read_json(folder / "sentence_bert_config.json")
    augmentation = _read_augmentation(folder, config.get("query_expansion"))
    tokenizer, transformer = folder / "tokenizer_config.json", folder / "config.json"
    limits = [_NO_LIMIT]
    if tokenizer.is_file():
        limits.append(_field(read_json(tokenizer), "model_max_length", (int, float), _NO_LIMIT))
    if transformer.is_file():
        positions = _field(read_json(transformer), "max_position_embeddings", int, _NO_LIMIT)
        limits.append(positions if positions > 0 else _NO_LIMIT)  # XLNet writes -1 for no limit
    limits.append(_field(config, "max_seq_length", int, _NO_LIMIT))
    limit = int(min(limits))
    document = min(_field(config, "document_length", int, limit), limit)
    query = min(_field(config, "query_length", int, limit), limit)
    if augmentation is not None:
        fixed = augmentation.strategy == "fixed"
        query = augmentation.length if fixed else max(query, augmentation.length)
    for name, length in (("query_length", query), ("document_length", document)):
        if length >= _NO_LIMIT:
            raise ModelError(
                f"{folder}: no limit of tokens is known: set {name} in sentence_bert_config.json"
            )
        if not 0 < length <= limit:
            raise ModelError(
                f"{folder}: {name} is {length}, the transformer takes 1 to {limit} tokens: set it "
                "in sentence_bert_config.json"
            )
    return query, document, augmentation


def _read_augmentation(folder: Path, config: Any) -> Augmentation | None:
    if config is None:
        return None
    try:
        strategy, length = config["strategy"], config["length"]
        attend, token = config.get("attend", False), config.get("token")
    except (TypeError, KeyError, AttributeError):
        strategy, length, attend, token = None, None, None, None
    if (
        strategy not in ("fixed", "min")
        or type(length) is not int
        or length < 1
        or type(attend) is not bool
        or not (token is None or isinstance(token, str))
    ):
        raise ModelError(
            f"{folder}: query_expansion is {config!r}: it must have a strategy, fixed or min, a "
            "length and attend, true or false; correct sentence_bert_config.json"
        )
    return Augmentation(strategy, length, attend, token)


def _hidden_size(folder: Path) -> int:
    size: int = _field(read_json(folder / "config.json"), "hidden_size", int, 0)
    if size < 1:
        raise ModelError(f"{folder}: config.json gives no hidden_size: save the model again")
    return size


def _field(config: dict[str, Any], key: str, kind: type | tuple[type, ...], missing: Any) -> Any:
    """A key's value, `missing` where it is absent or null."""
    value = config.get(key)
    if value is None:
        return missing
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ModelError(f"a checkpoint's {key} is {value!r}, of the wrong type: save it again")
    return value
