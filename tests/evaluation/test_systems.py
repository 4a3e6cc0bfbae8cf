"""gingham as a system: against brute force; its cache built once, resumed, not trusted."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gingham
from gingham import Collection, Encoder, intake
from gingham.errors import CollectionError, CorruptionError, InputError
from gingham.evaluation import BM25, LateInteraction, Reranked, SingleVector
from gingham.evaluation.build_record import BuildRecord
from gingham.evaluation.late_interaction import CollectionSearcher, PreparedCollection
from gingham.evaluation.reading import open_dataset
from gingham.evaluation.systems import Job, Step, System

from .conftest import QUERIES, TEXTS, ask, by_id, explained, interrupted, write_beir

SOME = ("The tide rises.", "Bread is baked.", "Cats hunt at dusk.", "A train to Vienna.", "Stars.")


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit every two documents."""
    monkeypatch.setattr(intake, "_BATCH_DOCUMENTS", 2)


def generation(prepared: PreparedCollection) -> int:
    with gingham.open(prepared.path, read_only=True) as opened:
        return opened.info().generation


def record_file(prepared: PreparedCollection) -> Path:
    return prepared.path.with_suffix(".json")


# -- gingham -------------------------------------------------------------------------------------


def test_an_index_is_built_once(job: Job, cache: Path) -> None:
    first = LateInteraction().prepare(job)
    assert cache in first.path.parents
    assert (first.cost.documents, first.cost.threads) == (11, 1)  # one has no text
    assert first.cost.seconds is not None
    assert first.cost.seconds > 0
    before = (generation(first), record_file(first).read_bytes())
    steps: list[Step] = []
    second = LateInteraction().prepare(replace(job, progress=steps.append))
    assert (generation(second), record_file(second).read_bytes()) == before
    assert (second.path, second.cost, steps) == (first.path, first.cost, [])


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.usefixtures("small_batches")
def test_an_interrupted_build_is_continued(job: Job, tmp_path: Path, exact: bool) -> None:
    system = LateInteraction(exact=exact)
    whole = system.prepare(replace(job, cache=tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        system.prepare(interrupted(job, after=7))
    [path] = job.cache.glob("*/*.json")
    halfway = BuildRecord.read(path)
    assert halfway is not None
    assert not halfway.complete
    with gingham.open(path.with_suffix(".gingham"), read_only=True) as opened:
        assert 0 < len(opened) < 11
    steps: list[Step] = []
    resumed = system.prepare(replace(job, progress=steps.append))
    assert record_file(resumed) == path
    done = BuildRecord.read(path)
    assert done is not None
    assert done.complete
    assert done.seconds is not None
    assert halfway.seconds is not None
    assert done.seconds > halfway.seconds > 0
    assert steps[-1].done == 11
    assert (resumed.cost.documents, resumed.cost.tokens) == (11, whole.cost.tokens)
    for query in QUERIES.values():
        one, other = ask(whole, query), ask(resumed, query)
        assert one.ids == other.ids
        assert one.scores.tobytes() == other.scores.tobytes()


def test_another_content_or_codec_is_another_folder(job: Job, tmp_path: Path) -> None:
    paths = [LateInteraction(exact=exact).prepare(job).path for exact in (False, True)]
    other = open_dataset(write_beir(tmp_path / "b" / "small", texts={**TEXTS, "cat": "Changed."}))
    paths.append(LateInteraction().prepare(replace(job, dataset=other)).path)
    assert len(set(paths)) == 3
    with gingham.open(paths[2], read_only=True) as opened:
        assert opened.get("cat").text == "Changed."
    again = open_dataset(write_beir(tmp_path / "c" / "renamed"))
    assert LateInteraction().prepare(replace(job, dataset=again)).path == paths[0]


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b'{"complete": true}',
        b'{"complete": true, "seconds": 1, "threads": 1, "peak_bytes": null, "more": 1}',
        b'{"complete": "no", "seconds": 1, "threads": 1, "peak_bytes": null}',
        b'{"complete": true, "seconds": "1", "threads": 1, "peak_bytes": null}',
        b'{"complete": true, "seconds": NaN, "threads": 1, "peak_bytes": null}',
        b'{"complete": true, "seconds": 1' + b"0" * 999 + b', "threads": 1, "peak_bytes": null}',
    ],
)
@pytest.mark.usefixtures("small_batches")
def test_a_damaged_record_is_not_trusted(job: Job, record: bytes) -> None:
    with pytest.raises(KeyboardInterrupt):
        LateInteraction().prepare(interrupted(job, after=7))
    [path] = job.cache.glob("*/*.json")
    path.write_bytes(record)
    assert BuildRecord.read(path) is None
    prepared = LateInteraction().prepare(job)
    # What the lost attempt took is not known, and never will be.
    assert (prepared.cost.documents, prepared.cost.seconds) == (11, None)
    assert prepared.cost.peak_bytes is None
    done = BuildRecord.read(path)
    assert done is not None
    assert (done.complete, done.seconds) == (True, None)
    assert LateInteraction().prepare(job).cost == prepared.cost


