"""Training sets → the tables that sentence-transformers' trainer draws batches from.

A row is a query and its documents, the positive first; a table has rows of one number of documents
and one loss, since a batch is of one table. Tables hold ids: texts are looked up when a batch is
drawn, so that what is kept grows with the examples and not with their texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow
from datasets import Dataset

from gingham.errors import InputError
from gingham.evaluation.numbered_lines import counted, quoted
from gingham.training.examples import Example, TrainingSet
from gingham.training.settings import TrainingSettings
from gingham.training.topic_batches import TopicBatches

BATCH_SCORES = "scores"  # another name than "label": batches are drawn whole by it

_CHUNK = 10_000
_Kind = tuple[str, int]  # a loss and a number of documents


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows of one loss and one number of documents.

    Attributes:
        name: of the set, and what distinguishes the table in it.
        loss: "pairwise", "in-batch", "distil", "both" or "batch-distil".
        rows: columns query, document_1 to document_n, and label where there are scores; of
            "batch-distil" the rows are in batches, and the column is `BATCH_SCORES`.
    """

    name: str
    loss: str
    rows: Dataset


@dataclass(frozen=True, slots=True)
class _Row:
    loss: str
    query: str
    documents: tuple[str, ...]
    scores: tuple[float, ...] | None

    @property
    def kind(self) -> _Kind:
        return self.loss, len(self.documents)


def make_tables(
    sets: Sequence[TrainingSet], settings: TrainingSettings
) -> tuple[list[Table], list[str]]:
    """The tables of all sets, and remarks on rows that no batch has room for.

    Raises:
        InputError: a set cannot be trained on with this loss, or is smaller than a batch.
    """
    tables: list[Table] = []
    remarks: list[str] = []
    for training_set in sets:
        if isinstance(training_set, TopicBatches):
            tables.append(_table_of_batches(training_set, settings))
        else:
            tables += _tables_of(training_set, settings, remarks)
    return tables, remarks


def _table_of_batches(batches: TopicBatches, settings: TrainingSettings) -> Table:
    if settings.loss not in ("auto", "batch-distil"):
        raise InputError(
            f"{batches.name}: its teacher scored whole batches, which the loss {settings.loss!r} "
            "has no use for; choose batch-distil"
        )
    if settings.batch_size != batches.size:
        raise InputError(
            f"{batches.name}: its batches are of {batches.size}, and batch_size is "
            f"{settings.batch_size}; make both the same"
        )
    columns = {
        "query": pyarrow.array([one.query_id for one in batches.examples]),
        "document_1": pyarrow.array([one.positives[0] for one in batches.examples]),
        BATCH_SCORES: pyarrow.FixedSizeListArray.from_arrays(
            pyarrow.array(batches.scores.reshape(-1)), batches.size
        ),
    }
    rows = Dataset(pyarrow.table(columns))
    texts = _Texts(batches.queries, batches.documents)
    return Table(batches.name, "batch-distil", rows.with_transform(texts))


def _tables_of(
    training_set: TrainingSet, settings: TrainingSettings, remarks: list[str]
) -> Iterator[Table]:
    sizes = Counter(row.kind for row in _rows(training_set, settings))
    goes_to = _merged(sizes, settings.batch_size)
    left_out = sum(sizes[kind] for kind in sizes if kind not in goes_to)
    total = sum(sizes.values())
    if not goes_to:
        raise InputError(
            f"{training_set.name}: {counted(total, 'row')} to train on, and a batch takes "
            f"{settings.batch_size}; lower batch_size, or give more examples"
        )
    if left_out:
        remarks.append(
            f"{training_set.name}: {counted(left_out, 'row')} of {total:,} left out: a batch is of "
            "rows with equally many documents, and there are fewer of these than a batch takes"
        )
    texts = _Texts(training_set.queries, training_set.documents)
    chosen = sorted(set(goes_to.values()))
    for kind in chosen:
        loss, n_documents = kind
        rows = (row for row in _rows(training_set, settings) if goes_to.get(row.kind) == kind)
        name = training_set.name
        if len(chosen) > 1:
            name = f"{name}, {counted(n_documents, 'document')} a query"
            if len({other for other, _ in chosen}) > 1:
                name = f"{name}, {loss}"
        yield Table(name, loss, _dataset(rows, n_documents, texts))


