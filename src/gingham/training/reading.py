"""Names of files, folders and data sets in, `TrainingSet`s out.

What is read: folders in BEIR layout (judgements above 0 are positives, of 0 negatives), folders
that `write_training_set` wrote, MS MARCO's tab-separated triples, JSON lines of pairs, triples and
lists with scores, and data sets of Hugging Face, by name (`hf:NAME`) or saved to disk. Files of ids
need the queries and the collection that the ids are of.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gingham.errors import InputError, MissingDependencyError, SourceError
from gingham.evaluation.dataset_folders import find_parts
from gingham.evaluation.numbered_lines import numbered_lines, quoted, shown
from gingham.evaluation.qrels_files import read_qrels
from gingham.evaluation.query_files import line_of_query, read_queries
from gingham.sources import SourceOptions, Sources
from gingham.training.examples import EXAMPLES_FILE, Example, TrainingSet, read_training_set
from gingham.training.lines_on_disk import LinesOnDisk, TextsOnDisk
from gingham.training.records import (
    Record,
    Rows,
    as_lazy_set,
    as_set,
    from_columns,
    from_json,
    from_triple,
)

HUB = "hf:"
_LARGE = 256 * 2**20  # files above this stay on disk
_MANY = 200_000  # and so do rows of a data set of Hugging Face
_SAVED = ("dataset_info.json", "dataset_dict.json", "state.json")
_JSON = {".jsonl", ".ndjson", ".json"}


def read(
    source: str | os.PathLike[str],
    *,
    split: str | None = None,
    queries: str | os.PathLike[str] | None = None,
    collection: str | os.PathLike[str] | None = None,
) -> TrainingSet:
    """Read one source of training data.

    Args:
        source: a folder, a file, FOLDER:SPLIT, or hf:NAME, hf:NAME:CONFIG, hf:NAME:CONFIG:SPLIT.
        split: of a folder or a data set; None takes "train", else the only one.
        queries: a file of queries, for a file of ids.
        collection: a file of documents, for a file of ids.

    Raises:
        SourceError: something is missing, breaks its format, is empty, or names an unknown id.
        InputError: the arguments contradict each other.
        MissingDependencyError: the library that reads such a source is not installed.
    """
    name = os.fspath(source)
    if name.startswith(HUB):
        return _from_hub(name.removeprefix(HUB), split)
    path = Path(name)
    if not path.exists() and ":" in name:
        before, _, after = name.rpartition(":")
        if Path(before).is_dir():
            if split is not None and split != after:
                raise InputError(
                    f"{name} names a split, and so does --split (split=): leave it out"
                )
            path, split = Path(before), after
    if not path.exists():
        raise SourceError(
            f"{shown(path)}: no such file or folder; a data set of the hub is named {HUB}NAME"
        )
    if path.is_dir():
        return _from_folder(path, split)
    if (queries is None) != (collection is None):
        raise InputError("a file of ids needs both: --queries (queries=) and --collection")
    if queries is not None and collection is not None:
        return _from_ids(path, Path(queries), Path(collection))
    return _from_texts(path)


def read_all(
    sources: Sequence[str | os.PathLike[str]],
    *,
    split: str | None = None,
    queries: str | os.PathLike[str] | None = None,
    collection: str | os.PathLike[str] | None = None,
) -> list[TrainingSet]:
    """Read several; a name that comes twice gets a number.

    Raises:
        SourceError: as `read`.
    """
    sets: list[TrainingSet] = []
    for source in sources:
        one = read(source, split=split, queries=queries, collection=collection)
        taken = {other.name for other in sets}
        if one.name in taken:
            new = next(
                f"{one.name} ({n})" for n in itertools.count(2) if f"{one.name} ({n})" not in taken
            )
            one = TrainingSet(new, one.queries, one.documents, one.examples)
        sets.append(one)
    return sets


def _from_folder(folder: Path, split: str | None) -> TrainingSet:
    names = set(os.listdir(folder))
    if EXAMPLES_FILE in names:
        return read_training_set(folder)
    if names & set(_SAVED):
        return _from_disk(folder, split)
    return _from_beir(folder, split)


def _from_beir(folder: Path, split: str | None) -> TrainingSet:
    if split is None and (folder / "qrels" / "train.tsv").is_file():
        split = "train"
    if split is None and len(splits := sorted((folder / "qrels").glob("*.tsv"))) > 1:
        listed = ", ".join(path.stem for path in splits)
        raise SourceError(
            f"{shown(folder)}: no split train, and several others: {listed}; name one: "
            f"{shown(folder)}:{splits[0].stem}"
        )
    parts = find_parts(folder, split)
    if parts.queries is None or parts.corpus is None:
        missing = "queries" if parts.queries is None else "documents"
        raise SourceError(
            f"{shown(folder)}: there are no {missing}; expected corpus.jsonl, queries.jsonl and "
            "qrels/SPLIT.tsv"
        )
    qrels, queries = read_qrels(parts.qrels), read_queries(parts.queries)
    documents = _documents(parts.corpus)
    examples = []
    for query, grades in qrels.items():
        positives = tuple(id for id, grade in grades.items() if grade > 0)
        negatives = tuple(id for id, grade in grades.items() if grade <= 0)
        if not positives:
            continue
        where = shown(parts.qrels)
        if query not in queries:
            raise SourceError(
                f"{where}: query {quoted(query)} is not in {shown(parts.queries)}; take the parts "
                "of the same data set"
            )
        if not queries[query]:
            line = line_of_query(parts.queries, query)
            raise SourceError(
                f"{shown(parts.queries)}, line {line}: query {quoted(query)} is empty, but it has "
                "judgements; write its text, or remove these"
            )
        _check_known((*positives, *negatives), documents, where, shown(parts.corpus))
        examples.append(Example(query, positives, negatives))
    name = parts.name if parts.split in (None, "train") else f"{parts.name}:{parts.split}"
    return _with_examples(name, queries, documents, examples, shown(parts.qrels))


def _from_ids(path: Path, queries_file: Path, collection: Path) -> TrainingSet:
    """A file of ids; the texts are elsewhere."""
    queries, documents = read_queries(queries_file), _documents(collection)
    parse = _parser(path)

    def example(line: str, where: str) -> Example:
        record = parse(line, where)
        if record.query not in queries:
            raise SourceError(
                f"{where}: query {quoted(record.query)} is not in {shown(queries_file)}; take the "
                "queries that the file is of"
            )
        _check_known(record.documents, documents, where, shown(collection))
        return Example(record.query, record.positives, record.negatives, record.scores)

    if path.stat().st_size > _LARGE:
        lines = LinesOnDisk(path)

        def read_row(index: int) -> Record:
            return parse(lines[index], lines.place(index))

        for index in range(len(lines)):
            example(lines[index], lines.place(index))
        return TrainingSet(path.stem, queries, documents, _IdExamples(Rows(len(lines), read_row)))
    examples = [example(line, f"{shown(path)}, line {n}") for n, line in numbered_lines(path)]
    return _with_examples(path.stem, queries, documents, examples, shown(path))


class _IdExamples(Sequence[Example]):
    """Examples of a large file of ids, made when they are asked for."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        record = self._rows[index]
        return Example(record.query, record.positives, record.negatives, record.scores)


