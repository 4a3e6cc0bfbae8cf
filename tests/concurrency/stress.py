"""One writer, six readers, every answer checked: `python tests/concurrency/stress.py 180`.

Processes: one writes; one has three threads that read one shared `Collection`; three read on their
own, with pickled and forked copies; a seventh reader after another is killed with SIGKILL. See
`model.py` for what they are held to. Prints what was done and checked; a wrong answer, an error or
a process that ends otherwise makes it fail.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import gingham
from concurrency.model import TOLERANCE, Model, check, check_hits, queries
from concurrency.reading import ALL, Reader
from concurrency.writing import Writer, lower_thresholds

SHARING = 3  # threads that share one collection
ALONE = 3  # processes with their own


@dataclass(frozen=True, slots=True)
class Plan:
    """What every process of a run knows."""

    path: Path
    ledger: Path
    seconds: float
    bits: int
    seed: int


def write(plan: Plan) -> dict[str, int]:
    """The writer's process."""
    lower_thresholds()
    collection = gingham.open(plan.path, threads=1, bits=plan.bits)
    done = Writer(collection, plan.ledger, plan.seed).work(plan.seconds)
    collection.close()
    return done


def reader(plan: Plan, seed: int) -> Reader:
    return Reader(plan.ledger, plan.bits, TOLERANCE[plan.bits], seed)


def read_alone(plan: Plan) -> dict[str, int]:
    """A process that reads on its own."""
    own = reader(plan, plan.seed)
    own.live(plan.path, plan.seconds)
    return own.report()


def read_shared(plan: Plan) -> dict[str, int]:
    """A process whose threads share a collection; then it is closed under them."""
    collection = gingham.open(plan.path, threads=1)
    readers = [reader(plan, plan.seed + i) for i in range(SHARING)]
    errors: list[BaseException] = []

    at_the_end = threading.Barrier(SHARING + 1)

    def work(own: Reader) -> None:
        try:
            try:
                own.share(collection, plan.seconds)
            finally:
                at_the_end.wait()
            while True:
                own.read(collection)
        except BaseException as error:
            if "was closed; open it again" not in str(error):
                errors.append(error)

    threads = [threading.Thread(target=work, args=(own,)) for own in readers]
    for thread in threads:
        thread.start()
    at_the_end.wait()
    time.sleep(0.3)
    collection.close()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return merged([own.report() for own in readers])


def merged(reports: list[dict[str, int]]) -> dict[str, int]:
    """Sums, but the largest of what is no count."""
    largest = ("oldest", "descriptors")
    total: Counter[str] = Counter()
    for report in reports:
        for key, value in report.items():
            total[key] = max(total[key], value) if key in largest else total[key] + value
    return dict(total)


ROLES = {"write": write, "read_alone": read_alone, "read_shared": read_shared}


def start(role: str, plan: Plan) -> subprocess.Popen[str]:
    """Start a process of a run."""
    arguments = [str(plan.path), str(plan.ledger), plan.seconds, plan.bits, plan.seed]
    return subprocess.Popen(
        [sys.executable, __file__, "--role", role, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], role: str) -> dict[str, int]:
    """What a process reports; an error where it failed."""
    out, err = process.communicate(timeout=120)
    check(process.returncode == 0 and not err, role, "ended with", process.returncode, out, err)
    report: dict[str, int] = json.loads(out)
    return report


def run(folder: Path, seconds: float, bits: int = 4, seed: int = 0) -> dict[str, Any]:
    """Let them work for so long.

    Returns:
        What the writer did, what the readers checked, how many readers were killed.

    Raises:
        WrongAnswerError: anything at all was not as it should be.
    """
    plan = Plan(folder / "stress.gingham", folder / "ledger", seconds, bits, seed)
    plan.ledger.touch()
    gingham.open(plan.path, bits=bits).close()
    writer = start("write", plan)
    roles = ["read_shared"] + ["read_alone"] * ALONE
    readers = [
        start(role, Plan(plan.path, plan.ledger, seconds, bits, seed + 10 * (i + 1)))
        for i, role in enumerate(roles)
    ]
    killed = 0
    chance = random.Random(seed)
    try:
        while writer.poll() is None and all(process.poll() in (None, 0) for process in readers):
            victim = start("read_alone", Plan(plan.path, plan.ledger, 3600, bits, seed + killed))
            time.sleep(1 + chance.random() * 2)
            check(victim.poll() is None, "a reader that was to be killed ended before that")
            victim.send_signal(signal.SIGKILL)
            victim.communicate()
            killed += 1
        wrote = finish(writer, "the writer")
        read = merged([finish(p, role) for p, role in zip(readers, roles, strict=True)])
    finally:
        for process in (writer, *readers):
            if process.poll() is None:
                process.kill()
                process.communicate()
    check_the_end(plan)
    return {"writer": wrote, "readers": read, "readers killed": killed}


def check_the_end(plan: Plan) -> None:
    """Nothing is lost, damaged or left over."""
    collection = gingham.open(plan.path)
    generation = collection.info().generation
    [state] = Model(plan.ledger).between(generation, generation)
    for query in queries():
        check_hits(
            collection.search(query, ALL, exact=True), state, query, ALL, TOLERANCE[plan.bits]
        )
    collection.verify()
    collection.optimize()  # the next writer removes what the last could not
    listed = {f"{segment.record.segment:08d}" for segment in collection._snapshot.segments}
    there = {folder.name for folder in (plan.path / "segments").iterdir()}
    check(there == listed, "left over:", there - listed, "missing:", listed - there)
    collection.close()
    check(not Path(f"{plan.path}/catalog.sqlite-wal").exists(), "the log was not folded")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=ROLES)
    parser.add_argument("arguments", nargs="+", help="seconds; with a role, the plan")
    parser.add_argument("--bits", type=int, default=4, choices=TOLERANCE)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    if given.role:
        path, ledger, seconds, bits, seed = given.arguments
        plan = Plan(Path(path), Path(ledger), float(seconds), int(bits), int(seed))
        print(json.dumps(ROLES[given.role](plan)))  # noqa: T201
        return
    seconds = float(given.arguments[0])
    with tempfile.TemporaryDirectory(prefix="gingham-stress-") as folder:
        print(f"seed {given.seed}, {given.bits} bits, {seconds:g} s, {os.cpu_count()} cores")  # noqa: T201
        result = run(Path(folder), seconds, given.bits, given.seed)
    for name, value in result.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {count}" for key, count in sorted(value.items()))
        print(f"{name}: {value}")  # noqa: T201
    print(f"{result['readers']['answers']} answers checked, 0 wrong")  # noqa: T201


if __name__ == "__main__":
    main()
