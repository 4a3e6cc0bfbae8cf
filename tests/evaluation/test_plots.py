"""Plots: the files, their bytes, and what stands in them."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from gingham.errors import EmptyInputError, InputError
from gingham.evaluation.plots import Point, differences, quality_against_time

POINTS = [
    Point("BM25", 1.8, 0.65, (0.62, 0.68)),
    Point("gingham & $co", 9.5, 0.70, (0.67, 0.73)),
    Point("one query", 10.5, 0.70, (math.nan, math.nan)),
    Point("slow", 1400.0, 0.71, (0.68, 0.74)),
]
MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def draw_time(path: Path) -> None:
    quality_against_time(POINTS, path, measure="nDCG@10", title="SciFact (test)")


def draw_differences(path: Path) -> None:
    values = np.random.default_rng(0).normal(0.02, 0.2, 300).round(1)
    differences(
        values, path, measure="AP", system="mine", baseline="BM25", title="A <title>", p=0.03
    )


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
@pytest.mark.parametrize("draw", [draw_time, draw_differences])
def test_the_same_values_give_the_same_bytes(draw: object, suffix: str, tmp_path: Path) -> None:
    assert callable(draw)
    path, again = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix.upper()}"
    draw(path)
    # The settings of whoever calls do not show, and are not changed.
    with matplotlib.rc_context({"font.size": 30, "savefig.dpi": 20, "svg.hashsalt": "x"}):
        draw(again)
        assert matplotlib.rcParams["font.size"] == 30
    assert path.read_bytes() == again.read_bytes()
    assert path.read_bytes().startswith(MAGIC[suffix])
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, again.name]


def test_what_stands_in_the_plot_of_time(tmp_path: Path) -> None:
    draw_time(tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for label in (
        "BM25",
        "gingham &amp; $co",
        "one query",
        "slow",
        "SciFact (test)",
        "nDCG@10 (higher",
    ):
        assert text.count(f">{label}") == 1, label
    assert "median time of a query, ms (log scale" in text
    for tick in ("1", "10", "100", "1000"):
        assert f">{tick}</text>" in text


def test_what_stands_in_the_plot_of_differences(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    differences(
        [0.5, -0.25, 0.0, 0.1],
        path,
        measure="AP",
        system="m",
        baseline="b",
        title="A <title>",
        p=1e-6,
    )
    text = path.read_text(encoding="utf-8")
    assert "A &lt;title&gt;" in text
    assert "wins 2, ties 1, losses 1; mean difference +0.0875; p &lt; 0.0001" in text
    for label in ("m better", "b better", "mean +0.0875", "4 queries, sorted", "difference in AP"):
        assert label in text, label


def test_ten_thousand_queries_are_few_artists(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    values = np.random.default_rng(0).normal(0, 0.1, 10_570)
    differences(values, path, measure="AP", system="m", baseline="b", title="t")
    assert path.stat().st_size < 400_000
    assert path.read_text(encoding="utf-8").count("<path") < 60


@pytest.mark.parametrize("values", [[0.2], [-0.2], [0.0], [0.0, 0.0]])
def test_one_query_or_none_that_differs(values: list[float], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    differences(values, path, measure="AP", system="m", baseline="b", title="t", p=1.0)
    assert path.stat().st_size > 1000


def test_one_system_and_systems_in_the_same_place(tmp_path: Path) -> None:
    for points in (POINTS[:1], [POINTS[0]] * 3, POINTS * 3):
        quality_against_time(points, tmp_path / "a.png", measure="AP", title="t")


@pytest.mark.parametrize("name", ["plot", "plot.jpg", "plot.svgz"])
def test_another_ending(name: str, tmp_path: Path) -> None:
    for draw in (draw_time, draw_differences):
        with pytest.raises(
            InputError, match=rf"cannot draw {name}: the ending must be one of \.png"
        ):
            draw(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    options = {"measure": "AP", "title": "t"}
    with pytest.raises(EmptyInputError, match="at least one system"):
        quality_against_time([], path, **options)
    with pytest.raises(InputError, match="must be above 0"):
        quality_against_time([Point("a", 0.0, 0.5, (0.4, 0.6))], path, **options)
    with pytest.raises(InputError, match="must be finite"):
        quality_against_time([Point("a", 1.0, math.nan, (0.4, 0.6))], path, **options)
    with pytest.raises(EmptyInputError, match="no query"):
        differences([], path, measure="AP", system="a", baseline="b", title="t")
    with pytest.raises(InputError, match="one finite number a query"):
        differences([math.inf], path, measure="AP", system="a", baseline="b", title="t")
    with pytest.raises(InputError, match="cannot write"):
        draw_time(tmp_path / "no" / "a.png")
    assert not list(tmp_path.iterdir())
