"""Has quality fallen since an earlier report? What CI asks after a change.

The same queries are compared, so a difference is a fact; the question is whether it matters and
whether it is more than a few queries flipping, as they do when arithmetic changes. A fall counts
from `MATTERS` on, where a one-sided paired randomisation test, Holm-corrected over everything that
is compared, says p < 0.01; and from `PLAIN` on also where the bootstrap interval of the difference
lies below 0: a handful of queries that lose everything is too few for the test.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gingham.errors import InputError, SourceError
from gingham.evaluation.dataset import Dataset
from gingham.evaluation.experiment import Evaluation
from gingham.evaluation.significance import compare, confidence_intervals, holm

Float64 = npt.NDArray[np.float64]

MATTERS = 0.002
PLAIN = 0.01
_SIGNIFICANT = 0.01


@dataclass(frozen=True, slots=True)
class Change:
    """A system's quality, earlier and now, on the same queries.

    Attributes:
        what: dataset and system; or all datasets together.
        measure: its name.
        before, now: means.
        p: one-sided, that quality has not fallen; adjusted for the number of comparisons.
        interval: 95 % bootstrap interval of now - before.
    """

    what: str
    measure: str
    before: float
    now: float
    p: float
    interval: tuple[float, float]

    @property
    def fell(self) -> bool:
        """Whether quality is lower, by enough to matter and by more than noise."""
        fall = self.before - self.now
        plainly = fall >= PLAIN and self.interval[1] < 0
        return fall >= MATTERS and (self.p < _SIGNIFICANT or plainly)

    def __str__(self) -> str:
        """One line."""
        low, high = self.interval
        return (
            f"{self.what}: {self.measure} {self.before:.4f} earlier, {self.now:.4f} now, "
            f"{self.now - self.before:+.4f} [{low:+.4f}, {high:+.4f}], p = {self.p:.3f}: "
            f"{'FELL' if self.fell else 'no fall beyond noise'}"
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """What an earlier report says of one dataset.

    Attributes:
        digest: of the documents; None where only run files were scored.
        depth: of the rankings.
        values: by system, measure and query.
    """

    digest: str | None
    depth: int
    values: Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True, slots=True)
class EarlierReport:
    """What an earlier evaluation measured.

    Attributes:
        path: of the file.
        entries: by dataset, its name and split.
    """

    path: Path
    entries: Mapping[tuple[str, str | None], _Entry]


def read_report(path: str | os.PathLike[str]) -> EarlierReport:
    """Read what `gingham evaluate --json` printed: an object a line.

    Raises:
        SourceError: the file cannot be read, or is no such report.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read ({error})") from error
    entries = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            dataset = record["dataset"]
            values = {
                system["name"]: {
                    measure: {id: _finite(value) for id, value in of_queries.items()}
                    for measure, of_queries in system["per_query"].items()
                }
                for system in record["systems"]
            }
            entry = _Entry(dataset["digest"], int(record["depth"]), values)
            entries[(dataset["name"], dataset["split"])] = entry
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SourceError(
                f"{path}, line {number}: no report of gingham evaluate --json "
                f"({type(error).__name__}: {error}): write one with --json"
            ) from error
    return EarlierReport(path, entries)


def comparable(
    earlier: EarlierReport, dataset: Dataset, measure: str, depth: int, systems: Iterable[str]
) -> dict[str, Float64]:
    """Values of an earlier report by system, in the order of the dataset's `qrels`.

    Raises:
        InputError: it lacks the dataset, the measure or every system, or measured other queries,
            other documents, or rankings of another depth.
    """
    path, title = earlier.path, dataset.title
    old = earlier.entries.get((dataset.name, dataset.split))
    if old is None:
        raise InputError(f"{path} has nothing on {title}: compare the datasets that it is of")
    digest = dataset.corpus.digest if dataset.corpus else None
    if digest and old.digest and digest != old.digest:
        raise InputError(f"{path} is of other documents of {title}: measure both on the same")
    if depth != old.depth:
        raise InputError(
            f"{path} ranked to depth {old.depth:,}, this evaluation to {depth:,}: use the same "
            "--depth"
        )
    found = {}
    for name in systems:
        if name not in old.values:
            continue
        values = old.values[name].get(measure)
        if values is None:
            raise InputError(f"{path} has no {measure} of {title}: compare a measure that it has")
        if values.keys() != dataset.qrels.keys():
            raise InputError(
                f"{path} has {len(values):,} queries of {title}, this evaluation "
                f"{len(dataset.qrels):,}, or others: compare the same ones"
            )
        found[name] = np.array([values[id] for id in dataset.qrels], dtype=np.float64)
    if not found:
        known = ", ".join(map(repr, old.values)) or "none"
        raise InputError(f"{path} has none of these systems on {title}; it has {known}")
    return found


def changes(
    evaluations: Sequence[Evaluation], earlier: EarlierReport, *, seed: int = 0
) -> list[Change]:
    """What has become of the quality that an earlier report states.

    Every system that both have is compared on the first measure, a dataset at a time, and over the
    queries of all datasets together, where small falls add up.

    Args:
        evaluations: of now.
        earlier: see `read_report`.
        seed: of tests and intervals.

    Raises:
        InputError: see `comparable`.
    """
    found: list[Change] = []
    pairs: dict[str, list[tuple[Float64, Float64]]] = {}
    measure = evaluations[0].measures[0]
    for evaluation in evaluations:
        names = [system.name for system in evaluation.systems]
        old = comparable(earlier, evaluation.dataset, measure, evaluation.depth, names)
        for name, before in old.items():
            now = evaluation.system(name).values[measure]
            pairs.setdefault(name, []).append((before, now))
            what = f"{evaluation.dataset.title}: {name}"
            found.append(_change(what, measure, before, now, seed))
    for name, several in pairs.items():
        if len(several) > 1:
            together = [np.concatenate(values) for values in zip(*several, strict=True)]
            what = f"queries of all {len(several)} datasets: {name}"
            found.append(_change(what, measure, together[0], together[1], seed))
    adjusted = holm([change.p for change in found])
    return [replace(c, p=float(p)) for c, p in zip(found, adjusted, strict=True)]


def not_compared(evaluations: Sequence[Evaluation], earlier: EarlierReport) -> list[str]:
    """What the earlier report has and this evaluation has not, a line each."""
    now = {(e.dataset.name, e.dataset.split): {s.name for s in e.systems} for e in evaluations}
    lines = []
    for (name, split), entry in earlier.entries.items():
        title = name if split is None else f"{name} ({split})"
        if (name, split) not in now:
            lines.append(f"not compared, not measured now: {title}")
            continue
        missing = [system for system in entry.values if system not in now[(name, split)]]
        lines += [f"not compared, not measured now: {title}: {system}" for system in missing]
    return lines


def _change(what: str, measure: str, before: Float64, now: Float64, seed: int) -> Change:
    two_sided = float(compare(before[None], now[None], seed=seed)[0])
    # The distribution of the mean under random signs is symmetric.
    p = two_sided / 2 if now.mean() < before.mean() else 1 - two_sided / 2
    low, high = confidence_intervals((now - before)[None], seed=seed)[0].tolist()
    if math.isnan(low):  # one query: it is what it is
        low = high = float(now.mean() - before.mean())
    return Change(what, measure, float(before.mean()), float(now.mean()), p, (low, high))


def _finite(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no finite number")
    return number
