"""The fault-injecting shim: how it is compiled, preloaded and spoken to. See shim.c."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent / "shim.c"

KILLS = ("kill", "after", "power", "torn", "eio-kill")
FAILURES = ("eio", "eio-on", "enospc", "enospc-on", "short")
MODES = KILLS + FAILURES
_WRITES = {"write", "pwrite", "writev", "pwritev", "copy_file_range", "sendfile"}


class CannotInjectError(Exception):
    """This machine cannot run the shim; the message says why."""


def compile_shim(folder: Path) -> Path:
    """Compile the shim into a folder.

    Raises:
        CannotInjectError: not Linux with glibc and 64 bits, or there is no C compiler.
    """
    if sys.platform != "linux" or sys.maxsize < 1 << 40:
        raise CannotInjectError("faults are injected by LD_PRELOAD, on 64-bit Linux only")
    configured = (sysconfig.get_config_var("CC") or "").split()[:1]
    names = [os.environ.get("CC", ""), *configured, "cc", "gcc", "clang"]
    compiler = next((path for name in names if name and (path := shutil.which(name))), None)
    if compiler is None:
        raise CannotInjectError("no C compiler: install one, or set CC")
    library = folder / "faults_shim.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    done = subprocess.run(
        [*command, "-o", str(library), str(SOURCE), "-ldl", "-lpthread"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the shim does not compile:\n{done.stderr}")
    return library


def preloading(library: Path) -> dict[str, str]:
    """This process's environment, with the shim before whatever is preloaded already."""
    others = os.environ.get("LD_PRELOAD")
    return {**os.environ, "LD_PRELOAD": f"{library} {others}" if others else str(library)}


def injecting(
    library: Path, root: Path, mode: str, at: int, seed: int = 0, trace: Path | None = None
) -> dict[str, str]:
    """An environment in which a process meets a fault at the `at`-th change under `root`."""
    return {
        **preloading(library),
        "FAULTS_ROOT": str(root),
        "FAULTS_MODE": mode,
        "FAULTS_AT": str(at),
        "FAULTS_SEED": str(seed),
        "FAULTS_TRACE": "" if trace is None else str(trace),
    }


@dataclass(frozen=True, slots=True)
class Call:
    """A counted call: its name, whether it takes room on the disk, and its path under the root."""

    name: str
    takes_room: bool
    path: str

    def can_meet(self, mode: str) -> bool:
        """Whether a fault of this mode means anything for this call."""
        if mode == "short":
            return self.name in _WRITES
        if mode == "eio-kill":  # what a failed fsync leaves must not come back half
            return self.name in ("fsync", "fdatasync")
        return self.takes_room if mode.startswith("enospc") else True


def read_trace(path: Path) -> list[Call]:
    """The calls of a trace file, in order."""
    calls = []
    for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        name, room, where = line.split(" ", 2)
        calls.append(Call(name, room == "1", where))
    return calls


def counted(calls: list[Call]) -> dict[str, int]:
    """How many there are of each name."""
    return dict(sorted(Counter(call.name for call in calls).items()))


class Shim:
    """The shim of this very process, which has it preloaded."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.faults_arm.argtypes = [
            ctypes.c_char_p,
            ctypes.c_long,
            ctypes.c_char_p,
            ctypes.c_ulong,
            ctypes.c_char_p,
        ]
        self._library.faults_disarm.restype = ctypes.c_long

    def arm(
        self, root: Path, mode: str = "none", at: int = 0, seed: int = 0, trace: Path | None = None
    ) -> None:
        """Count the changes under `root`; the `at`-th meets a fault."""
        traced = b"" if trace is None else os.fsencode(trace)
        if self._library.faults_arm(os.fsencode(root), at, mode.encode(), seed, traced) != 0:
            raise ValueError(f"mode {mode!r} is unknown, or the path {root} too long")

    def disarm(self) -> int:
        """Stop to count; how many calls there were."""
        return int(self._library.faults_disarm())
