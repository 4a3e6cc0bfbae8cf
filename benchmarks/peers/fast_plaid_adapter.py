"""Build and search a fast-plaid index on the CPU. The command line is in `harness.py`.

It calculates in float16, which most processors can only store. A query that has candidates enough
decompresses n_full_scores / 4 of them whatever k is, so its time hardly depends on the collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class FastPlaid:
    """fast-plaid's index folder, with its defaults but for what a point says."""

    distribution = "fast_plaid"
    points: Sequence[harness.Parameters] = (
        {"n_ivf_probe": 2, "n_full_scores": 512},
        {"n_ivf_probe": 4, "n_full_scores": 1024},
        {"n_ivf_probe": 8, "n_full_scores": 4096},  # its defaults
        {"n_ivf_probe": 16, "n_full_scores": 8192},
    )

    def __init__(self, folder: Path, threads: int) -> None:
        import torch
        from fast_plaid import search

        torch.set_num_threads(threads)
        self._torch = torch
        self._library = search
        self._folder = str(folder)
        self._index: Any = None

    def prepare_passages(self, passages: harness.Passages) -> list[Any]:
        """One tensor a passage; all share the memory of the values."""
        values = self._torch.from_numpy(passages.values)
        lengths = (passages.offsets[1:] - passages.offsets[:-1]).tolist()
        return list(values.split(lengths))

    def build(self, prepared: list[Any], bits: int, options: harness.Parameters) -> None:
        """Cluster, code and write."""
        index = self._library.FastPlaid(index=self._folder, device="cpu")
        index.create(documents_embeddings=prepared, nbits=bits, **options)

    def open(self) -> None:
        """Map codes and residuals, read the rest."""
        self._index = self._library.FastPlaid(index=self._folder, device="cpu")

    def prepare_query(self, query: NDArray[np.float32]) -> Any:
        """A batch of one; the library makes it float16 itself at every search."""
        return self._torch.from_numpy(query.copy()).unsqueeze(0)

    def search(self, query: Any, k: int, parameters: harness.Parameters) -> Any:
        """One list of (passage number, score)."""
        return self._index.search(query, top_k=k, show_progress=False, **parameters)

    def passage_numbers(self, answer: Any) -> Sequence[int]:
        """The first of each pair."""
        return [number for number, _ in answer[0]]


if __name__ == "__main__":
    harness.run(FastPlaid, __doc__)
