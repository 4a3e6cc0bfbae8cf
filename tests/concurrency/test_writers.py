"""Two writers: one after the other, whoever they are, and after how long a wait."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

import gingham
from concurrency.scripts import line, run, start, tell
from gingham import Collection, InputError, LockedError
from gingham.index.writer import IndexWriter
from support import random_vectors

QUERY = random_vectors([3], seed=99)[0]

HOLDER = """
from pathlib import Path
from gingham.index.writer import IndexWriter

with IndexWriter(Path(sys.argv[1])):
    print("writing", flush=True)
    sys.stdin.readline()
print("done", flush=True)
"""


def attempt(collection: Collection) -> float:
    """How long a write is refused for."""
    begin = time.monotonic()
    with pytest.raises(LockedError, match="another writer is at work") as caught:
        collection.add(random_vectors([2]), ids=["refused"])
    assert "\n" not in str(caught.value)
    assert "refused" not in collection
    return time.monotonic() - begin


@pytest.mark.parametrize("timeout", [0, 0.4])
def test_a_second_writer_in_the_process_waits_as_long_as_it_was_told(
    collection: Collection, timeout: float
) -> None:
    other = gingham.open(collection.path, timeout=timeout)
    with IndexWriter(collection.path):
        assert timeout <= attempt(other) < timeout + 1
        assert len(other.search(QUERY, k=50)) == 40  # reading needs no turn
    other.add(random_vectors([2]), ids=["now"])


def test_a_second_writer_in_another_process_waits_as_long_as_it_was_told(
    collection: Collection,
) -> None:
    other = gingham.open(collection.path, timeout=0.4)
    holder = start(HOLDER, collection.path)
    assert line(holder) == "writing"
    assert 0.4 <= attempt(other) < 1.4
    tell(holder)
    holder.communicate()
    other.add(random_vectors([2]), ids=["now"])


@pytest.mark.parametrize("timeout", [60, None])
def test_a_wait_ends_as_soon_as_the_other_writer_has_finished(
    collection: Collection, timeout: float | None
) -> None:
    other = gingham.open(collection.path, timeout=timeout)
    holder = start(HOLDER, collection.path)
    assert line(holder) == "writing"
    threading.Timer(0.5, tell, [holder]).start()
    begin = time.monotonic()
    other.add(random_vectors([2]), ids=["after it"])
    assert 0.4 < time.monotonic() - begin < 20
    assert holder.communicate()[0] == "done\n"
    assert "after it" in other


def test_the_turn_of_a_killed_writer_is_free_at_once(collection: Collection) -> None:
    other = gingham.open(collection.path, timeout=0)
    holder = start(HOLDER, collection.path)
    assert line(holder) == "writing"
    attempt(other)
    holder.kill()
    holder.communicate()
    other.add(random_vectors([2]), ids=["now"])
    assert "now" in other


@pytest.mark.parametrize("timeout", [-1, float("nan"), "soon", True])
def test_a_timeout_is_seconds(tmp_path: Path, timeout: object) -> None:
    with pytest.raises(InputError, match="timeout is seconds"):
        gingham.open(tmp_path / "c", timeout=timeout)  # type: ignore[arg-type]
    assert not (tmp_path / "c").exists()


MAKER = """
import numpy as np
import gingham

name = sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
collection = gingham.open(sys.argv[1], timeout=60)
for i in range(8):
    vectors = gingham.TokenVectors.from_arrays([np.eye(16)[i : i + 3]])
    collection.add(vectors, ids=[f"{name}{i}"])
    assert f"{name}{i}" in collection
    if i == 5:
        collection.delete([f"{name}0"])
collection.close()
"""


def test_processes_that_create_and_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each sees what the others committed before: none takes a number or a place twice."""
    makers = [start(MAKER, tmp_path / "c", name) for name in "abcd"]
    for maker in makers:
        assert line(maker) == "ready"
    for maker in makers:
        tell(maker)
    for maker in makers:
        _, err = maker.communicate(timeout=100)
        assert maker.returncode == 0, err
    collection = gingham.open(tmp_path / "c")
    expected = {f"{name}{i}" for name in "abcd" for i in range(1, 8)}
    assert {hit.id for hit in collection.search(QUERY, k=100)} == expected
    assert collection.info().generation >= 4 * 9
    collection.verify()


