"""Pictures: quality against time, of systems or of settings; query by query against a baseline.

The same values give the same bytes. Colours are those of Okabe & Ito (Color Universal Design,
2008), which colour-blind readers can tell apart; nothing is said by colour alone. This
knows nothing of systems and measures but their names.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gingham.errors import EmptyInputError, InputError, MissingDependencyError
from gingham.evaluation.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

_FORMATS = (".png", ".svg", ".pdf")
# What else a file would say about when it was made.
_DATES: dict[str, dict[str, None]] = {
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "gingham",
    "svg.fonttype": "none",  # text that can be searched and selected
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",  # comes with Matplotlib
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
}
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_WIN, _LOSS, _MEAN = "#0072B2", "#D55E00", "#000000"
_STEPS = 2000
_NEAR = 6
# Where a label may stand from its point, in points: best first.
_PLACES = (
    (9, 0, "left", "center"),
    (-9, 0, "right", "center"),
    (7, 9, "left", "bottom"),
    (7, -9, "left", "top"),
    (-7, 9, "right", "bottom"),
    (-7, -9, "right", "top"),
    # From here on with a line to the point.
    (0, 20, "center", "bottom"),
    (0, -20, "center", "top"),
    (9, 26, "left", "bottom"),
    (9, -26, "left", "top"),
    (-9, 26, "right", "bottom"),
    (-9, -26, "right", "top"),
)


@dataclass(frozen=True, slots=True)
class Point:
    """A system in a plot of quality against time.

    Attributes:
        label: name of the system.
        milliseconds: median for one query, above 0.
        quality: mean of the measure.
        interval: confidence interval of the quality; NaN draws none.
    """

    label: str
    milliseconds: float
    quality: float
    interval: tuple[float, float]


def quality_against_time(
    points: Sequence[Point], path: str | os.PathLike[str], *, measure: str, title: str
) -> None:
    """Draw a labelled point a system: time on a logarithmic axis, quality with its interval.

    Args:
        points: the systems; labels do not overlap for up to about six.
        path: what to write; the ending says whether PNG, SVG or PDF.
        measure: name on the axis of quality.
        title: above the plot.

    Raises:
        InputError: the ending is none of these, a time is not above 0, a quality is not finite, or
            the file cannot be written.
        EmptyInputError: there are no points.
        MissingDependencyError: Matplotlib is not installed.
    """
    _check_points(points)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        for i, point in enumerate(points):
            _draw_point(axes, point, i)
        _frame_time(axes, points)
        _write(axes.set_title, title, loc="left")
        axes.set_xlabel("median time of a query, ms (log scale; further left is faster)")
        _write(axes.set_ylabel, f"{measure} (higher is better)")
        _place_labels(figure, axes, points, points)

    _save(draw, path, (7.0, 4.4))


def _check_points(points: Sequence[Point]) -> None:
    if not points:
        raise EmptyInputError("nothing to draw: quality against time needs at least one system")
    for point in points:
        if not (np.isfinite(point.milliseconds) and point.milliseconds > 0):
            raise InputError(
                f"{point.label!r} takes {point.milliseconds} ms: a time must be above 0 to "
                "stand on a logarithmic axis"
            )
        if not np.isfinite(point.quality):
            raise InputError(f"{point.label!r} has the quality {point.quality}: it must be finite")


def curve(
    points: Sequence[Point],
    path: str | os.PathLike[str],
    *,
    front: Collection[int],
    current: int,
    measure: str,
    title: str,
) -> None:
    """Draw settings of one system: quality against time, with a line through the best of them.

    Args:
        points: the settings; one with an empty label gets none, nor does one off the front.
        path: what to write; the ending says whether PNG, SVG or PDF.
        front: positions of those that no other beats in quality without taking longer.
        current: position of the one in use, which gets another mark.
        measure: name on the axis of quality.
        title: above the plot.

    Raises:
        InputError: as `quality_against_time`.
        EmptyInputError: there are no points.
        MissingDependencyError: Matplotlib is not installed.
    """
    _check_points(points)
    best = sorted((points[i] for i in front), key=lambda point: point.milliseconds)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        times, qualities = [p.milliseconds for p in best], [p.quality for p in best]
        axes.plot(times, qualities, color=_COLOURS[0], linewidth=1.0, label="best for its time")
        for i, point in enumerate(points):
            _draw_setting(axes, point, i in front, i == current)
        _frame_time(axes, points)
        _write(axes.set_title, title, loc="left")
        axes.set_xlabel("median time of a query, ms (log scale; further left is faster)")
        _write(axes.set_ylabel, f"{measure} (higher is better)")
        axes.legend(loc="lower right", frameon=False, fontsize=9)
        shown = [p for i, p in enumerate(points) if p.label and (i in front or i == current)]
        _place_labels(figure, axes, shown, points)

    _save(draw, path, (7.0, 4.4))


def _draw_setting(axes: Axes, point: Point, is_best: bool, is_current: bool) -> None:
    colour = _COLOURS[1] if is_current else _COLOURS[0]
    if np.isfinite(point.interval).all():
        ends = [point.milliseconds] * 2
        axes.plot(ends, point.interval, color=colour, linewidth=0.9, marker="_", alpha=0.6)
    axes.plot(
        [point.milliseconds],
        [point.quality],
        color=colour,
        marker="s" if is_current else "o",
        markersize=8 if is_current else 5.5,
        markerfacecolor=colour if is_best or is_current else "white",
        linestyle="none",
        label="in use" if is_current else None,
    )


def differences(
    values: npt.ArrayLike,
    path: str | os.PathLike[str],
    *,
    measure: str,
    system: str,
    baseline: str,
    title: str,
    p: float | None = None,
) -> None:
    """Draw what each query gains or loses against the baseline, sorted, with the mean.

    Args:
        values: (n_queries) system - baseline, finite.
        path: what to write; the ending says whether PNG, SVG or PDF.
        measure: what the values are differences of.
        system: the system that is compared.
        baseline: the system it is compared with.
        title: above the plot.
        p: for the caption; None leaves it out.

    Raises:
        InputError: the ending is none of these, the values are not finite or not one-dimensional,
            or the file cannot be written.
        EmptyInputError: there are no values.
        MissingDependencyError: Matplotlib is not installed.
    """
    sorted_values = np.sort(np.asarray(values, dtype=np.float64), axis=-1)[..., ::-1]
    if sorted_values.ndim != 1 or not np.isfinite(sorted_values).all():
        raise InputError("differences are one finite number a query")
    if not sorted_values.size:
        raise EmptyInputError("nothing to draw: there is no query to compare")

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        _draw_bars(axes, sorted_values)
        mean = float(sorted_values.mean())
        axes.axhline(mean, color=_MEAN, linestyle="--", linewidth=1.2, label=f"mean {mean:+.4f}")
        _write(axes.set_title, title, loc="left", pad=24)
        _write(
            axes.text, 0.0, 1.02, _caption(sorted_values, p), transform=axes.transAxes, fontsize=9
        )
        queries = "1 query" if len(sorted_values) == 1 else f"{len(sorted_values):,} queries"
        axes.set_xlabel(f"{queries}, sorted by difference")
        _write(axes.set_ylabel, f"difference in {measure}")
        legend = figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        names = (f"{system} better", f"{baseline} better")
        for text, name in zip(legend.get_texts(), names, strict=False):
            text.set_parse_math(False)
            text.set_text(name)

    _save(draw, path, (7.0, 4.0))


def _caption(values: npt.NDArray[np.float64], p: float | None) -> str:
    wins, losses = int((values > 0).sum()), int((values < 0).sum())
    parts = [
        f"wins {wins:,}, ties {len(values) - wins - losses:,}, losses {losses:,}",
        f"mean difference {values.mean():+.4f}",
    ]
    if p is not None:
        parts.append(f"p = {p:.4f}" if p >= 0.0001 else "p < 0.0001")
    return "; ".join(parts)


def _draw_bars(axes: Axes, values: npt.NDArray[np.float64]) -> None:
    """Two outlines, however many queries: a bar each would take a minute and megabytes."""
    # No more steps than can be told apart: the values are sorted, each step shows its middle one.
    steps = np.linspace(0, len(values), min(len(values), _STEPS) + 1)
    edges = steps + 0.5
    shown = values[((steps[:-1] + steps[1:]) / 2).astype(int)]
    for part, colour in ((shown.clip(min=0), _WIN), (shown.clip(max=0), _LOSS)):
        axes.stairs(part, edges, baseline=0.0, fill=True, color=colour, linewidth=0, label=" ")
    axes.axhline(0.0, color="#888888", linewidth=0.8)
    axes.set_xlim(edges[0], edges[-1])
    axes.grid(axis="y")
    # As much above as below: gains and losses are seen at one scale, around the middle.
    highest = 1.08 * float(np.abs(values).max()) or 1.0
    axes.set_ylim(-highest, highest)
    if len(values) < 20:
        axes.set_xticks(np.arange(1, len(values) + 1))


def _draw_point(axes: Axes, point: Point, i: int) -> None:
    colour, marker = _colour(i), _MARKERS[i % len(_MARKERS)]
    if np.isfinite(point.interval).all():
        axes.plot([point.milliseconds] * 2, point.interval, color=colour, linewidth=1.4, marker="_")
    axes.plot([point.milliseconds], [point.quality], color=colour, marker=marker, markersize=7)


def _colour(i: int) -> str:
    return _COLOURS[i % len(_COLOURS)]


def _frame_time(axes: Axes, points: Sequence[Point]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    times = [point.milliseconds for point in points]
    # Room at both sides for labels, and two ticks with numbers at least.
    # Room for a label beside the last point.
    axes.set_xlim(min(times) / 3, max(times) * 3 * (max(times) / min(times)) ** 0.2)
    axes.margins(y=0.15)
    narrow = max(times) / min(times) < 30
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(which="major")


def _place_labels(
    figure: Figure, axes: Axes, points: Sequence[Point], drawn: Sequence[Point]
) -> None:
    """Put each label where it covers no point, no interval and no other label, if there is room."""
    # The sizes of texts are known once everything else has its place.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    inside = axes.get_window_extent()
    taken = [box for point in drawn for box in _covered(axes, point)]
    for i, point in enumerate(points):
        choices = [_label(axes, point, place) for place in _PLACES]
        boxes = [choice.get_window_extent() for choice in choices]
        best = int(np.argmin([_cost(box, taken, inside) for box in boxes]))
        for choice in choices:
            choice.remove()
        _label(axes, point, _PLACES[best], _colour(i) if best >= _NEAR else None)
        taken.append(boxes[best])


def _label(
    axes: Axes, point: Point, place: tuple[int, int, str, str], line: str | None = None
) -> Annotation:
    """A label, with a line of that colour to its point where there is one."""
    dx, dy, horizontal, vertical = place
    return axes.annotate(
        point.label,
        (point.milliseconds, point.quality),
        xytext=(dx, dy),
        textcoords="offset points",
        ha=horizontal,
        va=vertical,
        arrowprops=None if line is None else {"arrowstyle": "-", "color": line, "shrinkA": 0},
        parse_math=False,
        fontsize=9.5,
        color="#222222",
    )


def _covered(axes: Axes, point: Point) -> list[Bbox]:
    """What a point and its interval take up, in pixels."""
    from matplotlib.transforms import Bbox

    low, high = (
        point.interval if np.isfinite(point.interval).all() else (point.quality, point.quality)
    )
    (x, y), (_, y_low), (_, y_high) = axes.transData.transform(
        [(point.milliseconds, value) for value in (point.quality, low, high)]
    )
    return [
        Bbox.from_extents(x - 6, y - 6, x + 6, y + 6),
        Bbox.from_extents(x - 4, y_low, x + 4, y_high),
    ]


def _cost(box: Bbox, taken: Sequence[Bbox], inside: Bbox) -> float:
    """Pixels of a label that lie on something else or outside of the axes."""
    from matplotlib.transforms import Bbox

    def common(other: Bbox) -> float:
        both = Bbox.intersection(box, other)
        return 0.0 if both is None else float(both.width * both.height)

    area = float(box.width * box.height)
    return sum(common(other) for other in taken) + 2 * (area - common(inside))


def check_format(path: str | os.PathLike[str]) -> str:
    """The ending of a plot's path: ".png", ".svg" or ".pdf".

    Raises:
        InputError: it is another.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise InputError(
            f"cannot draw {Path(path).name}: the ending must be one of {', '.join(_FORMATS)}"
        )
    return suffix


def check_installed() -> None:
    """Say early what drawing would say late.

    Raises:
        MissingDependencyError: Matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise _missing()


def _missing() -> MissingDependencyError:
    return MissingDependencyError("plots need Matplotlib: pip install 'gingham[eval]'")


def _write(method: Any, *args: Any, **options: Any) -> None:
    """Set a text that somebody else chose: "$" is a dollar in it."""
    method(*args, parse_math=False, **options)


def _save(draw: Any, path: str | os.PathLike[str], size: tuple[float, float]) -> None:
    suffix = check_format(path)
    try:
        from matplotlib import style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise _missing() from error
    # From Matplotlib's defaults: the reader's own settings would give other bytes.
    with style.context(["default", _STYLE]), replacing(path) as draft:
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        figure.savefig(draft, format=suffix[1:], metadata=_DATES[suffix])
