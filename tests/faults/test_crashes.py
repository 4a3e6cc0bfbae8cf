"""The default sample of the crash campaign, the kills of the real commands, and a full disk.

`make crash` runs the campaign for every change of the disk and every mode, and many kills.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import gingham
from faults import kill_cli
from faults.shim import MODES, CannotInjectError, compile_shim, injecting, preloading, read_trace

TESTS = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS)}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim."""
    try:
        return compile_shim(tmp_path_factory.mktemp("shim").resolve())
    except CannotInjectError as error:
        pytest.skip(str(error))


CHANGES = """
import os, shutil, sys
os.chdir(sys.argv[1])
os.mkdir("box/a")
descriptor = os.open("box/a/x", os.O_CREAT | os.O_RDWR)
os.write(descriptor, b"synced")
os.fsync(descriptor)
os.pwrite(descriptor, b"SY", 0)
os.writev(descriptor, [b" and ", b"more"])
os.ftruncate(descriptor, 12)
shutil.copyfile("box/a/x", "box/a/y")
folder = os.open("box/a", os.O_RDONLY)
os.unlink("y", dir_fd=folder)
os.fsync(folder)
os.rename("box/a", "box/b")
os.remove("box/b/x")
os.rmdir("box/b")
open("elsewhere", "w").close()
open("box/last", "w").close()
"""
NAMES = (
    "mkdir open write fsync pwrite writev ftruncate open copy unlink fsync rename unlink rmdir open"
)


def after_changes(library: Path, folder: Path, mode: str, at: int) -> tuple[int, dict[str, bytes]]:
    """Run CHANGES with a fault: the exit status, and the files that are then in the box."""
    box = folder / "box"
    box.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CHANGES, str(folder)],
        env=injecting(library, box, mode, at, trace=folder / "trace"),
        stderr=subprocess.DEVNULL,
        check=False,
    )
    files = {
        path.relative_to(box).as_posix(): path.read_bytes()
        for path in box.rglob("*")
        if path.is_file()
    }
    return done.returncode, files


def test_the_shim_sees_every_change(library: Path, tmp_path: Path) -> None:
    status, files = after_changes(library, tmp_path, "none", 0)
    assert (status, files) == (0, {"last": b""})
    names = [call.name for call in read_trace(tmp_path / "trace")]
    copies = {"sendfile", "copy_file_range", "write"}
    seen = ["copy" if name in copies and i == 8 else name for i, name in enumerate(names)]
    assert seen == NAMES.split()


@pytest.mark.parametrize(
    ("mode", "at", "status", "files"),
    [
        ("kill", 3, -9, {"a/x": b""}),
        ("after", 3, -9, {"a/x": b"syn"}),
        ("kill", 5, -9, {"a/x": b"synced"}),
        ("after", 5, -9, {"a/x": b"Synced"}),
        ("after", 7, -9, {"a/x": b"SYnced and m"}),
        ("short", 3, 0, {"last": b""}),
        ("eio", 4, 1, {"a/x": b"synced"}),
        ("enospc", 8, 1, {"a/x": b"SYnced and m"}),
        ("power", 3, -9, {}),
        ("power", 7, -9, {}),  # nobody made the name of the file durable
    ],
)
def test_the_shim_does_what_it_says(
    library: Path, tmp_path: Path, mode: str, at: int, status: int, files: dict[str, bytes]
) -> None:
    assert after_changes(library, tmp_path, mode, at) == (status, files)


DURABLY = """
import os, sys
os.chdir(sys.argv[1])
def sync(name):
    descriptor = os.open(name, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
os.mkdir("box/a")
with open("box/a/x", "w") as file:
    file.write("old")
with open("box/a/y", "w") as file:
    file.write("kept")
for name in ("box/a/x", "box/a/y", "box/a", "box"):
    sync(name)
with open("box/a/x", "r+") as file:
    file.write("new data")
os.rename("box/a", "box/b")
os.remove("box/b/y")
open("box/b/z", "w").close()
with open("box/synced", "w") as file:
    file.write("but without a name")
    file.flush()
    os.fsync(file.fileno())
os.mkdir("box/last")
"""


def test_power_loss_forgets_what_was_not_synced(library: Path, tmp_path: Path) -> None:
    box, trace = tmp_path / "box", tmp_path / "trace"
    for mode, at in (("none", 0), ("power", -1)):
        shutil.rmtree(box, ignore_errors=True)
        box.mkdir()
        if mode == "power":
            at = len(read_trace(trace))  # the last
        subprocess.run(
            [sys.executable, "-c", DURABLY, str(tmp_path)],
            env=injecting(library, box, mode, at, trace=trace),
            check=mode == "none",
        )
    found = {path.relative_to(box).as_posix() for path in box.rglob("*")}
    assert found == {"a", "a/x", "a/y"}
    assert (box / "a" / "x").read_text() == "old"
    assert (box / "a" / "y").read_text() == "kept"


