"""The folder that is written: a draft beside its place, which takes the place when it is whole.

What goes into it is the caller's business; which folder may be replaced is decided here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

from gingham.encoder.files import EXTERNAL_SUFFIXES
from gingham.errors import InputError, ModelError, shown
from gingham.evaluation.quiet_libraries import quiet_libraries

# Settings of the last call, which tokenizers write into tokenizer_config.json.
_LEFTOVERS = (
    "is_local",
    "local_files_only",
    "max_length",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "stride",
    "truncation_strategy",
)
# A protobuf message ends at 2 GiB: of larger graphs the weights lie beside.
_LARGEST_MESSAGE = 2_000_000_000
# What makes a folder a model's, so that replacing it loses nothing but a model.
_OF_A_MODEL = ("modules.json", "config_sentence_transformers.json")
_CARDS = ("README.md", "MODEL_CARD.md", "LICENSE")


def check_output(output: Path, checkpoint: str, force: bool) -> None:
    """Whether a folder may be written.

    Raises:
        InputError: something is there that must not be lost.
    """
    if not output.name:
        raise InputError(f"{shown(str(output))} is no name of a folder: give one to write")
    if not output.exists() and not output.is_symlink():
        return
    if output.is_symlink() or not output.is_dir():
        raise InputError(f"{output} exists and is no folder: name another to write")
    empty = next(output.iterdir(), None) is None
    if not empty and not all((output / name).is_file() for name in _OF_A_MODEL):
        raise InputError(f"{output} exists and holds no model: name another folder to write")
    if not empty and not force:
        raise InputError(f"{output} exists: name another folder, or replace it with --force")
    if Path(checkpoint).is_dir() and Path(checkpoint).resolve() == output.resolve():
        raise InputError(f"{output} is the checkpoint itself: name another folder to write")


@contextmanager
def draft_of(output: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `output` when the block ends without an error.

    A folder that is there is set aside first, and deleted when the new one has its name.

    Raises:
        InputError: the folder cannot be written.
    """
    draft = output.with_name(f".{output.name}.{os.getpid()}.part")
    aside = output.with_name(f".{output.name}.{os.getpid()}.old")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        recover(output)
        shutil.rmtree(draft, ignore_errors=True)  # of a killed process that had our number
        draft.mkdir()
        yield draft
        if output.exists():
            output.rename(aside)
        try:
            draft.rename(output)
        except OSError:
            if aside.exists():
                aside.rename(output)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"cannot write {output}: {error.strerror or error}; name a folder that may be written"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def recover(output: Path) -> None:
    """Put away what killed exports left beside `output`: drafts, and a model that was set aside.

    A model that was set aside gets its name back where nothing took it.
    """
    for left in sorted(output.parent.glob(f".{output.name}.*")):
        number, _, kind = left.name.removeprefix(f".{output.name}.").partition(".")
        if kind not in ("part", "old") or not number.isdecimal() or _lives(int(number)):
            continue
        if kind == "old" and not output.exists():
            left.rename(output)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _lives(process: int) -> bool:
    """Whether there is such a process, as far as can be told."""
    if os.name != "posix":  # elsewhere the question itself would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's
    return True


def save_torch(model: Any, checkpoint: str, folder: Path) -> None:
    """What `MultiVectorEncoder.save_pretrained` writes, with the checkpoint's card and licence.

    The tokenizer forgets its last use, so that a model gives the same files whenever it is saved.
    """
    backend = model.tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    with quiet_libraries():
        model.save_pretrained(str(folder), create_model_card=False, safe_serialization=True)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in _LEFTOVERS:
        config.pop(key, None)
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{checkpoint}: its tokenizer has no tokenizer.json: convert it first")
    for name in _CARDS:
        card = Path(checkpoint) / name
        if card.is_file():
            shutil.copyfile(card, folder / name)


def save_graph(graph: onnx.ModelProto, path: Path, largest: int = _LARGEST_MESSAGE) -> None:
    """Write a graph, its weights beside it where they are too many for one message."""
    path.parent.mkdir(exist_ok=True)
    if graph.ByteSize() <= largest:
        onnx.save(graph, path)
        return
    onnx.save(
        graph,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=path.name + EXTERNAL_SUFFIXES[0],
        convert_attribute=False,
    )


def leave_only(folder: Path, graphs: tuple[str, ...], torch: bool) -> None:
    """Remove the graphs, and the weights of PyTorch, that are not asked for."""
    for path in (folder / "onnx").iterdir():
        if not path.name.startswith(tuple(f"{graph}." for graph in graphs)) and path.name not in (
            graphs
        ):
            path.unlink()
    if not torch:
        for path in folder.glob("model*.safetensors*"):
            path.unlink()
