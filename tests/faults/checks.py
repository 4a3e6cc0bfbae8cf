"""What must be true of a collection after a crash or a failure, whatever it was doing."""

from __future__ import annotations

import shutil
from pathlib import Path

import gingham
from faults.workload import (
    EVERYTHING,
    LONG,
    TOLERANCE,
    WORKLOAD,
    Add,
    Delete,
    Moment,
    Ranking,
    Session,
    State,
    documents,
    expected_scores,
    metadata_of,
    queries,
)
from gingham import Collection, CollectionNotFoundError, Hit
from gingham.index.clustered_segment import ClusteredSegment
from gingham.index.layout import CATALOG, CODEBOOKS, LOCK, SEGMENTS, Component

NEW = documents("new", 0, 3)
Rebuilt = dict[frozenset[tuple[str, int]], list[Ranking]]


def held(collection: Collection) -> State:
    """The documents of a collection, each as it was added, found by a search for all of them."""
    hits = collection.search(queries()[0], k=1000, exact=True)
    state = {hit.id: int(hit.metadata["version"]) for hit in hits}
    assert len(hits) == len(state) == len(collection), (len(hits), len(state), len(collection))
    for hit in hits:
        assert hit.metadata == metadata_of(hit.id, state[hit.id]), hit.id
    return state


def check_search(collection: Collection, state: State) -> None:
    """Every search sees all of the documents and nothing else, with the scores of the formula."""
    for query in queries():
        expected = expected_scores(query, state)
        check_scores(collection.search(query, k=1000, exact=True, texts=False), expected)
    check_scores(collection.search(query, k=1000, texts=False), expected)
    even = collection.search(query, k=1000, where={"even": True}, texts=False)
    check_scores(
        even, {i: s for i, s in expected.items() if metadata_of(i, state[i])["even"] is True}
    )


def check_scores(hits: list[Hit], expected: dict[str, float]) -> None:
    assert {hit.id for hit in hits} == expected.keys()
    wrong = [(hit.id, hit.score) for hit in hits if abs(hit.score - expected[hit.id]) > TOLERANCE]
    assert not wrong, (wrong[0], expected[wrong[0][0]])


def rankings(collection: Collection) -> list[Ranking]:
    """Every document for every query, with its score to the last bit."""
    found = []
    for query in queries():
        exact = [(h.id, h.score) for h in collection.search(query, k=1000, exact=True, texts=False)]
        staged = collection.search(query, k=1000, parameters=EVERYTHING, texts=False)
        assert [(hit.id, hit.score) for hit in staged] == exact
        found.append(exact)
    return found


def compressible(state: State) -> State:
    """What can be compressed: all but what has too long a vector."""
    return {id: version for id, version in state.items() if version < LONG}


def rebuild(path: Path, state: State) -> list[Ranking]:
    """The rankings of a collection that is made of these documents at once, and compressed."""
    shutil.rmtree(path, ignore_errors=True)
    session = Session(path)
    if state:
        session.do(Add(tuple(sorted(state.items()))), lambda: None)
    session.collection.optimize(bits=8)
    found = rankings(session.collection)
    session.close()
    shutil.rmtree(path)
    return found


def check_files(collection: Collection, *, closed: bool = False) -> None:
    """Every file belongs to a listed segment or codebook, or is the catalog's or the lock."""
    path = collection.path
    allowed = {CATALOG, LOCK, SEGMENTS, CODEBOOKS}
    if not closed:
        allowed |= {f"{CATALOG}-wal", f"{CATALOG}-shm"}
    assert {entry.name for entry in path.iterdir()} <= allowed, sorted(path.iterdir())
    if closed:
        return
    files = set()
    for segment in collection._snapshot.segments:
        files |= {file.path for file in segment.files}
        if isinstance(segment, ClusteredSegment):
            files |= {file.path for file in segment.codebook.files}
    folders = {file.parent for file in files}
    there = [entry for kind in (SEGMENTS, CODEBOOKS) for entry in path.glob(f"{kind}/*")]
    assert set(there) == folders, sorted(set(there) ^ folders)
    inside = {file for folder in there for file in folder.iterdir()}
    files |= {folder / Component.CHECKSUMS.filename for folder in folders}
    assert inside == files, sorted(inside ^ files)


def check_crashed(
    path: Path, moments: list[Moment], acknowledged: int, rebuilt: Rebuilt, until: int | None
) -> None:
    """A process that worked on a collection is gone: it is before or after what it was doing.

    Args:
        path: of the collection.
        moments: see `timeline`.
        acknowledged: how many of them were.
        rebuilt: see `rebuild`, of each compressible state.
        until: the last operation to do then; where None only what was interrupted.
    """
    possible = [moment.state for moment in moments[acknowledged : acknowledged + 2]]
    reader: Collection | None = None
    try:
        reader = gingham.open(path, read_only=True, threads=1)
    except CollectionNotFoundError:
        assert acknowledged == 0
    found: State = {}
    if reader is not None:
        found = held(reader)
        assert found in possible, f"{len(found)} documents, not {[len(p) for p in possible]}"
        check_search(reader, found)
        reader.verify()

    session = Session(path)
    assert held(session.collection) == found
    reader = None  # it would keep the log from being folded

    # The next writer does it again, or for the first time, and cleans up.
    last = moments[min(acknowledged + 1, len(moments) - 1)].operation
    until = last if until is None else max(until, last)
    for operation in WORKLOAD[last : until + 1]:
        session.do(operation, lambda: None)
    state = next(moment.state for moment in reversed(moments) if moment.operation == until)
    session.do(Add(NEW), lambda: None)
    session.do(Delete(tuple(id for id, _ in NEW)), lambda: None)
    check_whole(session, state, rebuilt)


def check_whole(session: Session, state: State, rebuilt: Rebuilt) -> None:
    """Nothing is missing, leaked or damaged, and it searches as if it had been built at once."""
    collection = session.collection
    assert held(collection) == state
    check_search(collection, state)
    check_files(collection)
    state = compressible(state)
    session.do(Delete(tuple(held(collection).keys() - state.keys())), lambda: None)
    collection.optimize(bits=8)
    assert rankings(collection) == rebuilt[frozenset(state.items())]
    check_files(collection)
    collection.verify()
    session.close()
    check_files(collection, closed=True)
