"""What damaged files and killed builds do to each system's index.

    python attacks.py --data DATA_FOLDER [--flips N] [--kills N] [--out RESULT.json]
        ADAPTER=PEER_PYTHON …

ADAPTER is `gingham`, `fast_plaid` or `tachiom`: the module ADAPTER_adapter.py beside this file, run
by its own interpreter. DATA_FOLDER is as `harness.py` describes it; a small one will do. Each
system builds two indexes, the second of the same passages in another order. Then, on a copy
each time, one file is damaged and the index is opened and asked in a child process that has 60
seconds and 8 GiB. Builds are killed with SIGKILL, and so is adding the last fifth of the passages
to an index of the others, where a system can do that; right is then what it answered before or
answers after.

What may come: an error that names the file or says that it is damaged; another exception; an answer
as before; a wrong answer; a signal; no end. gingham has checksums that a search does not read:
wrong answers which `Collection.verify` finds are counted on their own.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TIME_LIMIT, MEMORY_LIMIT = 60.0, 8 << 30
QUERIES, K = 12, 10
ENDS = (
    "load error",
    "right",
    "wrong, verify says so",
    "other exception",
    "wrong answer",
    "crash",
    "hang",
)
_SAYS_SO = re.compile(
    r"corrupt|damage|truncat|checksum|not a |invalid|mismatch|missing|no such file|not found|"
    r"newer|format|magic|unexpected ?(eof|end)|end of file|failed to load|could not be loaded|"
    r"no collection",
    re.IGNORECASE,
)
_CLASSES = {"gingham": "Gingham", "fast_plaid": "FastPlaid", "tachiom": "Tachiom"}
_ADDING = ("gingham", "fast_plaid")  # to an index that is there
_BITS = {"gingham": 4, "fast_plaid": 4, "tachiom": 2}
Damage = Callable[[Path], object]


def attacks(index: Path, other: Path, flips: int) -> Iterator[tuple[str, str, Damage]]:
    """Group, file and damage; about as many for an index of one file as for one of many."""
    import numpy as np

    files = [p.relative_to(index) for p in sorted(index.rglob("*")) if p.is_file()]
    files = [
        f for f in files if not f.name.endswith(("lock", "-shm")) and (index / f).stat().st_size
    ]
    for file in files:
        content = (index / file).read_bytes()
        random = np.random.default_rng(len(content))
        size, name = len(content), file.as_posix()
        each = max(2, flips // len(files))

        def put(new: bytes, file: Path = file) -> Damage:
            return lambda folder: (folder / file).write_bytes(new)

        places = {0, 1, 10, 64, 128, size // 2, size - 8, size - 1}
        places |= set(random.integers(0, size, max(0, each - len(places))).tolist())
        for keep in sorted(place for place in places if 0 <= place < size):
            yield "truncated", name, put(content[:keep])
        near = random.integers(0, min(size, 128), each).tolist()
        for at in [*near, *random.integers(0, size, each).tolist()]:
            damaged = bytearray(content)
            damaged[at] ^= 1 << int(random.integers(8))
            yield "bit flipped", name, put(bytes(damaged))
        yield "random bytes", name, put(random.bytes(size))
        yield "random bytes", name, put(content[:128] + random.bytes(max(0, size - 128)))
        yield "zeros", name, put(bytes(size))
        if (other / file).is_file() and (twin := (other / file).read_bytes()) != content:
            yield "swapped", name, put(twin)
        for huge in _huge_headers(content, each):
            yield "huge header", name, put(huge)


def _huge_headers(content: bytes, most: int) -> Iterator[bytes]:
    """Numbers at the start, written out or of 8 bytes, made huge, negative or 0."""
    written = [m for m in re.finditer(rb"\d+", content[:128]) if content[:1] in b"{[\x93"]
    for match in written[:most]:
        for value in (b"9" * len(match[0]), b"0" * len(match[0]), b"1" + b"0" * 11):
            start, end = match.span()
            if content[:1] == b"\x93":  # NumPy's header keeps its length
                length = len(content[10:].split(b"\n")[0])
                value = value[: len(match[0])]
                assert length
            yield content[:start] + value + content[end:]
    if not written:
        for at in range(0, min(64, len(content) - 8), 8)[:most] if most else ():
            for number in (2**63 - 1, 2**40, 0):
                yield content[:at] + struct.pack("<Q", number) + content[at + 8 :]


# Inside a system's own interpreter ---------------------------------------------------------------


class System:
    """One adapter with its data."""

    def __init__(self, name: str, data: Path) -> None:
        import harness
        import numpy as np

        self.name = name
        self.make = getattr(importlib.import_module(f"{name}_adapter"), _CLASSES[name])
        files = [np.load(data / f"{part}.npy") for part in ("values", "offsets", "token_ids")]
        self.passages = harness.Passages(*files)
        self.queries = np.load(data / "queries.npy")[:QUERIES]
        self.make(data, 1)  # imports the library, so that forked children need not
        if name == "gingham":
            for part in ("collection", "search.staged", "upkeep.checking"):
                importlib.import_module(f"gingham.{part}")

    def add_only(self, folder: Path) -> None:
        """gingham's collection as it is before it is compressed."""
        peer = self.make(folder, 1)
        vectors, ids = peer.prepare_passages(self.passages)
        peer._library.open(folder, threads=1).add(vectors, ids=ids)

    def build(self, folder: Path, *, reverse: bool = False) -> None:
        """Make an index of all passages."""
        import harness
        import numpy as np

        passages = self.passages
        if reverse:
            lengths = np.diff(passages.offsets)[::-1]
            bounds = zip(passages.offsets[:-1][::-1], passages.offsets[1:][::-1], strict=True)
            rows = np.concatenate([np.arange(first, last) for first, last in bounds])
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            passages = harness.Passages(passages.values[rows], offsets, passages.token_ids[rows])
        folder.mkdir(parents=True, exist_ok=True)
        peer = self.make(folder, 1)
        peer.build(peer.prepare_passages(passages), _BITS[self.name], {})

    def begin(self, folder: Path) -> None:
        """An index of the first four fifths of the passages."""
        folder.mkdir(parents=True, exist_ok=True)
        peer = self.make(folder, 1)
        peer.build(peer.prepare_passages(self._part(0, self._four_fifths)), _BITS[self.name], {})

    def add_rest(self, folder: Path, *, compress: bool = True) -> None:
        """The last fifth; a line is printed when it begins, and when it is done."""
        peer = self.make(folder, 1)
        prepared = peer.prepare_passages(self._part(self._four_fifths, len(self.passages)))
        if self.name == "gingham":
            ids = [str(self._four_fifths + int(id)) for id in prepared[1]]
            with peer._library.open(folder, threads=1) as collection:
                print("begin", flush=True)
                collection.add(prepared[0], ids=ids)
                if compress:
                    collection.optimize()
        else:
            peer.open()
            print("begin", flush=True)
            # Else it makes an index of less than 1000 passages anew.
            peer._index.update(documents_embeddings=prepared, start_from_scratch=0)
        print("done", flush=True)

    @property
    def _four_fifths(self) -> int:
        return len(self.passages) * 4 // 5

    def _part(self, first: int, last: int) -> Any:
        import harness

        offsets = self.passages.offsets[first : last + 1]
        rows = slice(int(offsets[0]), int(offsets[-1]))
        parts = (self.passages.values[rows], offsets - offsets[0], self.passages.token_ids[rows])
        return harness.Passages(*parts)

    def ask(self, folder: Path) -> tuple[list[list[int]], str]:
        """Answers of an index, and what `verify` says, where there is such a thing."""
        peer = self.make(folder, 1)
        peer.open()
        found = []
        for query in self.queries:
            answer = peer.search(peer.prepare_query(query), K, peer.points[1])
            found.append([int(number) for number in peer.passage_numbers(answer)])
        said = ""
        if self.name == "gingham":
            try:
                peer._collection.verify()
            except Exception as error:
                said = str(error)
        return found, said

    def fate(self, folder: Path) -> tuple[str, Any]:
        """Ask in a forked child: "answer" or "error" with what came, or "crash" or "hang"."""
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            self._child(folder, send)
        os.close(send)
        content, deadline = b"", time.monotonic() + TIME_LIMIT
        while True:
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([receive], [], [], left)
            part = os.read(receive, 1 << 16) if ready else b""
            content += part
            if not part:
                break
        os.close(receive)
        if not ready:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not ready:
            return "hang", ""
        if status or not content:
            return "crash", status
        kind, value = json.loads(content)
        return kind, value

    def _child(self, folder: Path, send: int) -> None:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
        result: tuple[str, Any]
        try:
            result = "answer", self.ask(folder)
        except BaseException as error:  # Rust's panics are no Exception
            result = "error", f"{type(error).__name__}: {error}"
        with os.fdopen(send, "wb") as file:
            file.write(json.dumps(result).encode())
        os._exit(0)

    def judged(self, folder: Path, right: list[Any]) -> tuple[str, str]:
        """One of `ENDS`, and what was said."""
        kind, value = self.fate(folder)
        if kind in ("crash", "hang"):
            return kind, str(value)
        if kind == "error":
            return ("load error" if _SAYS_SO.search(value) else "other exception"), value
        found, said = value
        if found in right:
            return "right", ""
        return ("wrong, verify says so" if said else "wrong answer"), said


