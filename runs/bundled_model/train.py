"""Fine-tune a sentence encoder as the bundled ColBERT model, with sentence-transformers' trainer.

    python train.py BACKBONE OUTPUT --data ../shared/data --steps 450

Token vectors of 128 dimensions, queries filled with [MASK] to 32 tokens, documents cut at 220
tokens, markers [unused0] and [unused1] (in BERT's vocabulary already, so no embedding is added),
punctuation not scored in documents. The loss is cross-entropy over MaxSim: each query against every
positive and negative document of its batch. A batch comes from one set, and no text is in it twice.

The projection starts as the principal axes of the backbone's token vectors, not at random. Training
resumes from the last checkpoint in OUTPUT when there is one; with another --steps the learning rate
follows the new schedule from there on. OUTPUT/final holds the model, OUTPUT/training.json the
settings, counts, seconds and losses.
"""

import argparse
import json
import string
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from pairs import Triplets, build_triplets
from sentence_transformers import (
    MultiVectorEncoder,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
)
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.base.sampler import BatchSamplers, MultiDatasetBatchSamplers
from sentence_transformers.multi_vector_encoder.losses import (
    MultiVectorMultipleNegativesRankingLoss,
)
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from transformers import (
    AddedToken,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

QUERY_MARKER, DOCUMENT_MARKER = "[unused0]", "[unused1]"


@dataclass(frozen=True)
class Settings:
    """The command line, parsed."""

    backbone: Path
    output: Path
    data: Path
    steps: int
    max_seconds: float
    batch_size: int
    learning_rate: float
    projection_learning_rate: float
    warmup: float
    scale: float
    training_document_length: int
    dim: int
    query_length: int
    document_length: int
    attend: bool
    hard_negatives: bool
    save_every: int
    evaluate_every: int
    seed: int
    threads: int


def main() -> None:
    settings = parse_arguments()
    torch.set_num_threads(settings.threads)
    set_seed(settings.seed)
    settings.output.mkdir(parents=True, exist_ok=True)

    triplets = build_triplets(settings.data, settings.seed)
    for name, made in triplets.items():
        print(f"{name}: {len(made.train)} triplets, {len(made.held_out)} held out", flush=True)
    checkpoint = get_last_checkpoint(str(settings.output))
    model = build_model(settings)
    if checkpoint is None:
        axes = principal_axes(model, sample_documents(triplets), settings.dim)
        model[1].linear.weight.data.copy_(axes)

    trainer = build_trainer(model, settings, triplets)
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.perf_counter() - started

    model.save(str(settings.output / "final"))
    write_record(trainer, settings, triplets, seconds)


def build_model(settings: Settings) -> MultiVectorEncoder:
    """The backbone with markers, projection, scoring mask and normalisation."""
    transformer = Transformer(
        str(settings.backbone),
        document_length=settings.document_length,
        query_expansion={
            "strategy": "fixed",
            "attend": settings.attend,
            "length": settings.query_length,
        },
        # No dropout: the run is about one pass over the data, and attention then runs fused.
        config_kwargs={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    )
    markers = [
        AddedToken(marker, normalized=False, special=True)
        for marker in (QUERY_MARKER, DOCUMENT_MARKER)
    ]
    transformer.tokenizer.add_special_tokens({"additional_special_tokens": markers})
    dense = Dense(
        in_features=transformer.get_embedding_dimension(),
        out_features=settings.dim,
        bias=False,
        activation_function=torch.nn.Identity(),
        module_input_name="token_embeddings",
    )
    return MultiVectorEncoder(
        modules=[
            transformer,
            dense,
            MultiVectorMask(skiplist_words=list(string.punctuation)),
            Normalize(module_input_name="token_embeddings"),
        ],
        prompts={"query": f"{QUERY_MARKER} ", "document": f"{DOCUMENT_MARKER} "},
        similarity_fn_name="maxsim",
        device="cpu",
    )


def principal_axes(model: MultiVectorEncoder, texts: list[str], dim: int) -> torch.Tensor:
    """(dim, hidden) float32: principal axes of the token vectors, less their mean direction."""
    transformer = model[0]
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(texts), 32):
            features = transformer.preprocess(texts[start : start + 32])
            output = transformer(features)
            vectors.append(output["token_embeddings"][output["attention_mask"].bool()])
    values = torch.cat(vectors).double()
    mean = torch.nn.functional.normalize(values.mean(0), dim=0)
    values = values - (values @ mean)[:, None] * mean  # every token shares it: it tells none apart
    _, axes = torch.linalg.eigh(values.T @ values)
    return axes.flip(1)[:, :dim].T.float()


def sample_documents(triplets: dict[str, Triplets], each: int = 64) -> list[str]:
    """The first positives of every set, for the principal axes."""
    return [text for made in triplets.values() for _, text, _ in made.train[:each]]


def build_trainer(
    model: MultiVectorEncoder, settings: Settings, triplets: dict[str, Triplets]
) -> MultiVectorEncoderTrainer:
    """The trainer, its loss and its samplers."""
    arguments = MultiVectorEncoderTrainingArguments(
        output_dir=str(settings.output),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        learning_rate_mapping={r"linear\.weight": settings.projection_learning_rate},
        lr_scheduler_type="cosine",
        warmup_steps=round(settings.warmup * settings.steps),
        weight_decay=0.01,
        bf16=True,
        use_cpu=True,
        max_length={"document": settings.training_document_length},
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        multi_dataset_batch_sampler=MultiDatasetBatchSamplers.PROPORTIONAL,
        eval_strategy="steps",
        eval_steps=settings.evaluate_every,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=2,
        logging_steps=50,
        logging_first_step=True,
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
        data_seed=settings.seed,
        dataloader_num_workers=0,
    )
    return MultiVectorEncoderTrainer(
        model=model,
        args=arguments,
        train_dataset={
            name: as_dataset(made.train, settings.hard_negatives) for name, made in triplets.items()
        },
        eval_dataset={
            name: as_dataset(made.held_out, settings.hard_negatives)
            for name, made in triplets.items()
            if made.held_out
        },
        loss=MultiVectorMultipleNegativesRankingLoss(model, scale=settings.scale),
        callbacks=[StopAfter(settings.max_seconds)],
    )


def as_dataset(triplets: list[tuple[str, str, str]], hard_negatives: bool) -> Dataset:
    queries, positives, negatives = zip(*triplets, strict=True)
    columns = {"query": queries, "positive": positives}
    return Dataset.from_dict(columns | {"negative": negatives} if hard_negatives else columns)


class StopAfter(TrainerCallback):  # type: ignore[misc]
    """Ends training, with a checkpoint, when it has taken too long: the machine may be shared."""

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        if time.monotonic() > self.deadline:
            control.should_save = True
            control.should_training_stop = True


def write_record(
    trainer: MultiVectorEncoderTrainer,
    settings: Settings,
    triplets: dict[str, Triplets],
    seconds: float,
) -> None:
    """Settings, triplet counts, steps, seconds (of this process) and the logged losses."""
    record = {
        "settings": {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(settings).items()
        },
        "triplets": {
            name: {"train": len(made.train), "held_out": len(made.held_out)}
            for name, made in triplets.items()
        },
        "steps": trainer.state.global_step,
        "seconds": round(seconds, 1),
        "log": trainer.state.log_history,
    }
    (settings.output / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def parse_arguments() -> Settings:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backbone", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("output", type=Path, help="folder for checkpoints and the trained model")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--max-seconds", type=float, default=65 * 60)
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
    parser.add_argument("--evaluate-every", type=int, default=500)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    return Settings(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
