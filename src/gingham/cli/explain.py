"""`gingham explain`: why a document has its score, token by token."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gingham.cli import console
from gingham.cli.options import CollectionPath, Json, Model, Threads

if TYPE_CHECKING:
    from gingham.ranking import Explanation

_BAR = 24

EXAMPLES = (
    'gingham explain docs.gingham "why does the sea rise twice a day?" notes/tides.md',
    'gingham explain docs.gingham "tides" report.pdf#page=3 --json',
)


def explain(
    collection: CollectionPath,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What was asked.")],
    id: Annotated[str, typer.Argument(metavar="ID", help="The id of the document, as in a hit.")],
    model: Model = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Show, word by word, why a document has its score.

    The score of a passage is the sum, over the tokens of the query, of the similarity of the token
    of the passage that is most like it. The best passage of the document is explained.

    With --json one object: id, query, score, text, span, highlights (start, end, similarity), and
    matches (query_token, query_span, document_token, document_span, score, document_index).
    """
    import gingham

    with gingham.open(collection, model, threads=threads, read_only=True) as opened:
        explanation = opened.explain(query, id)
    if json:
        from dataclasses import asdict

        console.write_json({**asdict(explanation), "highlights": explanation.highlights()})
        return
    _write(explanation)


def _write(explanation: Explanation) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    colour = console.has_colour()
    terminal = Console(
        width=None if sys.stdout.isatty() else 100, no_color=not colour, highlight=False
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("query", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("document", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    from rich.text import Text

    for asked, answer, score, best in _rows(explanation):
        bar = "█" * round(max(0.0, best) * _BAR)
        table.add_row(
            Text(console.harmless(asked)),
            Text(console.harmless(answer)),
            f"{score:.2f}",
            Text(bar, style="green"),
        )
    table.add_section()
    table.add_row("sum", "", f"{explanation.score:.2f}", "")
    terminal.print(table)
    if explanation.text is not None:
        console.write(console.harmless(explanation.id))
        console.write_passage(
            explanation.text, explanation.highlights(console.MATCH), len(explanation.text)
        )


def _rows(explanation: Explanation) -> list[tuple[str, str, float, float]]:
    """A row a query token: its text, the answer, its share of the score, its mean similarity.

    Tokens that stand for no characters and repeat, as [MASK] does, share one row.
    """
    rows: list[tuple[str, str, float, float]] = []
    repeated: dict[str, list[float]] = {}
    for match in explanation.matches:
        if match.query_span == (0, 0):
            repeated.setdefault(match.query_token, []).append(match.score)
        else:
            rows.append((match.query_token, match.document_token, match.score, match.score))
    for token, scores in repeated.items():
        label = token if len(scores) == 1 else f"{token} × {len(scores)}"
        rows.append((label, "", sum(scores), sum(scores) / len(scores)))
    return rows
