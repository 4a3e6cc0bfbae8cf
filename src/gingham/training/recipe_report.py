"""What the rounds of a recipe came to: values, and the file that keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gingham.errors import InputError
from gingham.evaluation.atomic import replacing
from gingham.training.measuring import Difference, Measured
from gingham.training.mining import MiningReport
from gingham.training.rescoring import Disagreement


@dataclass(frozen=True, slots=True)
class Round:
    """What one round came to.

    Attributes:
        number: 0 is the training on labels.
        mining: of all sets, in their order; empty for round 0.
        disagreements: between teacher and labels, likewise; empty without a teacher.
        dev: nDCG@10 on the dev set; None without one.
        change: of that against round 0; None for round 0 or without a dev set.
    """

    number: int
    mining: tuple[MiningReport, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    dev: Measured | None = None
    change: Difference | None = None


@dataclass(frozen=True, slots=True)
class RecipeReport:
    """What all rounds came to.

    Attributes:
        output: the folder of the model.
        rounds: in order.
        chosen: the number of the round whose model is in `output`: that with the highest dev
            nDCG@10, the last without a dev set.
    """

    output: Path
    rounds: tuple[Round, ...]
    chosen: int


def as_record(report: RecipeReport) -> dict[str, Any]:
    """As JSON has it, without the folder, which may be moved."""
    return {"rounds": [asdict(one) for one in report.rounds], "chosen": report.chosen}


def write_report(path: Path, report: RecipeReport) -> None:
    """Replace the file in one step.

    Raises:
        InputError: it cannot be written.
    """
    with replacing(path) as draft:
        draft.write_text(json.dumps(as_record(report), indent=1) + "\n", encoding="utf-8")


def read_report(path: Path, output: Path) -> RecipeReport:
    """What `write_report` wrote.

    Raises:
        InputError: it cannot be read.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        rounds = tuple(_round(one) for one in record["rounds"])
        return RecipeReport(output, rounds, int(record["chosen"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: the report of the finished rounds cannot be read ({error}): delete it, and "
            "run again"
        ) from error


def write_mining_report(path: Path, report: MiningReport) -> None:
    """Replace the file in one step.

    Raises:
        InputError: it cannot be written.
    """
    with replacing(path) as draft:
        draft.write_text(json.dumps(asdict(report)) + "\n", encoding="utf-8")


def read_mining_report(path: Path) -> MiningReport:
    """What `write_mining_report` wrote.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return MiningReport(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}): delete its folder, and run again"
        ) from error


def _round(record: Mapping[str, Any]) -> Round:
    dev, change = record["dev"], record["change"]
    return Round(
        record["number"],
        tuple(MiningReport(**one) for one in record["mining"]),
        tuple(Disagreement(**one) for one in record["disagreements"]),
        None if dev is None else Measured(**{**dev, "interval": _pair(dev["interval"])}),
        None
        if change is None
        else Difference(
            change["mean"], (change["interval"][0], change["interval"][1]), change["p"]
        ),
    )


def _pair(value: Any) -> tuple[float, float] | None:
    return None if value is None else (value[0], value[1])