def _merged(sizes: Mapping[_Kind, int], batch_size: int) -> dict[_Kind, _Kind]:
    """Which table each kind of row goes to: where it is too rare for a batch, cut to the next
    smaller number of documents; what is too rare at the smallest is missing.
    """
    goes_to: dict[_Kind, _Kind] = {}
    for loss in sorted({loss for loss, _ in sizes}):
        carried: list[_Kind] = []
        for kind in sorted((kind for kind in sizes if kind[0] == loss), reverse=True):
            carried.append(kind)
            if sum(sizes[other] for other in carried) >= batch_size:
                goes_to |= dict.fromkeys(carried, kind)
                carried = []
    return goes_to


def _rows(training_set: TrainingSet, settings: TrainingSettings) -> Iterator[_Row]:
    for example in training_set.examples:
        loss = _loss_of(example, settings, training_set.name)
        if loss in ("distil", "both"):
            yield _scored(example, loss, settings.ways)
        else:
            yield from _labelled(example, loss, settings.negatives)


def _loss_of(example: Example, settings: TrainingSettings, name: str) -> str:
    scored = example.scores is not None and len(example.documents) > 1
    if settings.loss == "auto":
        return "both" if scored and settings.minibatch_size is None else "in-batch"
    if settings.loss == "batch-distil":
        raise InputError(
            f"{name}: the loss 'batch-distil' needs a teacher's scores of whole batches; make them "
            "with gingham.training.batched, or choose another loss"
        )
    if settings.loss in ("distil", "both") and not scored:
        raise InputError(
            f"{name}: the loss {settings.loss!r} needs a teacher's scores of at least 2 documents, "
            f"and query {quoted(example.query_id)} has none; choose in-batch or auto, or score the "
            "set"
        )
    if settings.loss == "pairwise" and len(example.documents) < 2:
        raise InputError(
            f"{name}: the loss 'pairwise' needs a negative, and query {quoted(example.query_id)} "
            "has none; choose in-batch, or mine negatives"
        )
    return settings.loss


def _labelled(example: Example, loss: str, n_negatives: int) -> Iterator[_Row]:
    """A row a positive, each with the same first negatives."""
    positives, negatives = example.positives, example.negatives
    if not positives and example.scores is not None:  # only scored: the best is the positive
        best = _best(negatives, dict(zip(negatives, example.scores, strict=True)))
        positives, negatives = (best,), tuple(id for id in negatives if id != best)
    if loss == "pairwise":
        n_negatives = max(n_negatives, 1)
    for positive in positives:
        yield _Row(loss, example.query_id, (positive, *negatives[:n_negatives]), None)


def _scored(example: Example, loss: str, ways: int) -> _Row:
    """One row: the positive that the teacher likes best, then others in their order."""
    assert example.scores is not None
    scores = dict(zip(example.documents, example.scores, strict=True))
    first = _best(example.positives or example.documents, scores)
    # Another positive must not be a negative of the cross-entropy; of the divergence it may be.
    others = example.documents if loss == "distil" else example.negatives
    chosen = (first, *(id for id in others if id != first))[:ways]
    return _Row(loss, example.query_id, chosen, tuple(scores[id] for id in chosen))


def _best(ids: Sequence[str], scores: Mapping[str, float]) -> str:
    return max(ids, key=scores.__getitem__)


class _Texts:
    """Looks up the texts of a batch of ids."""

    def __init__(self, queries: Mapping[str, str], documents: Mapping[str, str]) -> None:
        self._queries, self._documents = queries, documents

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: tables make a fingerprint of their transform, which must not hash all texts."""
        return {}

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Ids by column → texts by column; labels as they are."""
        return {name: self._column(name, values) for name, values in batch.items()}

    def _column(self, name: str, values: list[Any]) -> list[Any]:
        if name == "query":
            return [self._queries[id] for id in values]
        return values if name in ("label", BATCH_SCORES) else [self._documents[id] for id in values]


def _dataset(rows: Iterator[_Row], n_documents: int, texts: _Texts) -> Dataset:
    chunks = []
    while chunk := list(islice(rows, _CHUNK)):
        columns: dict[str, Any] = {"query": [row.query for row in chunk]}
        for index in range(n_documents):
            columns[f"document_{index + 1}"] = [row.documents[index] for row in chunk]
        if chunk[0].scores is not None:
            columns["label"] = [list(row.scores or ())[:n_documents] for row in chunk]
        chunks.append(pyarrow.table(columns))
    return Dataset(pyarrow.concat_tables(chunks)).with_transform(texts)
