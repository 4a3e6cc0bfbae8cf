"""What was found, in words: where, what is wrong, what a repair would do, whom it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from gingham.document import Int64
from gingham.index.catalog import Catalog
from gingham.index.layout import CODEBOOKS, SEGMENTS, Component
from gingham.upkeep.codebooks import CodebookState
from gingham.upkeep.files import Files
from gingham.upkeep.segments import CODEBOOK, SegmentState
from gingham.upkeep.values import Finding, Kind

REPAIR = "gingham check --repair"
_ENCODE = "--encode encodes their texts again"
DROPS = f"{REPAIR} sets it aside and drops these documents: {_ENCODE}"
KEEPS = f"{REPAIR} keeps all others and drops these documents: {_ENCODE}"
REMAKES = f"{REPAIR} makes it anew from intact files; no document is lost"
REBUILDS = f"{REPAIR} makes the catalog anew of what can be read; or restore a backup"
DROPS_ONLY = f"{REPAIR} drops them: {_ENCODE}"


class Sayer:
    """Turns states into findings."""

    def __init__(self, catalog: Catalog, findings: list[Finding]) -> None:
        """Findings are added to the list; the catalog knows the ids."""
        self._catalog = catalog
        self._findings = findings

    def add(
        self, kind: Kind, where: str, problem: str, remedy: str, numbers: Iterable[int] = ()
    ) -> None:
        """One finding, with the ids of the documents of these numbers."""
        wanted = sorted(int(number) for number in numbers)
        ids = self._catalog.ids(wanted) if wanted else {}
        self._findings.append(
            Finding(
                kind,
                where,
                problem,
                remedy,
                tuple(ids[n] for n in wanted if isinstance(ids.get(n), str)),
            )
        )

    def codebook(
        self, number: int, book: CodebookState, users: Sequence[SegmentState], known: Int64
    ) -> None:
        """A codebook, with all documents that are coded with it."""
        where = f"{CODEBOOKS}/{number:08d}"
        affected = union([s.held for s in users if s.held is not None])
        affected = np.intersect1d(affected, known)
        self.files(where, book.files)
        if book.misstated is not None:
            self.add("damage", where, book.misstated, f"{REPAIR} corrects the catalog", affected)
        for name, problem in book.problems.items():
            readable = any(state.fate == "flat" for state in users)
            if readable:
                which = "all vectors that it decodes" if len(book.bad_centroids) else "all vectors"
                remedy = f"{REPAIR} keeps {which}, uncompressed, and sets the codebook aside"
            else:
                remedy = DROPS
            self.add("damage", f"{where}/{name}".rstrip("/"), problem, remedy, affected)

    def files(self, where: str, files: Files) -> None:
        """What costs nothing: headers, and the checksums of blocks."""
        for component, (_, problem) in files.headers.items():
            remedy = f"{REPAIR} writes its header anew; no document is lost"
            self.add("damage", f"{where}/{component.filename}", problem, remedy)
        if files.checksums is not None:
            name = f"{where}/{Component.CHECKSUMS.filename}"
            remedy = f"{REPAIR} makes it anew from intact files; no document is lost"
            self.add("damage", name, files.checksums, remedy)

    def parts(self, where: str, state: SegmentState, lost: Int64) -> Int64:
        """Files that are damaged in part, each with the documents of `lost` that it costs.

        Returns:
            All of these.
        """
        assert state.intact is not None
        said = [np.empty(0, dtype=np.int64)]
        for name in dict.fromkeys([*state.problems, *state.intact.damaged]):
            damage = state.intact.damaged.get(name)
            affected = said[0] if damage is None else damage.among(lost)
            said.append(affected)
            if name == CODEBOOK:
                problem = f"passages have tokens of damaged centroids of {state.record.codebook}"
                if len(affected):
                    self.add("damage", where, problem, KEEPS, affected)
            elif name in state.problems:
                remedy = KEEPS if len(affected) else REMAKES
                self.add("damage", f"{where}/{name}", state.problems[name], remedy, affected)
            else:
                self.add("damage", f"{where}/{name}", "holds impossible values", KEEPS, affected)
        return union(said)

    def segment(self, state: SegmentState, affected: Int64) -> None:
        """What is wrong with a segment that can be kept, or is lost, as a whole."""
        where = f"{SEGMENTS}/{state.record.segment:08d}"
        if not state.listed:
            problem = "the catalog does not list it, but it has the only vectors of documents"
            self.add("damage", where, problem, f"{REPAIR} lists it again", affected)
            return
        remedy = {
            "lost": DROPS,
            "lists": REMAKES,
            "list": f"{REPAIR} corrects the catalog",
            "flat": f"{REPAIR} keeps its vectors, uncompressed",
        }.get(state.fate, REPAIR)
        for name, problem in state.problems.items():
            if name == CODEBOOK:
                if state.fate == "lost":
                    self.add("damage", where, problem, remedy, affected)
            else:
                self.add("damage", f"{where}/{name}".rstrip("/"), problem, remedy, affected)


def union(parts: Sequence[Int64]) -> Int64:
    """Ascending numbers that are in any of these."""
    return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *parts]))
