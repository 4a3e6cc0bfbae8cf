"""Fail or kill the scripted workload at its n-th change of the disk, for every n and mode.

    make crash                          # all points, all modes: some 20 minutes on two cores
    export PYTHONPATH=tests             # or by hand:
    python -m faults.campaign --points 20            # so many points a mode
    python -m faults.campaign --only power:3:123     # one of them again

Each run is forked from one process that has everything imported, and begins with the chapter of
the workload that the call is in, so it takes milliseconds. A run is: the chapter, which
acknowledges on a pipe what it is promised, until it is killed or met an error; then, in another
process, the checks. Prints a report as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import checks, workload
from faults.shim import (
    FAILURES,
    KILLS,
    MODES,
    Call,
    Shim,
    compile_shim,
    counted,
    preloading,
    read_trace,
)
from gingham import CollectionError, CorruptionError, GinghamError

LIMIT = int(os.environ.get("GINGHAM_FAULTS_LIMIT", "60"))  # seconds a run may take: none hangs
PRELOADED = "GINGHAM_FAULTS_PRELOADED"
ACKNOWLEDGED, ERROR, TOLD = b".", b"!", b"\n"


class FoundError(Exception):
    """A run in which something was wrong."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run: which call of which chapter of the workload meets what."""

    mode: str
    chapter: int
    at: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How a forked process ended, and what it wrote to its pipe."""

    status: int
    written: bytes

    @property
    def killed(self) -> bool:
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL

    @property
    def complaint(self) -> str:
        return self.written.partition(TOLD)[2].decode(errors="replace")


def forked(work: Callable[[int], None]) -> Ended:
    """Run something in a fork of this process, with a pipe to write to, and wait for its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT)
        status = 1
        try:
            os.close(reading)
            work(writing)
            status = 0
        except BaseException:
            with suppress(OSError):
                os.write(writing, TOLD + traceback.format_exc().encode()[-3000:])
        finally:
            os._exit(status)
    os.close(writing)
    written = bytearray()
    while piece := os.read(reading, 1 << 16):
        written += piece
    os.close(reading)
    return Ended(os.waitpid(child, 0)[1], bytes(written))


