"""Models on queries that were held out: the systems and measures of `gingham.evaluation`.

What a model is judged by here is what a user would get: its exported folder, searched by gingham.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gingham.errors import InputError
from gingham.evaluation.dataset import Dataset
from gingham.evaluation.experiment import Evaluation, evaluate
from gingham.evaluation.late_interaction import LateInteraction
from gingham.evaluation.systems import System
from gingham.training.dev_sets import documents_to_search
from gingham.training.examples import TrainingSet
from gingham.training.in_memory import as_dataset
from gingham.training.steps import ProgressCallback

MEASURE = "nDCG@10"
_DEPTH = 10


@dataclass(frozen=True, slots=True)
class Measured:
    """The mean nDCG@10 of one system.

    Attributes:
        mean: over the queries.
        interval: 95 %, a bootstrap over the queries; None for fewer than two.
        queries: how many.
    """

    mean: float
    interval: tuple[float, float] | None
    queries: int

    def __str__(self) -> str:
        """The mean with its interval."""
        if self.interval is None:
            return f"{self.mean:.4f}"
        return f"{self.mean:.4f} ({self.interval[0]:.4f} to {self.interval[1]:.4f})"


@dataclass(frozen=True, slots=True)
class Difference:
    """One system against another on the same queries.

    Attributes:
        mean: over the queries, of the second less the first.
        interval: 95 %, a bootstrap over the queries.
        p: two-sided, of a paired randomisation test.
    """

    mean: float
    interval: tuple[float, float]
    p: float

    @property
    def verdict(self) -> str:
        """On which side of 0 the whole interval lies: "better", "worse" or "within noise"."""
        if self.interval[0] > 0:
            return "better"
        return "worse" if self.interval[1] < 0 else "within noise"

    def __str__(self) -> str:
        """The difference with its interval and p."""
        low, high = self.interval
        return f"{self.mean:+.4f} ({low:+.4f} to {high:+.4f}, p = {self.p:.3g})"


def as_test(dev: TrainingSet, most_documents: int, seed: int) -> Dataset:
    """A dev set as a test collection: the positives of its examples are relevant.

    Args:
        dev: a set; its negatives and scores are not looked at.
        most_documents: that are searched: the named ones, and others drawn at random.
        seed: of that draw.

    Raises:
        InputError: no example has a positive.
    """
    qrels: dict[str, dict[str, int]] = {}
    for example in dev.examples:
        if example.positives:
            qrels.setdefault(example.query_id, {}).update(dict.fromkeys(example.positives, 1))
    if not qrels:
        raise InputError(f"{dev.name}: no example has a positive, so nothing can be measured")
    documents = {id: dev.documents[id] for id in documents_to_search(dev, most_documents, seed)}
    return as_dataset(dev.name, documents, {id: dev.queries[id] for id in qrels}, qrels)


def measure(
    dataset: Dataset,
    models: Mapping[str, str | os.PathLike[str]],
    cache: Path,
    *,
    others: Sequence[System] = (),
    seed: int = 0,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """nDCG@10 of models and other systems; the first is the baseline of the comparisons.

    Args:
        dataset: see `as_test`.
        models: folders or names that `gingham.Encoder` loads, by what to call them.
        cache: for their indexes.
        others: systems that are measured too.
        seed: of intervals and tests.
        threads: for encoding and searching.
        progress: told how far it has come.
    """
    systems = [LateInteraction(model=path, label=label) for label, path in models.items()]
    return evaluate(
        dataset,
        [*systems, *others],
        measures=[MEASURE],
        depth=_DEPTH,
        threads=threads,
        cache=cache,
        timed_queries=0,
        seed=seed,
        progress=progress,
    )


def measured(evaluation: Evaluation, name: str) -> Measured:
    """The nDCG@10 of one system."""
    result = evaluation.system(name)
    low, high = result.intervals[MEASURE]
    queries = len(result.values[MEASURE])
    return Measured(result.means[MEASURE], (low, high) if queries > 1 else None, queries)


def difference(evaluation: Evaluation, name: str) -> Difference | None:
    """One system less the first; None for the first, and where there are too few queries."""
    found = evaluation.comparison(name, MEASURE)
    if found is None or len(evaluation.dataset.qrels) < 2:
        return None
    return Difference(found.difference, found.interval, found.p)
