"""How the tests of this folder run other processes: a script each, so that pytest itself is not
forked, and a line at a time where both must take turns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent
_START = f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python on a script, with pipes to it."""
    # Python 3.12 and later warn of every fork in a process that has threads.
    return subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _START + script]
        + [str(argument) for argument in arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said:
        raise AssertionError(process.communicate()[1])
    return said.rstrip("\n")


def tell(process: subprocess.Popen[str]) -> None:
    """Let it go on: it waits for a line."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def run(script: str, *arguments: object) -> str:
    """What a script prints; it must succeed, and say nothing else."""
    process = start(script, *arguments)
    try:
        out, err = process.communicate(timeout=100)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it hangs: {out} {err}") from None
    assert process.returncode == 0, err
    assert err == ""
    return out
