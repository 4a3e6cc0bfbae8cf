"""Is a difference more than chance? Intervals and tests over queries.

The queries are the sample: intervals are percentile bootstraps over them, tests are paired
randomisation tests, as Smucker, Allan & Carterette recommend (A comparison of statistical
significance tests for information retrieval evaluation, CIKM 2007). All is seeded: the same values
and seed give the same numbers. This knows nothing of how the values were measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gingham.errors import EmptyInputError, InputError, MissingDependencyError

Float64 = npt.NDArray[np.float64]

# Numbers held at once while resampling: 16 MiB of float64.
_AT_ONCE = 1 << 21
# Sums of the same differences in another order differ by rounding: they count as equal.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Comparison:
    """One system against the baseline in one measure.

    Attributes:
        system: the system that is compared.
        baseline: the system it is compared with.
        measure: name of the measure.
        difference: mean over queries of system - baseline.
        interval: of the difference, at the level asked for; NaN for fewer than two queries.
        p: two-sided, of the paired randomisation test.
        p_adjusted: p after Holm's correction for the systems compared in this measure.
        wins: queries in which the system is better.
        losses: queries in which the baseline is better.
        ties: queries with exactly the same value.
    """

    system: str
    baseline: str
    measure: str
    difference: float
    interval: tuple[float, float]
    p: float
    p_adjusted: float
    wins: int
    losses: int
    ties: int


def confidence_intervals(
    values: npt.ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Float64:
    """Percentile bootstrap intervals of means over queries (Efron, Annals of Statistics 7, 1979).

    Args:
        values: (n_measures, n_queries), finite. All measures share the resampled queries.
        level: share of intervals that hold the true mean, between 0 and 1.
        resamples: how often queries are drawn with replacement.
        seed: of the random numbers.

    Returns:
        (n_measures, 2) lower and upper ends; NaN where there are fewer than two queries.

    Raises:
        InputError: the values have another shape or are not finite, or the level is not in (0, 1).
        MissingDependencyError: SciPy is not installed.
    """
    try:
        from scipy.stats import bootstrap
    except ImportError as error:
        raise _missing() from error
    table = _table(values)
    if not 0 < level < 1:
        raise InputError(f"a confidence level is between 0 and 1, such as 0.95; got {level}")
    n_measures, n_queries = table.shape
    if n_queries < 2 or not n_measures:
        return np.full((n_measures, 2), np.nan)
    interval = bootstrap(
        (table,),
        np.mean,
        axis=-1,
        vectorized=True,
        method="percentile",
        confidence_level=level,
        n_resamples=resamples,
        batch=max(1, _AT_ONCE // table.size),
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    ends = np.stack([interval.low, interval.high], axis=-1).astype(np.float64)
    # The mean of equal values may be off in the last bit: the interval is that value.
    constant = (table == table[:, :1]).all(axis=1)
    ends[constant] = table[constant, :1]
    return ends


def compare(
    baseline: npt.ArrayLike, values: npt.ArrayLike, *, resamples: int = 99_999, seed: int = 0
) -> Float64:
    """P values of Fisher's paired randomisation test: is the mean difference other than 0?

    If the systems did not differ, each difference could as well have the other sign. p is the share
    of assignments of signs whose mean is at least as far from 0 as the observed one: of all of them
    where there are no more than `resamples`, else of random ones with the observed one added
    (Phipson & Smyth 2010: p is never 0).

    This is `scipy.stats.permutation_test(permutation_type="samples")`, which permutes each pair on
    its own and takes minutes where a matrix of signs times the differences takes seconds.

    Args:
        baseline: (n_measures, n_queries), finite.
        values: of the other system, of the same shape. All measures share the random signs.
        resamples: how many assignments of signs are tried.
        seed: of the random numbers.

    Returns:
        (n_measures) two-sided p values; 1 where no query differs.

    Raises:
        InputError: the shapes differ, or a value is not finite.
    """
    base, other = _table(baseline), _table(values)
    if base.shape != other.shape:
        raise InputError(
            f"systems are compared query by query: {base.shape} and {other.shape} must agree"
        )
    return _sign_flips(other - base, resamples, seed)


def holm(p_values: npt.ArrayLike) -> Float64:
    """Adjusted p values (Holm, Scandinavian Journal of Statistics 6, 1979).

    Reject where the adjusted value is at most α: then the chance of any false rejection among all
    tests is at most α.

    Args:
        p_values: (n) between 0 and 1, of the tests made together.

    Returns:
        (n) in the same order; max over j ≤ i of min(1, (n - j) p_(j)), with p sorted from j = 0.

    Raises:
        InputError: they are not one-dimensional, or not between 0 and 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"p values are a list of numbers from 0 to 1; got {p_values!r}")
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(stepped)
    return adjusted


