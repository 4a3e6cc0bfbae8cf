"""What a system answered: a ranking a query. Values; `run_files` reads and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gingham.document import Float32


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The documents found for one query.

    Attributes:
        ids: document ids, each once, best first as the system ordered them.
        scores: (n) float32, one an id: what trec_eval orders by, in the precision it compares in.
    """

    ids: tuple[str, ...]
    scores: Float32


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """The rankings of one system.

    Attributes:
        name: of the system; the tag of a TREC run file.
        rankings: by query id.
    """

    name: str
    rankings: Mapping[str, Ranking]
