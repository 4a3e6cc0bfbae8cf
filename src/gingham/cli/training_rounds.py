"""The options of `gingham train` for rounds, teachers and adapting; and what they print.

`train` has the options and calls what is here: `recipe_settings`, then `train_in_rounds` or
`adapt`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gingham.cli import console

if TYPE_CHECKING:
    from gingham.training.adapting import Adapted
    from gingham.training.examples import TrainingSet
    from gingham.training.recipe import RecipeSettings
    from gingham.training.recipe_report import RecipeReport, Round
    from gingham.training.settings import TrainingSettings

EXAMPLES = (
    "gingham train ./questions --output model --rounds 2 --teacher cross:my-reranker",
    "gingham train ./questions --output model --rounds 1 --teacher dense:my-embedder "
    "--teacher bm25=0.5",
    "gingham train --adapt docs.gingham --output model",
)

Adapt = Annotated[
    str | None,
    typer.Option(
        metavar="COLLECTION",
        help="Adapt this collection's model to its texts, without labels; before and after are "
        "compared on documents held out.",
    ),
]
Rounds = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Then N rounds of: index, mine hard negatives, let the teacher score them, train on "
        "the scores.",
    ),
]
Teachers = Annotated[
    list[str] | None,
    typer.Option(
        "--teacher",
        metavar="NAME",
        help="What scores the mined lists: cross:MODEL, dense:MODEL, colbert:MODEL or bm25; "
        "several for an ensemble, with weights such as bm25=0.5.",
    ),
]
Ranks = Annotated[str, typer.Option(metavar="A-B", help="The ranks that negatives are drawn from.")]
Mined = Annotated[
    int, typer.Option("--mined", min=1, metavar="N", help="Negatives drawn for an example.")
]
Margin = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SHARE",
        help="Leave out hits above this share of the positive's score, which may be right; 0 "
        "leaves none out.",
    ),
]
MarginPoints = Annotated[
    float | None,
    typer.Option(min=0, metavar="POINTS", help="The same as a distance from it, in points."),
]
Restart = Annotated[
    bool,
    typer.Option("--restart", help="Train each round from the backbone, not from the last round."),
]

RANKS, MINED, MARGIN = "10-100", 8, 0.95


def recipe_settings(
    rounds: int | None,
    teachers: Sequence[str] | None,
    ranks: str,
    mined: int,
    margin: float,
    margin_points: float | None,
    restart: bool,
    seed: int,
) -> RecipeSettings | None:
    """What the options say; None where neither rounds nor a teacher are asked for.

    Raises:
        InputError: an option is out of its range, or a teacher is misnamed.
    """
    from gingham.errors import InputError
    from gingham.training.mining import MiningSettings
    from gingham.training.recipe import RecipeSettings
    from gingham.training.teachers import parse_teacher

    specs = tuple(parse_teacher(text) for text in teachers or ())
    found = re.fullmatch(r"\s*(\d{1,9})\s*-\s*(\d{1,9})\s*", ranks, re.ASCII)
    if found is None:
        raise InputError(f"--ranks {ranks!r}: expected the first and the last rank, as in 10-100")
    mining = MiningSettings(
        ranks=(int(found[1]), int(found[2])),
        per_query=mined,
        margin=None if margin_points is not None or margin == 0 else margin,
        margin_points=margin_points,
        seed=seed,
    )
    if rounds is None and not specs:
        return None
    return RecipeSettings(1 if rounds is None else rounds, specs, mining, restart)


def check_adapting(
    data: Sequence[str] | None, dev: str | None, hold_out: float | None, check: bool
) -> None:
    """Refuse what --adapt does itself.

    Raises:
        InputError: it is asked for too.
    """
    from gingham.errors import InputError

    given = {"DATA": data, "--dev": dev, "--hold-out": hold_out, "--check": check or None}
    for name, value in given.items():
        if value:
            raise InputError(
                f"--adapt makes pairs of the collection and holds some out itself: leave out {name}"
            )


def train_in_rounds(
    settings: TrainingSettings,
    recipe: RecipeSettings,
    sets: Sequence[TrainingSet],
    dev: TrainingSet | None,
    output: str | os.PathLike[str],
    *,
    json: bool,
) -> None:
    """Run the rounds and print what they came to."""
    from gingham.training.recipe import run_recipe
    from gingham.training.recipe_report import as_record

    with console.Steps() as steps:
        report = run_recipe(
            settings,
            recipe,
            sets,
            dev,
            output,
            progress=lambda step: steps(step.what, step.done, step.total, step.remark),
            remark=lambda line: _note(steps, line),
        )
    if json:
        console.write_json({"output": os.fspath(output), **as_record(report)})
        return
    write_rounds(report)


def adapt(
    collection: str,
    settings: TrainingSettings,
    recipe: RecipeSettings | None,
    output: str | os.PathLike[str],
    *,
    base: str | None,
    json: bool,
) -> None:
    """Adapt, and print before and after."""
    from gingham.training.adapting import adapt as run

    with console.Steps() as steps:
        adapted = run(
            collection,
            output,
            settings,
            recipe=recipe,
            base=base,
            progress=lambda step: steps(step.what, step.done, step.total, step.remark),
            remark=lambda line: _note(steps, line),
        )
    if json:
        console.write_json(_adapted_record(adapted))
        return
    _write_adapted(adapted)


def _note(steps: console.Steps, line: str) -> None:
    steps.end()
    console.note(line)


def write_rounds(report: RecipeReport) -> None:
    """The table of the rounds."""
    head = ("round", "negatives", "too close", "dev nDCG@10", "change", "inverted")
    _table([head, *(_row(one) for one in report.rounds)])
    if any(one.disagreements for one in report.rounds):
        console.write(
            "inverted: examples in which the teacher scores a positive below a mined negative"
        )
    how = "the best on the dev set" if report.rounds[-1].dev is not None else "the last"
    console.write(f"{report.output}: the model of round {report.chosen}, {how}")


def _row(one: Round) -> tuple[str, ...]:
    inverted = ""
    if one.disagreements:
        examples = sum(found.examples for found in one.disagreements)
        share = sum(found.inverted for found in one.disagreements) / max(1, examples)
        inverted = f"{share:.1%}"
    mined = bool(one.mining)
    return (
        str(one.number),
        console.number(sum(report.negatives for report in one.mining)) if mined else "",
        console.number(sum(report.above_margin for report in one.mining)) if mined else "",
        "" if one.dev is None else str(one.dev),
        "" if one.change is None else str(one.change),
        inverted,
    )


def _write_adapted(adapted: Adapted) -> None:
    console.write_table(
        {
            "trained on": _kinds(adapted.pairs),
            "held out": _kinds(adapted.held_out),
            "model before": adapted.base,
        }
    )
    console.write()
    kinds = list(adapted.kinds)
    rows: list[tuple[str, ...]] = [("", "nDCG@10 on held-out pairs", *kinds)]
    for name, value in adapted.systems.items():
        means = (f"{adapted.kinds[kind][name]:.4f}" for kind in kinds)
        rows.append((name, str(value), *means))
    _table(rows)
    console.write(f"after against BM25: {adapted.over_words}")
    console.write()
    console.write(adapted.verdict)
    console.write(
        "held-out pairs are made as the training pairs are: real questions are another matter, and "
        "gingham evaluate measures those"
    )


def _kinds(counts: dict[str, int]) -> str:
    parts = ", ".join(f"{console.number(count)} {kind}" for kind, count in counts.items())
    return f"{console.plural(sum(counts.values()), 'pair')}: {parts}"


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        console.write("  ".join(cells).rstrip())


def _adapted_record(adapted: Adapted) -> dict[str, Any]:
    from gingham.training.recipe_report import as_record

    return {
        "output": os.fspath(adapted.output),
        "base": adapted.base,
        "recommended": adapted.recommended,
        "verdict": adapted.change.verdict,
        "pairs": adapted.pairs,
        "held_out": adapted.held_out,
        "systems": {name: asdict(value) for name, value in adapted.systems.items()},
        "kinds": adapted.kinds,
        "change": asdict(adapted.change),
        "over_words": asdict(adapted.over_words),
        **as_record(adapted.rounds),
    }
