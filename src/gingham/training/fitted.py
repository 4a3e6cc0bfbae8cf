"""What a run came to: a value, and how run.json keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gingham.errors import InputError, shown


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a run came to.

    Attributes:
        output: the folder of the model.
        steps: updates made.
        seconds: of training, in the process that finished it; checks and export not counted.
        loss: the last that was logged; None where there was none.
        best_step: the checkpoint that was kept, by nDCG@10; None without a dev set: the last one.
        curve: (step, nDCG@10) of every measurement; step 0 is the model before training.
        rows: (table, rows) that were trained on.
        losses: kinds of loss, each once.
        parameters: numbers that were trained.
        device: where, in words.
        remarks: what a reader should know, a line each.
    """

    output: Path
    steps: int
    seconds: float
    loss: float | None
    best_step: int | None
    curve: tuple[tuple[int, float], ...]
    rows: tuple[tuple[str, int], ...]
    losses: tuple[str, ...]
    parameters: int
    device: str
    remarks: tuple[str, ...]


def as_json(result: Fitted) -> dict[str, Any]:
    """What run.json keeps of it."""
    return {name: value for name, value in asdict(result).items() if name != "output"}


def from_json(output: Path, value: dict[str, Any]) -> Fitted:
    """The other way round.

    Raises:
        InputError: it is not what `as_json` gives.
    """
    try:
        return Fitted(
            output,
            **{
                **value,
                "curve": tuple((int(step), float(score)) for step, score in value["curve"]),
                "rows": tuple((str(name), int(count)) for name, count in value["rows"]),
                "losses": tuple(value["losses"]),
                "remarks": tuple(value["remarks"]),
            },
        )
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"{shown(str(output))}: its record of a finished run cannot be read ({error}); name a "
            "new folder"
        ) from error
