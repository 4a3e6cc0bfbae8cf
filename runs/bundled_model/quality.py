"""nDCG@10 of the bundled model, its variants and its rivals on the evaluation sets.

    python quality.py RESULTS.json --data ../shared/data --bm25 --backbone FOLDER \
        --model NAME=FOLDER:PRECISION ...

BM25 is bm25s with its English stop words and PyStemmer's English stemmer; the backbone is the
encoder before training, as a single-vector model (mean of 256 tokens, cosine); the ColBERT systems
score by exact MaxSim. A document is its title, a newline and its text, cut at the encoder's length.
Metrics are ir-measures'. Figures already in RESULTS.json are not measured again; the Markdown table
is printed.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bm25s
import ir_measures
import numpy as np
import Stemmer
from numpy.typing import NDArray
from pairs import join_title, read_json_lines

from encode import MeanEncoder
from gingham import Encoder, TokenVectors

# Name, qrels, most queries (the first ones): the SQuAD development set has 10,570.
EVALUATION_SETS: dict[str, tuple[str, int | None]] = {
    "nfcorpus": ("test", None),
    "scifact": ("test", None),
    "cranfield": ("test", None),
    "cisi": ("test", None),
    "stackfaq": ("test", None),
    "squad-v1-dev": ("dev", 2000),
    "vaswani": ("test", None),
    "trec-dl-pool": ("test", None),
}
DEPTH = 100
TOKENS_AT_ONCE = 16_384
QUERIES_AT_ONCE = 128

Scores = NDArray[np.float32]
Ranker = Callable[["Task"], Scores]


@dataclass(frozen=True)
class Task:
    """One evaluation set: texts and ids in file order, judged relevance as ir-measures wants it."""

    name: str
    document_ids: list[str]
    documents: list[str]
    query_ids: list[str]
    queries: list[str]
    qrels: dict[str, dict[str, int]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="JSON file, read and extended")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--bm25", action="store_true")
    parser.add_argument("--backbone", type=Path, help="folder of the model before training")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER:PRECISION")
    parser.add_argument(
        "--sets", nargs="+", default=list(EVALUATION_SETS), choices=list(EVALUATION_SETS)
    )
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    rankers: dict[str, Ranker] = {}
    if arguments.bm25:
        rankers["BM25"] = bm25_scores
    if arguments.backbone:
        rankers["backbone, one vector"] = single_vector_ranker(
            arguments.backbone, arguments.threads
        )
    for given in arguments.model:
        name, _, place = given.partition("=")
        folder, _, precision = place.partition(":")
        rankers[name] = colbert_ranker(
            Encoder(folder, threads=arguments.threads, precision=precision)
        )

    results = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    for set_name in arguments.sets:
        missing = [name for name in rankers if set_name not in results.get(name, {})]
        if not missing:
            continue
        task = read_task(arguments.data / "eval" / set_name)
        for name in missing:
            started = time.perf_counter()
            value = ndcg_at_10(task, rankers[name](task))
            seconds = time.perf_counter() - started
            results.setdefault(name, {})[set_name] = {
                "nDCG@10": round(value, 4),
                "seconds": round(seconds, 1),
            }
            print(f"{set_name} {name}: {value:.4f} in {seconds:.0f} s", flush=True)
            arguments.results.write_text(json.dumps(results, indent=1) + "\n")
    print(markdown_table(results))


def read_task(folder: Path) -> Task:
    """One set in BEIR layout, with the queries that have judgements."""
    split, most = EVALUATION_SETS[folder.name]
    corpus = list(read_json_lines(folder / "corpus.jsonl"))
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]:
        query_id, document_id, score = line.split("\t")
        qrels.setdefault(query_id, {})[document_id] = int(score)
    judged = [row for row in read_json_lines(folder / "queries.jsonl") if row["_id"] in qrels][
        :most
    ]
    return Task(
        name=folder.name,
        document_ids=[row["_id"] for row in corpus],
        documents=[join_title(row.get("title") or "", row["text"]) for row in corpus],
        query_ids=[row["_id"] for row in judged],
        queries=[row["text"] for row in judged],
        qrels={row["_id"]: qrels[row["_id"]] for row in judged},
    )


def ndcg_at_10(task: Task, scores: Scores) -> float:
    """Mean over queries; ties rank the earlier document first."""
    run: dict[str, dict[str, float]] = {}
    for query_id, row in zip(task.query_ids, scores, strict=True):
        best = np.argsort(-row, kind="stable")[:DEPTH]
        run[query_id] = {task.document_ids[position]: float(row[position]) for position in best}
    measure = ir_measures.nDCG @ 10
    return float(ir_measures.calc_aggregate([measure], task.qrels, run)[measure])


def bm25_scores(task: Task) -> Scores:
    stemmer = Stemmer.Stemmer("english")

    def tokens(texts: list[str]) -> list[list[str]]:
        found: list[list[str]] = bm25s.tokenize(
            texts, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False
        )
        return found

    index = bm25s.BM25()
    index.index(tokens(task.documents), show_progress=False)
    return np.stack([index.get_scores(words) for words in tokens(task.queries)])


def single_vector_ranker(folder: Path, threads: int) -> Ranker:
    encoder = MeanEncoder(folder, 256, threads)

    def scores(task: Task) -> Scores:
        similarity: Scores = encoder.encode(task.queries) @ encoder.encode(task.documents).T
        return similarity

    return scores


def colbert_ranker(encoder: Encoder) -> Ranker:
    def scores(task: Task) -> Scores:
        queries = encoder.encode_queries(task.queries)
        windows = []
        for vectors in encoder.iter_documents(task.documents):
            windows.append((vectors.values.astype(np.float16), np.diff(vectors.offsets)))
        values = np.concatenate([window for window, _ in windows])
        lengths = np.concatenate([lengths for _, lengths in windows])
        return maxsim(queries, values, np.concatenate([[0], np.cumsum(lengths)]))

    return scores


def maxsim(
    queries: TokenVectors, values: NDArray[np.float16], offsets: NDArray[np.int64]
) -> Scores:
    """(n_queries, n_documents) exact scores, in chunks of both; queries have one length.

    Document i owns rows offsets[i] to offsets[i + 1] of `values`, kept as float16 for their number.
    """
    n_queries, n_documents = len(queries.offsets) - 1, len(offsets) - 1
    length = int(queries.offsets[1])
    scores = np.empty((n_queries, n_documents), np.float32)
    first = 0
    while first < n_documents:
        limit = offsets[first] + TOKENS_AT_ONCE
        last = max(first + 1, int(np.searchsorted(offsets, limit, side="right")) - 1)
        tokens = values[offsets[first] : offsets[last]].astype(np.float32)
        starts = offsets[first:last] - offsets[first]
        for start in range(0, n_queries, QUERIES_AT_ONCE):
            stop = min(start + QUERIES_AT_ONCE, n_queries)
            vectors = queries.values[start * length : stop * length]
            best = np.maximum.reduceat(tokens @ vectors.T, starts, axis=0)
            scores[start:stop, first:last] = best.reshape(-1, stop - start, length).sum(2).T
        first = last
    return scores


def markdown_table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """A row a set, a column a system, and the mean over the sets that every system has."""
    names = list(results)
    sets = [name for name in EVALUATION_SETS if any(name in row for row in results.values())]
    shared = [name for name in sets if all(name in row for row in results.values())]
    lines = ["| nDCG@10 | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for set_name in sets:
        cells = (results[name].get(set_name) for name in names)
        lines.append(
            f"| {set_name} | "
            + " | ".join(f"{cell['nDCG@10']:.3f}" if cell else "–" for cell in cells)
            + " |"
        )
    if shared:
        means = (
            np.mean([results[name][set_name]["nDCG@10"] for set_name in shared]) for name in names
        )
        lines.append(
            f"| mean of {len(shared)} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
