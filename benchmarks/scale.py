"""What a collection costs as it grows: build, size, memory, time and recall of a query.

    python benchmarks/scale.py VECTORS_FOLDER --work FOLDER --passages 10000,100000,1000000,5000000

VECTORS_FOLDER is what `benchmarks/vectors.py` made. A size that it can fill is drawn from it; a
larger one is synthetic: real passages are drawn with repetition, and to every token vector noise is
added of about the length that separates a real one from its centroid (`--noise`), so that the
copies of a passage differ as its neighbours do. All seeded. Near-copies crowd the top of a ranking,
so recall at a synthetic size says less than at a real one.

Passages stream through in blocks, so memory is the index's own. Where a size would not fit on the
disk, its passages are cut to `--short` tokens; where that does not help, it is left out with a line
that says so. Builds and questions run in processes of their own. Prints Markdown. Results stay in
`--work`, so further sizes can be measured later; `--again` does all anew.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import gingham
from gingham import TokenVectors, intake
from gingham.index.commit import create_collection
from gingham.index.promotion import AT_ONCE
from gingham.index.writer import IndexWriter
from gingham.threads import resolve_threads

BLOCK = 4096  # passages: those of one commit
EXACT = 40  # queries whose recall is measured
K = 10
WARM_UP = 20

Result = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Real passages, read from the files piece by piece.

    Mapped files would count as memory of the process that builds.
    """

    folders: Sequence[Path]
    lengths: npt.NDArray[np.int64]  # tokens of every passage of all folders
    firsts: npt.NDArray[np.int64]  # the first row of each in its file
    owners: npt.NDArray[np.int64]  # the folder of each
    starts: Sequence[int]  # bytes before the rows of a file
    dim: int

    @classmethod
    def open(cls, folders: Sequence[Path]) -> Source:
        offsets = [np.load(folder / "offsets.npy") for folder in folders]
        maps = [np.load(folder / "values.npy", mmap_mode="r") for folder in folders]
        return cls(
            folders,
            np.concatenate([np.diff(o) for o in offsets]),
            np.concatenate([o[:-1] for o in offsets]),
            np.repeat(np.arange(len(folders)), [len(o) - 1 for o in offsets]),
            [m.offset for m in maps],
            maps[0].shape[1],
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def read(self, passages: npt.NDArray[np.int64], cut: int) -> TokenVectors:
        """The vectors of these passages, up to `cut` of each."""
        counts = np.minimum(self.lengths[passages], cut)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        values = np.empty((offsets[-1], self.dim), dtype=np.float32)
        for folder in np.unique(self.owners[passages]):
            with open(self.folders[folder] / "values.npy", "rb") as file:
                for i in np.flatnonzero(self.owners[passages] == folder):
                    file.seek(self.starts[folder] + int(self.firsts[passages[i]]) * self.dim * 2)
                    raw = file.read(int(counts[i]) * self.dim * 2)
                    rows = np.frombuffer(raw, dtype=np.float16).reshape(-1, self.dim)
                    values[offsets[i] : offsets[i + 1]] = rows
        return TokenVectors(values, offsets)


@dataclass(frozen=True)
class Plan:
    """One size."""

    passages: int
    bits: int
    threads: int
    noise: float
    cut: int  # tokens a passage at most

    @property
    def name(self) -> str:
        parts = (self.passages, f"{self.bits}b", f"{self.threads}t", f"{self.noise:g}n", self.cut)
        return "-".join(map(str, parts))

    def blocks(self, source: Source) -> Iterator[TokenVectors]:
        """All passages, a commit's worth at a time."""
        random = np.random.default_rng(0)
        if self.passages <= len(source):
            chosen = np.sort(random.permutation(len(source))[: self.passages])
            for start in range(0, self.passages, BLOCK):
                yield source.read(chosen[start : start + BLOCK], self.cut)
            return
        for start in range(0, self.passages, BLOCK):
            drawn = random.integers(len(source), size=min(BLOCK, self.passages - start))
            block = source.read(drawn, self.cut)
            noise = random.standard_normal(block.values.shape, dtype=np.float32)
            noise *= self.noise / math.sqrt(source.dim)
            noise += block.values
            noise /= np.linalg.norm(noise, axis=1, keepdims=True)
            yield TokenVectors(noise, block.offsets)

    def tokens(self, source: Source) -> float:
        """How many tokens, about."""
        return self.passages * float(np.minimum(source.lengths, self.cut).mean())

    def disk(self, source: Source) -> float:
        """Bytes that a build needs at its peak, about.

        What is flat and its copy while segments are merged, and what is coded, with room for a
        merge.
        """
        tokens = self.tokens(source)
        flat = min(tokens, AT_ONCE) * (source.dim + 4)
        return 2 * flat + 1.5 * tokens * (source.dim * self.bits / 8 + 10)


def build(plan: Plan, folders: Sequence[Path], target: Path) -> Result:
    """Make the collection; what draws the vectors is not timed.

    `Collection.add` takes vectors as one value, which has to be in memory. This is what it does
    over an iterator of texts, with the encoder left out: commits in one writing session, which
    codes whenever much is flat, and once more at the end. So the codebook is trained on all there
    is (up to AT_ONCE tokens), not on what the first of many calls of `add` brought.
    """
    os.environ["GINGHAM_THREADS"] = str(plan.threads)  # of what is coded between commits
    watch = Watch()
    source = Source.open(folders)
    before = _memory()["VmRSS"]
    create_collection(target)
    add = 0.0
    done = 0
    with IndexWriter(target) as writer:
        for vectors in plan.blocks(source):
            start = time.perf_counter()
            ids = [str(number) for number in range(done, done + len(vectors))]
            for batch in intake.vector_batches(vectors, ids, None):
                writer.digests(ids)
                fresh, values = batch.encode(batch.documents)
                writer.add(fresh, values, "int8", {"bits": plan.bits})
            add += time.perf_counter() - start
            done += len(vectors)
        start = time.perf_counter()
        writer.settle(plan.threads)
    with gingham.open(target, threads=plan.threads) as collection:
        collection.optimize(bits=plan.bits)  # also what is too small to be coded by itself
        optimize = time.perf_counter() - start
        info = collection.info()
    assert (info.clustered, info.bits) == (info.tokens, plan.bits), info
    return {
        "tokens": info.tokens,
        "segments": info.segments,
        "centroids": info.centroids,
        "bytes": info.bytes,
        "add_s": add,
        "optimize_s": optimize,
        "before_bytes": before,
        "peak_bytes": _memory()["VmHWM"],
        "private_bytes": watch.stop(),
    }


class Watch:
    """The most memory that this process has had without mapped files, ten looks a second."""

    def __init__(self) -> None:
        self._most = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stopped.wait(0.1):
            self._most = max(self._most, _memory()["RssAnon"])

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        return self._most


def ask(plan: Plan, queries: npt.NDArray[np.float32], target: Path) -> Result:
    """Open the collection, and query it with defaults: one by one on one thread, then together."""
    gingham.open(target, threads=1, read_only=True).close()  # imports what it needs
    before = _memory()
    asked = [TokenVectors.from_arrays([query]) for query in queries]
    start = time.perf_counter()
    collection = gingham.open(target, threads=1, read_only=True)
    opened = time.perf_counter() - start
    start = time.perf_counter()
    collection.search(asked[0], K, texts=False)
    first = time.perf_counter() - start
    for number in range(WARM_UP):
        collection.search(asked[number % len(asked)], K, texts=False)
    milliseconds = []
    found = []
    for query in asked:
        start = time.perf_counter()
        hits = collection.search(query, K, texts=False)
        milliseconds.append((time.perf_counter() - start) * 1000)
        found.append({hit.id for hit in hits})
    after = _memory()
    together = TokenVectors.from_arrays(list(queries))
    rates = []
    for threads in (1, plan.threads):
        with gingham.open(target, threads=threads, read_only=True) as other:
            seconds = []
            for _ in range(5):
                start = time.perf_counter()
                other.search_many(together, K, texts=False)
                seconds.append(time.perf_counter() - start)
            rates.append(len(queries) / min(seconds))
    shares = []
    with gingham.open(target, threads=plan.threads, read_only=True) as other:
        for query, ids in zip(asked[:EXACT], found, strict=False):
            exact = {hit.id for hit in other.search(query, K, exact=True, texts=False)}
            shares.append(len(ids & exact) / len(exact))
    return {
        "open_ms": opened * 1000,
        "first_ms": first * 1000,
        "ms": milliseconds,
        "rates": rates,
        "recall": float(np.mean(shares)),
        "rss_bytes": after["VmRSS"] - before["VmRSS"],
        "anonymous_bytes": after["RssAnon"] - before["RssAnon"],
    }


def _memory() -> dict[str, int]:
    """Of this process in bytes: now (VmRSS), without mapped files (RssAnon), at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    names = ("VmRSS", "RssAnon", "VmHWM")
    return {name: int(fields[name].split()[0]) * 1024 for name in names}


def elsewhere(function: Callable[..., Result], *arguments: object) -> Result:
    """Call in a new interpreter, whose memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def spread_queries(folders: Sequence[Path], count: int) -> npt.NDArray[np.float32]:
    """So many, in turn from each dataset."""
    arrays = [np.load(folder / "queries.npy") for folder in folders]
    longest = max(map(len, arrays))
    turns = [array[i] for i in range(longest) for array in arrays if i < len(array)]
    return np.stack(turns[:count]).astype(np.float32)


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The exponent of growth: the slope of a line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def report(measured: Sequence[tuple[Plan, Result]]) -> Iterator[str]:
    """The table and the exponents."""
    yield (
        "| passages | tokens | tokens/passage | add s | optimize s | build s | µs/token "
        "| peak MB | of that private MB "
        "| bytes/token | centroids | segments | open ms | first ms | ms p50 | ms p95 "
        "| queries/s, 1 thread | queries/s, all | recall@10 | resident MB | of that private MB |"
    )
    yield "|" + "---|" * 21
    for plan, r in measured:
        seconds = r["add_s"] + r["optimize_s"]
        cells = [
            str(plan.passages) + ("" if r["real"] else " (synthetic)"),
            str(r["tokens"]),
            f"{r['tokens'] / plan.passages:.0f}",
            f"{r['add_s']:.1f}",
            f"{r['optimize_s']:.1f}",
            f"{seconds:.1f}",
            f"{seconds / r['tokens'] * 1e6:.1f}",
            f"{r['peak_bytes'] / 1e6:.0f}",
            f"{r['private_bytes'] / 1e6:.0f}",
            f"{r['bytes'] / r['tokens']:.1f}",
            str(r["centroids"]),
            str(r["segments"]),
            f"{r['open_ms']:.1f}",
            f"{r['first_ms']:.1f}",
            f"{np.median(r['ms']):.2f}",
            f"{np.percentile(r['ms'], 95):.2f}",
            *(f"{rate:.0f}" for rate in r["rates"]),
            f"{r['recall']:.3f}",
            f"{r['rss_bytes'] / 1e6:.0f}",
            f"{r['anonymous_bytes'] / 1e6:.0f}",
        ]
        yield f"| {' | '.join(cells)} |"
    if len(measured) > 1:
        results = [r for _, r in measured]
        tokens = [r["tokens"] for r in results]
        builds = slope(tokens, [r["add_s"] + r["optimize_s"] for r in results])
        queries = slope(tokens, [float(np.median(r["ms"])) for r in results])
        yield ""
        yield (
            "Exponents of growth with tokens (1 would be in proportion), over all sizes: build "
            f"{builds:.2f}, query {queries:.2f}."
        )
        if len({plan.cut for plan, _ in measured}) > 1:
            yield (
                "Not all sizes have passages of one length (tokens/passage): --cut gives them one."
            )


def main() -> None:
    """Measure the sizes that are missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("vectors", type=Path, help="folder of benchmarks/vectors.py")
    parser.add_argument("--work", type=Path, required=True, help="for collections and results")
    parser.add_argument("--passages", default="10000,100000,1000000,5000000")
    parser.add_argument("--datasets", help="default: all")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--threads", type=int, help="of building; default: all cores")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--noise", type=float, default=0.4, help="length of what is added")
    parser.add_argument("--cut", type=int, default=4096, help="tokens a passage, at every size")
    parser.add_argument("--short", type=int, default=30, help="the same where the disk is small")
    parser.add_argument("--disk-limit", type=float, help="GB; default: 0.8 of what is free")
    parser.add_argument("--keep", action="store_true", help="do not delete the collections")
    parser.add_argument("--again", action="store_true", help="measure what has been measured")
    arguments = parser.parse_args()
    names = arguments.datasets.split(",") if arguments.datasets else None
    folders = [
        file.parent
        for file in sorted(arguments.vectors.glob("*/names.json"))
        if names is None or file.parent.name in names
    ]
    if not folders:
        parser.error(f"{arguments.vectors} holds no vectors: see benchmarks/vectors.py")
    source = Source.open(folders)
    queries = spread_queries(folders, arguments.queries)
    threads = resolve_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    measured: list[tuple[Plan, Result]] = []
    for size in sorted(int(text) for text in arguments.passages.split(",")):
        limit = (arguments.disk_limit or 0.8 * shutil.disk_usage(arguments.work).free / 1e9) * 1e9
        cuts = (arguments.cut, min(arguments.cut, arguments.short))
        plans = [Plan(size, arguments.bits, threads, arguments.noise, cut) for cut in cuts]
        fitting = [plan for plan in plans if plan.disk(source) <= limit]
        if not fitting:
            need = plans[-1].disk(source) / 1e9
            print(f"(left out: {size} passages need {need:.0f} GB, {limit / 1e9:.0f} allowed)\n")
            continue
        plan = fitting[0]
        file = arguments.work / f"{plan.name}.json"
        if arguments.again or not file.exists():
            print(f"{plan} …", file=sys.stderr, flush=True)
            target = arguments.work / f"{plan.name}.gingham"
            shutil.rmtree(target, ignore_errors=True)
            result: Result = {"plan": asdict(plan), "real": size <= len(source)}
            result |= elsewhere(build, plan, folders, target)
            result |= elsewhere(ask, plan, queries, target)
            file.write_text(json.dumps(result), encoding="utf-8")
            if not arguments.keep:
                shutil.rmtree(target)
        measured.append((plan, json.loads(file.read_text(encoding="utf-8"))))
    print(
        f"{arguments.bits} bits, built with {threads} threads; {len(queries)} queries on one, "
        f"k = {K}, default parameters, recall of {min(EXACT, len(queries))} against exact=True. "
        "Peak and resident memory include mapped pages of the index; resident is what opening and "
        "asking added.\n"
    )
    print("\n".join(report(measured)))


if __name__ == "__main__":
    main()
