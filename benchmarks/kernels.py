"""MaxSim kernels beside their peers: time a document token, share of the arithmetic floor, error.

    python benchmarks/kernels.py                    # one thread, then all cores
    python benchmarks/kernels.py --threads 1 --documents 2000

Prints Markdown. 32 query vectors of 128 dimensions meet ragged documents of about 75 tokens. All
contenders of a precision take turns in every round, so that a busy machine slows all alike; a ratio
is the median over rounds, a time the least. What a peer needs beforehand (packing, padding, casts)
is not timed; peers that are not installed are left out with a line that says so (the extra `bench`
brings them). Each number of threads runs in a process of its own, since peers read theirs from the
environment at start.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gingham import kernels
from gingham.threads import resolve_threads

Score = Callable[[], np.ndarray]
ROOT = Path(__file__).parents[1]
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
FLOORS = {
    ("float32", "avx512"): "fma_zmm",
    ("float32", "avx2"): "fma_ymm",
    ("int8", "avx512vnni"): "vnni_zmm",
    ("int8", "avx512"): "madd_zmm",
    ("int8", "avx2"): "madd_ymm",
}
BYTES = {"float32": 512, "float16": 256, "int8": 132}


@dataclass
class Data:
    """One query, ragged unit vectors, and the same in the types of a segment."""

    query: np.ndarray
    values: np.ndarray
    offsets: np.ndarray
    halves: np.ndarray
    codes: np.ndarray
    scales: np.ndarray
    truth: np.ndarray

    @classmethod
    def draw(cls, n_documents: int) -> Data:
        """Directions around 512 topics, so that best matches stand out as in real documents."""
        random = np.random.default_rng(0)
        lengths = np.clip(random.lognormal(np.log(66), 0.5, n_documents), 1, 220).astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        topics = random.standard_normal((512, 128), dtype=np.float32)

        def vectors(count: int) -> np.ndarray:
            drawn = topics[random.integers(512, size=count)]
            drawn += random.standard_normal((count, 128), dtype=np.float32)
            return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

        query, values = vectors(32), vectors(int(offsets[-1]))
        scales = (np.abs(values).max(axis=1) / 127).astype(np.float32)
        codes = np.rint(values / scales[:, None]).astype(np.int8)
        wide = query.astype(np.float64)
        truth = np.array(
            [
                (wide @ values[start:stop].T.astype(np.float64)).max(axis=1).sum()
                for start, stop in itertools.pairwise(offsets)
            ]
        )
        return cls(query, values, offsets, values.astype(np.float16), codes, scales, truth)

    def documents(self, values: np.ndarray) -> list[np.ndarray]:
        return np.split(values, self.offsets[1:-1])


@dataclass
class Contender:
    name: str
    precision: str
    score: Score
    ours: str | None = None
    times: list[float] = field(default_factory=list)


def gingham(data: Data, threads: int) -> Iterator[Contender]:
    for name in kernels.instruction_sets():
        for precision, values in (
            ("float32", data.values),
            ("float16", data.halves),
            ("int8", data.codes),
        ):
            if precision != "int8" and name.endswith(("vnni", "dot")):
                continue  # these differ in int8 only
            scales = data.scales if precision == "int8" else None

            def score(
                values: np.ndarray = values, scales: np.ndarray | None = scales, name: str = name
            ) -> np.ndarray:
                return kernels.score(
                    data.query,
                    values,
                    data.offsets,
                    scales=scales,
                    threads=threads,
                    instructions=name,
                )

            yield Contender(f"gingham {name}", precision, score, ours=name)


def numpy_reference(data: Data, threads: int) -> Iterator[Contender]:
    def score(values: np.ndarray, scales: np.ndarray | None = None) -> np.ndarray:
        return kernels.score(
            data.query, values, data.offsets, scales=scales, instructions="reference"
        )

    yield Contender("NumPy reference", "float32", lambda: score(data.values))
    yield Contender("NumPy reference", "int8", lambda: score(data.codes, data.scales))


def maxsim_cpu(data: Data, threads: int) -> Iterator[Contender]:
    import maxsim_cpu

    documents = data.documents(data.values)
    yield Contender(
        "maxsim-cpu variable",
        "float32",
        lambda: np.asarray(maxsim_cpu.maxsim_scores_variable(data.query, documents)),
    )


def numkong(data: Data, threads: int) -> Iterator[Contender]:
    import numkong as nk

    if threads == 1:  # its calls are single-threaded; packing once, as an index would
        for precision, query, values in (
            ("float32", data.query, data.values),
            ("float16", data.query.astype(np.float16), data.halves),
        ):
            packed_query = nk.maxsim_pack(query)
            packed = [nk.maxsim_pack(document) for document in data.documents(values)]

            def score(packed_query: object = packed_query, packed: list = packed) -> np.ndarray:
                # It returns the sum of 1 - cosine.
                distances = [nk.maxsim_packed(packed_query, document) for document in packed]
                return len(data.query) - np.array(distances, dtype=np.float32)

            yield Contender("numkong maxsim_packed", precision, score)

        query_codes, query_scales = kernels.reference.quantize(data.query)
        packed_codes = nk.dots_pack(query_codes)

        def score_int8() -> np.ndarray:
            dots = np.asarray(nk.dots_packed(data.codes, packed_codes)).astype(np.float32)
            dots *= data.scales[:, None]
            return np.maximum.reduceat(dots, data.offsets[:-1], axis=0) @ query_scales

        yield Contender("numkong dots_packed + NumPy max", "int8", score_int8)


def torch(data: Data, threads: int) -> Iterator[Contender]:
    import torch

    torch.set_num_threads(threads)
    query = torch.from_numpy(data.query)
    values = torch.from_numpy(data.values)
    offsets = torch.from_numpy(data.offsets)
    lengths = torch.diff(offsets)
    order = torch.argsort(lengths)

    def padded_batches(size: int = 256) -> list[tuple[torch.Tensor, torch.Tensor]]:
        batches = []
        for rows in torch.split(order, size):
            parts = [values[offsets[i] : offsets[i + 1]] for i in rows]
            batch = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
            batches.append((batch, torch.arange(batch.shape[1])[None] >= lengths[rows, None]))
        return batches

    batches = padded_batches()

    def bmm() -> np.ndarray:
        scores = torch.empty(len(lengths))
        for rows, (batch, padding) in zip(torch.split(order, 256), batches, strict=True):
            similarities = batch @ query.T
            similarities.masked_fill_(padding[:, :, None], -torch.inf)
            scores[rows] = similarities.amax(1).sum(1)
        return scores.numpy()

    documents = list(torch.split(values, lengths.tolist()))

    def loop() -> np.ndarray:
        return np.array([(query @ document.T).amax(1).sum() for document in documents])

    def segments(one: torch.Tensor, every: torch.Tensor) -> Score:
        def score() -> np.ndarray:
            similarities = (every @ one.T).float()
            return torch.segment_reduce(similarities, "max", lengths=lengths).sum(1).numpy()

        return score

    codes, query_scales = kernels.reference.quantize(data.query)
    query_codes = torch.from_numpy(codes.T.copy())
    document_codes, scales = torch.from_numpy(data.codes), torch.from_numpy(data.scales)[:, None]

    def int8() -> np.ndarray:
        similarities = torch._int_mm(document_codes, query_codes).float().mul_(scales)
        maxima = torch.segment_reduce(similarities, "max", lengths=lengths)
        return (maxima @ torch.from_numpy(query_scales)).numpy()

    yield Contender("torch padded matmul", "float32", bmm)
    yield Contender("torch loop", "float32", loop)
    yield Contender("torch matmul + segment max", "float32", segments(query, values))
    for name, kind in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        score = segments(query.to(kind), values.to(kind))
        yield Contender(f"torch {name} matmul + segment max", "float16", score)
    yield Contender("torch _int_mm + segment max", "int8", int8)


def floors() -> dict[str, float]:
    """Nanoseconds of 32 x 128 multiply-adds at the processor's best, by instruction."""
    compiler = shutil.which("c++")
    if compiler is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "floor"
        source = ROOT / "cpp/tests/floor.cpp"
        subprocess.run([compiler, "-O2", "-std=c++20", source, "-o", program], check=True)
        lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return {name: float(value) for name, value in map(str.split, lines.splitlines())}


