"""An evaluation as tables of text: for a terminal, for a page of Markdown. Draws nothing itself.

A row a measure or a cost, a column a system. "*" and "**" mark a difference from the baseline that
is significant at 5 % and 1 % after Holm's correction over the systems.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from gingham.evaluation.costs import Percentiles
from gingham.evaluation.experiment import Evaluation, SystemResult
from gingham.evaluation.numbered_lines import counted
from gingham.threads import resolve_threads

_NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text: a header, and rows whose first cell says what they are.

    Attributes:
        header: the names of the columns.
        rows: as long as the header, each.
        sections: the rows that begin a new part of the table.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sections: tuple[int, ...] = ()


def result_table(evaluation: Evaluation) -> Table:
    """One dataset: every measure with its interval, and what each system costs."""
    systems = evaluation.systems
    quality = [
        (name, *(quality_cell(evaluation, system, name) for system in systems))
        for name in evaluation.measures
    ]
    shown = [row for row in _cost_rows(evaluation) if set(row[1:]) != {_NOTHING}]
    return Table(("", *(system.name for system in systems)), (*quality, *shown), (len(quality),))


def quality_cell(evaluation: Evaluation, system: SystemResult, measure: str) -> str:
    """Such as "0.653 [0.606, 0.702] *"; counts without decimals."""
    if not system.measures_to(measure):
        return _NOTHING
    mean, (low, high) = system.means[measure], system.intervals[measure]
    if mean.is_integer() and mean > 1:
        return f"{mean:,.0f}"
    interval = f" [{low:.3f}, {high:.3f}]" if np.isfinite([low, high]).all() else ""
    return f"{mean:.3f}{interval}{stars(evaluation, system, measure)}"


def stars(evaluation: Evaluation, system: SystemResult, measure: str) -> str:
    """How sure it is that the system differs from the baseline."""
    comparison = evaluation.comparison(system.name, measure)
    if comparison is None or comparison.p_adjusted >= 0.05:
        return ""
    return " **" if comparison.p_adjusted < 0.01 else " *"


def summary_table(evaluations: Sequence[Evaluation]) -> Table:
    """Several datasets: the first measure, a row a dataset, and the mean over datasets."""
    measure = evaluations[0].measures[0]
    names = list(dict.fromkeys(s.name for e in evaluations for s in e.systems))
    rows = []
    for evaluation in evaluations:
        there = {system.name: system for system in evaluation.systems}
        cells = (
            quality_cell(evaluation, there[name], measure) if name in there else _NOTHING
            for name in names
        )
        rows.append((evaluation.dataset.title, *cells))
    if len(evaluations) > 1:
        rows.append((f"mean of {len(evaluations)}", *(_mean(evaluations, n) for n in names)))
    return Table((measure, *names), tuple(rows), (len(evaluations),))


def comparison_lines(evaluation: Evaluation) -> list[str]:
    """Each system against the baseline on the first measure, a sentence each."""
    measure, lines = evaluation.measures[0], []
    for system in evaluation.systems:
        found = evaluation.comparison(system.name, measure)
        if found is None or not system.measures_to(measure):
            continue
        low, high = found.interval
        interval = f" [{low:+.3f}, {high:+.3f}]" if np.isfinite([low, high]).all() else ""
        # A measure that counts has a sum in the table; differences are those of a query.
        counts = not np.isclose(system.means[measure], system.values[measure].mean())
        p = "< 0.001" if found.p_adjusted < 0.001 else f"= {found.p_adjusted:.3f}"
        lines.append(
            f"{system.name} − {found.baseline}: {measure} {found.difference:+.3f}{interval}"
            f"{' a query' if counts else ''}, "
            f"p {p}; better on {found.wins:,} queries, worse on {found.losses:,}, "
            f"equal on {found.ties:,}"
        )
    return lines


def notes(evaluation: Evaluation) -> list[str]:
    """What the columns are, and what a reader of the dataset should know."""
    described = [
        f"{system.name}: {system.description}"
        for system in evaluation.systems
        if system.description
    ]
    return [*described, *evaluation.dataset.remarks]


def explanation_of_marks(evaluation: Evaluation) -> str:
    """The small print of every table."""
    parts = ["[…]: 95 % bootstrap interval over queries."]
    if evaluation.comparisons:
        parts.append(
            "* p < 0.05, ** p < 0.01: paired randomisation test against "
            f"{evaluation.comparisons[0].baseline}, Holm-corrected over the systems."
        )
    parts.append("Every judged query counts.")
    if any(system.latencies for system in evaluation.systems):
        parts.append(
            "Times: queries one at a time for ten hits, p50 / p95 / p99. Memory: what building "
            "adds to the process; all of a fresh process that only searches. On disk: gingham "
            "keeps the texts too, the others do not."
        )
    return " ".join([*parts, f"Rankings to depth {evaluation.depth:,}."])


def markdown(table: Table) -> str:
    """The table as GitHub's Markdown."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|---|" + "---:|" * (len(table.header) - 1)
    return "\n".join([line(table.header), rule, *map(line, table.rows)])


