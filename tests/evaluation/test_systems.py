"""Each system against an independent answer, and its cache: built once, resumed, not trusted."""

from __future__ import annotations

import logging
import re
import shutil
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gingham
from gingham import Collection, Encoder, intake
from gingham.document import Document
from gingham.errors import CollectionError, CorruptionError, InputError, ModelError
from gingham.evaluation import BM25, LateInteraction, Reranked, SingleVector, single_vector
from gingham.evaluation.bm25 import open_bm25
from gingham.evaluation.build_record import BuildRecord
from gingham.evaluation.dataset import Corpus, Dataset
from gingham.evaluation.experiment import make_job
from gingham.evaluation.footprint import footprint
from gingham.evaluation.late_interaction import CollectionSearcher, PreparedCollection
from gingham.evaluation.reading import open_dataset
from gingham.evaluation.run import Ranking
from gingham.evaluation.single_vector import open_vectors
from gingham.evaluation.systems import Job, Prepared, Step, System

from .conftest import QUERIES, TEXTS, write_beir

SOME = ("The tide rises.", "Bread is baked.", "Cats hunt at dusk.", "A train to Vienna.", "Stars.")


@pytest.fixture
def job(dataset: Dataset, cache: Path) -> Job:
    return make_job(dataset, cache, threads=1)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit every two documents."""
    monkeypatch.setattr(intake, "_BATCH_DOCUMENTS", 2)


@dataclass
class Interrupting:
    """A corpus in which Ctrl-C is pressed after some documents, however often it is read."""

    inner: Corpus
    after: int
    read: int = 0

    @property
    def digest(self) -> str:
        return self.inner.digest

    @property
    def n_documents(self) -> int:
        return self.inner.n_documents

    def documents(self) -> Iterator[Document]:
        for document in self.inner.documents():
            if self.read == self.after:
                raise KeyboardInterrupt
            self.read += 1
            yield document

    def __contains__(self, id: object) -> bool:
        return id in self.inner


def interrupted(job: Job, after: int) -> Job:
    corpus: Any = Interrupting(job.corpus, after)
    return replace(job, dataset=replace(job.dataset, corpus=corpus))


def ask(prepared: Prepared, query: str, k: int = 100) -> Ranking:
    with prepared.searcher(1) as searcher:
        return searcher.search(searcher.encode(query), k)


def by_id(ranking: Ranking) -> dict[str, float]:
    return dict(zip(ranking.ids, ranking.scores.tolist(), strict=True))


def generation(prepared: PreparedCollection) -> int:
    with gingham.open(prepared.path, read_only=True) as opened:
        return opened.info().generation


def record_file(prepared: PreparedCollection) -> Path:
    return prepared.path.with_suffix(".json")


def explained(prepared: Prepared, query: str, id: str) -> float:
    with prepared.searcher(1) as searcher:
        return sum(share for _, _, share in searcher.explain(query, id).parts)


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
        for start, end in encoder.split(text):
            passage = encoder.encode_documents(text[start:end])[0].astype(np.float64)
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


# -- BM25 ----------------------------------------------------------------------------------------


class Formula:
    """Lucene's BM25 (Kamphuis et al., ECIR 2020, table 1), k1 = 1.5, b = 0.75, over words."""

    def __init__(self, texts: dict[str, list[str]]) -> None:
        self.counts = {id: Counter(words) for id, words in texts.items()}
        self.average = np.mean([len(words) for words in texts.values()])
        self.n = len(texts)
        self.seen = Counter(word for words in texts.values() for word in set(words))

    def score(self, query: list[str], id: str) -> float:
        counts, total = self.counts[id], 0.0
        length = 1 - 0.75 + 0.75 * counts.total() / self.average
        for word in query:
            idf = np.log(1 + (self.n - self.seen[word] + 0.5) / (self.seen[word] + 0.5))
            total += idf * counts[word] / (counts[word] + 1.5 * length)
        return float(total)


STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then "
    "there these they this to was will with"
)


def words_of(text: str) -> list[str]:
    import Stemmer

    words = [w for w in re.findall(r"\b\w\w+\b", text.lower()) if w not in STOP_WORDS.split()]
    stemmed: list[str] = Stemmer.Stemmer("english").stemWords(words)
    return stemmed


def test_bm25_is_the_formula(job: Job) -> None:
    prepared = BM25().prepare(job)
    formula = Formula({d.id: words_of(d.text or "") for d in job.documents()})
    assert prepared.cost.documents == 11
    assert prepared.cost.tokens == sum(c.total() for c in formula.counts.values())
    with prepared.searcher(1) as searcher:
        many = list(searcher.answer(list(QUERIES.values()), 100))
    for query, ranking in zip(QUERIES.values(), many, strict=True):
        scores = {id: formula.score(words_of(query), id) for id in formula.counts}
        expected = {id: score for id, score in scores.items() if score > 0}
        assert by_id(ranking) == pytest.approx(expected, rel=1e-5)
        order = sorted(expected, key=lambda id: -round(expected[id], 5))  # stable: by place
        assert list(ranking.ids) == order
        assert list(ask(prepared, query, 2).ids) == order[:2]
        for id, score in by_id(ranking).items():
            assert explained(prepared, query, id) == pytest.approx(score, rel=1e-6)


