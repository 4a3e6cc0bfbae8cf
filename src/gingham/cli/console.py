"""What the user sees: lines, JSON, hits with highlighted words, and a progress bar.

Results go to stdout, progress and remarks to stderr; colour only on a terminal and without
NO_COLOR. rich is imported where it is drawn with, never for plain output. Nothing here knows of
collections.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from gingham.ranking import Hit

if TYPE_CHECKING:
    import rich.progress

    from gingham.report import OptimizeProgress

Spans = Sequence[tuple[int, int, float]]

# Characters of a passage that are shown; the window with the best matches of a longer one.
SHOWN = 420
# The least similarity of a word that is highlighted: below it are "of" for "a" and the like.
MATCH = 0.6
_SECONDS_BETWEEN_LINES = 5.0
# Indexed text must not be able to steer the terminal it is shown on.
# Control characters, and those that turn the direction of what follows them.
_STEERING = "\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"
_CONTROL = re.compile(f"[{_STEERING}]")
_BREAK = re.compile(f"[{_STEERING}\t\n\u2028\u2029]")


def write(text: str = "") -> None:
    """One line of result."""
    print(text)


def harmless(text: str) -> str:
    """Somebody's text as part of a line: without what would steer a terminal or end the line."""
    return _BREAK.sub("?", text)


def write_json(value: Any) -> None:
    """One result as one line of JSON."""
    # Never lossy: a stream that is not UTF-8 gets escapes.
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    line = json.dumps(value, ensure_ascii=not utf8, allow_nan=False)
    print(_BREAK.sub(lambda found: f"\\u{ord(found[0]):04x}", line))


def note(text: str) -> None:
    """One line that is no result."""
    print(_CONTROL.sub("?", text), file=sys.stderr)


def plain(text: str) -> str:
    """Text of others on one line, without what could steer the terminal."""
    return _CONTROL.sub("?", re.sub(r"\s+", " ", text))


def has_colour(stream: TextIO | None = None) -> bool:
    """Whether to highlight: a terminal, and the user has not set NO_COLOR."""
    out = sys.stdout if stream is None else stream
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def setting(value: float | None) -> str:
    """A search parameter: a size, or a margin that may be none."""
    return "none" if value is None else f"{value:,}"


def number(value: float) -> str:
    """A count as people read it."""
    return f"{value:,.0f}"


def plural(count: int, noun: str) -> str:
    """The count with its noun."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return ""


def stage(progress: OptimizeProgress) -> str:
    """How far compression has come, for a bar's remark."""
    share = f" {progress.done / progress.total:.0%}" if progress.done and progress.total else ""
    return f"{progress.stage}{share}"


def hit_record(query: str, rank: int, hit: Hit) -> dict[str, Any]:
    """A hit as JSON: its own fields, with the query and the rank in front."""
    return {"query": query, "rank": rank, **asdict(hit), "metadata": dict(hit.metadata)}


def write_hit(rank: int, hit: Hit, spans: Spans, shown: int = SHOWN) -> None:
    """One hit: rank, score and id, and below them the passage with its matched words marked."""
    name = _styled(harmless(hit.id), "1", has_colour())
    write(f"{rank:>3}  {hit.score:6.2f}  {name}")
    if hit.text:
        write_passage(hit.text, spans, shown)


def write_passage(text: str, spans: Spans, shown: int) -> None:
    """A passage, indented and wrapped, with its matched words marked on a terminal."""
    spans = _whole_words(text, spans)
    start, end = _window(text, spans, shown)
    flat, marks = _flatten(text, spans, start, end)
    if not sys.stdout.isatty():
        write(f"      {flat}")
        return
    width = min(shutil.get_terminal_size().columns, 110) - 8
    position = 0
    for line in textwrap.wrap(flat, max(width, 20), break_on_hyphens=False):
        position = flat.index(line, position)
        write("      " + _marked(line, position, marks, has_colour()))
        position += len(line)


def _whole_words(text: str, spans: Spans) -> Spans:
    """Tokens are pieces of words: the spans widened to words, and joined where they then touch."""
    widened: list[tuple[int, int, float]] = []
    for start, end, score in spans:
        while start > 0 and text[start - 1].isalnum() and text[start].isalnum():
            start -= 1
        while end < len(text) and text[end].isalnum() and text[end - 1].isalnum():
            end += 1
        if widened and start < widened[-1][1]:
            before = widened.pop()
            start, end, score = before[0], max(before[1], end), max(before[2], score)
        widened.append((start, end, score))
    return widened