FAILED_COMMIT = """
import os, sys
from pathlib import Path
import gingham
from faults.shim import Shim
from support import random_vectors

box, at, trace = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
collection = gingham.open(box / "c")
collection.add(random_vectors([2]), ids=["first"])
shim = Shim()
shim.arm(box, "eio", at, trace=trace)
try:
    collection.add(random_vectors([2], seed=1), ids=["failed"])
except gingham.CollectionError:
    assert at
collection.delete("nobody", missing_ok=True)  # a writer that removes what the failed one left
os.kill(os.getpid(), 9)
"""


def test_a_commit_that_failed_does_not_come_back_without_its_files(
    library: Path, tmp_path: Path
) -> None:
    """Its fsync failed, so it is in the log all the same: whoever recovers the log may find it."""
    trace, at = tmp_path / "trace", 0
    for attempt in ("counted", "failed"):
        box = tmp_path / attempt
        box.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", FAILED_COMMIT, str(box), str(at), str(trace)],
            env={**preloading(library), "PYTHONPATH": str(TESTS)},
            check=False,
        )
        assert done.returncode == -9
        if attempt == "counted":
            syncs = [
                number
                for number, call in enumerate(read_trace(trace), 1)
                if call.name in ("fsync", "fdatasync") and call.path.endswith("-wal")
            ]
            at = syncs[0]
    with gingham.open(box / "c", read_only=True) as opened:
        assert "first" in opened
        assert "failed" not in opened
        opened.verify()


CREATED = """
import sys
from pathlib import Path
import gingham
from faults.shim import Shim
from support import random_vectors

box = Path(sys.argv[1])
shim = Shim()
shim.arm(box)
gingham.open(box / "0").close()
calls, refused = shim.disarm(), 0
for number in range(1, calls + 1):
    path = box / str(number)
    shim.arm(box, "eio", number)
    try:
        collection = gingham.open(path)
    except gingham.CollectionError as error:
        assert not isinstance(error, gingham.CorruptionError), error
        refused += 1
        collection = gingham.open(path)
    shim.disarm()
    collection.close()
    collection = gingham.open(path)
    collection.add(random_vectors([2]), ids=["first"])
    collection.close()
    left = {entry.name for entry in path.iterdir()}
    assert left == {"catalog.sqlite", "write.lock", "segments", "codebooks"}, (number, left)
print(refused)
"""


def test_creating_a_collection_fails_with_our_error_or_not_at_all(
    library: Path, tmp_path: Path
) -> None:
    """Every change of the disk on the way fails once; the next try succeeds, and leaks nothing."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path  # many real fsyncs else
    with tempfile.TemporaryDirectory(prefix="gingham-faults-", dir=shared) as box:
        done = subprocess.run(
            [sys.executable, "-c", CREATED, str(Path(box).resolve())],
            env={**preloading(library), "PYTHONPATH": str(TESTS)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 10


def test_a_sample_of_all_crashes_and_failures(library: Path, tmp_path: Path) -> None:
    """What was acknowledged is there, what was not is there wholly or not at all; nothing leaks."""
    done = subprocess.run(
        [sys.executable, "-m", "faults.campaign", "--points", "12", "--jobs", "2"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["tried"] == dict.fromkeys(MODES, 12)
    assert report["found"] == []
    assert report["operations_failed"] > 12


@pytest.mark.slow
def test_killed_commands_are_before_or_after(tmp_path: Path) -> None:
    report = kill_cli.campaign(tmp_path.resolve(), kills=1, seed=1)
    assert sum(report["killed"].values()) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small file system in memory")
def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=3m none {tmp_path}"
    unshare = [
        "unshare",
        "--mount",
        *([] if os.geteuid() == 0 else ["--map-root-user"]),
        "sh",
        "-c",
    ]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare: cannot mount a small file system of its own")
    allowed = subprocess.run([*unshare, mount], capture_output=True, text=True, check=False)
    if allowed.returncode != 0:
        pytest.skip(f"may not mount a small file system: {allowed.stderr.strip()}")
    command = f"{mount} && exec {sys.executable} -m faults.full_disk {tmp_path}"
    done = subprocess.run(
        [*unshare, command], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["refused"] > 20
    assert all("space" in said for said in report["command_said"]), report
