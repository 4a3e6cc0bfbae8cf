"""What would spoil a run, found before it starts: empty texts, contradictions, leaks.

A model that has seen the answers of its dev set looks better than it is, and the checkpoint that
has learned them by heart is chosen. Texts are compared without case and spacing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gingham.errors import InputError
from gingham.evaluation.numbered_lines import counted, quoted
from gingham.sources.seen_ids import SeenIds
from gingham.training.examples import Example, TrainingSet


@dataclass(frozen=True, slots=True)
class SetCounts:
    """What is in a set.

    Attributes:
        name: of it.
        queries: that examples ask.
        documents: in all, asked for or not.
        examples: how many.
        positives: of all examples together.
        negatives: of all examples together.
        scored: examples with a teacher's scores.
        repeated: examples whose query and first document came before.
    """

    name: str
    queries: int
    documents: int
    examples: int
    positives: int
    negatives: int
    scored: int
    repeated: int

    def line(self) -> str:
        """One line."""
        parts = [
            counted(self.examples, "example"),
            counted(self.queries, "query", "queries"),
            counted(self.documents, "document"),
            counted(self.positives, "positive"),
            counted(self.negatives, "negative"),
        ]
        if self.scored:
            parts.append(f"{self.scored:,} scored")
        if self.repeated:
            parts.append(f"{self.repeated:,} repeated")
        return f"{self.name}: {', '.join(parts)}"


def check(
    sets: Sequence[TrainingSet],
    dev: TrainingSet | None = None,
    *,
    allow_shared_documents: bool = False,
) -> tuple[list[SetCounts], list[str]]:
    """Look at everything once.

    Args:
        sets: to train on.
        dev: to choose the best checkpoint by.
        allow_shared_documents: let a document be a positive of both, with a remark: one's own
            collection may have few documents and many questions.

    Returns:
        The counts of every set, of the dev set last, and remarks.

    Raises:
        InputError: a text is empty, a positive is a negative too, an id is unknown, a set is too
            small, or the dev set leaks into training.
    """
    if not sets:
        raise InputError("there is no training set; give at least one")
    counts = [_count(one) for one in sets]
    remarks: list[str] = []
    for one, count in zip(sets, counts, strict=True):
        if count.repeated * 2 > count.examples:
            remarks.append(
                f"{one.name}: {count.repeated:,} of {count.examples:,} examples repeated"
            )
    if dev is not None:
        counts.append(_count(dev))
        if not any(example.positives for example in dev.examples):
            raise InputError(f"{dev.name}: no query of the dev set has a positive")
        _check_leaks(sets, dev, allow_shared_documents, remarks)
    return counts, remarks


def _count(one: TrainingSet) -> SetCounts:
    asked, seen = SeenIds(), SeenIds()
    queries = positives = negatives = scored = repeated = 0
    for example in one.examples:
        texts = [_document(one, example, id) for id in example.documents]
        query = _query(one, example)
        _check_contradiction(one, example, texts)
        queries += asked.add(query)
        positives += len(example.positives)
        negatives += len(example.negatives)
        scored += example.scores is not None
        repeated += not seen.add(f"{query}\0{texts[0]}")
    examples = len(one.examples)
    if examples < 2:
        raise InputError(
            f"{one.name}: {counted(examples, 'example')}; there must be at least 2, and a few "
            "hundred to learn anything"
        )
    return SetCounts(
        one.name, queries, len(one.documents), examples, positives, negatives, scored, repeated
    )


def _query(one: TrainingSet, example: Example) -> str:
    text = one.queries.get(example.query_id)
    if text is None:
        raise InputError(
            f"{one.name}: query {quoted(example.query_id)} is asked, and there is no such query"
        )
    if not text.strip():
        raise InputError(
            f"{one.name}: query {quoted(example.query_id)} is empty; write its text, or leave the "
            "example out"
        )
    return text


def _document(one: TrainingSet, example: Example, id: str) -> str:
    text = one.documents.get(id)
    if text is None:
        raise InputError(
            f"{one.name}: query {quoted(example.query_id)} has document {quoted(id)}, and there is "
            "no such document"
        )
    if not text.strip():
        raise InputError(
            f"{one.name}: document {quoted(id)} of query {quoted(example.query_id)} is empty; "
            "write its text, or leave it out"
        )
    return text


def _check_contradiction(one: TrainingSet, example: Example, texts: Sequence[str]) -> None:
    split = len(example.positives)
    answers = {normal(text): id for id, text in zip(example.positives, texts, strict=False)}
    for id, text in zip(example.negatives, texts[split:], strict=True):
        same = answers.get(normal(text))
        if same is not None:
            as_well = "" if same == id else f" (the same text as {quoted(same)})"
            raise InputError(
                f"{one.name}: document {quoted(id)}{as_well} is a positive and a negative of query "
                f"{quoted(example.query_id)}; decide which"
            )


def _check_leaks(
    sets: Sequence[TrainingSet], dev: TrainingSet, allowed: bool, remarks: list[str]
) -> None:
    asked = {_digest(dev.queries[example.query_id]): example.query_id for example in dev.examples}
    found = {_digest(dev.documents[id]): id for example in dev.examples for id in example.positives}
    shared: set[str] = set()
    for one in sets:
        for query, documents in _texts(one):
            dev_query = asked.get(_digest(one.queries[query]))
            if dev_query is not None:
                raise InputError(
                    f"{one.name}: query {quoted(query)} ({quoted(one.queries[query])}) is query "
                    f"{quoted(dev_query)} of the dev set {dev.name}; take it out of one of them"
                )
            for id in documents:
                dev_id = found.get(_digest(one.documents[id]))
                if dev_id is None:
                    continue
                if not allowed:
                    raise InputError(
                        f"{one.name}: document {quoted(id)}, a positive of query {quoted(query)}, "
                        f"is positive {quoted(dev_id)} of the dev set {dev.name}; take it out of "
                        "one of them, or allow it: --allow-shared-documents"
                    )
                shared.add(dev_id)
    if shared:
        remarks.append(
            f"{counted(len(shared), 'positive')} of {len(found):,} of the dev set {dev.name} "
            f"{'is a positive' if len(shared) == 1 else 'are positives'} of other queries in "
            "training"
        )


def _texts(one: TrainingSet) -> Iterator[tuple[str, Sequence[str]]]:
    for example in one.examples:
        yield example.query_id, example.positives


def normal(text: str) -> str:
    """What two texts that count as the same have in common: all but case and spacing."""
    return " ".join(text.casefold().split())


def _digest(text: str) -> bytes:
    return hashlib.blake2b(normal(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()
