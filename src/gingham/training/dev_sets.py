"""What the best checkpoint is chosen by: a set of its own, or some queries held out of training."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gingham.errors import InputError
from gingham.evaluation.numbered_lines import counted
from gingham.training.checking import normal
from gingham.training.examples import Example, TrainingSet

_OTHERS = 10_000  # documents of a set that nothing held out is relevant to, kept to search among


def hold_out(
    sets: Sequence[TrainingSet], part: float, seed: int
) -> tuple[list[TrainingSet], TrainingSet, list[str]]:
    """Take some queries of every set out of it.

    Queries with the same text go together, and so does every example with a positive that a
    held-out query has, so that nothing that is measured was trained on.

    Args:
        sets: to take from.
        part: of the queries that have positives, at least one of them.
        seed: which.

    Returns:
        The sets without them; what was taken, as one dev set; and remarks.

    Raises:
        InputError: nothing is left of a set, or there is nothing to hold out.
    """
    chosen = {text for one in sets for text in _drawn(one, part, seed)}
    taken = [
        [
            example
            for example in one.examples
            if example.positives and _asked(one, example) in chosen
        ]
        for one in sets
    ]
    found = {
        answer
        for one, examples in zip(sets, taken, strict=True)
        for example in examples
        for answer in _answers(one, example)
    }
    if not found:
        raise InputError("no example has a positive, so there is nothing to hold out")
    rest: list[TrainingSet] = []
    remarks: list[str] = []
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    held: list[Example] = []
    for number, (one, examples) in enumerate(zip(sets, taken, strict=True)):
        kept = tuple(
            example
            for example in one.examples
            if _asked(one, example) not in chosen and found.isdisjoint(_answers(one, example))
        )
        if not kept:
            raise InputError(
                f"{one.name}: holding out {part:g} of its queries leaves none to train on; hold "
                "out less, or name a dev set"
            )
        rest.append(TrainingSet(one.name, one.queries, one.documents, kept))
        left_out = len(one.examples) - len(examples) - len(kept)
        if left_out:
            remarks.append(
                f"{one.name}: {counted(left_out, 'example')} left out that share a positive with "
                "a held-out query"
            )
        # Ids of different sets may be the same.
        searched = documents_to_search(
            TrainingSet(one.name, one.queries, one.documents, examples), _OTHERS, seed
        )
        queries |= {f"{number}/{e.query_id}": one.queries[e.query_id] for e in examples}
        documents |= {f"{number}/{id}": one.documents[id] for id in searched}
        held += [
            Example(f"{number}/{e.query_id}", tuple(f"{number}/{id}" for id in e.positives))
            for e in examples
        ]
    return rest, TrainingSet("held out", queries, documents, tuple(held)), remarks


def _drawn(one: TrainingSet, part: float, seed: int) -> list[str]:
    """The texts of some queries that have a positive."""
    asked = sorted({_asked(one, example) for example in one.examples if example.positives})
    count = min(len(asked), max(1, round(part * len(asked))))
    return random.Random(f"{seed}/{one.name}").sample(asked, count)


def _asked(one: TrainingSet, example: Example) -> str:
    return normal(one.queries[example.query_id])


def _answers(one: TrainingSet, example: Example) -> list[str]:
    return [normal(one.documents[id]) for id in example.positives]


def documents_to_search(dev: TrainingSet, most: int, seed: int) -> list[str]:
    """The documents that are relevant to a query, and others drawn at random up to `most`."""
    judged = dict.fromkeys(id for example in dev.examples for id in example.documents)
    others = [id for id in dev.documents if id not in judged]
    room = max(0, most - len(judged))
    if len(others) > room:
        others = sorted(random.Random(seed).sample(others, room))
    return [*judged, *others]
