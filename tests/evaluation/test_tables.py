"""Tables of text: whole rows, escaped cells, stars where the tests say so, means over datasets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gingham.evaluation import BM25, Evaluation, LateInteraction, Ranking, Run, evaluate
from gingham.evaluation.dataset import Dataset
from gingham.evaluation.tables import (
    Table,
    comparison_lines,
    explanation_of_marks,
    markdown,
    markdown_page,
    notes,
    quality_cell,
    result_table,
    size_line,
    summary_table,
)

QUERIES = 40


def run(name: str, right: int) -> Run:
    """The relevant document for the first queries, nothing for the others."""
    score = np.ones(1, dtype=np.float32)
    return Run(name, {f"q{i}": Ranking(("d",), score) for i in range(right)})


def compared(
    right: Mapping[str, int], name: str = "made", measures: tuple[str, ...] = ("nDCG@10", "R@5")
) -> Evaluation:
    dataset = Dataset(name, None, {}, {f"q{i}": {"d": 1} for i in range(QUERIES)}, None)
    return evaluate(dataset, runs=[run(*pair) for pair in right.items()], measures=measures)


@pytest.fixture
def live(dataset: Dataset, cache: Path) -> Evaluation:
    return evaluate(dataset, [LateInteraction(), BM25()], cache=cache, threads=2, timed_queries=2)


def cells(line: str) -> list[str]:
    """As GitHub splits a line of a table."""
    assert line.startswith("|")
    assert line.endswith("|")
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line[1:-1])]


def check(text: str) -> list[list[str]]:
    """The rows of a Markdown table, all of one width."""
    header, rule, *rows = map(cells, text.splitlines())
    assert set(rule) <= {"---", "---:"}
    assert {len(row) for row in [header, rule, *rows]} == {len(header)}
    return [header, *rows]


def test_rows_are_as_long_as_the_header(live: Evaluation) -> None:
    table = result_table(live)
    assert table.header == ("", "gingham", "BM25")
    assert {len(row) for row in table.rows} == {3}
    first = [row[0] for row in table.rows]
    assert first[: len(live.measures)] == list(live.measures)
    assert table.sections == (len(live.measures),)
    assert {"query encoding, ms, 1 thread", "search, ms, 2 threads", "bytes a token"} <= set(first)
    rows = check(markdown(table))
    assert rows[0] == ["", "gingham", "BM25"]
    assert [row[0] for row in rows[1:]] == first


def test_costs_that_nobody_has_are_not_shown() -> None:
    table = result_table(compared({"a": 3, "b": 4}))
    assert [row[0] for row in table.rows] == ["nDCG@10", "R@5"]


def test_costs_that_a_run_has_not(dataset: Dataset, cache: Path) -> None:
    mixed = evaluate(dataset, [BM25()], runs=[run("file", 0)], cache=cache, timed_queries=1)
    rows = {row[0]: row for row in result_table(mixed).rows}
    assert rows["tokens"][2] == "–"
    assert rows["tokens"][1] != "–"


def test_pipes_are_escaped() -> None:
    evaluation = compared({"a|b": 3, "c": 9})
    rows = check(markdown(result_table(evaluation)))
    assert rows[0] == ["", r"a\|b", "c"]
    assert markdown(Table(("x|", "y"), (("1", "|2|"),))).splitlines()[0] == r"| x\| | y |"


def test_stars_say_what_the_tests_say() -> None:
    # Holm multiplies the smallest of three by 3.
    evaluation = compared({"base": 10, "same": 10, "some": 17, "most": 40, "less": 3})
    seen = set()
    for system in evaluation.systems:
        for measure in evaluation.measures:
            cell = quality_cell(evaluation, system, measure)
            comparison = evaluation.comparison(system.name, measure)
            p = 1.0 if comparison is None else comparison.p_adjusted
            expected = "**" if p < 0.01 else "*" if p < 0.05 else ""
            mark = cell.removeprefix(cell.rstrip("* ")).strip()
            assert mark == expected, (system.name, p)
            seen.add(expected)
            mean = system.means[measure]
            assert cell.startswith(f"{mean:.3f} [")
    assert seen == {"", "*", "**"}


def test_counts_have_no_decimals() -> None:
    evaluation = compared({"a": 30, "b": 12}, measures=("NumRet", "AP"))
    assert result_table(evaluation).rows[0] == ("NumRet", "30", "12")


def test_one_query_has_no_interval() -> None:
    dataset = Dataset("one", None, {}, {"q0": {"d": 1}}, None)
    evaluation = evaluate(dataset, runs=[run("a", 1), run("b", 0)], measures=["AP"])
    assert result_table(evaluation).rows == (("AP", "1.000", "0.000"),)
    assert comparison_lines(evaluation) == [
        "b − a: AP -1.000, p = 1.000; better on 0 queries, worse on 1, equal on 0"
    ]


def test_comparison_lines() -> None:
    [line] = comparison_lines(compared({"base": 5, "more": 40}))
    assert line.startswith("more − base: nDCG@10 +0.875 [+0.7")
    assert line.endswith("p < 0.001; better on 35 queries, worse on 0, equal on 5")


def test_the_summary_has_the_means() -> None:
    several = [compared({"a": 10, "b": 20}, "one"), compared({"a": 30, "b": 40}, "other")]
    table = summary_table(several)
    assert table.header == ("nDCG@10", "a", "b")
    assert [row[0] for row in table.rows] == ["one", "other", "mean of 2"]
    assert table.rows[-1][1:] == ("0.500", "0.750")
    assert {len(row) for row in table.rows} == {3}
    missing = summary_table([*several, compared({"b": 10}, "third")])
    assert missing.rows[2][1] == "–"
    assert missing.rows[-1] == ("mean of 3", "–", f"{(0.5 + 1 + 0.25) / 3:.3f}")
    assert [row[0] for row in summary_table(several[:1]).rows] == ["one"]


def test_a_page(live: Evaluation) -> None:
    page = markdown_page([live])
    assert page.startswith("# Evaluation\n\ngingham ")
    assert page.endswith("\n")
    assert not page.endswith("\n\n")
    tables = [part for part in page.split("\n\n") if part.startswith("|")]
    assert len(tables) == 1
    check(tables[0])
    assert "## small (test)\n\n12 documents, 6 judged queries, 15 judgements\n" in page
    for line in [*comparison_lines(live), *notes(live)]:
        assert f"- {line}\n" in page
    assert page.count(explanation_of_marks(live)) == 1


def test_a_page_of_several(live: Evaluation) -> None:
    other = replace(live, dataset=replace(live.dataset, name="other", remarks=("a remark",)))
    page = markdown_page([live, other])
    tables = [part for part in page.split("\n\n") if part.startswith("|")]
    assert [len(check(table)) > 3 for table in tables] == [True] * 3
    assert page.count(explanation_of_marks(live)) == 1
    assert "- a remark\n" in page


def test_what_a_system_could_not_rank_is_not_shown() -> None:
    both = compared({"a": 10, "b": 20})
    first, second = both.systems
    shallow = replace(both, systems=(first, replace(second, depth=1)), measures=("nDCG@10",))
    table = summary_table([shallow, shallow])
    assert [row[2] for row in table.rows] == ["–"] * 3
    assert all(row[1] != "–" for row in table.rows)
    assert comparison_lines(shallow) == []
    assert comparison_lines(replace(shallow, systems=both.systems)) != []


def test_the_marks_name_the_baseline() -> None:
    right = {"a": 10, "b": 20}
    assert "against a," in explanation_of_marks(compared(right))
    dataset = compared(right).dataset
    other = evaluate(dataset, runs=[run(*pair) for pair in right.items()], baseline="b")
    assert "against b," in explanation_of_marks(other)
    alone = explanation_of_marks(compared({"a": 10}))
    assert "test" not in alone
    assert size_line(other) == "40 judged queries, 40 judgements"
