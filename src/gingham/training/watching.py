"""What looks on while the trainer works: progress, log files, checkpoints to make, when to stop.

Nothing here changes a weight. Whether to stop is read from the trainer's own log, which its
checkpoints keep, so that a run that was killed decides as one that was not.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from gingham.training.progress import Progress, TrainingProgress

MEASURE = "ndcg@10"
LOGGED = f"eval_dev_maxsim_{MEASURE}"
COLUMNS = ("step", "epoch", "loss", "learning_rate", "grad_norm", "dev_ndcg@10", "seconds")


def dev_curve(history: Iterable[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """(step, nDCG@10) of every measurement in a trainer's log."""
    return [(int(entry["step"]), float(entry[LOGGED])) for entry in history if LOGGED in entry]


def best_step(history: Iterable[Mapping[str, Any]]) -> int | None:
    """The first step with the highest nDCG@10; the model before training is not one."""
    curve = [(step, value) for step, value in dev_curve(history) if step > 0]
    return max(curve, key=lambda item: (item[1], -item[0]))[0] if curve else None


def out_of_patience(history: Iterable[Mapping[str, Any]], patience: int) -> bool:
    """Whether the last `patience` measurements were none better than one before them."""
    values = [value for step, value in dev_curve(history) if step > 0]
    return len(values) > patience and max(values[:-patience]) >= max(values[-patience:])


class Watcher(TrainerCallback):  # type: ignore[misc]
    """Tells of progress, writes the log, and says when to save, to measure and to stop."""

    def __init__(
        self,
        log_file: Path,
        *,
        patience: int | None,
        measures: bool,
        progress: Progress | None,
        stop_requested: Callable[[], bool],
        on_epoch: Callable[[int], None],
    ) -> None:
        self._log = _Log(log_file)
        self._patience = patience
        self._measures = measures
        self._progress = progress
        self._stop_requested = stop_requested
        self._on_epoch = on_epoch
        self._mark = time.monotonic()
        self._busy = 0.0
        self._done = 0
        self._loss: float | None = None
        self._dev: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take up the log of an interrupted run where its checkpoint ends."""
        self._mark = time.monotonic()
        curve = dev_curve(state.log_history)
        self._dev = curve[-1][1] if curve else None
        if state.is_world_process_zero:
            self._log.begin(state.log_history)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell the sampler, which a resumed run of several processes does not."""
        self._on_epoch(int(state.epoch or 0))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure at the end, stop when asked, tell of progress."""
        now = time.monotonic()
        self._busy, self._done, self._mark = self._busy + now - self._mark, self._done + 1, now
        if self._measures and state.global_step >= state.max_steps:
            control.should_evaluate = True
        if self._progress is not None and state.is_world_process_zero:
            self._progress(self._now(state))
        if self._stop_requested():
            control.should_save = True
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The time that a checkpoint took is no step's."""
        self._mark = time.monotonic()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Keep what the log file has columns for."""
        if logs is None or not state.is_world_process_zero:
            return
        self._loss = logs.get("loss", self._loss)
        self._log.add({**logs, "step": state.global_step})

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep what was measured as a checkpoint, and stop where it no longer gets better."""
        self._mark = time.monotonic()
        curve = dev_curve(state.log_history)
        self._dev = curve[-1][1] if curve else None
        if state.global_step == 0:
            return
        control.should_save = True
        if self._patience is not None and out_of_patience(state.log_history, self._patience):
            control.should_training_stop = True

    def _now(self, state: Any) -> TrainingProgress:
        rate = self._done / max(self._busy, 1e-9)
        left = (state.max_steps - state.global_step) / rate
        return TrainingProgress(
            state.global_step, state.max_steps, self._loss, rate, left, self._dev
        )


class _Log:
    """log.csv: a line a logged step, one reader's glance."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started = time.monotonic()

    def begin(self, history: Iterable[Mapping[str, Any]]) -> None:
        with self._path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(row for entry in history if (row := self._row(entry, None)))

    def add(self, entry: Mapping[str, Any]) -> None:
        if row := self._row(entry, time.monotonic() - self._started):
            with self._path.open("a", encoding="utf-8", newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerow(row)

    @staticmethod
    def _row(entry: Mapping[str, Any], seconds: float | None) -> list[str] | None:
        if "loss" not in entry and LOGGED not in entry:
            return None
        names = ("step", "epoch", "loss", "learning_rate", "grad_norm", LOGGED)
        cells = [_cell(entry.get(name)) for name in names]
        return [*cells, "" if seconds is None else f"{seconds:.1f}"]


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
