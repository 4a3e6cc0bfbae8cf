"""Hard negatives: documents that our own index puts near a query's answer, and that are none.

The documents of a training set are indexed with the model that is being trained, every query of its
examples is asked, and negatives are drawn from a range of ranks. Two kinds of hits are left out:
those with the text of a positive or of another negative, and those that score too close to the
positive, which are answers that nobody labelled (positive-aware mining, NV-Retriever,
https://arxiv.org/abs/2407.15831).

`rankings` asks the index and keeps what it says; here, negatives are drawn from that.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gingham import collection as collections
from gingham.encoder import Encoder
from gingham.errors import InputError
from gingham.index.layout import CATALOG
from gingham.training.examples import Example, TrainingSet
from gingham.training.rankings import ScoredDocuments, ask, build
from gingham.training.steps import ProgressCallback, finish

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class MiningSettings:
    """Which hits become negatives.

    Attributes:
        ranks: the first and the last rank to draw from, from 1, the query's positives not counted.
        per_query: how many are drawn for an example; fewer where fewer are left.
        margin: a hit that scores above this share of the best positive's score is left out; None
            leaves none out. For a positive's score p that is p - (1 - margin) · |p|, which makes
            sense of negative scores too.
        margin_points: the margin as a distance instead: hits above p - margin_points are left out.
            MaxSim's scores grow with the query, and a share is a wider margin for a longer one.
        seed: of the draws.

    Raises:
        InputError: a value is out of its range, or both margins are given.
    """

    ranks: tuple[int, int] = (10, 100)
    per_query: int = 8
    margin: float | None = 0.95
    margin_points: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check."""
        first, last = self.ranks
        if not 1 <= first <= last:
            raise InputError(
                f"ranks go from 1 up, the first no later than the last; got {first}-{last}"
            )
        if self.per_query < 1:
            raise InputError(f"at least one negative a query is drawn, got {self.per_query}")
        if self.margin is not None and self.margin_points is not None:
            raise InputError(
                f"the margin is a share ({self.margin:g}) or a distance "
                f"({self.margin_points:g} points): give one of them"
            )
        if self.margin is not None and not 0 < self.margin <= 1:
            raise InputError(
                f"the margin is a share of the positive's score, above 0 and at most 1; got "
                f"{self.margin:g}"
            )
        if self.margin_points is not None and not 0 <= self.margin_points < math.inf:
            raise InputError(f"a margin in points is at least 0, got {self.margin_points:g}")
        if self.seed < 0:
            raise InputError(f"a seed is at least 0, got {self.seed}")

    def ceiling(self, positive: float) -> float:
        """The most that a negative may score where the best positive scores so much."""
        if self.margin_points is not None:
            return positive - self.margin_points
        if self.margin is not None:
            return positive - (1 - self.margin) * abs(positive)
        return math.inf


@dataclass(frozen=True, slots=True)
class MiningReport:
    """What was drawn and what was left out.

    Attributes:
        queries: that were asked.
        examples: that were made.
        negatives: in all of them.
        above_margin: hits in the range of ranks that scored too close to the positive, over all
            examples.
        duplicates: hits in the range with the text of a positive or of an earlier hit.
        short: examples with fewer negatives than asked for.
        dropped: examples of the set that are left out, since no hit was left for them.
    """

    queries: int
    examples: int
    negatives: int
    above_margin: int
    duplicates: int
    short: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Mined:
    """A set with mined negatives, and what the mining was like."""

    training_set: TrainingSet
    report: MiningReport


def normalised(text: str) -> str:
    """The words of a text, in lower case: what two copies of it share."""
    return " ".join(_WORD.findall(text.casefold())) or text.strip()


def positives_by_query(training_set: TrainingSet) -> dict[str, frozenset[str]]:
    """The ids of all documents that are right for each query of the examples.

    The positives of one example are no negatives of another with the same question, asked under
    the same id or in the same words.
    """
    by_words: dict[str, set[str]] = {}
    for example in training_set.examples:
        words = normalised(training_set.queries[example.query_id])
        by_words.setdefault(words, set()).update(example.positives)
    return {
        example.query_id: frozenset(by_words[normalised(training_set.queries[example.query_id])])
        for example in training_set.examples
    }


