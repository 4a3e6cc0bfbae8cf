"""Teachers: what says how well a document answers a query, for a student to learn from.

A teacher is anything with `score`. Here are the protocol, the ensemble of several, and how teachers
are named on a command line; the kinds that load a model are in `teacher_models`.

Scores are of any unit: a cross-encoder's are logits, a dense model's cosines. A KL divergence of
softmaxes takes logits, so a cross-encoder alone is used as it is, as ColBERTv2 does
(https://arxiv.org/abs/2112.01488). Everything else is standardised, list by list, first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gingham.document import Float32
from gingham.errors import InputError, shown

KINDS = ("cross", "dense", "colbert", "bm25")
# Standard deviation of an ensemble's scores over a list, about that of the logits of a
# cross-encoder: at 1 the softmax over a list is nearly flat, and a student learns little from it.
SPREAD = 3.0

_FORM = "cross:MODEL, dense:MODEL, colbert:MODEL or bm25, with a weight such as bm25=0.5"


class Teacher(Protocol):
    """Scores the documents of each query; higher is more relevant."""

    @property
    def name(self) -> str:
        """What logs and model cards call it."""
        ...

    @property
    def floor(self) -> float:
        """In its own unit: where the scores of a list deviate by less, they all say the same."""
        ...

    def score(self, queries: Sequence[str], documents: Sequence[Sequence[str]]) -> list[Float32]:
        """The scores of each query's documents.

        Args:
            queries: texts.
            documents: for each query the texts of its documents.

        Returns:
            For each query (n_documents) float32, in the order of its documents.
        """
        ...


def standardised(scores: Float32, floor: float) -> Float32:
    """One list with mean 0 and deviation 1: (score - mean) / max(deviation, floor).

    Scores of different units can be added then. It is done list by list, since a teacher's scores
    of one query say nothing about those of another (BM25's grow with the length of the query). The
    floor keeps a list of equals what it is: divided by a deviation of nothing but rounding, its
    noise would become an order.

    Args:
        scores: (n_documents) float32.
        floor: the least deviation that is divided by, above 0.

    Returns:
        (n_documents) float32; zeros for one document.
    """
    values = scores.astype(np.float64)
    centred = values - values.mean() if len(values) else values
    return (centred / max(float(values.std()) if len(values) else 0.0, floor)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Several teachers, or one whose scores are no logits.

    The score is spread · Σ weight · z / Σ weight, with z the `standardised` scores of a member.

    Attributes:
        members: teachers.
        weights: one a member, above 0; only their ratios matter.
        spread: of the scores: what a member that is alone has as its deviation over a list.

    Raises:
        InputError: no member, a number of weights other than that of members, or one not above 0.
    """

    members: tuple[Teacher, ...]
    weights: tuple[float, ...]
    spread: float = SPREAD

    def __post_init__(self) -> None:
        """Check."""
        if not self.members or len(self.members) != len(self.weights):
            raise InputError(
                f"an ensemble has a weight for each of its teachers; got {len(self.members)} "
                f"teachers and {len(self.weights)} weights"
            )
        for number in (*self.weights, self.spread):
            if not (0 < number < math.inf):
                raise InputError(f"weights and spread are above 0, got {number}")

    @property
    def name(self) -> str:
        """The members with their weights."""
        if len(self.members) == 1:
            return f"{self.members[0].name}, standardised"
        parts = zip(self.weights, self.members, strict=True)
        return " + ".join(f"{weight:g} × {member.name}" for weight, member in parts)

    @property
    def floor(self) -> float:
        """A hundredth of its spread."""
        return self.spread / 100

    def score(self, queries: Sequence[str], documents: Sequence[Sequence[str]]) -> list[Float32]:
        """See `Teacher.score`."""
        total = sum(self.weights)
        sums = [np.zeros(len(texts), dtype=np.float32) for texts in documents]
        for weight, member in zip(self.weights, self.members, strict=True):
            scores = check_scores(member, member.score(queries, documents), documents)
            for row, values in zip(sums, scores, strict=True):
                row += np.float32(self.spread * weight / total) * standardised(values, member.floor)
        return sums


def check_scores(
    teacher: Teacher, scores: Sequence[Float32], documents: Sequence[Sequence[str]]
) -> Sequence[Float32]:
    """The scores, if there is a finite one for each document: teachers may be anybody's code.

    Raises:
        InputError: there are more or fewer, or one is NaN or infinite.
    """
    if [len(values) for values in scores] != [len(texts) for texts in documents]:
        raise InputError(f"{teacher.name}: did not give one score a document")
    if not all(np.isfinite(values).all() for values in scores):
        raise InputError(f"{teacher.name}: gave a score that is no finite number")
    return scores


@dataclass(frozen=True, slots=True)
class TeacherSpec:
    """A teacher as a command line names it.

    Attributes:
        kind: one of `KINDS`.
        model: folder or hub name; empty for BM25.
        weight: in an ensemble.
    """

    kind: str
    model: str
    weight: float = 1.0

    def __str__(self) -> str:
        """What `parse_teacher` reads."""
        name = f"{self.kind}:{self.model}" if self.model else self.kind
        return f"{name}={self.weight:g}"


def parse_teacher(text: str) -> TeacherSpec:
    """Read "dense:NAME=0.5", "bm25" and the like; the weight is 1 where none is given.

    Raises:
        InputError: it has another form, the kind is unknown, or the weight is not above 0.
    """
    name, equals, tail = text.rpartition("=")
    try:
        weight = float(tail) if equals else 1.0
    except ValueError:  # the "=" belongs to the name of a model
        name, weight = text, 1.0
    else:
        name = name if equals else text
    kind, _, model = name.strip().partition(":")
    if kind not in KINDS:
        raise InputError(f"{shown(text)} is no teacher: expected {_FORM}")
    if bool(model.strip()) != (kind != "bm25"):
        needs = "takes no model" if kind == "bm25" else "needs a model, by folder or hub name"
        raise InputError(f"{shown(text)}: a teacher {kind!r} {needs}; expected {_FORM}")
    if not 0 < weight < math.inf:
        raise InputError(f"{shown(text)}: a weight is above 0; expected {_FORM}")
    return TeacherSpec(kind, model.strip(), weight)


def open_teacher(
    specs: Sequence[TeacherSpec], documents: Mapping[str, str], *, threads: int | None = None
) -> Teacher:
    """Load what the specs name.

    Args:
        specs: one or several. One cross-encoder is used as it is; all else becomes an `Ensemble`.
        documents: text by id: all that will be scored, which BM25 counts its words in.
        threads: for late interaction and dense models on a CPU.

    Raises:
        InputError: no spec.
        ModelError: a model cannot be loaded, or is none of its kind.
        MissingDependencyError: an extra is not installed.
    """
    from gingham.training import teacher_models

    if not specs:
        raise InputError(f"no teacher is named: expected {_FORM}")
    openers: dict[str, Callable[[str], Teacher]] = {
        "cross": teacher_models.CrossEncoderTeacher,
        "dense": teacher_models.DenseTeacher,
        "colbert": lambda model: teacher_models.LateInteractionTeacher(model, threads=threads),
        "bm25": lambda _: teacher_models.BM25Teacher(documents),
    }
    members = tuple(openers[spec.kind](spec.model) for spec in specs)
    if len(members) == 1 and specs[0].kind == "cross":
        return members[0]
    return Ensemble(members, tuple(spec.weight for spec in specs))
