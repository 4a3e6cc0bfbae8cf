"""TREC run files ↔ runs, in the order in which trec_eval ranks.

A line is `qid Q0 docid rank score tag`. trec_eval ignores the rank and orders by score, kept as a
32-bit float, descending; equal scores by document id, bytewise descending (Buckley, trec_eval 9,
form_res_rels.c). `trec_order` is that order, and what is measured is always in it. This knows
nothing of measures.
"""

from __future__ import annotations

import math
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gingham.document import Float32
from gingham.errors import EmptyInputError, InputError, SourceError
from gingham.evaluation.atomic import replacing
from gingham.evaluation.dataset import Corpus, Dataset
from gingham.evaluation.numbered_lines import counted, numbered_lines, quoted, shown, words
from gingham.evaluation.run import Ranking, Run

# Half a step above the largest float32: from here on a double is rounded to infinity.
_TOO_LARGE = 2.0**128 - 2.0**103
_COLUMNS = "qid Q0 docid rank score tag"
# Every white space that any reader splits at, the end of C's strings, and what is not Unicode.
_NOT_IN_A_COLUMN = re.compile(r"[\s\0\ud800-\udfff]")


def trec_order(ranking: Ranking) -> Ranking:
    """The same documents as trec_eval ranks them: by score, equal scores by id, both descending.

    UTF-8 sorts bytewise as code points do, so that comparing strings is strcmp().
    """
    scores, ids = ranking.scores, ranking.ids
    if (scores[1:] < scores[:-1]).all():
        return ranking
    # Last key first, as lexsort: the ids descending, then a stable sort by score.
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__, reverse=True), dtype=np.intp)
    order = by_id[np.argsort(-scores[by_id], kind="stable")]
    return Ranking(tuple(ids[i] for i in order.tolist()), scores[order])


def read_run(path: str | os.PathLike[str], *, name: str | None = None) -> Run:
    """Read a run, each ranking in trec_eval's order; blank lines are skipped.

    Holds a tuple of ids and a float32 array a query; an id is held once for all queries.

    Args:
        path: a file of six columns parted by white space, UTF-8.
        name: of the system; None is the tag of the file if all lines agree on it, else the file's
            name without its ending.

    Raises:
        SourceError: the file cannot be read, is empty or not UTF-8, a line has not six columns or
            its score is no finite number, or a query has a document twice.
    """
    path = Path(path)
    found: dict[str, _Found] = {}
    tags: set[str] = set()
    known: dict[str, str] = {}
    for row in _rows(path):
        found.setdefault(row.qid, _Found()).add(known.setdefault(row.docid, row.docid), row.score)
        if len(tags) < 2:
            tags.add(row.tag)
    if not found:
        raise SourceError(
            f"{shown(path)}: empty; a run file has a line a document found, with the columns "
            f"{_COLUMNS}"
        )
    rankings: dict[str, Ranking] = {}
    for qid in found:
        # Two copies of one query only, not of the whole run.
        ids, scores = found[qid].take()
        if len(set(ids)) < len(ids):
            raise _twice(path, qid, ids)
        rankings[qid] = trec_order(Ranking(ids, scores))
    return Run(name or (tags.pop() if len(tags) == 1 else path.stem), rankings)


