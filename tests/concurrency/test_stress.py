"""The stress test for some seconds; and that its checks refuse what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from concurrency.model import (
    TOLERANCE,
    Model,
    Packed,
    WrongAnswerError,
    check_hits,
    metadata_of,
    queries,
    vectors_of,
)
from concurrency.stress import run
from gingham import Hit

STATE = {f"d{i}": i for i in range(30)}
QUERY = queries()[0]


@pytest.mark.parametrize(("bits", "seconds"), [(4, 6.0), (8, 4.0)])
def test_readers_never_see_anything_but_what_was_committed(
    tmp_path: Path, bits: int, seconds: float
) -> None:
    result = run(tmp_path, seconds, bits, seed=1)
    wrote, read = result["writer"], result["readers"]
    assert wrote["generations"] > 10
    assert read["answers"] > 100
    assert result["readers killed"] > 0
    assert wrote["compressed tokens"] > 0


def hits_of(query: object = None, k: int = 30) -> list[Hit]:
    """What a collection of the documents answers."""
    scores = Packed(STATE).scores(QUERY)
    best = sorted(scores, key=lambda id: -scores[id])[:k]
    return [Hit(id, scores[id], None, (0, 0), metadata_of(id, STATE[id])) for id in best]


def test_the_right_answer_passes() -> None:
    check_hits(hits_of(), Packed(STATE), QUERY, 30, TOLERANCE[8])
    check_hits(hits_of(k=10), Packed(STATE), QUERY, 10, TOLERANCE[8])


@pytest.mark.parametrize(
    "what", ["missing", "deleted", "twice", "old", "order", "score", "better", "stale"]
)
def test_a_wrong_answer_is_refused(what: str) -> None:
    hits, state, k = hits_of(), dict(STATE), 30
    if what == "missing":
        hits = hits[:-1]
    elif what == "deleted":
        del state[hits[3].id]
    elif what == "twice":
        hits[4] = hits[3]
    elif what == "old":
        state[hits[3].id] += 100
    elif what == "order":
        hits[0], hits[-1] = hits[-1], hits[0]
    elif what == "score":
        hits[5] = Hit(hits[5].id, hits[5].score - 0.5, None, (0, 0), hits[5].metadata)
    elif what == "better":
        hits, k = hits[1:11], 10
    elif what == "stale":  # the vectors of another version, under the right metadata
        scores = Packed({hits[2].id: 77}).scores(QUERY)
        hits[2] = Hit(hits[2].id, scores[hits[2].id], None, (0, 0), hits[2].metadata)
        hits.sort(key=lambda hit: -hit.score)
    with pytest.raises(WrongAnswerError):
        check_hits(hits, Packed(state), QUERY, k, TOLERANCE[8])


def test_the_model_says_what_each_generation_holds(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_text('{"from": 0, "add": {"a": 1, "b": 2}}\n{"from": 1, "delete": ["a"]}\n')
    model = Model(ledger)
    assert [dict(p.state) for p in model.between(0, 1)] == [{}, {"a": 1, "b": 2}]
    assert [dict(p.state) for p in model.between(2, 5)] == [{"b": 2}]
    with ledger.open("a") as file:
        file.write('{"from": 5, "add": {"b": 3}}\n{"from": 6')  # the second is being written
    assert [dict(p.state) for p in model.between(5, 6)] == [{"b": 2}, {"b": 3}]
    assert [dict(p.state) for p in model.between(1, 1)] == [{"a": 1, "b": 2}]
    assert (vectors_of("b", 2) != vectors_of("b", 10)).any()
