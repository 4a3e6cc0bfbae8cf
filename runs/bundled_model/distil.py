"""Distil the bundled model: it learns from itself, from its backbone and from BM25 together.

An experiment: what came of it was better on held-out questions and not on the test collections, so
it is not what is shipped (docs/log.md, 2026-11-23).

    python distil.py TRAINED OUTPUT --backbone BACKBONE --teacher EXPORTED --steps 500

TRAINED is what `train.py` made, EXPORTED the folder that `export.py --unfilled 64` made of it, and
BACKBONE the sentence encoder that it began as, with one vector a text. On the held-out questions of
six sets each of the three ranks worse than all of them together, so the sum of their scores is what
the model is taught: 20 · cosine of the backbone + 5 · BM25 as part of the query's highest possible
score + WEIGHT · MaxSim a query vector.

Batches are 40 rows of one topic (`topics.py` has the rows), and the teacher scores every query and
every document of a batch (`gingham.training.TopicBatches`); half of the target is the row's own
label. Queries are not filled with [MASK].

The teacher's scores are kept in OUTPUT/teacher.npz. Killed, the same command goes on.
OUTPUT/final holds the model for sentence-transformers, its card and, in `training`, the losses;
`export.py` makes the folder that gingham loads. What `topics.py` holds out is in no row, and the
last step's weights are kept.
"""

import argparse
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
from topics import BM25, Pool, build_pool, join_title

import gingham
from gingham import kernels
from gingham.training import (
    Example,
    TopicBatches,
    TrainingProgress,
    TrainingSettings,
    fit,
    group_by_topic,
)
from gingham.training.fitting import move_into

COSINE_WEIGHT = 20.0
BM25_WEIGHT = 5.0
SENTENCE_CUT = 0.7  # of documents that one of their sentences asks for
QUESTION_MARK_CUT = 0.3
_DENSE_TOKENS = 256  # what the backbone was trained to read
_LATE_WORDS = 150  # about as many as the model reads in training

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


def main() -> None:
    options = parse_arguments()
    pool = build_pool(options.data)
    print(f"{len(pool.queries):,} rows, {len(pool.bodies):,} documents", flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "teacher.npz"
    if not file.is_file():
        rows, logits = taught_batches(pool, options)
        np.savez(file.with_suffix(".part.npz"), rows=rows, logits=logits)
        file.with_suffix(".part.npz").replace(file)
    with np.load(file) as kept:
        batches = as_set(pool, kept["rows"], kept["logits"], options.seed)
    settings = TrainingSettings(
        backbone=str(options.trained),
        query_length=options.query_length,
        document_length=options.document_length,
        training_document_length=options.training_document_length,
        augmentation=False,
        loss="batch-distil",
        label_part=options.label_part,
        temperature=options.temperature,
        teacher_temperature=options.teacher_temperature,
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        projection_learning_rate=4 * options.learning_rate,
        warmup=0.03,
        schedule="cosine",
        freeze_layers=options.freeze_layers,
        bf16=True,
        seed=options.seed,
        threads=options.threads,
        device="cpu",
        save_every=options.save_every,
        keep=100,
    )
    fitted = fit(
        settings,
        [batches],
        None,
        options.output / "final",
        progress=show,
        remark=print,
        finishing=leave_for_export,
    )
    print(f"{fitted.output}: {fitted.steps} steps in {fitted.seconds} s, loss {fitted.loss}")


def taught_batches(pool: Pool, options: argparse.Namespace) -> tuple[Rows, Vectors]:
    """(batches, size) rows, and (batches, size, size) the teacher's logits.

    As many passes over the rows as the steps need, with other batches in each.
    """
    queries, documents = dense_vectors(pool, options.backbone, options.output / "dense.npz")
    document_of = np.array(pool.document_of)
    grouped: list[Rows] = []
    while len(grouped) < options.steps:
        grouped += group_by_topic(
            queries, documents, document_of, size=options.batch_size, seed=len(grouped)
        )
        print(f"{len(grouped):,} batches", flush=True)
    rows = np.stack(grouped[: options.steps])
    bm25 = BM25(pool)
    logits = np.stack(
        [
            COSINE_WEIGHT * (queries[batch] @ documents[document_of[batch]].T)
            + BM25_WEIGHT * bm25.scores(batch, document_of[batch])
            for batch in rows
        ]
    ).astype(np.float32)
    late = late_scores(pool, rows, options.teacher, options.threads)
    print(f"spread of a list: {logits.std(2).mean():.3f}, of MaxSim {late.std(2).mean():.4f}")
    return rows, logits + options.weight * late


def dense_vectors(pool: Pool, backbone: Path, file: Path) -> tuple[Vectors, Vectors]:
    """(rows, 384) and (documents, 384) float32, of length 1: the backbone's, of whole texts."""
    if not file.is_file():
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(backbone), device="cpu")
        model.max_seq_length = _DENSE_TOKENS
        made = {
            name: model.encode(texts, normalize_embeddings=True, show_progress_bar=True)
            for name, texts in (("queries", pool.queries), ("documents", pool.documents()))
        }
        np.savez(file, **made)
    with np.load(file) as found:
        return found["queries"], found["documents"]


