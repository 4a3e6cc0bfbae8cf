"""How thoroughly compressed passages are searched, and what is chosen where nobody says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from gingham.errors import InputError

_LARGEST = 1 << 20
_ORDINARY = 60_000  # passages of the collection that the defaults were measured on


@dataclass(frozen=True, slots=True)
class SearchParameters:
    """The sizes of the stages of a search over clustered segments: recall against time.

    Flat segments are always scored whole. `Collection.audit` measures what parameters reach on a
    collection and finds the cheapest for a recall.

    Attributes:
        supers: for each vector of the (pooled) query, so many super-centroids are looked into.
        probes: for each, the posting lists of so many centroids are gathered.
        candidates: so many passages are sifted, by their tokens near the query.
        refined: so many of them are scored in full; raised to k where it is less.

    Raises:
        InputError: a value is not from 1 to 2^20.
    """

    supers: int
    probes: int
    candidates: int
    refined: int

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
                raise InputError(f"{name} must be a whole number from 1 to {_LARGEST}, got {value}")

    @classmethod
    def default(cls, k: int, passages: int) -> SearchParameters:
        """What a search for k passages among so many uses: a function of these two only."""
        # A guess that is a little too slow: recall fell from .955 at 20,000 to .940 at 184,000
        # passages (docs/engine.md).
        growth = max(1.0, (passages / _ORDINARY) ** 0.25)
        refined = 44 + 2 * k
        return cls(
            supers=8,
            probes=56,
            candidates=max(round(820 * growth) + 12 * max(0, k - 10), refined),
            refined=refined,
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SearchParameters:
        """What `asdict` gave.

        Raises:
            InputError: a name is missing or unknown, or a value out of range.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise InputError(
                f"search parameters are {', '.join(sorted(names))}; got {', '.join(sorted(values))}"
            )
        return cls(**values)

    def wider(self, factor: float) -> SearchParameters:
        """All sizes times a factor."""

        def scaled(value: int) -> int:
            return min(_LARGEST, max(1, round(value * factor)))

        return SearchParameters(
            scaled(self.supers), scaled(self.probes), scaled(self.candidates), scaled(self.refined)
        )
