"""Posting lists against a dictionary of sets, read back run by run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from gingham.codec.postings import centroids_of, postings

UInt8 = npt.NDArray[np.uint8]
Runs = list[tuple[int, list[int]]]


def codes_of(numbers: npt.NDArray[np.int64], random: np.random.Generator) -> UInt8:
    """With any level in the upper half of the last byte."""
    codes = np.stack([numbers & 0xFF, numbers >> 8 & 0xFF, numbers >> 16], axis=1)
    codes[:, 2] |= random.integers(0, 16, len(numbers)) << 4
    return codes.astype(np.uint8)


def runs_of(words: npt.NDArray[np.uint16]) -> Runs:
    """High halves with their passages."""
    rest, runs = words.tolist(), []
    while rest:
        high, count = rest[0], rest[1] + 1
        lows, rest = rest[2 : 2 + count], rest[2 + count :]
        assert len(lows) == count
        runs.append((high, [high << 16 | low for low in lows]))
    return runs


def check(
    numbers: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], n_centroids: int
) -> list[Runs]:
    """Build lists and compare them with a dictionary; returns the runs of each."""
    random = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    lists, words = postings(codes_of(numbers, random), offsets, n_centroids)
    assert lists.dtype == np.int64
    assert words.dtype == np.uint16
    assert lists.shape == (n_centroids + 1,)
    assert lists[0] == 0
    assert lists[-1] == len(words)
    owners = np.repeat(np.arange(len(lengths)), lengths).tolist()
    expected: dict[int, set[int]] = {}
    for number, passage in zip(numbers.tolist(), owners, strict=True):
        expected.setdefault(number, set()).add(passage)
    runs = [runs_of(words[lists[i] : lists[i + 1]]) for i in range(n_centroids)]
    for i, own in enumerate(runs):
        highs = [high for high, _ in own]
        assert highs == sorted(set(highs))  # one run for each
        found = [passage for _, passages in own for passage in passages]
        assert found == sorted(expected.get(i, set()))  # each once, ascending
    return runs


@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(0, 20), max_size=40),
    n_centroids=st.integers(1, 50) | st.sampled_from([255, 256, 257, 70_000]),
)
@settings(max_examples=80, deadline=None)
def test_each_passage_is_listed_once_for_each_of_its_centroids(
    seed: int, lengths: list[int], n_centroids: int
) -> None:
    random = np.random.default_rng(seed)
    # Few of the centroids, so that passages share them; the last always counts.
    some = np.append(random.integers(0, n_centroids, 12), n_centroids - 1)
    numbers = random.choice(some, sum(lengths))
    check(numbers, np.array(lengths, dtype=np.int64), n_centroids)


def test_passages_beyond_16_bits() -> None:
    random = np.random.default_rng(1)
    lengths = np.zeros(200_001, dtype=np.int64)
    lengths[[0, 65_534, 65_535, 65_536, 65_537, 131_071, 131_072, 200_000]] = 3
    runs = check(random.integers(0, 4, lengths.sum()), lengths, 6)
    assert {high for own in runs for high, _ in own} == {0, 1, 2, 3}
    assert runs[4] == runs[5] == []


def test_a_run_of_all_passages_that_share_a_high_half() -> None:
    lengths = np.ones(65_536 + 2, dtype=np.int64)
    runs = check(np.zeros(len(lengths), dtype=np.int64), lengths, 1)
    assert [len(passages) for _, passages in runs[0]] == [65_536, 2]


def test_no_tokens_and_no_passages() -> None:
    nothing = np.empty(0, dtype=np.int64)
    assert check(nothing, nothing, 3) == [[], [], []]
    assert check(nothing, np.zeros(5, dtype=np.int64), 1) == [[]]


def test_codes_name_20_bits_of_centroid() -> None:
    numbers = np.array([0, 255, 256, 65_535, 65_536, 2**20 - 1], dtype=np.int64)
    codes = codes_of(numbers, np.random.default_rng(2))
    assert centroids_of(codes).tolist() == numbers.tolist()
    assert centroids_of(codes).dtype == np.int64
    lists, _ = postings(codes, np.arange(7, dtype=np.int64), 2**20)
    assert np.flatnonzero(np.diff(lists)).tolist() == numbers.tolist()
