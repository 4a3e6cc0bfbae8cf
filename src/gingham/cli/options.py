"""The arguments and options that several commands share, each with its sentence."""

from __future__ import annotations

from typing import Annotated

import typer

CollectionPath = Annotated[
    str, typer.Argument(metavar="COLLECTION", help="The folder of the collection.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of text, for other programs.")
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="How many processor cores to use; by default GINGHAM_THREADS, else all.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="The folder or Hugging Face name of the model; by default the collection's own, "
        "and for a new collection the one that comes with gingham.",
    ),
]