def test_bm25_gives_ties_in_the_order_of_the_documents(tmp_path: Path, cache: Path) -> None:
    ids = [f"d{i}" for i in (3, 1, 2, 9, 4)]
    texts = {"other": "nothing here", **dict.fromkeys(ids, "the tide rises")}
    grades = {"q": {"d3": 1}}
    folder = write_beir(tmp_path / "ties", texts=texts, queries={"q": "tide"}, grades=grades)
    prepared = BM25().prepare(make_job(open_dataset(folder), cache))
    for k in range(1, 7):
        assert list(ask(prepared, "tide", k).ids) == ids[:k]


def test_a_saved_bm25_answers_alike(job: Job) -> None:
    prepared = BM25().prepare(job)
    [folder] = job.cache.glob("*/bm25")
    assert prepared.cost.bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert [entry.name for entry in folder.parent.iterdir()] == ["bm25"]
    with prepared.searcher(1) as one, open_bm25(str(folder), threads=1) as other:
        for query in QUERIES.values():
            assert by_id(other.search(other.encode(query), 9)) == by_id(
                one.search(one.encode(query), 9)
            )


@pytest.mark.parametrize("query", ["zzzz", "the of and", "!?", "漢字"])
def test_bm25_finds_nothing_without_known_words(job: Job, query: str) -> None:
    for system in (BM25(), Reranked(3)):
        ranking = ask(system.prepare(job), query)
        assert ranking.ids == ()
        assert ranking.scores.shape == (0,)


def test_reranked_orders_the_candidates_anew(job: Job) -> None:
    first, own = BM25().prepare(job), LateInteraction().prepare(job)
    prepared = Reranked(3).prepare(job)
    assert prepared.cost.bytes == first.cost.bytes + own.cost.bytes
    for query in QUERIES.values():
        candidates = ask(first, query, 3).ids
        all_scores = by_id(ask(own, query))
        ranking = ask(prepared, query)
        assert set(ranking.ids) == set(candidates)
        assert list(ranking.ids) == [id for id in all_scores if id in candidates]
        assert by_id(ranking) == {id: all_scores[id] for id in ranking.ids}
        assert ask(prepared, query, 1).ids == ranking.ids[:1]
        for id in ranking.ids:
            assert explained(prepared, query, id) == pytest.approx(all_scores[id], abs=1e-3)


def test_only_candidates_have_a_rank(job: Job) -> None:
    depths = [system.prepare(job).depth for system in (LateInteraction(), BM25(), Reranked(3))]
    assert depths == [None, None, 3]


def test_reranked_needs_a_candidate(job: Job) -> None:
    with pytest.raises(InputError, match="at least one candidate"):
        Reranked(0).check(job)


# -- one vector a document -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of 16 dimensions, mean-pooled."""
    folder = tmp_path_factory.mktemp("dense")
    with warnings.catch_warnings():
        # torch and transformers warn of their own future when they are imported.
        warnings.simplefilter("ignore")
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
        from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        letters = "abcdefghijklmnopqrstuvwxyz"
        pieces = [*special, *letters, *(f"##{letter}" for letter in letters), ".", ",", ";", "?"]
        vocabulary = {piece: i for i, piece in enumerate(pieces)}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            model_max_length=64,
            pad_token="[PAD]",
            unk_token="[UNK]",
            cls_token="[CLS]",
            sep_token="[SEP]",
        ).save_pretrained(folder / "bert")
        torch.manual_seed(3)
        config = BertConfig(
            vocab_size=len(pieces),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            initializer_range=0.5,
        )
        BertModel(config).save_pretrained(folder / "bert")
        model = SentenceTransformer(
            modules=[Transformer(str(folder / "bert")), Pooling(16)],
            prompts={"query": "find: ", "document": "text: "},
            device="cpu",
        )
        model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


