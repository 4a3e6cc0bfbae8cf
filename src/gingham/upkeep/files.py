"""Array files read with suspicion: what is wrong with each, and its rows where nothing is.

Bytes are read, not mapped, when checksums are compared: a disk that cannot give them raises an
error then, where a mapping would end the process.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from gingham.errors import CorruptionError, VersionError
from gingham.index.layout import HEADER_BYTES, Component, MappedArray, check_regular, map_array

_AT_ONCE = 8 << 20  # bytes

Tell = Callable[[int], None]


@dataclass(slots=True)
class Files:
    """The array files of one folder.

    Attributes:
        folder: of a segment or codebook.
        rows: of the components that are intact.
        mapped: their files.
        problems: what is wrong with the others, by component.
        bytes: of the intact files, headers included.
    """

    folder: Path
    rows: dict[Component, npt.NDArray[Any]] = field(default_factory=dict)
    mapped: list[MappedArray] = field(default_factory=list)
    problems: dict[Component, str] = field(default_factory=dict)
    bytes: int = 0


def read_folder(folder: Path, columns: dict[Component, int], tell: Tell) -> Files:
    """Read every byte of the components of a folder and compare with checksums.

    Args:
        folder: of a segment or codebook.
        columns: of each component that it should have.
        tell: called with every number of bytes that was read.

    Raises:
        VersionError: a file is of a newer gingham, and whole.
    """
    files = Files(folder)
    for component, width in columns.items():
        try:
            mapped = map_array(folder, component, width)
            _compare(mapped, tell)
        except VersionError as error:
            if not _header_is_damaged(folder / component.filename):
                raise
            files.problems[component] = (
                f"the header is damaged ({_reason(error, folder / component.filename)})"
            )
        except CorruptionError as error:
            files.problems[component] = _reason(error, folder / component.filename)
        except FileNotFoundError:
            files.problems[component] = "missing"
        except OSError as error:
            files.problems[component] = f"cannot be read: {error.strerror or error}"
        else:
            files.rows[component] = mapped.rows
            files.mapped.append(mapped)
            files.bytes += HEADER_BYTES + mapped.rows.nbytes  # the file may be gone by now
    return files


def strangers(folder: Path, columns: dict[Component, int]) -> list[str]:
    """Names in a folder that are no component of it."""
    known = {component.filename for component in columns}
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.name not in known)
    except OSError:
        return []


def columns_of(folder: Path, component: Component) -> int | None:
    """Columns that the header of a file promises, unchecked; None where there is none."""
    path = folder / component.filename
    try:
        check_regular(path)  # reading a pipe would wait for ever
        header = _header(path)
    except (OSError, CorruptionError):
        return None
    return int.from_bytes(header[24:32], "little") if len(header) == HEADER_BYTES else None


def _compare(mapped: MappedArray, tell: Tell) -> None:
    checksum = 0
    with mapped.path.open("rb") as file:
        file.seek(HEADER_BYTES)
        while block := file.read(_AT_ONCE):
            checksum = zlib.crc32(block, checksum)
            tell(len(block))
    if checksum != mapped.checksum:
        raise CorruptionError(f"{mapped.path}: the checksum does not match: a byte has changed")


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEADER_BYTES)


def _header_is_damaged(path: Path) -> bool:
    header = _header(path)
    return zlib.crc32(header[:-4]).to_bytes(4, "little") != header[-4:]


def _reason(error: Exception, path: Path) -> str:
    """An error's message without the path in front, which is said apart."""
    return " ".join(str(error).removeprefix(f"{path}: ").split())
