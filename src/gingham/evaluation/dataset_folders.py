"""Folders of datasets → which file is what: judgements of one split, queries, documents.

Known are the layouts of BEIR (`corpus.jsonl`, `queries.jsonl`, `qrels/SPLIT.tsv`), of MS MARCO
(`collection.tsv`, `queries.SPLIT.tsv`, `qrels.SPLIT.tsv`) and of TREC (`topics*`, `qrels*`). The
parts are looked for one by one, so that a mixture will do. No file is opened here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from gingham.errors import SourceError
from gingham.evaluation.numbered_lines import quoted, shown

_CORPORA = ("corpus.jsonl", "collection.tsv")
_SPLIT_QRELS = re.compile(r"qrels(?:\.(?P<split>.+))?\.tsv")
_NO_SPLIT = ""
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """What is where.

    Attributes:
        name: of the folder or file.
        split: which judgements; None where there is only one kind.
        qrels: judgements.
        queries: None where there are judgements only.
        corpus: None where there is none.
    """

    name: str
    split: str | None
    qrels: Path
    queries: Path | None
    corpus: Path | None


def find_parts(
    folder: Path, split: str | None, *, qrels: Path | None = None, queries: Path | None = None
) -> DatasetFiles:
    """The files of a folder that make a dataset.

    Args:
        folder: where to look.
        split: which judgements; None takes "test", else the only ones, else "dev".
        qrels: judgements from elsewhere, instead of those of the folder.
        queries: queries from elsewhere, instead of those of the folder.

    Raises:
        SourceError: a part that is needed is not there, or there are several to choose from.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise SourceError(f"{shown(folder)}: {(error.strerror or str(error)).lower()}") from error
    if qrels is None:
        splits = _splits(folder, names)
        if not splits:
            raise _not_understood(folder, names, "judgements")
        split = _choose(folder, splits, split)
        qrels = splits[split]
    queries = queries or _queries(folder, names, split)
    corpus = next((folder / name for name in _CORPORA if name in names), None)
    name = Path(os.path.abspath(folder)).name or shown(folder)
    return DatasetFiles(name, split or None, qrels, queries, corpus)


def _splits(folder: Path, names: list[str]) -> dict[str, Path]:
    below = folder / "qrels"
    if below.is_dir():
        if found := {path.stem: path for path in sorted(below.glob("*.tsv"))}:
            return found
        raise SourceError(f"{shown(below)}: no judgements; expected files named SPLIT.tsv")
    matches = [match for name in names if (match := _SPLIT_QRELS.fullmatch(name))]
    if matches:
        return {match["split"] or _NO_SPLIT: folder / match[0] for match in matches}
    others = [name for name in names if name.lower().startswith("qrels")]
    if len(others) > 1:
        raise SourceError(
            f"{shown(folder)}: {len(others)} files of judgements: {_listed(others)}; choose one "
            "with --qrels (qrels=)"
        )
    return {_NO_SPLIT: folder / others[0]} if others else {}


def _choose(folder: Path, splits: dict[str, Path], wanted: str | None) -> str:
    named = [name for name in splits if name != _NO_SPLIT]
    if wanted is not None:
        if wanted in splits:
            return wanted
        has = f"it has {_listed(named)}" if named else "it has one set of judgements: leave it out"
        raise SourceError(f"{shown(folder)}: no split {quoted(wanted)}; {has}")
    if "test" in splits:
        return "test"
    if len(splits) == 1:
        return next(iter(splits))
    for usual in (_NO_SPLIT, "dev"):
        if usual in splits:
            return usual
    raise SourceError(
        f"{shown(folder)}: several splits and none is named test or dev: {_listed(named)}; choose "
        "one with --split (split=)"
    )


def _queries(folder: Path, names: list[str], split: str | None) -> Path:
    of_split = [f"queries.{split}.tsv", f"queries.{split}.jsonl"] if split else []
    for name in (*of_split, "queries.jsonl", "queries.tsv"):
        if name in names:
            return folder / name
    several = [name for name in names if name.lower().startswith("topics")]
    if not several and not split:
        several = [name for name in names if re.fullmatch(r"queries\..+\.(tsv|jsonl)", name)]
    if len(several) == 1:
        return folder / several[0]
    if several:
        raise SourceError(
            f"{shown(folder)}: {len(several)} files of queries: {_listed(several)}; choose one "
            "with --queries (queries=)"
        )
    what = f"queries of split {quoted(split)}" if split else "queries"
    raise _not_understood(folder, names, what)


def _not_understood(folder: Path, names: list[str], what: str) -> SourceError:
    return SourceError(
        f"{shown(folder)}: no {what}; expected corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv "
        "(BEIR), collection.tsv, queries.SPLIT.tsv and qrels.SPLIT.tsv (MS MARCO) or topics* and "
        f"qrels* (TREC), found {_listed(names) or 'nothing'}; or name the files: --corpus "
        "--queries --qrels"
    )


def _listed(names: list[str]) -> str:
    safe = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in names[:_SHOWN]]
    return ", ".join(safe + ["…"] * (len(names) > _SHOWN))