def mine(
    training_set: TrainingSet,
    source: str | os.PathLike[str],
    work: str | os.PathLike[str],
    settings: MiningSettings | None = None,
    *,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> Mined:
    """Index, search, draw: a set with hard negatives of our own index.

    Killed, the same call continues: a finished index is not built again, and at most one part of
    the searches is repeated.

    Args:
        training_set: examples with positives; all its documents are candidates.
        source: a model that `gingham.Encoder` loads, by folder or hub name, to index the documents
            with; or the folder of a collection that has them, under the same ids.
        work: a folder for the index and the answers; it may be deleted afterwards.
        settings: what is drawn; the defaults if None.
        threads: for encoding and searching.
        progress: told how far it has come.

    Returns:
        The set, with the texts that its examples name, and what was left out.

    Raises:
        InputError: no example has a positive, no hit is left for any of them, a collection lacks
            documents, or the folder was begun with something else.
        ModelError: the model cannot be loaded.
        CollectionError: the collection cannot be used.
    """
    chosen = settings or MiningSettings()
    folder, path = Path(work), Path(source)
    positives = positives_by_query(training_set)
    if not any(positives.values()):
        raise InputError(
            f"{training_set.name}: no example has a positive; negatives are mined for those that do"
        )
    encoder = None
    if not (path / CATALOG).is_file():
        made = Encoder(source, threads=threads)
        path, encoder = folder / "index", made
        finish(
            path,
            lambda draft: build(training_set, made, draft, threads=threads, progress=progress),
        )
    with collections.open(path, encoder, threads=threads, read_only=True) as opened:
        rankings = ask(
            training_set,
            positives,
            opened,
            folder / "rankings",
            chosen.ranks[1],
            progress=progress,
        )
    mined = draw_negatives(training_set, rankings, chosen)
    if not mined.training_set.examples:
        raise InputError(
            f"{training_set.name}: no hit at ranks {chosen.ranks[0]}-{chosen.ranks[1]} is left for "
            "any example: take earlier ranks or a wider margin"
        )
    return mined


def draw_negatives(
    training_set: TrainingSet,
    rankings: Callable[[str], ScoredDocuments],
    settings: MiningSettings,
) -> Mined:
    """Give every example of a set negatives from the ranking of its query.

    An example that a query has twice, with the same positives, becomes one. The same set, rankings
    and seed give the same negatives, in whatever order the examples stand.

    Args:
        training_set: its negatives and scores are not looked at.
        rankings: the hits of a query by its id, best first, and the scores of its positives.
        settings: what is drawn.

    Returns:
        A set with the examples that have negatives, and the texts that they name.
    """
    positives = positives_by_query(training_set)
    texts = _Normalised(training_set.documents)
    examples: list[Example] = []
    above = duplicates = short = dropped = 0
    for example in _distinct(training_set.examples):
        ranking = rankings(example.query_id)
        right = positives[example.query_id]
        in_range = [hit for hit in ranking.hits if hit[0] not in right and hit[0] in texts]
        in_range = in_range[settings.ranks[0] - 1 : settings.ranks[1]]
        scores = [ranking.positives[id] for id in example.positives if id in ranking.positives]
        ceiling = settings.ceiling(max(scores)) if scores else math.inf
        apart = [id for id, score in in_range if score <= ceiling]
        above += len(in_range) - len(apart)
        kept = _distinct_texts(apart, {texts[id] for id in right if id in texts}, texts)
        duplicates += len(apart) - len(kept)
        if not kept:
            dropped += 1
            continue
        drawn = _drawn(kept, settings, example)
        short += len(drawn) < settings.per_query
        examples.append(replace(example, negatives=drawn, scores=None))
    report = MiningReport(
        queries=len(positives),
        examples=len(examples),
        negatives=sum(len(example.negatives) for example in examples),
        above_margin=above,
        duplicates=duplicates,
        short=short,
        dropped=dropped,
    )
    return Mined(only_named(replace(training_set, examples=tuple(examples))), report)


def only_named(training_set: TrainingSet) -> TrainingSet:
    """The set with no queries and documents but those that its examples name."""
    queries = {example.query_id for example in training_set.examples}
    documents = {id for example in training_set.examples for id in example.documents}
    return replace(
        training_set,
        queries={id: text for id, text in training_set.queries.items() if id in queries},
        documents={id: text for id, text in training_set.documents.items() if id in documents},
    )


class _Normalised(Mapping[str, str]):
    """Normalised texts by id, made when they are first asked for."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self._known: dict[str, str] = {}

    def __getitem__(self, id: str) -> str:
        if id not in self._known:
            self._known[id] = normalised(self._texts[id])
        return self._known[id]

    def __contains__(self, id: object) -> bool:
        return id in self._texts

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def _distinct(examples: Iterable[Example]) -> list[Example]:
    first: dict[tuple[str, tuple[str, ...]], Example] = {}
    for example in examples:
        if example.positives:
            first.setdefault((example.query_id, example.positives), example)
    return list(first.values())


def _distinct_texts(
    ids: Sequence[str], taken: Collection[str], texts: Mapping[str, str]
) -> list[str]:
    seen, kept = set(taken), []
    for id in ids:
        if texts[id] not in seen:
            seen.add(texts[id])
            kept.append(id)
    return kept


def _drawn(ids: Sequence[str], settings: MiningSettings, example: Example) -> tuple[str, ...]:
    """A seeded sample in the order of the ranks; the seed is the example's own."""
    if len(ids) <= settings.per_query:
        return tuple(ids)
    name = "\0".join((example.query_id, *example.positives)).encode("utf-8", "surrogatepass")
    own = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
    random = np.random.default_rng([settings.seed, own])
    chosen = random.choice(len(ids), settings.per_query, replace=False)
    return tuple(ids[i] for i in sorted(chosen.tolist()))
