"""Denoised supervision: a teacher scores every positive and negative of a set.

Mined negatives hold answers that nobody labelled, and labels are wrong. A student that learns a
teacher's scores of all documents, instead of the labels, is told so (RocketQA,
https://arxiv.org/abs/2010.08191; ColBERTv2, https://arxiv.org/abs/2112.01488).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from gingham.document import Float32
from gingham.errors import InputError
from gingham.evaluation.atomic import replacing
from gingham.evaluation.systems import Step
from gingham.training.examples import Example, TrainingSet
from gingham.training.steps import ProgressCallback, begin, silent
from gingham.training.teachers import Teacher, check_scores

# Examples of one part: what an interruption loses at most.
_PART = 128


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How often a teacher contradicts the labels of a scored set.

    Attributes:
        examples: with positives and negatives.
        inverted: examples in which a positive scores below a negative.
        worst: examples in which every positive scores below every negative.
        pairs: (positive, negative) of one example, all together.
        inverted_pairs: those in which the negative scores higher.
    """

    examples: int
    inverted: int
    worst: int
    pairs: int
    inverted_pairs: int

    def __str__(self) -> str:
        """One line."""
        if not self.examples:
            return "no example has positives and negatives"
        return (
            f"the teacher puts a positive below a negative in {self.inverted:,} of "
            f"{self.examples:,} examples ({self.inverted / self.examples:.1%}), every positive "
            f"below every negative in {self.worst:,}; {self.inverted_pairs / self.pairs:.1%} of "
            "the pairs"
        )


def rescore(
    training_set: TrainingSet,
    teacher: Teacher,
    work: str | os.PathLike[str],
    *,
    progress: ProgressCallback | None = None,
) -> TrainingSet:
    """Let a teacher score every document of every example.

    Killed, the same call continues after the last part that was scored.

    Args:
        training_set: examples; scores that they have already are replaced.
        teacher: see `gingham.training.teachers`.
        work: a folder for the parts; it may be deleted afterwards.
        progress: told how far it has come.

    Raises:
        InputError: the teacher's scores are not one a document, or not finite; or the folder was
            begun with another teacher or set.
    """
    report, folder = progress or silent, Path(work)
    examples = training_set.examples
    begin(folder, {"teacher": teacher.name, "examples": _digest(training_set)}, "scoring")
    scored: list[Example] = []
    for start in range(0, len(examples), _PART):
        part = examples[start : start + _PART]
        done = f"{start:,} of {len(examples):,} examples"
        report(Step(f"scoring by {teacher.name}", start, len(examples), done))
        path = folder / f"examples-{start:09}.npy"
        if not path.exists():
            values = _scores(training_set, teacher, part)
            with replacing(path) as draft, draft.open("wb") as file:
                np.save(file, values)
        scored += _with_scores(part, path)
    return replace(training_set, examples=tuple(scored))


def disagreement(training_set: TrainingSet) -> Disagreement:
    """Compare a scored set's scores with its labels; examples without scores are passed over."""
    counts = Disagreement(0, 0, 0, 0, 0)
    totals = dict.fromkeys(asdict(counts), 0)
    for example in training_set.examples:
        if example.scores is None or not example.positives or not example.negatives:
            continue
        scores = np.array(example.scores)
        positives, negatives = np.split(scores, [len(example.positives)])
        below = int((positives[:, None] < negatives[None, :]).sum())
        totals["examples"] += 1
        totals["inverted"] += below > 0
        totals["worst"] += below == len(positives) * len(negatives)
        totals["pairs"] += len(positives) * len(negatives)
        totals["inverted_pairs"] += below
    return Disagreement(**totals)


def _scores(training_set: TrainingSet, teacher: Teacher, part: Sequence[Example]) -> Float32:
    """Of all documents of the examples in a row."""
    queries = [training_set.queries[example.query_id] for example in part]
    documents = [[training_set.documents[id] for id in example.documents] for example in part]
    scores = check_scores(teacher, teacher.score(queries, documents), documents)
    return np.concatenate(scores).astype(np.float32)


def _with_scores(part: Sequence[Example], path: Path) -> list[Example]:
    try:
        values = np.load(path, allow_pickle=False)
        ends = np.cumsum([len(example.documents) for example in part])
        if values.shape != (ends[-1],):
            raise ValueError(f"{values.shape} scores for {ends[-1]} documents")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}): delete it and run again") from error
    return [
        replace(example, scores=tuple(own.tolist()))
        for example, own in zip(part, np.split(values, ends[:-1]), strict=True)
    ]


def _digest(training_set: TrainingSet) -> str:
    sha = hashlib.sha256()
    for example in training_set.examples:
        texts = [training_set.documents[id] for id in example.documents]
        for text in (training_set.queries[example.query_id], *texts):
            data = text.encode("utf-8", "surrogatepass")
            sha.update(len(data).to_bytes(8, "little"))
            sha.update(data)
    return sha.hexdigest()
