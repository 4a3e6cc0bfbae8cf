"""A process that runs a recipe and kills itself at one of its renames: called by test_recipe.

    python killed_recipe.py MODEL OUTPUT DIES_AT

Training is a copy of MODEL, made in two steps, so that no PyTorch is loaded; index, search,
teacher, measures and files are the real ones. DIES_AT 0 is never; 5 is before the fifth rename.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from gingham.document import Float32
from gingham.training import rankings, rescoring
from gingham.training.examples import Example, TrainingSet
from gingham.training.mining import MiningSettings
from gingham.training.recipe import RecipeSettings, run_recipe
from gingham.training.recipe_report import RecipeReport
from gingham.training.settings import TrainingSettings

WORDS = "the tide rises twice a day why does sea moon and of in water hello world naive cafe"


def a_set(name: str, seed: int, queries: int = 9) -> TrainingSet:
    """Documents of random words, each query some words of one of them."""
    random = np.random.default_rng(seed)
    documents = {f"d{i}": " ".join(random.choice(WORDS.split(), 8)) for i in range(40)}
    asked = {f"q{i}": " ".join(documents[f"d{i}"].split()[1:5]) for i in range(queries)}
    examples = tuple(Example(f"q{i}", (f"d{i}",)) for i in range(queries))
    return TrainingSet(name, asked, documents, examples)


class Words:
    """A teacher that counts the words of the query that a document has."""

    name, floor = "words", 0.1

    def score(self, queries: Sequence[str], documents: Sequence[Sequence[str]]) -> list[Float32]:
        return [
            np.array([len(set(query.split()) & set(text.split())) for text in texts], np.float32)
            for query, texts in zip(queries, documents, strict=True)
        ]


def rounds(model: Path, output: Path) -> RecipeReport:
    """Two rounds on two sets, in small parts."""

    def copied(
        settings: TrainingSettings, sets: object, dev: object, draft: Path, **_: object
    ) -> Any:
        (draft / "begun").touch()
        Path(draft / "begun").replace(draft / "half")
        shutil.copytree(model, draft, dirs_exist_ok=True)

    with patch.object(rankings, "_PART", 4), patch.object(rescoring, "_PART", 3):
        return run_recipe(
            TrainingSettings(backbone=str(model), threads=1),
            RecipeSettings(
                rounds=2, mining=MiningSettings(ranks=(1, 30), per_query=4, margin=None)
            ),
            [a_set("one", 1), a_set("two", 2)],
            a_set("dev", 3, queries=6),
            output,
            teacher=lambda _: Words(),
            train=copied,
        )


def dying(at: int, rename: Callable[..., Any]) -> Callable[..., Any]:
    """A rename that kills the process when it is the one it should die at."""

    def renamed(*args: Any, **options: Any) -> Any:
        dying.count += 1  # type: ignore[attr-defined]
        if dying.count == at:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(*args, **options)

    return renamed


if __name__ == "__main__":
    dies_at = int(sys.argv[3])
    dying.count = 0  # type: ignore[attr-defined]
    for name in ("rename", "replace"):  # those of pathlib call these
        setattr(os, name, dying(dies_at, getattr(os, name)))
    rounds(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(str(dying.count))  # type: ignore[attr-defined]
