"""Work in steps that a kill cannot spoil: a finished step is a finished folder.

A step works in NAME.partial, which takes the name NAME in one rename when all is done; what is
there under that name is never done again. What stands in a partial folder is the step's own
business: each of ours continues from it. Knows nothing of what the steps do.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gingham.errors import InputError, LockedError
from gingham.evaluation.atomic import replacing
from gingham.evaluation.build_lock import build_lock
from gingham.evaluation.systems import Step

ProgressCallback = Callable[[Step], None]

_PARTIAL = ".partial"
_RECORD = "begun.json"
_LOCK = ".lock"
# Folders that adapting works in beside the training it asks for.
_OTHERS = ("adapting",)


def silent(step: Step) -> None:
    """Tell nobody how far it is."""


def finish(folder: Path, make: Callable[[Path], None], *, called: str | None = None) -> None:
    """Make a folder, unless it is there.

    Args:
        folder: what will be there when this returns.
        make: given a folder that exists, empty or as an earlier attempt left it; fills it.
        called: the name that the folder has while it is made, for what writes its name down.

    Raises:
        InputError: the folder cannot be written.
    """
    partial = folder.with_name(folder.name + _PARTIAL)
    if not folder.exists():
        draft = partial if called is None else partial / called
        with _writing(draft):
            draft.mkdir(parents=True, exist_ok=True)
        make(draft)
        with _writing(folder):
            _flush(draft)
            draft.rename(folder)
            _flush(folder.parent)
    with contextlib.suppress(OSError):
        partial.rmdir()


def begin(folder: Path, settings: Mapping[str, Any], what: str) -> None:
    """Record what a folder is made with, or see that it is the same as when it was begun.

    Args:
        folder: made where it is not there.
        settings: JSON values by name: all that decides what will be in the folder.
        what: to call the work by in errors.

    Raises:
        InputError: it was begun with other settings, which the message names, or cannot be
            written.
    """
    path = folder / _RECORD
    asked = json.loads(json.dumps(settings))  # as it will be read again: lists for tuples
    if path.exists():
        before = _read(path)
        for name in [*asked, *(name for name in before if name not in asked)]:
            if before.get(name) != asked.get(name):
                raise InputError(
                    f"{folder}: {what} was begun with another {name} ({_short(before.get(name))}, "
                    f"now {_short(asked.get(name))}): ask for the same again, or name a new folder"
                )
        return
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_text(json.dumps(asked, indent=1) + "\n", encoding="utf-8")


def check_new(output: Path, work: Path) -> None:
    """See that a folder is new, or was begun by the work that goes on in it.

    Args:
        output: where the result goes.
        work: the folder in it that `begin` keeps its record in.

    Raises:
        InputError: it is a file, or holds something else.
    """
    if (work / _RECORD).exists() or not os.path.lexists(output):
        return
    if not output.is_dir():
        raise InputError(f"{output} is a file: name a new folder")
    others = [path.name for path in output.iterdir() if not path.name.startswith(".")]
    strangers = sorted(set(others) - {work.name, *_OTHERS})
    if strangers or (work / "run.json").exists():
        raise InputError(
            f"{output} holds {strangers[0] if strangers else 'another training'}, which is none of "
            "this: name a new folder"
        )


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process that works in a folder.

    Raises:
        LockedError: another one does.
        InputError: the folder cannot be written to.
    """

    def busy() -> None:
        raise LockedError(f"{folder}: another gingham train is at work there: wait for it to end")

    with build_lock(folder / _LOCK, busy):
        yield


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise InputError(f"{path}: does not say what its folder was begun with: remove the folder")
    return record


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}): name a folder that can"
        ) from error


def _flush(folder: Path) -> None:
    """Make the names in a folder durable, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
