"""What surrounds the arithmetic: choice of body, threads, the GIL, fork, and the committed stub."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gingham import kernels

QUERY = np.ones((32, 128), dtype=np.float32)


def work(n_tokens: int) -> tuple[Any, Any, Any]:
    offsets = np.arange(0, n_tokens + 1, 100, dtype=np.int64)
    return QUERY, np.ones((n_tokens, 128), dtype=np.float32), offsets


def chosen(**environment: str) -> subprocess.CompletedProcess[str]:
    code = "from gingham import kernels; print(kernels.instruction_set())"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_environment_chooses_the_body() -> None:
    assert chosen(GINGHAM_KERNELS="portable").stdout == "portable\n"
    assert chosen(GINGHAM_KERNELS="reference").stdout == "reference\n"
    for wrong in ("neon" if "neon" not in kernels.instruction_sets() else "avx2", "fast"):
        failed = chosen(GINGHAM_KERNELS=wrong)
        assert failed.returncode == 1
        assert f"InputError: GINGHAM_KERNELS={wrong} is unknown or not run" in failed.stderr


def test_the_best_body_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GINGHAM_KERNELS", raising=False)
    kernels.instruction_set.cache_clear()
    assert kernels.instruction_set() == kernels.instruction_sets()[0]
    assert kernels.instruction_sets()[-1] == "portable"
    kernels.instruction_set.cache_clear()


def test_the_gil_is_released() -> None:
    arrays = work(40_000)
    started = threading.Event()
    progress: list[float] = []
    done = False

    def count() -> None:
        started.set()
        while not done:
            progress.append(time.perf_counter())
            time.sleep(0.0005)

    other = threading.Thread(target=count)
    other.start()
    started.wait()
    begin = time.perf_counter()
    for _ in range(3):
        kernels.score(*arrays, threads=1, instructions="portable")
    end = time.perf_counter()
    done = True
    other.join()
    # With the GIL held the other thread would run only between the three calls.
    assert sum(begin < moment < end for moment in progress) > 6


def scores_in_child(connection: Any) -> None:
    connection.send(kernels.score(*work(20_000), threads=2).tobytes())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_scores_too() -> None:
    expected = kernels.score(*work(20_000), threads=2).tobytes()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=scores_in_child, args=(sender,))
    child.start()
    try:
        assert receiver.poll(20), "the child is stuck"
        assert receiver.recv() == expected
    finally:
        child.kill()
        child.join()
        receiver.close()
        sender.close()
        child.close()


def test_calls_from_many_threads_at_once() -> None:
    arrays = work(20_000)
    expected = kernels.score(*arrays).tobytes()
    found: list[bytes] = []
    callers = [
        threading.Thread(target=lambda: found.append(kernels.score(*arrays, threads=2).tobytes()))
        for _ in range(6)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [expected] * 6


def test_the_committed_stub_is_what_the_build_generates(tmp_path: Path) -> None:
    stubgen = pytest.importorskip("nanobind.stubgen")
    from gingham.kernels import _native

    generator = stubgen.StubGen(_native, quiet=True)
    generator.put(_native)
    committed = Path(__file__).parents[2] / "src/gingham/kernels/_native.pyi"
    assert generator.get() == committed.read_text(encoding="utf-8"), (
        f"regenerate it: make docs, or python -m nanobind.stubgen -m gingham.kernels._native "
        f"-o {committed}"
    )
