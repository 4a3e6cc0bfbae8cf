"""Hard negatives: what is drawn, what is left out, and that a kill costs one part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

import gingham
from encoder.conftest import Build
from gingham.errors import InputError
from gingham.training import rankings
from gingham.training.examples import Example, TrainingSet
from gingham.training.mining import (
    MiningSettings,
    draw_negatives,
    mine,
    normalised,
    positives_by_query,
)
from gingham.training.rankings import ScoredDocuments

# d0 … d119 in this order, scores falling by a tenth from 20; the positive is d4.
RANKED = tuple((f"d{i}", 20 - i / 10) for i in range(120))
ALL = MiningSettings(ranks=(1, 120), per_query=120, margin=None)


def a_set(
    texts: Mapping[str, str] | None = None, examples: Sequence[Example] | None = None
) -> TrainingSet:
    documents = {id: f"text number {id}" for id, _ in RANKED} | dict(texts or {})
    asked = [Example("q", ("d4",))] if examples is None else examples
    return TrainingSet("made", {"q": "the question", "r": "another"}, documents, asked)


def ranking(query_id: str) -> ScoredDocuments:
    return ScoredDocuments(RANKED, {"d4": 19.6})


def negatives(training_set: TrainingSet, settings: MiningSettings) -> tuple[str, ...]:
    (example,) = draw_negatives(training_set, ranking, settings).training_set.examples
    return example.negatives


def test_negatives_come_from_the_range_of_ranks_without_the_positive() -> None:
    drawn = negatives(a_set(), MiningSettings(ranks=(3, 8), per_query=50, margin=None))
    # Ranks are counted without the positive: d2 is the third, d8 the eighth.
    assert drawn == ("d2", "d3", "d5", "d6", "d7", "d8")


def test_what_scores_too_close_to_the_positive_is_left_out() -> None:
    share = draw_negatives(a_set(), ranking, MiningSettings((1, 120), 120, margin=0.95))
    (example,) = share.training_set.examples
    assert example.negatives[0] == "d14"  # 18.6, at most 0.95 · 19.6 = 18.62
    assert share.report.above_margin == 13
    points = negatives(a_set(), MiningSettings((1, 120), 120, margin=None, margin_points=2.0))
    assert points[0] == "d24"  # 17.6


def test_the_margin_makes_sense_of_negative_scores() -> None:
    settings = MiningSettings(margin=0.9)
    assert settings.ceiling(-10) == pytest.approx(-11)
    assert settings.ceiling(10) == pytest.approx(9)
    assert MiningSettings(margin=None).ceiling(1) == float("inf")


def test_copies_of_the_positive_and_of_each_other_are_left_out() -> None:
    copies = {"d9": "Text  NUMBER d4!", "d12": "text number d11", "d13": "text number d11."}
    mined = draw_negatives(a_set(copies), ranking, ALL)
    (example,) = mined.training_set.examples
    assert {"d9", "d12", "d13"}.isdisjoint(example.negatives)
    assert "d11" in example.negatives
    assert mined.report.duplicates == 3


def test_what_is_right_for_the_same_question_is_no_negative() -> None:
    examples = [Example("q", ("d4",)), Example("q", ("d5", "d6")), Example("r", ("d7",))]
    training_set = a_set(examples=examples)
    same_words = TrainingSet(
        "made", {"q": "the question", "r": "The question?"}, training_set.documents, examples
    )
    assert positives_by_query(same_words)["q"] == {"d4", "d5", "d6", "d7"}
    for example in draw_negatives(same_words, ranking, ALL).training_set.examples:
        assert {"d4", "d5", "d6", "d7"}.isdisjoint(example.negatives)
    other = draw_negatives(training_set, ranking, ALL).training_set.examples
    assert "d7" in other[0].negatives


def test_draws_depend_on_the_seed_and_on_nothing_else() -> None:
    settings = MiningSettings(ranks=(10, 100), per_query=8, margin=None, seed=3)
    examples = [Example("q", ("d4",)), Example("r", ("d4",)), Example("q", ("d4", "d5"))]
    first = draw_negatives(a_set(examples=examples), ranking, settings).training_set.examples
    again = draw_negatives(a_set(examples=examples[::-1]), ranking, settings).training_set
    assert first == tuple(reversed(again.examples))
    assert len({example.negatives for example in first}) == 3
    for example in first:
        ranks = [int(id[1:]) for id in example.negatives]
        assert len(ranks) == 8
        assert ranks == sorted(ranks)
        assert ranks[0] >= 10
    other = MiningSettings(ranks=(10, 100), per_query=8, margin=None, seed=4)
    assert negatives(a_set(), other) != first[0].negatives


def test_an_example_without_a_hit_is_dropped_and_a_short_one_told() -> None:
    def few(query_id: str) -> ScoredDocuments:
        return ScoredDocuments(RANKED[: 7 if query_id == "q" else 5], {"d4": 19.6})

    asked = [Example("q", ("d4",)), Example("r", ("d4",)), Example("r", ("d4",), ("d5",))]
    settings = MiningSettings(ranks=(5, 10), per_query=3, margin=None)
    mined = draw_negatives(a_set(examples=asked), few, settings)
    assert [example.query_id for example in mined.training_set.examples] == ["q"]
    assert (mined.report.short, mined.report.dropped, mined.report.queries) == (1, 1, 2)
    assert set(mined.training_set.documents) == {"d4", "d5", "d6"}
    assert set(mined.training_set.queries) == {"q"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ranks": (0, 10)}, "from 1 up"),
        ({"ranks": (20, 10)}, "no later than the last"),
        ({"per_query": 0}, "at least one negative"),
        ({"margin": 1.5}, "share of the positive's score"),
        ({"margin": 0.9, "margin_points": 2.0}, "give one of them"),
        ({"margin": None, "margin_points": -1.0}, "at least 0"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MiningSettings(**options)  # type: ignore[arg-type]


def test_texts_of_other_scripts_are_told_apart() -> None:
    assert normalised("海は一日に二度") != normalised("月が海を引く")
    assert normalised("!!!") == "!!!" != normalised("???")


WORDS = "the tide rises twice a day why does sea moon and of in water hello world naive cafe"


def a_searchable_set(n_queries: int = 7) -> TrainingSet:
    random = np.random.default_rng(5)
    documents = {f"d{i}": " ".join(random.choice(WORDS.split(), 9)) for i in range(60)} | {
        "blank": " "
    }
    queries = {f"q{i}": " ".join(documents[f"d{i}"].split()[:5]) for i in range(n_queries)}
    examples = [Example(f"q{i}", (f"d{i}",)) for i in range(n_queries)]
    return TrainingSet("searchable", queries, documents, examples)


def test_mining_asks_its_own_index(build: Build, tmp_path: Path) -> None:
    model, made = build(), a_searchable_set()
    settings = MiningSettings(ranks=(2, 30), per_query=4, margin=0.97)
    mined = mine(made, model, tmp_path / "work", settings, threads=1)
    assert mined.report.examples + mined.report.dropped == 7
    assert mined.report.examples > 3
    with gingham.open(tmp_path / "work" / "index", model, threads=1, read_only=True) as opened:
        assert len(opened) == 60
        for example in mined.training_set.examples:
            (right,) = example.positives
            hits = opened.search(made.queries[example.query_id], 60)
            scores = {hit.id: hit.score for hit in hits}
            others = [hit.id for hit in hits if hit.id != right]
            for id in example.negatives:
                assert id in others[1:30]
                assert scores[id] <= 0.97 * scores[right] + 1e-4
    # A collection with the documents says the same as a model.
    again = mine(made, tmp_path / "work" / "index", tmp_path / "other", settings, threads=1)
    assert again.training_set.examples == mined.training_set.examples


def test_an_interrupted_search_repeats_one_part(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, made, work = build(), a_searchable_set(), tmp_path / "work"
    monkeypatch.setattr(rankings, "_PART", 3)
    settings = MiningSettings(ranks=(1, 20), per_query=4)
    whole = mine(made, model, tmp_path / "whole", settings, threads=1)
    asked: list[Sequence[str]] = []
    answers = rankings._answers

    def failing(queries: Sequence[str], *rest: object) -> object:
        asked.append(queries)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return answers(queries, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(rankings, "_answers", failing)
    with pytest.raises(KeyboardInterrupt):
        mine(made, model, work, settings, threads=1)
    again = mine(made, model, work, settings, threads=1)
    assert asked == [["q0", "q1", "q2"], ["q3", "q4", "q5"], ["q3", "q4", "q5"], ["q6"]]
    assert again == whole or again.training_set.examples == whole.training_set.examples
    # Other questions are not answered from the same folder.
    with pytest.raises(InputError, match="another depth"):
        mine(made, model, work, MiningSettings(ranks=(1, 21)), threads=1)


def test_a_collection_that_lacks_documents_is_refused(build: Build, tmp_path: Path) -> None:
    model, made = build(), a_searchable_set()
    with gingham.open(tmp_path / "few.gingham", model, threads=1) as opened:
        opened.add(["the tide"], ids=["d0"])
    with pytest.raises(InputError, match="lacks 59 documents of searchable"):
        mine(made, tmp_path / "few.gingham", tmp_path / "work", threads=1)


def test_a_set_without_positives_has_nothing_to_mine(tmp_path: Path) -> None:
    made = a_set(examples=[Example("q", (), ("d1",), (1.0,))])
    with pytest.raises(InputError, match="no example has a positive"):
        mine(made, tmp_path, tmp_path / "work")
