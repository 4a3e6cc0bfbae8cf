"""Batches of one topic, with a teacher's score of every query and every document in them.

Documents of a random batch are easy to tell apart, and a step then teaches little; n-way lists
(ColBERTv2) have hard ones, and encode n documents a query. A batch whose queries are of one topic
has both: each document is a hard one of all the other queries, and is encoded once. Topic-aware
batches and a teacher of all pairs are TAS-Balanced's (https://arxiv.org/abs/2104.06967), for one
vector a text; here for late interaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gingham.document import Float32
from gingham.errors import InputError
from gingham.training.examples import TrainingSet

Rows = npt.NDArray[np.int64]
# Numbers of rows → (rows, rows) float32: the score of each row's query and each row's document.
ScoreAll = Callable[[Rows], Float32]

_SAMPLE = 20_000  # vectors that topics are found from
_ROUNDS = 4  # of Lloyd's algorithm: topics need not be the best ones
_NEAREST = 30  # documents that a hard one is drawn from


@dataclass(frozen=True, slots=True, eq=False)
class TopicBatches(TrainingSet):
    """A training set whose examples stand in batches; each has one positive and nothing else.

    Attributes:
        scores: (n_batches, size, size) float32: of batch b, the teacher's logit of query i and
            document j; examples b · size to (b + 1) · size are its queries and documents.
    """

    scores: Float32

    def __post_init__(self) -> None:
        """Check that examples and scores fit.

        Raises:
            InputError: they do not, or a score is not finite.
        """
        shape = self.scores.shape
        if len(shape) != 3 or shape[1] != shape[2] or shape[0] * shape[1] != len(self.examples):
            raise InputError(
                f"{self.name}: scores must be (batches, size, size) with an example for each of "
                f"batches × size, got {shape} for {len(self.examples):,} examples"
            )
        if not np.isfinite(self.scores).all():
            raise InputError(f"{self.name}: a teacher's score is no finite number")
        if any(len(one.positives) != 1 or one.negatives for one in self.examples):
            raise InputError(f"{self.name}: an example of a batch has one positive, nothing else")

    @property
    def size(self) -> int:
        """Examples a batch."""
        return int(self.scores.shape[1])


def group_by_topic(
    queries: Float32,
    documents: Float32,
    document_of: Sequence[int],
    *,
    size: int = 40,
    hard: int = 8,
    topics: int | None = None,
    seed: int = 0,
) -> list[Rows]:
    """Draw batches of rows, a row being a query and a document that answers it.

    Queries are clustered (spherical k-means); most of a batch is of one cluster. The last `hard`
    rows are near its first ones: their documents are among those whose vectors are most similar to
    one of the batch's queries. No document is in a batch twice. What is left of all clusters makes
    the last batches; fewer rows than a batch are left out.

    Args:
        queries: (n_rows, dim) float32 of length 1.
        documents: (n_documents, dim) float32 of length 1.
        document_of: for each row, which of the documents.
        size: rows a batch.
        hard: rows of these that are drawn for their documents; half of size at most.
        topics: clusters; None takes one for about ten batches.
        seed: of everything random.

    Returns:
        Batches of row numbers, in random order; a row drawn as a hard one is in several.

    Raises:
        InputError: fewer rows than a batch, or `hard` is out of its range.
    """
    if not 0 <= hard <= size // 2:
        raise InputError(f"hard must be from 0 to half of size, {size}, got {hard}")
    if len(queries) < size:
        raise InputError(f"{len(queries):,} rows make no batch of {size}; lower size")
    rng = np.random.default_rng(seed)
    of_document = np.asarray(document_of)
    count = topics or max(1, len(queries) // (10 * size))
    cluster = _clusters(queries, count, rng)
    rows_of: dict[int, list[int]] = {}
    for row, document in enumerate(of_document.tolist()):
        rows_of.setdefault(document, []).append(row)
    asked = np.array(sorted(rows_of))
    batches = []
    for core in _cores(cluster, of_document, size - hard, count, rng):
        rows = _with_hard_rows(core, hard, queries, documents, of_document, asked, rows_of, rng)
        if len(rows) == size:
            batches.append(np.array(rows, dtype=np.int64))
    order = rng.permutation(len(batches))
    return [batches[index] for index in order]


def batched(
    source: TrainingSet, rows: Sequence[Rows], score: ScoreAll, *, name: str | None = None
) -> TopicBatches:
    """The set that holds these batches of a set's examples.

    Args:
        source: each example is a row; its first positive is the document.
        rows: batches of equally many numbers of examples.
        score: the teacher's logits of a batch.
        name: None takes the source's.

    Raises:
        InputError: there is no batch, or the scores do not fit them.
    """
    if not rows:
        raise InputError(f"{source.name}: there is no batch")
    scores = np.stack([score(batch) for batch in rows]).astype(np.float32)
    examples = tuple(source.examples[row] for batch in rows for row in batch.tolist())
    return TopicBatches(name or source.name, source.queries, source.documents, examples, scores)


def _clusters(vectors: Float32, count: int, rng: np.random.Generator) -> Rows:
    """(n,) which cluster each vector is in."""
    sample = vectors[rng.choice(len(vectors), min(len(vectors), _SAMPLE), replace=False)]
    centres = sample[:count].copy()
    for _ in range(_ROUNDS):
        nearest = (sample @ centres.T).argmax(1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, sample)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centres)
    return np.concatenate(
        [
            (vectors[start : start + 8192] @ centres.T).argmax(1)
            for start in range(0, len(vectors), 8192)
        ]
    )


def _cores(
    cluster: Rows, document_of: Rows, size: int, count: int, rng: np.random.Generator
) -> Iterator[list[int]]:
    """Rows of one cluster each, and then of what was left; no document twice in a core."""
    left: list[int] = []
    members = [rng.permutation(np.flatnonzero(cluster == number)) for number in range(count)]
    for number in range(count + 1):
        rows = members[number].tolist() if number < count else rng.permutation(left).tolist()
        while True:
            core: list[int] = []
            others: list[int] = []
            seen: set[int] = set()
            for position, row in enumerate(rows):
                if len(core) == size:
                    others += rows[position:]
                    break
                document = int(document_of[row])
                (others if document in seen else core).append(int(row))
                seen.add(document)
            if len(core) < size:
                break
            yield core
            rows = others
        if number < count:
            left += rows


def _with_hard_rows(
    core: list[int],
    hard: int,
    queries: Float32,
    documents: Float32,
    document_of: Rows,
    asked: Rows,
    rows_of: dict[int, list[int]],
    rng: np.random.Generator,
) -> list[int]:
    rows = list(core)
    have = {int(document_of[row]) for row in core}
    near = queries[rng.choice(core, hard, replace=False)] @ documents.T if hard else ()
    for similarities in near:
        candidates = similarities[asked]
        best = np.argpartition(-candidates, min(_NEAREST + len(have), len(asked) - 1))
        best = best[: _NEAREST + len(have)]
        ranked = asked[best[np.argsort(-candidates[best], kind="stable")]].tolist()
        fresh = [document for document in ranked if document not in have][:_NEAREST]
        if fresh:
            document = fresh[int(len(fresh) * rng.random() ** 2)]  # the nearest most often
            rows.append(int(rng.choice(rows_of[document])))
            have.add(document)
    return rows
