"""gingham: late-interaction search. Text in, ranked and explained passages out."""

from gingham.collection import Collection
from gingham.collection import open_collection as open
from gingham.document import Document, TokenVectors
from gingham.encoder import Encoder
from gingham.errors import (
    CollectionError,
    CollectionNotFoundError,
    CorruptionError,
    DimensionError,
    DocumentNotFoundError,
    EmptyInputError,
    FilterError,
    GinghamError,
    InputError,
    LockedError,
    MissingDependencyError,
    ModelError,
    ModelMismatchError,
    ReadOnlyError,
    SourceError,
    VersionError,
)
from gingham.kernels import maxsim
from gingham.ranking import Explanation, Hit, TokenMatch
from gingham.report import CollectionInfo, Progress
from gingham.reranker import Reranker

__version__ = "0.1.0"

__all__ = [
    "Collection",
    "CollectionError",
    "CollectionInfo",
    "CollectionNotFoundError",
    "CorruptionError",
    "DimensionError",
    "Document",
    "DocumentNotFoundError",
    "EmptyInputError",
    "Encoder",
    "Explanation",
    "FilterError",
    "GinghamError",
    "Hit",
    "InputError",
    "LockedError",
    "MissingDependencyError",
    "ModelError",
    "ModelMismatchError",
    "Progress",
    "ReadOnlyError",
    "Reranker",
    "SourceError",
    "TokenMatch",
    "TokenVectors",
    "VersionError",
    "maxsim",
    "open",
]
