"""A collection that was open before a fork, in the child and in the parent."""

from __future__ import annotations

import os

import pytest

import gingham
from concurrency.scripts import line, run, start, tell
from gingham import Collection
from support import random_vectors

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="cannot fork")

QUERY = random_vectors([3], seed=99)[0]

READING = """
import os
import numpy as np
import gingham

collection = gingham.open(sys.argv[1], read_only=sys.argv[2] == "read only")
query = np.eye(16, dtype=np.float32)[:3]
before = collection.search(query, k=50)

def wait(child):
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, code

for generation in range(3):  # children of children
    child = os.fork()
    if child:
        wait(child)
        assert collection.search(query, k=50) == before
        if generation:
            os._exit(0)
        break
    assert collection.search(query, k=50) == before
    assert len(collection.search_many(gingham.TokenVectors.from_arrays([query] * 3))) == 3
    assert collection.get("d3").metadata["n"] == 3
    collection.refresh()
    collection.verify()
    assert collection.search(query, k=50, where={"parity": "odd"})
else:
    collection.close()
    os._exit(0)
print("the same")
"""


@pytest.mark.parametrize("how", ["to write", "read only"])
def test_a_collection_opened_before_a_fork_reads_in_the_child(
    collection: Collection, how: str
) -> None:
    collection.close()
    assert run(READING, collection.path, how) == "the same\n"


WRITING = """
import os
import numpy as np
import gingham

collection = gingham.open(sys.argv[1], timeout=60)
def add(name):
    vectors = gingham.TokenVectors.from_arrays([np.eye(16)[:3]])
    for i in range(5):
        collection.add(vectors, ids=[f"{name}{i}"])
        assert f"{name}{i}" in collection
    collection.delete([f"{name}0"])

children = []
for name in "abc":
    child = os.fork()
    if child == 0:
        add(name)
        collection.close()
        os._exit(0)
    children.append(child)
add("p")
for child in children:
    assert os.waitpid(child, 0)[1] == 0
collection.refresh()
print(len(collection))
"""


def test_parent_and_children_write_in_turn(collection: Collection) -> None:
    assert run(WRITING, collection.path) == "56\n"
    collection.refresh()
    assert {f"{name}{i}" for name in "abcp" for i in range(1, 5)} <= {
        hit.id for hit in collection.search(QUERY, k=60)
    }
    collection.verify()


HOLDING = """
import os
import numpy as np
import gingham

collection = gingham.open(sys.argv[1])
query = np.eye(16, dtype=np.float32)[:3]
before = collection.search(query, k=50)
print("open", flush=True)
sys.stdin.readline()
child = os.fork()
if child == 0:
    # Later commits show: in a child a collection sees the latest.
    print(len(collection), flush=True)
    now = collection.search(query, k=90)
    sys.stdin.readline()
    assert collection.search(query, k=90) == now
    assert len(collection.search(query, k=90, where={"n": 1})) == 0
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert code == 0, code
assert collection.search(query, k=50) == before
assert collection.get("d1").metadata["n"] == 1
collection.verify()
print("parent the same", flush=True)
"""


def test_snapshots_of_parent_and_child_are_both_held(collection: Collection) -> None:
    """A writer that folds the log into the catalog, again and again, must leave both alone.

    Without locks of its own the child would see pages change under it; and a child that closed
    the parent's descriptors must not have freed the parent's locks.
    """
    process = start(HOLDING, collection.path)
    assert line(process) == "open"

    def write(name: str) -> None:
        for i in range(12):
            note = {"note": str(i) * 300_000}
            collection.add(random_vectors([2]), ids=[f"{name}{i}"], metadata=[note])

    collection.delete(["d1"])
    write("before")
    tell(process)
    assert line(process) == "51"
    write("after")
    collection.delete([f"before{i}" for i in range(12)])
    collection.optimize()
    write("after that")
    tell(process)
    assert line(process) == "parent the same"
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


BUSY = """
import os, threading, time
import numpy as np
import gingham

collection = gingham.open(sys.argv[1], timeout=60)
query = np.eye(16, dtype=np.float32)[:3]
stop = False
errors = []
def work(one):
    try:
        i = 0
        while not stop:
            one(i)
            i += 1
    except BaseException as error:
        errors.append(error)

vectors = gingham.TokenVectors.from_arrays([np.eye(16)[:3]])
def write(i):
    collection.add(vectors, ids=["busy"], metadata=[{"i": i}])
    if i % 5 == 4:
        collection.optimize()
    time.sleep(0.02)  # whoever writes without a pause leaves others little chance of a turn
def read(i):
    assert len(collection.search(query, k=60)) >= 40
def refresh(i):
    collection.refresh()
def verify(i):
    collection.verify()
works = (write, read, read, refresh, verify)
threads = [threading.Thread(target=work, args=(one,)) for one in works]
for thread in threads: thread.start()
forks = 0
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    child = os.fork()
    if child == 0:
        assert len(collection.search(query, k=60)) >= 40
        assert collection.get("d5").metadata["n"] == 5
        collection.refresh()
        if forks % 4 == 0:
            collection.add(vectors, ids=["of a child"])
        collection.close()
        os._exit(0)
    begin = time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - begin > 60:
            os.kill(child, 9)
            sys.exit("a child hangs")
        time.sleep(0.002)
    assert status == 0, os.waitstatus_to_exitcode(status)
    forks += 1
stop = True
for thread in threads: thread.join()
assert not errors, errors
assert len(collection) == 42, len(collection)
print(forks)
"""


def test_forks_in_the_middle_of_everything(collection: Collection) -> None:
    """Threads write, search, refresh and verify while children are forked, which do it too."""
    assert int(run(BUSY, collection.path, 4)) > 2
    collection.verify()


POOL = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
import gingham

collection = gingham.open(sys.argv[1])
collection.search("why is there a tide?")  # the encoder has run, and has threads

def ask(query):
    return [hit.id for hit in collection.search(query, k=2)]

context = multiprocessing.get_context("fork")
queries = ["the moon and the sea", "bread and yeast", "why is there a tide?"] * 4
with ProcessPoolExecutor(2, mp_context=context) as pool:
    answers = list(pool.map(ask, queries))
assert answers == [ask(query) for query in queries]
print(answers[0], answers[1])
"""


def test_the_encoder_works_in_forked_children(tmp_path: object) -> None:
    path = f"{tmp_path}/c"
    with gingham.open(path) as docs:
        docs.add(["The moon pulls at the sea.", "Yeast makes dough rise."], ids=["tide", "bread"])
    assert run(POOL, path) == "['tide', 'bread'] ['bread', 'tide']\n"