def test_a_lost_record_makes_no_false_time(job: Job) -> None:
    first = LateInteraction().prepare(job)
    record_file(first).unlink()
    second = LateInteraction().prepare(job)
    assert second.cost == replace(first.cost, seconds=None, peak_bytes=None)
    assert generation(second) == generation(first)


def test_an_index_without_a_document_is_no_lost_attempt(job: Job) -> None:
    with pytest.raises(KeyboardInterrupt):
        LateInteraction().prepare(interrupted(job, after=0))
    [path] = job.cache.glob("*/*.json")
    path.unlink()
    assert LateInteraction().prepare(job).cost.seconds is not None


def spoil(path: Path, how: str) -> None:
    if how == "emptied":
        for entry in path.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    elif how == "no catalog":
        (path / "catalog.sqlite").unlink()
    elif how == "catalog":
        (path / "catalog.sqlite").write_bytes(b"damaged" * 999)
    else:
        largest = max(path.glob("segments/*/*"), key=lambda file: file.stat().st_size)
        largest.write_bytes(largest.read_bytes()[:-9])


@pytest.mark.parametrize("how", ["emptied", "no catalog", "catalog", "truncated"])
def test_a_damaged_index_says_what_to_delete(job: Job, how: str) -> None:
    prepared = LateInteraction().prepare(job)
    spoil(prepared.path, how)
    expected = rf"cannot be used \(.*\): delete {re.escape(str(prepared.path))} and run again$"
    for complete in (True, False):
        if not complete:
            if how == "emptied":
                continue  # it is simply built
            record_file(prepared).unlink()
        with pytest.raises(CollectionError, match=expected) as caught:
            LateInteraction().prepare(job)
        assert "\n" not in str(caught.value)
        assert "backup" not in str(caught.value)
    with pytest.raises(CollectionError, match=expected), prepared.searcher(1):
        pass
    shutil.rmtree(prepared.path)
    assert LateInteraction().prepare(job).cost.documents == 11


def test_damage_that_a_search_finds_says_what_to_delete(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*args: Any, **options: Any) -> Any:
        raise CorruptionError("catalog.sqlite: damaged; restore the collection from a backup")

    own = LateInteraction().prepare(job)
    theirs = LateInteraction(collection=collected(tmp_path)).prepare(job)
    for name in ("search", "search_many", "explain"):
        monkeypatch.setattr(Collection, name, damaged)
    asks: list[Callable[[CollectionSearcher], object]] = [
        lambda searcher: searcher.search(searcher.encode("tide"), 3),
        lambda searcher: list(searcher.answer(["tide"], 3)),
        lambda searcher: searcher.explain("tide", "moon"),
    ]
    for asking in asks:
        with own.searcher(1) as searcher, pytest.raises(CorruptionError, match=r"\): delete"):
            asking(searcher)
        with theirs.searcher(1) as searcher, pytest.raises(CorruptionError, match="from a backup"):
            asking(searcher)