def markdown_page(evaluations: Sequence[Evaluation]) -> str:
    """One page: the summary, where there are several datasets, and each dataset's table."""
    parts = ["# Evaluation", machine()]
    if len(evaluations) > 1:
        parts += [markdown(summary_table(evaluations)), explanation_of_marks(evaluations[0])]
    for evaluation in evaluations:
        dataset = evaluation.dataset
        parts += [
            f"## {dataset.title}",
            f"{size_line(evaluation)}",
            markdown(result_table(evaluation)),
        ]
        listed = [*comparison_lines(evaluation), *notes(evaluation)]
        parts.append("\n".join(f"- {line}" for line in listed))
    if len(evaluations) == 1:
        parts.append(explanation_of_marks(evaluations[0]))
    return "\n\n".join(part for part in parts if part) + "\n"


def size_line(evaluation: Evaluation) -> str:
    """How large the dataset is."""
    dataset = evaluation.dataset
    judged = sum(len(grades) for grades in dataset.qrels.values())
    sizes = [counted(len(dataset.qrels), "judged query", "judged queries")]
    sizes.append(counted(judged, "judgement"))
    if dataset.corpus:
        sizes.insert(0, counted(dataset.corpus.n_documents, "document"))
    return ", ".join(sizes)


def machine() -> str:
    """What the times were taken on."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        name = next(line for line in lines if line.startswith("model name")).split(":", 1)[1]
    except (OSError, StopIteration):
        pass
    return (
        f"gingham {version('gingham')}, Python {platform.python_version()}, {platform.system()} on "
        f"{name.strip()}, {resolve_threads()} cores"
    )


def _mean(evaluations: Sequence[Evaluation], name: str) -> str:
    there = [
        system.means[evaluation.measures[0]]
        for evaluation in evaluations
        for system in evaluation.systems
        if system.name == name and system.measures_to(evaluation.measures[0])
    ]
    return f"{np.mean(there):.3f}" if len(there) == len(evaluations) else _NOTHING


def _cost_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    systems, rows = evaluation.systems, []
    for threads in sorted({latency.threads for s in systems for latency in s.latencies}):
        timed = [next((t for t in s.latencies if t.threads == threads), None) for s in systems]
        on = f"ms, {threads} thread{'s' * (threads > 1)}"
        rows += [
            (f"query encoding, {on}", *(_milliseconds(t.encode if t else None) for t in timed)),
            (f"search, {on}", *(_milliseconds(t.search if t else None) for t in timed)),
        ]
    indexes = [system.index for system in systems]
    return [
        *rows,
        ("index build, s", *(_cell(i.seconds if i else None, ",.1f") for i in indexes)),
        ("tokens", *(_cell(i.tokens if i else None, ",") for i in indexes)),
        ("on disk, MB", *(_cell(i.bytes / 1e6 if i else None, ",.1f") for i in indexes)),
        ("bytes a token", *(_cell(i.bytes_per_token if i else None, ",.1f") for i in indexes)),
        ("memory building, MB", *(_megabytes(i.peak_bytes if i else None) for i in indexes)),
        ("memory searching, MB", *(_megabytes(s.search_peak_bytes) for s in systems)),
    ]


def _milliseconds(times: Percentiles | None) -> str:
    if times is None:
        return _NOTHING
    return " / ".join(f"{value:.2f}" for value in (times.p50, times.p95, times.p99))


def _megabytes(count: int | None) -> str:
    return _NOTHING if count is None else f"{count / 1e6:,.0f}"


def _cell(value: float | None, form: str) -> str:
    return _NOTHING if value is None else format(value, form)