FORKED_WRITER = """
import os, time
import numpy as np
import gingham

how = sys.argv[2]
collection = gingham.open(sys.argv[1])
children = []

def commit_made(progress):
    if children:
        return
    child = os.fork()
    children.append(child)
    if child == 0 and how == "stays":
        time.sleep(60)
        os._exit(0)
    if child == 0 and how == "leaves":
        sys.exit(0)  # by way of the writer's own frames
    if child == 0:
        try:
            collection.delete(["d3"])
        except gingham.LockedError:
            os._exit(3)
        os._exit(4)
    if how != "stays":
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

gingham.intake._BATCH_DOCUMENTS = 2
vectors = gingham.TokenVectors.from_arrays([np.eye(16)[i : i + 3] for i in range(6)])
collection.add(vectors, ids=[f"f{i}" for i in range(6)], progress=commit_made)
print(*children, len(collection), flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="cannot fork")
@pytest.mark.parametrize(("how", "code"), [("leaves", "0"), ("writes", "3")])
def test_a_child_forked_in_the_middle_of_a_write_neither_has_nor_frees_the_turn(
    collection: Collection, how: str, code: str
) -> None:
    writer = start(FORKED_WRITER, collection.path, how)
    assert line(writer) == code
    assert line(writer).split()[-1] == "46"
    _, err = writer.communicate("\n", timeout=20)
    assert (writer.returncode, err) == (0, "")
    collection.refresh()
    assert {f"f{i}" for i in range(6)} | {"d3"} <= {h.id for h in collection.search(QUERY, k=50)}
    collection.verify()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="cannot fork")
def test_a_child_that_outlives_the_writer_does_not_keep_its_turn(collection: Collection) -> None:
    other = gingham.open(collection.path, timeout=0.5)
    writer = start(FORKED_WRITER, collection.path, "stays")
    child = int(line(writer).split()[0])
    try:
        writer.kill()
        writer.wait()
        os.kill(child, 0)  # it is there still
        other.add(random_vectors([2]), ids=["now"])
    finally:
        os.kill(child, 9)
        writer.communicate()
    assert "now" in other


KILLED_INSIDE = """
import os
import numpy as np
import gingham
from gingham.index import segment_writer

collection = gingham.open(sys.argv[1])
def fork_and_die(self):
    child = os.fork()
    if child == 0:
        import time
        time.sleep(60)
    print(child, flush=True)
    os.kill(os.getpid(), 9)
segment_writer.SegmentWriter.finish = fork_and_die
collection.add(gingham.TokenVectors.from_arrays([np.eye(16)[:3]]), ids=["never"])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="cannot fork")
def test_a_writer_killed_in_a_write_with_a_child_alive_is_nobodys_turn(
    collection: Collection,
) -> None:
    other = gingham.open(collection.path, timeout=0.5)
    writer = start(KILLED_INSIDE, collection.path)
    child = int(line(writer))
    try:
        writer.wait()
        os.kill(child, 0)
        other.add(random_vectors([2]), ids=["now"])
    finally:
        os.kill(child, 9)
        writer.communicate()
    assert "now" in other
    assert "never" not in other


def test_nothing_but_the_lock_is_needed_to_write(collection: Collection) -> None:
    """A lock file that is gone, or that somebody wrote into, makes no difference."""
    (collection.path / "write.lock").unlink()
    collection.add(random_vectors([2]), ids=["a"])
    (collection.path / "write.lock").write_text("anything")
    collection.add(random_vectors([2]), ids=["b"])
    assert (collection.path / "write.lock").read_text() == "anything"
    assert {"a", "b"} <= {hit.id for hit in collection.search(QUERY, k=50)}


def test_two_collections_of_a_process_and_their_threads_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "c"
    gingham.open(path).close()
    out = run(
        """
import os
import threading
import numpy as np
import gingham

collections = [gingham.open(sys.argv[1], timeout=60) for _ in range(2)]
errors = []
def work(name, collection):
    try:
        for i in range(5):
            vectors = gingham.TokenVectors.from_arrays([np.eye(16)[i : i + 3]])
            collection.add(vectors, ids=[f"{name}-{i}"])
    except BaseException as error:
        errors.append(error)
threads = [threading.Thread(target=work, args=(n, collections[n % 2])) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not errors, errors
collections[0].refresh()
print(len(collections[0]))
""",
        path,
    )
    assert out == "20\n"