def test_two_processes_build_one_index(job: Job) -> None:
    """Two threads: the lock knows no difference."""
    path = LateInteraction().prepare(job).path
    shutil.rmtree(path.parent)
    building, waited = threading.Event(), threading.Event()
    steps: list[Step] = []

    def slowly(step: Step) -> None:
        building.set()
        waited.wait(30)

    def waiting(step: Step) -> None:
        steps.append(step)
        waited.set()

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(LateInteraction().prepare, replace(job, progress=slowly))
        assert building.wait(30)
        second = LateInteraction().prepare(replace(job, progress=waiting))
        assert first.result().cost == second.cost
    assert second.cost.documents == 11
    assert {step.remark for step in steps} == {"waiting for another process that builds this index"}


def test_a_builder_that_died_is_not_waited_for(job: Job) -> None:
    with pytest.raises(KeyboardInterrupt):
        LateInteraction().prepare(interrupted(job, after=3))
    assert [*job.cache.glob("*/*.lock")]
    assert LateInteraction().prepare(job).cost.documents == 11


def test_a_cache_that_cannot_be_written(job: Job, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for system in (LateInteraction(), BM25()):
        with pytest.raises(InputError, match="the cache cannot be written to"):
            system.prepare(replace(job, cache=tmp_path / "file"))


@pytest.mark.parametrize(
    ("system", "name"),
    [
        (LateInteraction(), "gingham"),
        (LateInteraction(exact=True), "exact MaxSim"),
        (LateInteraction(label="old model"), "old model"),
        (Reranked(7), "BM25 7 + MaxSim"),
        (Reranked(7, label="both"), "both"),
        (BM25("words"), "words"),
        (SingleVector("some", "dense"), "dense"),
    ],
)
def test_names(system: System, name: str) -> None:
    assert system.name == name


def test_a_record_without_its_collection_is_not_trusted(job: Job) -> None:
    path = LateInteraction().prepare(job).path
    path.rename(path.with_name("away"))
    assert LateInteraction().prepare(job).cost.documents == 11


def test_exact_is_brute_force(job: Job) -> None:
    prepared = LateInteraction(exact=True).prepare(job)
    encoder = Encoder(threads=1)
    expected: dict[str, dict[str, float]] = {query: {} for query in QUERIES.values()}
    for document in job.documents():
        text = document.text or ""
        spans = encoder.split(text, length=144, titled=True)
        for own in encoder.passage_texts(text, spans, length=144, titled=True):
            passage = encoder.encode_documents(own)[0].astype(np.float64)
            for query, scores in expected.items():
                similarities = encoder.encode_queries([query])[0].astype(np.float64) @ passage.T
                score = float(similarities.max(axis=1).sum())
                scores[document.id] = max(score, scores.get(document.id, -np.inf))
    assert len(encoder.split(TEXTS["long"])) > 2
    with prepared.searcher(1) as searcher:
        many = list(searcher.answer(list(expected), 100))
    for (query, scores), ranking in zip(expected.items(), many, strict=True):
        assert by_id(ranking) == pytest.approx(scores, abs=1e-2)
        assert (np.diff(ranking.scores) <= 0).all()
        ordered = [scores[id] for id in ranking.ids]
        # Equal but for rounding may change places.
        assert all(a > b - 1e-2 for a, b in pairwise(ordered))
        assert by_id(ask(prepared, query)) == pytest.approx(by_id(ranking), abs=1e-4)
        assert ask(prepared, query, 3).ids == ranking.ids[:3]


@pytest.mark.parametrize("exact", [False, True])
def test_maxsim_explains_its_score(job: Job, exact: bool) -> None:
    prepared = LateInteraction(exact=exact).prepare(job)
    for query in QUERIES.values():
        for id, score in by_id(ask(prepared, query, 4)).items():
            assert explained(prepared, query, id) == pytest.approx(score, abs=1e-3)
    with prepared.searcher(1) as searcher:
        why = searcher.explain("where does the tide stop the river?", "long")
    assert why.text is not None
    assert why.text in TEXTS["long"]
    assert [share for _, _, share in why.parts] == sorted((p[2] for p in why.parts), reverse=True)


def test_two_threads_answer_alike(job: Job) -> None:
    prepared = LateInteraction().prepare(job)
    with prepared.searcher(2) as searcher:
        two = [searcher.search(searcher.encode(query), 5) for query in QUERIES.values()]
    for query, ranking in zip(QUERIES.values(), two, strict=True):
        assert ranking.ids == ask(prepared, query, 5).ids


# -- a collection that is there ------------------------------------------------------------------


def collected(tmp_path: Path, *without: str) -> Path:
    path = tmp_path / "mine.gingham"
    with gingham.open(path, threads=1) as opened:
        kept = {id: text for id, text in TEXTS.items() if text.strip() and id not in without}
        opened.add(list(kept.values()), ids=list(kept))
    return path


def test_a_collection_is_searched_as_it_is(job: Job, tmp_path: Path) -> None:
    path = collected(tmp_path)  # the document without text is missed by nobody
    for system in (LateInteraction(collection=path), Reranked(5, LateInteraction(None, path))):
        system.check(job)
        prepared = system.prepare(job)
        assert prepared.cost.seconds is None
        assert prepared.description.endswith("int8 vectors")
        assert ask(prepared, QUERIES["q3"], 1).ids == ("cat",)
    assert not [*job.cache.glob("*/*.gingham")]


def test_a_collection_must_have_all_documents(job: Job, tmp_path: Path) -> None:
    dataset = replace(job.dataset, qrels={"q3": {"cat": 1}}, queries={"q3": QUERIES["q3"]})
    job = replace(job, dataset=dataset)
    path = collected(tmp_path, "sea", "train")
    for system in (LateInteraction(collection=path), Reranked(5, LateInteraction(None, path))):
        expected = r"lacks 2 of the documents of small .*, such as 'sea': index .*, or leave out"
        with pytest.raises(InputError, match=expected) as caught:
            system.check(job)
        assert "\n" not in str(caught.value)


def test_without_a_corpus_a_collection_must_have_what_was_judged(job: Job, tmp_path: Path) -> None:
    grades = {"q3": {"cat": 1, "dog": 0}}
    asked = {"q3": QUERIES["q3"]}
    dataset = replace(job.dataset, qrels=grades, queries=asked, corpus=None)
    job = replace(job, dataset=dataset)
    system = LateInteraction(collection=collected(tmp_path, "sea"))
    system.check(job)
    assert system.prepare(job).description.endswith("int8 vectors")
    with gingham.open(tmp_path / "mine.gingham") as opened:
        opened.delete("cat")
    with pytest.raises(InputError, match=r"lacks 1 of the judged documents .* such as 'cat'"):
        system.check(job)


def test_other_documents_of_a_collection_are_told(job: Job, tmp_path: Path) -> None:
    path = collected(tmp_path)
    for i, expected in enumerate(["1 other document too", "2 other documents too"]):
        with gingham.open(path, threads=1) as opened:
            opened.add(f"Another text, number {i}.", ids=[f"more{i}"])
        system = LateInteraction(collection=path)
        system.check(job)
        assert system.prepare(job).description.endswith(f"int8 vectors; holds {expected}")


@pytest.mark.parametrize("system", [LateInteraction(), BM25(), Reranked()])
def test_without_documents_nothing_is_prepared(job: Job, system: System) -> None:
    with pytest.raises(InputError, match=r"small .* has no documents to search"):
        system.check(replace(job, dataset=replace(job.dataset, corpus=None)))
