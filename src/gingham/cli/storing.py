"""Documents into an open collection, with a bar and an honest word when interrupted.

What `add` and `demo` have in common. Nothing here knows where the documents are from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from gingham.cli import console

if TYPE_CHECKING:
    from gingham.collection import Collection
    from gingham.document import Document
    from gingham.report import OptimizeProgress, Progress


def store(
    collection: Collection,
    documents: Iterable[Document],
    bar: console.Bar,
    done: Callable[[], float],
) -> Progress | None:
    """Add the documents, telling the bar after each commit what is durable.

    Args:
        collection: open for writing.
        documents: drawn one by one.
        bar: told how much is `done`, and what is stored.
        done: how much of the bar's total has been read.

    Returns:
        The last report; None where there was no document.

    Raises:
        KeyboardInterrupt: with the line to show, which says what is stored.
    """
    last: Progress | None = None
    start = time.perf_counter()

    def progress(now: Progress) -> None:
        nonlocal last
        last = now
        remark = f"{console.plural(now.documents, 'document')} stored"
        if now.tokens:
            rate = now.tokens / (time.perf_counter() - start)
            remark += f", {console.number(rate)} tokens/s"
        bar.update(done(), remark)

    def coding(now: OptimizeProgress) -> None:
        bar.update(done(), f"all stored; compressing: {console.stage(now)}")

    try:
        collection.add(documents, progress=progress, coding=coding)
    except KeyboardInterrupt:
        count = last.documents if last else 0
        raise KeyboardInterrupt(
            f"interrupted: {console.plural(count, 'document')} of this run "
            f"{'is' if count == 1 else 'are'} stored; the same command continues from there"
        ) from None
    return last
