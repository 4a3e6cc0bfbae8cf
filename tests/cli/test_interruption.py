"""`gingham add` killed at any moment: what it reported is there, the same command does the rest."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import gingham

# Long words are few tokens: commits of 250 000 characters that take a second each.
WORDS = "characteristics responsibilities international administration communications "
DOCUMENTS = 600


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_killed_and_interrupted_then_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with open("corpus.jsonl", "w") as file:
        for i in range(DOCUMENTS):
            file.write(json.dumps({"id": i, "text": f"{i} " + WORDS * 26}) + "\n")
    command = [sys.executable, "-m", "gingham.cli.main", "add", "docs.gingham", "corpus.jsonl"]

    reported, stored, _ = stop_after_report(command, signal.SIGKILL)
    assert 0 < reported <= stored < DOCUMENTS

    reported, more, last = stop_after_report(command, signal.SIGINT)
    said = re.fullmatch(
        r"interrupted: ([\d,]+) documents of this run are stored; the same command continues "
        r"from there",
        last,
    )
    assert said, last
    assert stored <= reported <= int(said[1].replace(",", "")) == more <= DOCUMENTS

    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    record = json.loads(done.stdout)
    assert (record["read"], record["documents"]) == (DOCUMENTS, DOCUMENTS)
    assert record["skipped"] == more
    with gingham.open("docs.gingham", read_only=True) as opened:
        assert len(opened) == DOCUMENTS
        assert all(str(i) in opened for i in range(DOCUMENTS))


def stop_after_report(command: list[str], how: signal.Signals) -> tuple[int, int, str]:
    """Run, stop at the first report; what was reported, what is stored, the last line."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(how)
        rest = process.stderr.read().splitlines()
    assert process.returncode == (130 if how is signal.SIGINT else -how)
    match = re.search(r"([\d,]+) documents stored", first)
    assert match, first
    with gingham.open("docs.gingham", read_only=True) as opened:
        stored = len(opened)
    return int(match[1].replace(",", "")), stored, rest[-1] if rest else ""
