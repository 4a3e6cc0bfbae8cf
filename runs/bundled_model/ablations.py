"""nDCG@10 of the bundled model with fewer dimensions, fewer bits and other query lengths.

    python ablations.py DISTILLED --exported EXPORTED SET…

Every passage of each SET (a folder in BEIR layout) is scored by exhaustive MaxSim, so that nothing
but the vectors differs; the first 500 queries are asked. DISTILLED is the output of `distil.py`.
Fewer dimensions: a linear map of the model's vectors, begun as their principal axes and then fitted
to the teacher's scores of some of its batches, the model staying as it is. A model trained with so
few from the start could do better. Fewer bits: the codec of `gingham.codec`, a codebook a set.
"""

import argparse
import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from distil import as_set
from topics import build_pool

import gingham
from gingham import kernels
from gingham.codec import training
from gingham.evaluation import Dataset, Ranking, Run, open_dataset
from gingham.evaluation.measures import evaluate_run, parse_measures
from gingham.kernels.clustered import Coder, quantize_rows
from gingham.kernels.codebook import Bits, row_of
from gingham.splitting import PASSAGE_LENGTH

DIMS = (24, 48, 128)
BITS: tuple[Bits | None, ...] = (None, 4, 2, 1)
QUERY_LENGTHS = (8, 16, 32, 64)
FITTED_BATCHES = 80
PASSES = 4
MOST_QUERIES = 500

Floats = npt.NDArray[np.float32]


@dataclass
class Vectors:
    """Of a set: documents, where each one's passages start, and token vectors.

    Passages are one after another in `tokens`; `offsets` says where each starts and the last ends.
    """

    dataset: Dataset
    ids: list[str]
    first_passages: npt.NDArray[np.int64]
    tokens: Floats
    offsets: npt.NDArray[np.int64]
    queries: dict[str, Floats]


@dataclass
class Taught:
    """Batches of the teacher: token vectors, and (batches, size, size) logits."""

    queries: list[torch.Tensor]
    documents: list[torch.Tensor]
    logits: Floats


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("distilled", type=Path, help="folder that distil.py wrote")
    parser.add_argument("sets", type=Path, nargs="+", help="test collections, BEIR layout")
    parser.add_argument("--exported", type=Path, required=True, help="folder of export.py")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report(options, Path(folder))


def report(options: argparse.Namespace, scratch: Path) -> None:
    encoder = gingham.Encoder(str(options.exported))
    shorter = {
        length: with_query_length(options.exported, length, scratch) for length in QUERY_LENGTHS
    }
    taught = read_taught(options, encoder)
    maps = {dim: fitted(taught, dim) for dim in DIMS if dim < encoder.dim}
    rows: dict[str, list[float]] = {}
    for folder in options.sets:
        found = vectors_of(open_dataset(folder, max_queries=MOST_QUERIES), encoder)
        print(f"{found.dataset.title}: {len(found.tokens):,} tokens", flush=True)
        for dim in DIMS:
            smaller = mapped(found, maps[dim]) if dim in maps else found
            for bits in BITS:
                shown = "float32" if bits is None else f"{bits} bits"
                rows.setdefault(f"{dim} dimensions, {shown}", []).append(
                    measured(smaller, decoded(smaller, bits))
                )
        for length, other in shorter.items():
            asked = other.encode_queries(list(found.dataset.queries.values()))
            cut = replace(found, queries=dict(zip(found.dataset.queries, asked, strict=True)))
            rows.setdefault(f"queries cut at {length} tokens", []).append(
                measured(cut, found.tokens)
            )
    titles = [folder.name for folder in options.sets]
    print(f"| | {' | '.join(titles)} | mean |\n|---|{'---|' * (len(titles) + 1)}")
    for name, values in rows.items():
        cells = " | ".join(f"{value:.3f}" for value in [*values, float(np.mean(values))])
        print(f"| {name} | {cells} |")


def with_query_length(exported: Path, length: int, folder: Path) -> Any:
    """The model in a folder of its own, which has to stay: weights are read when first used."""
    copied = Path(shutil.copytree(exported, folder / str(length)))
    file = copied / "sentence_bert_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**config, "query_length": length}), encoding="utf-8")
    return gingham.Encoder(str(copied))