def compare_systems(
    per_query: Mapping[str, Mapping[str, npt.ArrayLike]],
    baseline: str,
    *,
    level: float = 0.95,
    resamples: int = 99_999,
    seed: int = 0,
) -> list[Comparison]:
    """Every system against one of them, in every measure.

    Args:
        per_query: system → measure → (n_queries) values, aligned in all of them.
        baseline: the system that the others are compared with.
        level: of the intervals.
        resamples: of the tests.
        seed: of tests and intervals.

    Returns:
        A comparison a system and measure, in the order of `per_query`; p is corrected by Holm over
        the systems compared, within each measure.

    Raises:
        InputError: the baseline is unknown, or systems differ in measures or number of queries.
        EmptyInputError: there is no other system or no measure.
        MissingDependencyError: SciPy is not installed.
    """
    if baseline not in per_query:
        raise InputError(f"no baseline {baseline!r}: the systems are {', '.join(per_query)}")
    names = list(per_query[baseline])
    others = [system for system in per_query if system != baseline]
    if not others or not names:
        raise EmptyInputError("a comparison needs two systems and a measure")
    for system in others:
        if set(per_query[system]) != set(names):
            raise InputError(f"{system!r} and {baseline!r} were not measured by the same measures")
    base = _stacked(per_query[baseline], names, baseline)
    differences = []
    for system in others:
        values = _stacked(per_query[system], names, system)
        if values.shape != base.shape:
            raise InputError(
                f"{system!r} has {values.shape[1]} queries, {baseline!r} has {base.shape[1]}: "
                "systems are compared query by query"
            )
        differences.append(values - base)
    rows = np.concatenate(differences)
    intervals = confidence_intervals(rows, level=level, seed=seed)
    p = _sign_flips(rows, resamples, seed).reshape(len(others), len(names))
    adjusted = np.stack([holm(column) for column in p.T], axis=1).ravel()
    pairs = [(system, measure) for system in others for measure in names]
    return [
        Comparison(
            system=system,
            baseline=baseline,
            measure=measure,
            difference=float(row.mean()) if len(row) else float("nan"),
            interval=(float(low), float(high)),
            p=float(p_value),
            p_adjusted=float(p_adjusted),
            wins=int((row > 0).sum()),
            losses=int((row < 0).sum()),
            ties=int((row == 0).sum()),
        )
        for (system, measure), row, (low, high), p_value, p_adjusted in zip(
            pairs, rows, intervals, p.ravel(), adjusted, strict=True
        )
    ]


def _sign_flips(differences: Float64, resamples: int, seed: int) -> Float64:
    """(n_rows) p values of (n_rows, n_queries) differences."""
    if resamples < 1:
        raise InputError(f"a randomisation test needs at least one resample, got {resamples}")
    p = np.ones(len(differences))
    many = []
    for i, row in enumerate(differences):
        # The sign of 0 changes nothing: without such queries the test is the same, and more often
        # small enough to be exact.
        some = row[row != 0]
        if not len(some):
            continue
        if len(some) < 63 and 2 ** len(some) <= resamples:
            p[i] = _extreme(_all_signs(len(some)), some[None]).item() / 2 ** len(some)
        else:
            many.append(i)
    if many:
        p[many] = _random_signs(differences[many], resamples, seed)
    return p


def _random_signs(differences: Float64, resamples: int, seed: int) -> Float64:
    generator = np.random.default_rng(seed)
    n_queries = differences.shape[1]
    extreme = np.ones(len(differences), dtype=np.int64)
    batch = max(1, _AT_ONCE // n_queries)
    for start in range(0, resamples, batch):
        n_rows = min(batch, resamples - start)
        random = np.frombuffer(generator.bytes(n_rows * -(-n_queries // 8)), dtype=np.uint8)
        extreme += _extreme(
            np.unpackbits(random.reshape(n_rows, -1), axis=1, count=n_queries), differences
        )
    return extreme / (resamples + 1)


def _all_signs(n_queries: int) -> npt.NDArray[np.uint8]:
    """(2 ** n_queries, n_queries) every row of zeros and ones."""
    numbers = np.arange(2**n_queries)[:, None]
    return (numbers >> np.arange(n_queries) & 1).astype(np.uint8)


def _extreme(flipped: npt.NDArray[np.uint8], differences: Float64) -> npt.NDArray[np.int64]:
    """(n_rows) how many assignments of signs give a sum at least as far from 0 as the observed.

    Args:
        flipped: (n_assignments, n_queries), 1 where a difference changes its sign.
        differences: (n_rows, n_queries).
    """
    total = differences.sum(axis=1)
    sums = total - 2 * (flipped.astype(np.float64) @ differences.T)
    least = np.abs(total) - _ROUNDING * np.abs(differences).sum(axis=1)
    count: npt.NDArray[np.int64] = np.count_nonzero(np.abs(sums) >= least, axis=0)
    return count


def _stacked(measured: Mapping[str, npt.ArrayLike], names: list[str], system: str) -> Float64:
    rows = [np.asarray(measured[name], dtype=np.float64) for name in names]
    if len({row.shape for row in rows}) > 1:
        raise InputError(f"the measures of {system!r} have different numbers of queries")
    return _table(np.stack(rows))


def _table(values: npt.ArrayLike) -> Float64:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise InputError(f"values must be (n_measures, n_queries); got {table.shape}")
    if not np.isfinite(table).all():
        raise InputError("values of measures must be finite: leave out a measure that gives NaN")
    return table


def _missing() -> MissingDependencyError:
    return MissingDependencyError("confidence intervals need SciPy: pip install 'gingham[eval]'")
