"""The rounds of the recipe: what they leave, and that they may be killed anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import gingham
from encoder.conftest import Build
from gingham.errors import InputError
from gingham.training.examples import read_training_set
from gingham.training.mining import MiningSettings
from gingham.training.recipe import RecipeSettings, run_recipe
from gingham.training.recipe_report import read_report
from gingham.training.settings import TrainingSettings
from gingham.training.teachers import parse_teacher

from .killed_recipe import a_set, rounds

SCRIPT = Path(__file__).with_name("killed_recipe.py")


def run(*arguments: str | Path | int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def results(output: Path) -> dict[str, bytes]:
    """What the rounds leave that must not depend on kills: the sets, the report, the model."""
    kept = [*output.glob("training/round-*/set-*/*/examples.jsonl")]
    kept += [output / "training" / "rounds.json", output / "config.json"]
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in kept}


@pytest.fixture(scope="module")
def model(build: Build) -> Path:
    return build()


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "output"
    rounds(model, output)
    return output


def test_the_rounds_leave_sets_a_model_and_a_report(whole: Path, model: Path) -> None:
    report = rounds(model, whole)  # all is done: it is read
    assert report == read_report(whole / "training" / "rounds.json", whole)
    assert [one.number for one in report.rounds] == [0, 1, 2]
    assert report.rounds[0].mining == ()
    assert report.rounds[0].change is None
    for one in report.rounds:
        assert one.dev is not None
        assert one.dev.queries == 6
    for one in report.rounds[1:]:
        # The same model thrice: no round differs.
        assert one.change is not None
        assert (one.change.mean, one.change.verdict) == (0, "within noise")
        assert [mined.examples for mined in one.mining] == [9, 9]
        assert [found.examples for found in one.disagreements] == [9, 9]
    assert report.chosen == 0
    scored = read_training_set(whole / "training" / "round-2" / "set-1" / "scored")
    for example in scored.examples:
        assert len(example.negatives) == 4
        assert example.scores is not None
        assert example.scores[0] == 4.0  # the query's four words are the positive's
    assert gingham.Encoder(whole, threads=1).dim == 16
    assert not [*whole.rglob("*.partial")]
    assert not [*whole.glob("training/round-*/set-*/mining")]


def test_killed_again_and_again_it_ends_the_same(whole: Path, model: Path, tmp_path: Path) -> None:
    output, killed = tmp_path / "output", 0
    for dies_at in (1, 2, 4, 6, 8, 10, 11, 13, 16, 20, 25, 32, 50, 100):
        ended = run(model, output, dies_at)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        killed += 1
    assert killed >= 8
    assert results(output) == results(whole)


def test_killed_at_any_time_it_ends_the_same(whole: Path, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for seconds in (1.1, 1.7):
        child = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(model), str(output), "0"], env=environment
        )
        time.sleep(seconds)
        child.kill()
        child.wait()
    assert run(model, output, 0).returncode == 0
    assert results(output) == results(whole)


def test_two_processes_do_not_share_a_folder(model: Path, tmp_path: Path) -> None:
    from gingham.training.steps import alone

    with alone(tmp_path / "output" / "training"):
        ended = run(model, tmp_path / "output", 0)
    assert ended.returncode != 0
    assert "another gingham train is at work there" in ended.stderr


def test_another_command_does_not_go_on(whole: Path, model: Path) -> None:
    def none(*_: object, **__: object) -> None:
        raise AssertionError("nothing should be trained")

    settings = TrainingSettings(backbone=str(model), threads=1)
    mining = MiningSettings(ranks=(1, 30), per_query=4, margin=None)
    sets, dev = [a_set("one", 1), a_set("two", 2)], a_set("dev", 3, queries=6)
    for changed, recipe, message in (
        (settings, RecipeSettings(rounds=3, mining=mining), r"another rounds \(2, now 3\)"),
        (
            settings,
            RecipeSettings(rounds=2, mining=replace(mining, seed=1)),
            r"another mining_seed \(0, now 1\)",
        ),
        (
            replace(settings, learning_rate=1e-4),
            RecipeSettings(rounds=2, mining=mining),
            "another learning_rate",
        ),
    ):
        with pytest.raises(InputError, match=message):
            run_recipe(changed, recipe, sets, dev, whole, teacher=lambda _: None, train=none)  # type: ignore[arg-type,return-value]


def test_a_teacher_without_a_round_has_nothing_to_score() -> None:
    with pytest.raises(InputError, match="at least one round"):
        RecipeSettings(rounds=0, teachers=(parse_teacher("bm25"),))
    with pytest.raises(InputError, match="counted from 0"):
        RecipeSettings(rounds=-1)


def test_each_round_starts_where_it_is_told(model: Path, tmp_path: Path) -> None:
    import shutil

    seen: list[tuple[str, str, bool]] = []

    def train(
        settings: TrainingSettings,
        sets: Sequence[object],
        dev: object,
        draft: Path,
        **options: object,
    ) -> None:
        first = sets[0].examples[0]  # type: ignore[attr-defined]
        seen.append((settings.backbone, settings.loss, first.scores is not None))
        options["remark"]("a remark")  # type: ignore[operator]
        shutil.copytree(model, draft, dirs_exist_ok=True)

    mining = MiningSettings(ranks=(1, 30), per_query=4, margin=None)
    for name, restart, teachers, loss in (
        ("follow", False, "bm25", "auto"),
        ("restart", True, "bm25", "distil"),
        ("labels", False, "", "in-batch"),
    ):
        output = tmp_path / name
        recipe = RecipeSettings(1, (parse_teacher(teachers),) if teachers else (), mining, restart)
        settings = TrainingSettings(backbone=str(model), loss=loss, threads=1)  # type: ignore[arg-type]
        told: list[str] = []
        report = run_recipe(
            settings,
            recipe,
            [a_set("one", 1)],
            None,
            output,
            train=train,  # type: ignore[arg-type]
            remark=told.append,
        )
        assert told == ["round 0: a remark", "round 1: a remark"]
        assert report.chosen == 1
        assert report.rounds[1].dev is None
    last = str(tmp_path / "follow" / "training" / "round-0" / "model")
    assert seen[:2] == [(str(model), "auto", False), (last, "auto", True)]
    assert seen[2:4] == [(str(model), "auto", False), (str(model), "distil", True)]
    assert seen[4][1:] == ("in-batch", False)
    assert seen[5][1:] == ("in-batch", False)
