"""What compression costs: recall@10 of scoring every compressed passage, and bytes a token.

    python benchmarks/codec.py FOLDER --datasets trec-dl-pool,nfcorpus

FOLDER holds what `benchmarks/vectors.py` made. For each number of bits a collection is built and
compressed by the public API and searched with `exact=True`, so that no candidate is missed: what
recall is lost against exact MaxSim over float16 vectors is the codec's alone. Beside it the buckets
of ColBERTv2 and PLAID on the same centroids: cut-offs at equal quantiles of the residuals, weights
at the quantiles between, vectors normalised after decoding. Prints Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import gingham
from gingham import TokenVectors, kernels
from gingham.codec.postings import centroids_of
from gingham.index.clustered_segment import ClusteredSegment

K = 10


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--datasets", default="trec-dl-pool,nfcorpus")
    parser.add_argument("--queries", type=int, default=100)
    arguments = parser.parse_args()
    print(
        "| vectors | bits | bytes a token, codes and residuals | all files | recall@10 | ", end=""
    )
    print("PLAID's buckets |\n|---|---|---|---|---|---|")
    for name in arguments.datasets.split(","):
        folder = arguments.vectors / name
        values, offsets = np.load(folder / "values.npy"), np.load(folder / "offsets.npy")
        queries = np.load(folder / "queries.npy")[: arguments.queries]
        truth = [best(kernels.score(query, values, offsets)) for query in queries]
        with tempfile.TemporaryDirectory() as work:
            path = Path(work) / "flat.gingham"
            for bits in (None, 8, 4, 2, 1):
                row(name, path, bits, values, offsets, queries, truth)


def row(
    name: str,
    path: Path,
    bits: int | None,
    values: np.ndarray,
    offsets: np.ndarray,
    queries: np.ndarray,
    truth: list[np.ndarray],
) -> None:
    """Measure one number of bits; None for the flat int8 that everything starts from."""
    path = path.with_name(f"{bits}.gingham")
    with gingham.open(path, bits=bits) as collection:
        vectors = TokenVectors(values.astype(np.float32), offsets)
        collection.add(vectors, ids=[str(i) for i in range(len(vectors))])
        if bits is not None:
            collection.optimize(bits=bits)
        hits = [
            collection.search(query, K, exact=True, texts=False, group=False) for query in queries
        ]
        found = [np.array([int(hit.id) for hit in own]) for own in hits]
        segments = collection._snapshot.segments
        files = sum(segment.record.bytes for segment in segments) / len(values)
        plaid, codes = "", "132"
        for segment in segments:
            if isinstance(segment, ClusteredSegment):
                book = segment.codebook.coder.codebook
                files += segment.codebook.record.bytes / len(values)
                codes = str(3 + book.residual_bytes)
                centroids = book.centroids[:, : book.dim].astype(np.float32) / book.scale
                own = centroids[centroids_of(np.asarray(segment.passages.codes))]
                if bits is not None and bits < 8:
                    decoded = quantile_buckets(values, own, bits)
                    plaid = f"{recall(queries, decoded, offsets, truth):.3f}"
    share = np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)])
    print(f"| {name} | {bits or 'flat int8'} | {codes} | {files:.1f} | {share:.3f} | {plaid} |")


def quantile_buckets(values: np.ndarray, centroids: np.ndarray, bits: int) -> np.ndarray:
    """Vectors after ColBERTv2's residual compression, normalised, in float16."""
    sample = (values[::50].astype(np.float32) - centroids[::50]).ravel()
    steps = np.arange(2**bits)
    cutoffs = np.quantile(sample, steps[1:] / 2**bits).astype(np.float32)
    weights = np.quantile(sample, (steps + 0.5) / 2**bits).astype(np.float32)
    decoded = np.empty_like(values)
    for start in range(0, len(values), 1 << 16):
        block = slice(start, start + (1 << 16))
        residual = values[block].astype(np.float32) - centroids[block]
        whole = centroids[block] + weights[np.searchsorted(cutoffs, residual)]
        decoded[block] = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    return decoded


def recall(
    queries: np.ndarray, values: np.ndarray, offsets: np.ndarray, truth: list[np.ndarray]
) -> float:
    """Share of the true best that scoring these vectors finds."""
    found = [best(kernels.score(query, values, offsets)) for query in queries]
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)]))


def best(scores: np.ndarray) -> np.ndarray:
    """The K best, the earlier where equal."""
    return np.argsort(-scores, kind="stable")[:K]


if __name__ == "__main__":
    main()
