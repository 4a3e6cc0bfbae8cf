"""Build and search a gingham collection, as the peers are. The command line is in `harness.py`.

Everything goes through the public interface: one `add` of all vectors, `optimize` with the bits
asked for, `search` without texts. The point `{}` is what a user gets who sets nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEVER = 1 << 62


class Gingham:
    """A collection's folder."""

    distribution = "gingham"
    points: Sequence[harness.Parameters] = (
        {"supers": 2, "probes": 12, "candidates": 100, "refined": 100},
        {"supers": 2, "probes": 12, "candidates": 140, "refined": 100},
        {"supers": 2, "probes": 16, "candidates": 200, "refined": 100},
        {"supers": 3, "probes": 24, "candidates": 800, "refined": 100, "margin": 2.5},
        {"supers": 4, "probes": 32, "candidates": 1600, "refined": 100, "margin": 3.0},
        {},
        {"supers": 16, "probes": 112, "candidates": 12800, "refined": 400, "margin": 3.5},
    )

    def __init__(self, folder: Path, threads: int) -> None:
        import gingham

        self._library = gingham
        self._folder = folder
        self._threads = threads
        self._collection: Any = None
        self._points: dict[tuple[tuple[str, Any], ...], Any] = {}
        self.build_parts: dict[str, float] = {}

    def prepare_passages(self, passages: harness.Passages) -> tuple[Any, list[str]]:
        """One value of all vectors, float32; the ids are the numbers."""
        import numpy as np

        values = passages.values.astype(np.float32)
        vectors = self._library.TokenVectors(values, passages.offsets.astype(np.int64))
        return vectors, [str(number) for number in range(len(passages))]

    def build(
        self, prepared: tuple[Any, list[str]], bits: int, options: harness.Parameters
    ) -> None:
        """Store flat, then train a codebook on everything and code."""
        vectors, ids = prepared
        start = time.perf_counter()
        with self._library.open(self._folder, threads=self._threads, **options) as collection:
            with _only_stored():
                collection.add(vectors, ids=ids)
            stored = time.perf_counter()
            collection.optimize(bits=bits)
            info = collection.info()
        self.build_parts = {"add": stored - start, "optimize": time.perf_counter() - stored}
        if info.clustered != info.tokens or info.bits != bits:
            raise RuntimeError(f"not coded with {bits} bits as a whole: {info}")

    def open(self) -> None:
        """Map the segments."""
        self._collection = self._library.open(self._folder, threads=self._threads, read_only=True)

    def prepare_query(self, query: NDArray[np.float32]) -> Any:
        """One text's vectors."""
        return self._library.TokenVectors.from_arrays([query])

    def search(self, query: Any, k: int, parameters: harness.Parameters) -> Any:
        """Hits with ids and scores."""
        return self._collection.search(
            query, k, parameters=self._parameters(parameters), texts=False
        )

    def passage_numbers(self, answer: Any) -> Sequence[int]:
        """The ids are the numbers."""
        return [int(hit.id) for hit in answer]

    def _parameters(self, point: harness.Parameters) -> Any:
        if not point:
            return None
        key = tuple(point.items())
        if key not in self._points:
            from gingham.search.parameters import SearchParameters

            self._points[key] = SearchParameters(**point)
        return self._points[key]


@contextmanager
def _only_stored() -> Iterator[None]:
    """Let `add` code nothing: it would with a new collection's bits, and what is coded stays so."""
    from gingham.index import promotion

    before = promotion.FIRST, promotion.AT_ONCE
    promotion.FIRST = promotion.AT_ONCE = NEVER
    try:
        yield
    finally:
        promotion.FIRST, promotion.AT_ONCE = before


if __name__ == "__main__":
    harness.run(Gingham, __doc__)
