"""The queries that one system wins or loses most against another, with what each put on top.

Means say who is better; these say why. Each system explains its own scores: gingham by the tokens
that match, BM25 by the words and their weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from gingham.errors import InputError
from gingham.evaluation.experiment import Evaluation, SystemResult, make_job
from gingham.evaluation.systems import Explained, Job, System

TOP = 3


@dataclass(frozen=True, slots=True)
class TopPassage:
    """A document near the top of a ranking.

    Attributes:
        rank: from 1.
        id: of the document.
        score: that the system gave it.
        grade: how relevant it is; None where nobody judged it.
        text: what was scored; None where the documents are not known.
        explained: why it has the score.
    """

    rank: int
    id: str
    score: float
    grade: int | None
    text: str | None
    explained: Explained


@dataclass(frozen=True, slots=True)
class Answer:
    """What one system said to a query: its measure, and its best documents."""

    system: str
    value: float
    top: tuple[TopPassage, ...]


@dataclass(frozen=True, slots=True)
class Win:
    """A query on which two systems differ.

    Attributes:
        id: of the query.
        query: its text; None where only run files were scored.
        difference: the value of the first minus that of the second.
        answers: of the two.
        relevant: how many documents are relevant.
    """

    id: str
    query: str | None
    difference: float
    answers: tuple[Answer, Answer]
    relevant: int


def find_wins(
    evaluation: Evaluation,
    first: str,
    second: str,
    count: int,
    *,
    systems: Sequence[System],
    threads: int | None = None,
    cache: Path | None = None,
) -> tuple[list[Win], list[Win]]:
    """The queries that the first system wins by most, and those that it loses by most.

    Args:
        evaluation: of both.
        first: a system's name.
        second: another's.
        count: at most so many of each; queries that both answer equally well are none.
        systems: those that were evaluated, to be asked again; run files explain nothing.
        threads, cache: as they were evaluated.

    Raises:
        InputError: a name is unknown, or both are the same.
    """
    one, other = evaluation.system(first), evaluation.system(second)
    if first == second:
        raise InputError(f"{first!r} is compared with itself: name two systems")
    job = make_job(evaluation.dataset, cache, threads)
    measure = evaluation.measures[0]
    differences = one.values[measure] - other.values[measure]
    best = [int(i) for i in np.argsort(-differences, kind="stable")[:count] if differences[i] > 0]
    worst = [int(i) for i in np.argsort(differences, kind="stable")[:count] if differences[i] < 0]
    chosen = best + worst
    tops = {system.name: _tops(evaluation, system, chosen) for system in (one, other)}
    wanted = {id for top in tops.values() for ids in top.values() for id, _ in ids}
    texts = _texts(job, wanted)
    explained = {name: _explain(evaluation, name, top, job, systems) for name, top in tops.items()}

    def answer(result: SystemResult, i: int, grades: Mapping[str, int]) -> Answer:
        passages = []
        for rank, (id, score) in enumerate(tops[result.name][i], 1):
            why = explained[result.name].get((i, id), Explained(None))
            text = why.text or texts.get(id)
            passages.append(TopPassage(rank, id, score, grades.get(id), text, why))
        return Answer(result.name, float(result.values[measure][i]), tuple(passages))

    def win(i: int) -> Win:
        id = list(evaluation.dataset.qrels)[i]
        grades = evaluation.dataset.qrels[id]
        return Win(
            id,
            evaluation.dataset.queries.get(id),
            float(differences[i]),
            (answer(one, i, grades), answer(other, i, grades)),
            sum(grade > 0 for grade in grades.values()),
        )

    return [win(i) for i in best], [win(i) for i in worst]


def _tops(
    evaluation: Evaluation, result: SystemResult, chosen: Sequence[int]
) -> dict[int, list[tuple[str, float]]]:
    """The best documents and their scores, of each chosen query."""
    queries, tops = list(evaluation.dataset.qrels), {}
    for i in chosen:
        ranking = result.run.rankings.get(queries[i])
        found = () if ranking is None else zip(ranking.ids, ranking.scores.tolist(), strict=True)
        tops[i] = list(islice(found, TOP))
    return tops


def _texts(job: Job, wanted: set[str]) -> dict[str, str | None]:
    """Read the documents once; only the wanted are kept."""
    if job.dataset.corpus is None or not wanted:
        return {}
    return {d.id: d.text for d in job.dataset.corpus.documents() if d.id in wanted}


def _explain(
    evaluation: Evaluation,
    name: str,
    tops: Mapping[int, list[tuple[str, float]]],
    job: Job,
    systems: Sequence[System],
) -> dict[tuple[int, str], Explained]:
    """By query and document; nothing for a run file."""
    system = next((system for system in systems if system.name == name), None)
    if system is None or not tops:
        return {}
    queries = list(evaluation.dataset.qrels)
    with system.prepare(job).searcher(job.threads) as searcher:
        return {
            (i, id): searcher.explain(evaluation.dataset.queries[queries[i]], id)
            for i, top in tops.items()
            for id, _ in top
        }
