"""What is read from a trainer's log, and what a step is said to take."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gingham.training import TrainingProgress

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from gingham.training import watching


def history(*values: float) -> list[dict[str, Any]]:
    return [{"step": 5 * n, watching.LOGGED: value} for n, value in enumerate(values)]


def test_the_best_is_the_first_of_the_highest_and_not_the_start() -> None:
    assert watching.best_step(history(0.9, 0.3, 0.5, 0.5, 0.4)) == 10
    assert watching.best_step([{"step": 3, "loss": 1.0}]) is None
    assert watching.best_step(history(0.9)) is None


def test_patience_counts_what_was_no_better() -> None:
    assert not watching.out_of_patience(history(0.9, 0.5, 0.4), 2)
    assert watching.out_of_patience(history(0.0, 0.5, 0.4, 0.5), 2)
    assert not watching.out_of_patience(history(0.0, 0.5, 0.4, 0.6), 2)
    assert watching.out_of_patience(history(0.0, 0.5, 0.6, 0.5, 0.5), 2)


def test_measuring_is_not_counted_as_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    seen: list[TrainingProgress] = []
    watcher = watching.Watcher(
        tmp_path / "log.csv",
        patience=None,
        measures=True,
        progress=seen.append,
        stop_requested=lambda: False,
        on_epoch=lambda epoch: None,
    )
    state = SimpleNamespace(
        global_step=0, max_steps=10, log_history=history(0.25), is_world_process_zero=True
    )
    control = SimpleNamespace(should_save=False, should_evaluate=False, should_training_stop=False)
    watcher.on_train_begin(None, state, control)
    clock[0] += 60
    watcher.on_evaluate(None, state, control)
    assert not control.should_save
    for _ in range(2):
        clock[0] += 2
        state.global_step += 1
        watcher.on_step_end(None, state, control)
        clock[0] += 30
        watcher.on_evaluate(None, state, control)
        watcher.on_save(None, state, control)
    assert control.should_save
    assert [now.steps_per_second for now in seen] == [0.5, 0.5]
    assert seen[-1].seconds_left == 16.0
    assert seen[-1].dev == 0.25
    state.global_step = 10
    watcher.on_step_end(None, state, control)
    assert control.should_evaluate
