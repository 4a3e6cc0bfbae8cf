"""`gingham check`: is a collection whole, what is wrong, and its repair."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gingham.cli import console
from gingham.cli.options import CollectionPath, Json

if TYPE_CHECKING:
    from gingham.upkeep.values import Check, Finding, Repair

EXAMPLES = (
    "gingham check docs.gingham",
    "gingham check docs.gingham --json",
    "gingham check docs.gingham --repair --encode",
    "gingham check docs.gingham --repair --ids lost.txt",
)
FOUND = 1  # exit code
_SHOWN = 3  # ids


def check(
    collection: CollectionPath,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Keep what is intact, set aside what is not."),
    ] = False,
    encode: Annotated[
        bool,
        typer.Option(
            "--encode",
            help="With --repair: encode again the texts of documents whose vectors are lost.",
        ),
    ] = False,
    ids: Annotated[
        Path | None,
        typer.Option(
            "--ids",
            metavar="FILE",
            help="Write the ids of all affected documents to a file, one a line; with --repair "
            "those that are lost. An id with a line break is written as a JSON string.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Read all of a collection and say what is wrong, what it affects and what to do.

    Every checksum, every posting list, every document against its digest, and what each part says
    of the others; also of a collection that cannot be opened. Others may search and add meanwhile.
    Exit code 0: whole; 1: there are findings; 2: it could not be looked at.

    With --repair what is broken is moved to the folder damaged/ in the collection, never deleted.
    Of a damaged file only damaged blocks of 4096 bytes are lost: documents whose vectors are intact
    stay. Those whose vectors or texts are lost are dropped. With --encode the collection's model
    makes vectors anew of the texts that are there; interrupted, the same command goes on. Without,
    these texts are in a file that `gingham add` reads. Exit code 0: whole now.

    With --json one object: path, sound, findings (kind, where, problem, remedy, documents each),
    generation, documents, passages, tokens, segments, codebooks, bytes; with --repair: path, sound,
    findings, actions, dropped, aside, again, left, documents, kept, encoded, hindrance.
    """
    import gingham

    if encode and not repair:
        from gingham.errors import InputError

        raise InputError("--encode is for what a repair drops: give --repair too")
    if ids is not None:
        _check_file(ids)
    with console.Steps() as steps:

        def progress(now: gingham.UpkeepProgress) -> None:
            steps(now.stage, now.done, now.total, _remark(now.stage, now.done, now.total))

        found: Check | Repair
        if repair:
            found = gingham.repair(collection, encode=encode, progress=progress)
        else:
            found = gingham.check(collection, progress=progress)
    if isinstance(found, gingham.Repair):
        sound, affected = not found.left, list(found.dropped)
    else:
        sound = found.sound
        affected = [id for finding in found.findings for id in finding.documents]
    if ids is not None:
        _write_ids(ids, affected)
    if json:
        console.write_json({"sound": sound, **asdict(found)})
    elif isinstance(found, gingham.Repair):
        _write_repair(collection, found)
    else:
        _write_check(collection, found)
    if not sound:
        raise typer.Exit(FOUND)


def _remark(stage: str, done: int, total: int) -> str:
    if stage in ("vectors", "copying"):
        return f"{console.size(done)} of {console.size(total)}"
    return f"{done:,} of {total:,}"


def _write_check(collection: str, found: Check) -> None:
    for finding in found.findings:
        console.write(_line(finding))
    size = (
        f"{console.plural(found.documents, 'document')}, {console.number(found.tokens)} tokens in "
        f"{console.plural(found.segments, 'segment')}"
    )
    if found.sound:
        console.write(f"{collection}: whole: {size}; every checksum holds")
        return
    affected = {id for finding in found.findings for id in finding.documents}
    console.write(
        f"{collection}: {console.plural(len(found.findings), 'finding')}, "
        f"{console.plural(len(affected), 'document')} affected, of {size}"
    )


def _write_repair(collection: str, done: Repair) -> None:
    for finding in done.findings:
        console.write(_line(finding, with_remedy=False))
    for action in done.actions:
        console.write(f"repair    {action}")
    for finding in done.left:
        console.write(f"left: {_line(finding)}")
    if not done.findings and not done.actions and not done.encoded:
        console.write(f"{collection}: whole: nothing to repair")
        return
    state = "not whole yet" if done.left else "whole again"
    counts = [f"{done.kept:,} kept"]
    if done.encoded:
        counts.append(f"{len(done.encoded):,} encoded again")
    if done.dropped:
        counts.append(f"{len(done.dropped):,} lost: {_some(done.dropped)}")
    documents = console.plural(done.documents, "document")
    console.write(f"{collection}: {state}: {documents}: {', '.join(counts)}")
    if done.aside is not None:
        console.write(f"what was broken is in {done.aside}; delete it when it is no more needed")
    if done.hindrance is not None:
        console.write(f"could not be encoded again: {console.plain(done.hindrance)}")
    if done.again is not None:
        console.write(f"to add lost documents again: gingham add {collection} {done.again}")


def _line(finding: Finding, *, with_remedy: bool = True) -> str:
    affects = ""
    if finding.documents:
        count = console.plural(len(finding.documents), "document")
        affects = f"; affects {count}: {_some(finding.documents)}"
    remedy = f"; {finding.remedy}" if with_remedy and finding.remedy else ""
    line = f"{finding.where}: {finding.problem}{affects}{remedy}"
    return f"{finding.kind:<8}  {console.plain(line)}"


def _some(ids: Sequence[str]) -> str:
    more = ", …" if len(ids) > _SHOWN else ""
    return console.plain(", ".join(id[:60] for id in ids[:_SHOWN])) + more


def _check_file(path: Path) -> None:
    from gingham.errors import InputError

    if not path.parent.is_dir() or path.is_dir():
        raise InputError(f"cannot write {path}: name a file in a folder that exists")


def _write_ids(path: Path, ids: Iterable[str]) -> None:
    lines = (id if id.splitlines() == [id] else json_format.dumps(id) for id in dict.fromkeys(ids))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
