"""`gingham optimize`: a collection made smaller and faster, its answers unchanged."""

from __future__ import annotations

import time

from gingham.cli import console
from gingham.cli.options import CollectionPath, Json

EXAMPLES = (
    "gingham optimize docs.gingham",
    "gingham optimize docs.gingham --json",
)


def optimize(collection: CollectionPath, json: Json = False) -> None:
    """Join segments, free the space of deleted documents.

    With --json one object: segments_before, segments, bytes_before, bytes, seconds.
    """
    import gingham

    with gingham.open(collection, read_only=True) as opened:
        before = opened.info()
    start = time.perf_counter()
    with gingham.open(collection) as opened:
        opened.optimize()
        after = opened.info()
    seconds = time.perf_counter() - start
    if json:
        console.write_json(
            {
                "segments_before": before.segments,
                "segments": after.segments,
                "bytes_before": before.bytes,
                "bytes": after.bytes,
                "seconds": round(seconds, 3),
            }
        )
        return
    console.write(
        f"{collection}: {console.plural(before.segments, 'segment')} → {after.segments}, "
        f"{console.size(before.bytes)} → {console.size(after.bytes)} in {seconds:.1f} s"
    )
