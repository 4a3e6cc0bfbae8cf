"""What checks, repairs and backups say, as frozen values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["damage", "leftover"]


@dataclass(frozen=True, slots=True)
class UpkeepProgress:
    """How far a check, repair, backup or restore has come.

    Attributes:
        stage: "catalog", "documents", "vectors", "lists", "repairing", "encoding" or
            "copying".
        done: steps of the stage that are done.
        total: of the stage; documents, bytes or segments.
    """

    stage: str
    done: int
    total: int


Report = Callable[[UpkeepProgress], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        kind: "damage", or "leftover" for what nothing refers to and no answer depends on.
        where: the file, folder or table, below the collection.
        problem: what is wrong with it.
        remedy: what to do.
        documents: ids of all documents that it affects, by number.
    """

    kind: Kind
    where: str
    problem: str
    remedy: str
    documents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """What a check has found.

    Attributes:
        path: the collection.
        findings: empty where all is well.
        generation: the commit that was looked at; None where the catalog cannot tell.
        documents: in it.
        passages: in the segments that were looked at.
        tokens: likewise.
        segments: that the catalog lists.
        codebooks: likewise.
        bytes: of array files that were read and compared with their checksums.
    """

    path: str
    findings: tuple[Finding, ...]
    generation: int | None
    documents: int
    passages: int
    tokens: int
    segments: int
    codebooks: int
    bytes: int

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair has done.

    Attributes:
        path: the collection.
        findings: what was wrong.
        actions: what was done about it, a line each.
        dropped: ids of the documents that the collection has no longer, since their vectors or
            texts are lost, and were not encoded again.
        aside: the folder that what was broken has been moved to; None where nothing was.
        again: a file of the dropped documents whose texts are intact, for `gingham add`; None where
            there is none.
        left: what a check finds after the repair; empty where all is well.
        documents: in the collection now: those that were kept and those that were encoded again.
        kept: how many of them have the vectors that they had.
        encoded: ids of those whose vectors were lost and have been made anew of their texts.
        hindrance: why encoding was asked for and could not be done; None where it was done.
    """

    path: str
    findings: tuple[Finding, ...]
    actions: tuple[str, ...]
    dropped: tuple[str, ...]
    aside: str | None
    again: str | None
    left: tuple[Finding, ...]
    documents: int
    kept: int
    encoded: tuple[str, ...] = ()
    hindrance: str | None = None


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy of a collection, itself a collection.

    Attributes:
        path: where it is.
        generation: the commit that it is of.
        documents: in it.
        files: of segments and codebooks, each compared with its checksum.
        linked: how many of these are hard links, which take no space.
        bytes: of all files together, links included.
    """

    path: str
    generation: int
    documents: int
    files: int
    linked: int
    bytes: int
