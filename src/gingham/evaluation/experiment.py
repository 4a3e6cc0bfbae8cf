"""The conductor: systems × queries → rankings, measures, costs, and who differs from whom.

For each system: 1 the index is built or found, 2 every query is answered, to `depth`, 3 a sample of
the queries is asked again one at a time, as users ask, and timed. Then all systems are measured and
compared on the same queries. Systems take turns, so none competes with another for the machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gingham.cache_folder import cache_folder
from gingham.errors import InputError
from gingham.evaluation.costs import IndexCost, Latency, Percentiles
from gingham.evaluation.dataset import Dataset
from gingham.evaluation.footprint import footprint
from gingham.evaluation.measures import (
    DEFAULT_MEASURES,
    aggregate,
    evaluate_run,
    parse_measures,
)
from gingham.evaluation.run import Ranking, Run
from gingham.evaluation.run_files import check_rankings
from gingham.evaluation.significance import Comparison, compare_systems, confidence_intervals
from gingham.evaluation.systems import Job, Prepared, ProgressCallback, Searcher, Step, System
from gingham.threads import resolve_threads

if TYPE_CHECKING:
    from ir_measures import Measure

Float64 = npt.NDArray[np.float64]

DEPTH = 1000
TIMED_QUERIES = 200
# Timed as users ask: ten hits.
_TIMED_K = 10
_WARM_UP = 5


@dataclass(frozen=True, slots=True, eq=False)
class SystemResult:
    """What one system did.

    Attributes:
        name: of the system, or of the run file.
        description: what exactly it is; empty for a run file.
        run: its rankings.
        values: (n_queries) float64 by measure, in the order of the dataset's `qrels`.
        means: by measure, over all judged queries; sums for measures that are counts.
        intervals: bootstrap confidence intervals of the means, by measure.
        index: what its index costs; None for a run file.
        latencies: on one thread, and on all; empty for a run file.
        search_peak_bytes: the most resident memory of a fresh process that opens the system and
            answers the timed queries.
        depth: ranks that it could fill: a measure beyond them says nothing; None for all.
    """

    name: str
    description: str
    run: Run
    values: Mapping[str, Float64]
    means: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    index: IndexCost | None
    latencies: tuple[Latency, ...]
    search_peak_bytes: int | None
    depth: int | None

    def measures_to(self, measure: str) -> bool:
        """Whether a measure looks no deeper than the system could rank."""
        cutoff = measure.rpartition("@")[2]
        return self.depth is None or not cutoff.isdigit() or int(cutoff) <= self.depth


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Systems on one dataset, side by side.

    Attributes:
        dataset: documents, queries, judgements.
        measures: names, the first is the one that matters most.
        systems: in the order they were asked for, run files last.
        comparisons: of every other system with the baseline, a test a measure, Holm-corrected.
        depth: how many documents a query were asked for.
        seed: of the bootstrap, the tests and the sample of timed queries.
    """

    dataset: Dataset
    measures: tuple[str, ...]
    systems: tuple[SystemResult, ...]
    comparisons: tuple[Comparison, ...]
    depth: int
    seed: int

    def system(self, name: str) -> SystemResult:
        """By its name.

        Raises:
            InputError: there is none.
        """
        for system in self.systems:
            if system.name == name:
                return system
        known = ", ".join(repr(system.name) for system in self.systems)
        raise InputError(f"no system {name!r} here: there are {known}")

    def comparison(self, name: str, measure: str) -> Comparison | None:
        """Of this system with the baseline; None for the baseline itself."""
        for comparison in self.comparisons:
            if comparison.system == name and comparison.measure == measure:
                return comparison
        return None


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    run: Run
    description: str = ""
    index: IndexCost | None = None
    latencies: tuple[Latency, ...] = ()
    peak_bytes: int | None = None
    depth: int | None = None