def write_run(run: Run, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a run in trec_eval's order, whole or not at all; queries in the order of the run.

    Reading it gives the same queries, ids and float32 bits; a query without documents leaves no
    line. White space in the name of the run becomes "_" in the tag.

    Raises:
        InputError: the file exists and `overwrite` is not given, it cannot be written, an id is
            empty or has white space in it, a score is not finite, or a document comes twice.
        EmptyInputError: no query has a document.
    """
    if not overwrite and Path(path).exists():
        raise InputError(f"{shown(Path(path))} exists: name another file, or pass overwrite=True")
    if not any(ranking.ids for ranking in run.rankings.values()):
        raise EmptyInputError(f"run {run.name!r} found nothing for any query: nothing to write")
    tag = _NOT_IN_A_COLUMN.sub("_", run.name) or "run"
    with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
        for qid, ranking in run.rankings.items():
            _check_writable(qid, ranking)
            ordered = trec_order(ranking)
            scores = _written(ordered.scores)
            file.writelines(
                f"{qid} Q0 {docid} {rank} {score} {tag}\n"
                for rank, (docid, score) in enumerate(zip(ordered.ids, scores, strict=True), 1)
            )


def check_run(
    run: Run, dataset: Dataset, path: str | os.PathLike[str], *, allow_unknown_ids: bool = False
) -> tuple[str, ...]:
    """See whether a run answers the queries of a dataset with documents of it.

    Args:
        run: as read from `path`.
        dataset: what it is to be measured on; ids are checked where it has a corpus.
        path: the file, to name the line of an error.
        allow_unknown_ids: let documents through that are not in the corpus.

    Returns:
        What a reader should know, a line each: queries that are missing, queries that are not
        judged, unknown documents that were let through.

    Raises:
        SourceError: no query of the run is judged, or a judged query found a document that is not
            in the corpus.
    """
    path = Path(path)
    judged = [qid for qid in run.rankings if qid in dataset.qrels]
    if not judged:
        ours, theirs = (quoted(next(iter(ids), "")) for ids in (run.rankings, dataset.qrels))
        raise SourceError(
            f"{shown(path)}: no query of the run has judgements in {dataset.title}: its queries "
            f"are such as {ours}, the judged ones such as {theirs}; give the dataset of this run"
        )
    unknown = _unknown_ids(run, judged, dataset.corpus)
    if unknown and not allow_unknown_ids:
        raise _unknown(path, unknown, set(judged), dataset)
    missing = [qid for qid in dataset.qrels if qid not in run.rankings]
    ignored = [qid for qid in run.rankings if qid not in dataset.qrels]
    remarks = []
    if missing:
        remarks.append(
            f"judged queries missing from run {run.name!r}, counted as 0: {len(missing):,} of "
            f"{len(dataset.qrels):,} ({_examples(missing)})"
        )
    if ignored:
        remarks.append(
            f"queries of run {run.name!r} without judgements, ignored: {len(ignored):,} "
            f"({_examples(ignored)})"
        )
    if unknown:
        remarks.append(
            f"documents of run {run.name!r} not in the corpus of {dataset.title}, let through: "
            f"{len(unknown):,} ({_examples(sorted(unknown))})"
        )
    return tuple(remarks)


def check_rankings(run: Run) -> None:
    """See whether every document comes once in a ranking, and every score is a number.

    Raises:
        InputError: not so; `read_run` lets nothing of the kind in.
    """
    for qid, ranking in run.rankings.items():
        _check_ranking(qid, ranking)


class _Row(NamedTuple):
    """A line of a run file."""

    line: int
    qid: str
    docid: str
    score: float
    tag: str


@dataclass(slots=True)
class _Found:
    """The documents of one query, while the file is being read."""

    ids: list[str] = field(default_factory=list)
    scores: array[float] = field(default_factory=lambda: array("f"))

    def add(self, docid: str, score: float) -> None:
        self.ids.append(docid)
        self.scores.append(score)

    def take(self) -> tuple[tuple[str, ...], Float32]:
        """Both, as a ranking keeps them; nothing is left here."""
        ids, scores = tuple(self.ids), np.array(self.scores, dtype=np.float32)
        self.ids, self.scores = [], array("f")
        return ids, scores


def _rows(path: Path) -> Iterator[_Row]:
    for number, line in numbered_lines(path):
        columns = words(line)
        if len(columns) != 6:
            raise SourceError(
                f"{shown(path)}, line {number}: {counted(len(columns), 'column')}, but a line of a "
                f"run file has six: {_COLUMNS}; ids and tags may not contain white space"
            )
        qid, _, docid, _, text, tag = columns
        score = _number(text)
        if not -_TOO_LARGE < score < _TOO_LARGE:
            raise SourceError(
                f"{shown(path)}, line {number}: the score {quoted(text)} is no finite 32-bit "
                f"number; the fifth column of {_COLUMNS} must be a number such as 12.5 or 1e-3"
            )
        yield _Row(number, qid, docid, score, tag)


def _number(text: str) -> float:
    """NaN where it is none; float() would also take "1_000" and the digits of other scripts."""
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def _twice(path: Path, qid: str, ids: tuple[str, ...]) -> SourceError:
    """The one line about a document that a query has twice; both places by reading once more."""
    seen: set[str] = set()
    docid = next(id for id in ids if id in seen or seen.add(id))  # type: ignore[func-returns-value]
    lines = [row.line for row in _rows(path) if (row.qid, row.docid) == (qid, docid)]
    places = f", lines {lines[0]} and {lines[1]}" if len(lines) > 1 else ""
    return SourceError(
        f"{shown(path)}{places}: query {quoted(qid)} has document {quoted(docid)} twice; a "
        "document may come once for a query: remove one of the lines"
    )


def _unknown_ids(run: Run, judged: Sequence[str], corpus: Corpus | None) -> set[str]:
    if corpus is None:
        return set()
    # Once an id, not once a query that found it.
    found = set(chain.from_iterable(run.rankings[qid].ids for qid in judged))
    return {docid for docid in found if docid not in corpus}


def _unknown(path: Path, unknown: set[str], judged: set[str], dataset: Dataset) -> SourceError:
    """The one line about documents that the corpus has not; the place by reading once more."""
    wrong = (row for row in _rows(path) if row.qid in judged and row.docid in unknown)
    row = next(wrong, None)
    place = f", line {row.line}" if row else ""
    first = f"document {quoted(row.docid)} of query {quoted(row.qid)}" if row else "a document"
    more = f" (and {counted(len(unknown) - 1, 'more id')})" if len(unknown) > 1 else ""
    return SourceError(
        f"{shown(path)}{place}: {first} is not in the corpus of {dataset.title}{more}; score a run "
        "of this corpus, or pass --allow-unknown-ids (allow_unknown_ids=True)"
    )


def _examples(ids: Sequence[str]) -> str:
    return ", ".join(quoted(id) for id in ids[:3]) + ", …" * (len(ids) > 3)


def _check_writable(qid: str, ranking: Ranking) -> None:
    for what, id in (("query", qid), *(("document", docid) for docid in ranking.ids)):
        if not id or _NOT_IN_A_COLUMN.search(id):
            raise InputError(
                f"the {what} id {quoted(id)} cannot stand in a run file: ids there must not be "
                "empty or contain white space; rename it"
            )
    _check_ranking(qid, ranking)


def _check_ranking(qid: str, ranking: Ranking) -> None:
    scores = ranking.scores
    if not isinstance(scores, np.ndarray) or scores.shape != (len(ranking.ids),):
        raise InputError(f"query {quoted(qid)} needs an array of scores, one a document")
    if len(set(ranking.ids)) < len(ranking.ids):
        raise InputError(
            f"query {quoted(qid)} has a document twice: each may come once in a ranking"
        )
    if not np.isfinite(scores).all():
        raise InputError(
            f"query {quoted(qid)} has a score that is not finite: a run file takes numbers"
        )


def _written(scores: Float32) -> list[str]:
    """The shortest decimals that are read as the same float32.

    Readers go through a double, and rounding twice may end one float32 further (7.038531e-26 does):
    these few are written with all digits of the double, which is exact.
    """
    short = [str(score) for score in scores]
    read = np.array([float(text) for text in short]).astype(np.float32)
    for i in np.flatnonzero(read != scores).tolist():
        short[i] = repr(float(scores[i]))
    return short
