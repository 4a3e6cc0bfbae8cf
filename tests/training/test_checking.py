"""What would spoil a run is refused, and what was held out was not trained on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gingham.errors import InputError
from gingham.training import Example, TrainingSet, check, hold_out
from gingham.training.dev_sets import documents_to_search
from training.toys import toy_set


def make_set(*examples: Example, name: str = "own") -> TrainingSet:
    queries = {"q1": "Why is there a tide?", "q2": "how?", "q3": "when?", "empty": " "}
    documents = {"d1": "The moon.", "d2": "Yeast.", "d3": "Noon.", "d4": "the  MOON.", "e": ""}
    return TrainingSet(name, queries, documents, examples)


GOOD = (Example("q1", ("d1",), ("d2",)), Example("q2", ("d2",), ("d1", "d3"), (3.0, 1.0, 0.0)))


def test_counts() -> None:
    [counts], remarks = check([make_set(*GOOD, GOOD[0])])
    assert counts.line() == (
        "own: 3 examples, 2 queries, 5 documents, 3 positives, 4 negatives, 1 scored, 1 repeated"
    )
    assert remarks == []


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (Example("empty", ("d1",)), "query 'empty' is empty"),
        (Example("q9", ("d1",)), "query 'q9' is asked, and there is no such query"),
        (Example("q1", ("e",)), "document 'e' of query 'q1' is empty"),
        (Example("q1", ("d9",)), "has document 'd9', and there is no such"),
        (Example("q1", ("d1",), ("d1",)), "'d1' is a positive and a negative of query 'q1'"),
        (Example("q1", ("d1",), ("d4",)), r"'d4' \(the same text as 'd1'\) is a positive and a"),
    ],
)
def test_what_is_refused(example: Example, message: str) -> None:
    with pytest.raises(InputError, match=f"^own: .*{message}"):
        check([make_set(*GOOD, example)])


def test_too_few() -> None:
    with pytest.raises(InputError, match="own: 1 example; there must be at least 2"):
        check([make_set(GOOD[0])])
    with pytest.raises(InputError, match="there is no training set"):
        check([])


def test_a_dev_set_that_leaks() -> None:
    dev_queries = {"a": "WHY is there  a tide?", "b": "other?", "c": "another?"}
    dev = TrainingSet(
        "dev", dev_queries, {"x": "the moon.", "y": "Sun.", "z": "Star."},
        (Example("a", ("y",)), Example("b", ("z",))),
    )  # fmt: skip
    message = r"own: query 'q1' \('Why is there a tide\?'\) is query 'a' of the dev set dev"
    with pytest.raises(InputError, match=message):
        check([make_set(*GOOD)], dev)
    shared = replace(dev, examples=(Example("b", ("x",)), Example("c", ("y",))))
    with pytest.raises(InputError, match="'d1', a positive of query 'q1', is positive 'x' of the"):
        check([make_set(*GOOD)], shared)
    _, remarks = check([make_set(*GOOD)], shared, allow_shared_documents=True)
    assert remarks == [
        "1 positive of 2 of the dev set dev is a positive of other queries in training"
    ]
    only_negative = replace(dev, examples=(Example("b", ("z",), ("x",)), Example("c", ("y",))))
    check([make_set(*GOOD)], only_negative)


def test_what_is_held_out_does_not_leak() -> None:
    one = toy_set(200, 3)
    rest, dev, remarks = hold_out([one, toy_set(50, 4, name="other")], 0.1, seed=1)
    assert 24 <= len(dev.examples) <= 30  # queries with the same words go together
    check(rest, dev)
    kept = sum(len(each.examples) for each in rest)
    left_out = sum(int(remark.split(": ")[1].split()[0]) for remark in remarks)
    assert kept + len(dev.examples) + left_out == 250
    again = hold_out([one, toy_set(50, 4, name="other")], 0.1, seed=1)
    assert tuple(again[1].examples) == tuple(dev.examples)
    assert tuple(hold_out([one], 0.1, seed=2)[1].examples) != tuple(
        hold_out([one], 0.1, 1)[1].examples
    )


def test_shared_positives_are_left_out() -> None:
    """Of two queries with one answer, both are held out or one is left out."""
    queries = {str(n): f"question {n}" for n in range(40)}
    documents = {str(n): f"answer {n}" for n in range(20)}
    examples = tuple(Example(str(n), (str(n % 20),)) for n in range(40))
    rest, dev, remarks = hold_out([TrainingSet("s", queries, documents, examples)], 0.1, seed=0)
    found = {id.partition("/")[2] for example in dev.examples for id in example.positives}
    assert len(dev.examples) == 4
    assert not any(set(example.positives) & found for example in rest[0].examples)
    assert "left out that share a positive" in remarks[0]


def test_nothing_left() -> None:
    with pytest.raises(InputError, match="leaves none to train on"):
        hold_out([make_set(GOOD[0])], 0.5, seed=0)


def test_the_documents_that_are_searched() -> None:
    one = toy_set(50, 3)
    chosen = documents_to_search(one, 120, seed=1)
    judged = {id for example in one.examples for id in example.documents}
    assert len(chosen) == 100
    assert set(chosen) == judged
    more = TrainingSet(
        one.name, one.queries, {**one.documents, **{f"x{n}": "x" for n in range(99)}}, one.examples
    )
    assert len(documents_to_search(more, 120, seed=1)) == 120
    assert judged < set(documents_to_search(more, 120, seed=1))
    assert documents_to_search(more, 120, seed=1) == documents_to_search(more, 120, seed=1)