def evaluate(
    dataset: Dataset,
    systems: Sequence[System] = (),
    *,
    runs: Sequence[Run] = (),
    measures: Sequence[str] = DEFAULT_MEASURES,
    baseline: str | None = None,
    depth: int = DEPTH,
    threads: int | None = None,
    cache: Path | None = None,
    timed_queries: int = TIMED_QUERIES,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """Measure systems and run files on a dataset.

    Args:
        dataset: see `open_dataset`.
        systems: to be asked here.
        runs: rankings from elsewhere; see `read_run` and `check_run`.
        measures: ir-measures names, such as "nDCG@10".
        baseline: the name of the system that the others are compared with; the first if None.
        depth: documents a query that are ranked; a measure at 1000 needs 1000.
        threads: for building and searching; `GINGHAM_THREADS`, else all cores, if None.
        cache: where indexes are kept; the user's cache folder if None.
        timed_queries: at most so many queries are timed, a seeded sample; 0 times none.
        seed: of bootstrap, tests and sample.
        progress: told how far it has come.

    Raises:
        InputError: an unknown measure or baseline, two systems of one name, no system at all,
            a dataset without the documents or queries that a system needs.
        MissingDependencyError: an extra is not installed.
    """
    parsed = parse_measures(measures)
    if not isinstance(dataset, Dataset) or not isinstance(systems, Sequence):
        raise InputError("evaluate takes a Dataset, see open_dataset, and a list of systems")
    names = [system.name for system in systems] + [run.name for run in runs]
    _check_names(names, baseline)
    for run in runs:
        check_rankings(run)
    if depth < 1 or timed_queries < 0:
        raise InputError(f"depth is at least 1 and timed_queries 0, got {depth}, {timed_queries}")
    job = make_job(dataset, cache, threads, progress)
    for system in systems:
        _check_queries(dataset, system.name)
        system.check(job)
    if systems and dataset.corpus is not None and next(job.documents(), None) is None:
        raise _no_text(dataset)
    sample = _sample(list(dataset.queries.values()), timed_queries, seed)
    answers = [_ask(system, job, depth, sample) for system in systems]
    answers += [_Answers(run) for run in runs]
    results: list[SystemResult] = []
    for answer in answers:
        job.report("measuring", len(results), len(answers), answer.run.name)
        results.append(_measured(answer, dataset, parsed, seed))
    comparisons: list[Comparison] = []
    if len(results) > 1:
        job.report("comparing", 0, None)
        measured = {result.name: result.values for result in results}
        comparisons = compare_systems(measured, baseline or names[0], seed=seed)
    return Evaluation(
        dataset,
        tuple(map(str, parsed)),
        tuple(results),
        tuple(comparisons),
        depth,
        seed,
    )


def _measured(
    answer: _Answers, dataset: Dataset, measures: Sequence[Measure], seed: int
) -> SystemResult:
    values = evaluate_run(answer.run, dataset.qrels, measures)
    intervals = confidence_intervals(np.stack(list(values.values())), seed=seed)
    # What a measure that counts adds up is so many times the mean.
    ones = np.ones(len(dataset.qrels))
    scales = {str(m): aggregate(m, ones) for m in measures}
    return SystemResult(
        name=answer.run.name,
        description=answer.description,
        run=answer.run,
        values=values,
        means={str(m): aggregate(m, values[str(m)]) for m in measures},
        intervals={
            name: (float(low) * scales[name], float(high) * scales[name])
            for name, (low, high) in zip(values, intervals, strict=True)
        },
        index=answer.index,
        latencies=answer.latencies,
        search_peak_bytes=answer.peak_bytes,
        depth=answer.depth,
    )


def make_job(
    dataset: Dataset,
    cache: Path | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> Job:
    """What systems are prepared with; see `evaluate`."""
    folder = cache_folder() / "evaluate" if cache is None else Path(cache)
    return Job(dataset, folder, resolve_threads(threads), progress or _silent)


def _silent(step: Step) -> None:
    pass


def _check_names(names: Sequence[str], baseline: str | None) -> None:
    if not names:
        raise InputError("nothing to evaluate: name a system or a run file")
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise InputError(f"two systems are called {twice[0]!r}: give one of them another name")
    if baseline is not None and baseline not in names:
        known = ", ".join(map(repr, names))
        raise InputError(f"the baseline {baseline!r} is none of the systems: use one of {known}")


def _check_queries(dataset: Dataset, name: str) -> None:
    if not dataset.queries:
        raise InputError(
            f"{dataset.title} has no queries to ask {name}: name them (--queries), or score run "
            "files only (--no-gingham --run FILE)"
        )


def _no_text(dataset: Dataset) -> InputError:
    return InputError(f"{dataset.title}: there is no text in any document to search")


def _sample(queries: Sequence[str], size: int, seed: int) -> list[str]:
    if len(queries) <= size:
        return list(queries)
    chosen = np.random.default_rng(seed).choice(len(queries), size, replace=False)
    return [queries[i] for i in sorted(chosen.tolist())]


def _ask(system: System, job: Job, depth: int, sample: Sequence[str]) -> _Answers:
    prepared = system.prepare(job)
    if not prepared.cost.documents:
        raise _no_text(job.dataset)
    documents = prepared.cost.documents
    with prepared.searcher(job.threads) as searcher:
        run = _answer_all(system.name, searcher, job, min(depth, documents))
    ranks = min(depth, prepared.depth or depth)
    filled = None if ranks >= documents else ranks
    if not sample:
        return _Answers(run, prepared.description, prepared.cost, depth=filled)
    latencies = tuple(
        _time(prepared, threads, sample, job, system.name) for threads in sorted({1, job.threads})
    )
    peak = None
    if prepared.opening is not None:
        job.report(f"{system.name}, measuring memory", 0, None, "in a process of its own")
        peak = footprint(prepared.opening, sample, job.threads, _TIMED_K)
    return _Answers(run, prepared.description, prepared.cost, latencies, peak, filled)


def _answer_all(name: str, searcher: Searcher, job: Job, depth: int) -> Run:
    queries = job.dataset.queries
    rankings: dict[str, Ranking] = {}
    ids: dict[str, str] = {}  # one string an id, however many rankings it is in
    answers = searcher.answer(list(queries.values()), depth)
    for query_id, ranking in zip(queries, answers, strict=True):
        shared = tuple(ids.setdefault(id, id) for id in ranking.ids)
        rankings[query_id] = Ranking(shared, ranking.scores)
        if len(rankings) % 16 == 0 or len(rankings) == len(queries):
            done = f"{len(rankings):,} of {len(queries):,} queries"
            job.report(f"{name}, searching", len(rankings), len(queries), done)
    return Run(name, rankings)


def _time(prepared: Prepared, threads: int, sample: Sequence[str], job: Job, name: str) -> Latency:
    encoding, searching = [], []
    on = "1 thread" if threads == 1 else f"{threads} threads"
    with prepared.searcher(threads) as searcher:
        for query in sample[:_WARM_UP]:
            searcher.search(searcher.encode(query), _TIMED_K)
        for query in sample:
            start = time.perf_counter()
            encoded = searcher.encode(query)
            between = time.perf_counter()
            searcher.search(encoded, _TIMED_K)
            searching.append(time.perf_counter() - between)
            encoding.append(between - start)
            done = f"{len(encoding):,} of {len(sample):,} queries"
            job.report(f"{name}, timing on {on}", len(encoding), len(sample), done)
    total = [one + two for one, two in zip(encoding, searching, strict=True)]
    return Latency(
        threads,
        len(sample),
        _TIMED_K,
        Percentiles.of(encoding),
        Percentiles.of(searching),
        Percentiles.of(total),
    )
