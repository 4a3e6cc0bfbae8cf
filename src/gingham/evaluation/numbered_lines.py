"""A file of judgements, queries or rankings as numbered lines, and how its errors name things.

This knows nothing of what the lines mean.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from gingham.errors import SourceError
from gingham.sources.decoding import decoded_lines

_LONGEST_QUOTE = 60
# What isspace() of C knows, and no more: a no-break space is part of an id.
_WORD = re.compile(r"[^ \t\n\v\f\r]+")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Every line that is not blank, without its end, with its number from 1.

    Raises:
        SourceError: the file cannot be opened or is not UTF-8.
    """
    name = shown(path)
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(decoded_lines(stream, name, None, lambda _: None), 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except OSError as error:
        raise SourceError(f"{name}: {(error.strerror or str(error)).lower()}") from error
    except SourceError as error:
        # Documents may have any encoding; these files are UTF-8, so there is no option to name.
        what, _, _ = str(error).rpartition("; convert the file")
        raise SourceError(f"{what or error}; save the file as UTF-8") from error


def words(line: str) -> list[str]:
    """The columns of a line, parted by white space, as trec_eval parts them."""
    # In a printable line the only white space is U+0020: then this is the same, and faster.
    return line.split() if line.isprintable() else _WORD.findall(line)


def shown(path: Path) -> str:
    """A path as errors print it: forward slashes, and Unicode whatever the file system holds."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def quoted(value: object) -> str:
    """A value for an error of one line: its repr, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[: _LONGEST_QUOTE - 1]}…"


def counted(number: int, noun: str, plural: str = "") -> str:
    """The number and the noun, in the plural where it is not one."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
