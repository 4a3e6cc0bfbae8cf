"""How thoroughly compressed passages are searched, and what is chosen where nobody says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from gingham.errors import InputError

_LARGEST = 1 << 20
_WIDEST = 8.0  # how much a selective filter widens a search at most
FEWEST = 10  # so many best are watched where fewer are wanted: one alone changes too seldom
_ORDINARY = 60_000  # passages of the collection that the defaults were measured on


@dataclass(frozen=True, slots=True)
class SearchParameters:
    """The sizes of the stages of a search over clustered segments: recall against time.

    Flat segments are always scored whole. `Collection.audit` measures what parameters reach on a
    collection and finds the cheapest for a recall.

    Attributes:
        supers: for each vector of the (pooled) query, so many super-centroids are looked into.
        probes: for each, the posting lists of so many centroids are gathered.
        candidates: so many passages are sifted at most, by their tokens near the query.
        refined: so many of them are scored in full; raised to k where it is less.
        margin: sifting ends once the best k (or 10, where k is less) are so many standard
            deviations better than what the promise of the next candidate lets expect; None for
            never.

    Raises:
        InputError: a size is not from 1 to 2^20, or the margin not above 0 and at most 100.
    """

    supers: int
    probes: int
    candidates: int
    refined: int
    margin: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("supers", "probes", "candidates", "refined"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
                raise InputError(f"{name} must be a whole number from 1 to {_LARGEST}, got {value}")
        margin = self.margin
        if margin is None:
            return
        is_number = isinstance(margin, (int, float)) and not isinstance(margin, bool)
        if not (is_number and 0 < margin <= 100):
            raise InputError(
                f"margin must be a number above 0 and at most 100, or None; got {margin}"
            )

    @classmethod
    @lru_cache(maxsize=256)
    def default(cls, k: int, passages: int) -> SearchParameters:
        """What a search for k passages among so many uses: a function of these two only."""
        # Measured with k of 1 to 1,000 on 10,000 to 185,000 passages (docs/log.md).
        deeper = max(1.0, (k / 10) ** 0.15)
        growth = max(1.0, (passages / _ORDINARY) ** (1 / 3))
        return cls(
            supers=round(8 * deeper),
            probes=round(56 * deeper),
            candidates=min(round((1400 + 24 * k) * growth), _LARGEST),
            refined=60 + 2 * k,
            margin=round(max(2.0, 3.5 - 0.75 * math.log10(max(k, 10) / 10)), 2),
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SearchParameters:
        """What `asdict` gave.

        Raises:
            InputError: a name is missing or unknown, or a value out of range.
        """
        if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
            raise InputError(f"search parameters are an object, got a {type(values).__name__}")
        names = {field.name for field in fields(cls)}
        if set(values) | {"margin"} != names:
            raise InputError(
                f"search parameters are {', '.join(sorted(names))}; got {', '.join(sorted(values))}"
            )
        return cls(**values)

    def wider(self, factor: float) -> SearchParameters:
        """All sizes times a factor."""
        return SearchParameters(
            _scaled(self.supers, factor),
            _scaled(self.probes, factor),
            _scaled(self.candidates, factor),
            _scaled(self.refined, factor),
            self.margin,
        )

    def among(self, share: float) -> SearchParameters:
        """For a search of which only a share, above 0, of the passages may be found.

        The best of these are farther from the query, and lie about as in a collection of their
        own where what selects them has to do with what they say.
        """
        factor = min(_WIDEST, 1 / share)
        return SearchParameters(
            _scaled(self.supers, factor),
            _scaled(self.probes, factor),
            self.candidates,
            min(_scaled(self.refined, math.sqrt(factor)), max(self.refined, self.candidates)),
            self.margin,
        )


def _scaled(size: int, factor: float) -> int:
    return min(_LARGEST, max(1, math.ceil(size * factor - 1e-9)))
