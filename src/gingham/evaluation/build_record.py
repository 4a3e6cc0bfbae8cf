"""The file that stands beside a cached index: whether it is whole, and what it has cost so far."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from gingham.evaluation.atomic import replacing


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """The state of one cached index.

    Attributes:
        complete: it may be used; else it is built on.
        seconds: of all attempts together; what a killed one did since its last report is not in.
            None where the record of an attempt was lost, from then on.
        threads: of the last attempt.
        peak_bytes: the most memory that any attempt that ended needed; None where unknown.
    """

    complete: bool
    seconds: float | None
    threads: int
    peak_bytes: int | None

    @classmethod
    def lost(cls, threads: int) -> BuildRecord:
        """What stands for the record of an attempt that left an index, but no record."""
        return cls(complete=False, seconds=None, threads=threads, peak_bytes=None)

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
        if before is None:
            return cls(complete, seconds, threads, peak_bytes)
        if before.seconds is None:
            # Nor is it known how much memory the lost attempt needed.
            return cls(complete, None, threads, None)
        highest = max(before.peak_bytes or 0, peak_bytes or 0) or None
        return cls(complete, before.seconds + seconds, threads, highest)

    @classmethod
    def read(cls, path: Path) -> BuildRecord | None:
        """What an attempt wrote; None where there is nothing, or nothing that can be understood."""
        with contextlib.suppress(OSError, ValueError, TypeError, OverflowError, RecursionError):
            record = cls(**json.loads(path.read_text(encoding="utf-8")))
            seconds = 0.0 if record.seconds is None else record.seconds
            numbers = (seconds, record.threads, record.peak_bytes or 0)
            if isinstance(record.complete, bool) and all(map(math.isfinite, numbers)):
                return record
        return None

    def write(self, path: Path) -> None:
        """Replace the file in one step.

        Raises:
            InputError: it cannot be written.
        """
        with replacing(path) as draft:
            draft.write_text(json.dumps(asdict(self)), encoding="utf-8")