class Campaign:
    """The runs of one worker process, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.shim = Shim()
        self.folder = folder
        self.box = folder / "box"
        self.path = self.box / "collection.gingham"
        self.moments = workload.timeline()
        self.chapters = workload.chapters()
        self.rebuilt: checks.Rebuilt = {}
        for moment in self.moments:
            state = checks.compressible(moment.state)
            key = frozenset(state.items())
            if key not in self.rebuilt:
                self.rebuilt[key] = checks.rebuild(folder / "rebuilt.gingham", state)

    def count(self) -> list[list[Call]]:
        """Run the workload without a fault, and keep what each chapter begins with: its calls."""
        trace = self.folder / "trace"
        calls = []
        shutil.rmtree(self.box, ignore_errors=True)
        self.box.mkdir()
        for number, chapter in enumerate(self.chapters):

            def work(pipe: int, chapter: range = chapter) -> None:
                self.shim.arm(self.box, trace=trace)
                session = workload.Session(self.path)
                for operation in chapter:
                    session.do(workload.WORKLOAD[operation], lambda: None)
                session.close()
                self.shim.disarm()

            shutil.copytree(self.box, self._beginning(number), dirs_exist_ok=True)
            ended = forked(work)
            if ended.status != 0:
                raise FoundError(f"the workload fails by itself: {ended.complaint}")
            calls.append(read_trace(trace))
        return calls

    def run(self, point: Point) -> bool:
        """One run; whether an operation failed in it (and not the process).

        Raises:
            FoundError: a promise was broken.
        """
        for folder in (self.box, Path(f"{self.box}.stash")):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._beginning(point.chapter), self.box)
        work = self._killed if point.mode in KILLS else self._failing
        ended = forked(lambda pipe: work(point, pipe))
        mortal = point.mode in KILLS
        survives = not mortal or point.mode == "eio-kill"  # which may find no later call
        if not (mortal and ended.killed) and not (survives and ended.status == 0):
            raise FoundError(f"ended with status {ended.status}: {ended.complaint}")
        chapter = self.chapters[point.chapter]
        acknowledged = self._before(chapter) + ended.written.count(ACKNOWLEDGED)
        until = chapter[-1] if point.at % 4 == 0 else None

        def check(pipe: int) -> None:
            checks.check_crashed(self.path, self.moments, acknowledged, self.rebuilt, until)

        checked = forked(check)
        if checked.status != 0:
            raise FoundError(
                f"after {acknowledged} acknowledgements, status {checked.status}: "
                f"{checked.complaint}"
            )
        return ERROR in ended.written

    def _beginning(self, chapter: int) -> Path:
        return self.folder / f"chapter{chapter}"

    def _before(self, chapter: range) -> int:
        """Acknowledgements before a chapter."""
        return sum(0 <= moment.operation < chapter[0] for moment in self.moments)

    def _killed(self, point: Point, pipe: int) -> None:
        self.shim.arm(self.box, point.mode, point.at, seed=point.at)
        session, promises = workload.Session(self.path), Promises(pipe)
        for number in self.chapters[point.chapter]:
            promises.begin()
            try:
                session.do(workload.WORKLOAD[number], promises.acknowledge)
            except GinghamError:
                if point.mode != "eio-kill":
                    raise
                promises.fail()
                session.do(workload.WORKLOAD[number], promises.acknowledge)
        session.close()

    def _failing(self, point: Point, pipe: int) -> None:
        """An operation may fail, with an error of ours; the same process goes on."""
        self.shim.arm(self.box, point.mode, point.at)
        session, promises = workload.Session(self.path), Promises(pipe)
        chapter = self.chapters[point.chapter]
        for number in chapter:
            promises.begin()
            try:
                session.do(workload.WORKLOAD[number], promises.acknowledge)
            except GinghamError as error:
                if isinstance(error, CorruptionError) or "\n" in str(error):
                    raise FoundError(f"not what a full or failing disk is: {error}") from error
                promises.fail()
                self._go_on(session, number, self._before(chapter) + promises.made, promises)
                break
        self.shim.disarm()
        session.close()

    def _go_on(self, session: workload.Session, number: int, made: int, promises: Promises) -> None:
        """In the process whose operation failed: all is there, and it works when done again."""
        before, within = (moment.state for moment in self.moments[made : made + 2])
        if session.is_open:  # the disk may still be failing
            found = checks.held(session.collection)
            assert found in (before, within), (len(found), len(before), len(within))
            checks.check_search(session.collection, found)
        self.shim.disarm()
        try:
            session.do(workload.WORKLOAD[number], promises.acknowledge)
        except CollectionError as error:
            # Where SQLite could not open its shared memory for writing, it goes on reading.
            if "open the collection again" not in str(error):
                raise
            session.close()
            session.do(workload.WORKLOAD[number], promises.acknowledge)
        session.collection.delete("nobody", missing_ok=True)  # a writer cleans up, whatever it does
        state = [moment.state for moment in self.moments if moment.operation == number][-1]
        assert checks.held(session.collection) == state
        checks.check_files(session.collection)


class Promises:
    """What a process acknowledges on its pipe, each once though an operation is done again."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self.made = self._of_this = self._repeated = 0

    def begin(self) -> None:
        """An operation begins."""
        self._of_this = self._repeated = 0

    def fail(self) -> None:
        """It failed, and will be done again from its start."""
        os.write(self._pipe, ERROR)
        self._repeated = self._of_this

    def acknowledge(self) -> None:
        """It has come so far."""
        if self._repeated:
            self._repeated -= 1
            return
        self.made += 1
        self._of_this += 1
        os.write(self._pipe, ACKNOWLEDGED)


def points_of(
    calls: list[list[Call]], modes: list[str], sample: int | None, seed: int
) -> list[Point]:
    """Every call with every mode that means anything for it, or so many of each mode."""
    chosen = []
    for mode in modes:
        able = [
            Point(mode, chapter, number)
            for chapter, own in enumerate(calls)
            for number, call in enumerate(own, 1)
            if call.can_meet(mode)
        ]
        if sample is not None and sample < len(able):
            able = random.Random(f"{mode}/{seed}").sample(able, sample)
        chosen += able
    return chosen


