"""Everything that decides a run, in one frozen value.

Ranges are checked here, before anything heavy is imported; what the settings do is the business of
`modelling` and `fitting`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from gingham.errors import InputError, shown

DEFAULT_BACKBONE = "sentence-transformers/all-MiniLM-L6-v2"

Loss = Literal["auto", "pairwise", "in-batch", "distil", "both", "batch-distil"]
Similarity = Literal["cosine", "l2"]
Projection = Literal["axes", "random"]
Schedule = Literal["linear", "cosine", "constant"]


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train. The defaults train a useful model of a small backbone on a few thousand pairs.

    Attributes:
        backbone: where the weights come from: a folder or a name on the Hugging Face hub; a
            sentence-transformers model, a plain transformers encoder, or a late-interaction
            checkpoint (sentence-transformers, PyLate, Stanford ColBERT).
        dim: dimensions of a token vector; None keeps the checkpoint's, 128 where it has none.
        query_length: tokens a query is cut at, and filled to where there is augmentation; None
            keeps the checkpoint's, else 32.
        document_length: tokens a document is cut at; None keeps the checkpoint's, else 220.
        training_document_length: a shorter cut while training only; None is document_length.
        augmentation: fill queries with [MASK] (ColBERT's query augmentation); None keeps the
            checkpoint's, else True.
        attend: let the words of a query attend to that filling; None keeps the checkpoint's, else
            False.
        keep_punctuation: score punctuation of documents too; None keeps the checkpoint's, else
            False.
        projection: how a new projection starts: "axes", the principal axes of the backbone's token
            vectors, or "random".
        similarity: what training scores by: "cosine", the sum over query vectors of the largest
            cosine, or "l2", minus the sum of the smallest squared distances. Vectors have length 1,
            so both rank alike; "l2" is 2 · cosine − 2 a query vector, which doubles the gradient.
        loss: "pairwise", softmax cross-entropy of a positive against its own negatives (ColBERT);
            "in-batch", against all documents of the batch; "distil", KL divergence from a
            teacher's scores; "both", distil and in-batch summed (ColBERTv2); "batch-distil", KL
            divergence from a teacher's scores of whole batches (`TopicBatches`), which its other
            losses have no use for; "auto", what a set has scores for, else in-batch.
        label_weight: of the cross-entropy in "both".
        label_part: of the label in the targets of "batch-distil"; the rest is the teacher's.
        distillation_weight: of the KL divergence in "both".
        temperature: the model's scores are divided by it, in every loss.
        teacher_temperature: the teacher's scores are divided by it.
        negatives: most negatives of an example that a step takes, where there are no scores.
        ways: most documents of an example that a step takes, where there are scores.
        epochs: passes over the data, where steps is None.
        steps: updates of the weights; None goes by epochs.
        batch_size: queries a step, on each device.
        minibatch_size: encode so many texts at a time and cache gradients (GradCache), so that a
            large batch needs little memory; "in-batch" only. None encodes the batch at once.
        accumulation: batches summed for one update.
        learning_rate: the highest, of the encoder.
        projection_learning_rate: the highest, of the projection.
        weight_decay: of AdamW.
        warmup: part of the steps over which the learning rate rises.
        schedule: how it falls then: "linear", "cosine", or "constant".
        clip: largest norm of a gradient; 0 does not clip.
        dropout: in the encoder, while training.
        bf16: compute in bfloat16 where it is safe (weights stay float32).
        freeze_layers: leave so many lowest layers, and the embeddings, as they are.
        lora_rank: train low-rank updates of the encoder's linear layers instead of the layers
            (LoRA), merged at the end; 0 trains the layers.
        lora_alpha: their scale; None is twice the rank.
        seed: of everything random.
        threads: of PyTorch; None leaves that to it. Another number may round differently.
        device: "cpu", "cuda" or the like; None takes a GPU where there is one.
        hold_out: part of the queries kept out of training to choose the best checkpoint by.
        evaluate_every: steps between measurements on the dev set; None is a tenth of the run.
        patience: stop after so many measurements without a better nDCG@10; None never stops early.
        dev_documents: most documents of the dev set that are searched: the judged ones, and others
            drawn at random.
        save_every: steps between checkpoints; None is as often as is measured.
        keep: checkpoints kept while training.
        tensorboard: write TensorBoard's event files too.

    Raises:
        InputError: a value is out of its range, or two contradict each other.
    """

    backbone: str = DEFAULT_BACKBONE
    dim: int | None = None
    query_length: int | None = None
    document_length: int | None = None
    training_document_length: int | None = None
    augmentation: bool | None = None
    attend: bool | None = None
    keep_punctuation: bool | None = None
    projection: Projection = "axes"
    similarity: Similarity = "cosine"
    loss: Loss = "auto"
    label_weight: float = 1.0
    label_part: float = 0.2
    distillation_weight: float = 1.0
    temperature: float = 1.0
    teacher_temperature: float = 1.0
    negatives: int = 1
    ways: int = 16
    epochs: float = 1.0
    steps: int | None = None
    batch_size: int = 32
    minibatch_size: int | None = None
    accumulation: int = 1
    learning_rate: float = 5e-5
    projection_learning_rate: float = 2e-4
    weight_decay: float = 0.01
    warmup: float = 0.1
    schedule: Schedule = "linear"
    clip: float = 1.0
    dropout: float = 0.0
    bf16: bool = False
    freeze_layers: int = 0
    lora_rank: int = 0
    lora_alpha: float | None = None
    seed: int = 12
    threads: int | None = None
    device: str | None = None
    hold_out: float = 0.0
    evaluate_every: int | None = None
    patience: int | None = None
    dev_documents: int = 5000
    save_every: int | None = None
    keep: int = 2
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Check every range."""
        for name, (rule, holds) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise InputError(f"{name} must be {rule}, got {shown(value)}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name} must be one of {', '.join(choices)}, got {shown(getattr(self, name))}"
                )
        if self.minibatch_size is not None and self.loss not in ("auto", "in-batch"):
            raise InputError(
                f"minibatch_size caches the gradients of the in-batch loss, not of {self.loss!r}; "
                "leave it out, and lower batch_size and raise accumulation instead"
            )
        if not self.backbone:
            raise InputError("backbone must name a folder or a model of the hub, got an empty name")

    def as_dict(self) -> dict[str, Any]:
        """Name → value, as JSON has it."""
        return asdict(self)


def _whole(least: int, most: int = 2**31 - 1) -> tuple[str, Callable[[Any], bool]]:
    rule = f"a whole number of at least {least:,}"
    if most < 2**31 - 1:
        rule = f"a whole number from {least:,} to {most:,}"
    return (
        rule,
        lambda value: (
            isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        ),
    )


def _number(rule: str, holds: Callable[[float], bool]) -> tuple[str, Callable[[Any], bool]]:
    return (
        rule,
        lambda value: (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and math.isfinite(value)
            and holds(value)
        ),
    )


_POSITIVE = _number("a number above 0", lambda value: value > 0)
_NOT_NEGATIVE = _number("a number of at least 0", lambda value: value >= 0)
_PART = _number("a number from 0 to below 1", lambda value: 0 <= value < 1)

_RANGES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "dim": _whole(1, 4096),
    "query_length": _whole(4, 512),
    "document_length": _whole(4, 8192),
    "training_document_length": _whole(4, 8192),
    "label_weight": _NOT_NEGATIVE,
    "label_part": _number("a part from 0 to 1", lambda value: 0 <= value <= 1),
    "distillation_weight": _NOT_NEGATIVE,
    "temperature": _POSITIVE,
    "teacher_temperature": _POSITIVE,
    "negatives": _whole(0),
    "ways": _whole(2),
    "epochs": _POSITIVE,
    "steps": _whole(1),
    "batch_size": _whole(1),
    "minibatch_size": _whole(1),
    "accumulation": _whole(1),
    "learning_rate": _POSITIVE,
    "projection_learning_rate": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "warmup": _PART,
    "clip": _NOT_NEGATIVE,
    "dropout": _PART,
    "freeze_layers": _whole(0),
    "lora_rank": _whole(0, 4096),
    "lora_alpha": _POSITIVE,
    "seed": _whole(0),
    "threads": _whole(1),
    "hold_out": _number("a part from 0 to 0.5", lambda value: 0 <= value <= 0.5),
    "evaluate_every": _whole(1),
    "patience": _whole(1),
    "dev_documents": _whole(1),
    "save_every": _whole(1),
    "keep": _whole(2),
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "projection": get_args(Projection),
    "similarity": get_args(Similarity),
    "loss": get_args(Loss),
    "schedule": get_args(Schedule),
}
