"""gingham: late-interaction search. Text in, ranked and explained passages out.

The public names, each imported when it is first used: `import gingham` loads nothing, so that
whoever needs only the command line's help or an error class does not wait for NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gingham.audit.values import Audit, AuditPoint, AuditTarget, ScoreError
    from gingham.collection import Collection, open
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
    from gingham.recovering import repair
    from gingham.report import AuditProgress, CollectionInfo, OptimizeProgress, Progress
    from gingham.reranker import Reranker
    from gingham.search.parameters import SearchParameters
    from gingham.upkeep.backing_up import restore
    from gingham.upkeep.checking import check
    from gingham.upkeep.values import Backup, Check, Finding, Repair, UpkeepProgress

__version__ = "0.1.0"

__all__ = [
    "Audit",
    "AuditPoint",
    "AuditProgress",
    "AuditTarget",
    "Backup",
    "Check",
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
    "Finding",
    "GinghamError",
    "Hit",
    "InputError",
    "LockedError",
    "MissingDependencyError",
    "ModelError",
    "ModelMismatchError",
    "OptimizeProgress",
    "Progress",
    "ReadOnlyError",
    "Repair",
    "Reranker",
    "ScoreError",
    "SearchParameters",
    "SourceError",
    "TokenMatch",
    "TokenVectors",
    "UpkeepProgress",
    "VersionError",
    "check",
    "maxsim",
    "open",
    "repair",
    "restore",
]

_HOMES = {
    "Audit": "audit.values",
    "AuditPoint": "audit.values",
    "AuditProgress": "report",
    "AuditTarget": "audit.values",
    "Backup": "upkeep.values",
    "Check": "upkeep.values",
    "Collection": "collection",
    "CollectionInfo": "report",
    "Document": "document",
    "Encoder": "encoder",
    "Explanation": "ranking",
    "Finding": "upkeep.values",
    "Hit": "ranking",
    "OptimizeProgress": "report",
    "Progress": "report",
    "Repair": "upkeep.values",
    "Reranker": "reranker",
    "ScoreError": "audit.values",
    "SearchParameters": "search.parameters",
    "TokenMatch": "ranking",
    "TokenVectors": "document",
    "UpkeepProgress": "upkeep.values",
    "check": "upkeep.checking",
    "maxsim": "kernels",
    "open": "collection",
    "repair": "recovering",
    "restore": "upkeep.backing_up",
}


def __getattr__(name: str) -> object:
    """Import a public name (PEP 562); all that are not in `_HOMES` are errors."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
