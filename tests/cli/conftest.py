"""The command line called in this process, and a small collection to ask."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gingham.cli.main import app

Run = Callable[..., Result]

TEXTS = {
    "moon": "The moon pulls the sea, and so the tide rises twice a day.",
    "bread": "Knead the dough, let it rest for an hour, then bake the bread.",
    "csv": "A reader of comma separated files gives one dictionary for each row.",
    "train": "The night train to Vienna leaves from platform nine at ten o'clock.",
    "cat": "Cats sleep for most of the day and hunt at dusk.",
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call gingham in a fresh folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, input: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, arguments, input=input)

    return run


@pytest.fixture
def docs(run: Run) -> str:
    """A collection of five documents: its name, below the working directory."""
    lines = (json.dumps({"id": id, "text": text, "letters": len(id)}) for id, text in TEXTS.items())
    Path("corpus.jsonl").write_text("\n".join(lines))
    done(run("add", "docs.gingham", "corpus.jsonl"))
    return "docs.gingham"


def done(result: Result) -> Result:
    """The result of a command that must have worked."""
    assert result.exit_code == 0, (result.output, result.stderr, result.exception)
    return result


def json_of(result: Result) -> Any:
    """The one JSON object of a command that must have worked."""
    lines = done(result).stdout.splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


def json_lines(result: Result) -> list[dict[str, Any]]:
    """The JSON lines of a command that must have worked."""
    return [json.loads(line) for line in done(result).stdout.splitlines()]


def error_of(result: Result) -> str:
    """The one line of a command that must have failed."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")
