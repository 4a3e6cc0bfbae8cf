"""A short run of the fuzzer with a fixed seed, and every seed and finding once more without it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gingham import InputError, SearchParameters, TokenVectors
from hostile.fuzz import FINDINGS, NAMES, SEEDS, fuzz
from hostile.targets import TARGETS, made_seeds

has_atheris = importlib.util.find_spec("atheris") is not None


def test_the_targets_are_those_that_are_run() -> None:
    assert tuple(TARGETS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_seeds_and_findings_raise_nothing(name: str) -> None:
    kept = [*(SEEDS / name).glob("*"), *FINDINGS.glob(f"{name}-*")]
    contents = [path.read_bytes() for path in kept] + list(made_seeds(name))
    assert contents
    for content in contents:
        TARGETS[name](content)


@pytest.mark.skipif(not has_atheris, reason="needs atheris: pip install atheris")
@pytest.mark.skipif(sys.platform != "linux", reason="atheris runs on Linux here")
@pytest.mark.parametrize("name", NAMES)
def test_fuzzing_finds_nothing(name: str, tmp_path: Path) -> None:
    for seconds in (1, 10, 60):  # a busy machine starts so slowly that a second is nothing
        runs, covered, report = fuzz(name, seconds, seed=1, findings=tmp_path)
        if report or (runs > 5 and covered > 20):
            break
    assert not report, report.decode(errors="replace")
    assert runs > 5
    assert covered > 20


# What was found ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: TokenVectors.from_arrays([np.array(["x"])]),
        lambda: TokenVectors.from_arrays([np.array([None, object()])]),
        lambda: TokenVectors.from_arrays([[[1.0], [1.0, 2.0]]]),
        lambda: SearchParameters.from_json(None),  # type: ignore[arg-type]
        lambda: SearchParameters.from_json([1, 2]),  # type: ignore[arg-type]
        lambda: SearchParameters.from_json({1: 2, "k": 3}),  # type: ignore[dict-item]
    ],
)
def test_what_is_no_value_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert "\n" not in str(caught.value)
