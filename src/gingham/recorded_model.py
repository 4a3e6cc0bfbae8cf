"""Which model a collection's vectors come from, and the encoder that makes more of them.

The model is loaded when text is first seen, and held to what the collection has recorded: vectors
of two models must never meet in one score.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham import intake
from gingham.document import TokenVectors
from gingham.encoder import Encoder
from gingham.errors import InputError, ModelMismatchError
from gingham.forking import renew_after_fork

Query = str | TokenVectors | npt.NDArray[np.floating[Any]]


class RecordedModel:
    """The encoder of one collection, loaded on demand. Safe to share between threads."""

    def __init__(
        self,
        collection: Path,
        encoder: Encoder | str | os.PathLike[str] | None,
        threads: int | None,
    ) -> None:
        """Remember what the caller of `gingham.open` asked for."""
        self._collection = collection
        self._asked = encoder
        self._threads = threads
        self._loaded: Encoder | None = encoder if isinstance(encoder, Encoder) else None
        self._lock = threading.Lock()
        self._last_queries: tuple[tuple[str, ...], TokenVectors] | None = None
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Another thread may have held the lock."""
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        """What the caller of `gingham.open` asked for; what was loaded is loaded again."""
        asked = self._asked
        if isinstance(asked, (str, os.PathLike)) and os.path.isdir(asked):
            asked = os.path.abspath(asked)
        return {"collection": self._collection, "encoder": asked, "threads": self._threads}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Ask for the same again."""
        self.__init__(**state)  # type: ignore[misc]

    def encoder(self, settings: Mapping[str, Any]) -> Encoder:
        """The encoder, checked against the collection's settings.

        Raises:
            ModelError: it cannot be loaded.
            ModelMismatchError: it is not the one that the collection was built with.
            InputError: the collection's vectors were made elsewhere, nobody says by which model.
        """
        recorded = settings.get("model")
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load(recorded, known=settings.get("dim") is None)
            loaded = self._loaded
        if recorded is not None and recorded["fingerprint"] != loaded.fingerprint:
            raise ModelMismatchError(
                f"{self._collection} was built with {recorded['name']} "
                f"({recorded['fingerprint'][:12]}), this is {loaded.name} "
                f"({loaded.fingerprint[:12]}): open it with the first, or index again"
            )
        return loaded

    def encode_queries(self, settings: Mapping[str, Any], texts: Sequence[str]) -> TokenVectors:
        """Vectors of queries; those of the last call are kept.

        Whoever explains the hits of a query asks with it once more for each of them.
        """
        encoder = self.encoder(settings)
        key = (encoder.fingerprint, *texts)
        last = self._last_queries
        if last is None or last[0] != key:
            last = (key, encoder.encode_queries(texts))
            self._last_queries = last
        return last[1]

    def query_vectors(
        self, settings: Mapping[str, Any], queries: Query | Sequence[str]
    ) -> TokenVectors:
        """What a caller asks with → vectors that fit the collection; see `intake.query_vectors`."""
        return intake.query_vectors(
            queries, settings.get("dim"), lambda texts: self.encode_queries(settings, texts)
        )

    def one_query(self, settings: Mapping[str, Any], query: Query) -> TokenVectors:
        """`query_vectors` of exactly one query.

        Raises:
            InputError: the vectors are of several.
        """
        vectors = self.query_vectors(settings, query)
        if len(vectors) != 1:
            raise InputError(f"one query is asked at a time, got {len(vectors)}: use search_many")
        return vectors

    def encoder_if_known(self, settings: Mapping[str, Any]) -> Encoder | None:
        """The encoder, None where the collection has no model and none was asked for."""
        if self._asked is None and settings.get("model") is None:
            return None
        return self.encoder(settings)

    def record(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What to write into the settings with the vectors of this encoder."""
        encoder = self.encoder(settings)
        return {
            "model": {
                "name": encoder.name,
                "precision": encoder.precision,
                "fingerprint": encoder.fingerprint,
            }
        }

    def _load(self, recorded: Mapping[str, Any] | None, *, known: bool) -> Encoder:
        source = self._asked
        if source is None and recorded is not None:
            name, precision = recorded["name"], recorded["precision"]
            return Encoder(name, threads=self._threads, precision=precision)
        if source is None and not known:
            raise InputError(
                f"{self._collection} holds vectors that were made elsewhere: pass vectors, or open "
                "it with encoder=…, the model that made them"
            )
        return source if isinstance(source, Encoder) else Encoder(source, threads=self._threads)