def inside(name: str, data: Path, flips: int, kills: int, out: Path) -> None:
    """All attacks on one system; what has been counted so far is written now and then."""
    system = System(name, data)
    counts: Counter[str] = Counter()
    examples: dict[str, int] = {}
    room = Path(tempfile.mkdtemp(prefix="attacks-"))
    try:
        start = time.monotonic()
        _elsewhere(name, data, room / "index", "build").wait()
        took = time.monotonic() - start
        _elsewhere(name, data, room / "other", "reverse").wait()
        kind, value = system.fate(room / "index")
        if kind != "answer":
            raise RuntimeError(f"a healthy index of {name} gave {kind}: {value}")
        right = [value[0]]
        if name == "gingham":  # its build is two calls, each a commit
            _elsewhere(name, data, room / "flat", "flat").wait()
            right.append(system.fate(room / "flat")[1][0])

        def write() -> None:
            out.write_text(json.dumps({"counts": dict(counts), "examples": examples}))

        def note(group: str, file: str, folder: Path, right: list[Any] = right) -> None:
            end, said = system.judged(folder, right)
            counts[f"{group}|{end}"] += 1
            said = said.replace(str(folder), "")[:120]
            examples[f"{end}|{file}|{said}"] = examples.get(f"{end}|{file}|{said}", 0) + 1
            if sum(counts.values()) % 20 == 0:
                write()

        planned = list(attacks(room / "index", room / "other", flips))
        print(f"{name}: {len(planned)} attacks on files, a build takes {took:.1f} s", flush=True)
        for group, file, damage in planned:
            shutil.rmtree(room / "copy", ignore_errors=True)
            shutil.copytree(room / "index", room / "copy")
            damage(room / "copy")
            note(group, file, room / "copy")
        for kill in range(kills):
            shutil.rmtree(room / "copy", ignore_errors=True)
            started = _elsewhere(name, data, room / "copy", "build")
            time.sleep(took * (kill + 0.5) / kills)
            started.kill()
            started.wait()
            (room / "copy").mkdir(exist_ok=True)
            note("killed while building", "-", room / "copy")
        if name in _ADDING and kills:
            _kill_adds(system, name, data, room, kills, note)
        write()
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _kill_adds(
    system: System,
    name: str,
    data: Path,
    room: Path,
    kills: int,
    note: Callable[[str, str, Path, list[Any]], None],
) -> None:
    """At equal distances over the time that adding took, counted from where it began."""
    _elsewhere(name, data, room / "begun", "begin").wait()
    right = [system.fate(room / "begun")]
    took = 0.0
    for what in ("add", "add flat") if name == "gingham" else ("add",):
        shutil.copytree(room / "begun", room / what)
        started = _elsewhere(name, data, room / what, what)
        _line(started)
        begun = time.monotonic()
        _line(started)
        took = max(took, time.monotonic() - begun)
        started.wait()
        right.append(system.fate(room / what))
    if any(kind != "answer" for kind, _ in right):
        raise RuntimeError(f"a healthy index of {name}: {right}")
    for kill in range(kills):
        shutil.rmtree(room / "copy", ignore_errors=True)
        shutil.copytree(room / "begun", room / "copy")
        started = _elsewhere(name, data, room / "copy", "add")
        _line(started)
        time.sleep(took * (kill + 0.5) / kills)
        started.kill()
        started.wait()
        note("killed while adding", "-", room / "copy", [value[0] for _, value in right])


