"""The conductor: names of files, folders or datasets in, one checked `Dataset` out.

It finds the parts, reads judgements and queries before the documents, which take longest, and
checks that the parts belong together. The formats are the business of the other modules.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gingham.errors import InputError, SourceError
from gingham.evaluation.corpora import FileCorpus, Progress
from gingham.evaluation.dataset import Corpus, Dataset, Qrels
from gingham.evaluation.dataset_folders import DatasetFiles, find_parts
from gingham.evaluation.ir_datasets_reader import PREFIX, IrDataset, may_be_known
from gingham.evaluation.numbered_lines import counted, quoted, shown
from gingham.evaluation.qrels_files import find_line, read_qrels
from gingham.evaluation.query_files import DEFAULT_FIELD, line_of_query, read_queries

AnyPath = str | os.PathLike[str]

_LET_THROUGH = "or pass --allow-unknown-ids (allow_unknown_ids=True)"


@dataclass(frozen=True, slots=True)
class _Judged:
    """Judgements; `place` finds where the first (query id, document id) of a kind stands."""

    qrels: Qrels
    name: str
    place: Callable[[Callable[[str, str], bool]], str]


@dataclass(frozen=True, slots=True)
class _Asked:
    """Queries; `place` finds where the query of an id stands."""

    texts: Mapping[str, str]
    name: str
    place: Callable[[str], str]


def open_dataset(
    source: AnyPath | None = None,
    *,
    split: str | None = None,
    corpus: Sequence[AnyPath] | None = None,
    queries: AnyPath | None = None,
    qrels: AnyPath | None = None,
    topic_field: str = DEFAULT_FIELD,
    max_queries: int | None = None,
    download: bool = False,
    allow_unknown_ids: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Read a dataset and check it.

    Args:
        source: a folder (BEIR, MS MARCO, TREC), a file of judgements, or "irds:ID", a dataset that
            ir_datasets knows; None where `qrels` is given.
        split: which judgements of a folder; None takes "test", else the only ones, else "dev".
        corpus: files or folders of documents, instead of what `source` has.
        queries: a file of queries, instead of what `source` has.
        qrels: a file of judgements, instead of what `source` has.
        topic_field: which part of a topic is the query: title, desc, narr or as the file names it.
        max_queries: only the first queries that have judgements, in the order of their file.
        download: let ir_datasets fetch what is missing.
        allow_unknown_ids: leave out judgements of unknown queries, and keep those of unknown
            documents (nobody can find these), with a remark, instead of raising.
        progress: called with the number of documents read so far. With `download`, ir_datasets then
            shows its own log and progress bars too.

    Raises:
        InputError: the arguments contradict each other.
        SourceError: a file cannot be read or breaks its format, or the parts do not fit together.
        MissingDependencyError: what reads such a source is not installed.
    """
    if max_queries is not None and max_queries < 1:
        raise InputError(f"max_queries must be at least 1, got {max_queries}")
    found: DatasetFiles | IrDataset
    if isinstance(source, str) and source.startswith(PREFIX):
        if split is not None:
            raise InputError(f"the split is part of an id of ir_datasets: {source}/{split}")
        quiet = not download or progress is None
        found = IrDataset(source.removeprefix(PREFIX), download=download, quiet=quiet)
        name = found.id
    else:
        found = _files(source, split, queries, qrels)
        name = found.name
    remarks: list[str] = []
    judged = _judged(found, qrels, remarks)
    asked = _asked(found, queries, topic_field)
    kept, texts = _select(judged, asked, max_queries, allow_unknown_ids, remarks)
    documents = _corpus(found, corpus, progress)
    if documents is not None:
        _check_documents(kept, documents, judged, allow_unknown_ids, remarks)
    label = None if isinstance(found, IrDataset) else found.split
    return Dataset(name, label, texts, kept, documents, tuple(remarks))


def _files(
    source: AnyPath | None, split: str | None, queries: AnyPath | None, qrels: AnyPath | None
) -> DatasetFiles:
    if source is not None and Path(source).is_dir():
        return find_parts(Path(source), split, qrels=_path(qrels), queries=_path(queries))
    if split is not None:
        raise InputError(
            f"split {split!r} chooses among the judgements of a folder; none was given"
        )
    if source is not None and not Path(source).exists():
        raise SourceError(_no_such(source))
    file = qrels if qrels is not None else source
    if file is None:
        raise InputError(
            "nothing to evaluate by: name a dataset (a folder, a file of judgements or irds:ID) or "
            "judgements: --qrels (qrels=)"
        )
    return DatasetFiles(shown(Path(Path(file).stem)), None, Path(file), _path(queries), None)


def _no_such(source: AnyPath) -> str:
    name = shown(Path(source))
    known = may_be_known(name)
    remedy = f"ir_datasets knows a dataset of this name: say {PREFIX}{name}"
    expected = (
        "expected a folder (BEIR, MS MARCO, TREC), a file of judgements, or "
        f"{PREFIX}ID for a dataset of ir_datasets"
    )
    return f"{name}: no such file or folder; {remedy if known else expected}"


