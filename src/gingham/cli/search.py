"""`gingham search`: queries in, ranked passages out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gingham.cli import console
from gingham.cli.options import CollectionPath, Json, Model, Threads

if TYPE_CHECKING:
    from gingham.collection import Collection
    from gingham.ranking import Hit

EXAMPLES = (
    'gingham search docs.gingham "why does the sea rise twice a day?"',
    """gingham search docs.gingham "tides" -k 3 --where '{"lang": "en"}' --json""",
    "gingham search docs.gingham - --json < queries.txt",
)

# Queries that are encoded and answered together, when they come from standard input.
_BATCH = 64


def search(
    collection: CollectionPath,
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY",
            help="What to look for; - reads one query a line from standard input.",
            show_default=False,
        ),
    ] = "-",
    k: Annotated[int, typer.Option("-k", "--hits", min=1, help="How many hits to print.")] = 10,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help='A condition on the metadata, such as \'{"type": "pdf"}\'; only documents that '
            "meet it are found.",
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Score every passage, however long that takes.")
    ] = False,
    all_passages: Annotated[
        bool,
        typer.Option(
            "--all-passages",
            help="Rank every passage on its own, instead of each document by its best one.",
        ),
    ] = False,
    model: Model = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Print the passages that answer a query best.

    On a terminal the words that match are highlighted. With --json one line a hit: query, rank,
    id, score, text, span (characters of the document), metadata.
    """
    import gingham

    queries = iter([query]) if query != "-" else _read_queries()
    condition = _condition(where)
    with gingham.open(collection, model, threads=threads, read_only=True) as opened:
        while batch := list(islice(queries, _BATCH)):
            found = opened.search_many(
                batch, k, where=condition, exact=exact, group=not all_passages
            )
            for asked, hits in zip(batch, found, strict=True):
                if json:
                    for rank, hit in enumerate(hits, 1):
                        console.write_json(console.hit_record(asked, rank, hit))
                    continue
                if query == "-":
                    console.write(console.harmless(asked))
                write_hits(opened, asked, hits)
            sys.stdout.flush()


def write_hits(
    collection: Collection, query: str, hits: list[Hit], shown: int = console.SHOWN
) -> None:
    """Hits as people read them, the words that match highlighted."""
    if not hits:
        console.write("no hits")
    for rank, hit in enumerate(hits, 1):
        spans = (
            collection.explain_hit(query, hit).highlights(console.MATCH)
            if hit.text is not None and (console.has_colour() or len(hit.text) > shown)
            else []
        )
        console.write_hit(rank, hit, spans, shown)
        console.write()


def _read_queries() -> Iterator[str]:
    from gingham.errors import EmptyInputError, SourceError

    if sys.stdin.isatty():
        raise EmptyInputError(
            'no query: give one, as in gingham search docs.gingham "a question", or pipe them in'
        )
    count = 0
    try:
        for line in sys.stdin:
            if query := line.strip():
                count += 1
                yield query
    except UnicodeDecodeError as error:
        raise SourceError(f"standard input: not {error.encoding} ({error.reason})") from error
    if not count:
        raise EmptyInputError("no query on standard input: one a line is expected")


def _condition(where: str | None) -> dict[str, Any] | None:
    if where is None:
        return None
    import json

    from gingham.errors import FilterError, shown

    try:
        condition = json.loads(where)
    except (ValueError, RecursionError) as error:
        raise FilterError(f"--where is not JSON ({error}): got {shown(where)}") from None
    if not isinstance(condition, dict):
        raise FilterError(
            f'--where must be a JSON object such as {{"lang": "en"}}; got {shown(where)}'
        )
    return condition
