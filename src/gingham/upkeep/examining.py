"""A whole collection looked at: every file, every document, and what each says of the others.

What is found is kept in two forms: `Finding`s for people, and the states that a repair works with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gingham.document import Int64
from gingham.errors import CorruptionError
from gingham.index.catalog import Catalog
from gingham.index.catalog_repair import integrity
from gingham.index.codebook_files import CodebookRecord
from gingham.index.layout import (
    CATALOG,
    CODEBOOKS,
    SEGMENTS,
    codebook_folder,
    segment_folder,
)
from gingham.index.segment_writer import SegmentRecord
from gingham.upkeep.codebooks import CodebookState, bits_in_files, examine_codebook
from gingham.upkeep.documents import Documents, examine_documents
from gingham.upkeep.files import Digests
from gingham.upkeep.findings import DROPS_ONLY, REBUILDS, REMAKES, REPAIR, Sayer, union
from gingham.upkeep.leftovers import children_of, is_number, unneeded
from gingham.upkeep.segments import SegmentState, examine_segment, unlisted_record
from gingham.upkeep.values import Finding, Kind, Report, UpkeepProgress


@dataclass(slots=True)
class Examination:
    """What was found.

    Attributes:
        findings: for people.
        must_rebuild: the catalog's own structure is damaged.
        settings: of the collection; empty where they cannot be read.
        dim: of the vectors.
        documents: in the catalog.
        segments: those listed, and those that should be.
        codebooks: by number, listed or used.
        leftovers: folders and files that nothing refers to.
        lost: numbers of documents without vectors.
        tombstones: as they should be.
        bytes: of array files that were read.
        generation: the commit that was looked at.
    """

    findings: list[Finding] = field(default_factory=list)
    must_rebuild: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    dim: int | None = None
    documents: Documents = field(default_factory=Documents)
    segments: list[SegmentState] = field(default_factory=list)
    codebooks: dict[int, CodebookState] = field(default_factory=dict)
    leftovers: list[Path] = field(default_factory=list)
    lost: Int64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    tombstones: Int64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    bytes: int = 0

    @property
    def generation(self) -> int | None:
        """The commit that was looked at, None where the catalog cannot tell."""
        value = self.settings.get("generation", 0) if not self.must_rebuild else None
        return value if isinstance(value, int) else None


class Examiner:
    """Looks at one collection, through one connection to its catalog.

    Segments that were found whole are remembered: they never change, so that another look, after a
    writer was at work, reads only what is new.
    """

    def __init__(self, collection: Path, report: Report | None) -> None:
        """Nothing is read yet."""
        self._collection = collection
        self._report = report
        self._whole: dict[SegmentRecord, SegmentState] = {}
        self._whole_books: dict[CodebookRecord, CodebookState] = {}

    def examine(self, catalog: Catalog, entries: Sequence[Path]) -> Examination:
        """Look at everything.

        Args:
            catalog: a connection that holds a snapshot, or belongs to the only writer.
            entries: of the folder when no writer was at work, see `entries_of`: those that nothing
                refers to are left over. While one is at work, those that it writes would seem so.

        Raises:
            VersionError: a file is of a newer gingham.
        """
        found = Examination()
        self._found, self._catalog = found, catalog
        self._say = Sayer(catalog, found.findings)
        self._tell_stage("catalog", 0, 1)
        try:
            damaged = integrity(catalog)
            if damaged:
                more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
                raise CorruptionError(f"{damaged[0]}{more}")
            records, books = catalog.segments(), catalog.codebooks()
            self._settings()
            found.documents = examine_documents(catalog, self._report)
            stones = catalog.tombstones()
        except CorruptionError as error:
            found.must_rebuild = True
            self._add("damage", CATALOG, _short(error, catalog.path), REBUILDS)
            return found
        self._files(records, books)
        self._dimension()
        self._unlisted(records, books)
        numbers = {record.segment for record in records}
        numbers |= {state.record.segment for state in found.segments}
        used = {book.codebook for book in books} | set(found.codebooks)
        found.leftovers = unneeded(self._collection, entries, numbers, used)
        for entry in found.leftovers:
            where = entry.relative_to(self._collection).as_posix()
            remedy = "none: harmless; the next writer removes it"
            if is_number(entry.parent.name):
                remedy = f"none: harmless; {REPAIR} sets it aside"
            self._add("leftover", where, "nothing refers to it", remedy)
        self._cross_check(stones)
        return found

    # Catalog ------------------------------------------------------------------------------------

    def _settings(self) -> None:
        try:
            self._found.settings = self._catalog.settings()
            self._catalog.next_numbers()
        except CorruptionError as error:
            self._found.settings = {}
            remedy = f"{REPAIR} sets it from what the files say; a model's name cannot be told"
            self._add("damage", f"{CATALOG}: settings", _short(error, self._catalog.path), remedy)

    # Files --------------------------------------------------------------------------------------

    def _files(self, records: Sequence[SegmentRecord], books: Sequence[CodebookRecord]) -> None:
        by_number = {book.codebook: book for book in books}
        total = sum(record.bytes for record in records) + sum(book.bytes for book in books)

        def tell(count: int) -> None:
            self._found.bytes += count
            self._tell_stage("vectors", min(self._found.bytes, total), total)

        self._tell, self._checksums = tell, self._catalog.checksums_digests()
        used = {record.codebook for record in records if record.codebook is not None}
        for book in books:
            if book.codebook not in used:
                remedy = f"none: {REPAIR} removes it"
                where = f"{CATALOG}: codebooks"
                self._add("leftover", where, f"codebook {book.codebook} is of no segment", remedy)
        for number in sorted(used):
            self._codebook(number, by_number.get(number), records)
        for record in records:
            if record in self._whole:
                self._found.segments.append(self._whole[record])
                continue
            own = None if record.codebook is None else self._found.codebooks.get(record.codebook)
            state = examine_segment(self._collection, record, own, tell, self._digests(record))
            if state.fate == "keep":
                self._whole[record] = state
            self._found.segments.append(state)

    def _codebook(
        self, number: int, record: CodebookRecord | None, segments: Sequence[SegmentRecord]
    ) -> None:
        if record in self._whole_books:
            self._found.codebooks[number] = self._whole_books[record]
            return
        if record is not None:
            dim, bits = record.dim, record.bits
        else:
            user = next(segment for segment in segments if segment.codebook == number)
            told = bits_in_files(
                codebook_folder(self._collection, number),
                segment_folder(self._collection, user.segment),
                user.dim,
            )
            if told is None:
                return
            dim, bits = user.dim, told
        checksums = self._checksums.get(f"{CODEBOOKS}/{number:08d}")
        digests = Digests(None if record is None else record.digest, checksums)
        state = examine_codebook(self._collection, number, record, dim, bits, self._tell, digests)
        if record is not None and not state.problems and state.misstated is None:
            self._whole_books[record] = state
        self._found.codebooks[number] = state

    def _unlisted(self, records: Sequence[SegmentRecord], books: Sequence[CodebookRecord]) -> None:
        """Folders that the catalog does not list, though they alone have vectors of documents."""
        listed = {record.segment for record in records}
        owned = self._owned()
        missing = np.setdiff1d(self._found.documents.numbers, owned)
        # The latest first: a merge holds what its sources held.
        for folder in reversed(children_of(self._collection / SEGMENTS)):
            if len(missing) == 0 or not is_number(folder.name) or int(folder.name) in listed:
                continue
            state = self._try_unlisted(int(folder.name), books)
            held = None if state is None else state.held
            if state is None or held is None or not np.isin(missing, held).any():
                continue
            state.without = np.intersect1d(held, owned)
            if len(state.without) and state.fate == "list":
                state.fate = "lists"
            owned = np.union1d(owned, held)
            missing = np.setdiff1d(missing, owned)
            self._found.segments.append(state)

    def _try_unlisted(self, segment: int, books: Sequence[CodebookRecord]) -> SegmentState | None:
        for book in books:
            if book.codebook not in self._found.codebooks:
                self._codebook(book.codebook, book, [])
        states = list(self._found.codebooks.values())
        record = unlisted_record(self._collection, segment, self._found.dim, states)
        if record is None:
            return None
        own = None if record.codebook is None else self._found.codebooks.get(record.codebook)
        digests = self._digests(record)
        state = examine_segment(self._collection, record, own, self._tell, digests, listed=False)
        return None if state.fate == "lost" else state

    def _digests(self, record: SegmentRecord) -> Digests:
        return Digests(record.digest, self._checksums.get(f"{SEGMENTS}/{record.segment:08d}"))

    def _owned(self) -> Int64:
        """Ascending numbers of documents whose vectors can be kept."""
        kept = [s.held for s in self._found.segments if s.fate != "lost"]
        return union([numbers for numbers in kept if numbers is not None])

    # What each says of the others ---------------------------------------------------------------

    def _cross_check(self, stones: Int64) -> None:
        found = self._found
        known = found.documents.numbers
        self._one_place_each()
        self._spans()
        for number, book in sorted(found.codebooks.items()):
            users = [s for s in found.segments if s.record.codebook == number and s.listed]
            self._say.codebook(number, book, users, known)
        owned = self._owned()
        found.lost = np.setdiff1d(known, owned)
        explained: list[Int64] = []
        for state in found.segments:
            where = f"{SEGMENTS}/{state.record.segment:08d}"
            self._say.files(where, state.files)
            if state.intact is not None:
                explained.append(self._say.parts(where, state, found.lost))
            elif state.fate == "lost":
                own = found.lost if state.numbers is None else state.numbers
                explained.append(np.intersect1d(found.lost, own))
                self._say.segment(state, explained[-1])
            elif state.fate != "keep" or state.problems:
                self._say.segment(state, self._living(state))
        rest = np.setdiff1d(found.lost, union(explained))
        if len(rest):
            problem = f"{len(rest)} documents have no passages in any segment"
            self._add("damage", f"{CATALOG}: documents", problem, DROPS_ONLY, rest)
        if found.documents.altered:
            altered = np.array(sorted(found.documents.altered), dtype=np.int64)
            problem = f"text or metadata of {len(altered)} documents are not as they were written"
            self._add("damage", f"{CATALOG}: documents", problem, DROPS_ONLY, altered)
        if found.documents.misfiltered or found.documents.strays:
            wrong = np.array(found.documents.misfiltered, dtype=np.int64)
            problem = (
                f"filters see of {len(wrong)} documents what is not in their metadata; "
                f"{found.documents.strays} rows are of no document"
            )
            remedy = f"{REPAIR} makes the table anew from the documents; none is lost"
            self._add("damage", f"{CATALOG}: metadata", problem, remedy, wrong)
        self._tombstones(stones, known, owned)

    def _one_place_each(self) -> None:
        """A document lies in one segment; where it lies in several, the latest has it."""
        seen = np.empty(0, dtype=np.int64)
        for state in reversed(self._found.segments):
            held = state.held
            if state.fate == "lost" or held is None:
                continue
            twice = np.intersect1d(seen, held)
            if len(twice) and state.listed:
                state.without = twice
                if state.fate in ("keep", "list"):
                    state.fate = "lists"
                problem = f"holds {len(twice)} documents that a later segment holds too"
                where = f"{SEGMENTS}/{state.record.segment:08d}"
                self._add("damage", where, problem, REMAKES, twice)
                self._whole.pop(state.record, None)
            seen = np.union1d(seen, held)

    def _spans(self) -> None:
        """Passages lie within their texts."""
        known, lengths = self._found.documents.numbers, self._found.documents.lengths
        if len(known) == 0:
            return
        for state in self._found.segments:
            spans = state.spans
            if state.fate == "lost" or spans is None or state.numbers is None:
                continue
            at = np.minimum(np.searchsorted(known, state.numbers), len(known) - 1)
            bound = np.where(known[at] == state.numbers, lengths[at], -1)
            strange = (bound >= 0) & (spans[:, 1] > bound)
            if state.intact is not None:
                strange &= state.intact.passages
            beyond = np.unique(state.numbers[strange])
            for number in np.setdiff1d(beyond, list(self._found.documents.altered)).tolist():
                self._found.documents.altered[number] = ""
                where = f"{SEGMENTS}/{state.record.segment:08d}"
                problem = "a passage ends after its text"
                self._add("damage", where, problem, DROPS_ONLY, [number])

    def _living(self, state: SegmentState) -> Int64:
        if state.numbers is None:
            return np.empty(0, dtype=np.int64)
        return np.intersect1d(state.numbers, self._found.documents.numbers)

    def _tombstones(self, stones: Int64, known: Int64, owned: Int64) -> None:
        where = f"{CATALOG}: tombstones"
        self._found.tombstones = np.setdiff1d(owned, known)
        hidden = np.intersect1d(stones, known)
        if len(hidden):
            problem = f"{len(hidden)} documents are there and marked as deleted"
            remedy = f"{REPAIR} removes the marks: the documents are found again"
            self._add("damage", where, problem, remedy, hidden)
        unmarked = np.setdiff1d(self._found.tombstones, stones)
        if len(unmarked):
            problem = f"passages of {len(unmarked)} documents that the catalog does not know"
            self._add("damage", where, problem, f"{REPAIR} marks them as deleted")
        lost = any(s.fate == "lost" or s.intact is not None for s in self._found.segments)
        idle = np.setdiff1d(np.setdiff1d(stones, owned), known)
        if len(idle) and not lost:
            problem = f"{len(idle)} marks of deleted documents that no segment holds"
            self._add("leftover", where, problem, f"none: harmless; {REPAIR} removes them")

    def _dimension(self) -> None:
        """All vectors of a collection have one dimension; those of another cannot be searched."""
        tokens: dict[int, int] = {}
        for state in self._found.segments:
            if state.fate != "lost":
                tokens[state.record.dim] = tokens.get(state.record.dim, 0) + state.record.tokens
        dim = self._found.settings.get("dim")
        self._found.dim = dim
        if not tokens:
            return
        if dim not in tokens:
            self._found.dim = max(tokens, key=lambda size: (tokens[size], size))
            if self._found.settings:
                problem = f"says {dim} dimensions, the segments have {self._found.dim}"
                remedy = f"{REPAIR} corrects it"
                self._add("damage", f"{CATALOG}: settings", problem, remedy)
        for state in self._found.segments:
            if state.fate != "lost" and state.record.dim != self._found.dim:
                state.problems[""] = (
                    f"has vectors of {state.record.dim} dimensions, others {self._found.dim}"
                )
                state.fate = "lost"
                self._whole.pop(state.record, None)

    # Saying -------------------------------------------------------------------------------------

    def _add(
        self, kind: Kind, where: str, problem: str, remedy: str, numbers: Iterable[int] = ()
    ) -> None:
        self._say.add(kind, where, problem, remedy, numbers)

    def _tell_stage(self, stage: str, done: int, total: int) -> None:
        if self._report is not None:
            self._report(UpkeepProgress(stage, done, total))


def _short(error: Exception, path: Path) -> str:
    return " ".join(str(error).removeprefix(f"{path}: ").split())
