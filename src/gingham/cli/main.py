"""The `gingham` command: the list of its commands, and what becomes of errors.

Every error of gingham is one line on stderr and exit code 2; Ctrl-C is exit code 130; a reader that
closes the pipe early (`| head`) is no error. Nothing else is known here of what commands do.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

import gingham
from gingham.cli import (
    add,
    audit,
    backup,
    check,
    console,
    delete,
    demo,
    evaluate,
    explain,
    export,
    info,
    optimize,
    restore,
    search,
    train,
)
from gingham.errors import GinghamError

ERROR = 2
INTERRUPTED = 130

EXAMPLES = (
    "gingham demo",
    "gingham add docs.gingham ./notes corpus.jsonl",
    'gingham search docs.gingham "why does the sea rise twice a day?"',
)


def _epilog(examples: Sequence[str]) -> str:
    # The first character keeps the lines from being joined.
    return "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples)


app = typer.Typer(
    name="gingham",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich makes --help twice as slow
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        console.write(f"gingham {gingham.__version__}")
        raise typer.Exit


@app.callback(epilog=_epilog(EXAMPLES))
def gingham_command(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Search text by meaning, word by word, and see why each hit was found."""


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command with its errors turned into one line and an exit code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            # Nobody reads on; what Python would still flush at exit has to go somewhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt as error:
            console.note(str(error) or "interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except (GinghamError, OSError) as error:
            message = " ".join(str(error).split())
            console.note(f"error: {message or type(error).__name__}")
            raise typer.Exit(ERROR) from None

    return run


for _command, _examples in (
    (demo.demo, demo.EXAMPLES),
    (add.add, add.EXAMPLES),
    (search.search, search.EXAMPLES),
    (explain.explain, explain.EXAMPLES),
    (delete.delete, delete.EXAMPLES),
    (info.info, info.EXAMPLES),
    (optimize.optimize, optimize.EXAMPLES),
    (check.check, check.EXAMPLES),
    (backup.backup, backup.EXAMPLES),
    (restore.restore, restore.EXAMPLES),
    (audit.audit, audit.EXAMPLES),
    (evaluate.evaluate, evaluate.EXAMPLES),
    (export.export, export.EXAMPLES),
    (train.train, train.EXAMPLES),
):
    app.command(epilog=_epilog(_examples))(guarded(_command))


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows few characters shows "?" for the others instead of failing.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
