"""Where the time of a staged search goes: each stage beside its floor.

    python benchmarks/stages.py COLLECTION QUERIES.npy          # (n, length, dim) float32

COLLECTION has one clustered segment (`gingham.open`, `add`, `optimize(bits=…)`). Every query is
asked once a round, so each finds the caches as another left them; a stage's time is the mean over
queries of the median over rounds, on one thread, as the compiled search itself measured it.

The floor of a stage is the larger of its arithmetic, at the processor's best (vpdpbusd, measured by
cpp/tests/floor.cpp), and of its bytes, at what one thread reads from memory here (measured).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import gingham
from gingham.index.clustered_segment import ClusteredSegment
from gingham.kernels import _native, reference_codec, reference_search
from gingham.search.parameters import SearchParameters
from kernels import floors

ROUNDS = 9
K = 10
SETS = 60  # queries whose rows and tokens are counted


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
    arguments = parser.parse_args()
    queries = np.load(arguments.queries)
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
    """Time searches and count what each stage touches."""
    coder, coded = segment.codebook.coder, segment.passages
    book = coder.codebook
    sizes = asdict(parameters)
    supers, probes, candidates = (sizes[name] for name in ("supers", "probes", "candidates"))
    seconds = np.empty((ROUNDS, len(queries), 5))
    whole = np.empty((ROUNDS, len(queries)))
    sifted = np.empty(len(queries), dtype=np.int64)
    asked = [gingham.TokenVectors.from_arrays([query]) for query in queries]
    for number in range(ROUNDS):
        for i, query in enumerate(queries):
            found = _native.search(
                query,
                coder.native,
                [coded.native],
                [None],
                **sizes,
                k=K,
                threads=1,
                instructions="",
            )
            seconds[number, i], sifted[i] = found[3:]
        for i, one in enumerate(asked):
            start = time.perf_counter()
            collection.search(one, K, texts=False)
            whole[number, i] = time.perf_counter() - start
    pool, probe, gather, sift, refine = np.median(seconds, axis=0).mean(axis=0) * 1e6
    outside = (np.median(whole, axis=0) - np.median(seconds.sum(axis=2), axis=0)).mean() * 1e6
    inside = np.median(seconds.sum(axis=2), axis=0) * 1e6
    print(
        f"Over the queries, in µs: median {np.median(inside):.0f} in compiled code, "
        f"{np.median(whole, axis=0).mean() * 1e6:.0f} mean and "
        f"{np.median(np.median(whole, axis=0)) * 1e6:.0f} median in all; "
        f"{np.median(sifted):.0f} median and {np.mean(sifted):.0f} mean sifted. Means by stage:\n"
    )

    # What a query touches, on average.
    looked, lists, near_tokens, all_tokens, refined_tokens = [], [], [], [], []
    for i in range(0, len(queries), max(1, len(queries) // SETS)):
        few = np.asarray(_native.pool(queries[i]))
        looked.append(len(reference_search._looked_into(book, few, supers)[0]))
        chosen = np.asarray(_native.probe(few, coder.native, supers, probes, "")[0])
        lists.append(np.diff(coded.lists)[chosen[:, :-1].ravel()].sum())
        near = reference_search._near(book, few, supers, probes)
        arrays = (coder.native, [coded.native], [None])
        rows = np.asarray(_native.gather(few, *arrays, supers, probes, candidates, ""))[:, 1]
        tokens = np.concatenate(
            [np.arange(*coded.offsets[row : row + 2]) for row in rows[: sifted[i]]]
        )
        all_tokens.append(len(tokens))
        near_tokens.append(near[reference_codec.centroids_of(book, coded.codes[tokens])].sum())
        kept = np.asarray(
            _native.search(queries[i], *arrays, **sizes, k=K, threads=1, instructions="")[2]
        )
        refined_tokens.append((coded.offsets[kept + 1] - coded.offsets[kept]).sum())
    row, residual = book.row, book.residual_bytes
    sixteens = row / 128  # products are counted in 128 dimensions
    registers = -(-queries.shape[1] // 16)
    rows_of = len(book.supers) + float(np.mean(looked))
    near_of, every, refined_of = (
        float(np.mean(counts)) for counts in (near_tokens, all_tokens, refined_tokens)
    )
    return [
        Stage("pool, quantise", pool, 0, queries[0].nbytes),
        Stage("probe", probe, rows_of * sixteens, rows_of * row),
        Stage("gather", gather, 0, 2 * float(np.mean(lists))),
        Stage("sift", sift, near_of * sixteens, 3 * every + near_of * (residual + row)),
        Stage(
            "refine", refine, refined_of * sixteens * registers, refined_of * (3 + residual + row)
        ),
        Stage("Python around it", outside, 0, 0),
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