def late_scores(pool: Pool, rows: Rows, teacher: Path, threads: int) -> Vectors:
    """(batches, size, size) float32: MaxSim a query vector, from -1 to 1."""
    encoder = gingham.Encoder(str(teacher), threads=threads)
    used = np.unique(np.array(pool.document_of)[rows])
    documents = pool.documents()
    texts = [" ".join(documents[number].split(" ")[:_LATE_WORDS]) for number in used]
    vectors = [one.astype(np.float16) for one in encoder.encode_documents(texts)]
    place = dict(zip(used.tolist(), range(len(used)), strict=True))
    scores = np.empty((*rows.shape, rows.shape[1]), dtype=np.float32)
    for number, batch in enumerate(rows):
        found = [vectors[place[pool.document_of[row]]] for row in batch]
        offsets = np.cumsum([0, *map(len, found)])
        values = np.concatenate(found)
        asked = encoder.encode_queries([pool.queries[row] for row in batch])
        for position, query in enumerate(asked):
            scores[number, position] = kernels.score(query, values, offsets, threads=threads)
            scores[number, position] /= len(query)
    return scores


def as_set(pool: Pool, rows: Rows, logits: Vectors, seed: int) -> TopicBatches:
    """The texts of the batches: a document looks another way each time it comes."""
    rng = random.Random(seed)
    asked: dict[str, str] = {}
    texts: dict[str, str] = {}
    for position, row in enumerate(rows.reshape(-1).tolist()):
        asked[str(position)] = query_of(pool, row, rng)
        texts[str(position)] = text_of(pool, row, rng)
    return TopicBatches("topics", asked, texts, [Example(id, (id,)) for id in asked], logits)


def query_of(pool: Pool, row: int, rng: random.Random) -> str:
    query = pool.queries[row]
    shorter = query.rstrip(" ?")
    return shorter if shorter and rng.random() < QUESTION_MARK_CUT else query


def text_of(pool: Pool, row: int, rng: random.Random) -> str:
    """The row's document, without what would give it away."""
    number, kind = pool.document_of[row], pool.kinds[row]
    title, body = pool.titles[number], pool.bodies[number]
    if kind == "sentence" and rng.random() < SENTENCE_CUT:
        body = body.replace(pool.queries[row], "", 1).strip() or body
    return join_title("" if kind == "title" else title, body)


def leave_for_export(trained: Path, output: Path, *_: object) -> list[str]:
    move_into(trained, output)
    return []


def show(now: TrainingProgress) -> None:
    if now.step % 50 == 0 or now.step in (1, now.steps):
        print(f"step {now.step} of {now.steps}, loss {now.loss}", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trained", type=Path, help="folder that train.py wrote")
    parser.add_argument("output", type=Path, help="folder for checkpoints and the trained model")
    parser.add_argument("--backbone", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--teacher", type=Path, required=True, help="folder that export.py wrote")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--weight", type=float, default=40.0, help="of MaxSim in the teacher")
    parser.add_argument("--temperature", type=float, default=0.027, help="of the model's scores")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=40)
    parser.add_argument("--learning-rate", type=float, default=3e-5)
    parser.add_argument(
        "--teacher-temperature", type=float, default=1.7, help="both then spread alike at first"
    )
    parser.add_argument("--label-part", type=float, default=0.5)
    parser.add_argument("--freeze-layers", type=int, default=2, help="and the embeddings")
    parser.add_argument("--training-document-length", type=int, default=192)
    parser.add_argument("--query-length", type=int, default=64)
    parser.add_argument("--document-length", type=int, default=300)
    parser.add_argument("--save-every", type=int, default=200)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
