"""A run may be killed anywhere; what continues it must be the same run, and ends the same."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gingham.errors import InputError
from gingham.training import Example, TrainingProgress, TrainingSet
from training.toys import run, toy_set, toy_settings, weights

STEPS = 20
DATA, DEV = toy_set(80, 1), toy_set(10, 2)


@pytest.fixture(scope="module")
def uninterrupted(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "whole"
    fitted = run(toy_settings(backbone), [DATA], DEV, output)
    assert fitted.steps == STEPS
    return output


def test_what_a_run_leaves(uninterrupted: Path, backbone: Path) -> None:
    left = {path.name for path in (uninterrupted / "training").iterdir()}
    assert left == {"run.json", "log.csv"}
    with (uninterrupted / "training" / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    steps = [int(row["step"]) for row in rows if row["loss"]]
    assert steps == list(range(1, STEPS + 1))
    losses = [float(row["loss"]) for row in rows if row["loss"]]
    assert sum(losses[-5:]) < sum(losses[:5])
    measured = {int(row["step"]): float(row["dev_ndcg@10"]) for row in rows if row["dev_ndcg@10"]}
    assert list(measured) == [0, 7, 14, 20]
    again = run(toy_settings(backbone), [DATA], DEV, uninterrupted)  # finished: nothing to do
    assert dict(again.curve) == pytest.approx(measured, rel=1e-5)
    assert again.best_step in (7, 14, 20)
    assert dict(again.curve)[again.best_step] == max(dict(again.curve[1:]).values())


class Stopped(Exception):
    """Somebody pulled the plug."""


def stops_at(step: int, how: Callable[[], None]) -> Callable[[TrainingProgress], None]:
    def progress(now: TrainingProgress) -> None:
        if now.step == step:
            how()

    return progress


def pull_the_plug() -> None:
    raise Stopped


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_run_ends_the_same_wherever_it_was_stopped(
    backbone: Path, tmp_path: Path, uninterrupted: Path, accumulation: int
) -> None:
    """Stopped at ever later steps of one run, in both epochs, and before and after checkpoints."""
    settings = toy_settings(backbone, accumulation=accumulation, save_every=2, lora_rank=0)
    whole = uninterrupted if accumulation == 1 else tmp_path / "whole"
    if accumulation == 1:
        settings = replace(settings, save_every=None)
    else:
        run(settings, [DATA], DEV, whole)
    stops = (1, 8, 12, 15, 20) if accumulation == 1 else (3, 6, 9)
    for step in stops:
        progress = stops_at(step, pull_the_plug)
        with pytest.raises(Stopped):
            run(settings, [DATA], DEV, tmp_path / "again", progress=progress)
    fitted = run(settings, [DATA], DEV, tmp_path / "again")
    assert weights(tmp_path / "again") == weights(whole)
    assert fitted.curve == run(settings, [DATA], DEV, whole).curve


CHILD = """
import json, os, signal, sys
from pathlib import Path
from training.toys import run, toy_set, toy_settings
from gingham.training import trainer

backbone, output, step, writes = sys.argv[1:]
kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
sync, count = trainer._sync, 0
def counting(path):
    global count
    count += 1
    sync(path)
    if count == int(writes):
        kill()
