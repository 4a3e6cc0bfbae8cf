"""Build and search a tachiom index. The command line is in `harness.py`.

tachiom codes a token as its centroid's number and 32 bytes of product-quantised residual, 2 bits a
dimension; it offers no other size, so `--bits` changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NOTHING = 2**32 - 1  # the number that fills an answer of fewer than k passages


class Tachiom:
    """tachiom's index in one file."""

    distribution = "tachiom"
    points: Sequence[harness.Parameters] = (
        {"k_centroids": 10, "ef_search": 15, "k_docs_to_score": 200, "alpha": 0.45},
        {"k_centroids": 20, "ef_search": 30, "k_docs_to_score": 500, "alpha": 0.45},  # its defaults
        {"k_centroids": 40, "ef_search": 60, "k_docs_to_score": 1000, "alpha": None},
        {"k_centroids": 80, "ef_search": 120, "k_docs_to_score": 2000, "alpha": None},
        {"k_centroids": 160, "ef_search": 240, "k_docs_to_score": 4000, "alpha": None},
    )

    def __init__(self, folder: Path, threads: int) -> None:
        import tachiom

        self._path = str(folder / "index.bin")
        self._library = tachiom
        self._index: Any = None

    def prepare_passages(self, passages: harness.Passages) -> tuple[Any, Any, Any]:
        """float16 values go in as the uint16 of the same bits."""
        import numpy as np

        lengths = np.diff(passages.offsets).astype(np.int32)
        return passages.values.view(np.uint16), passages.token_ids, lengths

    def build(self, prepared: tuple[Any, Any, Any], bits: int, options: harness.Parameters) -> None:
        """Cluster, code and save, all by the library."""
        self._library.Tachiom.build_from_arrays(*prepared, **options).save(self._path)

    def open(self) -> None:
        """Read the whole index into memory."""
        self._index = self._library.Tachiom.load(self._path)

    def prepare_query(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """A query of its own memory, C-contiguous."""
        return query.copy()

    def search(self, query: NDArray[np.float32], k: int, parameters: harness.Parameters) -> Any:
        """Scores and passage numbers as the library gives them."""
        return self._index.search(query, k, **parameters)

    def passage_numbers(self, answer: Any) -> Sequence[int]:
        """Without the numbers that only fill up."""
        return [int(number) for number in answer[1] if number != NOTHING]


if __name__ == "__main__":
    harness.run(Tachiom, __doc__)
