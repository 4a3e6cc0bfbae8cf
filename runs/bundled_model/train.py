"""Fine-tune a sentence encoder as the bundled ColBERT model, with `gingham.training`.

    python train.py BACKBONE OUTPUT --data ../shared/data --steps 450

Token vectors of 128 dimensions, queries filled with [MASK] to 32 tokens, documents cut at 220
tokens, markers [unused0] and [unused1] (in BERT's vocabulary already, so no embedding is added),
punctuation not scored in documents. The loss is cross-entropy over MaxSim: each query against every
positive and negative document of its batch. A batch comes from one set, and no text is in it twice.
The projection starts as the principal axes of the backbone's token vectors, not at random.

What `pairs.py` holds out is in no set that is trained on, and the last step's weights are kept.
Killed, the same command goes on. OUTPUT/final holds the model for sentence-transformers, its card
and, in `training`, the losses; `export.py` makes the folder that gingham loads.
"""

import argparse
from pathlib import Path

from pairs import Triplets, build_triplets

from gingham.training import TrainingProgress, TrainingSet, TrainingSettings, fit
from gingham.training.checking import normal
from gingham.training.fitting import move_into
from gingham.training.records import Record, as_set


def main() -> None:
    options = parse_arguments()
    triplets = build_triplets(options.data, options.seed)
    for name, made in triplets.items():
        print(f"{name}: {len(made.train)} triplets, {len(made.held_out)} held out", flush=True)
    settings = TrainingSettings(
        backbone=str(options.backbone),
        dim=options.dim,
        query_length=options.query_length,
        document_length=options.document_length,
        training_document_length=options.training_document_length,
        attend=options.attend,
        loss="in-batch",
        temperature=1 / options.scale,
        negatives=1 if options.hard_negatives else 0,
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        projection_learning_rate=options.projection_learning_rate,
        warmup=options.warmup,
        schedule="cosine",
        bf16=True,
        seed=options.seed,
        threads=options.threads,
        device="cpu",
        save_every=options.save_every,
    )
    fitted = fit(
        settings,
        [training_set(name, made, options.hard_negatives) for name, made in triplets.items()],
        None,
        options.output / "final",
        progress=show,
        remark=print,
        finishing=leave_for_export,
    )
    print(f"{fitted.output}: {fitted.steps} steps in {fitted.seconds} s, loss {fitted.loss}")


def training_set(name: str, made: Triplets, hard_negatives: bool) -> TrainingSet:
    """Without the negatives, or with those that have a text, and another than the positive."""

    def negatives(positive: str, negative: str) -> tuple[str, ...]:
        usable = negative.strip() and normal(negative) != normal(positive)
        return (negative,) if hard_negatives and usable else ()

    return as_set(
        name,
        (
            Record(query, (positive,), negatives(positive, negative))
            for query, positive, negative in made.train
            if positive.strip()
        ),
    )


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
    parser.add_argument("backbone", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("output", type=Path, help="folder for checkpoints and the trained model")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--projection-learning-rate", type=float, default=2e-4)
    parser.add_argument("--warmup", type=float, default=0.08, help="part of the steps")
    parser.add_argument("--scale", type=float, default=1.0, help="MaxSim is multiplied by this")
    parser.add_argument("--training-document-length", type=int, default=128)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--query-length", type=int, default=32)
    parser.add_argument("--document-length", type=int, default=220)
    parser.add_argument("--attend", action="store_true", help="let tokens attend to [MASK] filling")
    parser.add_argument("--hard-negatives", action="store_true", help="add BM25's to the batch's")
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
