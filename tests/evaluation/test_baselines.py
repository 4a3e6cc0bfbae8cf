"""What gingham is compared with, each against an independent answer: BM25, one vector a text."""

from __future__ import annotations

import logging
import re
import shutil
import sys
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gingham.errors import InputError, ModelError
from gingham.evaluation import BM25, LateInteraction, Reranked, SingleVector, single_vector
from gingham.evaluation.bm25 import open_bm25
from gingham.evaluation.experiment import make_job
from gingham.evaluation.footprint import footprint
from gingham.evaluation.quiet_libraries import TALKATIVE
from gingham.evaluation.reading import open_dataset
from gingham.evaluation.single_vector import open_vectors
from gingham.evaluation.systems import Job

from .conftest import QUERIES, TEXTS, ask, by_id, explained, interrupted, write_beir

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

    loggers = [logging.getLogger(name) for name in TALKATIVE]
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
