"""What a model is trained on: queries, documents, and which of them belong together. Values, and
the folder that keeps them.

The folder is BEIR's `corpus.jsonl` and `queries.jsonl` beside an `examples.jsonl` of ids, so that
mined and scored sets are files that a person can read. Every format is read into these values;
how, is the business of `reading`.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gingham.document import Document
from gingham.errors import InputError, SourceError
from gingham.evaluation.numbered_lines import numbered_lines, quoted, shown
from gingham.evaluation.query_files import read_queries
from gingham.sources import SourceOptions, Sources

EXAMPLES_FILE = "examples.jsonl"
CORPUS_FILE = "corpus.jsonl"
QUERIES_FILE = "queries.jsonl"


@dataclass(frozen=True, slots=True)
class Example:
    """One query with documents that answer it and documents that do not.

    Attributes:
        query_id: the query.
        positives: ids of documents that answer it, at least one unless there are scores.
        negatives: ids of documents that do not; may be empty where a batch supplies them.
        scores: a teacher's score of every positive and then every negative, higher is more
            relevant, in any unit; None where there are only labels.
    """

    query_id: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without the texts."""
        n_documents = len(self.positives) + len(self.negatives)
        if not n_documents:
            raise InputError(f"the example of query {quoted(self.query_id)} has no document")
        if self.scores is None:
            return
        if len(self.scores) != n_documents:
            raise InputError(
                f"the example of query {quoted(self.query_id)} has {n_documents} documents and "
                f"{len(self.scores)} scores; give one score a document, or none at all"
            )
        if not all(math.isfinite(score) for score in self.scores):
            raise InputError(
                f"the example of query {quoted(self.query_id)} has a score that is no finite number"
            )

    @property
    def documents(self) -> tuple[str, ...]:
        """Positives, then negatives: the order of `scores`."""
        return self.positives + self.negatives


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """Examples and the texts that their ids name.

    Attributes:
        name: what logs and the model card call it.
        queries: text by id; may hold more than the examples ask.
        documents: text by id, a title in front on a line of its own, as `Collection.add` has it;
            may hold more than the examples name: negatives are mined from all of it.
        examples: in the order of their file; a query may have several.
    """

    name: str
    queries: Mapping[str, str]
    documents: Mapping[str, str]
    examples: Sequence[Example]


def write_training_set(training_set: TrainingSet, folder: str | os.PathLike[str]) -> None:
    """Keep a set as a folder: all of it, or, whatever happens, nothing under that name.

    Raises:
        InputError: something of that name exists, or the folder cannot be written.
    """
    final = Path(folder)
    if final.exists():
        raise InputError(f"{shown(final)} exists already; name a new folder, or remove it first")
    draft = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)  # of a killed process that had our number
        draft.mkdir()
        _write_texts(draft / CORPUS_FILE, training_set.documents)
        _write_texts(draft / QUERIES_FILE, training_set.queries)
        _write_lines(draft / EXAMPLES_FILE, map(_as_record, training_set.examples))
        draft.rename(final)
    except OSError as error:
        raise InputError(
            f"cannot write {shown(final)}: {error.strerror or error}; name a folder that may be "
            "written to"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read_training_set(folder: str | os.PathLike[str], name: str | None = None) -> TrainingSet:
    """Read a folder that `write_training_set` wrote, or one like it that was made by hand.

    Args:
        folder: with corpus.jsonl, queries.jsonl and examples.jsonl.
        name: of the set; None takes the folder's.

    Raises:
        SourceError: a file is missing or breaks its format, or an example names an unknown id.
    """
    path = Path(folder)
    for file in (CORPUS_FILE, QUERIES_FILE, EXAMPLES_FILE):
        if not (path / file).is_file():
            raise SourceError(
                f"{shown(path)}: there is no {file}; a folder of examples has {CORPUS_FILE}, "
                f"{QUERIES_FILE} and {EXAMPLES_FILE}"
            )
    documents = {document.id: document.text or "" for document in _documents(path / CORPUS_FILE)}
    queries = read_queries(path / QUERIES_FILE)
    examples = tuple(read_examples(path / EXAMPLES_FILE, queries, documents))
    return TrainingSet(name or Path(os.path.abspath(path)).name, queries, documents, examples)


def read_examples(
    path: Path, queries: Mapping[str, str], documents: Mapping[str, str]
) -> Iterator[Example]:
    """The examples of an examples.jsonl, each checked against the texts.

    Raises:
        SourceError: a line is no example, or names an unknown query or document.
    """
    for number, line in numbered_lines(path):
        where = f"{shown(path)}, line {number}"
        example = _as_example(line, where)
        if example.query_id not in queries:
            raise SourceError(
                f"{where}: query {quoted(example.query_id)} is not in {QUERIES_FILE}; add it, or "
                "remove the line"
            )
        unknown = next((id for id in example.documents if id not in documents), None)
        if unknown is not None:
            raise SourceError(
                f"{where}: document {quoted(unknown)} is not in {CORPUS_FILE}; add it, or remove "
                "the id"
            )
        yield example


def _documents(path: Path) -> Iterator[Document]:
    return iter(Sources([path], SourceOptions(keep_empty=True)))


def _write_texts(path: Path, texts: Mapping[str, str]) -> None:
    _write_lines(path, ({"_id": id, "text": text} for id, text in texts.items()))


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for record in records:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _as_record(example: Example) -> dict[str, Any]:
    record: dict[str, Any] = {
        "query": example.query_id,
        "positives": list(example.positives),
        "negatives": list(example.negatives),
    }
    return record if example.scores is None else {**record, "scores": list(example.scores)}


def _as_example(line: str, where: str) -> Example:
    rule = (
        'expected {"query": id, "positives": [ids], "negatives": [ids]} and, where a teacher has '
        'scored them, "scores": [numbers]'
    )
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where}: not JSON ({error}); {rule}") from error
    if not isinstance(record, dict) or not isinstance(record.get("query"), str):
        raise SourceError(f"{where}: no example; {rule}")
    positives, negatives = record.get("positives", []), record.get("negatives", [])
    scores = record.get("scores")
    if not _all(positives, str) or not _all(negatives, str):
        raise SourceError(f"{where}: positives and negatives must be lists of ids; {rule}")
    if scores is not None and not _all(scores, (int, float)):
        raise SourceError(f"{where}: scores must be a list of numbers; {rule}")
    try:
        return Example(
            record["query"],
            tuple(positives),
            tuple(negatives),
            None if scores is None else tuple(map(float, scores)),
        )
    except (InputError, OverflowError) as error:
        raise SourceError(f"{where}: {error}") from error


def _all(values: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, kind) and not isinstance(value, bool) for value in values
    )
