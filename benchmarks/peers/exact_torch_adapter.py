"""Exact MaxSim of every passage in float32, by torch on the CPU. Command line: `harness.py`.

The best exact way in torch that `benchmarks/KERNELS.md` knows: a matrix product of batches that are
sorted by length and padded beforehand, so that little of it is padding. `--bits` changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 256  # passages
SHARE = (
    0.6  # of the free memory that float32 may take; else batches stay float16 until they are met
)


class ExactTorch:
    """The vectors as they were given, float16."""

    distribution = "torch"
    points: Sequence[harness.Parameters] = ({},)

    def __init__(self, folder: Path, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._torch = torch
        self._folder = folder
        self._batches: list[tuple[Any, Any, Any]] = []
        self._n_passages = 0

    def prepare_passages(self, passages: harness.Passages) -> harness.Passages:
        """As they are."""
        return passages

    def build(self, prepared: harness.Passages, bits: int, options: harness.Parameters) -> None:
        """Write them."""
        import numpy as np

        np.save(self._folder / "values.npy", prepared.values)
        np.save(self._folder / "offsets.npy", prepared.offsets)

    def open(self) -> None:
        """Pad batches of passages of about one length, as float32 where that fits."""
        import numpy as np

        torch = self._torch
        values = np.load(self._folder / "values.npy", mmap_mode="r")
        offsets = np.load(self._folder / "offsets.npy")
        lengths = np.diff(offsets)
        self._n_passages = len(lengths)
        kind = np.float32 if values.size * 4 < SHARE * _free_bytes() else np.float16
        order = np.argsort(lengths, kind="stable")
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = np.zeros((len(rows), lengths[rows].max(), values.shape[1]), dtype=kind)
            for i, row in enumerate(rows):
                batch[i, : lengths[row]] = values[offsets[row] : offsets[row + 1]]
            padding = np.arange(batch.shape[1])[None] >= lengths[rows, None]
            self._batches.append(
                (
                    torch.from_numpy(rows),
                    torch.from_numpy(batch),
                    torch.from_numpy(padding)[:, :, None] if padding.any() else None,
                )
            )

    def prepare_query(self, query: NDArray[np.float32]) -> Any:
        """The transpose, (dim, length)."""
        return self._torch.from_numpy(query.T.copy())

    def search(self, query: Any, k: int, parameters: harness.Parameters) -> Any:
        """Scores and passage numbers of the best k."""
        torch = self._torch
        with torch.inference_mode():
            scores = torch.empty(self._n_passages)
            for rows, batch, padding in self._batches:
                similarities = batch.float() @ query
                if padding is not None:
                    similarities.masked_fill_(padding, -torch.inf)
                scores[rows] = similarities.amax(1).sum(1)
            return scores.topk(min(k, self._n_passages))

    def passage_numbers(self, answer: Any) -> Sequence[int]:
        """The positions."""
        numbers: list[int] = answer.indices.tolist()
        return numbers


def _free_bytes() -> int:
    """Memory that can be taken now."""
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not say how much memory is free")


if __name__ == "__main__":
    harness.run(ExactTorch, __doc__)
