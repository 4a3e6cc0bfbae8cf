"""`gingham audit`: what the compressed search gives up, and what giving up less would cost."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gingham.cli import console
from gingham.cli.options import CollectionPath, Json, Model, Threads

if TYPE_CHECKING:
    from gingham.audit.values import Audit, AuditTarget, Interval, ScoreError
    from gingham.search.parameters import SearchParameters

EXAMPLES = (
    "gingham audit docs.gingham",
    "gingham audit docs.gingham queries.txt --plot recall.svg",
    "gingham audit docs.gingham queries.jsonl --target 0.97 --save",
)

# What the first line of a file with ids begins with; other files have one query a line.
_RECORDS = ("{", "<top", "<?xml")
_SUFFIXES = (".jsonl", ".ndjson", ".tsv")


def audit(
    collection: CollectionPath,
    queries: Annotated[
        Path | None,
        typer.Argument(
            metavar="QUERIES",
            help="A file with one query a line, or JSON lines as in BEIR, a TSV of ids and "
            "queries, or TREC topics. Without it queries are made from stored passages; recall "
            "depends on the queries, so real ones say more.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--hits", "--k", help="How many hits recall is of.")] = 10,
    target: Annotated[
        float | None,
        typer.Option(metavar="RECALL", help="Find the fastest parameters that reach this recall."),
    ] = None,
    save: Annotated[
        bool,
        typer.Option(
            "--save", help="Let later searches use what reaches the target, if anything does."
        ),
    ] = False,
    sample: Annotated[
        int, typer.Option(metavar="N", help="At most so many queries, drawn at random.")
    ] = 200,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw recall against time (.png, .svg, .pdf)."),
    ] = None,
    model: Model = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure what compressed search misses, and find settings that miss less.

    Recall is the share that a search finds of the k best passages, those of exhaustive scoring of
    the same stored vectors; with 95 % intervals over the queries. Times are those of one thread,
    for queries that are encoded. The score error is against vectors that were never compressed: the
    passages of some hits are encoded again. What reaches a target is chosen on half of the queries
    and judged on the others.

    With --json one object: collection, k, queries, made_from, seed, clustered, parameters, are_own,
    recall, interval, p50, p95, score_error, points, target.
    """
    import gingham

    if plot is not None:
        _check_plot(plot)
    texts = None if queries is None else _read(queries)
    if save:
        gingham.open(collection, read_only=True).close()  # what is not there is not made
    with (
        gingham.open(collection, model, threads=threads, read_only=not save) as opened,
        console.Steps() as steps,
    ):
        result = opened.audit(
            texts,
            k,
            target,
            sample=sample,
            seed=seed,
            save=save,
            progress=lambda now: steps(
                now.stage, now.done, now.total, f"{now.done:,} of {now.total:,}"
            ),
        )
    if json:
        console.write_json({"collection": collection, **asdict(result)})
    else:
        _write(collection, result)
    if plot is not None:
        _draw(collection, result, plot)


def _check_plot(path: Path) -> None:
    from gingham.errors import InputError
    from gingham.evaluation import plots

    plots.check_format(path)
    plots.check_installed()
    if not path.parent.is_dir() or path.is_dir():
        raise InputError(f"cannot write {path}: name a file in a folder that exists")


def _read(path: Path) -> list[str]:
    from gingham.errors import SourceError
    from gingham.evaluation.numbered_lines import numbered_lines, shown
    from gingham.evaluation.query_files import read_queries

    texts = [line.strip() for _, line in numbered_lines(path)]
    has_ids = path.suffix.lower() in _SUFFIXES
    if texts and (has_ids or texts[0].lower().startswith(_RECORDS) or "\t" in texts[0]):
        texts = [text for text in read_queries(path).values() if text.strip()]
    if not texts:
        raise SourceError(f"{shown(path)}: there is no query in it; one a line is expected")
    return texts