def _from_texts(path: Path) -> TrainingSet:
    """A file in which the texts stand."""
    parse = _parser(path)
    if path.stat().st_size > _LARGE:
        lines = LinesOnDisk(path)
        for index in range(len(lines)):
            parse(lines[index], lines.place(index))  # what is wrong should be known now
        rows = Rows(len(lines), lambda index: parse(lines[index], lines.place(index)))
        return as_lazy_set(path.stem, rows)
    records = [_worded(parse(line, where), where) for line, where in _lines(path)]
    if not records:
        raise SourceError(f"{shown(path)}: there is no example in it")
    return as_set(path.stem, records)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in numbered_lines(path):
        yield line, f"{shown(path)}, line {number}"


def _worded(record: Record, where: str) -> Record:
    """Refuse ids where texts are expected: training on digits fails silently."""
    if all(text.isdigit() for text in (record.query, *record.documents)):
        raise SourceError(
            f"{where}: these are ids ({quoted(record.query)}, …), not texts; name the files that "
            "have the texts: --queries (queries=) and --collection (collection=)"
        )
    return record


def _parser(path: Path) -> Callable[[str, str], Record]:
    if path.suffix.lower() in _JSON:
        return from_json
    if path.suffix.lower() in {".tsv", ".txt", ""}:
        return from_triple
    raise SourceError(
        f"{shown(path)}: expected .jsonl (pairs, triples, lists with scores) or .tsv (query, "
        f"positive, negative), got {quoted(path.suffix)}"
    )


