"""The written promise: each sentence names tests, and each test that is named is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
_TEST = re.compile(r"`(tests/[\w/]+\.py::\w+)`")


def section(page: str) -> str:
    """The part of a page that promises."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page == "FORMAT.md":
        return text.split("\n## What is promised\n", 1)[1].split("\n## ", 1)[0]
    return text.split("\n## What is not promised\n", 1)[0]


def sentences(page: str) -> list[str]:
    """The numbered ones, with the tests under each."""
    items = re.split(r"^(\d+)\. ", section(page), flags=re.MULTILINE)[1:]
    numbers, texts = items[0::2], items[1::2]
    assert numbers == [str(i + 1) for i in range(len(texts))], "numbered from 1 without a gap"
    return [re.split(r"\n\n", text, maxsplit=1)[0] for text in texts]


@pytest.mark.parametrize("page", ["docs/durability.md", "FORMAT.md"])
def test_every_sentence_names_a_test(page: str) -> None:
    promised = sentences(page)
    assert len(promised) >= 8
    for number, text in enumerate(promised, 1):
        assert _TEST.search(text), f"{page}, sentence {number} names no test"


def test_every_test_that_is_named_is_collected() -> None:
    named = sorted({n for page in ("docs/durability.md", "FORMAT.md") for n in _tests(page)})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *named],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    collected = {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}
    assert set(named) <= collected


def _tests(page: str) -> list[str]:
    return _TEST.findall("\n".join(sentences(page)))


def test_both_pages_link_each_other() -> None:
    assert "docs/durability.md" in section("FORMAT.md")
    assert "FORMAT.md#what-is-promised" in section("docs/durability.md")
