"""What is compared: the protocol that every system meets, and what it is given to work with.

A system is a frozen description; `prepare` builds or opens its index, and says what that cost; a
searcher answers queries with a number of threads, encoding and search apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gingham.document import Document
from gingham.errors import InputError
from gingham.evaluation.costs import IndexCost
from gingham.evaluation.dataset import Corpus, Dataset
from gingham.evaluation.run import Ranking


@dataclass(frozen=True, slots=True)
class Step:
    """How far a long step has come; the progress of an evaluation.

    Attributes:
        what: is being done, such as "scifact: gingham, indexing".
        done: of `total`.
        total: None where unknown.
        remark: the state in words.
    """

    what: str
    done: float
    total: float | None
    remark: str


ProgressCallback = Callable[[Step], None]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What a system works on.

    Attributes:
        dataset: documents, queries, judgements.
        cache: the folder for indexes, kept between evaluations.
        threads: for building.
        progress: told how far it has come.
    """

    dataset: Dataset
    cache: Path
    threads: int
    progress: ProgressCallback

    @property
    def corpus(self) -> Corpus:
        """The documents.

        Raises:
            InputError: the dataset has none.
        """
        if self.dataset.corpus is None:
            raise InputError(
                f"{self.dataset.title} has no documents to search: name them (--corpus), or score "
                "run files only (--no-gingham --run FILE)"
            )
        return self.dataset.corpus

    def documents(self) -> Iterator[Document]:
        """The documents that hold text; one without cannot be found by any system."""
        return (document for document in self.corpus.documents() if (document.text or "").strip())

    def folder(self, *parts: str) -> Path:
        """A place of the cache for an index of this corpus: found by its content, not its name."""
        return self.cache / self.corpus.digest[:16] / "-".join(parts)

    def report(self, what: str, done: float, total: float | None, remark: str = "") -> None:
        """Tell how far it is."""
        self.progress(Step(f"{self.dataset.name}: {what}", done, total, remark))


@dataclass(frozen=True, slots=True)
class Explained:
    """Why a document has its score.

    Attributes:
        text: the passage that was scored; None where it is not kept.
        parts: (of the query, of the document, share of the score), the largest share first.
        highlights: half-open character positions in `text` with a strength, for display.
    """

    text: str | None
    parts: tuple[tuple[str, str, float], ...] = ()
    highlights: tuple[tuple[int, int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Opening:
    """How another process opens a system for searching.

    Attributes:
        function: "module:name" of a context manager that gives a `Searcher`.
        arguments: what it is called with, `threads` apart; JSON can hold them.
    """

    function: str
    arguments: Mapping[str, Any]


class Searcher(Protocol):
    """Answers queries."""

    def encode(self, query: str) -> Any:
        """What `search` takes: vectors, terms."""
        ...

    def search(self, encoded: Any, k: int) -> Ranking:
        """The k best documents."""
        ...

    def answer(self, queries: Sequence[str], k: int) -> Iterator[Ranking]:
        """A ranking a query, by whatever is fastest for many."""
        ...

    def explain(self, query: str, id: str) -> Explained:
        """Why a document has its score."""
        ...


class Prepared(Protocol):
    """A system with its index."""

    @property
    def description(self) -> str:
        """What exactly it is, in one line."""
        ...

    @property
    def cost(self) -> IndexCost:
        """What the index costs."""
        ...

    @property
    def depth(self) -> int | None:
        """Ranks that it can fill; None for as many as are asked for."""
        ...

    @property
    def opening(self) -> Opening | None:
        """How a process that does nothing else opens it; None where it cannot."""
        ...

    def searcher(self, threads: int) -> AbstractContextManager[Searcher]:
        """Open it for searching with so many threads."""
        ...


class System(Protocol):
    """A retrieval system to be measured."""

    @property
    def name(self) -> str:
        """What tables call it; no two of an evaluation may share one."""
        ...

    def check(self, job: Job) -> None:
        """Raise what can be known to be wrong or missing before any work."""
        ...

    def prepare(self, job: Job) -> Prepared:
        """Build or open the index."""
        ...