def compare(n_documents: int, threads: int, rounds: int) -> None:
    data = Data.draw(n_documents)
    n_tokens = int(data.offsets[-1])
    contenders: list[Contender] = []
    for source in (gingham, maxsim_cpu, numkong, torch, numpy_reference):
        try:
            contenders += source(data, threads)
        except ImportError as error:
            print(f"(left out: {source.__name__}: {error})\n")
    errors = {id(c): np.abs(c.score() - data.truth).max() for c in contenders}
    before = floors()
    # Of one thread the processor's time: a busy machine interrupts calls of many milliseconds.
    clock = time.process_time if threads == 1 else time.perf_counter
    for precision in ("float32", "float16", "int8"):
        field_of = [c for c in contenders if c.precision == precision]
        for _ in range(rounds):
            for contender in field_of:
                start = clock()
                contender.score()
                contender.times.append((clock() - start) / n_tokens * 1e9)
    after = floors()
    floor = {name: min(before[name], after[name]) / threads for name in before}

    print(f"\n{threads} thread{'s' * (threads > 1)}, {n_documents} documents, {n_tokens} tokens\n")
    print(
        "| | precision | bytes/token | ns/token | best peer / this | floor ns | share | max error |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for precision in ("float32", "float16", "int8"):
        field_of = [c for c in contenders if c.precision == precision]
        peers = [c for c in field_of if c.ours is None]
        best = min(peers, key=lambda c: statistics.median(c.times), default=None)
        for c in sorted(field_of, key=lambda c: (c.ours is None, min(c.times))):
            ratio = ""
            if best is not None:
                ratios = [a / b for a, b in zip(best.times, c.times, strict=True)]
                ratio = f"{statistics.median(ratios):.2f}"
            kind = "float32" if precision == "float16" else precision
            lowest = floor.get(FLOORS.get((kind, c.ours or ""), ""))
            share = f"{lowest:.1f} | {lowest / min(c.times):.0%}" if lowest else " | "
            print(
                f"| {c.name} | {precision} | {BYTES[precision]} | {min(c.times):.1f} | {ratio} | "
                f"{share} | {errors[id(c)]:.1e} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, help="default: 1, then all cores")
    arguments = parser.parse_args()
    if arguments.threads:
        compare(arguments.documents, arguments.threads, arguments.rounds)
        return
    for threads in sorted({1, resolve_threads()}):
        subprocess.run(
            [sys.executable, *sys.argv, "--threads", str(threads)],
            env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))},
            check=True,
        )


if __name__ == "__main__":
    main()
