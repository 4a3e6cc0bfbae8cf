"""ir_datasets, held still: nothing is downloaded or printed unless that is wanted.

The library downloads whatever is missing as soon as it is read, and has no switch for that. All its
transfers go through the `stream` of a class below `BaseDownload` or through `lazy_libs.requests`;
its log is one logger, its progress bars come from `lazy_libs.tqdm`. While a `held` block runs these
are replaced; afterwards they are as they were. Blocks may nest and may run in several threads: a
refusal concerns the thread of the block, silence concerns all.
"""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from gingham.errors import MissingDependencyError


class DownloadRefused(Exception):  # noqa: N818 - no error of gingham: never leaves the readers
    """Something is not on this machine, and it was not to be fetched."""


@dataclass(slots=True)
class Hold:
    """One `held` block.

    Attributes:
        download: whether it may fetch what is missing.
        refused: whether something was missing and could not be fetched for that reason. ir_datasets
            turns exceptions into others, so that the exception alone does not tell.
    """

    download: bool
    refused: bool = False


def load_library() -> Any:
    """The module ir_datasets.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import ir_datasets
    except ImportError as error:
        raise MissingDependencyError(
            "datasets by name need ir_datasets: pip install 'gingham[eval]'"
        ) from error
    return ir_datasets


@contextmanager
def held(*, download: bool, quiet: bool) -> Iterator[Hold]:
    """Let ir_datasets do as little as it is told for the length of a block.

    Args:
        download: whether this thread may fetch what is missing.
        quiet: print neither log lines nor progress bars.

    Raises:
        MissingDependencyError: ir_datasets is not installed.
    """
    hold = Hold(download)
    holds = _holds_of_this_thread()
    with ExitStack() as stack:
        if not download:
            stack.enter_context(_refusal.entered())
        if quiet:
            stack.enter_context(_silence.entered())
        holds.append(hold)
        try:
            yield hold
        finally:
            holds.pop()


class _Shared:
    """A change to the library, made by the first of several blocks and undone by the last."""

    def __init__(self, make: Callable[[ExitStack], None]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._blocks = 0
        self._changes = ExitStack()

    @contextmanager
    def entered(self) -> Iterator[None]:
        with self._lock:
            if not self._blocks:
                with ExitStack() as changes:
                    self._make(changes)
                    self._changes = changes.pop_all()
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if not self._blocks:
                    self._changes.close()


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


class _SilentBars:
    """tqdm writing to nowhere. A disabled bar would not count, and downloads resume by counts."""

    def __init__(self, bar: Callable[..., Any]) -> None:
        self._bar = bar

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._bar(*args, **{**options, "file": _Nowhere()})

    def write(self, *args: Any, **options: Any) -> None:
        """What the log handler prints by."""


def _refuse_downloads(changes: ExitStack) -> None:
    library = load_library()
    for download in _remote_downloads(library.util):
        changes.enter_context(_replaced(download, "stream", _unless_refused(download.stream)))
    requests = library.lazy_libs.requests
    changes.enter_context(_replaced(library.lazy_libs, "requests", _unless_refused(requests)))


def _be_silent(changes: ExitStack) -> None:
    library = load_library()
    tqdm = library.lazy_libs.tqdm

    def silent_tqdm() -> SimpleNamespace:
        return SimpleNamespace(tqdm=_SilentBars(tqdm().tqdm))

    changes.enter_context(_replaced(library.lazy_libs, "tqdm", silent_tqdm))
    # Asked for once here, as the first use sets its level and handler.
    logger = library.log.easy().logger()
    changes.enter_context(_replaced(logger, "disabled", True))


_refusal = _Shared(_refuse_downloads)
_silence = _Shared(_be_silent)
_local = threading.local()


def _holds_of_this_thread() -> list[Hold]:
    if not hasattr(_local, "holds"):
        _local.holds = []
    holds: list[Hold] = _local.holds
    return holds


def _remote_downloads(util: Any) -> Iterator[Any]:
    classes = [util.BaseDownload]
    while classes:
        for subclass in classes.pop().__subclasses__():
            classes.append(subclass)
            if not issubclass(subclass, util.LocalDownload):
                yield subclass


def _unless_refused(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def guarded(*args: Any, **options: Any) -> Any:
        holds = _holds_of_this_thread()
        if holds and not holds[-1].download:
            holds[-1].refused = True
            raise DownloadRefused("not on this machine, and downloads are off")
        return original(*args, **options)

    return guarded


@contextmanager
def _replaced(target: Any, name: str, value: Any) -> Iterator[None]:
    own = vars(target)
    inherited = name not in own
    original = own.get(name)
    setattr(target, name, value)
    try:
        yield
    finally:
        if inherited:
            delattr(target, name)
        else:
            setattr(target, name, original)