def _line(process: subprocess.Popen[bytes]) -> None:
    """Wait for "begin" or "done" among what a library prints."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() in (b"begin", b"done"):
            return
    raise RuntimeError("a healthy index could not be added to")


def _elsewhere(name: str, data: Path, folder: Path, what: str) -> subprocess.Popen[bytes]:
    arguments = ["--inside", name, "--data", str(data), "--build", what, "--folder", str(folder)]
    return subprocess.Popen(
        [sys.executable, str(Path(__file__)), *arguments],
        stdout=subprocess.PIPE if what.startswith("add") else subprocess.DEVNULL,
    )


# The table ---------------------------------------------------------------------------------------


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown: a row an attack and system."""
    lines = [f"| attack | system | tried | {' | '.join(ENDS)} |", "|---|---|" + "--:|" * 8]
    groups = {key.split("|")[0] for result in results.values() for key in result["counts"]}
    for group in [*sorted(groups), "all"]:
        for name, result in results.items():
            found = [
                sum(
                    count
                    for key, count in result["counts"].items()
                    if key.endswith(f"|{end}") and group in (key.split("|")[0], "all")
                )
                for end in ENDS
            ]
            cells = " | ".join(str(count) for count in found)
            lines.append(f"| {group} | {name} | {sum(found)} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("systems", nargs="*", metavar="ADAPTER=PEER_PYTHON")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--flips", type=int, default=40, help="flips of a system, about")
    parser.add_argument("--kills", type=int, default=8, help="killed builds of a system")
    parser.add_argument("--out", type=Path, help="where the counts go, as JSON")
    parser.add_argument("--inside", choices=_CLASSES, help=argparse.SUPPRESS)
    builds = ("build", "reverse", "flat", "begin", "add", "add flat")
    parser.add_argument("--build", choices=builds, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.build:
        system = System(given.inside, given.data)
        if given.build == "flat":
            system.add_only(given.folder)
        elif given.build == "begin":
            system.begin(given.folder)
        elif given.build.startswith("add"):
            system.add_rest(given.folder, compress=given.build == "add")
        else:
            system.build(given.folder, reverse=given.build == "reverse")
        return
    if given.inside:
        inside(given.inside, given.data, given.flips, given.kills, given.out)
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for system in given.systems:
            name, _, interpreter = system.partition("=")
            out = Path(folder) / name
            command = [
                interpreter,
                str(Path(__file__)),
                "--inside",
                name,
                "--data",
                str(given.data),
            ]
            command += ["--out", str(out), "--flips", str(given.flips), "--kills", str(given.kills)]
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "RAYON_NUM_THREADS": "1"}
            environment |= {"OMP_NUM_THREADS": "1", "GINGHAM_THREADS": "1"}
            subprocess.run(command, check=True, cwd=HERE, env=environment)
            results[name] = json.loads(out.read_text())
            print(name, sum(results[name]["counts"].values()), "attacks", file=sys.stderr)
    if given.out:
        given.out.write_text(json.dumps(results, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
