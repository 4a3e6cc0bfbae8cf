"""Where a training run is: a value, and who is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a run is.

    Attributes:
        step: updates made.
        steps: updates in all.
        loss: the mean of the last few steps; None before there is one.
        steps_per_second: of this process so far, measurements and checkpoints not counted.
        seconds_left: at that speed; None where it is not known.
        dev: nDCG@10 on the dev set when it was last measured; None before.
    """

    step: int
    steps: int
    loss: float | None
    steps_per_second: float
    seconds_left: float | None
    dev: float | None


class Progress(Protocol):
    """Called after every step."""

    def __call__(self, now: TrainingProgress, /) -> None:
        """Show it, or not."""
        ...
