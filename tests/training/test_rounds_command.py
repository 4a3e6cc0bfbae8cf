"""`gingham train --rounds` and `--adapt`: the commands, with trainings of a tiny model."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import gingham
from encoder.conftest import Build
from gingham.cli.main import app

from .toys import WORDS, toy_set

TINY = ("--set", "dim=16", "--query-length", "12", "--document-length", "24", "--device", "cpu")
QUICK = (*TINY, "--threads", "1", "--batch-size", "8", "--steps", "4")


def invoke(*arguments: object) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CliRunner().invoke(app, ["train", *map(str, arguments)])


def done(result: Any) -> str:
    assert result.exit_code == 0, (result.output, result.stderr, result.exception)
    return str(result.stdout)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    toys = toy_set(40, 1)
    lines = (
        {"query": toys.queries[e.query_id], "positive": toys.documents[e.positives[0]]}
        for e in toys.examples
    )
    path = tmp_path / "train.jsonl"  # a name that modules of PyTorch have taken
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_rounds_with_a_teacher(
    data: Path,
    backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "model"
    command = (data, "--from", backbone, "-o", output, *QUICK, "--hold-out", "0.2")
    mining = ("--ranks", "1-20", "--mined", "3", "--margin", "0")
    printed = done(invoke(*command, *mining, "--teacher", "bm25"))
    lines = printed.splitlines()
    head = "round negatives too close dev nDCG@10 change inverted"
    assert " ".join(lines[0].split()) == head
    assert [line.split()[0] for line in lines[1:3]] == ["0", "1"]
    assert lines[2].rstrip().endswith("%")
    assert lines[-1].startswith(f"{output}: the model of round ")
    assert gingham.Encoder(output, threads=1).dim == 16
    card = (output / "README.md").read_text()
    assert "\n# model\n" in card  # named as the output is
    # What the card says of gingham works.
    monkeypatch.chdir(tmp_path)
    code = card.split("```python\n")[1].split("```")[0].replace("THIS FOLDER", str(output))
    exec(compile(code, "README.md", "exec"), {})
    assert "The moon pulls" in capsys.readouterr().out
    # Once more it only reads what it came to.
    record = json.loads(
        done(invoke(*command, *mining, "--rounds", "1", "--teacher", "bm25", "--json"))
    )
    assert [one["number"] for one in record["rounds"]] == [0, 1]
    assert record["rounds"][1]["mining"][0]["negatives"] > 0
    assert record["rounds"][1]["dev"]["queries"] == 8
    other = invoke(*command, *mining, "--rounds", "2", "--teacher", "bm25")
    assert other.exit_code == 2
    assert "begun with another rounds (1, now 2)" in other.stderr


def test_adapt(build: Build, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    texts = [
        f"{random.choice(WORDS)} {random.choice(WORDS)} {i}\n"
        + " ".join(f"{' '.join(random.choice(WORDS, 6))} {i}.".capitalize() for _ in range(4))
        for i in range(400)
    ]
    docs, output = tmp_path / "docs.gingham", tmp_path / "adapted"
    model = build(document_length=64)
    with gingham.open(docs, model, threads=1) as opened:
        opened.add(texts, ids=[f"d{i}" for i in range(400)])
    command = ("--adapt", docs, "-o", output, *QUICK[2:])
    printed = done(invoke(*command))
    assert "trained on" in printed
    rows = [line.split() for line in printed.splitlines()]
    assert [row[0] for row in rows if row and row[0] in ("before", "after", "BM25")][:3] == [
        "before",
        "after",
        "BM25",
    ]
    record = json.loads(done(invoke(*command, "--json")))
    assert record["base"] == str(model)
    assert record["verdict"] in ("better", "worse", "within noise")
    wanted = str(output) if record["verdict"] == "better" else str(model)
    assert record["recommended"] == wanted
    assert f"use {wanted}" in printed or f"keep using {wanted}" in printed
    assert record["change"]["mean"] == pytest.approx(
        record["systems"]["after"]["mean"] - record["systems"]["before"]["mean"]
    )
    assert gingham.Encoder(output, threads=1).fingerprint != gingham.Encoder(model).fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ranks", "10"), "expected the first and the last rank"),
        (("--ranks", "9-2"), "no later than the last"),
        (("--teacher", "splade:x"), "is no teacher"),
        (("--rounds", "0", "--teacher", "bm25"), "at least one round"),
        (("--margin", "1.5"), "share of the positive's score"),
        (("--adapt", "docs.gingham"), "leave out DATA"),
    ],
)
def test_what_cannot_be(data: Path, arguments: tuple[str, ...], message: str) -> None:
    result = invoke(data, "-o", data.with_name("model"), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not data.with_name("model").exists()


def test_something_to_train_on_is_named(tmp_path: Path) -> None:
    result = invoke("-o", tmp_path / "model")
    assert result.exit_code == 2
    assert "name what to train on" in result.stderr
