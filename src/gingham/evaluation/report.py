"""An evaluation as a JSON object, and the comparison with an earlier one: has quality fallen?

Only what was measured is in it; rankings are run files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham.errors import InputError, SourceError
from gingham.evaluation.dataset import Dataset
from gingham.evaluation.experiment import Evaluation, SystemResult
from gingham.evaluation.significance import compare
from gingham.evaluation.tables import machine

Float64 = npt.NDArray[np.float64]

# A difference is noise unless a paired test says otherwise.
_SIGNIFICANT = 0.01


def record(evaluation: Evaluation) -> dict[str, Any]:
    """Everything measured, values of each query included, as JSON has it."""
    dataset = evaluation.dataset
    return {
        "gingham": version("gingham"),
        "machine": machine(),
        "dataset": {
            "name": dataset.name,
            "split": dataset.split,
            "documents": dataset.corpus.n_documents if dataset.corpus else None,
            "digest": dataset.corpus.digest if dataset.corpus else None,
            "queries": len(dataset.qrels),
            "judgements": sum(len(grades) for grades in dataset.qrels.values()),
        },
        "depth": evaluation.depth,
        "seed": evaluation.seed,
        "resident_bytes": evaluation.resident_bytes,
        "systems": [_system(evaluation, system) for system in evaluation.systems],
        "comparisons": [
            {**asdict(comparison), "interval": _finite(comparison.interval)}
            for comparison in evaluation.comparisons
        ],
        "remarks": list(dataset.remarks),
    }


def _system(evaluation: Evaluation, system: SystemResult) -> dict[str, Any]:
    queries = list(evaluation.dataset.qrels)
    index = None
    if system.index is not None:
        index = {**asdict(system.index), "bytes_per_token": system.index.bytes_per_token}
    return {
        "name": system.name,
        "description": system.description,
        "measures": {
            name: {"mean": mean, "interval": _finite(system.intervals[name])}
            for name, mean in system.means.items()
        },
        "index": index,
        "latencies_ms": [asdict(latency) for latency in system.latencies],
        "search_peak_bytes": system.search_peak_bytes,
        "per_query": {
            name: dict(zip(queries, values.tolist(), strict=True))
            for name, values in system.values.items()
        },
    }


def _finite(interval: tuple[float, float]) -> list[float] | None:
    return list(interval) if np.isfinite(interval).all() else None


@dataclass(frozen=True, slots=True)
class Change:
    """A system's quality, earlier and now, on the same queries.

    Attributes:
        what: dataset and system; or all datasets together.
        measure: its name.
        before, now: means.
        p: of a paired randomisation test, two-sided.
    """

    what: str
    measure: str
    before: float
    now: float
    p: float

    @property
    def fell(self) -> bool:
        """Whether quality is lower by more than noise explains."""
        return self.now < self.before and self.p < _SIGNIFICANT

    def __str__(self) -> str:
        """One line."""
        verdict = "FELL" if self.fell else "no fall beyond noise"
        return (
            f"{self.what}: {self.measure} {self.before:.4f} earlier, {self.now:.4f} now "
            f"({self.now - self.before:+.4f}, p = {self.p:.3f}): {verdict}"
        )


@dataclass(frozen=True, slots=True)
class EarlierReport:
    """What an earlier evaluation measured.

    Attributes:
        path: of the file.
        values: by dataset (name, split), system, measure and query.
    """

    path: Path
    values: Mapping[tuple[str, str | None], Mapping[str, Mapping[str, Mapping[str, float]]]]


def read_report(path: str | os.PathLike[str]) -> EarlierReport:
    """Read what `gingham evaluate --json` printed: a `record` a line.

    Raises:
        SourceError: the file cannot be read, or is no such report.
    """
    path = Path(path)
    found: dict[tuple[str, str | None], dict[str, dict[str, dict[str, float]]]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            key = (entry["dataset"]["name"], entry["dataset"]["split"])
            found[key] = {
                system["name"]: {
                    measure: {id: float(value) for id, value in values.items()}
                    for measure, values in system["per_query"].items()
                }
                for system in entry["systems"]
            }
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SourceError(
                f"{path}, line {number}: no report of gingham evaluate --json "
                f"({type(error).__name__}: {error}): write one with --json"
            ) from error
    return EarlierReport(path, found)


def changes(
    evaluations: Sequence[Evaluation], earlier: EarlierReport, *, seed: int = 0
) -> list[Change]:
    """What has become of the quality that an earlier report states.

    Every system that both have is compared on the first measure, a dataset at a time, and each over
    the queries of all datasets together, where small falls add up.

    Args:
        evaluations: of now.
        earlier: see `read_report`.
        seed: of the tests.

    Raises:
        InputError: it lacks a dataset or measure, knows other queries, or shares no system.
    """
    path, found = earlier.path, []
    pairs: dict[str, list[tuple[Float64, Float64]]] = {}
    measure = evaluations[0].measures[0]
    for evaluation in evaluations:
        title = evaluation.dataset.title
        old = comparable(earlier, evaluation.dataset, measure)
        for system in evaluation.systems:
            if system.name in old:
                before = old[system.name]
                now = system.values[measure]
                pairs.setdefault(system.name, []).append((before, now))
                found.append(_change(f"{title}: {system.name}", measure, before, now, seed))
    if not found:
        raise InputError(f"{path} has none of the systems that were measured: nothing to compare")
    for name, several in pairs.items():
        if len(several) > 1:
            before, now = (np.concatenate(values) for values in zip(*several, strict=True))
            what = f"queries of all {len(several)} datasets: {name}"
            found.append(_change(what, measure, before, now, seed))
    return found


def _change(what: str, measure: str, before: Float64, now: Float64, seed: int) -> Change:
    p = float(compare(before[None], now[None], seed=seed)[0])
    return Change(what, measure, float(before.mean()), float(now.mean()), p)


def comparable(earlier: EarlierReport, dataset: Dataset, measure: str) -> dict[str, Float64]:
    """Values of an earlier report by system, in the order of the dataset's `qrels`.

    Raises:
        InputError: it lacks the dataset or measure, or knows other queries.
    """
    path, title = earlier.path, dataset.title
    old = earlier.values.get((dataset.name, dataset.split))
    if old is None:
        raise InputError(f"{path} has nothing on {title}: compare the datasets that it is of")
    found = {}
    for name, per_query in old.items():
        values = per_query.get(measure)
        if values is None:
            raise InputError(f"{path} has no {measure} of {title}: compare a measure that it has")
        if values.keys() != dataset.qrels.keys():
            raise InputError(
                f"{path} has {len(values):,} queries of {title}, this evaluation "
                f"{len(dataset.qrels):,}, or others: compare the same ones"
            )
        found[name] = np.array([values[id] for id in dataset.qrels], dtype=np.float64)
    return found