def work_off(
    points: list[Point], calls: list[list[Call]], folder: Path, report: Callable[[str], None]
) -> dict[str, Any]:
    """Run points in this process's forks; what was found."""
    campaign = Campaign(folder)
    campaign.count()
    tried: dict[str, int] = dict.fromkeys(MODES, 0)
    failed = 0
    found: list[str] = []
    for number, point in enumerate(points):
        if number and number % 500 == 0:
            report(f"{number} of {len(points)} runs, {len(found)} with something wrong")
        tried[point.mode] += 1
        try:
            failed += campaign.run(point)
        except FoundError as error:
            call = calls[point.chapter][point.at - 1]
            name = f"{point.mode}:{point.chapter}:{point.at}"
            found.append(f"{name} {call.name} {call.path}\n{error}")
            report(found[-1])
    return {"tried": tried, "operations_failed": failed, "found": found}


def side_by_side(
    points: list[Point], calls: list[list[Call]], folder: Path, jobs: int
) -> list[dict[str, Any]]:
    """Share points out to forks of this process."""
    report = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731, T201
    if jobs == 1:
        return [work_off(points, calls, folder, report)]
    children = []
    for job in range(jobs):
        own = folder / f"job{job}"
        own.mkdir()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                result = work_off(points[job::jobs], calls, own, report)
                (own / "result.json").write_text(json.dumps(result))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append((child, own))
    for child, _ in children:
        if os.waitpid(child, 0)[1] != 0:
            raise SystemExit("a worker failed")
    return [json.loads((own / "result.json").read_text()) for _, own in children]


def campaign(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Count the calls, run the points, sum up."""
    start = time.monotonic()
    workload.lower_thresholds()
    first = Campaign(folder)
    calls = first.count()
    if [counted(own) for own in first.count()] != [counted(own) for own in calls]:
        raise SystemExit("the workload is not the same from run to run")
    if options.only:
        mode, chapter, number = options.only.split(":")
        points = [Point(mode, int(chapter), int(number))]
    else:
        points = points_of(calls, options.modes, options.points, options.seed)
    results = side_by_side(points, calls, folder, options.jobs)
    tried = {mode: sum(result["tried"][mode] for result in results) for mode in MODES}
    return {
        "calls": sum(map(len, calls)),
        "by_call": counted([call for own in calls for call in own]),
        "acknowledgements": len(first.moments) - 1,
        "tried": {mode: n for mode, n in tried.items() if n},
        "runs": sum(tried.values()),
        "kills_survived": sum(tried[mode] for mode in KILLS),
        "failures_survived": sum(tried[mode] for mode in FAILURES),
        "operations_failed": sum(result["operations_failed"] for result in results),
        "found": [text for result in results for text in result["found"]],
        "seconds": round(time.monotonic() - start, 1),
    }


def main() -> int:
    """Parse the arguments, preload the shim, run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--points", type=int, help="so many calls a mode, drawn; else all")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--only", metavar="MODE:CHAPTER:CALL", help="one point")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--where", type=Path, help="folder to work in; memory, where there is some")
    parser.add_argument("--keep", action="store_true", help="leave the folder there")
    options = parser.parse_args()
    shared = Path("/dev/shm")
    parent = options.where or (shared if os.access(shared, os.W_OK) else None)
    folder = Path(tempfile.mkdtemp(prefix="gingham-faults-", dir=parent)).resolve()
    try:
        if PRELOADED not in os.environ:
            environment = {**preloading(compile_shim(folder)), PRELOADED: str(folder)}
            environment.setdefault("OPENBLAS_NUM_THREADS", "1")
            command = [sys.executable, "-m", "faults.campaign", *sys.argv[1:]]
            return os.spawnve(os.P_WAIT, sys.executable, command, environment)
        report = campaign(options, folder)
        print(json.dumps(report, indent=2))  # noqa: T201
        return 1 if report["found"] else 0
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
