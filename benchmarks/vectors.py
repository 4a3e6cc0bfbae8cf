"""Token vectors of real text, made once: what the engine's benchmarks index and ask.

    python benchmarks/vectors.py DATA_ROOT --out FOLDER      # about 10 minutes for 150,000 passages

Every BEIR folder under DATA_ROOT/eval and DATA_ROOT/train is split into passages and encoded with
the bundled model; up to `--queries` queries of each that have a relevant document. Makes one folder
a dataset: `values.npy` (n_tokens, dim) float16, `offsets.npy` (n_passages + 1) int64,
`token_ids.npy`
(n_tokens) uint32, `documents.npy` (n_passages) the document that a passage is of, `queries.npy`
(n_queries, length, dim) float32, and `names.json` with the ids of documents and queries and the
judgements. A dataset that is complete is left alone, so the command can be repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gingham import Encoder
from gingham.evaluation import open_dataset
from gingham.evaluation.dataset import Dataset

SPLITS = ("test", "dev", "train")


def main() -> None:
    """Encode what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=100, help="of each dataset")
    arguments = parser.parse_args()
    encoder = Encoder()
    for folder in sorted(arguments.data.glob("*/*/corpus.jsonl")):
        target = arguments.out / folder.parent.name
        if not (target / "names.json").exists():
            target.mkdir(parents=True, exist_ok=True)
            start = time.perf_counter()
            n_tokens = encode(encoder, folder.parent, target, arguments.queries)
            print(
                f"{target.name}: {n_tokens} tokens, {time.perf_counter() - start:.0f} s", flush=True
            )


def encode(encoder: Encoder, source: Path, target: Path, n_queries: int) -> int:
    """One dataset; returns its number of token vectors."""
    split = next(s for s in SPLITS if (source / "qrels" / f"{s}.tsv").exists())
    dataset = open_dataset(source, split=split)
    assert dataset.corpus is not None
    lengths: list[int] = []
    owners: list[int] = []
    ids: list[str] = []

    def passages() -> Iterator[str]:
        block = []
        for document in dataset.corpus.documents():
            ids.append(document.id)
            block.append(document.text or "")
            if len(block) == 256:
                yield from split_block(block)
                block = []
        yield from split_block(block)

    def split_block(texts: list[str]) -> Iterator[str]:
        first = len(ids) - len(texts)
        for i, (text, spans) in enumerate(zip(texts, encoder.split_many(texts), strict=True)):
            for start, end in spans:
                owners.append(first + i)
                yield text[start:end]

    with open(target / "values.f16", "wb") as values, open(target / "tokens.u32", "wb") as tokens:
        for batch in encoder.iter_documents(passages()):
            batch.values.astype(np.float16).tofile(values)
            assert batch.token_ids is not None
            batch.token_ids.tofile(tokens)
            lengths.extend(np.diff(batch.offsets).tolist())
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    save(target / "values", np.fromfile(target / "values.f16", np.float16).reshape(-1, encoder.dim))
    save(target / "token_ids", np.fromfile(target / "tokens.u32", np.uint32))
    (target / "values.f16").unlink()
    (target / "tokens.u32").unlink()
    save(target / "offsets", offsets)
    save(target / "documents", np.array(owners[: len(lengths)], dtype=np.int64))
    save_queries(encoder, dataset, ids, target, n_queries)
    return int(offsets[-1])


def save_queries(
    encoder: Encoder, dataset: Dataset, ids: list[str], target: Path, n_queries: int
) -> None:
    """The first queries that have a relevant document, spread over the file."""
    asked = [q for q in dataset.queries if any(g > 0 for g in dataset.qrels.get(q, {}).values())]
    chosen = asked[:: max(1, len(asked) // n_queries)][:n_queries]
    vectors = encoder.encode_queries([dataset.queries[q] for q in chosen])
    save(target / "queries", vectors.values.reshape(len(chosen), -1, encoder.dim))
    names = {
        "documents": ids,
        "queries": chosen,
        "qrels": {q: dict(dataset.qrels[q]) for q in chosen},
    }
    (target / "names.json").write_text(json.dumps(names))


def save(path: Path, array: np.ndarray) -> None:
    """Write a .npy file."""
    np.save(path.with_suffix(".npy"), array)


if __name__ == "__main__":
    main()
