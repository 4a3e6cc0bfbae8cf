"""`gingham demo`: the standard library's documentation, indexed and asked, on any machine.

The collection is kept in the user's cache folder, so that a second run only asks. Beside it stands
a small file that says it is ours and, once complete, how many documents it has.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gingham.cache_folder import cache_folder
from gingham.cli import console
from gingham.cli.options import Json, Threads
from gingham.cli.search import write_hits
from gingham.cli.storing import store

if TYPE_CHECKING:
    from gingham.collection import Collection

# Few of their words are words of the answers.
QUESTIONS = (
    "read a csv file into dictionaries",
    "run a function every time the program exits",
    "measure how long a piece of code takes",
    "make a temporary folder that deletes itself",
    "the middle value of a list of numbers",
    "cache the result of an expensive call",
)
_HITS = 3
_SHOWN = 170

EXAMPLES = (
    "gingham demo",
    "gingham demo --path ./demo.gingham --fresh",
)


def demo(
    path: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Where to keep the collection; by default the user's cache folder."
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete the demo's collection and index again.")
    ] = False,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Index this Python's documentation and ask it.

    The documentation is that of the standard library. Takes about a minute the first time and a
    second or two after that. Nothing is downloaded. Interrupted, it continues where it was.

    With --json one line a hit, as in search, with the seconds that the search took.
    """
    from gingham.errors import ModelMismatchError

    folder = Path(path).expanduser() if path is not None else default_path()
    marker = folder.with_name(f"{folder.name}.json")
    if fresh:
        _delete(folder, marker)
    _claim(folder, marker)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not json:
        console.write(f"The documentation of Python {version}'s standard library, in {folder}")
    try:
        _run(folder, marker, threads, json)
    except ModelMismatchError as error:  # an earlier gingham's model made it
        if path is not None:
            raise ModelMismatchError(f"{error}; or run gingham demo --fresh") from error
        console.note("another model made it: indexing again")
        _delete(folder, marker)
        _claim(folder, marker)
        _run(folder, marker, threads, json)
    if not json:
        console.write("Next:")
        console.write(f'  gingham search {folder} "your question"')
        console.write(f'  gingham explain {folder} "{QUESTIONS[0]}" csv.DictReader')
        console.write("  gingham add docs.gingham ./notes    # your own files")


def default_path() -> Path:
    """The demo's place in the user's cache folder, one a version of Python and of gingham."""
    import gingham

    python = ".".join(map(str, sys.version_info[:3]))
    return cache_folder() / f"demo-{gingham.__version__}-python-{python}.gingham"


def _run(folder: Path, marker: Path, threads: int | None, as_json: bool) -> None:
    import gingham

    with gingham.open(folder, threads=threads) as opened:
        _index(opened, marker, quiet=as_json)
        _ask(opened, as_json)


def _index(collection: Collection, marker: Path, *, quiet: bool) -> None:
    import json

    if len(collection) and _expected(marker) == len(collection):
        return
    from gingham.sources.stdlib_docs import StandardLibrary

    library = StandardLibrary()
    start = time.perf_counter()
    with console.Bar("indexing", library.modules, quiet=quiet) as bar:
        last = store(collection, library, bar, lambda: library.done)
    marker.write_text(json.dumps({"gingham demo": True, "documents": len(collection)}))
    if last is not None and not quiet:
        console.write(
            f"Indexed {console.plural(len(collection), 'document')} "
            f"({console.plural(last.tokens, 'token')}) in {time.perf_counter() - start:.1f} s"
        )


def _ask(collection: Collection, as_json: bool) -> None:
    collection.search("load the model, so that its time is not the first question's", 1)
    if not as_json:
        console.write()
    for question in QUESTIONS:
        start = time.perf_counter()
        hits = collection.search(question, _HITS)
        seconds = time.perf_counter() - start
        if as_json:
            for rank, hit in enumerate(hits, 1):
                record = console.hit_record(question, rank, hit)
                console.write_json({**record, "seconds": round(seconds, 6)})
            continue
        console.write(f'"{question}"   {seconds * 1000:.1f} ms')
        write_hits(collection, question, hits, _SHOWN)


def _claim(folder: Path, marker: Path) -> None:
    """Write the marker before the collection: a folder without one is not the demo's."""
    import json

    from gingham.errors import InputError

    if marker.exists():
        return
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty and not the demo's: choose another --path")
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text(json.dumps({"gingham demo": True, "documents": None}))


def _delete(folder: Path, marker: Path) -> None:
    import shutil

    from gingham.errors import InputError

    if not folder.exists():
        return
    if not marker.exists():
        raise InputError(f"{folder} is not the demo's collection: it is not deleted")
    shutil.rmtree(folder)
    marker.unlink()


def _expected(marker: Path) -> int | None:
    import json

    with contextlib.suppress(OSError, ValueError):
        record = json.loads(marker.read_text())
        return record.get("documents") if isinstance(record, dict) else None
    return None
