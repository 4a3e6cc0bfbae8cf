"""Build and search an xtr-warp-rs index on the CPU. The command line is in `harness.py`.

WARP does not score its candidates anew: what the probed cells did not hold is imputed, as XTR does,
so with other models recall against MaxSim rises only slowly with `nprobe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class XTRWarp:
    """xtr-warp-rs's index folder. What a point leaves out, the library chooses itself."""

    distribution = "xtr-warp-rs"
    points: Sequence[harness.Parameters] = (
        {},
        {"nprobe": 16},
        {"nprobe": 32},
        {"nprobe": 64},
        {"nprobe": 256},
    )

    def __init__(self, folder: Path, threads: int) -> None:
        import torch
        from xtr_warp.search import XTRWarp as Library

        torch.set_num_threads(threads)
        self._torch = torch
        self._library = Library
        self._folder = str(folder)
        self._threads = threads
        self._index: Any = None

    def prepare_passages(self, passages: harness.Passages) -> list[Any]:
        """One tensor a passage; all share the memory of the values."""
        values = self._torch.from_numpy(passages.values)
        lengths = (passages.offsets[1:] - passages.offsets[:-1]).tolist()
        return list(values.split(lengths))

    def build(self, prepared: list[Any], bits: int, options: harness.Parameters) -> None:
        """Cluster, code and write."""
        index = self._library(self._folder)
        index.create(
            embeddings_source=prepared, device="cpu", nbits=bits, show_progress=False, **options
        )

    def open(self) -> None:
        """Map codes and residuals, read the rest."""
        self._index = self._library(self._folder).load(device="cpu")

    def prepare_query(self, query: NDArray[np.float32]) -> Any:
        """A batch of one."""
        return self._torch.from_numpy(query.copy()).unsqueeze(0)

    def search(self, query: Any, k: int, parameters: harness.Parameters) -> Any:
        """One list of (passage number, score)."""
        return self._index.search(
            query, top_k=k, num_threads=self._threads, show_progress=False, **parameters
        )

    def passage_numbers(self, answer: Any) -> Sequence[int]:
        """The first of each pair."""
        return [number for number, _ in answer[0]]


if __name__ == "__main__":
    harness.run(XTRWarp, __doc__)
