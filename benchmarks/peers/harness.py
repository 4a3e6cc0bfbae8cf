"""What every peer's adapter does alike: command line, threads, timing, memory, the result file.

An adapter is run by the interpreter of its peer's own environment, so this module needs nothing but
NumPy and never imports gingham. NumPy too is imported late, after the number of threads is fixed.

    PEER_PYTHON ADAPTER DATA_FOLDER INDEX_FOLDER --threads N --out RESULT.json
        [--build] [--bits B] [--build-options JSON] [--points JSON]

DATA_FOLDER holds `values.npy` (n_tokens, dim) float16, `offsets.npy` (n_passages + 1) int64,
`token_ids.npy` (n_tokens) uint32 and `queries.npy` (n_queries, length, dim) float32. `--build`
makes the index anew and leaves it in INDEX_FOLDER, in a process of its own so that the memory
measured after searching is that of searching; `--build-options` go to the library as they are, none
means its defaults. `--points` is a JSON list of parameters, `[]` for no
search; without it the adapter's own list is used.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

K = 100
WARM_UP = 20
THREAD_VARIABLES = (
    "RAYON_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Passages:
    """Token vectors of all passages, in memory."""

    values: NDArray[np.float16]
    offsets: NDArray[np.int64]
    token_ids: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.offsets) - 1


class Peer(Protocol):
    """One system, on one index folder. Heavy imports belong in `__init__`, not in the module."""

    distribution: str
    points: Sequence[Parameters]

    def __init__(self, folder: Path, threads: int) -> None: ...

    def prepare_passages(self, passages: Passages) -> Any:
        """Give the passages in the form that `build` wants. Not timed."""
        ...

    def build(self, prepared: Any, bits: int, options: Parameters) -> None:
        """Make the index in the folder, which is empty. Timed."""
        ...

    def open(self) -> None:
        """Load the index for searching. Not timed."""
        ...

    def prepare_query(self, query: NDArray[np.float32]) -> Any:
        """Give one query's vectors in the form that `search` wants. Not timed."""
        ...

    def search(self, query: Any, k: int, parameters: Parameters) -> Any:
        """Answer one query, with whatever the library returns. Timed."""
        ...

    def passage_numbers(self, answer: Any) -> Sequence[int]:
        """Passage numbers of an answer, best first. Not timed."""
        ...


def run(make: type[Peer], description: str | None) -> None:
    """Be the command line of one adapter."""
    arguments = _arguments(description)
    threads = str(arguments.threads)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, threads))
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    points = make.points if arguments.points is None else json.loads(arguments.points)
    result: dict[str, Any] = {
        "name": make.distribution,
        "version": version(make.distribution),
        "threads": arguments.threads,
        "build_options": json.loads(arguments.build_options),
        "build_s": None,
        "build_peak_bytes": None,
        "build_parts": {},
    }
    if arguments.build and points:
        result |= _build_elsewhere()
    elif arguments.build:
        result |= _build(make, arguments)
    result["bytes"] = _folder_bytes(arguments.index)
    result["rss_bytes"] = None
    result["points"] = []
    if points:
        result |= _search(make, arguments, points)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result), encoding="utf-8")


def _arguments(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with the vectors")
    parser.add_argument("index", type=Path, help="folder of the index")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--build", action="store_true", help="make the index anew")
    parser.add_argument("--bits", type=int, default=4, help="a dimension, where there is a choice")
    parser.add_argument("--build-options", default="{}", help="JSON object")
    parser.add_argument("--points", help="JSON list of parameters; [] to search nothing")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def _build_elsewhere() -> dict[str, Any]:
    """Build in a process of its own, with the same command line less the searching."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "build.json"
        extra = ["--points", "[]", "--out", str(out)]  # of an option given twice the last counts
        subprocess.run([sys.executable, *sys.argv, *extra], check=True)
        built = json.loads(out.read_text(encoding="utf-8"))
    return {name: built[name] for name in ("build_s", "build_peak_bytes", "build_parts")}


def _build(make: type[Peer], arguments: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    shutil.rmtree(arguments.index, ignore_errors=True)
    arguments.index.mkdir(parents=True)
    peer = make(arguments.index, arguments.threads)
    names = ("values", "offsets", "token_ids")
    passages = Passages(*(np.load(arguments.data / f"{name}.npy") for name in names))
    prepared = peer.prepare_passages(passages)
    options = json.loads(arguments.build_options)
    start = time.perf_counter()
    peer.build(prepared, arguments.bits, options)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    parts = getattr(peer, "build_parts", {})  # seconds by name, of a peer that has several
    return {"build_s": seconds, "build_peak_bytes": peak, "build_parts": parts}


def _search(
    make: type[Peer], arguments: argparse.Namespace, points: Sequence[Parameters]
) -> dict[str, Any]:
    import numpy as np

    peer = make(arguments.index, arguments.threads)
    queries = [peer.prepare_query(query) for query in np.load(arguments.data / "queries.npy")]
    before = _resident_bytes()
    peer.open()
    measured = [_measure(peer, queries, parameters) for parameters in points]
    return {
        "rss_before_bytes": before["VmRSS"],
        "rss_bytes": (after := _resident_bytes())["VmRSS"],
        "rss_anonymous_bytes": after["RssAnon"],
        "points": measured,
    }


def _measure(peer: Peer, queries: Sequence[Any], parameters: Parameters) -> dict[str, Any]:
    """Ask every query, one at a time, after a warm-up."""
    for number in range(WARM_UP):
        peer.search(queries[number % len(queries)], K, parameters)
    ids: list[list[int]] = []
    milliseconds: list[float] = []
    gc.collect()
    gc.disable()
    cpu = 0.0
    for query in queries:
        cpu_start = time.process_time()
        start = time.perf_counter()
        answer = peer.search(query, K, parameters)
        milliseconds.append((time.perf_counter() - start) * 1000)
        cpu += time.process_time() - cpu_start
        ids.append([int(number) for number in peer.passage_numbers(answer)][:K])
    gc.enable()
    return {
        "parameters": dict(parameters),
        "ms": milliseconds,
        "cpu_per_wall": cpu * 1000 / sum(milliseconds),  # above the number of threads: not obeyed
        "ids": ids,
    }


def _resident_bytes() -> dict[str, int]:
    """Resident memory of this process: all of it (VmRSS), and without mapped files (RssAnon)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "RssAnon")}


def _folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
