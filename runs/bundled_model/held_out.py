"""nDCG@10 on questions that nothing was trained on: what checkpoints and teachers are chosen by.

    python held_out.py BACKBONE --cache FOLDER [MODEL…]

Six sets under DATA/train: three that no model here is trained on (msmarco-dev-pairs, checkthat2020,
wikiqa: for measuring only), medquad's dev split, and the questions of two more that `topics.py`
holds out. At most 150 questions of each are asked, of a pool of hard documents: the judged ones and
each question's best of the backbone (10) and of BM25 (6), of the whole set. Shown are BM25, the
backbone as one vector a text, their sum, each MODEL (a folder of sentence-transformers; queries are
not filled) and the sum of all three, each standardised. The backbone's vectors of all documents are
kept in FOLDER: making them takes half an hour on 2 cores.
"""

import argparse
import json
import string
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import numpy.typing as npt
import onnxruntime
import Stemmer
from topics import join_title

from gingham.training.exporting import bert_graph

Floats = npt.NDArray[np.float32]
# Set → splits; None takes the questions that topics.py holds out.
SETS: dict[str, tuple[str, ...] | None] = {
    "msmarco-dev-pairs": ("dev",),
    "checkthat2020": ("dev",),
    "wikiqa": ("dev", "test"),
    "medquad": ("dev",),
    "bioasq-sent-train": None,
    "squad-train-part": None,
}
MOST_QUERIES = 150
DENSE, LEXICAL = 10, 6
BM25_WEIGHT = 0.2  # times a query's best score, against cosines
DOCUMENT_LENGTH = 300
QUERY_LENGTH = 64


@dataclass
class Questions:
    """Of one set: texts, judgements by number, and (queries, documents) scores."""

    queries: list[str]
    documents: list[str]
    relevant: list[dict[int, int]]
    cosines: Floats
    bm25: Floats


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backbone", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("models", type=Path, nargs="*", help="folders that were trained")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    sets = {name: read(name, splits, options) for name, splits in SETS.items()}
    print(f"| | {' | '.join(sets)} | mean |\n|---|{'---|' * (len(sets) + 1)}")
    show("BM25", [ndcg(one.bm25, one.relevant) for one in sets.values()])
    show("backbone", [ndcg(one.cosines, one.relevant) for one in sets.values()])
    show("both", [ndcg(together(one), one.relevant) for one in sets.values()])
    for model in options.models:
        encode = encoder(model, options.threads)
        scores = {name: maxsim(encode, one) for name, one in sets.items()}
        show(str(model), [ndcg(scores[name], one.relevant) for name, one in sets.items()])
        summed = [
            ndcg(standardised(together(one)) + standardised(scores[name]), one.relevant)
            for name, one in sets.items()
        ]
        show(f"{model}, and both", summed)


def show(name: str, values: list[float]) -> None:
    cells = " | ".join(f"{value:.3f}" for value in values)
    print(f"| {name} | {cells} | {np.mean(values):.4f} |", flush=True)


def read(name: str, splits: tuple[str, ...] | None, options: argparse.Namespace) -> Questions:
    folder = options.data / "train" / name
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").open(encoding="utf-8")]
    number = {row["_id"]: index for index, row in enumerate(rows)}
    texts = [join_title(row.get("title") or "", row["text"]) for row in rows]
    queries = {
        row["_id"]: row["text"]
        for row in map(json.loads, (folder / "queries.jsonl").open(encoding="utf-8"))
    }
    relevant: dict[str, dict[int, int]] = defaultdict(dict)
    for split in splits or ("train",):
        for line in (folder / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]:
            query, document, grade = line.split("\t")
            if int(grade) > 0:
                relevant[query][number[document]] = int(grade)
    ids = sorted(relevant)
    if splits is None:
        held_out = held_out_queries(name, options.data)
        ids = [id for id in ids if queries[id] in held_out][:MOST_QUERIES]
    elif len(ids) > MOST_QUERIES:
        drawn = np.random.default_rng(0).choice(len(ids), MOST_QUERIES, replace=False)
        ids = [ids[index] for index in drawn]
    asked = [queries[id] for id in ids]
    cosines = dense(asked, options) @ dense(texts, options, options.cache / f"{name}.npy").T
    lexical = bm25(asked, texts)
    pool: set[int] = set()
    for id, cosine, score in zip(ids, cosines, lexical, strict=True):
        pool |= {*relevant[id], *np.argsort(-cosine)[:DENSE].tolist()}
        pool |= set(np.argsort(-score)[:LEXICAL].tolist())
    chosen = sorted(pool)
    place = {document: index for index, document in enumerate(chosen)}
    return Questions(
        asked,
        [texts[document] for document in chosen],
        [{place[d]: grade for d, grade in relevant[id].items()} for id in ids],
        cosines[:, chosen],
        lexical[:, chosen],
    )


