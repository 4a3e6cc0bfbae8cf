"""The help of every command → docs/cli.md. `python docs/make_cli_reference.py` writes it;
tests/cli/test_reference.py fails when it is out of date.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from typer.main import get_command
from typer.testing import CliRunner

from gingham.cli.main import app

PAGE = Path(__file__).with_name("cli.md")

INTRODUCTION = """\
# The command line

Written by `docs/make_cli_reference.py` from the commands' own help: change it there.

Results go to standard output, progress and remarks to standard error. Every command takes `--json`,
whose keys are stable. Exit codes: 0, done; 1, `gingham check` has found something; 2, an error,
said in one line on standard error; 130, interrupted with Ctrl-C. Colour is used on terminals only,
and not where `NO_COLOR` is set.
"""


def reference() -> str:
    """The whole page."""
    group = cast(Any, get_command(app))
    commands = list(group.commands)
    parts = [INTRODUCTION, _section("gingham", [])]
    parts += [_section(f"gingham {name}", [name]) for name in commands]
    return "\n".join(parts)


def _section(title: str, arguments: list[str]) -> str:
    runner = CliRunner(env={"GINGHAM_THREADS": "", "TERMINAL_WIDTH": "", "COLUMNS": ""})
    result = runner.invoke(
        app, [*arguments, "--help"], prog_name="gingham", terminal_width=88, color=False
    )
    if result.exit_code:
        raise RuntimeError(f"{title} --help failed: {result.output}")
    lines = [line.rstrip() for line in result.output.strip().splitlines()]
    return "\n".join([f"## {title}", "", "```", *lines, "```", ""])


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
