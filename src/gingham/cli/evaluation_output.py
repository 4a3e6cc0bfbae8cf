"""What `gingham evaluate` shows: tables, pages, plots, and the queries that systems differ on."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gingham.cli import console
from gingham.errors import InputError

if TYPE_CHECKING:
    from gingham.evaluation import Evaluation
    from gingham.evaluation.regression import EarlierReport
    from gingham.evaluation.systems import System
    from gingham.evaluation.tables import Table
    from gingham.evaluation.wins import Win

    Wins = tuple[list[Win], list[Win]]

_SHOWN = 300
_PARTS = 6
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def find_wins(
    evaluation: Evaluation,
    systems: Sequence[System],
    count: int,
    versus: str | None,
    threads: int | None,
    cache: Path | None,
) -> Wins:
    """The queries that the first system wins and loses by most."""
    from gingham.evaluation import wins

    first, second = pair([system.name for system in evaluation.systems], versus)
    return wins.find_wins(
        evaluation, first, second, count, systems=systems, threads=threads, cache=cache
    )


def pair(names: Sequence[str], versus: str | None) -> tuple[str, str]:
    """The two systems whose differences are shown.

    Raises:
        InputError: there are no two, or none of this name.
    """
    if len(names) < 2:
        raise InputError(
            "one system has nothing to be compared with: add another, such as --bm25 or --run FILE"
        )
    if versus is not None and versus not in names[1:]:
        known = ", ".join(map(repr, names[1:]))
        raise InputError(f"--versus {versus!r} is none of the others: use one of {known}")
    return names[0], versus or names[1]


def plot_quality(evaluation: Evaluation, path: Path) -> None:
    """Quality against time, of the systems that were timed."""
    from gingham.evaluation import plots

    measure = evaluation.measures[0]
    points = [
        plots.Point(
            system.name,
            system.latencies[0].total.p50,
            system.means[measure],
            system.intervals[measure],
        )
        for system in evaluation.systems
        if system.latencies
    ]
    plots.quality_against_time(points, path, measure=measure, title=evaluation.dataset.title)
    console.note(f"wrote {path}")


def plot_differences(evaluation: Evaluation, versus: str | None, path: Path) -> None:
    """Two systems, query by query."""
    from gingham.evaluation import plots

    first, second = pair([system.name for system in evaluation.systems], versus)
    measure = evaluation.measures[0]
    one, other = evaluation.system(first), evaluation.system(second)
    comparison = evaluation.comparison(second, measure)
    plots.differences(
        one.values[measure] - other.values[measure],
        path,
        measure=measure,
        system=first,
        baseline=second,
        title=evaluation.dataset.title,
        p=None if comparison is None or comparison.baseline != first else comparison.p_adjusted,
    )
    console.note(f"wrote {path}")


def write_json(evaluation: Evaluation, wins: Wins | None) -> None:
    """One object a dataset."""
    from gingham.evaluation import report

    record = report.record(evaluation)
    if wins is not None:
        won, lost = wins
        record["wins"] = [asdict(win) for win in won]
        record["losses"] = [asdict(win) for win in lost]
    console.write_json(record)
    sys.stdout.flush()


def write_page(measured: Sequence[Evaluation], wanted: bool) -> None:
    """One page of Markdown for all datasets that were measured, where one is wanted."""
    from gingham.evaluation import tables

    if wanted and measured:
        console.write(tables.markdown_page(measured).rstrip("\n"))


def write_terminal(evaluation: Evaluation, wins: Wins | None) -> None:
    """A table, and in words what differs and what it is of."""
    from gingham.evaluation import tables

    _write(f"{evaluation.dataset.title}: {tables.size_line(evaluation)}")
    _write_table(tables.result_table(evaluation))
    for line in [*tables.comparison_lines(evaluation), *tables.notes(evaluation)]:
        _write(line)
    _write()
    if wins is not None:
        _write_wins(evaluation.measures[0], *wins)
    sys.stdout.flush()


def write_summary(measured: Sequence[Evaluation]) -> None:
    """Several datasets in one table; and the small print of all tables."""
    from gingham.evaluation import tables

    if len(measured) > 1:
        _write_table(tables.summary_table(measured))
    _write(tables.explanation_of_marks(measured[0]))


def write_runs(evaluation: Evaluation, folder: Path) -> None:
    """A TREC run file a system, named after dataset, split and system."""
    from gingham import evaluation as files

    dataset = evaluation.dataset
    for system in evaluation.systems:
        if not any(ranking.ids for ranking in system.run.rankings.values()):
            console.note(f"{system.name} found nothing: there is no run to write")
            continue
        parts = f"{dataset.name} {dataset.split or ''} {system.name}".replace("/", "-").split()
        files.write_run(system.run, folder / f"{'-'.join(parts)}.run", overwrite=True)


def has_fallen(measured: Sequence[Evaluation], earlier: EarlierReport, seed: int) -> bool:
    """Whether quality is lower than in an earlier report, by more than noise; says so."""
    from gingham.evaluation import regression

    found = regression.changes(measured, earlier, seed=seed)
    for line in [*map(str, found), *regression.not_compared(measured, earlier)]:
        console.note(line)
    return any(change.fell for change in found)


def _safe(text: str) -> str:
    """Queries, ids and the names of runs must not be able to steer the terminal."""
    return _CONTROL.sub("?", text)


def _write(text: str = "") -> None:
    console.write(_safe(text))


def _write_table(table: Table) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    drawn.add_column(table.header[0])
    for name in table.header[1:]:
        drawn.add_column(Text(_safe(name)), justify="right")
    for number, row in enumerate(table.rows):
        if number in table.sections:
            drawn.add_section()
        drawn.add_row(*(Text(_safe(cell)) for cell in row))
    # Wider than the terminal if it must be: numbers that are cut say something else.
    natural = Console(width=10_000).measure(drawn).maximum
    width = max(natural, shutil.get_terminal_size().columns if sys.stdout.isatty() else 0)
    Console(width=width, no_color=not console.has_colour(), highlight=False).print(drawn)


def _write_wins(measure: str, won: Sequence[Win], lost: Sequence[Win]) -> None:
    for what, wins in (("won", won), ("lost", lost)):
        for win in wins:
            values = ", ".join(f"{answer.system} {answer.value:.3f}" for answer in win.answers)
            _write(
                f"{what} {win.id}: {measure} {win.difference:+.3f} ({values}; "
                f"{console.plural(win.relevant, 'relevant document')})"
            )
            _write(f"    {win.query or ''}")
            for answer in win.answers:
                _write(f"  {answer.system}")
                if not answer.top:
                    _write("      nothing found")
                for passage in answer.top:
                    _write_passage(passage)
            _write()


def _write_passage(passage: Any) -> None:
    grade = "not judged" if passage.grade is None else f"relevance {passage.grade}"
    _write(f"{passage.rank:>5}  {passage.score:7.2f}  {passage.id}  ({grade})")
    if passage.text:
        console.write_passage(passage.text, passage.explained.highlights, _SHOWN)
    if parts := passage.explained.parts[:_PARTS]:
        said = (
            f"{asked} {share:.2f}" if answer in ("", asked) else f"{asked}→{answer} {share:.2f}"
            for asked, answer, share in parts
        )
        more = ", …" * (len(passage.explained.parts) > _PARTS)
        _write(f"      = {passage.score:.2f}: {', '.join(said)}{more}")