def held_out_queries(name: str, data: Path) -> set[str]:
    from topics import build_pool

    return {query for query, _ in build_pool(data).dev[name]}


def dense(texts: list[str], options: argparse.Namespace, file: Path | None = None) -> Floats:
    if file is not None and file.is_file():
        kept: Floats = np.load(file, allow_pickle=False)
        return kept
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(options.backbone), device="cpu")
    model.max_seq_length = 256  # what it was trained to read
    made = np.asarray(model.encode(texts, normalize_embeddings=True), np.float32)
    if file is not None:
        np.save(file, made)
    return made


def bm25(queries: list[str], texts: list[str]) -> Floats:
    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25()
    options = {"stopwords": "en", "stemmer": stemmer, "show_progress": False}
    index.index(bm25s.tokenize(texts, **options), show_progress=False)
    asked = bm25s.tokenize(queries, return_ids=False, **options)
    found = [index.get_scores(words) if words else np.zeros(len(texts)) for words in asked]
    return np.asarray(found, np.float32)


def together(one: Questions) -> Floats:
    best = np.maximum(one.bm25.max(1, keepdims=True), 1e-6)
    return one.cosines + BM25_WEIGHT * one.bm25 / best


def standardised(scores: Floats) -> Floats:
    centred = scores - scores.mean(1, keepdims=True)
    return np.asarray(centred / scores.std(1, keepdims=True), np.float32)


def ndcg(scores: Floats, relevant: list[dict[int, int]], k: int = 10) -> float:
    discount = 1 / np.log2(np.arange(2, k + 2))
    values = []
    for row, grades in zip(np.argsort(-scores, axis=1, kind="stable"), relevant, strict=True):
        gains = np.array([grades.get(int(document), 0) for document in row[:k]])
        ideal = np.array(sorted(grades.values(), reverse=True)[:k])
        values.append((gains * discount).sum() / (ideal * discount[: len(ideal)]).sum())
    return float(np.mean(values))


def encoder(folder: Path, threads: int) -> Any:
    """(texts, task) → token vectors, in float32 by ONNX Runtime, faster than PyTorch on a CPU."""
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu")
    model[0].query_expansion, model[0].query_length = None, QUERY_LENGTH
    bert = bert_graph.read_bert(model[0].auto_model)
    assert bert is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        bert_graph.write_bert(*bert).SerializeToString(), options, ["CPUExecutionProvider"]
    )
    projection = model[1].linear.weight.detach().numpy()
    skipped = [model.tokenizer.convert_tokens_to_ids(mark) for mark in string.punctuation]

    def encode(texts: list[str], task: str) -> list[Floats]:
        found: list[Floats] = [np.empty((0, 0), np.float32)] * len(texts)
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), 32):
            part = order[start : start + 32]
            features = model.preprocess(
                [texts[index] for index in part], prompt=model.prompts[task], task=task
            )
            ids = features["input_ids"].numpy()[:, :DOCUMENT_LENGTH]
            mask = features["attention_mask"].numpy()[:, :DOCUMENT_LENGTH]
            [hidden] = session.run(None, {"input_ids": ids, "attention_mask": mask})
            vectors = hidden @ projection.T
            vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
            keep = mask.astype(bool)
            if task == "document":
                keep &= ~np.isin(ids, skipped)
            for row, index in enumerate(part):
                found[index] = vectors[row][keep[row]]
        return found

    return encode


def maxsim(encode: Any, one: Questions) -> Floats:
    documents = encode(one.documents, "document")
    starts = np.cumsum([0, *map(len, documents)])[:-1]
    values = np.concatenate(documents)
    return np.stack(
        [
            np.maximum.reduceat(query @ values.T, starts, axis=1).sum(0)
            for query in encode(one.queries, "query")
        ]
    )


if __name__ == "__main__":
    main()
