"""How much memory a system needs to search: that of a fresh process that does nothing else.

`footprint` starts it, and run as a module this file is it: JSON on standard input, one line of JSON
on standard output. The process of the evaluation itself holds datasets, rankings and all systems.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from gingham.evaluation.costs import peak_resident
from gingham.evaluation.systems import Opening

# Seconds after which the process is given up.
_LIMIT = 600.0


def footprint(opening: Opening, queries: Sequence[str], threads: int, k: int) -> int | None:
    """The most resident memory of a process that opens a system and answers queries, in bytes.

    Args:
        opening: of the system.
        queries: asked one after the other.
        threads: that the system is given.
        k: how many hits each is asked for.

    Returns:
        None where the process fails or takes too long, or the system does not tell.
    """
    asked = {
        "function": opening.function,
        "arguments": dict(opening.arguments),
        "queries": list(queries),
        "threads": threads,
        "k": k,
    }
    try:
        # `run` kills the process when the time is over, and when this one is interrupted.
        done = subprocess.run(
            [sys.executable, "-m", "gingham.evaluation.footprint"],
            input=json.dumps(asked).encode("ascii"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # No module of the folder that the user happens to be in.
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            timeout=_LIMIT,
            check=True,
        )
        peak = json.loads(done.stdout)["peak_bytes"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return None
    return peak if isinstance(peak, int) else None


def _answer(asked: dict[str, Any]) -> dict[str, int | None]:
    module, _, name = asked["function"].partition(":")
    open_searcher = getattr(import_module(module), name)
    with open_searcher(**asked["arguments"], threads=asked["threads"]) as searcher:
        for query in asked["queries"]:
            searcher.search(searcher.encode(query), asked["k"])
        return {"peak_bytes": peak_resident()}


def _main() -> None:
    # Whatever a library prints must not come between.
    with contextlib.redirect_stdout(sys.stderr):
        answer = _answer(json.load(sys.stdin))
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    _main()
