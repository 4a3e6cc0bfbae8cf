"""Memory: of a process that only searches, of a build; and what the former loads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gingham.evaluation import BM25, LateInteraction, Reranked, costs, footprint
from gingham.evaluation.costs import PeakMemory
from gingham.evaluation.dataset import Dataset
from gingham.evaluation.experiment import make_job
from gingham.evaluation.systems import Job, Opening, System

from .conftest import QUERIES

LINUX = sys.platform == "linux"
MADE_UP = """
import contextlib, os, pathlib, sys, time

class Searcher:
    def __init__(self, megabytes): self.megabytes, self.asked = megabytes, []
    def encode(self, query): return query.upper()
    def search(self, encoded, k):
        self.asked.append((encoded, k))
        return bytearray(os.urandom(1)) * (self.megabytes << 20)

@contextlib.contextmanager
def searcher(threads, megabytes=1, told=None):
    print("a library that talks")
    made = Searcher(megabytes)
    yield made
    if told: pathlib.Path(told).write_text(repr((made.asked, threads)))

@contextlib.contextmanager
def failing(threads):
    raise RuntimeError("no")
    yield

@contextlib.contextmanager
def sleeping(threads, told):
    pathlib.Path(told).write_text(str(os.getpid()))
    time.sleep(60)
    yield

@contextlib.contextmanager
def wordless(threads):
    os._exit(0)
    yield
"""


@pytest.fixture
def job(dataset: Dataset, cache: Path) -> Job:
    return make_job(dataset, cache, threads=1)


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that only the child can import."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "made_up_system.py").write_text(MADE_UP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    return "made_up_system"


@pytest.mark.skipif(sys.platform == "win32", reason="not known there")
def test_the_process_answers_and_is_measured(made_up: str, tmp_path: Path) -> None:
    small, large = (
        footprint.footprint(
            Opening(f"{made_up}:searcher", {"megabytes": size, "told": str(tmp_path / "told")}),
            ["a", "\ud800ß"],
            threads=3,
            k=7,
        )
        for size in (1, 300)
    )
    assert (tmp_path / "told").read_text() == repr(([("A", 7), ("\ud800SS", 7)], 3))
    assert small is not None
    assert large is not None
    assert 5e6 < small < 200e6
    assert large - small == pytest.approx(299 << 20, rel=0.1)


def test_the_memory_of_this_process_is_not_in_it(made_up: str) -> None:
    before = footprint.footprint(Opening(f"{made_up}:searcher", {}), ["a"], 1, 1)
    ours = np.ones(200_000_000, dtype=np.uint8)
    after = footprint.footprint(Opening(f"{made_up}:searcher", {}), ["a"], 1, 1)
    assert len(ours) == 200_000_000
    if before is not None:
        assert after == pytest.approx(before, abs=20e6)


@pytest.mark.parametrize(
    "function",
    ["made_up_system:failing", "made_up_system:wordless", "made_up_system:none", "no:no"],
)
@pytest.mark.usefixtures("made_up")
def test_a_process_that_fails_is_none(function: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert footprint.footprint(Opening(function, {}), ["a"], 1, 1) is None
    assert footprint.footprint(Opening(function, {"unknown": 1}), ["a"], 1, 1) is None
    assert capfd.readouterr() == ("", "")


def test_a_process_that_takes_too_long(
    made_up: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "_LIMIT", 3.0)
    opening = Opening(f"{made_up}:sleeping", {"told": str(tmp_path / "pid")})
    assert footprint.footprint(opening, ["a"], 1, 1) is None
    if LINUX:
        assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
def test_an_interruption_kills_the_process(made_up: str, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    code = (
        "from gingham.evaluation.footprint import footprint\n"
        "from gingham.evaluation.systems import Opening\n"
        f"footprint(Opening('{made_up}:sleeping', {{'told': {str(told)!r}}}), ['a'], 1, 1)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    for _ in range(300):
        if told.exists() and told.read_text():
            break
        time.sleep(0.1)
    os.kill(parent.pid, signal.SIGINT)  # to this one alone
    assert parent.wait(30) != 0
    assert not Path("/proc", told.read_text()).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="not known there")
@pytest.mark.parametrize(
    "system", [LateInteraction(), LateInteraction(exact=True), BM25(), Reranked(3)]
)
def test_every_system_can_be_opened_elsewhere(job: Job, system: System) -> None:
    opening = system.prepare(job).opening
    assert opening is not None
    assert json.loads(json.dumps(opening.arguments)) == opening.arguments
    peak = footprint.footprint(opening, list(QUERIES.values()), 2, 10)
    assert peak is not None
    assert 10e6 < peak < 1e9


@pytest.mark.parametrize("name", ["late_interaction", "footprint", "bm25", "single_vector"])
def test_searching_loads_nothing_else(name: str) -> None:
    """Neither the other systems nor what measures and draws."""
    code = f"import sys, json, gingham.evaluation.{name}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    loaded = {module.split(".")[0] for module in json.loads(done.stdout)}
    assert not loaded & {"scipy", "matplotlib", "ir_measures", "ir_datasets", "bm25s", "torch"}
    assert not loaded & {"onnxruntime", "sentence_transformers", "huggingface_hub"}


def test_the_names_of_the_package_are_all_there() -> None:
    from gingham import evaluation

    for name in evaluation.__all__:
        assert getattr(evaluation, name).__name__ == name
    assert set(evaluation.__all__) <= set(dir(evaluation))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = evaluation.nothing


# -- of a build ----------------------------------------------------------------------------------


def test_what_was_there_before_is_not_added() -> None:
    ours = np.ones(200_000_000, dtype=np.uint8)
    with PeakMemory() as memory:
        more = np.ones(100_000_000, dtype=np.uint8)
        so_far = memory.read()
        del more
    assert len(ours) == 200_000_000
    if memory.added is None or memory.bytes is None or so_far is None:
        pytest.skip("not known on this system")
    assert so_far == pytest.approx(100_000_000, rel=0.1)
    assert memory.added == pytest.approx(100_000_000, rel=0.1)
    assert memory.bytes >= 300_000_000


def test_a_peak_that_hides_that_of_the_block_is_not_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(costs, "_CLEAR", tmp_path / "no" / "file")
    status = tmp_path / "status"
    monkeypatch.setattr(costs, "_STATUS", status)
    status.write_text("VmHWM: 900000 kB\nVmRSS: 100000 kB\n")
    with PeakMemory() as hidden:
        pass
    assert (hidden.bytes, hidden.added) == (900_000 * 1024, None)
    with PeakMemory() as seen:
        status.write_text("VmHWM: 950000 kB\nVmRSS: 100000 kB\n")
    assert seen.added == 850_000 * 1024
    status.unlink()
    with PeakMemory() as unknown:
        pass
    assert unknown.added is None


@pytest.mark.skipif(not LINUX, reason="not known elsewhere")
def test_the_model_counts_and_the_rest_does_not(job: Job) -> None:
    LateInteraction().check(job)
    ours = np.ones(500_000_000, dtype=np.uint8)
    cost = LateInteraction().prepare(job).cost
    assert len(ours) == 500_000_000
    assert cost.peak_bytes is not None
    assert 5e6 < cost.peak_bytes < 400e6
