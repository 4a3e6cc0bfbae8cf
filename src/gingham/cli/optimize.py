"""`gingham optimize`: a collection made smaller and faster."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from gingham.cli import console
from gingham.cli.options import CollectionPath, Json, Threads

if TYPE_CHECKING:
    from gingham.report import OptimizeProgress

EXAMPLES = (
    "gingham optimize docs.gingham",
    "gingham optimize docs.gingham --bits 2",
    "gingham optimize docs.gingham --json",
)


def optimize(
    collection: CollectionPath,
    bits: Annotated[
        int | None,
        typer.Option(help="Compress to residuals of so many bits a dimension: 1, 2, 4 or 8."),
    ] = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Join segments, compress, free the space of deleted documents.

    A collection of some 10,000 passages or more is compressed, if `add` has not done so already;
    with --bits a smaller one too. What is compressed stays as it is. Interrupted, it leaves what
    was there.

    With --json one object: segments_before, segments, bytes_before, bytes, bytes_per_token, bits
    (null where nothing is compressed), seconds.
    """
    import gingham

    try:
        gingham.open(collection, read_only=True).close()  # one that is not there is not created
    except gingham.CollectionNotFoundError:
        raise
    except gingham.CollectionError:
        pass  # of an older format, which opening to write upgrades; whatever else it is, that says
    start = time.perf_counter()
    with gingham.open(collection, threads=threads) as opened, console.Steps() as steps:
        before = opened.info()

        def progress(now: OptimizeProgress) -> None:
            steps(now.stage, now.done, now.total, "")

        opened.optimize(bits=bits, progress=progress)
        after = opened.info()
    seconds = time.perf_counter() - start
    if json:
        console.write_json(
            {
                "segments_before": before.segments,
                "segments": after.segments,
                "bytes_before": before.bytes,
                "bytes": after.bytes,
                "bytes_per_token": round(after.bytes_per_token, 2),
                "bits": after.bits if after.clustered else None,
                "seconds": round(seconds, 3),
            }
        )
        return
    console.write(
        f"{collection}: {console.plural(before.segments, 'segment')} → {after.segments}, "
        f"{console.size(before.bytes)} → {console.size(after.bytes)} in {seconds:.1f} s"
    )
