"""The staged search, each body that this machine runs, against the NumPy reference."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gingham import kernels
from gingham.codec import training
from gingham.codec.postings import postings
from gingham.errors import CorruptionError
from gingham.kernels import _compiled, clustered, reference_search
from gingham.kernels.clustered import CodedPassages, Coder, Refined
from gingham.kernels.codebook import BITS, LEVELS, POINTS, Bits, Codebook, parts_of, row_of

SETS = kernels.instruction_sets()
EVERY = 10**6
Array = npt.NDArray[Any]
Generator = np.random.Generator

seeds = st.integers(0, 2**32 - 1)
passage_lengths = st.lists(st.integers(0, 12) | st.sampled_from([0, 1, 63, 64, 65]), max_size=30)


def unit_vectors(random: Generator, n: int, dim: int) -> npt.NDArray[np.float32]:
    values = random.standard_normal((n, dim), dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


def drawn_coder(random: Generator, bits: Bits, dim: int, centroids: int) -> Coder:
    """Centroids anywhere; with a small spread many products are equal."""
    row, supers = row_of(dim, bits), int(random.integers(1, centroids, endpoint=True))
    spread = int(random.choice([1, 8, 40]))
    grid = np.zeros((centroids, row), dtype=np.int8)
    grid[:, :dim] = random.integers(-spread, spread, (centroids, dim), endpoint=True)
    inner = np.sort(random.choice(np.arange(1, centroids), supers - 1, replace=False))
    children = np.concatenate([[0], inner, [centroids]]).astype(np.int64)
    points = np.sort(random.integers(-30, 30, (LEVELS, parts_of(bits), POINTS)).astype(np.int8))
    levels = np.sort(random.integers(0, 10**7, LEVELS - 1)).astype(np.int64)
    return Coder(Codebook(bits, dim, 300.0, grid[children[:-1]], children, grid, points, levels))


def coded(coder: Coder, values: npt.NDArray[np.float32], lengths: list[int]) -> CodedPassages:
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    codes, residuals = coder.encode(values, 1)
    lists, words = postings(codes, offsets, len(coder.codebook.centroids))
    return CodedPassages(coder, codes, residuals, offsets, lists, words)


def drawn_segment(random: Generator, coder: Coder, lengths: list[int]) -> CodedPassages:
    return coded(coder, unit_vectors(random, sum(lengths), coder.codebook.dim), lengths)


def bitmap(random: Generator, n_passages: int, share: float) -> npt.NDArray[np.uint64]:
    bits = random.random(-(-n_passages // 64) * 64) < share
    weights = np.uint64(1) << np.arange(64, dtype=np.uint64)
    words: npt.NDArray[np.uint64] = (bits.reshape(-1, 64) * weights).sum(axis=1, dtype=np.uint64)
    return words


def as_bytes(found: Refined | tuple[Array, ...]) -> list[bytes]:
    if isinstance(found, Refined):
        assert found.scores.dtype == np.float32
        assert found.segments.dtype == found.passages.dtype == np.int64
        found = (found.scores, found.segments, found.passages)
    return [array.tobytes() for array in found]


def in_fresh_thread(work: Callable[[], Any]) -> Any:
    """Where nothing is left of earlier searches."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    assert results, "the thread failed"
    return results[0]


