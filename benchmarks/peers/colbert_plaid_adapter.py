"""Build and search a PLAID index with stanford ColBERT on the CPU. Command line: `harness.py`.

The library only indexes texts that it encodes itself. `GivenVectors` stands where its encoder
would; sampling, clustering, coding, the inverted file and the search are its own code.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEED = 12345  # which the library's own launcher sets


@dataclass(frozen=True)
class GivenVectors:
    """Answers as the library's encoder does, from vectors that are there already."""

    values: Any
    offsets: Any

    def encode_passages(self, passages: Sequence[int]) -> tuple[Any, list[int]]:
        """Give the vectors of these passages, one below the other, as float32, and their counts."""
        import torch

        pieces = [self.values[self.offsets[n] : self.offsets[n + 1]] for n in passages]
        return torch.cat(pieces).float(), [len(piece) for piece in pieces]


class ColbertPlaid:
    """The library's index folder."""

    distribution = "colbert-ai"
    points: Sequence[harness.Parameters] = (
        {"ncells": 1, "centroid_score_threshold": 0.5, "ndocs": 256},  # its defaults for k <= 10
        {"ncells": 2, "centroid_score_threshold": 0.45, "ndocs": 1024},  # for k <= 100
        {"ncells": 4, "centroid_score_threshold": 0.4, "ndocs": 4096},  # for k <= 1000
        {"ncells": 8, "centroid_score_threshold": 0.3, "ndocs": 16384},
    )

    def __init__(self, folder: Path, threads: int) -> None:
        environment = str(Path(sys.executable).parent)  # where ninja is
        os.environ["PATH"] = os.pathsep.join((environment, os.environ["PATH"]))
        import torch
        from colbert.infra.config import ColBERTConfig

        torch.set_num_threads(threads)
        self._torch = torch
        self._config = ColBERTConfig
        self._folder = str(folder)
        self._ranker: Any = None
        self._points: dict[tuple[tuple[str, Any], ...], Any] = {}

    def prepare_passages(self, passages: harness.Passages) -> GivenVectors:
        """The values as one tensor."""
        return GivenVectors(self._torch.from_numpy(passages.values), passages.offsets.tolist())

    def build(self, prepared: GivenVectors, bits: int, options: harness.Parameters) -> None:
        """Run the library's indexer, one process, with the encoder replaced."""
        import numpy as np
        from colbert.data.collection import Collection
        from colbert.indexing.collection_indexer import CollectionIndexer
        from colbert.indexing.index_saver import IndexSaver

        given = {"nbits": bits, "dim": prepared.values.shape[1], "index_path": self._folder}
        config = self._config(**given, **options)
        random.seed(SEED)
        np.random.seed(SEED)
        self._torch.manual_seed(SEED)
        indexer = CollectionIndexer.__new__(CollectionIndexer)  # whose __init__ loads a checkpoint
        indexer.verbose = 0
        indexer.config = config
        indexer.rank, indexer.nranks = config.rank, config.nranks
        indexer.use_gpu = False
        indexer.collection = Collection(data=list(range(len(prepared.offsets) - 1)))
        indexer.encoder = prepared
        indexer.saver = IndexSaver(config)
        indexer.run([])

    def open(self) -> None:
        """Read the whole index into memory; compiles the library's extensions if they are not."""
        from colbert.modeling.colbert import ColBERT
        from colbert.search.index_storage import IndexScorer

        ColBERT.try_load_torch_extensions(use_gpu=False)
        self._ranker = IndexScorer(self._folder, use_gpu=False)

    def prepare_query(self, query: NDArray[np.float32]) -> Any:
        """A batch of one."""
        return self._torch.from_numpy(query.copy()).unsqueeze(0)

    def search(self, query: Any, k: int, parameters: harness.Parameters) -> Any:
        """Passage numbers and scores of all that the last stage scored, best first."""
        key = tuple(parameters.items())
        if key not in self._points:
            config = self._config.load_from_index(self._folder)
            config.configure(**parameters)
            self._points[key] = config
        return self._ranker.rank(self._points[key], query)

    def passage_numbers(self, answer: Any) -> Sequence[int]:
        """The first list."""
        return answer[0]


if __name__ == "__main__":
    harness.run(ColbertPlaid, __doc__)
