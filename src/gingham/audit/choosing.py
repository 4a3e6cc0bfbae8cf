"""The settings that are tried, and which of them is the fastest that reaches a recall.

It asks for measurements and makes none: what is measured, and on what, is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import numpy.typing as npt

from gingham.audit.measuring import Measured, interval
from gingham.audit.values import AuditPoint, AuditTarget
from gingham.search.parameters import SearchParameters

Measure = Callable[[Mapping[str, SearchParameters]], list[Measured]]

CURRENT = "current"
BETWEEN = "between"
_BISECTIONS = 4
_ROUNDING = 1e-9  # a mean of recalls may be off in the last bit


def ladder(default: SearchParameters, current: SearchParameters) -> dict[str, SearchParameters]:
    """Settings by label: the current one first, and a quarter of the defaults to 8 times them."""
    rungs = {CURRENT: current, "defaults": default}
    rungs.update({f"all × {f:g}": default.wider(f) for f in (0.25, 0.5, 2)})
    # Beyond, nothing is given up: some target is the best that can be had.
    rungs.update({f"all × {f:g}": replace(default.wider(f), margin=None) for f in (4, 8)})
    for factor in (0.8, 0.9, 1.1, 1.2):
        margin = None if default.margin is None else round(default.margin * factor, 2)
        rungs[f"margin × {factor:g}"] = replace(default, margin=margin)
    for factor in (0.5, 2):
        wider = default.wider(factor)
        rungs[f"probes × {factor:g}"] = replace(default, supers=wider.supers, probes=wider.probes)
    labels: dict[SearchParameters, str] = {}
    for label, parameters in rungs.items():
        labels.setdefault(parameters, label)
    return {label: parameters for parameters, label in labels.items()}


def choose(
    target: float, curve: Sequence[Measured], measure: Measure, seed: int
) -> tuple[AuditTarget, list[Measured]]:
    """The fastest setting that reaches a recall.

    Half of the queries choose: the fastest of the curve that reaches the target on them, then,
    by bisection, something between it and the slowest of the faster ones that do not. The other
    half judges: if the target is missed there, the next slower that reaches it on the first half
    is judged, and so on.

    Args:
        target: recall above 0 and up to 1.
        curve: what is measured already, of two queries at least.
        measure: measures other settings, by label, on the same queries.
        seed: of the halves.

    Returns:
        What was found, and what was measured on the way.
    """
    n = len(curve[0].recalls)
    order = np.random.default_rng(seed).permutation(n)
    first, second = order[: n // 2], order[n // 2 :]

    def reaches(measured: Measured, half: npt.NDArray[np.int64]) -> bool:
        return bool(measured.recalls[half].mean() >= target - _ROUNDING)

    by_time = sorted(curve, key=lambda measured: measured.p50)
    between: list[Measured] = []
    at = next((i for i, one in enumerate(by_time) if reaches(one, first)), None)
    if at:
        low, high = by_time[at - 1], by_time[at]
        for _ in range(_BISECTIONS):
            middle = _middle(low.parameters, high.parameters)
            if middle in (low.parameters, high.parameters):
                break
            between += measure({BETWEEN: middle})
            if reaches(between[-1], first):
                high = between[-1]
            else:
                low = between[-1]
    everything = sorted([*curve, *between], key=lambda measured: measured.p50)
    reaching = [measured for measured in everything if reaches(measured, first)]
    passed_over = 0
    chosen = None
    for measured in reaching:
        if reaches(measured, second):
            chosen = measured
            break
        passed_over += 1
    best = chosen or max(everything, key=lambda measured: float(measured.recalls.mean()))
    return (
        AuditTarget(
            recall=target,
            reached=chosen is not None,
            parameters=best.parameters,
            p50=best.p50,
            chosen_on=float(best.recalls[first].mean()),
            held_out=float(best.recalls[second].mean()),
            interval=interval(best.recalls[second], seed),
            passed_over=passed_over,
        ),
        between,
    )


def _middle(one: SearchParameters, other: SearchParameters) -> SearchParameters:
    """Halfway between two settings, by ratio."""
    pairs = zip(asdict(one).items(), asdict(other).values(), strict=True)
    sizes = {name: math.sqrt(a * b) for (name, a), b in pairs if name != "margin"}
    middle = SearchParameters(**{name: round(size) for name, size in sizes.items()})
    if one.margin is None or other.margin is None:
        return replace(middle, margin=one.margin or other.margin)
    return replace(middle, margin=round(math.sqrt(one.margin * other.margin), 2))


def points(curve: Sequence[Measured], seed: int) -> tuple[AuditPoint, ...]:
    points = []
    most = -1.0
    # The fastest first: each that finds more than all before it is on the front.
    for measured in sorted(curve, key=lambda one: (one.p50, -float(one.recalls.mean()))):
        found = float(measured.recalls.mean())
        points.append(
            AuditPoint(
                measured.label,
                measured.parameters,
                found,
                interval(measured.recalls, seed),
                measured.p50,
                measured.p95,
                found > most,
            )
        )
        most = max(most, found)
    return tuple(points)