trainer._sync = counting
progress = lambda now: kill() if now.step == int(step) else None
run(toy_settings(Path(backbone)), [toy_set(80, 1)], toy_set(10, 2), output, progress=progress)
"""


def test_a_process_that_is_killed(backbone: Path, tmp_path: Path, uninterrupted: Path) -> None:
    """SIGKILL between steps, and while a checkpoint is being made final."""
    for step, writes in ((9, 0), (0, 3)):
        result = subprocess.run(
            [sys.executable, "-c", CHILD, backbone, tmp_path / "out", str(step), str(writes)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert result.returncode == -signal.SIGKILL, result.stderr
    checkpoints = tmp_path / "out" / "training" / "checkpoints"
    whole = {path.parent.name for path in checkpoints.glob("*/complete.json")}
    assert whole == {"checkpoint-7"}
    assert (checkpoints / "checkpoint-14").exists()  # begun, not whole
    run(toy_settings(backbone), [DATA], DEV, tmp_path / "out")
    assert weights(tmp_path / "out") == weights(uninterrupted)


def test_ctrl_c(backbone: Path, tmp_path: Path, uninterrupted: Path) -> None:
    progress = stops_at(11, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match="after step 11, which is kept; the same command"):
        run(toy_settings(backbone), [DATA], DEV, tmp_path / "out", progress=progress)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    seen: list[int] = []
    settings = toy_settings(backbone)
    run(settings, [DATA], DEV, tmp_path / "out", progress=lambda now: seen.append(now.step))
    assert seen[0] == 12
    assert weights(tmp_path / "out") == weights(uninterrupted)


def test_ctrl_c_stays_ignored_where_it_was(backbone: Path, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        progress = stops_at(2, lambda: os.kill(os.getpid(), signal.SIGINT))
        fitted = run(toy_settings(backbone), [DATA], DEV, tmp_path / "out", progress=progress)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert fitted.steps > 2


def test_a_second_ctrl_c_does_not_wait(backbone: Path, tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        run(toy_settings(backbone), [DATA], DEV, tmp_path / "out", progress=stops_at(3, twice))
    assert not str(caught.value)
    assert not list((tmp_path / "out").rglob("complete.json"))


def changed_text(training_set: TrainingSet) -> TrainingSet:
    texts = {**training_set.documents, "p3": "another text"}
    return TrainingSet(training_set.name, training_set.queries, texts, training_set.examples)


def test_another_run_does_not_continue_it(uninterrupted: Path, backbone: Path) -> None:
    settings = toy_settings(backbone)
    refused = [
        (replace(settings, seed=13), [DATA], DEV, "seed was 12, now 13"),
        (settings, [changed_text(DATA)], DEV, "the data 'toy' had 80 .*, with other contents"),
        (settings, [toy_set(72, 1)], DEV, "the data 'toy' had 80 examples, now 72"),
        (settings, [DATA, DATA], DEV, "there were 1 data sets, now 2"),
        (settings, [DATA], None, "there was a dev set, now there is the other"),
        (settings, [DATA], toy_set(9, 2), "the dev set 'toy' had 10 examples, now 9"),
    ]
    for other, sets, dev, message in refused:
        with pytest.raises(InputError, match=message):
            run(other, sets, dev, uninterrupted)


def test_a_folder_of_something_else_is_left_alone(backbone: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds files that no training run wrote"):
        run(toy_settings(backbone), [DATA], None, tmp_path)
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "run.json").write_text("[]")
    with pytest.raises(InputError, match="no record of a training run"):
        run(toy_settings(backbone), [DATA], None, tmp_path)


def test_patience(backbone: Path, tmp_path: Path) -> None:
    """Trained on questions with the wrong answers, a model gets worse, and stops early."""
    examples = tuple(
        Example(one.query_id, other.positives)
        for one, other in zip(DATA.examples, reversed(DATA.examples), strict=True)
    )
    wrong = TrainingSet("wrong", DATA.queries, DATA.documents, examples)
    settings = toy_settings(backbone, evaluate_every=2, patience=2, epochs=20, learning_rate=0.01)
    fitted = run(settings, [wrong], DEV, tmp_path / "out")
    values = [value for step, value in fitted.curve if step]
    assert fitted.steps < 200
    assert max(values[:-2]) >= max(values[-2:])
    assert fitted.best_step == 2 * (1 + values.index(max(values)))


def test_seeds(backbone: Path, tmp_path: Path) -> None:
    settings = toy_settings(backbone, steps=3)
    made = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(replace(settings, seed=seed), [DATA], None, tmp_path / name)
        made.append(weights(tmp_path / name)["model.safetensors"])
    assert made[0] == made[1] != made[2]


def test_tensorboard(backbone: Path, tmp_path: Path) -> None:
    run(toy_settings(backbone, steps=2, tensorboard=True), [DATA], DEV, tmp_path / "out")
    assert list((tmp_path / "out" / "training" / "tensorboard").glob("events.out.tfevents.*"))


def test_no_pickle_is_written_for_the_weights(backbone: Path, tmp_path: Path) -> None:
    """What a checkpoint holds, and that PyTorch reads its own files of it without running code."""
    progress = stops_at(9, pull_the_plug)
    with pytest.raises(Stopped):
        run(toy_settings(backbone), [DATA], DEV, tmp_path / "out", progress=progress)
    folder = tmp_path / "out" / "training" / "checkpoints" / "checkpoint-7"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "weights.safetensors",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "trainer_state.json",
        "complete.json",
    }
    assert json.loads((folder / "complete.json").read_text()) == {"step": 7}

    class Evil:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {tmp_path}/pwned",)

    import torch

    torch.save(Evil(), folder / "optimizer.pt")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        run(toy_settings(backbone), [DATA], DEV, tmp_path / "out")
    assert not (tmp_path / "pwned").exists()
