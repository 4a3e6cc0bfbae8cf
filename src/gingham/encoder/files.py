"""Where a checkpoint's files come from: a local folder, or the hub; and how its JSON is read.

It knows file names, not what the files mean. Everything that can go wrong on the way (no such
model, no network, half a download, damaged JSON, a path that leaves the folder) becomes a
`ModelError` here, so that no later module meets it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from gingham.errors import ModelError

BUNDLED = "gingham-mini"

# Exported names in the order of preference. The int8 names are those of sentence-transformers,
# Optimum and ourselves; of several, the one for the widest instruction set comes first.
FP32_NAMES = ("model.onnx",)
INT8_NAMES = (
    "model_int8.onnx",
    "model_quantized.onnx",
    "model_qint8_avx512_vnni.onnx",
    "model_qint8_avx512.onnx",
    "model_quint8_avx2.onnx",
    "model_qint8_arm64.onnx",
)
# Weights of more than 2 GB, and those of some exporters, lie beside the graph.
EXTERNAL_SUFFIXES = ("_data", ".data")

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_SMALL_FILES = ("*.json", "*/config.json", "artifact.metadata", "[0-9]*_*/model.safetensors")


def locate(model: str | os.PathLike[str] | None, precision: str) -> tuple[str, Path]:
    """A model's name, which opens it again, and the folder that holds its files.

    Args:
        model: a folder, the name of a model on the hub, or None for the bundled model.
        precision: "auto", "fp32" or "int8": which ONNX file to download, where one must be.

    Raises:
        ModelError: there is no such folder, or the hub does not give the model.
    """
    if model is None or model == BUNDLED:
        folder = Path(__file__).parent.parent / "models" / BUNDLED
        if not folder.is_dir():
            raise ModelError(
                f"{folder}: the bundled model is missing: install gingham from a wheel, or name a "
                "model"
            )
        return BUNDLED, folder
    path = Path(model)
    try:
        if path.is_dir():
            return str(path.resolve()), path
        is_file = path.is_file()
    except (OSError, ValueError) as error:  # a name too long, or a character that no path has
        raise ModelError(f"{str(model)!r}: not a path nor a model's name: {error}") from error
    if is_file:
        raise ModelError(f"{path}: a file: give the folder of the checkpoint that holds it")
    if isinstance(model, str) and _HUB_NAME.fullmatch(model) and ".." not in model:
        return model, _download(model, precision)
    raise ModelError(
        f"{str(path)!r}: no such folder: give a checkpoint's folder or a model on the hub"
    )


def find_onnx(folder: Path, precision: str) -> Path:
    """The ONNX file of a checkpoint; "auto" takes fp32 where there is one, else int8.

    Raises:
        ModelError: there is none of this precision.
    """
    wanted = {"auto": FP32_NAMES + INT8_NAMES, "fp32": FP32_NAMES, "int8": INT8_NAMES}[precision]
    for name in wanted:
        if (folder / "onnx" / name).is_file():
            return folder / "onnx" / name
    present = sorted(path.name for path in (folder / "onnx").glob("*.onnx"))
    raise ModelError(
        f"{folder}: no ONNX file for precision {precision!r} (onnx/ has "
        f"{', '.join(present) or 'none'}): export the transformer to onnx/{wanted[0]}"
    )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ModelError: the file is missing, or does not hold one JSON object.
    """
    content = _load_json(path)
    if not isinstance(content, dict):
        raise ModelError(f"{path}: damaged: expected a JSON object, got {type(content).__name__}")
    return content


def read_json_list(path: Path) -> list[dict[str, Any]]:
    """The objects in a JSON file that holds a list of them.

    Raises:
        ModelError: the file is missing, or does not hold a list of objects.
    """
    content = _load_json(path)
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise ModelError(f"{path}: damaged: expected a JSON list of objects")
    return content


def inside(folder: Path, relative: object) -> Path:
    """The folder that `relative`, read from a checkpoint, names inside `folder`.

    Raises:
        ModelError: it leads out of the folder: such a checkpoint would read foreign files.
    """
    parts = PurePosixPath(relative).parts if isinstance(relative, str) else ("..",)
    if any(part in ("..", "/") or "\\" in part or ":" in part or "\0" in part for part in parts):
        raise ModelError(
            f"{folder}: modules.json names the path {relative!r}, which leaves the checkpoint: "
            "refused; get the model from a source that you trust"
        )
    return folder.joinpath(*parts)


def external_data(onnx: Path) -> list[Path]:
    """The files beside an ONNX file that hold its weights, if any."""
    beside = [onnx.with_name(onnx.name + suffix) for suffix in EXTERNAL_SUFFIXES]
    return [path for path in beside if path.is_file()]


def _load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"{path}: missing: the checkpoint is incomplete; get it again") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: damaged JSON ({_line(error)}): get the file again") from error


def _download(name: str, precision: str) -> Path:
    """Only the files that are read: the weights of other frameworks may be many times larger."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    preferred = INT8_NAMES if precision == "int8" else FP32_NAMES
    rest = INT8_NAMES if precision == "auto" else ()
    try:
        folder = Path(snapshot_download(name, allow_patterns=[*_SMALL_FILES, *_onnx(preferred)]))
        if rest and not any((folder / "onnx" / file).is_file() for file in preferred):
            folder = Path(snapshot_download(name, allow_patterns=[*_SMALL_FILES, *_onnx(rest)]))
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{name!r}: no such folder, and the hub cannot be reached: check the name, connect "
            "once, or give a local folder"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"{name!r}: no such folder, and the hub does not give it ({_line(error)}): check the "
            "name"
        ) from error
    return folder


def _onnx(names: tuple[str, ...]) -> list[str]:
    return [f"onnx/{name}{end}" for name in names for end in ("", *EXTERNAL_SUFFIXES)]


def _line(error: BaseException) -> str:
    """The first line of a foreign message: ours are one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
