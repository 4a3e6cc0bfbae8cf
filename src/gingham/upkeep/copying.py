"""Files and folders linked or copied, durably: for backups and for what is set aside."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from gingham.index.layout import sync_folder


@dataclass(slots=True)
class Copied:
    """What has been linked and copied so far."""

    files: int = 0
    linked: int = 0
    bytes: int = 0


def link_or_copy(source: Path, target: Path, so_far: Copied, *, link: bool = True) -> None:
    """A hard link where the file system allows one, else a copy that is on disk on return.

    A symbolic link becomes the same link: what it leads to is not ours.
    """
    so_far.files += 1
    if source.is_symlink():
        target.symlink_to(os.readlink(source))
        return
    so_far.bytes += source.stat().st_size
    if link:
        try:
            os.link(source, target)
        except OSError:  # another file system, or one that knows no links
            pass
        else:
            so_far.linked += 1
            return
    shutil.copyfile(source, target)
    with target.open("rb+") as file:
        os.fsync(file.fileno())


def link_tree(source: Path, target: Path, so_far: Copied) -> None:
    """All of a folder, or a file, under another name; pipes and devices are passed over."""
    if source.is_symlink() or source.is_file():
        link_or_copy(source, target, so_far)
    elif source.is_dir():
        target.mkdir(parents=True)
        for entry in sorted(source.iterdir()):
            link_tree(entry, target / entry.name, so_far)
        sync_folder(target)


def remove_tree(path: Path) -> None:
    """Delete a folder or file whose links are elsewhere; what is in use stays for later."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
