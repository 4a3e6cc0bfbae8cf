"""The errors of gingham: one tree, each message one line with the value, the rule and the remedy.

GinghamError
├── InputError                what the caller passed breaks a rule
│   ├── EmptyInputError       nothing to index or to ask
│   ├── DimensionError        vectors of another dimension than the collection or model
│   ├── FilterError           a `where` condition that cannot be understood
│   └── SourceError           a file of documents, queries or judgements cannot be read
├── ModelError                a checkpoint is unknown, incomplete or of an unsupported layout
│   └── ModelMismatchError    a collection was built with another model
├── CollectionError           a collection on disk cannot be used
│   ├── CollectionNotFoundError
│   ├── CorruptionError       a file is damaged, truncated or not ours
│   ├── VersionError          written by a newer gingham
│   ├── LockedError           another writer is at work
│   └── ReadOnlyError         a write on a collection that was opened to read
├── DocumentNotFoundError     no document of this id (also a KeyError)
└── MissingDependencyError    an extra is not installed
"""

from __future__ import annotations


class GinghamError(Exception):
    """Anything that gingham raises on purpose."""


class InputError(GinghamError, ValueError):
    """What the caller passed breaks a rule."""


class EmptyInputError(InputError):
    """There is nothing to index or to ask."""


class DimensionError(InputError):
    """Vectors have another dimension than the collection, the model or each other."""


class FilterError(InputError):
    """A `where` condition cannot be understood."""


class SourceError(InputError):
    """A file of documents, queries or judgements cannot be read."""


class ModelError(GinghamError):
    """A checkpoint is unknown, incomplete or of a layout that is not supported."""


class ModelMismatchError(ModelError):
    """The collection was built with another model than the one at hand."""


class CollectionError(GinghamError):
    """A collection on disk cannot be used."""


class CollectionNotFoundError(CollectionError):
    """There is no collection at this path."""


class CorruptionError(CollectionError):
    """A file of the collection is damaged, truncated or not one of ours."""


class VersionError(CollectionError):
    """The collection was written by a newer version of gingham."""


class LockedError(CollectionError):
    """Another writer is at work on the collection."""


class ReadOnlyError(CollectionError):
    """A write was asked of a collection that was opened to read."""


class DocumentNotFoundError(GinghamError, KeyError):
    """No document of the collection has this id."""

    # KeyError prints the repr of its argument, which would put quotes around the whole message.
    __str__ = Exception.__str__


class MissingDependencyError(GinghamError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


def shown(value: object, most: int = 60) -> str:
    """A value as a message shows it: on one line, and no longer than can be read."""
    if isinstance(value, str):
        return repr(value) if len(value) <= most else f"{value[:most]!r}…"
    try:
        text = " ".join(repr(value).split())
    except (RecursionError, ValueError):  # nested, or a number, beyond what Python writes
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= most else f"{text[:most]}…"
