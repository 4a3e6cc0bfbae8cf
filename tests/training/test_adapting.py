"""Adapting to a collection: what is trained, what is compared, what is said of it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gingham
from encoder.conftest import Build
from gingham.errors import InputError
from gingham.evaluation import BM25
from gingham.training.adapting import Adapted, adapt
from gingham.training.adapting_sets import AdaptingSettings
from gingham.training.examples import Example, TrainingSet
from gingham.training.measuring import (
    Difference,
    Measured,
    as_test,
    difference,
    measure,
    measured,
)
from gingham.training.recipe_report import RecipeReport
from gingham.training.settings import TrainingSettings

WORDS = [
    "the",
    "tide",
    "rises",
    "twice",
    "day",
    "why",
    "sea",
    "moon",
    "water",
    "hello",
    "world",
    "cafe",
]
PAIRS = AdaptingSettings(held_out=0.25, dev=0.2, measured_pairs=40)


@pytest.fixture(scope="module")
def model(build: Build) -> Path:
    return build(document_length=64)


@pytest.fixture(scope="module")
def docs(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 documents of a title and four sentences."""
    random = np.random.default_rng(9)

    def words(count: int) -> str:
        return " ".join(random.choice(WORDS, count)).capitalize()

    # Each has a word of its own, which BM25 finds and a random model does not.
    texts = [
        f"{words(3)} own{i}\n" + " ".join(f"{words(6)} own{i}." for _ in range(4))
        for i in range(120)
    ]
    path = tmp_path_factory.mktemp("adapting") / "docs.gingham"
    with gingham.open(path, model, threads=1) as opened:
        opened.add(texts, ids=[f"d{i}" for i in range(120)])
    return path


def test_a_model_that_did_not_change_is_not_recommended(
    docs: Path, model: Path, tmp_path: Path
) -> None:
    seen: list[tuple[TrainingSettings, Sequence[TrainingSet], TrainingSet]] = []

    def train(
        settings: TrainingSettings,
        sets: Sequence[TrainingSet],
        dev: TrainingSet,
        draft: Path,
        **_: object,
    ) -> None:
        seen.append((settings, sets, dev))
        shutil.copytree(model, draft, dirs_exist_ok=True)

    before = {path: path.stat().st_mtime_ns for path in docs.rglob("*") if path.is_file()}
    settings, output = TrainingSettings(threads=1), tmp_path / "adapted"
    adapted = adapt(docs, output, settings, PAIRS, train=train)  # type: ignore[arg-type]
    ((used, (made,), dev),) = seen
    assert Path(used.backbone) == model
    assert not {e.positives[0] for e in made.examples} & {e.positives[0] for e in dev.examples}
    assert sum(adapted.pairs.values()) == len(made.examples)
    assert set(adapted.pairs) == {"title", "cloze", "neighbour"} == set(adapted.kinds)
    assert sum(adapted.held_out.values()) == 40 == adapted.systems["after"].queries
    assert adapted.systems["before"] == adapted.systems["after"]
    assert set(adapted.systems) == {"before", "after", "BM25"}
    # What is held out is told apart by a system that looks, and by nothing else.
    assert adapted.systems["BM25"].mean > 0.9
    for system in ("after", "BM25"):
        counts = [adapted.held_out[kind] for kind in adapted.kinds]
        means = [adapted.kinds[kind][system] for kind in adapted.kinds]
        assert np.average(means, weights=counts) == pytest.approx(adapted.systems[system].mean)
    assert adapted.over_words.mean == pytest.approx(
        adapted.systems["after"].mean - adapted.systems["BM25"].mean
    )
    assert (adapted.change.mean, adapted.change.verdict) == (0, "within noise")
    assert adapted.recommended == adapted.base == str(model)
    assert "nothing that is more than noise" in adapted.verdict
    assert gingham.Encoder(output, threads=1).dim == 16  # the folder is kept
    assert before.keys() <= {path for path in docs.rglob("*") if path.is_file()}

    def again(*_: object, **__: object) -> None:
        raise AssertionError("all is trained")

    assert adapt(docs, output, settings, PAIRS, train=again) == adapted  # type: ignore[arg-type]
    with pytest.raises(InputError, match="another pairs"):
        adapt(docs, output, settings, replace(PAIRS, pairs=7), train=again)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("interval", "verdict", "said"),
    [
        ((0.01, 0.05), "better", "adapting helped"),
        ((-0.05, -0.01), "worse", "adapting made it worse"),
        ((-0.01, 0.05), "within noise", "nothing that is more than noise"),
        ((0.0, 0.0), "within noise", "nothing that is more than noise"),
    ],
)
def test_the_verdict_goes_by_the_interval(
    interval: tuple[float, float], verdict: str, said: str
) -> None:
    change = Difference(sum(interval) / 2, interval, 0.04)
    value = Measured(0.5, (0.4, 0.6), 50)
    adapted = Adapted(
        output=Path("new"),
        base="old",
        recommended="new" if verdict == "better" else "old",
        pairs={},
        systems={"before": value, "after": value, "BM25": value},
        kinds={},
        held_out={},
        change=change,
        over_words=change,
        rounds=RecipeReport(Path("new"), (), 0),
    )
    assert change.verdict == verdict
    assert said in adapted.verdict
    assert adapted.verdict.endswith("new" if verdict == "better" else "old")


def test_texts_that_make_no_pairs_are_refused(model: Path, tmp_path: Path) -> None:
    with gingham.open(tmp_path / "few.gingham", model, threads=1) as opened:
        opened.add(["the tide", "the sea"])
    with pytest.raises(InputError, match=r"few\.gingham: its texts make 0 pairs"):
        adapt(tmp_path / "few.gingham", tmp_path / "out", TrainingSettings(threads=1))


def test_the_bundled_model_is_measured_by_its_name(tmp_path: Path) -> None:
    texts = {"tide": "The moon pulls the sea.", "bread": "Knead the dough.", "cat": "Cats sleep."}
    examples = [Example("q", ("tide",)), Example("r", ("bread",))]
    asked = {"q": "why does the sea rise?", "r": "how do I make a loaf?"}
    dataset = as_test(TrainingSet("three", asked, texts, examples), 10, 0)
    found = measure(dataset, {"before": "gingham-mini"}, tmp_path, others=[BM25()], threads=1)
    assert measured(found, "before") == Measured(1.0, (1.0, 1.0), 2)
    change = difference(found, "BM25")
    assert change is not None
    assert change.mean < 0
    assert difference(found, "before") is None


def test_only_what_is_needed_is_searched() -> None:
    texts = {f"d{i}": f"text {i}" for i in range(50)}
    examples = [
        Example("q", ("d1", "d2")),
        Example("q", ("d3",)),
        Example("r", (), ("d4",), (1.0,)),
    ]
    dev = TrainingSet("dev", {"q": "one", "r": "two"}, texts, examples)
    dataset = as_test(dev, 10, 0)
    assert dataset.qrels == {"q": {"d1": 1, "d2": 1, "d3": 1}}
    assert dataset.corpus is not None
    assert dataset.corpus.n_documents == 10
    assert all(id in dataset.corpus for id in ("d1", "d2", "d3", "d4"))
    with pytest.raises(InputError, match="no example has a positive"):
        as_test(replace(dev, examples=examples[2:]), 10, 0)