def _judged(
    found: DatasetFiles | IrDataset, replacement: AnyPath | None, remarks: list[str]
) -> _Judged:
    if isinstance(found, DatasetFiles):
        return _judged_in_file(found.qrels)
    if replacement is not None:
        return _judged_in_file(Path(replacement))
    qrels, repeats = found.qrels()
    if repeats:
        remarks.append(
            f"{found.name}: {counted(repeats, 'judgement')} came again for the same query and "
            "document: the last one counts"
        )
    name = found.name
    return _Judged(qrels, name, lambda _: name)


def _judged_in_file(path: Path) -> _Judged:
    def place(wanted: Callable[[str, str], bool]) -> str:
        line = find_line(path, lambda judgement: wanted(judgement.query_id, judgement.document_id))
        return f"{shown(path)}, line {line}"

    return _Judged(read_qrels(path), shown(path), place)


def _asked(
    found: DatasetFiles | IrDataset, replacement: AnyPath | None, field: str
) -> _Asked | None:
    if replacement is None and isinstance(found, IrDataset):
        texts = found.queries(field)
        name = found.name
        return None if texts is None else _Asked(texts, name, lambda _: name)
    path = found.queries if isinstance(found, DatasetFiles) else _path(replacement)
    if path is None:
        return None
    file = path
    return _Asked(
        read_queries(file, field),
        shown(file),
        lambda id: f"{shown(file)}, line {line_of_query(file, id, field)}",
    )


def _path(path: AnyPath | None) -> Path | None:
    return None if path is None else Path(path)


def _corpus(
    found: DatasetFiles | IrDataset,
    replacement: Sequence[AnyPath] | None,
    progress: Progress | None,
) -> Corpus | None:
    if replacement is not None:
        # A lone path is a sequence too, of letters.
        paths = [replacement] if isinstance(replacement, (str, os.PathLike)) else replacement
        return FileCorpus(paths, progress=progress)
    if isinstance(found, IrDataset):
        return found.corpus(progress)
    return None if found.corpus is None else FileCorpus([found.corpus], progress=progress)


def _select(
    judged: _Judged, asked: _Asked | None, limit: int | None, lenient: bool, remarks: list[str]
) -> tuple[Qrels, dict[str, str]]:
    """The judgements and queries that count: judged, known, and the first of them."""
    if asked is None:
        known = list(judged.qrels)
    else:
        known = [id for id in asked.texts if id in judged.qrels]
        _check_queries(judged, asked, known, lenient, remarks)
    chosen = known[:limit]
    if len(chosen) < len(known):
        remarks.append(f"only the first {len(chosen):,} of {len(known):,} judged queries are used")
    texts = {} if asked is None else {id: asked.texts[id] for id in chosen}
    for id, text in texts.items():
        if asked is not None and not text:
            raise SourceError(
                f"{asked.place(id)}: the text of query {quoted(id)} is empty, but it has "
                "judgements; write its text, or remove these"
            )
    wanted = set(chosen)
    return {id: grades for id, grades in judged.qrels.items() if id in wanted}, texts


def _check_queries(
    judged: _Judged, asked: _Asked, known: Sequence[str], lenient: bool, remarks: list[str]
) -> None:
    if not known:
        raise SourceError(
            f"{judged.name}: none of its query ids is in {asked.name} (the first is "
            f"{quoted(next(iter(judged.qrels)))}, there it is {quoted(next(iter(asked.texts), ''))}"
            "); take the judgements and the queries of the same dataset"
        )
    unknown = [id for id in judged.qrels if id not in asked.texts]
    if not unknown:
        return
    if not lenient:
        raise SourceError(
            f"{judged.place(lambda query, _: query == unknown[0])}: the judged query "
            f"{quoted(unknown[0])} is not in {asked.name}{_and_more(len(unknown) - 1)}; take the "
            f"judgements and the queries of the same dataset, {_LET_THROUGH}"
        )
    lines = sum(len(judged.qrels[id]) for id in unknown)
    remarks.append(
        f"{judged.name}: {counted(lines, 'judgement')} left out, of "
        f"{counted(len(unknown), 'query', 'queries')} not in {asked.name}"
    )


def _check_documents(
    qrels: Qrels, corpus: Corpus, judged: _Judged, lenient: bool, remarks: list[str]
) -> None:
    ids = {id for grades in qrels.values() for id in grades}
    unknown = {id for id in ids if id not in corpus}
    if not unknown:
        return
    if not lenient:
        first = next((q, d) for q, grades in qrels.items() for d in grades if d in unknown)
        raise SourceError(
            f"{judged.place(lambda query, document: (query, document) == first)}: the judged "
            f"document {quoted(first[1])} is not in the corpus{_and_more(len(unknown) - 1)}; take "
            f"the judgements and the documents of the same dataset, {_LET_THROUGH}"
        )
    relevant = sum(
        grade > 0 for grades in qrels.values() for id, grade in grades.items() if id in unknown
    )
    remarks.append(
        f"{judged.name}: {len(unknown):,} of {counted(len(ids), 'judged document')} are not in the "
        f"corpus; nobody can find {counted(relevant, 'relevant one')} among them"
    )


def _and_more(count: int) -> str:
    return f" (nor are {count:,} more)" if count > 1 else " (nor is 1 more)" if count else ""