def _write(collection: str, audit: Audit) -> None:
    name = f"recall@{audit.k}"
    if audit.made_from is None:
        asked = "given"
    else:
        asked = f"made from {audit.made_from}; a file of real ones says more"
    shown = {
        name: f"{audit.recall:.4f}{_interval(audit.interval)}",
        "time": f"{audit.p50:.2f} ms median, {audit.p95:.2f} ms for 95 % of the queries; "
        "one thread, without encoding",
        "score error": _score_error(audit.score_error),
        "queries": f"{console.number(audit.queries)}, {asked}",
    }
    if audit.parameters is None:
        why = "is so small" if audit.clustered else "is not compressed"
        console.write(
            f"{collection} {why}: every search scores every passage, so recall is 1 by "
            "construction and there is no curve"
        )
        del shown[name]
    else:
        whose = "the collection's own" if audit.are_own else "the defaults"
        shown["parameters"] = f"{_parameters(audit.parameters)}; {whose}"
        if audit.clustered < 1:
            shown["compressed"] = f"{audit.clustered:.1%} of the token vectors"
    console.write_table(shown)
    if audit.points:
        console.write()
        _write_curve(audit, name)
    if audit.target is not None:
        console.write()
        _write_target(audit, audit.target)


def _write_curve(audit: Audit, name: str) -> None:
    sizes = asdict(audit.points[0].parameters)
    rows: list[tuple[str, ...]] = [("", *sizes, name, "95 % interval", "p50 ms", "p95 ms")]
    for point in audit.points:
        rows.append(
            (
                f"{'*' if point.on_front else ' '} {point.label}",
                *(console.setting(value) for value in asdict(point.parameters).values()),
                f"{point.recall:.4f}",
                "" if point.interval is None else "{:.4f} to {:.4f}".format(*point.interval),
                f"{point.p50:.2f}",
                f"{point.p95:.2f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        console.write("  ".join([f"{first:<{widths[0]}}", *cells]))
    console.write("* nothing that was measured finds as much in less time")


def _write_target(audit: Audit, target: AuditTarget) -> None:
    if target.parameters is None:
        console.write(f"target {target.recall:g}: reached, as any is; there is nothing to save")
        return
    half = audit.queries // 2
    found = "reached with" if target.reached else "not reached; the best is"
    lines = [
        f"target {target.recall:g}: {found} {_parameters(target.parameters)}, {target.p50:.2f} ms",
        f"recall {target.chosen_on:.4f} on the {half:,} queries that chose, {target.held_out:.4f}"
        f"{_interval(target.interval)} on the {audit.queries - half:,} held out",
    ]
    if target.passed_over:
        lines.append(
            f"{console.plural(target.passed_over, 'faster setting')} reached it on the queries "
            "that chose, not on those held out"
        )
    if target.reached and (target.interval is None or target.interval[0] < target.recall):
        lines.append("the interval reaches below the target: more queries would say more")
    if target.saved:
        lines.append("saved: searches use these parameters from now on")
    elif target.reached:
        lines.append("--save lets later searches use these parameters")
    console.write("\n  ".join(lines))


def _parameters(parameters: SearchParameters) -> str:
    return ", ".join(
        f"{name} {console.setting(value)}" for name, value in asdict(parameters).items()
    )


def _interval(interval: Interval | None, form: str = ".4f") -> str:
    return "" if interval is None else f" ({interval[0]:{form}} to {interval[1]:{form}})"


def _score_error(error: ScoreError | None) -> str:
    if error is None:
        return "not known: it takes stored texts and the model that encoded them"
    return (
        f"{error.mean:+.3f}{_interval(error.interval, '+.3f')}, without sign {error.absolute:.3f}"
        f"{_interval(error.absolute_interval, '.3f')}, of {error.score:.2f}; "
        f"{console.plural(error.hits, 'hit')} encoded again"
    )


def _draw(collection: str, audit: Audit, path: Path) -> None:
    from gingham.evaluation import plots

    if not audit.points:
        console.note(f"{path} is not drawn: there is no curve")
        return
    unknown = (math.nan, math.nan)
    points = [
        plots.Point(
            "" if point.label in ("current", "between") else point.label,
            point.p50,
            point.recall,
            point.interval or unknown,
        )
        for point in audit.points
    ]
    plots.curve(
        points,
        path,
        front=[i for i, point in enumerate(audit.points) if point.on_front],
        current=next(i for i, point in enumerate(audit.points) if point.label == "current"),
        measure=f"recall@{audit.k}",
        title=Path(collection).name,
    )
    console.note(f"wrote {path}")
