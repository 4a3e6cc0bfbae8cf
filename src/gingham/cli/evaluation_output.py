"""What `gingham evaluate` shows: tables, pages, plots, and the queries that systems differ on."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gingham.cli import console
from gingham.errors import InputError

if TYPE_CHECKING:
    from gingham.evaluation import Evaluation
    from gingham.evaluation.report import EarlierReport
    from gingham.evaluation.systems import System
    from gingham.evaluation.tables import Table
    from gingham.evaluation.wins import Win

_SHOWN = 300
_PARTS = 6
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Measured:
    """One dataset's evaluation and what was asked for besides.

    Attributes:
        evaluation: of the dataset.
        remarks: on the run files.
        wins: queries won and lost; None where they were not asked for.
    """

    evaluation: Evaluation
    remarks: Sequence[str]
    wins: tuple[list[Win], list[Win]] | None


def find_wins(
    evaluation: Evaluation,
    systems: Sequence[System],
    count: int | None,
    versus: str | None,
    threads: int | None,
    cache: Path | None,
) -> tuple[list[Win], list[Win]] | None:
    """The queries that the first system wins and loses by most; None where none were asked for."""
    if count is None:
        return None
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
    if not points:
        raise InputError("no system was timed: --plot needs one that is no run file, and --timed")
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
        p=None if comparison is None or comparison.baseline != first else comparison.p,
    )
    console.note(f"wrote {path}")


def write_json(measured: Sequence[Measured]) -> None:
    """One object a dataset."""
    from gingham.evaluation import report

    for one in measured:
        record = report.record(one.evaluation)
        record["remarks"] += one.remarks
        if one.wins is not None:
            won, lost = one.wins
            record["wins"] = [asdict(win) for win in won]
            record["losses"] = [asdict(win) for win in lost]
        console.write_json(record)


def write_markdown(measured: Sequence[Measured]) -> None:
    """One page for all datasets."""
    from gingham.evaluation import tables

    console.write(tables.markdown_page([one.evaluation for one in measured]).rstrip("\n"))


def write_terminal(measured: Sequence[Measured]) -> None:
    """A table a dataset, and a summary of several."""
    from gingham.evaluation import tables

    for one in measured:
        evaluation = one.evaluation
        _write(f"{evaluation.dataset.title}: {tables.size_line(evaluation)}")
        _write_table(tables.result_table(evaluation))
        for line in tables.comparison_lines(evaluation):
            _write(line)
        for line in [*tables.notes(evaluation), *one.remarks]:
            _write(line)
        _write()
        if one.wins is not None:
            _write_wins(evaluation.measures[0], *one.wins)
    if len(measured) > 1:
        _write_table(tables.summary_table([one.evaluation for one in measured]))
    _write(tables.explanation_of_marks(measured[0].evaluation))


def has_fallen(measured: Sequence[Measured], earlier: EarlierReport, seed: int) -> bool:
    """Whether quality is lower than in an earlier report, by more than noise; says so."""
    from gingham.evaluation import report

    found = report.changes([one.evaluation for one in measured], earlier, seed=seed)
    for change in found:
        console.note(str(change))
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
    width = None if sys.stdout.isatty() else 200
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
        _write(f"      = {passage.score:.2f}: {', '.join(said)}, …")
