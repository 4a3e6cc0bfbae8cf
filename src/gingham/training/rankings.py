"""What our own index answers to training queries: asked once, kept in parts, read a part at a time.

The index is a collection like any other, made with the model that is being trained. An interrupted
`build` continues where it was; an interrupted `ask` loses one part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham import collection as collections
from gingham.collection import Collection
from gingham.document import Document, Int32
from gingham.encoder import Encoder
from gingham.errors import InputError
from gingham.evaluation.atomic import replacing
from gingham.evaluation.systems import Step
from gingham.report import Progress
from gingham.training.examples import TrainingSet
from gingham.training.steps import ProgressCallback, begin, silent

# Queries of one part: what an interruption loses at most.
_PART = 512
_ABSENT = -1


@dataclass(frozen=True, slots=True)
class ScoredDocuments:
    """What the index said to one query.

    Attributes:
        hits: (id, score), best first, positives among them.
        positives: the score of every document that is right for the query and in the index.
    """

    hits: tuple[tuple[str, float], ...]
    positives: Mapping[str, float]


def build(
    training_set: TrainingSet,
    encoder: Encoder,
    path: Path,
    *,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Index the documents of a set that have text; what is indexed already stays.

    Raises:
        CollectionError: the collection cannot be used.
        ModelMismatchError: it was begun with another model.
    """
    report, total = progress or silent, len(training_set.documents)

    def tell(now: Progress) -> None:
        report(Step("indexing", now.documents, total, f"{now.documents:,} of {total:,} documents"))

    report(Step("indexing", 0, total, f"{total:,} documents"))
    with collections.open(path, encoder, threads=threads) as opened:
        opened.add(
            (Document(id, text) for id, text in training_set.documents.items() if text.strip()),
            progress=tell,
        )


def ask(
    training_set: TrainingSet,
    positives: Mapping[str, frozenset[str]],
    opened: Collection,
    folder: Path,
    depth: int,
    *,
    progress: ProgressCallback | None = None,
) -> Rankings:
    """Search for every query of `positives`, as far as that has not been done.

    Args:
        training_set: whose queries are asked, and whose documents the collection holds; others
            that it holds too are passed over.
        positives: the ids of the right documents, by query id.
        opened: the collection.
        folder: for the parts.
        depth: hits a query, its positives not counted.
        progress: told how far it has come.

    Raises:
        InputError: the collection lacks a document, or the folder has answers to other questions.
    """
    report = progress or silent
    numbers = {id: number for number, id in enumerate(training_set.documents)}
    missing = [
        id for id, text in training_set.documents.items() if text.strip() and id not in opened
    ]
    if missing:
        raise InputError(
            f"{opened.path} lacks {len(missing):,} documents of {training_set.name}, such as "
            f"{missing[0]!r}: add them under their own ids, or name a model to index them with"
        )
    queries = list(positives)
    begin(
        folder,
        {
            "model": opened.info().fingerprint,
            "generation": opened.info().generation,
            "depth": depth,
            "documents": _digest(training_set.documents),
            "queries": _digest({id: training_set.queries[id] for id in queries}),
            "positives": _digest({id: "\0".join(sorted(right)) for id, right in positives.items()}),
        },
        "the search for negatives",
    )
    for start in range(0, len(queries), _PART):
        part = queries[start : start + _PART]
        path = _part(folder, start)
        if not path.exists():
            done = f"{start:,} of {len(queries):,} queries"
            report(Step("searching for negatives", start, len(queries), done))
            arrays = _answers(part, training_set, positives, opened, depth, numbers)
            with replacing(path) as draft, draft.open("wb") as file:
                _save(file, **arrays)
    return Rankings(folder, queries, list(training_set.documents))


class Rankings:
    """The answers to all queries; those of the part that was asked for last are in memory."""

    def __init__(self, folder: Path, queries: Sequence[str], documents: Sequence[str]) -> None:
        """See `ask`."""
        self._folder = folder
        self._rows = {id: row for row, id in enumerate(queries)}
        self._documents = documents
        self._loaded: tuple[int, dict[str, npt.NDArray[Any]]] | None = None

    def __call__(self, query_id: str) -> ScoredDocuments:
        """The answer to one query.

        Raises:
            InputError: a part cannot be read.
        """
        row = self._rows[query_id]
        start = row - row % _PART
        if self._loaded is None or self._loaded[0] != start:
            self._loaded = (start, self._read(_part(self._folder, start)))
        arrays, row = self._loaded[1], row - start
        own = slice(*arrays["offsets"][row : row + 2].tolist())
        return ScoredDocuments(
            tuple(self._named(arrays["hits"][row], arrays["scores"][row])),
            dict(self._named(arrays["positives"][own], arrays["positive_scores"][own])),
        )

    def _named(self, numbers: Int32, scores: npt.NDArray[np.float32]) -> list[tuple[str, float]]:
        pairs = zip(numbers.tolist(), scores.tolist(), strict=True)
        return [(self._documents[number], score) for number, score in pairs if number != _ABSENT]

    @staticmethod
    def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, KeyError) as error:
            raise InputError(
                f"{path}: cannot be read ({error}): delete it and run again"
            ) from error


def _part(folder: Path, start: int) -> Path:
    return folder / f"queries-{start:09}.npz"


def _answers(
    queries: Sequence[str],
    training_set: TrainingSet,
    positives: Mapping[str, frozenset[str]],
    opened: Collection,
    depth: int,
    numbers: Mapping[str, int],
) -> dict[str, npt.NDArray[Any]]:
    """Of one part: hits and scores (n_queries, depth of the part), and the positives', ragged."""
    right = [
        sorted(id for id in positives[query] if id in numbers and id in opened) for query in queries
    ]
    k = depth + max(map(len, right), default=0)
    vectors = opened.encoder.encode_queries([training_set.queries[query] for query in queries])
    found = opened.search_many(vectors, k, texts=False)
    hits = np.full((len(queries), k), _ABSENT, dtype=np.int32)
    scores = np.zeros((len(queries), k), dtype=np.float32)
    offsets = np.zeros(len(queries) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids in right], out=offsets[1:])
    positive_scores = np.zeros(offsets[-1], dtype=np.float32)
    for row, answer in enumerate(found):
        known = {hit.id: hit.score for hit in answer}
        missed = [id for id in right[row] if id not in known]
        if missed:
            others = opened.search(vectors[row : row + 1], len(missed), ids=missed, texts=False)
            known |= {hit.id: hit.score for hit in others}
        listed = [hit for hit in answer if hit.id in numbers]
        hits[row, : len(listed)] = [numbers[hit.id] for hit in listed]
        scores[row, : len(listed)] = [hit.score for hit in listed]
        positive_scores[offsets[row] : offsets[row + 1]] = [known[id] for id in right[row]]
    return {
        "hits": hits,
        "scores": scores,
        "offsets": offsets,
        "positives": np.array([numbers[id] for ids in right for id in ids], dtype=np.int32),
        "positive_scores": positive_scores,
    }


# Its own keyword arguments hide from mypy that all others are arrays.
_save: Any = np.savez


def _digest(texts: Mapping[str, str]) -> str:
    sha = hashlib.sha256()
    for pair in texts.items():
        for part in pair:
            data = part.encode("utf-8", "surrogatepass")
            sha.update(len(data).to_bytes(8, "little"))
            sha.update(data)
    return sha.hexdigest()
