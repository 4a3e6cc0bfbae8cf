"""What the best checkpoint is chosen by: a set of its own, or some queries held out of training."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gingham.errors import InputError
from gingham.evaluation.numbered_lines import counted
from gingham.training.examples import Example, TrainingSet


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
    rest: list[TrainingSet] = []
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    held: list[Example] = []
    remarks: list[str] = []
    for number, one in enumerate(sets):
        asked = sorted({one.queries[e.query_id] for e in one.examples if e.positives})
        count = max(1, round(part * len(asked))) if asked else 0
        chosen = set(random.Random(f"{seed}/{one.name}").sample(asked, count))
        taken = [e for e in one.examples if e.positives and one.queries[e.query_id] in chosen]
        found = {one.documents[id] for example in taken for id in example.positives}
        kept = tuple(
            example
            for example in one.examples
            if one.queries[example.query_id] not in chosen
            and not any(one.documents[id] in found for id in example.positives)
        )
        if not kept:
            raise InputError(
                f"{one.name}: holding out {part:g} of its queries leaves none to train on; hold "
                "out less, or name a dev set"
            )
        left_out = len(one.examples) - len(taken) - len(kept)
        if left_out:
            remarks.append(
                f"{one.name}: {counted(left_out, 'example')} left out that share a positive with "
                "a held-out query"
            )
        rest.append(TrainingSet(one.name, one.queries, one.documents, kept))
        # Ids of different sets may be the same.
        queries |= {f"{number}/{e.query_id}": one.queries[e.query_id] for e in taken}
        documents |= {f"{number}/{id}": text for id, text in _searched(one, taken, seed).items()}
        held += [
            Example(f"{number}/{e.query_id}", tuple(f"{number}/{id}" for id in e.positives))
            for e in taken
        ]
    if not held:
        raise InputError("no example has a positive, so there is nothing to hold out")
    return rest, TrainingSet("held out", queries, documents, tuple(held)), remarks


def documents_to_search(dev: TrainingSet, most: int, seed: int) -> list[str]:
    """The documents that are relevant to a query, and others drawn at random up to `most`."""
    judged = dict.fromkeys(id for example in dev.examples for id in example.documents)
    others = [id for id in dev.documents if id not in judged]
    room = max(0, most - len(judged))
    if len(others) > room:
        others = sorted(random.Random(seed).sample(others, room))
    return [*judged, *others]


_OTHERS = 10_000  # documents of a set that nothing held out is relevant to, kept to search among


def _searched(one: TrainingSet, taken: Sequence[Example], seed: int) -> dict[str, str]:
    trimmed = TrainingSet(one.name, one.queries, one.documents, tuple(taken))
    return {id: one.documents[id] for id in documents_to_search(trimmed, _OTHERS, seed)}
