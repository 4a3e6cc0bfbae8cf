"""How good is it, and what does it cost? Datasets, runs, measures, systems to compare.

The way of an evaluation: `reading` opens a dataset, `experiment` asks the systems (`systems` and a
module each), `measures` values their rankings, `significance` says what is noise, `tables`,
`report`, `plots` and `wins` show it. `run_files` reads and writes rankings as TREC does.

Each name is imported when it is first used: a process that only searches one system loads nothing
of the others, nor of what measures them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gingham.evaluation.bm25 import BM25, Reranked
    from gingham.evaluation.costs import IndexCost, Latency, Percentiles
    from gingham.evaluation.dataset import Dataset
    from gingham.evaluation.experiment import Evaluation, SystemResult, evaluate
    from gingham.evaluation.late_interaction import LateInteraction
    from gingham.evaluation.reading import open_dataset
    from gingham.evaluation.run import Ranking, Run
    from gingham.evaluation.run_files import check_run, read_run, write_run
    from gingham.evaluation.significance import Comparison
    from gingham.evaluation.single_vector import SingleVector
    from gingham.evaluation.systems import Step

__all__ = [
    "BM25",
    "Comparison",
    "Dataset",
    "Evaluation",
    "IndexCost",
    "Latency",
    "LateInteraction",
    "Percentiles",
    "Ranking",
    "Reranked",
    "Run",
    "SingleVector",
    "Step",
    "SystemResult",
    "check_run",
    "evaluate",
    "open_dataset",
    "read_run",
    "write_run",
]

_HOMES = {
    "BM25": "bm25",
    "Comparison": "significance",
    "Dataset": "dataset",
    "Evaluation": "experiment",
    "IndexCost": "costs",
    "LateInteraction": "late_interaction",
    "Latency": "costs",
    "Percentiles": "costs",
    "Ranking": "run",
    "Reranked": "bm25",
    "Run": "run",
    "SingleVector": "single_vector",
    "Step": "systems",
    "SystemResult": "experiment",
    "check_run": "run_files",
    "evaluate": "experiment",
    "open_dataset": "reading",
    "read_run": "run_files",
    "write_run": "run_files",
}


def __getattr__(name: str) -> object:
    """Import a public name (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
