"""An evaluation as a JSON object: only what was measured is in it; rankings are run files."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

from gingham.evaluation.experiment import Evaluation, SystemResult
from gingham.evaluation.tables import machine


def record(evaluation: Evaluation) -> dict[str, Any]:
    """Everything measured, values of each query included, as JSON has it."""
    dataset = evaluation.dataset
    return {
        "gingham": version("gingham"),
        "machine": machine(),
        "dataset": {
            "name": dataset.name,
            "split": dataset.split,
            "documents": dataset.corpus.n_documents if dataset.corpus else None,
            "digest": dataset.corpus.digest if dataset.corpus else None,
            "queries": len(dataset.qrels),
            "judgements": sum(len(grades) for grades in dataset.qrels.values()),
        },
        "depth": evaluation.depth,
        "seed": evaluation.seed,
        "systems": [_system(evaluation, system) for system in evaluation.systems],
        "comparisons": [
            {**asdict(comparison), "interval": _finite(comparison.interval)}
            for comparison in evaluation.comparisons
        ],
        "remarks": list(dataset.remarks),
    }


def _system(evaluation: Evaluation, system: SystemResult) -> dict[str, Any]:
    queries = list(evaluation.dataset.qrels)
    index = None
    if system.index is not None:
        index = {**asdict(system.index), "bytes_per_token": system.index.bytes_per_token}
    return {
        "name": system.name,
        "description": system.description,
        "depth": system.depth,
        "measures": {
            name: {"mean": mean, "interval": _finite(system.intervals[name])}
            for name, mean in system.means.items()
        },
        "index": index,
        "latencies_ms": [asdict(latency) for latency in system.latencies],
        "search_peak_bytes": system.search_peak_bytes,
        "per_query": {
            name: dict(zip(queries, values.tolist(), strict=True))
            for name, values in system.values.items()
        },
    }


def _finite(interval: tuple[float, float]) -> list[float] | None:
    return list(interval) if np.isfinite(interval).all() else None
