"""Where the time of a staged search goes: each stage beside its floor.

    python benchmarks/stages.py COLLECTION QUERIES.npy          # (n, length, dim) float32

COLLECTION has one clustered segment (`gingham.open`, `add`, `optimize(bits=…)`). Every stage is
timed on one thread as the least of seven rounds over the same queries, so that what other processes
take is left out; caches are then warmer than in a stream of other queries. A stage's time is that
of the search up to it less that of the search before it.

The floor of a stage is the larger of its arithmetic, at the processor's best (vpdpbusd, measured by
cpp/tests/floor.cpp), and of its bytes, at what one thread reads from memory here (measured).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import gingham
from gingham.index.clustered_segment import ClusteredSegment
from gingham.kernels import _native, clustered
from gingham.search.parameters import SearchParameters
from kernels import floors

ROUNDS = 7


@dataclass
class Stage:
    """A row of the table: products are of one 128-dimensional row with 16 query vectors."""

    name: str
    microseconds: float
    products: float
    bytes: float


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("collection", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--count", type=int, default=60)
    arguments = parser.parse_args()
    queries = np.load(arguments.queries)
    queries = queries[:: max(1, len(queries) // arguments.count)][: arguments.count]
    with gingham.open(arguments.collection, threads=1, read_only=True) as collection:
        [segment] = collection._snapshot.segments
        assert isinstance(segment, ClusteredSegment)
        passages = segment.record.passages
        parameters = SearchParameters.default(10, passages)
        print(f"{passages} passages, {segment.record.tokens} tokens, {parameters}\n")
        stages = measure(collection, segment, queries, parameters)
    nanoseconds = floors().get("vnni_zmm", float("nan")) / 2  # of 16 query vectors
    bandwidth = read_bandwidth()
    print("| stage | µs | products | kB | floor µs | ratio |\n|---|---|---|---|---|---|")
    for stage in stages:
        floor = max(stage.products * nanoseconds / 1e3, stage.bytes / bandwidth * 1e6)
        ratio = f"{stage.microseconds / floor:.1f}" if floor else ""
        print(
            f"| {stage.name} | {stage.microseconds:.0f} | {stage.products:.0f} | "
            f"{stage.bytes / 1e3:.0f} | {floor:.0f} | {ratio} |"
        )
    print(f"| all | {sum(stage.microseconds for stage in stages):.0f} | | | | |")
    print(f"\n{nanoseconds:.2f} ns a product of 16 x 128, {bandwidth / 1e9:.0f} GB/s read")


def measure(
    collection: gingham.Collection,
    segment: ClusteredSegment,
    queries: np.ndarray,
    parameters: SearchParameters,
) -> list[Stage]:
    """Time nested searches and count what each stage touches."""
    coder, coded = segment.codebook.coder, segment.passages
    book = coder.codebook
    few = [np.asarray(_native.pool(query)) for query in queries]
    s, p, n, r = parameters.supers, parameters.probes, parameters.candidates, parameters.refined

    def least(work: Callable[[int], object]) -> float:
        times = np.full(len(queries), np.inf)
        for _ in range(ROUNDS):
            for i in range(len(queries)):
                start = time.perf_counter()
                work(i)
                times[i] = min(times[i], time.perf_counter() - start)
        return float(times.mean() * 1e6)

    def search(i: int, candidates: int, refined: int) -> clustered.Refined:
        sizes = {"supers": s, "probes": p, "candidates": candidates, "refined": refined}
        return clustered.search(coder, [coded], [None], queries[i], threads=1, **sizes)

    pool = least(lambda i: _native.pool(queries[i]))
    probe = least(lambda i: _native.probe(few[i], coder.native, s, p, ""))
    gather = least(
        lambda i: _native.gather(few[i], coder.native, [coded.native], [None], s, p, n, "")
    )
    few_refined = least(lambda i: search(i, r, r))  # nothing to sift
    sifted = least(lambda i: search(i, n, r))
    one = least(lambda i: search(i, 1, 1))
    whole = least(lambda i: collection.search(queries[i], parameters=parameters, texts=False))

    # What a query touches, on average.
    children = np.diff(book.children)
    looked, lists, near_tokens, all_tokens, refined_tokens = [], [], [], [], []
    codes = np.asarray(coded.codes).astype(np.int64)
    centroids = codes[:, 0] | codes[:, 1] << 8 | (codes[:, 2] & 15) << 16
    supers_of = np.repeat(np.arange(len(children)), children)
    for i in range(0, len(queries), 4):
        wide = np.asarray(_native.probe(few[i], coder.native, s, 4 * p, "")[0])
        near = np.zeros(len(book.centroids), dtype=np.bool_)
        near[wide] = True
        looked.append(children[np.unique(supers_of[wide])].sum())
        lists.append(np.diff(coded.lists)[wide[:, :p].ravel()].sum())
        rows = np.asarray(
            _native.gather(few[i], coder.native, [coded.native], [None], s, p, n, "")
        )[:, 1]
        tokens = np.concatenate(
            [np.arange(coded.offsets[row], coded.offsets[row + 1]) for row in rows]
        )
        all_tokens.append(len(tokens))
        near_tokens.append(near[centroids[tokens]].sum())
        kept = search(i, n, r).passages
        refined_tokens.append((coded.offsets[kept + 1] - coded.offsets[kept]).sum())
    row, residual = book.row, book.residual_bytes
    sixteens = row / 128  # products are counted in 128 dimensions
    registers = -(-queries.shape[1] // 16)
    return [
        Stage("pool", pool, 0, queries[0].nbytes),
        Stage(
            "probe",
            probe,
            (len(book.supers) + np.mean(looked)) * sixteens,
            (len(book.supers) + np.mean(looked)) * row,
        ),
        Stage("gather and prune", gather - probe, 0, 2 * np.mean(lists)),
        Stage(
            "sift",
            sifted - few_refined,
            np.mean(near_tokens) * sixteens,
            3 * np.mean(all_tokens) + np.mean(near_tokens) * residual,
        ),
        Stage(
            "refine",
            few_refined - one,
            np.mean(refined_tokens) * sixteens * registers,
            np.mean(refined_tokens) * (3 + residual + row),
        ),
        Stage("Python around it", whole - sifted, 0, 0),
    ]


def read_bandwidth() -> float:
    """Bytes a second that one thread sums from memory."""
    block = np.ones(1 << 25, dtype=np.int64)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        block.max()
        best = min(best, time.perf_counter() - start)
    return block.nbytes / best


if __name__ == "__main__":
    main()
