"""Every command has help with examples, and docs/cli.md is that help."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from gingham.cli.main import app

COMMANDS = ["demo", "add", "search", "explain", "delete", "info", "optimize", "check", "backup"]
COMMANDS += ["restore", "audit", "evaluate", "train", "export"]


def generator() -> ModuleType:
    path = Path(__file__).parents[2] / "docs" / "make_cli_reference.py"
    spec = importlib.util.spec_from_file_location("make_cli_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_is_current() -> None:
    module = generator()
    # Versions of typer differ in how they wrap and name types; what is said must be the same.
    written = module.PAGE.read_text(encoding="utf-8")
    assert " ".join(written.split()) == " ".join(module.reference().split()), (
        "docs/cli.md is out of date: run python docs/make_cli_reference.py"
    )


def test_commands() -> None:
    assert sorted(getattr(get_command(app), "commands", {})) == sorted(COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS, None])
def test_help_has_two_examples_and_a_sentence_an_option(command: str | None) -> None:
    arguments = [command] if command else []
    result = CliRunner().invoke(app, [*arguments, "-h"], terminal_width=200)
    assert result.exit_code == 0
    text, _, examples = result.output.partition("Examples:")
    assert len(examples.strip().splitlines()) >= 2
    assert all(line.strip().count("gingham") for line in examples.strip().splitlines())
    for line in text.partition("Options:")[2].partition("Commands:")[0].strip().splitlines():
        if command:
            sentence = line.rpartition("  [")[0] or line
            assert sentence.rstrip().endswith("."), f"no sentence: {line}"
