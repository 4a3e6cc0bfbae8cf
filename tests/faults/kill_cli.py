"""`kill -9` of the real commands at random moments, each repeated until it is done.

    PYTHONPATH=tests python -m faults.kill_cli --kills 20     # so many kills a command

Half of the kills come from outside, after a random time; the others from the shim, at a random
change of the disk, so that they do not all hit the start of the interpreter. After each, the
collection holds what it held before the command, or what it holds after it.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gingham
from faults.checks import check_files
from faults.shim import CannotInjectError, compile_shim, injecting, read_trace

TOPICS = ("tide", "yeast", "glacier", "violin", "copper", "orchid", "lantern", "harbour")
Texts = dict[str, str]


@dataclass(frozen=True, slots=True)
class Command:
    """What is run, and what it makes of the documents."""

    arguments: tuple[str, ...]
    added: Texts = field(default_factory=dict)
    deleted: tuple[str, ...] = ()

    def after(self, documents: Texts) -> Texts:
        """What the collection holds when it is done."""
        kept = {id: text for id, text in documents.items() if id not in self.deleted}
        return {**kept, **self.added}


def text_of(topic: str, version: int) -> str:
    """A text that no other is like."""
    return f"The {topic} is number {version} of everything that is told about the {topic}."


def script(folder: Path) -> list[Command]:
    """Additions, replacements, deletions and compressions, with the files that they read."""

    def add(name: str, texts: Texts) -> Command:
        lines = [json.dumps({"id": id, "text": text}) + "\n" for id, text in texts.items()]
        (folder / name).write_text("".join(lines))
        return Command(("add", "docs.gingham", name), added=texts)

    def delete(*ids: str) -> Command:
        return Command(("delete", "--missing-ok", "docs.gingham", *ids), deleted=ids)

    first, second = TOPICS[:4], TOPICS[4:]
    return [
        add("first.jsonl", {topic: text_of(topic, 1) for topic in first}),
        add("second.jsonl", {topic: text_of(topic, 1) for topic in second}),
        delete("yeast", "orchid"),
        Command(("optimize", "docs.gingham", "--bits", "8")),
        add("third.jsonl", {topic: text_of(topic, 2) for topic in (*first[:2], *second[2:])}),
        Command(("optimize", "docs.gingham")),
        delete("tide", "lantern"),
        Command(("optimize", "docs.gingham", "--bits", "4")),
    ]


def held(path: Path) -> Texts:
    """The documents of a collection, read from it; none where there is no collection."""
    try:
        with gingham.open(path, read_only=True, threads=1) as opened:
            opened.verify()
            found = {}
            for topic in TOPICS:
                if topic in opened:
                    found[topic] = opened.get(topic).text or ""
            assert len(found) == len(opened)
            return found
    except gingham.CollectionNotFoundError:
        return {}


def run(
    command: Command, folder: Path, environment: dict[str, str] | None, seconds: float | None
) -> int:
    """Run a command, kill it after some time unless it is done; its exit status."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gingham.cli.main", *command.arguments, "--json"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        _, complaint = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(f"{command.arguments}: status {process.returncode}: {complaint}")
    return process.returncode


def check_searches(path: Path, documents: Texts) -> None:
    """Each text finds its own document first, and every search all of them."""
    with gingham.open(path, threads=1) as opened:
        for id, text in documents.items():
            hits = opened.search(text, k=100)
            assert {hit.id for hit in hits} == documents.keys()
            assert (hits[0].id, hits[0].text) == (id, text)


def campaign(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill each command of the script so many times, then let it finish."""
    chance = random.Random(seed)
    start = time.monotonic()
    path = folder / "docs.gingham"
    try:
        library = compile_shim(folder)
    except CannotInjectError:
        library = None
    documents: Texts = {}
    killed = {"by time": 0, "by call": 0}
    already = 0  # killed when its commit was made
    longest = 8.0  # seconds that a command takes
    for command in script(folder):
        after = command.after(documents)
        for number in range(kills):
            if library is not None and number % 2 == 0:
                call = chance.randrange(1, 120)
                environment = injecting(library, path, chance.choice(["kill", "after"]), call)
                status, how = run(command, folder, environment, None), "by call"
            else:
                status = run(command, folder, None, chance.uniform(0.05, 1.1 * longest))
                how = "by time"
            killed[how] += status != 0
            found = held(path)
            if status == 0:
                assert found == after, command
            else:
                assert found in (documents, after), (command, found.keys())
                already += found == after != documents
        began = time.monotonic()
        trace = folder / "trace"
        counting = None if library is None else injecting(library, path, "none", 0, trace=trace)
        assert run(command, folder, counting, None) == 0
        longest = time.monotonic() - began
        assert held(path) == after, command
        documents = after
    with gingham.open(path, threads=1) as opened:
        opened.delete("nobody", missing_ok=True)
        check_files(opened)
        opened.verify()
    check_searches(path, documents)
    return {
        "commands": len(script(folder)),
        "killed": killed,
        "committed_when_killed": already,
        "calls_of_the_last": None if library is None else len(read_trace(trace)),
        "seconds": round(time.monotonic() - start, 1),
    }


def main() -> None:
    """Parse the arguments, run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10, help="of each command")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gingham-kills-") as folder:
        report = campaign(Path(folder).resolve(), options.kills, options.seed)
    print(json.dumps(report, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
