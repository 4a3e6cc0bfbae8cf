"""How good is it, and what does it cost? Datasets, runs, measures, systems to compare.

The way of an evaluation: `reading` opens a dataset, `experiment` asks the systems (`systems` and a
module each), `measures` values their rankings, `significance` says what is noise, `tables`,
`report`, `plots` and `wins` show it. `run_files` reads and writes rankings as TREC does.
"""

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
