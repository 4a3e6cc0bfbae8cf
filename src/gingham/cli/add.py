"""`gingham add`: files into a collection, with progress that is true after a kill."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gingham.cli import console
from gingham.cli.options import CollectionPath, Json, Model, Threads
from gingham.cli.storing import store
from gingham.splitting import PASSAGE_LENGTH

if TYPE_CHECKING:
    from gingham.sources import Report

EXAMPLES = (
    "gingham add docs.gingham ./notes report.pdf",
    "gingham add docs.gingham faq.csv --text-field answer --id-field number",
    "zcat corpus.jsonl.gz | gingham add docs.gingham -",
)


def add(
    collection: CollectionPath,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCES",
            help="Files, folders, or - for standard input.",
            show_default=False,
        ),
    ],
    model: Model = None,
    text_field: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The field or column with the text; by default the first of text, contents, "
            "body, passage, content.",
        ),
    ] = None,
    id_field: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The field or column with the id; by default the first of _id, id, doc_id, "
            "docid, pid, else file and line.",
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The encoding of text files, such as latin-1; by default UTF-8.",
        ),
    ] = None,
    keep_going: Annotated[
        bool,
        typer.Option("--keep-going", help="Pass over files that cannot be read, and list them."),
    ] = False,
    passage_length: Annotated[
        int,
        typer.Option(
            metavar="TOKENS",
            help="Split longer texts into passages of at most so many tokens, or of as many as the "
            "model takes if that is less. A collection keeps what it was begun with.",
        ),
    ] = PASSAGE_LENGTH,
    titles: Annotated[
        bool,
        typer.Option(
            "--titles/--no-titles",
            help="Encode the title of a long text, its first line, in front of each of its "
            "passages. A collection keeps what it was begun with.",
        ),
    ] = True,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Add files to a collection; create it on first use.

    Reads JSON lines, TSV, CSV, plain text, Markdown, HTML and PDF (one document a page), BEIR
    folders (corpus.jsonl) and MS MARCO (collection.tsv). A title goes in front of the text; other
    fields become metadata. Folders are read with all their subfolders; hidden files and files of
    other kinds are passed over.

    Files are named by their path as it is given, records by their id. What is already there and
    has not changed is skipped, what has changed is replaced: after an interruption the same
    command continues.

    With --json one object: collection, read, skipped, passages, tokens, documents (now in the
    collection), empty, other_files, unreadable, seconds.
    """
    import gingham
    from gingham.sources import SourceOptions, Sources

    # First what can be wrong with the command: no collection is made for a file that is not there.
    documents = Sources(
        sources, SourceOptions(text_field, id_field, encoding, keep_going=keep_going)
    )
    report = documents.report
    start = time.perf_counter()
    opening = gingham.open(
        collection, model, threads=threads, passage_length=passage_length, titles=titles
    )
    with (
        opening as opened,
        console.Bar("adding", report.bytes_total or None) as bar,
    ):
        last = store(opened, documents, bar, lambda: report.bytes_read)
        total = len(opened)
    record = {
        "collection": collection,
        "read": last.documents if last else 0,
        "skipped": last.skipped if last else 0,
        "passages": last.passages if last else 0,
        "tokens": last.tokens if last else 0,
        "documents": total,
        "empty": report.empty,
        "other_files": dict(report.skipped.most_common()),
        "unreadable": report.unreadable,
        "seconds": round(time.perf_counter() - start, 3),
    }
    if json:
        console.write_json(record)
        return
    _write(record, report)


def _write(record: dict[str, Any], report: Report) -> None:
    new = record["read"] - record["skipped"]
    console.write(
        f"{record['collection']}: {console.plural(new, 'document')} added or replaced "
        f"({console.plural(record['passages'], 'passage')}, "
        f"{console.plural(record['tokens'], 'token')}) in {record['seconds']:.1f} s, "
        f"{console.number(record['skipped'])} unchanged; "
        f"now {console.plural(record['documents'], 'document')}"
    )
    if report.empty:
        console.note(f"left out, no text in them: {console.number(report.empty)}")
    if report.skipped:
        kinds = ", ".join(f"{name} {count}" for name, count in report.skipped.most_common(8))
        console.note(
            f"left out, of other kinds: {console.plural(report.skipped.total(), 'file')} ({kinds})"
        )
    for line in report.unreadable:
        console.note(f"left out: {line}")
