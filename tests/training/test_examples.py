"""A set of examples as a folder: what is written is read, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gingham.errors import InputError, SourceError
from gingham.training import Example, TrainingSet, read_training_set, write_training_set


def make_set() -> TrainingSet:
    return TrainingSet(
        "tides",
        {"q1": "why is there a tide?", "q2": "was läßt den Teig gehen?"},
        {"d1": "Tides\nThe moon pulls\tthe sea.", "d2": "Yeast.", "d3": "Unrelated \u2028 text."},
        (Example("q1", ("d1",), ("d2", "d3"), (3.5, -1.0, 0.1)), Example("q2", ("d2",), ("d1",))),
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = make_set()
    write_training_set(written, tmp_path / "deep" / "tides")
    read = read_training_set(tmp_path / "deep" / "tides")
    assert read.name == "tides"
    assert read.queries == written.queries
    assert read.documents == written.documents
    assert tuple(read.examples) == tuple(written.examples)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["tides"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class Breaks(dict[str, str]):
        def items(self) -> None:  # type: ignore[override]
            raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"cannot write .*broken: No space left"):
        write_training_set(TrainingSet("broken", {}, Breaks(), ()), tmp_path / "broken")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_training_set(make_set(), tmp_path / "tides")
    with pytest.raises(InputError, match="exists already"):
        write_training_set(make_set(), tmp_path / "tides")


@pytest.mark.parametrize(
    ("positives", "negatives", "scores", "message"),
    [
        ((), (), None, "no document"),
        (("d1",), ("d2",), (1.0,), "2 documents and 1 scores"),
        (("d1",), (), (float("nan"),), "no finite number"),
    ],
)
def test_an_example_that_cannot_be(
    positives: tuple[str, ...],
    negatives: tuple[str, ...],
    scores: tuple[float, ...] | None,
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        Example("q1", positives, negatives, scores)


Edit = Callable[[dict[str, object]], object]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda record: record.update(query="q9"), "line 2: query 'q9' is not in queries.jsonl"),
        (lambda record: record.update(query=3), "line 2: no example"),
        (lambda record: record.update(negatives=["d9"]), "line 2: document 'd9' is not in corpus"),
        (lambda record: record.update(negatives="d1"), "line 2: positives and negatives must be"),
        (lambda record: record.update(scores=["high"]), "line 2: scores must be a list of numbers"),
        (lambda record: record.update(scores=[1.0]), "line 2: .* 2 documents and 1 scores"),
    ],
)
def test_a_line_that_is_no_example(tmp_path: Path, edit: Edit, message: str) -> None:
    folder = tmp_path / "tides"
    write_training_set(make_set(), folder)
    lines = (folder / "examples.jsonl").read_text().splitlines()
    record = json.loads(lines[1])
    edit(record)
    (folder / "examples.jsonl").write_text(lines[0] + "\n" + json.dumps(record) + "\n")
    with pytest.raises(SourceError, match=message):
        read_training_set(folder)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_training_set(make_set(), tmp_path / "tides")
    (tmp_path / "tides" / "queries.jsonl").unlink()
    with pytest.raises(SourceError, match=r"there is no queries.jsonl"):
        read_training_set(tmp_path / "tides")
