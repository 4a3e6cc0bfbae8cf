"""The checkpoint folders that are recognised, as data: what gives each away, and what to do.

A folder is recognised by one value in one JSON file, nothing is guessed from weights. This module
reads no model: `checkpoint.py` does, for the layouts that are supported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gingham.encoder.files import read_json
from gingham.errors import ModelError

_RESAVE = (
    "load it with sentence_transformers.MultiVectorEncoder, call save_pretrained, "
    "and export its transformer to onnx/model.onnx"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """One way of saving a model.

    Attributes:
        name: as the field calls it.
        file: the JSON file that gives the layout away.
        key: a key of that file; None where the file alone is enough.
        values: what the key may hold; None where the key alone is enough.
        remedy: how to make a supported checkpoint of it; None where it is supported.
    """

    name: str
    file: str
    key: str | None = None
    values: tuple[Any, ...] | None = None
    remedy: str | None = None

    def matches(self, content: Mapping[str, Any]) -> bool:
        """Whether `content`, read from `file`, is of this layout."""
        if self.key is None:
            return True
        return self.key in content and (self.values is None or content[self.key] in self.values)


# In the order in which they are tried: a PyLate folder also has what a sentence encoder has.
LAYOUTS = (
    Layout(
        "sentence-transformers MultiVectorEncoder",
        file="config_sentence_transformers.json",
        key="model_type",
        values=("MultiVectorEncoder",),
    ),
    Layout("next-plaid ONNX", file="onnx_config.json", remedy=_RESAVE),
    Layout(
        "PyLate",
        file="config_sentence_transformers.json",
        key="model_type",
        values=("ColBERT",),
        remedy=_RESAVE,
    ),
    Layout(
        "PyLate",
        file="config_sentence_transformers.json",
        key="query_prefix",
        remedy=_RESAVE,
    ),
    Layout("Stanford ColBERT", file="artifact.metadata", remedy=_RESAVE),
    Layout(
        "Stanford ColBERT",
        file="config.json",
        key="architectures",
        values=(["HF_ColBERT"],),
        remedy=_RESAVE,
    ),
    Layout(
        "sentence-transformers, one vector a text",
        file="config_sentence_transformers.json",
        remedy="late interaction needs one vector a token: choose a ColBERT model",
    ),
    Layout(
        "transformers",
        file="config.json",
        remedy="it has no projection of token vectors: choose a ColBERT model",
    ),
)


def recognise(folder: Path) -> Layout:
    """The layout of a folder, which is supported.

    Raises:
        ModelError: no layout fits, or the one that fits is not supported.
    """
    for layout in LAYOUTS:
        path = folder / layout.file
        if not path.is_file() or not layout.matches(read_json(path)):
            continue
        if layout.remedy is not None:
            raise ModelError(
                f"{folder}: a checkpoint of the layout {layout.name!r}, which gingham cannot read "
                f"yet: {layout.remedy}"
            )
        return layout
    raise ModelError(
        f"{folder}: not a checkpoint: none of {', '.join(sorted({x.file for x in LAYOUTS}))} is in "
        "it: give the folder that holds config_sentence_transformers.json"
    )