@pytest.mark.parity
def test_one_vector_is_the_direct_product(job: Job, dense: Path) -> None:
    from sentence_transformers import SentenceTransformer

    system = SingleVector(dense)
    system.check(job)
    prepared = system.prepare(job)
    assert (prepared.cost.documents, prepared.cost.tokens) == (11, 11)
    assert prepared.cost.bytes == 11 * 16 * 4
    model = SentenceTransformer(str(dense), device="cpu")
    kept = list(job.documents())
    documents = model.encode_document([d.text or "" for d in kept])
    asked = model.encode_query(list(QUERIES.values()))
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    with prepared.searcher(1) as searcher:
        many = list(searcher.answer(list(QUERIES.values()), 100))
    for query, vector, ranking in zip(QUERIES.values(), asked, many, strict=True):
        products = dict(zip([d.id for d in kept], (documents @ vector).tolist(), strict=True))
        assert by_id(ranking) == pytest.approx(products, abs=1e-5)
        assert (np.diff(ranking.scores) <= 0).all()
        assert by_id(ask(prepared, query)) == pytest.approx(products, abs=1e-5)
        assert len(ask(prepared, query, 3).ids) == 3
    assert explained(prepared, QUERIES["q1"], "moon") == 0


@pytest.mark.parity
def test_vectors_are_kept_in_parts(
    job: Job, dense: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(single_vector, "_PART", 4)
    system = SingleVector(dense)
    whole = system.prepare(replace(job, cache=tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        system.prepare(interrupted(job, after=len(TEXTS) + 11))  # the ids are read first
    parts = sorted(job.cache.glob("*/*/part-*.npy"))
    assert len(parts) == 2
    times = [path.stat().st_mtime_ns for path in parts]
    resumed = system.prepare(job)
    assert [path.stat().st_mtime_ns for path in parts] == times
    assert resumed.ids == whole.ids
    np.testing.assert_array_equal(resumed.vectors, whole.vectors)
    before = (parts[0].parent / "build.json").read_bytes()
    system.prepare(job)
    assert (parts[0].parent / "build.json").read_bytes() == before

    for spoilt in (b"", b"damaged", parts[0].read_bytes()[:-9], None):
        if spoilt is None:
            parts[0].unlink()
        else:
            parts[0].write_bytes(spoilt)
        np.testing.assert_array_equal(system.prepare(job).vectors, whole.vectors)

    (parts[0].parent / "build.json").unlink()
    found = system.prepare(job)
    assert (found.cost.seconds, found.cost.peak_bytes) == (None, None)
    np.testing.assert_array_equal(found.vectors, whole.vectors)
    assert not [*parts[0].parent.glob("*.part"), *parts[0].parent.glob(".*.part")]


@pytest.mark.parity
def test_a_folder_that_is_no_model(job: Job, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ModelError, match="nothing: sentence-transformers cannot load it"):
        SingleVector(tmp_path / "nothing").check(job)
    with pytest.raises(ModelError, match="nowhere: no such folder"):
        SingleVector(tmp_path / "nowhere").check(job)


@pytest.mark.parity
def test_a_model_that_no_hub_has_is_one_line(
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[dict[str, Any]] = []

    def load(model: str, **options: Any) -> Any:
        asked.append(options)
        warnings.warn("the hub is slow", UserWarning, stacklevel=1)
        for name in ("huggingface_hub.utils._http", "transformers", "sentence_transformers.base"):
            logging.getLogger(name).error("Retrying, or Converting MultiVectorEncoder")
        raise OSError("no connection\nat all")

    loggers = [logging.getLogger(name) for name in single_vector._TALKATIVE]
    levels = [logger.level for logger in loggers]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("sentence_transformers.SentenceTransformer", load)
    capfd.readouterr()
    with pytest.raises(ModelError, match=r"cannot load it \(no connection\): pass") as caught:
        SingleVector("nobody/has-this").check(job)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert [logger.level for logger in loggers] == levels
    assert asked == [{"device": "cpu"}]  # nothing of it is on this computer

    there = "sentence_transformers.util.is_sentence_transformer_model"
    monkeypatch.setattr(there, lambda model, local_files_only: local_files_only)
    with pytest.raises(ModelError):
        SingleVector("nobody/has-this").check(job)
    assert asked[1:] == [{"device": "cpu", "local_files_only": True}, {"device": "cpu"}]


@pytest.mark.parity
def test_two_processes_encode_one_set_of_vectors(job: Job, dense: Path) -> None:
    whole = SingleVector(dense).prepare(job)
    shutil.rmtree(whole.opening.arguments["folder"])
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: SingleVector(dense).prepare(job), range(2)))
    assert both[0].cost == both[1].cost
    for prepared in both:
        np.testing.assert_array_equal(prepared.vectors, whole.vectors)


@pytest.mark.parity
@pytest.mark.skipif(sys.platform == "win32", reason="not known there")
def test_one_vector_can_be_opened_elsewhere(job: Job, dense: Path) -> None:
    prepared = SingleVector(dense).prepare(job)
    with open_vectors(**prepared.opening.arguments, threads=1) as searcher:
        for query in QUERIES.values():
            here = ask(prepared, query)
            assert by_id(searcher.search(searcher.encode(query), 100)) == by_id(here)
    peak = footprint(prepared.opening, list(QUERIES.values()), 1, 10)
    assert peak is not None
    assert peak > 50e6
