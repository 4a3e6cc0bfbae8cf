"""Collections of ready vectors: add, replace, delete, search, snapshots. No model needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gingham
from gingham import Collection, DocumentNotFoundError, InputError, TokenVectors
from gingham.kernels import reference
from support import random_vectors


def brute_force(query: np.ndarray, vectors: TokenVectors) -> list[int]:
    """Texts in the order of their float64 MaxSim."""
    scores = [float((query.astype(np.float64) @ text.T).max(axis=1).sum()) for text in vectors]
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def test_search_finds_what_brute_force_finds(collection: Collection, vectors: TokenVectors) -> None:
    query = random_vectors([7], seed=1)[0]
    hits = collection.search(query, k=10)
    expected = brute_force(query, vectors)[:10]
    # int8 codes may swap near ties; the sets agree on this data and the best is the best.
    assert {hit.id for hit in hits} == {f"d{i}" for i in expected}
    assert hits[0].id == f"d{expected[0]}"
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_fp16_scores_are_close_to_float32(tmp_path: Path, vectors: TokenVectors) -> None:
    collection = gingham.open(tmp_path / "c", codec="fp16")
    collection.add(vectors, ids=[str(i) for i in range(len(vectors))])
    query = random_vectors([5], seed=2)[0]
    expected = reference.score(query, vectors.values, vectors.offsets)
    for hit in collection.search(query, k=len(vectors)):
        assert hit.score == pytest.approx(expected[int(hit.id)], abs=5e-3)
    assert collection.info().codec == "fp16"


@pytest.mark.parametrize("k", [1, 5, 39, 40, 41, 1000])
def test_k_hits_whenever_k_documents_exist(collection: Collection, k: int) -> None:
    query = random_vectors([3], seed=3)[0]
    hits = collection.search(query, k=k)
    assert len(hits) == min(k, 40)
    assert len({hit.id for hit in hits}) == len(hits)


def test_scores_may_be_negative(tmp_path: Path) -> None:
    collection = gingham.open(tmp_path / "c")
    collection.add(TokenVectors.from_arrays([-np.eye(4)[:1], -np.eye(4)[:2]]), ids=["a", "b"])
    hits = collection.search(np.eye(4, dtype=np.float32)[:1], k=2)
    assert [hit.id for hit in hits] == ["b", "a"]
    assert hits[1].score == pytest.approx(-1, abs=0.02)


def test_equal_scores_come_in_order_of_age(tmp_path: Path) -> None:
    collection = gingham.open(tmp_path / "c")
    same = TokenVectors.from_arrays([np.ones((2, 4))] * 30)
    collection.add(same, ids=[f"{i:02}" for i in range(30)])
    hits = collection.search(np.ones((1, 4), dtype=np.float32), k=7)
    assert [hit.id for hit in hits] == [f"{i:02}" for i in range(7)]


def test_an_existing_id_is_replaced(collection: Collection) -> None:
    query = random_vectors([2], seed=4)[0]
    collection.add(TokenVectors.from_arrays([query * 3]), ids=["d7"], metadata=[{"new": True}])
    assert len(collection) == 40
    best = collection.search(query, k=40)[0]
    assert best.id == "d7"
    assert best.metadata == {"new": True}
    assert [hit.id for hit in collection.search(query, k=40)].count("d7") == 1


def test_an_unchanged_document_is_not_stored_again(
    collection: Collection, vectors: TokenVectors
) -> None:
    before = collection.info()
    reports: list[gingham.Progress] = []
    collection.add(
        vectors[:5],
        ids=[f"d{i}" for i in range(5)],
        metadata=[{"n": i, "parity": "odd" if i % 2 else "even"} for i in range(5)],
        progress=reports.append,
    )
    assert reports == [gingham.Progress(documents=5, skipped=5, passages=0, tokens=0)]
    assert collection.info() == before


def test_deleted_documents_are_not_found(collection: Collection) -> None:
    query = random_vectors([3], seed=5)[0]
    first = collection.search(query, k=1)[0].id
    assert collection.delete([first]) == 1
    assert len(collection) == 39
    assert first not in collection
    assert first not in [hit.id for hit in collection.search(query, k=40)]
    with pytest.raises(DocumentNotFoundError, match=first):
        collection.get(first)


def test_delete_is_all_or_nothing(collection: Collection) -> None:
    with pytest.raises(DocumentNotFoundError, match="'nobody'"):
        collection.delete(["d1", "nobody"])
    assert "d1" in collection
    assert collection.delete(["d1", "nobody"], missing_ok=True) == 1


def test_optimize_keeps_every_answer(collection: Collection) -> None:
    for i in range(5):
        collection.add(random_vectors([4], seed=50 + i), ids=[f"extra{i}"])
    collection.delete(["d3", "d5", "extra1"])
    query = random_vectors([6], seed=6)[0]
    before = collection.search(query, k=100)
    collection.optimize()
    assert collection.search(query, k=100) == before
    assert collection.info().segments == 1
    assert collection.info().passages == len(collection) == 42


def test_many_small_adds_keep_few_segments(tmp_path: Path) -> None:
    collection = gingham.open(tmp_path / "c")
    texts = random_vectors([3] * 60, seed=7)
    for i in range(60):
        collection.add(texts[i : i + 1], ids=[str(i)])
    assert collection.info().segments <= 8
    query = random_vectors([4], seed=8)[0]
    together = gingham.open(tmp_path / "together")
    together.add(texts, ids=[str(i) for i in range(60)])
    assert collection.search(query, k=60) == together.search(query, k=60)


def test_deleting_everything_leaves_an_empty_collection(collection: Collection) -> None:
    collection.delete([f"d{i}" for i in range(40)])
    collection.optimize()
    assert len(collection) == 0
    assert collection.search(random_vectors([2])[0]) == []
    collection.add(random_vectors([2]), ids=["again"])
    assert [hit.id for hit in collection.search(random_vectors([2])[0])] == ["again"]


def test_it_is_all_there_after_reopening(collection: Collection) -> None:
    query = random_vectors([3], seed=9)[0]
    before = collection.search(query, k=40)
    collection.close()
    with gingham.open(collection.path, read_only=True) as again:
        assert again.search(query, k=40) == before
        assert again.get("d2").metadata == {"n": 2, "parity": "even"}


def test_a_reader_keeps_its_snapshot_until_it_refreshes(collection: Collection) -> None:
    query = random_vectors([3], seed=10)[0]
    reader = gingham.open(collection.path, read_only=True)
    before = reader.search(query, k=100)
    collection.add(random_vectors([3], seed=10), ids=["new"])
    collection.delete(["d0"])
    collection.optimize()  # takes the reader's segment folder away
    assert reader.search(query, k=100) == before
    assert "d0" in reader
    reader.refresh()
    assert reader.search(query, k=1)[0].id == "new"
    assert "d0" not in reader


def test_explain_sums_to_the_score(collection: Collection) -> None:
    query = random_vectors([5], seed=11)[0]
    for hit in collection.search(query, k=3):
        explanation = collection.explain(query, hit.id)
        assert explanation.score == pytest.approx(hit.score, abs=1e-5)
        assert sum(m.score for m in explanation.matches) == pytest.approx(hit.score, abs=1e-5)
        assert len(explanation.matches) == 5
        assert collection.explain_hit(query, hit) == explanation


def test_search_many_is_search_for_each(collection: Collection) -> None:
    queries = random_vectors([4, 1, 9], seed=12)
    many = collection.search_many(queries, k=4, where={"parity": "odd"})
    assert many == [collection.search(q, k=4, where={"parity": "odd"}) for q in queries]


def test_ids_rank_a_list_of_candidates(collection: Collection) -> None:
    """As the whole ranking with all others left out, over replaced and deleted documents too."""
    collection.add(random_vectors([4] * 6, seed=21), ids=[f"d{i}" for i in range(5)] + ["late"])
    collection.delete(["d7", "d8"])
    query = random_vectors([4], seed=15)[0]
    everything = collection.search(query, k=100)
    generator = np.random.default_rng(0)
    for size in (1, 2, 7, 38):
        some = set(generator.choice([hit.id for hit in everything], size, replace=False).tolist())
        expected = [hit for hit in everything if hit.id in some]
        assert collection.search(query, k=100, ids=some) == expected
        assert collection.search(query, k=2, ids=[*some, *some]) == expected[:2]
        odd = [hit for hit in expected if hit.metadata.get("parity") == "odd"]
        assert collection.search(query, k=100, ids=some, where={"parity": "odd"}) == odd
    assert collection.search(query, ids=[]) == []
    assert collection.search_many(TokenVectors.from_arrays([query]), 3, ids=["d1"]) == [
        collection.search(query, ids=["d1"])
    ]
    with pytest.raises(DocumentNotFoundError, match="no document 'd7' in"):
        collection.search(query, ids=["d1", "d7"])
    with pytest.raises(InputError, match="one string"):
        collection.search(query, ids="d1")


def test_hits_without_texts_are_the_same_hits(tmp_path: Path) -> None:
    collection = gingham.open(tmp_path / "texts")
    collection.add(["the moon and the tide", "a loaf of bread"], metadata=[{"n": 1}, {"n": 2}])
    full = collection.search("sea", k=2)
    assert all(hit.text and hit.metadata for hit in full)
    expected = [gingham.Hit(hit.id, hit.score, None, hit.span) for hit in full]
    assert collection.search("sea", k=2, texts=False) == expected
    assert collection.search_many(["sea"], 2, texts=False) == [expected]


def test_one_query_never_changes_the_next(collection: Collection) -> None:
    query = random_vectors([4], seed=13)[0]
    before = collection.search(query, k=3)
    collection.search(query, k=40, where={"parity": "odd"}, group=False)
    assert collection.search(query, k=3) == before


def test_threads_do_not_change_answers(collection: Collection) -> None:
    query = random_vectors([4], seed=14)[0]
    answers = [
        gingham.open(collection.path, threads=threads).search(query, k=40) for threads in (1, 2, 5)
    ]
    assert answers[0] == answers[1] == answers[2]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, vectors: TokenVectors) -> None:
    folders = []
    for name in ("one", "two"):
        collection = gingham.open(tmp_path / name)
        collection.add(vectors, ids=[str(i) for i in range(len(vectors))])
        folders.append(collection.path / "segments" / "00000000")
    for file in sorted(folders[0].iterdir()):
        assert file.read_bytes() == (folders[1] / file.name).read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        {"ids": ["a"]},
        {"ids": ["a", "a"]},
        {"ids": ["a", ""]},
        {"ids": ["a", 3]},
        {"ids": None},
        {"ids": ["a", "\ud800"]},
        {"ids": ["a", "b"], "metadata": [{}]},
        {"ids": ["a", "b"], "metadata": [{}, {"x": {1, 2}}]},
        {"ids": ["a", "b"], "metadata": [{}, {"x": 2**64}]},
        {"ids": ["a", "b"], "metadata": [{}, {"x": float("nan")}]},
        {"ids": ["a", "b"], "metadata": [{}, {"x": "\udfff"}]},
        {"ids": ["a", "b"], "metadata": [{}, {3: 4}]},
    ],
)
def test_bad_input_is_refused_and_nothing_is_stored(
    tmp_path: Path, arguments: dict[str, object]
) -> None:
    collection = gingham.open(tmp_path / "c")
    with pytest.raises(InputError):
        collection.add(random_vectors([2, 3]), **arguments)  # type: ignore[arg-type]
    assert len(collection) == 0
    assert collection.info().generation == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e6])
def test_vectors_must_be_finite(tmp_path: Path, bad: float) -> None:
    collection = gingham.open(tmp_path / "c")
    with pytest.raises(InputError, match="NaN, infinite"):
        collection.add(TokenVectors.from_arrays([np.full((2, 4), bad)]), ids=["a"])
    assert list((collection.path / "segments").iterdir()) == []


def test_a_text_without_vectors_is_refused(tmp_path: Path) -> None:
    collection = gingham.open(tmp_path / "c")
    with pytest.raises(InputError, match="no token vector"):
        collection.add(random_vectors([2, 0]), ids=["a", "b"])


@pytest.mark.parametrize("k", [0, -1, 2.5, True, "3"])
def test_k_must_be_a_positive_number(collection: Collection, k: int) -> None:
    with pytest.raises(InputError, match="k is how many"):
        collection.search(random_vectors([2])[0], k=k)


def test_odd_ids_are_kept(tmp_path: Path) -> None:
    ids = ["a'b", 'a"b', "a\x00b", "a", "😀", " ", "x" * 100_000, "-1", "a\nb", "𝒳\u202e"]
    collection = gingham.open(tmp_path / "c")
    collection.add(random_vectors([2] * len(ids)), ids=ids)
    assert len(collection) == len(ids)
    for id in ids:
        assert id in collection
        assert collection.get(id).id == id
    assert {hit.id for hit in collection.search(random_vectors([2])[0], k=50)} == set(ids)
    assert collection.delete(ids) == len(ids)


@pytest.mark.parametrize("name", ["with space", "100% sure?", "a#b", "ünï", "mode=rw&x"])
def test_odd_paths_are_read(tmp_path: Path, name: str) -> None:
    collection = gingham.open(tmp_path / name)
    collection.add(random_vectors([2]), ids=["a"])
    assert len(gingham.open(tmp_path / name, read_only=True)) == 1
