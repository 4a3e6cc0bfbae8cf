"""Re-order the candidates of any first stage by MaxSim, without an index."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from gingham import kernels
from gingham.encoder import Encoder
from gingham.errors import EmptyInputError, InputError
from gingham.intake import check_k
from gingham.ranking import Hit


class Reranker:
    """Scores texts against a query with a late-interaction model.

    Example:
        >>> reranker = Reranker()
        >>> hits = reranker.rank("why is the sky blue?", ["Rayleigh scattering", "Tides"])
    """

    def __init__(
        self,
        encoder: Encoder | str | os.PathLike[str] | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        """Load the model: an `Encoder`, a path or hub name; the bundled one if None.

        Raises:
            ModelError: it cannot be loaded.
        """
        if not isinstance(encoder, Encoder):
            encoder = Encoder(encoder, threads=threads)
        self.encoder = encoder
        self._threads = threads

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        k: int | None = None,
        *,
        ids: Sequence[str] | None = None,
    ) -> list[Hit]:
        """The candidates, best first; equal scores keep the order they came in.

        Each text is scored whole, up to the model's document length.

        Args:
            query: the question.
            documents: the candidates' texts.
            k: how many to keep; all if None.
            ids: one a text; their positions, "0", "1", …, if None.

        Raises:
            EmptyInputError: a blank query.
            InputError: ids and texts are not equally many, or k is no whole number of at least 1.
        """
        if not query.strip():
            raise EmptyInputError("the query is empty: ask something")
        k = None if k is None else check_k(k)
        if isinstance(documents, str):
            raise InputError("documents must be a list of texts, got one string")
        names = [str(i) for i in range(len(documents))] if ids is None else list(ids)
        if len(names) != len(documents):
            raise InputError(f"{len(documents)} texts and {len(names)} ids: they must be as many")
        if not documents:
            return []
        vectors = self.encoder.encode_documents(documents)
        scores = kernels.maxsim(
            self.encoder.encode_queries([query])[0], vectors, threads=self._threads
        )
        order = np.argsort(-scores, kind="stable")[:k]
        return [
            Hit(names[i], float(scores[i]), documents[i], (0, len(documents[i])))
            for i in order.tolist()
        ]
