"""Bytes → lines of text, and where exactly they stop being text.

`io.TextIOWrapper` would do but for its errors: it names a position within a buffer, not within the
file, and no line. This knows nothing of what the lines mean.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from typing import BinaryIO

from gingham.errors import SourceError

_CHUNK = 1 << 16


def check_encoding(encoding: str) -> None:
    """Refuse an encoding that Python does not know.

    Raises:
        SourceError: there is no such text encoding.
    """
    try:
        "".encode(encoding)
    except (LookupError, ValueError) as error:
        raise SourceError(
            f"unknown encoding {encoding!r}: use a name such as utf-8, latin-1 or utf-16"
        ) from error


def decoded_lines(
    stream: BinaryIO, name: str, encoding: str | None, advance: Callable[[int], None]
) -> Iterator[str]:
    r"""The lines of a stream, each with its "\n"; a byte order mark is dropped.

    Args:
        stream: bytes.
        name: what errors call it.
        encoding: None is UTF-8.
        advance: called with the number of bytes of each read.

    Raises:
        SourceError: a byte does not fit the encoding; the message says which, and in which line.
    """
    decoder = codecs.getincrementaldecoder(_codec(encoding))()
    total = lines = 0
    # Pieces of a line that has not ended yet: joined once, so that a huge line costs linear time.
    pending: list[str] = []
    while True:
        chunk = stream.read(_CHUNK)
        total += len(chunk)
        advance(len(chunk))
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            # What the decoder was given ends where the chunk ends.
            lines += decoded_before(error).count("\n")
            position = total - len(error.object) + error.start
            raise undecodable(name, error, position, lines + 1, encoding) from error
        if not chunk:
            break
        first, *rest = text.split("\n")
        pending.append(first)
        if rest:
            yield "".join(pending) + "\n"
            for line in rest[:-1]:
                yield line + "\n"
            pending = [rest[-1]]
            lines += len(rest)
    pending.append(text)
    if last := "".join(pending):
        yield last


def decoded(data: bytes, name: str, encoding: str | None) -> str:
    r"""A whole file as text, line ends as "\n", a byte order mark dropped.

    Raises:
        SourceError: a byte does not fit the encoding; the message says which, and in which line.
    """
    try:
        text = data.decode(_codec(encoding))
    except UnicodeDecodeError as error:
        position = len(data) - len(error.object) + error.start
        line = decoded_before(error).count("\n") + 1
        raise undecodable(name, error, position, line, encoding) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def undecodable(
    name: str, error: UnicodeDecodeError, position: int, line: int, encoding: str | None
) -> SourceError:
    """The one line that says which byte is wrong and what to try."""
    byte = error.object[error.start]
    wide = position < 2 and error.object.startswith((b"\xff\xfe", b"\xfe\xff"))
    remedy = "utf-16" if wide else "latin-1" if encoding is None else "utf-8"
    return SourceError(
        f"{name}, line {line}: not {encoding or 'UTF-8'} (byte 0x{byte:02x} at position "
        f"{position}); convert the file, or name its encoding: gingham add --encoding {remedy}"
    )


def decoded_before(error: UnicodeDecodeError) -> str:
    """The part of what the decoder was given that it could still read."""
    return error.object[: error.start].decode(error.encoding, "replace")


def _codec(encoding: str | None) -> str:
    name = codecs.lookup(encoding or "utf-8").name
    return "utf-8-sig" if name == "utf-8" else name
