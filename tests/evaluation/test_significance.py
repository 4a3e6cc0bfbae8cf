"""Intervals and tests: against enumeration, SciPy, simulation and numbers worked by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from gingham.errors import EmptyInputError, InputError
from gingham.evaluation.significance import (
    Comparison,
    compare,
    compare_systems,
    confidence_intervals,
    holm,
)


def by_enumeration(differences: list[float]) -> float:
    """The share of all assignments of signs that are as extreme: exact in fractions of 1/8."""
    observed = abs(sum(differences))
    signs = list(itertools.product((1, -1), repeat=len(differences)))
    return sum(
        abs(sum(s * d for s, d in zip(row, differences, strict=True))) >= observed for row in signs
    ) / len(signs)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 11])
def test_few_queries_are_tested_exactly(n: int) -> None:
    generator = np.random.default_rng(n)
    differences = generator.integers(-8, 9, (4, n)) / 8
    baseline = generator.integers(0, 9, (4, n)) / 8
    wanted = [by_enumeration(row.tolist()) for row in differences]
    assert compare(baseline, baseline + differences).tolist() == wanted


def test_queries_without_a_difference_change_nothing() -> None:
    some = np.array([[0.5, 0.25, -0.125, 0.5, 0.5]])
    padded = np.concatenate([some, np.zeros((1, 1000))], axis=1)
    p = compare(np.zeros_like(some), some)
    assert p.tolist() == [4 / 32]
    assert compare(np.zeros_like(padded), padded).tolist() == p.tolist()


def test_rounding_does_not_break_ties() -> None:
    """0.1 + 0.2 - 0.3 is not 0 in binary, and sums in another order differ."""
    differences = [0.1, 0.2, 0.3, 0.6, 0.7]
    wanted = by_enumeration([1, 2, 3, 6, 7])
    for order in itertools.permutations(differences):
        assert compare(np.zeros((1, 5)), [order]).tolist() == [wanted]


def test_many_queries_agree_with_scipy() -> None:
    generator = np.random.default_rng(1)
    baseline = generator.random((3, 60))
    values = baseline + generator.normal([[0.0], [0.05], [0.5]], 0.2, (3, 60))
    theirs = stats.permutation_test(
        (values, baseline),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=19_999,
        batch=1000,
        axis=1,
        random_state=np.random.default_rng(2),
    ).pvalue
    ours = compare(baseline, values, resamples=20_000)
    assert ours == pytest.approx(theirs, abs=0.02)
    assert ours[2] == 1 / 20_001  # none of them is as extreme as the observed one


def test_p_is_uniform_where_there_is_no_difference() -> None:
    differences = np.random.default_rng(3).normal(0, 1, (400, 30))
    p = compare(np.zeros_like(differences), differences, resamples=2000)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_no_difference_at_all() -> None:
    assert compare([[0.1, 0.2], [0.0, 1.0]], [[0.1, 0.2], [0.0, 1.0]]).tolist() == [1.0, 1.0]
    assert compare([[0.5]], [[0.75]]).tolist() == [1.0]
    assert compare(np.zeros((2, 0)), np.zeros((2, 0))).tolist() == [1.0, 1.0]


def test_the_seed_decides() -> None:
    generator = np.random.default_rng(4)
    base, other = generator.random((2, 2, 40))
    assert (
        compare(base, other, resamples=500).tolist() == compare(base, other, resamples=500).tolist()
    )
    assert (
        compare(base, other, resamples=500).tolist()
        != compare(base, other, resamples=500, seed=1).tolist()
    )
    assert confidence_intervals(base).tolist() == confidence_intervals(base).tolist()
    assert confidence_intervals(base).tolist() != confidence_intervals(base, seed=1).tolist()


def test_intervals_hold_the_true_mean_as_often_as_they_say() -> None:
    samples = np.random.default_rng(5).beta(2, 3, (600, 80))
    low, high = confidence_intervals(samples, level=0.9, resamples=600).T
    assert ((low <= 0.4) & (high >= 0.4)).mean() == pytest.approx(0.9, abs=0.04)


def test_intervals_are_those_of_scipy() -> None:
    values = np.random.default_rng(6).random((2, 50))
    wanted = stats.bootstrap(
        (values,),
        np.mean,
        axis=1,
        method="percentile",
        n_resamples=2000,
        random_state=np.random.default_rng(0),
    ).confidence_interval
    assert confidence_intervals(values).T.tolist() == [wanted.low.tolist(), wanted.high.tolist()]


def test_intervals_of_little() -> None:
    assert confidence_intervals([[0.1] * 7, [0.0] * 7]).tolist() == [[0.1, 0.1], [0.0, 0.0]]
    assert np.isnan(confidence_intervals([[0.1], [0.2]])).all()
    assert confidence_intervals(np.zeros((0, 5))).shape == (0, 2)
    assert confidence_intervals(np.zeros((3, 0))).shape == (3, 2)


def test_holm_by_hand() -> None:
    # Sorted 0.005 0.01 0.03 0.04, times 4 3 2 1: 0.02 0.03 0.06 0.04, never decreasing.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.6]).tolist() == [1.0, 1.0]
    assert holm([0.04]).tolist() == [0.04]
    assert holm([]).tolist() == []


def test_compare_systems() -> None:
    base = [0.0, 0.5, 0.5, 1.0, 0.25]
    better = [0.5, 0.75, 0.5, 1.0, 0.5]
    worse = [0.0, 0.25, 0.25, 0.5, 0.0]
    per_query = {
        "better": {"AP": better, "RR": base},
        "base": {"AP": base, "RR": base},
        "worse": {"RR": worse, "AP": worse},
    }
    found = {(c.system, c.measure): c for c in compare_systems(per_query, "base")}
    assert list(found) == [("better", "AP"), ("better", "RR"), ("worse", "AP"), ("worse", "RR")]
    first = found["better", "AP"]
    assert (first.wins, first.losses, first.ties) == (3, 0, 2)
    assert first.difference == pytest.approx(0.2)
    assert first.interval[0] <= 0.2 <= first.interval[1]
    assert (first.p, first.p_adjusted) == (
        0.25,
        0.25,
    )  # the larger of the two: 2 × 0.125 is as much
    assert (found["worse", "AP"].p, found["worse", "AP"].p_adjusted) == (0.125, 0.25)
    assert found["better", "RR"] == Comparison(
        "better", "base", "RR", 0.0, (0.0, 0.0), 1.0, 1.0, wins=0, losses=0, ties=5
    )
    assert list(found.values()) == compare_systems(per_query, "base")


def test_one_query_has_no_interval() -> None:
    (only,) = compare_systems({"a": {"AP": [0.5]}, "b": {"AP": [1.0]}}, "a")
    assert all(math.isnan(end) for end in only.interval)
    assert (only.p, only.p_adjusted, only.wins) == (1.0, 1.0, 1)


@pytest.mark.parametrize(
    ("per_query", "message"),
    [
        ({"a": {"AP": [1.0]}, "b": {"AP": [1.0]}}, "no baseline 'base': the systems are a, b"),
        ({"base": {"AP": [1.0]}, "b": {"RR": [1.0]}}, "not measured by the same measures"),
        ({"base": {"AP": [1.0]}, "b": {"AP": [1.0, 0.0]}}, "'b' has 2 queries, 'base' has 1"),
        (
            {"base": {"AP": [1.0], "RR": [1.0, 0.0]}, "b": {"AP": [1.0], "RR": [1.0]}},
            "different numbers",
        ),
        ({"base": {"AP": [math.nan]}, "b": {"AP": [1.0]}}, "must be finite"),
    ],
)
def test_what_cannot_be_compared(
    per_query: dict[str, dict[str, list[float]]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        compare_systems(per_query, "base")


def test_bad_arguments() -> None:
    with pytest.raises(EmptyInputError, match="two systems"):
        compare_systems({"a": {"AP": [1.0]}}, "a")
    with pytest.raises(InputError, match="between 0 and 1"):
        confidence_intervals([[1.0, 2.0]], level=95)
    with pytest.raises(InputError, match="must be \\(n_measures, n_queries\\)"):
        confidence_intervals([1.0, 2.0])
    with pytest.raises(InputError, match="must agree"):
        compare([[1.0]], [[1.0, 2.0]])
    with pytest.raises(InputError, match="at least one resample"):
        compare([[1.0]], [[2.0]], resamples=0)
    with pytest.raises(InputError, match="from 0 to 1"):
        holm([1.5])
