"""What a system costs: time a query, an index, memory. Values, and the gauge of memory.

Knows nothing of what is measured.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np

# Linux: writing 5 here starts the process's peak of resident memory anew (proc(5), clear_refs).
_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
# The kernel counts a process's pages by processor and adds them up now and then.
_SLACK = 4 << 20


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds that half, 95 % and 99 % of the queries stayed below."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Percentiles:
        """The percentiles of durations in seconds, at least one."""
        p50, p95, p99 = np.percentile(np.asarray(seconds) * 1000, (50, 95, 99)).tolist()
        return cls(p50, p95, p99)


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of queries that were asked one at a time, in milliseconds.

    Attributes:
        threads: how many the system was given.
        queries: how many were timed.
        k: how many hits were asked for.
        encode: query → vectors (or terms).
        search: vectors → hits.
        total: both.
    """

    threads: int
    queries: int
    k: int
    encode: Percentiles
    search: Percentiles
    total: Percentiles


@dataclass(frozen=True, slots=True)
class IndexCost:
    """What the index costs; None where it was not built here, or cannot be known.

    Attributes:
        seconds: to build it, encoding included, over all interrupted attempts.
        threads: that it was built with.
        documents: that can be found.
        tokens: token vectors, terms, or vectors.
        bytes: on disk, texts included where they are kept.
        peak_bytes: what building added to the resident memory of the process at most, the model
            included.
    """

    seconds: float | None
    threads: int | None
    documents: int
    tokens: int
    bytes: int
    peak_bytes: int | None

    @property
    def bytes_per_token(self) -> float:
        """Everything on disk, by token."""
        return self.bytes / self.tokens if self.tokens else 0.0

    def with_first_stage(self, first: IndexCost) -> IndexCost:
        """The cost of both indexes, one built after the other; tokens are this one's."""
        known = self.seconds is not None and first.seconds is not None
        peaks = [cost.peak_bytes for cost in (self, first) if cost.peak_bytes is not None]
        return replace(
            self,
            seconds=(self.seconds or 0.0) + (first.seconds or 0.0) if known else None,
            bytes=self.bytes + first.bytes,
            peak_bytes=max(peaks) if len(peaks) == 2 else None,
        )


class PeakMemory:
    """The most resident memory of this process within a `with` block, in bytes.

    On Linux the peak is that of the block. Elsewhere it is that of the process since its start, an
    upper bound, and None on Windows.

    Attributes:
        bytes: the peak; None before it was read, and where it cannot be known.
        added: the peak less what was resident when the block was entered; likewise.
    """

    def __init__(self) -> None:
        """Nothing is known before the block ends."""
        self.bytes: int | None = None
        self.added: int | None = None
        self._resident: int | None = None
        self._highest_before: int | None = None

    def __enter__(self) -> PeakMemory:
        """Give back what was freed earlier, and start the peak anew, where that is possible."""
        gc.collect()
        _trim()
        with contextlib.suppress(OSError):
            _CLEAR.write_text("5")
        self._resident = _status("VmRSS")
        self._highest_before = _status("VmHWM")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Read the peak."""
        self.read()

    def read(self) -> int | None:
        """Read the peak so far; what was added, for the records of whoever is still inside."""
        self.bytes = peak_resident()
        self.added = None
        if None not in (self.bytes, self._resident, self._highest_before):
            self.added = self._beyond(self.bytes or 0, self._resident or 0)
        return self.added

    def _beyond(self, peak: int, resident: int) -> int | None:
        # Where the peak cannot be started anew, an earlier and higher one hides that of the block.
        hidden = peak <= (self._highest_before or 0) and peak > resident + _SLACK
        return None if hidden else max(0, peak - resident)


def peak_resident() -> int | None:
    """The most resident memory of this process since its start, or since it was started anew."""
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status(field: str) -> int | None:
    """A line of Linux's account of this process, in bytes."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = _STATUS.read_text().splitlines()
        return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024
    return None


def _trim() -> None:
    """Let glibc return what was freed to the system; other C libraries have no such call."""
    with contextlib.suppress(ImportError, OSError, AttributeError, TypeError):
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
