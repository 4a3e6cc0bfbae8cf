"""A repair: what is intact stays, what is not is set aside, and the catalog says so in one commit.

Nothing is deleted that is not kept under `damaged/` in the collection. The order makes it safe to
be killed: what is broken is linked into `damaged/`, what is made anew is written, one transaction
(or one rename, where the catalog itself was damaged) lists what is whole, and only then do the
broken folders go. Killed before that, the collection is as broken as it was; after, it is whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gingham.codec.scalar import ScalarCodec
from gingham.errors import CollectionError, CorruptionError
from gingham.index.catalog import Catalog
from gingham.index.catalog_repair import (
    document_row,
    drop_documents,
    keep_settings,
    raw_settings,
    replace_lists,
    rewrite_metadata,
)
from gingham.index.codebook_files import open_codebook
from gingham.index.commit import writer_lock
from gingham.index.database import Database
from gingham.index.exchange import exchange, finish_exchange
from gingham.index.layout import (
    CATALOG,
    CODEBOOKS,
    DAMAGED,
    SEGMENTS,
    Component,
    codebook_folder,
    folder_digests,
    map_array,
    segment_folder,
    sync_folder,
)
from gingham.index.salvage import copy_catalog, salvage
from gingham.index.segment_writer import SegmentRecord
from gingham.upkeep.checking import LOST_CATALOG, check, collection_folder, misplaced_in
from gingham.upkeep.copying import Copied, link_tree, remove_tree
from gingham.upkeep.examining import Examination, Examiner
from gingham.upkeep.leftovers import children_of, entries_of, is_number
from gingham.upkeep.remaking import remake_clustered, remake_flat
from gingham.upkeep.restoring import restore_files
from gingham.upkeep.saved import AGAIN, ENCODING
from gingham.upkeep.segments import SegmentState
from gingham.upkeep.values import Finding, Repair, Report, UpkeepProgress

DOUBTFUL = "doubtful.jsonl"
_JOURNAL = f"{CATALOG}-journal"


def repair(
    path: str | os.PathLike[str], *, encode: bool = False, progress: Report | None = None
) -> Repair:
    """Keep what is intact and set aside what is not; see `gingham.repair`, which can encode.

    Args:
        path: the folder of the collection.
        encode: the caller will encode again what is dropped and has a text: it is noted down for
            that before it is dropped, so that whoever is killed can go on.
        progress: told how far it has come.

    Raises:
        CollectionNotFoundError: there is none.
        CorruptionError: nothing of the catalog can be read; nothing is changed then.
        LockedError: a writer is at work.
        VersionError: written by a newer gingham.
    """
    folder = collection_folder(path)
    for misplaced in misplaced_in(folder):
        raise CorruptionError(
            f"{folder / misplaced.where}: {misplaced.problem}; {misplaced.remedy}; nothing was "
            "changed"
        )
    with writer_lock(folder):
        repairer = _Repairer(folder, progress, ENCODING if encode else AGAIN)
        repairer.run()
    after = check(folder, progress=progress)
    return Repair(
        path=str(folder),
        findings=tuple(repairer.findings),
        actions=tuple(repairer.actions),
        dropped=tuple(repairer.dropped),
        aside=None if repairer.aside is None else str(repairer.aside),
        again=None if repairer.again is None else str(repairer.again),
        left=after.findings,
        documents=after.documents,
        kept=after.documents,
    )


@dataclass(slots=True)
class _Repairer:
    collection: Path
    report: Report | None
    saved: str  # file of the dropped documents that have a text
    findings: list[Finding] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    aside: Path | None = None
    again: Path | None = None

    def run(self) -> None:
        if finish_exchange(self.collection):
            self.actions.append("finished the repair that was interrupted")
        if not os.path.lexists(self.collection / CATALOG):
            raise CorruptionError(f"{self.collection / CATALOG}: missing; {LOST_CATALOG}")
        self._set_journal_aside()
        examiner = Examiner(self.collection, self.report)
        with contextlib.ExitStack() as stack:
            found = self._look(examiner, stack)
            if found is not None:
                catalog, examination = found
                if examination.findings:
                    self._mend(catalog, examination)
                return
        self._rebuild(examiner)

    def _look(
        self, examiner: Examiner, stack: contextlib.ExitStack
    ) -> tuple[Catalog, Examination] | None:
        """What is wrong; None where the catalog itself must be made anew."""
        try:
            # Read-only first, which refuses a newer or foreign catalog before anything is written.
            Database(self.collection, writable=False).close()
            catalog = Catalog(self.collection, writable=True)
            stack.callback(catalog.database.close)
            examination = examiner.examine(catalog, entries_of(self.collection))
        except CorruptionError as error:
            self.findings.append(Finding("damage", CATALOG, " ".join(str(error).split()), ""))
            return None
        self.findings += examination.findings
        return None if examination.must_rebuild else (catalog, examination)

    # The catalog anew ---------------------------------------------------------------------------

    def _rebuild(self, examiner: Examiner) -> None:
        """Read what can be read of the catalog into a new one, mend that, put it into place."""
        aside = self._aside()
        copy_catalog(self.collection, aside)
        work = aside / "work"  # SQLite changes what it opens: the copy that is kept stays as it is
        (work / "old").mkdir(parents=True)
        (work / "new").mkdir()
        try:
            copy_catalog(aside, work / "old")
            numbers = _document_numbers(self.collection)
            try:
                saved = salvage(work / "old", work / "new", numbers, set(self._numbers()))
            except CorruptionError as error:
                raise CorruptionError(
                    f"{self.collection / CATALOG}: {error}; {LOST_CATALOG}; nothing was changed"
                ) from error
            self.actions.append(
                f"made {CATALOG} anew: {saved.documents} documents could be read of the damaged one"
            )
            self.dropped += saved.lost
            catalog = Catalog(work / "new", writable=True)
            try:
                examination = examiner.examine(catalog, entries_of(self.collection))
                if examination.must_rebuild:
                    raise CorruptionError(
                        f"{self.collection / CATALOG}: {examination.findings[0].problem}; "
                        f"{LOST_CATALOG}; nothing was changed"
                    )
                self.findings += examination.findings
                self._mend(catalog, examination, work / "new" / CATALOG)
            finally:
                catalog.database.close()
        except CorruptionError:
            if not os.path.lexists(aside / _JOURNAL):
                remove_tree(aside)
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)

    # What is intact -----------------------------------------------------------------------------

    def _mend(self, catalog: Catalog, found: Examination, new: Path | None = None) -> None:
        """Keep what is intact, set the rest aside, in one commit.

        Args:
            catalog: to write to: the collection's, or a new one.
            found: what is wrong.
            new: the file of a new catalog, that takes the place of the collection's.
        """
        settings = _readable_settings(catalog, found)
        self._restore(found)
        records = self._remade(catalog, found, settings)
        kept_segments = {record.segment for record in records}
        books = {record.codebook for record in records}
        codebooks = [
            state.record
            for number, state in sorted(found.codebooks.items())
            if number in books and state.record is not None
        ]
        kept = {segment_folder(self.collection, number) for number in kept_segments}
        kept |= {codebook_folder(self.collection, book.codebook) for book in codebooks}
        gone = self._set_aside(found, kept)
        for entry in gone:
            if entry.parent in kept:  # no file of ours: the folder's digest is without it
                remove_tree(entry)
        dropped = sorted({*found.lost.tolist(), *found.documents.altered})
        self._save_documents(catalog, found, dropped)

        top = max([-1, *kept_segments, *self._numbers()])
        settings["next_segment"] = max(top + 1, settings.get("next_segment", 0))
        last = max([-1, *found.documents.numbers[-1:].tolist(), *found.tombstones[-1:].tolist()])
        settings["next_document"] = max(last + 1, settings.get("next_document", 0))
        settings["generation"] = settings.get("generation", 0) + 1
        if found.dim is not None:
            settings["dim"] = found.dim
        flat = {record.codec for record in records if record.codebook is None}
        if found.dim is not None and "codec" not in settings:
            settings["codec"] = min(flat, default="int8")
        digests: dict[str, str] = {}
        for folder in kept:
            digests |= folder_digests(folder.relative_to(self.collection).as_posix(), folder)
        with catalog.database.transaction():
            drop_documents(catalog, dropped)
            replace_lists(catalog, records, codebooks, _tombstones(found, dropped))
            if found.documents.misfiltered or found.documents.strays:
                rewrite_metadata(catalog)
            for key, value in settings.items():
                catalog.set_setting(key, value)
            catalog.keep_digests(digests)
        if new is not None:
            catalog.database.close()
            exchange(self.collection, new)
        for folder in gone:
            remove_tree(folder)
        self._say(found, len(dropped))

    def _restore(self, found: Examination) -> None:
        """Headers and checksums of blocks, in folders that stay."""
        staying = [book.files for book in found.codebooks.values() if not book.problems]
        staying += [s.files for s in found.segments if s.fate in ("keep", "list")]
        for files in staying:
            self.actions += restore_files(self.collection, files, self._aside)

    def _remade(
        self, catalog: Catalog, found: Examination, settings: dict[str, Any]
    ) -> list[SegmentRecord]:
        """The segments to list: those that are intact, and those made anew of intact files."""
        _, following = catalog.next_numbers()
        following = max([following, *(number + 1 for number in self._numbers())])
        codecs = [s.record.codec for s in found.segments if s.record.codebook is None]
        codec: ScalarCodec = "fp16" if "fp16" in [settings.get("codec"), *codecs] else "int8"
        records = []
        for done, state in enumerate(found.segments):
            if self.report is not None:
                self.report(UpkeepProgress("repairing", done, len(found.segments)))
            if state.fate in ("keep", "list"):
                records.append(state.record)
            elif state.fate != "lost":
                record = self._remake(following, state, found, codec)
                following += 1
                if record is not None:
                    records.append(record)
        return sorted(records, key=lambda record: record.segment)

    def _remake(
        self, number: int, state: SegmentState, found: Examination, codec: ScalarCodec
    ) -> SegmentRecord | None:
        where = f"{SEGMENTS}/{state.record.segment:08d}"
        remade = f"{SEGMENTS}/{number:08d}"
        left = "" if state.intact is None else ", without its damaged passages"
        if state.record.codebook is None:
            left = left or ", without what others hold"
            self.actions.append(f"copied {where} to {remade}{left}")
            return remake_flat(self.collection, number, state, None, codec)
        book = found.codebooks[state.record.codebook]
        if state.fate == "lists" and book.record is not None:
            self.actions.append(f"made the posting lists of {where} anew, in {remade}{left}")
            opened = open_codebook(self.collection, book.record)
            return remake_clustered(self.collection, number, state, opened)
        residuals = state.files.left(Component.RESIDUALS)
        assert residuals is not None
        coder = book.coder(state.record.dim, residuals.shape[1])
        self.actions.append(f"kept the vectors of {where}, uncompressed, in {remade}{left}")
        return remake_flat(self.collection, number, state, coder, codec)

    def _numbers(self) -> list[int]:
        """All numbers that folders have, so that none is given twice."""
        return [
            int(entry.name)
            for kind in (SEGMENTS, CODEBOOKS)
            for entry in children_of(self.collection / kind)
            if is_number(entry.name)
        ]

    # What is not --------------------------------------------------------------------------------

    def _aside(self) -> Path:
        """The folder of this repair, made when it is first needed."""
        if self.aside is None:
            home = self.collection / DAMAGED
            home.mkdir(exist_ok=True)
            taken = [int(e.name) for e in children_of(home) if e.name.isdigit()]
            self.aside = home / f"{max(taken, default=0) + 1:04d}"
            self.aside.mkdir()
            sync_folder(home)
            sync_folder(self.collection)
        return self.aside

    def _set_journal_aside(self) -> None:
        journal = self.collection / _JOURNAL
        if os.path.lexists(journal):
            self.findings.append(Finding("damage", _JOURNAL, "gingham makes no such file", ""))
            journal.rename(self._aside() / _JOURNAL)
            self.actions.append(f"set aside {_JOURNAL}")

    def _set_aside(self, found: Examination, kept: set[Path]) -> list[Path]:
        """Link into `damaged/` all that will not be listed, which may go after the commit."""
        gone = [
            folder
            for kind in (SEGMENTS, CODEBOOKS)
            for folder in children_of(self.collection / kind)
            if folder not in kept
        ]
        gone += [entry for entry in found.leftovers if entry.parent not in gone]
        gone = sorted(set(gone))
        for entry in gone:
            target = self._aside() / entry.relative_to(self.collection)
            target.parent.mkdir(parents=True, exist_ok=True)
            link_tree(entry, target, Copied())
            sync_folder(target.parent)
            self.actions.append(f"set aside {entry.relative_to(self.collection).as_posix()}")
        return gone

    def _save_documents(self, catalog: Catalog, found: Examination, dropped: list[int]) -> None:
        """What the catalog had of the documents that it will have no longer, for `gingham add`."""
        if not dropped:
            return
        names = {self.saved: 0, DOUBTFUL: 0}
        with contextlib.ExitStack() as stack:
            files = {
                name: stack.enter_context((self._aside() / name).open("w", encoding="utf-8"))
                for name in names
            }
            for number in dropped:
                row = document_row(catalog, number)
                if row is None:
                    continue
                id, text, metadata = row
                self.dropped.append(str(id))
                name = DOUBTFUL if number in found.documents.altered else self.saved
                if name == self.saved and not (text or "").strip():
                    continue  # only its vectors were ever known
                if name == self.saved:
                    metadata = json.loads(metadata)
                record = {"_id": id, "text": text, "metadata": metadata}
                files[name].write(json.dumps(record, default=repr) + "\n")
                names[name] += 1
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        for name, count in names.items():
            if count == 0:
                (self._aside() / name).unlink()
        sync_folder(self._aside())
        if names[self.saved]:
            self.again = self._aside() / self.saved

    def _say(self, found: Examination, dropped: int) -> None:
        if dropped:
            self.actions.append(f"dropped {dropped} documents whose vectors or texts are lost")
        if found.documents.misfiltered or found.documents.strays:
            self.actions.append("made anew what filters see")
        if any(state.fate == "list" for state in found.segments):
            self.actions.append("corrected the list of segments")


def _readable_settings(catalog: Catalog, found: Examination) -> dict[str, Any]:
    """The settings that make sense; others are forgotten, in a commit of its own."""
    if not found.settings:
        with catalog.database.transaction():
            keep_settings(catalog, raw_settings(catalog))
    return catalog.settings()


def _document_numbers(collection: Path) -> Iterator[int]:
    """Numbers of the documents that segments hold, as far as files can be read, whole or not."""
    for folder in children_of(collection / SEGMENTS):
        for component, columns in ((Component.PASSAGES, 3), (Component.NUMBERS, 1)):
            with contextlib.suppress(CollectionError, OSError):
                rows = map_array(folder, component, columns).rows
                yield from np.unique(rows[:, 0] if columns > 1 else rows).tolist()


def _tombstones(found: Examination, dropped: list[int]) -> list[int]:
    """Documents that segments hold and the catalog does not, or will not."""
    held = [s.held for s in found.segments if s.fate != "lost" and s.held is not None]
    numbers = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *held]))
    living = np.setdiff1d(found.documents.numbers, np.array(dropped, dtype=np.int64))
    tombstones: list[int] = np.setdiff1d(numbers, living).tolist()
    return tombstones