def _documents(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        raise SourceError(f"{shown(path)}: no such file of documents")
    if path.stat().st_size > _LARGE and path.suffix.lower() in {".jsonl", ".tsv"}:
        return TextsOnDisk(path)
    options = SourceOptions(keep_empty=True)
    return {document.id: document.text or "" for document in Sources([path], options)}


def _check_known(
    ids: Sequence[str], documents: Mapping[str, str], where: str, collection: str
) -> None:
    unknown = next((id for id in ids if id not in documents), None)
    if unknown is not None:
        raise SourceError(
            f"{where}: document {quoted(unknown)} is not in {collection}; take the documents of "
            "the same data set"
        )


def _with_examples(
    name: str,
    queries: Mapping[str, str],
    documents: Mapping[str, str],
    examples: Sequence[Example],
    where: str,
) -> TrainingSet:
    if not examples:
        raise SourceError(f"{where}: there is no query with a positive in it")
    return TrainingSet(name, queries, documents, tuple(examples))


def _from_hub(spec: str, split: str | None) -> TrainingSet:
    parts = spec.split(":")
    if not parts[0] or len(parts) > 3:
        raise InputError(
            f"{HUB}{spec}: expected {HUB}NAME, {HUB}NAME:CONFIG or {HUB}NAME:CONFIG:SPLIT"
        )
    config = parts[1] if len(parts) > 1 and parts[1] else None
    wanted = parts[2] if len(parts) > 2 else split or "train"
    datasets = _library()
    try:
        rows = datasets.load_dataset(parts[0], config, split=wanted)
    except Exception as error:  # whatever a hub, a cache and many formats raise
        raise SourceError(
            f"{HUB}{spec}: cannot be loaded: {' '.join(str(error).split())[:300]}"
        ) from error
    return _from_rows(parts[0].rpartition("/")[2], rows, f"{HUB}{spec}")


def _from_disk(folder: Path, split: str | None) -> TrainingSet:
    datasets = _library()
    try:
        rows = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise SourceError(
            f"{shown(folder)}: not a data set that save_to_disk wrote: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    if isinstance(rows, dict):
        names = list(rows)
        wanted = split or ("train" if "train" in names else names[0] if len(names) == 1 else None)
        if wanted not in names:
            raise SourceError(f"{shown(folder)}: no split {wanted!r}; it has {', '.join(names)}")
        rows = rows[wanted]
    return _from_rows(folder.name, rows, shown(folder))


def _from_rows(name: str, rows: Any, where: str) -> TrainingSet:
    def record(index: int) -> Record:
        place = f"{where}, row {index + 1}"
        return _worded(from_columns(rows[index], place), place)

    if not len(rows):
        raise SourceError(f"{where}: there is no row in it")
    if len(rows) > _MANY:
        for index in range(len(rows)):
            record(index)
        return as_lazy_set(name, Rows(len(rows), record))
    return as_set(name, (record(index) for index in range(len(rows))))


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError(
            "reading data sets of Hugging Face needs datasets: pip install 'gingham[train]'"
        ) from error
    return datasets
