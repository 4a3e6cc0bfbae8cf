"""nDCG@10 of the bundled model with fewer dimensions, fewer bits and other query lengths.

    python ablations.py DISTILLED --exported EXPORTED SET…

Every passage of each SET (a folder in BEIR layout) is scored by exhaustive MaxSim, so that nothing
but the vectors differs. DISTILLED is the output of `distil.py`. Fewer dimensions: a linear map of
the model's vectors, begun as their principal axes and then fitted to the teacher's scores of
some of its batches, the model staying as it is. A model trained with so few from the start could do
better. Fewer bits: the codec of `gingham.codec`, one codebook a set. Documents are cut, not split,
at the model's length.
"""

import argparse
import copy
from dataclasses import dataclass
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

DIMS = (24, 48, 128)
BITS: tuple[Bits | None, ...] = (None, 4, 2, 1)
QUERY_LENGTHS = (8, 16, 32, 64)
FITTED_BATCHES = 120
PASSES = 3
MOST_QUERIES = 500

Floats = npt.NDArray[np.float32]


@dataclass
class Vectors:
    """Token vectors of a set, documents one after another."""

    dataset: Dataset
    ids: list[str]
    documents: Floats
    offsets: npt.NDArray[np.int64]
    queries: dict[str, Floats]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("distilled", type=Path, help="folder that distil.py wrote")
    parser.add_argument("sets", type=Path, nargs="+", help="test collections, BEIR layout")
    parser.add_argument("--exported", type=Path, required=True, help="folder of export.py")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    encoder = gingham.Encoder(str(options.exported))
    maps = {dim: fitted(options, encoder, dim) for dim in DIMS if dim < encoder.dim}
    rows: dict[str, list[float]] = {}
    for folder in options.sets:
        found = vectors_of(open_dataset(folder, max_queries=MOST_QUERIES), encoder)
        print(f"{found.dataset.title}: {len(found.documents):,} tokens", flush=True)
        for dim in DIMS:
            smaller = mapped(found, maps[dim]) if dim in maps else found
            for bits in BITS:
                shown = "float32" if bits is None else f"{bits} bits"
                rows.setdefault(f"{dim} dimensions, {shown}", []).append(
                    measured(smaller, decoded(smaller, bits))
                )
        for length in QUERY_LENGTHS:
            # The first word pieces: a query is cut before its last, [SEP].
            cut = {
                id: np.concatenate([rows[: length - 1], rows[-1:]]) if len(rows) > length else rows
                for id, rows in found.queries.items()
            }
            shorter = copy.copy(found)
            shorter.queries = cut
            rows.setdefault(f"query of {length} tokens at most", []).append(
                measured(shorter, found.documents)
            )
    titles = [folder.name for folder in options.sets]
    print(f"| | {' | '.join(titles)} | mean |\n|---|{'---|' * (len(titles) + 1)}")
    for name, values in rows.items():
        cells = " | ".join(f"{value:.3f}" for value in [*values, float(np.mean(values))])
        print(f"| {name} | {cells} |")


def vectors_of(dataset: Dataset, encoder: Any) -> Vectors:
    assert dataset.corpus is not None
    ids, texts = [], []
    for document in dataset.corpus.documents():
        ids.append(document.id)
        texts.append(document.text or "")
    found = encoder.encode_documents(texts)
    asked = encoder.encode_queries(list(dataset.queries.values()))
    offsets = np.cumsum([0, *map(len, found)]).astype(np.int64)
    documents = np.concatenate([np.asarray(one) for one in found])
    return Vectors(dataset, ids, documents, offsets, dict(zip(dataset.queries, asked, strict=True)))


def fitted(options: argparse.Namespace, encoder: Any, dim: int) -> Floats:
    """(dim, the model's dim) float32."""
    pool = build_pool(options.data)
    with np.load(options.distilled / "teacher.npz") as kept:
        logits = kept["logits"][:FITTED_BATCHES]
        batches = as_set(pool, kept["rows"][:FITTED_BATCHES], logits, seed=1)
    size = batches.size
    asked = [
        torch.from_numpy(np.array(one))
        for one in encoder.encode_queries(list(batches.queries.values()))
    ]
    found = [
        torch.from_numpy(np.array(one))
        for one in encoder.encode_documents(list(batches.documents.values()))
    ]
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
            print(f"{dim} dimensions, step {step}: {float(loss):.4f}", flush=True)
    return weight.detach().numpy()


def mapped(vectors: Vectors, weight: Floats) -> Vectors:
    def of(rows: Floats) -> Floats:
        values = rows @ weight.T
        return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)

    return Vectors(
        vectors.dataset,
        vectors.ids,
        of(vectors.documents),
        vectors.offsets,
        {id: of(rows) for id, rows in vectors.queries.items()},
    )


def decoded(vectors: Vectors, bits: Bits | None) -> Floats:
    """The documents' vectors as the codec gives them back."""
    values = vectors.documents
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


def measured(vectors: Vectors, documents: Floats) -> float:
    """The mean nDCG@10 of exhaustive MaxSim."""
    rankings = {}
    for id, query in vectors.queries.items():
        scores = kernels.score(query, documents, vectors.offsets)
        best = np.argsort(-scores, kind="stable")[:100]
        rankings[id] = Ranking(tuple(vectors.ids[i] for i in best), scores[best])
    run = Run("ablation", rankings)
    [measure] = parse_measures(["nDCG@10"])
    return float(evaluate_run(run, vectors.dataset.qrels, [measure])["nDCG@10"].mean())


if __name__ == "__main__":
    main()
