"""Falls of quality: real ones are told from noise, and unlike things are not compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gingham.errors import InputError, SourceError
from gingham.evaluation import report
from gingham.evaluation.dataset import Dataset
from gingham.evaluation.experiment import Evaluation, evaluate
from gingham.evaluation.regression import EarlierReport, changes, not_compared, read_report
from gingham.evaluation.run import Ranking, Run

Values = Callable[[int], float]


def many(values: Values, queries: int = 60, name: str = "small") -> Evaluation:
    """A system with these values of nDCG@10, made up."""
    ids = [f"q{i}" for i in range(queries)]
    dataset = Dataset(name, "test", {}, {id: {"d": 1} for id in ids}, None)
    run = Run("made", {id: Ranking(("d",), np.ones(1, dtype=np.float32)) for id in ids})
    result = evaluate(dataset, runs=[run], measures=["nDCG@10"])
    [system] = result.systems
    array = np.array([values(i) for i in range(queries)])
    changed = replace(system, values={"nDCG@10": array}, means={"nDCG@10": float(array.mean())})
    return replace(result, systems=(changed,))


def renamed(evaluation: Evaluation, name: str) -> Evaluation:
    return replace(evaluation, systems=(replace(evaluation.systems[0], name=name),))


def earlier(path: Path, *evaluations: Evaluation) -> EarlierReport:
    lines = (json.dumps(report.record(one), allow_nan=False) for one in evaluations)
    path.write_text("\n\n".join(lines))
    return read_report(path)


def usual(i: int) -> float:
    return 0.4 + 0.5 * (i * 37 % 60) / 60


def noise(i: int) -> float:
    return usual(i) + float(np.random.default_rng(i).normal(0, 0.02))


@pytest.mark.parametrize(
    ("now", "queries", "fell"),
    [
        (usual, 60, False),
        (noise, 60, False),
        (lambda i: usual(i) - 0.1, 60, True),
        (lambda i: usual(i) + 0.1, 60, False),
        (lambda i: usual(i) - 0.5 * (i == 7), 60, False),  # one query is no evidence
        (lambda i: 0.0, 6, True),  # all is lost, on too few queries for a test
        (lambda i: usual(i) - 0.5 * (i % 10 == 7), 60, True),  # six queries lose most
        (lambda i: usual(i) - 1e-5, 500, False),  # certain, and of no importance
        (lambda i: usual(i) - 0.004, 500, True),
    ],
)
def test_changes(tmp_path: Path, now: Values, queries: int, fell: bool) -> None:
    before = earlier(tmp_path / "before.json", many(usual, queries))
    [change] = changes([many(now, queries)], before)
    assert change.fell is fell
    assert (change.what, change.measure) == ("small (test): made", "nDCG@10")
    assert str(change).endswith("FELL" if fell else "no fall beyond noise")
    assert len(str(change).splitlines()) == 1


def test_one_query_is_what_it_is(tmp_path: Path) -> None:
    before = earlier(tmp_path / "before.json", many(usual, 1))
    assert changes([many(lambda _: 0.0, 1)], before)[0].fell
    assert not changes([many(usual, 1)], before)[0].fell


def test_small_falls_of_several_datasets_add_up(tmp_path: Path) -> None:
    names = ("a", "b", "c", "d")
    before = earlier(tmp_path / "b.json", *(many(usual, 4, name) for name in names))
    now = [many(lambda i: usual(i) - 0.005, 4, name) for name in names]
    found = changes(now, before)
    assert [change.fell for change in found] == [False, False, False, False, True]
    assert found[-1].what == "queries of all 4 datasets: made"


def test_false_alarms_are_rare(tmp_path: Path) -> None:
    """Queries flip to both sides, four sets at a time: at most a few of a hundred are called."""
    names = ("a", "b", "c", "d")
    before = earlier(tmp_path / "b.json", *(many(usual, 40, name) for name in names))
    generator = np.random.default_rng(5)
    alarms = 0
    for _ in range(40):
        flips = generator.normal(0, 0.05, (4, 40)) * (generator.random((4, 40)) < 0.3)
        now = [
            many(lambda i, row=row: usual(i) + float(row[i]), 40, name)  # type: ignore[misc]
            for name, row in zip(names, flips, strict=True)
        ]
        alarms += any(change.fell for change in changes(now, before))
    assert alarms <= 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"{}",
        b"[]",
        b"7",
        b'{"dataset": {"name": "small", "split": "test"}}',
        b'{"dataset": {"name": "small", "split": "test"}, "systems": [{"name": "a"}]}',
        b'{"dataset": {"name": [], "split": "test"}, "systems": []}',
        b'{"dataset": {"name": "small", "split": "test", "digest": null}, "depth": 1000, '
        b'"systems": [{"name": "made", "per_query": {"nDCG@10": {"q0": NaN}}}]}',
        b"[" * 100_000,
        b"\xff\xfe",
        None,
    ],
)
def test_no_report(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "before.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((SourceError, InputError)) as error:
        changes([many(usual)], read_report(path))
    assert str(error.value).startswith(str(path))
    assert len(str(error.value).splitlines()) == 1


def test_unlike_things_are_not_compared(tmp_path: Path) -> None:
    path = tmp_path / "before.json"

    def refused(now: Evaluation) -> str:
        with pytest.raises(InputError) as error:
            changes([now], before)
        text = str(error.value)
        assert len(text.splitlines()) == 1
        return text

    before = earlier(path, many(usual))
    assert refused(many(usual, name="other")) == (
        f"{path} has nothing on other (test): compare the datasets that it is of"
    )
    assert "has 60 queries of small (test), this evaluation 59" in refused(many(usual, 59))
    assert "has no AP of small (test)" in refused(replace(many(usual), measures=("AP",)))
    assert "has none of these systems on small" in refused(renamed(many(usual), "another"))
    assert "ranked to depth 1,000, this evaluation to 5" in refused(replace(many(usual), depth=5))


def test_what_is_not_compared_is_told(tmp_path: Path) -> None:
    now = many(usual)
    two = replace(now, systems=(*now.systems, *renamed(now, "second").systems))
    before = earlier(tmp_path / "before.json", two, many(usual, name="other"))
    assert not_compared([now], before) == [
        "not compared, not measured now: small (test): second",
        "not compared, not measured now: other (test)",
    ]
