"""A sample of the campaign of `make hostile`: every kind of collection, every group of attacks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hostile.attacks import Expect
from hostile.campaign import BAD, campaign, judged, table
from hostile.specimens import KINDS, LOG, Fate

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and limits memory")


def test_damaged_collections_are_refused_or_right(tmp_path: Path) -> None:
    counts, bad = campaign(tmp_path, [*KINDS, LOG], every=150)
    assert not bad, "\n".join(bad)
    assert sum(counts.values()) > 100, table(counts)
    assert {group for group, _ in counts} >= {"truncated", "bit flipped", "forged", "huge header"}


RIGHT = [("open", "ok", "1"), ("exact", "ok", "[('d1', 2.0)]"), ("verify", "ok", "None")]
WRONG = [("open", "ok", "1"), ("exact", "ok", "[('d9', 2.0)]"), ("verify", "ok", "None")]
FOUND = [*WRONG[:2], ("verify", "error", "CorruptionError: checksum")]
ALIEN = [*RIGHT[:2], ("verify", "other", "TypeError: x")]


@pytest.mark.parametrize(
    ("fate", "expect", "end"),
    [
        (Fate(RIGHT), Expect.FOUND, "right"),
        (Fate(RIGHT), Expect.ERROR, "let pass"),
        (Fate(WRONG), Expect.FOUND, "wrong, unnoticed"),
        (Fate(WRONG), Expect.SURVIVED, "survived"),
        (Fate(FOUND), Expect.FOUND, "found by verify"),
        (Fate(FOUND), Expect.ERROR, "found by verify"),
        (Fate(FOUND[2:]), Expect.FOUND, "refused"),
        (Fate(ALIEN), Expect.SURVIVED, "other exception"),
        (Fate([], "crash (status 11)"), Expect.SURVIVED, "crash"),
        (Fate([], "hang"), Expect.SURVIVED, "hang"),
    ],
)
def test_the_judge_tells_bad_from_good(fate: Fate, expect: Expect, end: str) -> None:
    found, reason = judged(fate, expect, [RIGHT])
    assert found == end
    assert bool(reason) == (end in BAD)
