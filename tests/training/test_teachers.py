"""Teachers: what they say of texts, how several are added, how they are named."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

import gingham
from encoder.conftest import Build
from gingham.document import Float32
from gingham.errors import InputError, ModelError
from gingham.training.teacher_models import (
    BM25Teacher,
    CrossEncoderTeacher,
    DenseTeacher,
    LateInteractionTeacher,
)
from gingham.training.teachers import (
    Ensemble,
    TeacherSpec,
    open_teacher,
    parse_teacher,
    standardised,
)

QUERIES = ["why does the tide rise", "hello world"]
DOCUMENTS = [
    ["the tide rises twice a day", "naive cafe", "moon and sea"],
    ["naive cafe", "hello hello world"],
]
CORPUS = {str(i): text for i, text in enumerate(dict.fromkeys(chain(*DOCUMENTS)))}


class Fixed:
    """Says what it is told to, and counts how often it is asked."""

    def __init__(self, scores: Sequence[Sequence[float]], floor: float = 0.1) -> None:
        self.name, self.floor = "fixed", floor
        self._scores = [np.array(row, dtype=np.float32) for row in scores]

    def score(self, queries: Sequence[str], documents: Sequence[Sequence[str]]) -> list[Float32]:
        return self._scores


def test_a_list_is_standardised_whatever_its_unit() -> None:
    scores = np.array([1, 2, 3, 6], dtype=np.float32)
    z = standardised(scores, 0.1)
    assert z.mean() == pytest.approx(0, abs=1e-6)
    assert z.std() == pytest.approx(1)
    np.testing.assert_allclose(standardised(scores * 40 - 7, 0.1), z, atol=1e-6)


def test_a_list_of_equals_stays_one() -> None:
    noise = np.array([0.5, 0.5001, 0.4999], dtype=np.float32)
    assert np.abs(standardised(noise, 0.1)).max() < 0.002
    assert standardised(np.array([3], dtype=np.float32), 0.1).tolist() == [0]
    assert standardised(np.empty(0, dtype=np.float32), 0.1).tolist() == []


def test_an_ensemble_adds_standardised_scores_by_weight() -> None:
    large, small = [[100.0, 0.0, 0.0], [10.0, 30.0]], [[0.1, 0.3, 0.1], [0.2, 0.2]]
    both = Ensemble((Fixed(large), Fixed(small)), (3.0, 1.0), spread=2.0)
    scores = both.score(QUERIES, DOCUMENTS)
    for row, first, second in zip(scores, large, small, strict=True):
        expected = 1.5 * standardised(np.array(first, np.float32), 0.1)
        expected += 0.5 * standardised(np.array(second, np.float32), 0.1)
        np.testing.assert_allclose(row, expected, rtol=1e-5)
    # Whoever is heavier decides where they differ, whatever the units.
    assert scores[0].argmax() == 0
    assert scores[1].argmax() == 1
    assert both.name == "3 × fixed + 1 × fixed"


def test_an_ensemble_refuses_what_cannot_be_weighed() -> None:
    with pytest.raises(InputError, match="2 teachers and 1 weights"):
        Ensemble((Fixed([]), Fixed([])), (1.0,))
    with pytest.raises(InputError, match="above 0"):
        Ensemble((Fixed([]),), (0.0,))


@pytest.mark.parametrize("scores", [[[1.0, 2.0], [1.0, 2.0]], [[1.0, float("nan"), 2.0], [1, 2]]])
def test_a_teacher_that_does_not_score_is_found_out(scores: list[list[float]]) -> None:
    with pytest.raises(InputError, match="fixed"):
        Ensemble((Fixed(scores),), (1.0,)).score(QUERIES, DOCUMENTS)


@pytest.mark.parametrize(
    ("text", "kind", "model", "weight"),
    [
        ("bm25", "bm25", "", 1.0),
        ("bm25=0.5", "bm25", "", 0.5),
        (
            "dense:sentence-transformers/all-MiniLM-L6-v2=2",
            "dense",
            "sentence-transformers/all-MiniLM-L6-v2",
            2.0,
        ),
        ("cross:C:\\models\\a=b", "cross", "C:\\models\\a=b", 1.0),
        ("colbert:./folder", "colbert", "./folder", 1.0),
    ],
)
def test_a_teacher_is_named(text: str, kind: str, model: str, weight: float) -> None:
    spec = parse_teacher(text)
    assert spec == TeacherSpec(kind, model, weight)
    assert parse_teacher(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("splade:x", "is no teacher: expected cross:MODEL"),
        ("dense", "needs a model"),
        ("dense:=2", "needs a model"),
        ("bm25:x", "takes no model"),
        ("bm25=0", "above 0"),
        ("bm25=-1", "above 0"),
        ("bm25=nan", "above 0"),
    ],
)
def test_a_misnamed_teacher_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_teacher(text)


def test_bm25_counts_the_words_of_its_own_documents() -> None:
    teacher = BM25Teacher({**CORPUS, "blank": " "})
    first, second = teacher.score(QUERIES, DOCUMENTS)
    assert first.argmax() == 0
    assert first[1] == 0
    assert second.argmax() == 1
    assert [scores.dtype for scores in (first, second)] == [np.float32, np.float32]
    with pytest.raises(InputError, match="none of them"):
        teacher.score(["tide"], [["a text from elsewhere"]])


def test_late_interaction_teaches_what_the_reranker_says(build: Build) -> None:
    folder = build()
    teacher = LateInteractionTeacher(folder, threads=1)
    reranker = gingham.Reranker(folder, threads=1)
    for _ in range(2):  # the second time from what is kept
        for query, texts, scores in zip(
            QUERIES, DOCUMENTS, teacher.score(QUERIES, DOCUMENTS), strict=True
        ):
            by_id = {hit.id: hit.score for hit in reranker.rank(query, texts)}
            expected = [by_id[str(i)] for i in range(len(texts))]
            np.testing.assert_allclose(scores, expected, rtol=5e-3)


def test_late_interaction_forgets_what_does_not_fit(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = LateInteractionTeacher(build(), threads=1)
    before = teacher.score(QUERIES, DOCUMENTS)
    monkeypatch.setattr("gingham.training.teacher_models._KEPT_VALUES", 300)
    for _ in range(2):
        for one, other in zip(teacher.score(QUERIES, DOCUMENTS), before, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3)
        assert 0 < sum(rows.size for rows in teacher._kept.values()) == teacher._kept_values <= 300


def test_dense_encodes_each_document_once(
    dense_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = DenseTeacher(dense_model)
    encoded: list[str] = []
    encode = teacher._model.encode_document

    def counting(texts: list[str], **options: object) -> object:
        encoded.extend(texts)
        return encode(texts, **options)

    monkeypatch.setattr(teacher._model, "encode_document", counting)
    first = teacher.score(QUERIES, DOCUMENTS)
    again = teacher.score(QUERIES[::-1], DOCUMENTS[::-1])[::-1]
    assert sorted(encoded) == sorted(CORPUS.values())
    for one, other, texts in zip(first, again, DOCUMENTS, strict=True):
        assert one.shape == (len(texts),)
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert np.abs(one).max() <= 1 + 1e-5  # cosines
    same = teacher.score(["naive cafe"], [["naive cafe", "moon and sea"]])[0]
    assert same[0] == pytest.approx(1, abs=1e-5)
    assert same[1] < 0.999


def test_a_cross_encoder_teaches_its_logits(cross_model: Path) -> None:
    from sentence_transformers import CrossEncoder

    teacher = CrossEncoderTeacher(cross_model)
    first, second = teacher.score(QUERIES, DOCUMENTS)
    assert (len(first), len(second)) == (3, 2)
    # The library's own scores are sigmoids of them.
    pairs = [(QUERIES[0], text) for text in DOCUMENTS[0]]
    expected = CrossEncoder(str(cross_model), device="cpu").predict(pairs, show_progress_bar=False)
    np.testing.assert_allclose(1 / (1 + np.exp(-first)), expected, atol=1e-5)
    assert teacher.score([], []) == []


def test_models_of_another_kind_are_refused(build: Build, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="it is a MultiVectorEncoder"):
        DenseTeacher(build())
    with pytest.raises(ModelError, match="no such folder"):
        CrossEncoderTeacher(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="a single-vector model"):
        DenseTeacher(tmp_path / "empty")


def test_one_cross_encoder_is_used_as_it_is_and_all_else_standardised(
    cross_model: Path, dense_model: Path
) -> None:
    alone = open_teacher([parse_teacher(f"cross:{cross_model}=0.5")], CORPUS)
    assert isinstance(alone, CrossEncoderTeacher)
    both = open_teacher([parse_teacher(f"dense:{dense_model}"), parse_teacher("bm25=0.5")], CORPUS)
    assert isinstance(both, Ensemble)
    assert both.name == "1 × dense dense + 0.5 × BM25"
    for row in both.score(QUERIES, DOCUMENTS):
        assert row.sum() == pytest.approx(0, abs=1e-4)
    with pytest.raises(InputError, match="no teacher is named"):
        open_teacher([], CORPUS)
