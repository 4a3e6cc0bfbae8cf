"""Array files read with suspicion: what is wrong with each, and its rows where nothing is.

Bytes are read, not mapped, when checksums are compared: a disk that cannot give them raises an
error then, where a mapping would end the process.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham.errors import CorruptionError, VersionError
from gingham.index.blocks import BlockSums, UInt32
from gingham.index.checksums import FolderChecksums, read_checksums
from gingham.index.layout import (
    HEADER_BYTES,
    Component,
    MappedArray,
    check_regular,
    headers_digest,
    map_array,
)
from gingham.upkeep.salvaging import Part, salvage_rows

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
        parts: what is left of those that are damaged, where the folder has checksums of blocks.
        headers: headers to be written anew into files of which all else is intact: these count as
            intact; with what is wrong with them.
        checksums: what is wrong with the checksums of blocks; None where nothing is, or none are.
        bytes: of the intact files, headers included.
    """

    folder: Path
    rows: dict[Component, npt.NDArray[Any]] = field(default_factory=dict)
    mapped: list[MappedArray] = field(default_factory=list)
    problems: dict[Component, str] = field(default_factory=dict)
    parts: dict[Component, Part] = field(default_factory=dict)
    headers: dict[Component, tuple[bytes, str]] = field(default_factory=dict)
    checksums: str | None = None
    bytes: int = 0

    def left(self, component: Component) -> npt.NDArray[Any] | None:
        """The rows of a file, some of which may be damaged or missing."""
        if component in self.rows:
            return self.rows[component]
        part = self.parts.get(component)
        return None if part is None else part.rows

    def bad(self, component: Component) -> npt.NDArray[np.bool_]:
        """(n_rows) which of them are."""
        part = self.parts.get(component)
        return np.zeros(len(self.rows[component]), dtype=np.bool_) if part is None else part.bad


@dataclass(frozen=True, slots=True)
class Digests:
    """What the catalog remembers of a folder.

    Attributes:
        folder: digest of the headers of its files.
        checksums: that of its checksums of blocks.
    """

    folder: str | None = None
    checksums: str | None = None


def read_folder(
    folder: Path, columns: Mapping[Component, int], tell: Tell, digests: Digests
) -> Files:
    """Read every byte of the components of a folder and compare with checksums.

    Args:
        folder: of a segment or codebook.
        columns: of each component that it should have, but the checksums of blocks.
        tell: called with every number of bytes that was read.
        digests: of the folder.

    Raises:
        VersionError: a file is of a newer gingham, and whole.
    """
    files = Files(folder)
    known = read_checksums(folder, columns, digests.folder)
    found: dict[Component, tuple[bytes, UInt32]] = {}
    for component, width in columns.items():
        path = folder / component.filename
        written = None if known is None else known.headers[component]
        try:
            mapped = map_array(folder, component, width)
            if written is not None and mapped.header != written.content:
                raise CorruptionError(f"{path}: not the file that the catalog lists")
            found[component] = (mapped.header, _compare(mapped, tell))
        except VersionError as error:
            if not _header_is_damaged(path):
                raise
            problem = f"the header is damaged ({_reason(error, path)})"
        except CorruptionError as error:
            problem = _reason(error, path)
        except FileNotFoundError:
            problem = "missing"
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
        else:
            _take(files, component, mapped)
            continue
        _salvage(files, component, width, problem, known)
    files.checksums = _problem_of_checksums(folder, known, found, digests.checksums, tell)
    return files


def _take(files: Files, component: Component, mapped: MappedArray) -> None:
    files.rows[component] = mapped.rows
    files.mapped.append(mapped)
    files.bytes += HEADER_BYTES + mapped.rows.nbytes  # the file may be gone by now


def _salvage(
    files: Files, component: Component, width: int, problem: str, known: FolderChecksums | None
) -> None:
    """A damaged file: what is left of it."""
    path = files.folder / component.filename
    part = None
    if known is not None and known.headers[component].columns == width:
        part = salvage_rows(path, component, known.headers[component], known.blocks[component])
    if part is None:
        files.problems[component] = problem
    elif known is not None and not part.blocks:
        header = known.headers[component].content
        checksum = int.from_bytes(header[32:36], "little")
        if zlib.crc32(np.ascontiguousarray(part.rows).data.cast("B")) != checksum:
            files.problems[component] = problem  # the checksums do not agree: forged
            return
        files.headers[component] = (header, f"{problem}; its array is intact")
        _take(files, component, MappedArray(path, part.rows, checksum, header))
    else:
        files.parts[component] = part
        files.problems[component] = f"{problem}; {part.text}"


def _problem_of_checksums(
    folder: Path,
    known: FolderChecksums | None,
    found: Mapping[Component, tuple[bytes, UInt32]],
    digest: str | None,
    tell: Tell,
) -> str | None:
    """What is wrong with the checksums of blocks themselves."""
    path = folder / Component.CHECKSUMS.filename
    try:
        mapped = map_array(folder, Component.CHECKSUMS, 1)
        _compare(mapped, tell)
    except (CorruptionError, VersionError) as error:
        return _reason(error, path)
    except FileNotFoundError:
        return None if digest is None else "missing"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if digest is not None and headers_digest({path.name: mapped.header}) != digest:
        return "not the file that the catalog lists"
    if known is None:
        return "holds headers of other files"
    for component, (header, blocks) in found.items():
        if known.headers[component].content != header or not np.array_equal(
            known.blocks[component], blocks
        ):
            return f"does not agree with {component.filename}, which is intact"
    return None


def columns_of(folder: Path, component: Component) -> int | None:
    """Columns that the header of a file promises, unchecked; None where there is none."""
    path = folder / component.filename
    try:
        check_regular(path)  # reading a pipe would wait for ever
        header = _header(path)
    except (OSError, CorruptionError):
        return None
    return int.from_bytes(header[24:32], "little") if len(header) == HEADER_BYTES else None


def _compare(mapped: MappedArray, tell: Tell) -> UInt32:
    """The checksums of a file's blocks.

    Raises:
        CorruptionError: that of the whole does not match.
    """
    sums = BlockSums()
    with mapped.path.open("rb") as file:
        file.seek(HEADER_BYTES)
        while block := file.read(_AT_ONCE):
            sums.update(block)
            tell(len(block))
    if sums.whole != mapped.checksum:
        raise CorruptionError(f"{mapped.path}: the checksum does not match: a byte has changed")
    return sums.blocks


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEADER_BYTES)


def _header_is_damaged(path: Path) -> bool:
    header = _header(path)
    return zlib.crc32(header[:-4]).to_bytes(4, "little") != header[-4:]


def _reason(error: Exception, path: Path) -> str:
    """An error's message without the path in front, which is said apart."""
    return " ".join(str(error).removeprefix(f"{path}: ").split())
