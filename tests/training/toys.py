"""Questions and passages of a language of twenty words, and a run of a few seconds on them."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

from gingham.training import Example, Fitted, TrainingSet, TrainingSettings

WORDS = ["tide", "rises", "sea", "moon", "water", "able", "hello", "world", "naive", "cafe", "day"]


def toy_set(
    count: int, seed: int, *, name: str = "toy", negatives: int = 1, scored: bool = False
) -> TrainingSet:
    """Every query asks two words; its positive has both, its negatives have neither."""
    draw = random.Random(seed)
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    examples = []
    for number in range(count):
        pair = draw.sample(WORDS, 2)
        others = [word for word in WORDS if word not in pair]
        queries[f"q{number}"] = f"{' '.join(pair)} {seed} {draw.choice(others)}?"
        documents[f"p{number}"] = f"the {pair[0]} and a {pair[1]}, {draw.choice(others)}."
        ids = []
        for index in range(negatives):
            ids.append(f"n{number}.{index}")
            documents[ids[-1]] = f"the {' '.join(draw.sample(others, 3))}."
        scores = tuple(draw.uniform(0, 4) for _ in ids)
        examples.append(
            Example(f"q{number}", (f"p{number}",), tuple(ids), (6.0, *scores) if scored else None)
        )
    return TrainingSet(name, queries, documents, tuple(examples))


def toy_settings(backbone: Path, **changes: Any) -> TrainingSettings:
    """Two epochs of ten steps on 80 examples, with everything random switched on."""
    settings: dict[str, Any] = {
        "backbone": str(backbone),
        "dim": 16,
        "query_length": 12,
        "document_length": 24,
        "batch_size": 8,
        "epochs": 2,
        "learning_rate": 1e-3,
        "projection_learning_rate": 1e-3,
        "dropout": 0.1,
        "device": "cpu",
        "threads": 1,
        "evaluate_every": 7,
    }
    return TrainingSettings(**{**settings, **changes})


def run(*arguments: Any, export: bool = False, **options: Any) -> Fitted:
    """`fit`, without the warnings that libraries give of their own future."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from gingham.training.fitting import fit, move_into

        def only_torch(trained: Path, output: Path, *_: Any) -> list[str]:
            move_into(trained, output)
            return []

        finishing = None if export else only_torch
        return fit(*arguments, finishing=finishing, **options)


def weights(folder: Path) -> dict[str, bytes]:
    """Every file of a model that decides its vectors, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "training" not in path.parts and path.suffix != ".md"
    }