def vectors_of(dataset: Dataset, encoder: Any) -> Vectors:
    """Documents are split into passages, as `gingham add` does."""
    assert dataset.corpus is not None
    documents = list(dataset.corpus.documents())
    texts = [document.text or "" for document in documents]
    how = {"length": PASSAGE_LENGTH, "titled": True}
    spans = encoder.split_many(texts, **how)
    passages = [
        passage
        for text, own in zip(texts, spans, strict=True)
        for passage in encoder.passage_texts(text, own, **how)
    ]
    found = [np.asarray(one) for one in encoder.encode_documents(passages)]
    asked = encoder.encode_queries(list(dataset.queries.values()))
    return Vectors(
        dataset,
        [document.id for document in documents],
        np.cumsum([0, *map(len, spans)])[:-1],
        np.concatenate(found),
        np.cumsum([0, *map(len, found)]).astype(np.int64),
        dict(zip(dataset.queries, asked, strict=True)),
    )


def read_taught(options: argparse.Namespace, encoder: Any) -> Taught:
    """Token vectors of some of the batches that the model was distilled on."""
    with np.load(options.distilled / "teacher.npz") as kept:
        rows, logits = kept["rows"][:FITTED_BATCHES], kept["logits"][:FITTED_BATCHES]
    batches = as_set(build_pool(options.data), rows, logits, seed=1)
    return Taught(
        [
            torch.from_numpy(np.array(one))
            for one in encoder.encode_queries([*batches.queries.values()])
        ],
        [
            torch.from_numpy(np.array(one))
            for one in encoder.encode_documents([*batches.documents.values()])
        ],
        logits,
    )


def fitted(taught: Taught, dim: int) -> Floats:
    """(dim, the model's dim) float32."""
    asked, found, logits = taught.queries, taught.documents, taught.logits
    size = logits.shape[1]
    tokens = torch.cat(found[:2000]).double()
    _, axes = torch.linalg.eigh(tokens.T @ tokens)
    weight = axes.flip(1)[:, :dim].T.float().contiguous().requires_grad_()
    scale = torch.tensor(1 / 0.027).log().requires_grad_()
    steps = PASSES * len(logits)
    optimizer = torch.optim.AdamW([weight, scale], lr=2e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        batch = step % len(logits)
        chosen = slice(batch * size, (batch + 1) * size)
        queries = [torch.nn.functional.normalize(one @ weight.T, dim=1) for one in asked[chosen]]
        documents = [torch.nn.functional.normalize(one @ weight.T, dim=1) for one in found[chosen]]
        together = torch.cat(queries)
        best = torch.stack([(together @ one.T).amax(1) for one in documents], 1)
        student = torch.stack([one.mean(0) for one in best.split([len(one) for one in queries])])
        target = torch.softmax(torch.from_numpy(logits[batch]) / 1.7, dim=1)
        loss = torch.nn.functional.kl_div(
            torch.log_softmax(student * scale.exp(), dim=1), target, reduction="batchmean"
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step in (0, steps - 1) or step % 60 == 0:
            print(f"{dim} dimensions, step {step}: {float(loss.detach()):.4f}", flush=True)
    return weight.detach().numpy()


def mapped(vectors: Vectors, weight: Floats) -> Vectors:
    def of(rows: Floats) -> Floats:
        values = rows @ weight.T
        return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)

    queries = {id: of(rows) for id, rows in vectors.queries.items()}
    return replace(vectors, tokens=of(vectors.tokens), queries=queries)


def decoded(vectors: Vectors, bits: Bits | None) -> Floats:
    """The documents' vectors as the codec gives them back."""
    values = vectors.tokens
    if bits is None:
        return values
    dim = values.shape[1]
    sizes = training.sizes(len(values), bits)
    random = np.random.default_rng(0)
    chosen = np.sort(random.choice(len(values), sizes.sample, replace=False))
    order = random.permutation(sizes.sample)
    fine = values[np.sort(chosen[order[: training.FINE_SAMPLE]])]
    scale = training.scale_of(fine)
    rows = quantize_rows(values[chosen], scale, row_of(dim, bits))
    coder = Coder(training.train(rows, order, fine, sizes, bits, scale))
    integers, scales = coder.decode(*coder.encode(values))
    return np.asarray(integers[:, :dim] * scales[:, None], np.float32)


def measured(vectors: Vectors, tokens: Floats) -> float:
    """The mean nDCG@10 of exhaustive MaxSim; a document is as good as its best passage."""
    rankings = {}
    for id, query in vectors.queries.items():
        passages = kernels.score(query, tokens, vectors.offsets)
        scores = np.maximum.reduceat(passages, vectors.first_passages)
        best = np.argsort(-scores, kind="stable")[:100]
        rankings[id] = Ranking(tuple(vectors.ids[i] for i in best), scores[best])
    [measure] = parse_measures(["nDCG@10"])
    found = evaluate_run(Run("ablation", rankings), vectors.dataset.qrels, [measure])
    return float(next(iter(found.values())).mean())


if __name__ == "__main__":
    main()