def _window(text: str, spans: Spans, shown: int) -> tuple[int, int]:
    """The part of a long text that holds the best matches, from a word's start to a word's end."""
    if len(text) <= shown:
        return 0, len(text)
    best, start = 0.0, 0
    for first, _, _ in spans:
        at = max(0, min(first - 60, len(text) - shown))
        total = sum(score for a, b, score in spans if a >= at and b <= at + shown)
        if total > best:
            best, start = total, at
    end = start + shown
    if start and (space := re.search(r"\s", text[start:end])):
        start += space.end()
    if end < len(text) and " " in text[start:end]:
        end = start + text[start:end].rindex(" ")
    return start, end


def _flatten(text: str, spans: Spans, start: int, end: int) -> tuple[str, list[tuple[int, int]]]:
    """The window on one line, and where its matched words now are."""
    pieces = ["… " if start else ""]
    length = len(pieces[0])
    marks: list[tuple[int, int]] = []

    def put(part: str) -> None:
        nonlocal length
        flat = _CONTROL.sub("?", re.sub(r"\s+", " ", part))
        pieces.append(flat)
        length += len(flat)

    position = start
    for first, last, _ in spans:
        if first < start or last > end:
            continue
        put(text[position:first])
        before = length
        put(text[first:last])
        marks.append((before, length))
        position = last
    put(text[position:end])
    return "".join(pieces) + (" …" if end < len(text) else ""), marks


def _marked(line: str, at: int, marks: Iterable[tuple[int, int]], colour: bool) -> str:
    shown, position = [], 0
    for first, last in marks:
        a, b = max(first - at, position), min(last - at, len(line))
        if a < b:
            shown += [line[position:a], _styled(line[a:b], "1;32", colour)]
            position = b
    return "".join([*shown, line[position:]])


def _styled(text: str, code: str, colour: bool) -> str:
    return f"\033[{code}m{text}\033[0m" if colour else text


def write_table(rows: Mapping[str, str]) -> None:
    """Names and values, one a line, values aligned."""
    width = max(map(len, rows))
    for name, value in rows.items():
        write(f"{name:<{width}}  {harmless(value)}")


class Bar:
    """Progress on stderr: a bar with rate and time left, or, where that is no terminal, lines.

    Args:
        what: what is being done.
        total: of what `update` is given as `done`; None where unknown.
        quiet: show nothing.

    Attributes:
        last_line: when a line was last written, where stderr is no terminal; they keep a distance.
    """

    def __init__(self, what: str, total: float | None, *, quiet: bool = False) -> None:
        self.what = what
        self.total = total
        self._quiet = quiet
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None
        self.last_line = 0.0

    def __enter__(self) -> Bar:
        """Draw, where stderr is a terminal."""
        if self._quiet or not sys.stderr.isatty():
            return self
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%" if self.total else ""),
            TextColumn("{task.fields[remark]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self.what, total=self.total, remark="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: float, remark: str) -> None:
        """So much is done, and safe."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, remark=remark)
        elif not self._quiet and time.monotonic() - self.last_line > _SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            share = f" {done / self.total:.0%}" if self.total else ""
            note(f"{self.what}{share}: {remark}")


class Steps:
    """Several bars, one after the other: a new one whenever the step has another name."""

    def __init__(self) -> None:
        """Nothing is drawn yet."""
        self._bar: Bar | None = None

    def __enter__(self) -> Steps:
        """The first step begins with the first call."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the last bar away."""
        self.end()

    def __call__(self, what: str, done: float, total: float | None, remark: str) -> None:
        """So much of a step is done."""
        if self._bar is None or (self._bar.what, self._bar.total) != (what, total):
            last_line = self._bar.last_line if self._bar is not None else 0.0
            self.end()
            self._bar = Bar(what, total)
            self._bar.last_line = last_line
            self._bar.__enter__()
        self._bar.update(done, remark)

    def end(self) -> None:
        """Take the bar away: something else is written now."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        self._bar = None
