"""How a collection splits long texts: what is asked for when it is begun, and kept in its settings.

All passages of a collection are made alike, also those that are encoded again to explain a score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from gingham.errors import InputError, shown

# About the hundred words that passages have in most of the field's collections. In longer ones
# MaxSim finds more to match, whatever they say: docs/log.md has what other lengths give.
PASSAGE_LENGTH = 144
SHORTEST = 32


class Splitting(TypedDict):
    """Arguments of `Encoder.split` and `Encoder.passage_texts`."""

    length: int | None
    titled: bool


def splitting(settings: Mapping[str, Any]) -> Splitting:
    """As the collection recorded it; one without such settings is of before there were any."""
    return {
        "length": settings.get("passage_length"),
        "titled": settings.get("titles", False),
    }


def to_record(passage_length: int | None, titles: bool) -> dict[str, Any]:
    """The settings of a new collection.

    Raises:
        InputError: `passage_length` is no whole number of at least 32.
    """
    if passage_length is None:
        return {"titles": bool(titles)}
    whole = isinstance(passage_length, int) and not isinstance(passage_length, bool)
    if not whole or passage_length < SHORTEST:
        raise InputError(
            f"passage_length is tokens, a whole number of at least {SHORTEST}, or None for as many "
            f"as the model takes; got {shown(passage_length)}"
        )
    return {"titles": bool(titles), "passage_length": passage_length}
