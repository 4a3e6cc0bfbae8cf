"""Made pairs → three training sets that share no document: to train on, choose by, and measure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gingham.document import Document
from gingham.errors import InputError
from gingham.training.examples import Example, TrainingSet
from gingham.training.making_pairs import Pair, Pairs, Split, make_pairs, share_of

PARTS = ("train", "dev", "test")
# Fewer held-out pairs say nothing.
_FEWEST = 20


@dataclass(frozen=True, slots=True)
class AdaptingSettings:
    """What pairs are made, and how many are kept apart.

    Attributes:
        documents: most documents of the collection that are read, drawn by digests of their ids.
        pairs: most pairs to train on, of each kind equally many as far as there are.
        held_out: part of the documents that only the measurement at the end sees.
        dev: part of the documents that choose the best checkpoint.
        measured_pairs: most pairs of each of these two.
        searched: most passages that the measurement searches: those of the pairs, and others.

    Raises:
        InputError: a number is out of its range.
    """

    documents: int = 100_000
    pairs: int = 20_000
    held_out: float = 0.1
    dev: float = 0.05
    measured_pairs: int = 500
    searched: int = 20_000

    def __post_init__(self) -> None:
        """Check."""
        for name in ("documents", "pairs", "measured_pairs", "searched"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (0 < self.held_out < 1 and 0 < self.dev < 1 and self.held_out + self.dev < 1):
            raise InputError(
                f"held_out and dev are parts of the documents that leave some to train on; got "
                f"{self.held_out:g} and {self.dev:g}"
            )


def make_sets(
    documents: Iterable[Document], split: Split, settings: AdaptingSettings, name: str
) -> dict[str, TrainingSet]:
    """The sets "train", "dev" and "test".

    A document is in one of them with all its passages; in which, its id alone decides. Passages
    of the other two are searched among when one is measured, and never trained on.

    Raises:
        InputError: there are too few pairs to train on or to measure by.
    """
    made = make_pairs(_fewest_shares(documents, settings.documents), split)
    parts: dict[str, list[Pair]] = {part: [] for part in PARTS}
    for pair in made.pairs:
        part = _part_of(pair.document_id, settings)
        # A sentence that still stands in its passage is found by anything.
        if part == "train" or pair.kind != "cloze" or not _is_in(pair, made):
            parts[part].append(pair)
    mosts = {
        "train": settings.pairs,
        "dev": settings.measured_pairs,
        "test": settings.measured_pairs,
    }
    chosen = {part: _evenly(pairs, mosts[part]) for part, pairs in parts.items()}
    for part, pairs in chosen.items():
        if len(pairs) < _FEWEST:
            raise InputError(
                f"{name}: its texts make {len(pairs)} pairs for {part}, and at least {_FEWEST} are "
                "needed: adapting takes some hundred passages of several sentences, or with titles"
            )
    return {part: _as_set(part, pairs, made, settings) for part, pairs in chosen.items()}


def kinds_of(training_set: TrainingSet) -> dict[str, str]:
    """The kind of pair that each query was made as."""
    return {id: id.partition("/")[0] for id in training_set.queries}


def count_kinds(training_set: TrainingSet) -> dict[str, int]:
    """How many pairs there are of each kind."""
    return dict(Counter(kinds_of(training_set).values()).most_common())


def _part_of(document_id: str, settings: AdaptingSettings) -> str:
    share = share_of(document_id, "part")
    if share < settings.held_out:
        return "test"
    return "dev" if share < settings.held_out + settings.dev else "train"


def _fewest_shares(documents: Iterable[Document], most: int) -> list[Document]:
    """At most so many documents, in their order; which, their ids decide."""
    held: list[Document] = []
    for document in documents:
        held.append(document)
        if len(held) >= 2 * most:
            held = _cut(held, most)
    return _cut(held, most)


def _cut(documents: list[Document], most: int) -> list[Document]:
    if len(documents) <= most:
        return documents
    limit = sorted(share_of(document.id, "drawn") for document in documents)[most - 1]
    return [document for document in documents if share_of(document.id, "drawn") <= limit]


def _evenly(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """At most so many pairs, the kinds in turn."""
    by_kind: dict[str, list[Pair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: share_of("\0".join(pair.positives), pair.kind)):
        by_kind[pair.kind].append(pair)
    chosen: list[Pair] = []
    while by_kind and len(chosen) < most:
        for kind in sorted(by_kind)[: most - len(chosen)]:
            chosen.append(by_kind[kind].pop())
            if not by_kind[kind]:
                del by_kind[kind]
    return chosen


def _as_set(
    part: str, pairs: Sequence[Pair], made: Pairs, settings: AdaptingSettings
) -> TrainingSet:
    queries, examples = {}, []
    for number, pair in enumerate(pairs):
        id = f"{pair.kind}/{number}"
        queries[id] = pair.query
        examples.append(Example(id, pair.positives))
    documents = {
        id: text
        for id, text in made.passages.items()
        if part != "train" or _part_of(made.owners[id], settings) == "train"
    }
    return TrainingSet(part, queries, documents, tuple(examples))


def _is_in(pair: Pair, made: Pairs) -> bool:
    return any(pair.query in made.passages[id] for id in pair.positives)
