"""`gingham train`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gingham.cli.main import app
from gingham.cli.train import duration, remark_of
from gingham.training import Fitted, TrainingProgress, write_training_set
from training.toys import toy_set

PROGRESS = TrainingProgress(3, 80, 1.5, 2.0, 5400.0, 0.5)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_training_set(toy_set(1200, 1), tmp_path / "toy")
    return tmp_path / "toy"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, ...]]:
    """What `fit` is called with; it says that it has trained."""
    made: list[tuple[Any, ...]] = []

    def fit(*arguments: Any, progress: Any, remark: Any, **options: Any) -> Fitted:
        made.append((*arguments, options))
        remark("a remark")
        progress(PROGRESS)
        curve = ((0, 0.4), (40, 0.6), (80, 0.5))
        losses = ("in-batch",)
        return Fitted(tmp_path / "out", 80, 61.0, 1.2, 40, curve, (), losses, 7, "cpu", ())

    monkeypatch.setattr("gingham.training.fit", fit, raising=False)
    return made


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_a_run(data: Path, tmp_path: Path, calls: list[tuple[Any, ...]]) -> None:
    result = invoke(
        data, "--output", tmp_path / "out", "--from", "some/bert", "--loss", "pairwise",
        "--dim", 24, "--lora", 8, "--bf16", "--set", "dropout=0.1", "--set", "attend=yes",
        "--set", "lora-alpha=none", "--patience", 2,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        f"{tmp_path / 'out'}: 80 steps in 61 s on cpu; nDCG@10 0.4000 → 0.6000 (step 40)\n"
    )
    assert "toy: " in result.stderr
    assert "held out: " in result.stderr
    assert "a remark" in result.stderr
    assert remark_of(PROGRESS) in result.stderr
    assert result.stderr.count("share a positive") == 0
    [(settings, sets, dev, _, _)] = calls
    assert (settings.backbone, settings.loss, settings.dim) == ("some/bert", "pairwise", 24)
    assert (settings.lora_rank, settings.bf16, settings.dropout) == (8, True, 0.1)
    assert (settings.attend, settings.lora_alpha, settings.hold_out) == (True, None, 0.02)
    assert 0 < len(dev.examples) < 60 < len(sets[0].examples)


def test_json(data: Path, tmp_path: Path, calls: list[tuple[Any, ...]]) -> None:
    result = invoke(data, "-o", tmp_path / "out", "--json", "--hold-out", 0)
    record = json.loads(result.stdout)
    assert record["output"] == str(tmp_path / "out")
    assert record["curve"][1] == [40, 0.6]
    assert calls[0][2] is None


def test_check(data: Path) -> None:
    result = invoke(data, "--check")
    assert result.exit_code == 0
    train, held = result.stdout.splitlines()
    assert train.startswith("toy: 1,")
    assert held.startswith("held out: 2")
    found = json.loads(invoke(data, "--check", "--json").stdout)
    assert [one["name"] for one in found] == ["toy", "held out"]


def test_a_dev_set(tmp_path: Path, data: Path, calls: list[tuple[Any, ...]]) -> None:
    write_training_set(toy_set(10, 2), tmp_path / "dev")
    arguments = (data, "--dev", tmp_path / "dev", "-o", tmp_path / "out")
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "--allow-shared-documents" in result.stderr
    assert invoke(*arguments, "--allow-shared-documents").exit_code == 0
    [(_, sets, dev, _, options)] = calls
    assert len(sets[0].examples) == 1200
    assert len(dev.examples) == 10
    assert "of other queries in training" in options["checked"][1][0]


def test_a_dev_folder_gives_its_dev_split(
    tmp_path: Path, data: Path, calls: list[tuple[Any, ...]]
) -> None:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "d", "text": "An answer."}\n')
    (folder / "queries.jsonl").write_text(
        "".join(f'{{"_id": "{id}", "text": "question {id}"}}\n' for id in "abcd")
    )
    for split, ids in (("test", "ab"), ("dev", "cd")):
        rows = "".join(f"{id}\td\t1\n" for id in ids)
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    assert invoke(data, "--dev", folder, "-o", tmp_path / "out").exit_code == 0
    assert [example.query_id for example in calls[0][2].examples] == ["c", "d"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name the folder where the model goes: --output"),
        (("-o", "x", "--dev", "y", "--hold-out", "0.1"), "choose one"),
        (("-o", "x", "--hold-out", "0", "--patience", "2"), "--patience needs something"),
        (("-o", "x", "--set", "dropot=1"), "--set takes NAME=VALUE, got 'dropot=1'; the names"),
        (("-o", "x", "--set", "dropout=much"), "--set dropout takes a number, got 'much'"),
        (("-o", "x", "--set", "attend=2"), "--set attend takes true or false, got '2'"),
        (("-o", "x", "--dim", "0"), "dim must be a whole number from 1 to 4,096, got 0"),
        (("-o", "x", "--split", "dev"), ""),
    ],
)
def test_what_cannot_be(data: Path, arguments: tuple[str, ...], message: str) -> None:
    result = invoke(data, *arguments, "--check") if not message else invoke(data, *arguments)
    assert result.exit_code == (2 if message else 0)
    assert message in result.stderr


def test_interrupted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt("stopped after step 12, which is kept; the same command goes on")

    monkeypatch.setattr("gingham.training.fit", fit, raising=False)
    result = invoke(data, "-o", "x")
    assert result.exit_code == 130
    assert result.stderr.endswith("step 12, which is kept; the same command goes on\n")


def test_durations() -> None:
    assert [duration(one) for one in (8, 600, 9000)] == ["8 s", "10 min", "2.5 h"]
