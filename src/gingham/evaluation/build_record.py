"""The file that stands beside a cached index: whether it is whole, and what it has cost so far."""

from __future__ import annotations

import contextlib
import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """The state of one cached index.

    Attributes:
        complete: it may be used; else it is built on.
        seconds: of all attempts together; what a killed one did since its last report is not in.
        threads: of the last attempt.
        peak_bytes: the most resident memory of any attempt that ended; None where unknown.
    """

    complete: bool
    seconds: float
    threads: int
    peak_bytes: int | None

    @classmethod
    def after(
        cls,
        before: BuildRecord | None,
        seconds: float,
        threads: int,
        peak_bytes: int | None = None,
        *,
        complete: bool = False,
    ) -> BuildRecord:
        """The record of an earlier attempt, if there was one, and of this one."""
        earlier, peak = (before.seconds, before.peak_bytes) if before else (0.0, None)
        highest = max(peak or 0, peak_bytes or 0) or None
        return cls(complete, earlier + seconds, threads, highest)

    @classmethod
    def read(cls, path: Path) -> BuildRecord | None:
        """What an attempt wrote; None where there is nothing, or nothing that can be understood."""
        with contextlib.suppress(OSError, ValueError, TypeError, OverflowError, RecursionError):
            record = cls(**json.loads(path.read_text(encoding="utf-8")))
            numbers = (record.seconds, record.threads, record.peak_bytes or 0)
            if isinstance(record.complete, bool) and all(map(math.isfinite, numbers)):
                return record
        return None

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self)))
        os.replace(temporary, path)
