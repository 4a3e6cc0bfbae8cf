"""What do eight bits cost? nDCG@10 of both graphs by exhaustive MaxSim, query by query.

It asks `gingham.evaluation`: the two are two systems on one dataset. Where no dataset is at hand,
queries are made of the calibration texts; they are easier than real ones, and say less.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from gingham.errors import InputError, ModelError
from gingham.evaluation import Dataset, LateInteraction, Step, evaluate, open_dataset
from gingham.training.exporting.values import Quality
from gingham.training.in_memory import as_dataset

MEASURE = "nDCG@10"
_DEPTH = 10
# A run of so many words of a text asks for it: fewer than an audit takes, to be harder.
_FEWEST_WORDS, _MOST_WORDS = 3, 6
_MADE_UP = 200


def datasets_of(check: Sequence[str | os.PathLike[str]], max_queries: int | None) -> list[Dataset]:
    """Read the folders to check on.

    Raises:
        SourceError: one cannot be read.
        InputError: one has no documents or queries.
    """
    found = []
    for folder in check:
        dataset = open_dataset(folder, max_queries=max_queries)
        if dataset.corpus is None or not dataset.queries:
            raise InputError(f"{dataset.title}: a check needs documents, queries and judgements")
        found.append(dataset)
    return found


def made_up(texts: Sequence[str], seed: int = 0) -> Dataset | None:
    """Runs of words of the texts, each of which asks for its text; None of too few texts."""
    documents = {str(i): text for i, text in enumerate(dict.fromkeys(texts)) if text.strip()}
    random = np.random.default_rng(seed)
    queries: dict[str, str] = {}
    for id, text in documents.items():
        words = text.split()
        if len(words) <= _MOST_WORDS:
            continue
        length = int(random.integers(_FEWEST_WORDS, _MOST_WORDS + 1))
        first = int(random.integers(len(words) - length + 1))
        queries[id] = " ".join(words[first : first + length])
    chosen = sorted(random.permutation(list(queries))[:_MADE_UP], key=int)
    if len(chosen) < 2:
        return None
    asked = {id: queries[id] for id in chosen}
    qrels = {id: {id: 1} for id in asked}
    return as_dataset("parts of the calibration texts", documents, asked, qrels)


def measure_cost(
    folder: Path,
    dataset: Dataset,
    *,
    made_up: bool,
    threads: int | None = None,
    progress: Callable[[Step], None] | None = None,
) -> Quality:
    """Ask both graphs of a folder the same questions.

    Args:
        folder: with onnx/model.onnx and onnx/model_int8.onnx.
        dataset: documents, queries, judgements.
        made_up: see `Quality`.
        threads: for encoding and searching.
        progress: told how far it has come.
    """
    systems = [
        LateInteraction(folder, exact=True, label=precision, precision=precision)
        for precision in ("fp32", "int8")
    ]
    with tempfile.TemporaryDirectory(prefix="gingham-export-") as cache:
        result = evaluate(
            dataset,
            systems,
            measures=[MEASURE],
            depth=_DEPTH,
            threads=threads,
            cache=Path(cache),
            timed_queries=0,
            progress=progress,
        )
    comparison = result.comparison("int8", MEASURE)
    assert comparison is not None
    assert dataset.corpus is not None
    return Quality(
        dataset=dataset.title,
        made_up=made_up,
        queries=len(dataset.qrels),
        documents=dataset.corpus.n_documents,
        fp32=result.system("fp32").means[MEASURE],
        int8=result.system("int8").means[MEASURE],
        difference=comparison.difference,
        interval=comparison.interval,
        p=comparison.p,
    )


def require(found: Quality, allow: float) -> None:
    """Raise if eight bits cost too much.

    Raises:
        ModelError: they do; it says how much, and what can be done.
    """
    if found.difference >= -allow:
        return
    low, high = found.interval
    noise = "" if high < 0 else ", which may be chance"
    raise ModelError(
        f"int8 costs {-found.difference:.4f} {MEASURE} on {found.dataset} ({found.fp32:.4f} to "
        f"{found.int8:.4f}, 95 % interval of the difference {low:+.4f} to {high:+.4f}{noise}), "
        f"more than the {allow:g} allowed: calibrate with texts like yours (--calibrate), keep "
        f"fp32 alone (--only fp32), or allow it (--allow {-found.difference + 0.0005:.3f})"
    )