@given(
    seed=seeds,
    n_query=st.integers(1, 100) | st.sampled_from([12, 13, 31, 32, 33, 44, 45, 64]),
    dim=st.sampled_from([1, 2, 24, 128]),
    zeros=st.sampled_from([0.0, 0.3, 1.0]),
    coarse=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_pooling(seed: int, n_query: int, dim: int, zeros: float, coarse: bool) -> None:
    random = np.random.default_rng(seed)
    query = random.standard_normal((n_query, dim), dtype=np.float32)
    query[random.random(n_query) < zeros] = 0
    if coarse:
        query = np.sign(query)  # many are equally alike
    found = _compiled().pool(query)
    assert found.tobytes() == reference_search.pool(query).tobytes()
    assert len(found) == sum(
        size if size <= 12 or not query.any() else 12
        for size in (min(32, n_query - first) for first in range(0, n_query, 32))
    )
    if n_query <= 12:
        assert found.tobytes() == query.tobytes()
    else:  # sums stay sums, to the rounding of the grid
        step = np.abs(query).max() / 127
        np.testing.assert_allclose(found.sum(axis=0), query.sum(axis=0), atol=float(step) * n_query)


@given(
    seed=seeds,
    bits=st.sampled_from(BITS),
    dim=st.sampled_from([1, 16, 24, 33, 48, 96, 128]),
    n_query=st.sampled_from([1, 31, 32, 33, 70]),
    centroids=st.integers(1, 200) | st.sampled_from([257, 600, 2600]),
    supers=st.integers(1, 8) | st.just(EVERY),
    probes=st.integers(1, 8) | st.sampled_from([40, EVERY]),
)
@settings(max_examples=100, deadline=None)
def test_probing(
    seed: int, bits: Bits, dim: int, n_query: int, centroids: int, supers: int, probes: int
) -> None:
    random = np.random.default_rng(seed)
    coder = drawn_coder(random, bits, dim, centroids)
    query = unit_vectors(random, n_query, dim)
    expected = reference_search.probe(coder.codebook, query, supers, probes)
    for name in SETS:
        found = _compiled().probe(query, coder.native, supers, probes, name)
        assert as_bytes(found) == as_bytes(expected)
    numbers, products = expected
    assert (np.diff(products, axis=1) <= 0).all()
    equal = (np.diff(products, axis=1) == 0)[:, : centroids - 1]
    assert (np.diff(numbers, axis=1)[:, : centroids - 1][equal] >= 0).all()


@pytest.mark.parametrize("probes", [1, 5, 200, 2599, 2600, 2601])
@pytest.mark.parametrize("order", ["ascending", "descending", "few of many", "equal"])
def test_probing_centroids_that_no_sample_stands_for(order: str, probes: int) -> None:
    numbers = np.arange(2600)
    along = {
        "ascending": numbers * 250 // 2600 - 125,
        "descending": 125 - numbers * 250 // 2600,
        "few of many": np.where(numbers % 10 == 0, 100, numbers % 7),
        "equal": np.full(2600, 3),
    }
    grid = np.zeros((2600, 32), dtype=np.int8)
    grid[:, 0] = along[order]
    book = Codebook(
        4,
        16,
        100.0,
        np.zeros((1, 32), dtype=np.int8),
        np.array([0, 2600], dtype=np.int64),
        grid,
        np.zeros((LEVELS, 1, POINTS), dtype=np.int8),
        np.zeros(LEVELS - 1, dtype=np.int64),
    )
    query = np.eye(3, 16, dtype=np.float32)
    query[1] = -query[0]
    expected = reference_search.probe(book, query, 1, probes)
    for name in SETS:
        found = _compiled().probe(query, Coder(book).native, 1, probes, name)
        assert as_bytes(found) == as_bytes(expected)


@given(
    seed=seeds,
    bits=st.sampled_from(BITS),
    dim=st.sampled_from([1, 16, 24, 33, 48, 96, 128]),
    segments=st.lists(passage_lengths, min_size=1, max_size=3),
    n_query=st.sampled_from([1, 2, 31, 32, 33, 70]),
    centroids=st.integers(1, 60) | st.sampled_from([150, 400]),
    supers=st.integers(1, 4) | st.just(EVERY),
    probes=st.integers(1, 6) | st.just(EVERY),
    candidates=st.integers(1, 40) | st.just(EVERY),
    refined=st.integers(1, 20) | st.just(EVERY),
    k=st.integers(1, 8) | st.just(EVERY),
    margin=st.sampled_from([0.01, 1.0, None]),
    share=st.sampled_from([None, 0.0, 0.5, 1.0]),
)
@settings(max_examples=150, deadline=None)
def test_gathering_and_searching(
    seed: int,
    bits: Bits,
    dim: int,
    segments: list[list[int]],
    n_query: int,
    centroids: int,
    supers: int,
    probes: int,
    candidates: int,
    refined: int,
    k: int,
    margin: float | None,
    share: float | None,
) -> None:
    random = np.random.default_rng(seed)
    coder = drawn_coder(random, bits, dim, centroids)
    parts = [drawn_segment(random, coder, lengths) for lengths in segments]
    eligible = [
        None if share is None or random.random() < 0.2 else bitmap(random, len(lengths), share)
        for lengths in segments
    ]
    query = unit_vectors(random, n_query, dim)
    gathered = reference_search.gather(
        coder.codebook, query, parts, eligible, supers, probes, candidates
    )
    sizes = {"supers": supers, "probes": probes, "candidates": candidates, "refined": refined}
    expected = clustered.search(
        coder, parts, eligible, query, **sizes, k=k, margin=margin, instructions="reference"
    )
    for name in SETS:
        native = [part.native for part in parts]
        arguments = (query, coder.native, native, eligible, supers, probes, candidates, name)
        assert _compiled().gather(*arguments).tobytes() == gathered.tobytes()
        found = clustered.search(
            coder,
            parts,
            eligible,
            query,
            **sizes,
            k=k,
            margin=margin,
            threads=1,
            instructions=name,
        )
        assert as_bytes(found) == as_bytes(expected)
    assert len(expected.scores) <= min(candidates, refined)
    assert np.isfinite(expected.scores).all()  # empty passages are in no list
    for number, (part, allowed) in enumerate(zip(parts, eligible, strict=True)):
        every = clustered.score(part, query, instructions="reference")
        assert np.isneginf(every).tolist() == (np.diff(part.offsets) == 0).tolist()
        if allowed is not None:
            for passage in expected.passages[expected.segments == number].tolist():
                assert int(allowed[passage // 64]) >> passage % 64 & 1
        for name in SETS:
            found_scores = clustered.score(part, query, threads=1, instructions=name)
            assert found_scores.tobytes() == every.tobytes()


@pytest.mark.parametrize("bits", BITS)
def test_sifting_looks_at_tokens_near_the_query_alone(bits: Bits) -> None:
    random = np.random.default_rng(bits)
    book = drawn_coder(random, bits, 24, 300).codebook
    grid = np.zeros_like(book.centroids)
    grid[:, :24] = random.integers(-5, 5, (300, 24), endpoint=True)  # so near that residuals decide
    coder = Coder(dataclasses.replace(book, centroids=grid, supers=grid[book.children[:-1]]))
    part = drawn_segment(random, coder, random.integers(5, 60, 200).tolist())
    differ = 0
    for n_query in (1, 1, 2, 20):
        query = unit_vectors(random, n_query, 24)
        sizes = {"supers": EVERY, "probes": 5, "candidates": 60, "refined": 5}
        expected = clustered.search(coder, [part], [None], query, **sizes, instructions="reference")
        for name in SETS:
            found = clustered.search(coder, [part], [None], query, **sizes, instructions=name)
            assert as_bytes(found) == as_bytes(expected)
        sizes["refined"] = EVERY
        whole = clustered.search(coder, [part], [None], query, **sizes, instructions=SETS[0])
        best = whole.passages[np.sort(np.argsort(-whole.scores, kind="stable")[:5])]
        differ += best.tolist() != expected.passages.tolist()
    assert differ > 0  # or the test would show nothing


@pytest.mark.parametrize("bits", BITS)
def test_sifting_ends_where_nothing_better_is_expected(bits: Bits) -> None:
    random = np.random.default_rng(bits)
    coder = drawn_coder(random, bits, 24, 40)
    parts = [drawn_segment(random, coder, random.integers(1, 9, 700).tolist()) for _ in range(2)]
    differing = 0
    for n_query in (1, 5, 20):
        query = unit_vectors(random, n_query, 24)
        few = reference_search.pool(query)
        found = reference_search.gather(coder.codebook, few, parts, [None, None], EVERY, 9, EVERY)
        assert len(found) > 500
        sizes: dict[str, Any] = {"supers": EVERY, "probes": 9, "candidates": EVERY, "refined": 30}
        every = clustered.search(coder, parts, [None, None], query, **sizes, instructions=SETS[0])
        for k, margin in ((1, 0.5), (10, 1.0), (10, 2.5), (30, 1e-3), (10, 100.0)):
            search: Callable[..., Refined] = partial(
                clustered.search, coder, parts, [None, None], query, k=k, margin=margin, **sizes
            )
            expected = search(instructions="reference")
            differing += as_bytes(expected) != as_bytes(every)
            if margin == 100:
                assert as_bytes(expected) == as_bytes(every)
            for name, threads in itertools.product(SETS, (1, 3)):
                again = search(threads=threads, instructions=name)
                assert as_bytes(again) == as_bytes(expected)
    assert differing > 0  # or the test would show nothing


@pytest.mark.parametrize("bits", BITS)
def test_with_every_list_and_candidate_a_search_is_exhaustive(bits: Bits) -> None:
    random = np.random.default_rng(bits)
    for centroids in (1, 2, 30):
        coder = drawn_coder(random, bits, 24, centroids)
        lengths = [3, 0, 70, 1, 5] * 8
        parts = [drawn_segment(random, coder, lengths) for _ in range(2)]
        query = unit_vectors(random, 40, 24)
        found = clustered.search(
            coder,
            parts,
            [None, None],
            query,
            supers=EVERY,
            probes=EVERY,
            candidates=EVERY,
            refined=EVERY,
        )
        scores = np.concatenate([clustered.score(part, query) for part in parts])
        assert found.scores.tobytes() == scores[np.isfinite(scores)].tobytes()
        numbers = np.flatnonzero(np.isfinite(scores))
        assert (found.segments * len(lengths) + found.passages).tolist() == numbers.tolist()


@pytest.mark.parametrize("name", SETS)
def test_threads_do_not_change_a_byte(name: str) -> None:
    random = np.random.default_rng(5)
    coder = drawn_coder(random, 4, 24, 50)
    part = drawn_segment(random, coder, [*[900] * 250, 0, 3000])  # enough for two threads
    query = unit_vectors(random, 32, 24)
    sizes = {"supers": 4, "probes": 4, "candidates": 240, "refined": 20}
    for margin in (1.0, None):
        one, *others = (
            as_bytes(
                clustered.search(
                    coder,
                    [part],
                    [None],
                    query,
                    **sizes,
                    k=5,
                    margin=margin,
                    threads=threads,
                    instructions=name,
                )
            )
            for threads in (1, 2, 3)
        )
        assert others == [one, one]
    selection = np.array([251, 3, 3, 250], dtype=np.int64)
    every = clustered.score(part, query, threads=1, instructions=name)
    for threads in (1, 2):
        some = clustered.score(part, query, selection, threads=threads, instructions=name)
        assert some.tobytes() == every[selection].tobytes()


def test_more_passages_than_16_bits_count() -> None:
    random = np.random.default_rng(6)
    coder = drawn_coder(random, 4, 8, 25)
    small = drawn_segment(random, coder, [2, 0, 3])
    lengths = [1] * 70_000
    lengths[65_535], lengths[65_536], lengths[69_999] = 2, 0, 3
    large = drawn_segment(random, coder, lengths)
    parts, eligible = [small, large, small], [None, bitmap(random, 70_000, 0.5), None]
    query = unit_vectors(random, 3, 8)
    sizes = {"supers": 2, "probes": 3, "candidates": 400, "refined": 50}
    expected = clustered.search(coder, parts, eligible, query, **sizes, instructions="reference")
    for name in SETS:
        found = clustered.search(coder, parts, eligible, query, **sizes, instructions=name)
        assert as_bytes(found) == as_bytes(expected)
    every = reference_search.gather(coder.codebook, query, parts, eligible, 2, 3, EVERY)
    native = [part.native for part in parts]
    found = _compiled().gather(query, coder.native, native, eligible, 2, 3, EVERY, SETS[0])
    assert found.tobytes() == every.tobytes()
    assert (every[:, 1] > 65_536).any()


def test_sums_are_kept_from_search_to_search_without_trace() -> None:
    random = np.random.default_rng(7)
    coder = drawn_coder(random, 4, 16, 20)
    tiny = drawn_segment(random, coder, [2] * 30)
    larger = drawn_segment(random, coder, [1] * 70_000)
    queries = [unit_vectors(random, 16, 16) for _ in range(5)]

    layouts = [[tiny], [larger, tiny], [tiny, tiny, larger]]

    def gathered(query: int, layout: int) -> bytes:
        parts = layouts[layout]
        native = [part.native for part in parts]
        arguments = (queries[query], coder.native, native, [None] * len(parts), 3, 3, 20, SETS[0])
        found: bytes = _compiled().gather(*arguments).tobytes()
        return found

    def all_right(calls: list[tuple[int, int]]) -> bool:
        return all(gathered(*call) == fresh[call] for call in calls)

    every = [(query, layout) for query in range(5) for layout in range(3)]
    fresh = {call: in_fresh_thread(partial(gathered, *call)) for call in every}
    assert len(set(fresh.values())) == 15
    # Every query vector is counted, in 16 bits: twice around, and over the same passages.
    around = [(i % 5, 0) for i in range(2 * 65_536 // 16 + 10)]
    assert in_fresh_thread(partial(all_right, around))
    mixed = [every[i] for i in random.integers(0, 15, 60)]
    assert in_fresh_thread(partial(all_right, [*mixed, *around, *mixed]))


def test_a_query_so_long_that_sums_fill_16_bits() -> None:
    # Float sums of so many equal numbers err by more than what gains are rounded down by.
    random = np.random.default_rng(8)
    coder = drawn_coder(random, 4, 16, 2)
    part = drawn_segment(random, coder, [1] * 12)
    for _ in range(5):
        query = np.repeat(unit_vectors(random, 1, 16), 16_384, axis=0)
        expected = reference_search.gather(coder.codebook, query, [part], [None], 2, 1, EVERY)
        for _ in range(2):
            found = _compiled().gather(
                query, coder.native, [part.native], [None], 2, 1, EVERY, SETS[0]
            )
            assert found.tobytes() == expected.tobytes()
        assert expected[:, 2].max() < 65_536


@pytest.mark.parametrize("size", [1e-42, 1e-37, 1e-20, 1e20, 1e34])
def test_queries_of_any_length_gather_alike(size: float) -> None:
    random = np.random.default_rng(9)
    coder = drawn_coder(random, 4, 24, 30)
    part = drawn_segment(random, coder, [4] * 50)
    query = unit_vectors(random, 5, 24) * np.float32(size)
    expected = reference_search.gather(coder.codebook, query, [part], [None], 3, 3, 10)
    for name in SETS:
        found = _compiled().gather(query, coder.native, [part.native], [None], 3, 3, 10, name)
        assert found.tobytes() == expected.tobytes()
    assert expected[:, 2].max() > 10_000


def test_a_query_of_zeros_finds_the_first() -> None:
    random = np.random.default_rng(10)
    coder = drawn_coder(random, 4, 24, 1)
    part = drawn_segment(random, coder, [0, 2, 2, 2])
    for name in [*SETS, "reference"]:
        found = clustered.search(
            coder,
            [part],
            [None],
            np.zeros((40, 24), dtype=np.float32),
            supers=1,
            probes=1,
            candidates=2,
            refined=2,
            instructions=name,
        )
        assert found.passages.tolist() == [1, 2]
        assert found.scores.tolist() == [0, 0]


def test_nothing_to_search() -> None:
    random = np.random.default_rng(11)
    coder = drawn_coder(random, 4, 24, 9)
    empty = drawn_segment(random, coder, [])
    hollow = drawn_segment(random, coder, [0, 0])
    query = unit_vectors(random, 3, 24)
    sizes = {"supers": 2, "probes": 2, "candidates": 5, "refined": 5}
    for parts in ([], [empty], [hollow], [empty, hollow, empty]):
        for name in [*SETS, "reference"]:
            eligible = [None] * len(parts)
            found = clustered.search(coder, parts, eligible, query, **sizes, instructions=name)
            assert as_bytes(found) == [b"", b"", b""]
    for name in [*SETS, "reference"]:
        assert clustered.score(empty, query, instructions=name).shape == (0,)
        assert np.isneginf(clustered.score(hollow, query, instructions=name)).tolist() == [1, 1]


def outcome(
    coder: Coder, part: CodedPassages, query: Array, name: str, sizes: dict[str, int]
) -> list[bytes] | str:
    try:
        return as_bytes(clustered.search(coder, [part], [None], query, **sizes, instructions=name))
    except CorruptionError:
        return "damaged"


@given(
    seed=seeds,
    what=st.sampled_from(["lists", "postings", "offsets", "codes", "residuals"]),
    extreme=st.booleans(),
    n_damages=st.integers(1, 5),
    refined=st.sampled_from([3, EVERY]),
)
@settings(max_examples=200, deadline=None)
def test_damage_raises_or_is_harmless(
    seed: int, what: str, extreme: bool, n_damages: int, refined: int
) -> None:
    random = np.random.default_rng(seed)
    coder = drawn_coder(random, 4, 24, 12)
    lengths = random.integers(0, 6, 40).tolist()
    sound = drawn_segment(random, coder, lengths)
    arrays = {
        name: getattr(sound, name).copy()
        for name in ("codes", "residuals", "offsets", "lists", "postings")
    }
    flat = arrays[what].reshape(-1)
    limits = np.iinfo(flat.dtype)
    for at in random.integers(0, len(flat), n_damages):
        near = int(flat[at]) + int(random.integers(-3, 3, endpoint=True))
        far = int(random.choice([limits.min, limits.max, 0, 1, 41, 1000]))
        flat[at] = min(max(far if extreme else near, limits.min), limits.max)
    part = CodedPassages(coder, **arrays)
    query = unit_vectors(random, 4, 24)
    sizes = {"supers": 6, "probes": 6, "candidates": 20, "refined": refined}
    expected = outcome(coder, part, query, "reference", sizes)
    for name in SETS:
        assert outcome(coder, part, query, name, sizes) == expected
        # Whatever damage left behind, the next search on this thread is right.
        assert outcome(coder, sound, query, name, sizes) == outcome(
            coder, sound, query, "reference", sizes
        )


@pytest.mark.parametrize("name", [*SETS, "reference"])
def test_what_is_out_of_range_raises(name: str) -> None:
    random = np.random.default_rng(12)
    coder = drawn_coder(random, 4, 24, 1)
    sound = drawn_segment(random, coder, [2, 3, 4])
    query = unit_vectors(random, 2, 24)
    sizes = {"supers": 1, "probes": 1, "candidates": 5, "refined": 5}
    assert sound.lists.tolist() == [0, 5]
    assert sound.postings.tolist() == [0, 2, 0, 1, 2]

    def damaged(**changes: list[int]) -> CodedPassages:
        arrays = {
            key: getattr(sound, key)
            for key in ("codes", "residuals", "offsets", "lists", "postings")
        }
        for key, numbers in changes.items():
            arrays[key] = np.array(numbers, dtype=arrays[key].dtype)
        return CodedPassages(coder, **arrays)

    for lists in ([-1, 5], [0, 6], [3, 2], [0, 2**62], [-(2**63), 2**63 - 1]):
        with pytest.raises(CorruptionError, match="posting list 0 is out of range"):
            clustered.search(
                coder, [damaged(lists=lists)], [None], query, **sizes, instructions=name
            )
    for words in ([1, 2, 0, 1, 2], [0, 3, 0, 1, 2], [65535, 0, 0, 0, 0], [0, 65535, 0, 1, 2]):
        with pytest.raises(CorruptionError, match="posting list 0 is damaged"):
            clustered.search(
                coder, [damaged(postings=words)], [None], query, **sizes, instructions=name
            )
    # Passages that are not there, or named twice, and the rest of a run that was cut off.
    for words, passages in (
        ([0, 2, 0, 3, 65535], [0]),
        ([0, 2, 1, 1, 1], [1]),
        ([0, 0, 2, 0, 0], [2]),
    ):
        found = clustered.search(
            coder, [damaged(postings=words)], [None], query, **sizes, instructions=name
        )
        assert found.passages.tolist() == passages
    for offsets in ([0, 2, 5, 10], [0, 2, 5, 4], [-1, 2, 5, 9], [0, 2**63 - 1, 5, 9]):
        for refined in (1, 5):
            with pytest.raises(CorruptionError, match="offsets give passage"):
                clustered.search(
                    coder,
                    [damaged(offsets=offsets)],
                    [None],
                    query,
                    **(sizes | {"refined": refined}),
                    instructions=name,
                )
        with pytest.raises(CorruptionError, match="offsets give passage"):
            clustered.score(damaged(offsets=offsets), query, instructions=name)
    for number in (-1, 3, 2**31):
        with pytest.raises(CorruptionError, match="selection holds passage"):
            clustered.score(sound, query, np.array([0, number], dtype=np.int64), instructions=name)


def test_arrays_that_do_not_fit_each_other_are_refused() -> None:
    random = np.random.default_rng(13)
    coder = drawn_coder(random, 4, 24, 5)
    sound = drawn_segment(random, coder, [2, 3])
    arrays = {
        key: getattr(sound, key) for key in ("codes", "residuals", "offsets", "lists", "postings")
    }
    for key in ("codes", "residuals", "lists"):
        with pytest.raises(CorruptionError):
            _ = CodedPassages(coder, **(arrays | {key: arrays[key][:-1].copy()})).native
    for key, cut in (
        ("codes", arrays["codes"][:, :2].copy()),
        ("residuals", arrays["residuals"][:, :8].copy()),
        ("offsets", arrays["offsets"][:0]),
    ):
        with pytest.raises(CorruptionError):
            _ = CodedPassages(coder, **(arrays | {key: cut})).native
    query = unit_vectors(random, 2, 24)
    native, name = _compiled(), SETS[0]
    short = np.zeros(0, dtype=np.uint64)
    for arguments in (
        (query[:, :23].copy(), coder.native, [sound.native], [None], *[1] * 7, name),
        (query[:0], coder.native, [sound.native], [None], *[1] * 7, name),
        (query, coder.native, [sound.native], [], *[1] * 7, name),
        (query, coder.native, [sound.native], [short], *[1] * 7, name),
        *(
            (query, coder.native, [sound.native], [None], *([1] * i), 0, *([1] * (6 - i)), name)
            for i in range(6)  # all but the number of threads
        ),
        (query, coder.native, [sound.native], [None], *[1] * 7, "mmx"),
    ):
        with pytest.raises(ValueError):
            native.search(*arguments)


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 0.003), (4, 0.02), (2, 0.06), (1, 0.12)])
def test_scores_are_near_those_of_the_vectors_themselves(bits: Bits, tolerance: float) -> None:
    random = np.random.default_rng(14)
    middles = unit_vectors(random, 40, 64)
    lengths = [20] * 100
    values = middles[random.integers(0, 40, 2000)] + 0.7 * unit_vectors(random, 2000, 64)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    scale = training.scale_of(values)
    rows = clustered.quantize_rows(values, scale, row_of(64, bits))
    sizes = training.Sizes(64, 16, 2000)
    coder = Coder(training.train(rows, np.arange(2000), values, sizes, bits, scale))
    part = coded(coder, values, lengths)
    query = values[random.integers(0, 2000, 32)] + 0.3 * unit_vectors(random, 32, 64)
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    exact = kernels.score(query, values, part.offsets)
    found = clustered.score(part, query)
    assert np.abs(found - exact).max() / 32 < tolerance
    best = set(np.argsort(-exact)[:5].tolist())
    staged = clustered.search(
        coder, [part], [None], query, supers=8, probes=8, candidates=60, refined=40
    )
    chosen = staged.passages[np.argsort(-staged.scores)[:10]]
    assert len(best & set(chosen.tolist())) >= 4
