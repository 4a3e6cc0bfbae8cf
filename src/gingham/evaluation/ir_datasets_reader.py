"""The parts of a dataset that ir_datasets knows by name: judgements, queries, documents.

Nothing is fetched unless that is asked for. Every error of the library becomes one line that names
the dataset; ids repeated in its files are dealt with here, as nobody can edit them.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from gingham.document import Document
from gingham.errors import GinghamError, SourceError
from gingham.evaluation.corpora import Progress, take_inventory
from gingham.evaluation.ir_datasets_guard import held, load_library
from gingham.evaluation.numbered_lines import quoted
from gingham.evaluation.query_files import DEFAULT_FIELD, choose_field, without_half_characters

PREFIX = "irds:"

_DOCUMENT_FIELDS = ("title", "abstract", "text", "body", "contents", "content", "passage")
_QUERY_FIELDS = ("text", "title", "query", "question")
_BATCH = 256


class IrDataset:
    """One id of ir_datasets.

    Args:
        id: such as "beir/scifact/test", without the prefix.
        download: fetch what is missing.
        quiet: print neither the log lines nor the progress bars of ir_datasets.

    Attributes:
        id: as given.
        name: what errors call it, with the prefix.

    Raises:
        MissingDependencyError: ir_datasets is not installed.
        SourceError: there is no such id.
    """

    def __init__(self, id: str, *, download: bool = False, quiet: bool = True) -> None:
        self.id = id
        self.name = f"{PREFIX}{id}"
        self._download = download
        self._quiet = quiet
        library = load_library()
        with self._reading():
            try:
                self._dataset = library.load(id)
            except KeyError as error:
                raise SourceError(f"{self.name}: {_unknown(id, library.registry)}") from error

    def qrels(self) -> tuple[dict[str, dict[str, int]], int]:
        """Relevance grades by query and document, and how many judgements were repeats.

        The last of several grades counts, as in ir_datasets itself.

        Raises:
            SourceError: it has no judgements, or they cannot be read.
        """
        if not self._dataset.has_qrels():
            raise SourceError(f"{self.name}: no judgements; {self._parts_with_qrels()}")
        grades: dict[str, dict[str, int]] = {}
        repeats = 0
        with self._reading():
            for judgement in self._dataset.qrels_iter():
                of_query = grades.setdefault(str(judgement.query_id), {})
                document_id = str(judgement.doc_id)
                repeats += document_id in of_query
                of_query[document_id] = self._grade(judgement)
        if not grades:
            raise SourceError(f"{self.name}: there is no judgement in it")
        return grades, repeats

    def queries(self, field: str = DEFAULT_FIELD) -> dict[str, str] | None:
        """Text by query id; None where it has no queries.

        Raises:
            SourceError: an id comes twice, there is no such field, or they cannot be read.
        """
        if not self._dataset.has_queries():
            return None
        texts: dict[str, str] = {}
        with self._reading():
            for query in self._dataset.queries_iter():
                id = str(query.query_id)
                if id in texts:
                    raise SourceError(
                        f"{self.name}: the query id {quoted(id)} comes twice; query ids must differ"
                    )
                texts[id] = without_half_characters(self._query_text(query, field))
        return texts

    def corpus(self, progress: Progress | None = None) -> IrCorpus | None:
        """The documents, read once to know them; None where it has none.

        Raises:
            SourceError: they cannot be read, or an id comes twice.
        """
        return IrCorpus(self, progress=progress) if self._dataset.has_docs() else None

    def documents(self) -> Iterator[Document]:
        """Every document in order.

        Raises:
            SourceError: they cannot be read.
        """
        with self._reading():
            records = iter(self._dataset.docs_iter())
        # In batches, as the hold on the library must not last while the caller works.
        while batch := self._next_documents(records):
            yield from batch

    def _next_documents(self, records: Iterator[Any]) -> list[Document]:
        with self._reading():
            return [
                Document(str(record.doc_id), self._document_text(record))
                for record in islice(records, _BATCH)
            ]

    def _document_text(self, record: Any) -> str:
        if hasattr(record, "default_text"):
            text = record.default_text() or ""
        else:
            known = [name for name in _DOCUMENT_FIELDS if hasattr(record, name)]
            if not known:
                raise SourceError(f"{self.name}: documents without text; {_fields(record)}")
            parts = (getattr(record, name) for name in known)
            text = "\n".join(part.strip() for part in parts if isinstance(part, str) and part)
        return without_half_characters(text.strip())

    def _query_text(self, record: Any, field: str) -> str:
        names = [name for name in record._fields if name != "query_id"]
        if field == DEFAULT_FIELD and hasattr(record, "default_text"):
            text = record.default_text() or ""
        else:
            usual = next((name for name in _QUERY_FIELDS if name in names), None)
            name = usual if field == DEFAULT_FIELD else choose_field(names, field)
            if name is None:
                raise SourceError(
                    f"{self.name}: queries have no field {quoted(field)}; {_fields(record)}: "
                    "choose one of them with --topic-field (topic_field=)"
                )
            text = getattr(record, name)
        if not isinstance(text, str):
            raise SourceError(
                f"{self.name}: the text of query {quoted(record.query_id)} must be a string, "
                f"got {quoted(text)}"
            )
        return text.strip()

    def _grade(self, judgement: Any) -> int:
        grade = judgement.relevance
        if isinstance(grade, int) and not isinstance(grade, bool):
            return grade
        raise SourceError(
            f"{self.name}: the relevance {quoted(grade)} of document {quoted(judgement.doc_id)} "
            f"for query {quoted(judgement.query_id)} is no whole number"
        )

    def _parts_with_qrels(self) -> str:
        registry = load_library().registry
        with self._reading():
            below = sorted(id for id in registry if id.startswith(f"{self.id}/"))
            judged = [id for id in below if registry[id].has_qrels()]
        if not judged:
            return "it can give documents or queries only"
        shown = ", ".join(f"{PREFIX}{id}" for id in judged[:8]) + ", …" * (len(judged) > 8)
        return f"these parts of it have some: {shown}"

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with held(download=self._download, quiet=self._quiet) as hold:
            try:
                yield
            except GinghamError:
                raise
            except Exception as error:
                raise SourceError(f"{self.name}: {self._told(error, hold.refused)}") from error

    def _told(self, error: Exception, refused: bool) -> str:
        if refused:
            return "not on this machine; pass --download (download=True) to fetch it"
        page = f"https://ir-datasets.com/{self.id.split('/')[0]}.html"
        if isinstance(error, FileNotFoundError):
            return f"needs the file {error}, which has to be put there by hand; see {page}"
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"cannot be read ({first[:300]}); see {page}"


class IrCorpus:
    """The documents of an id of ir_datasets.

    Args:
        source: the dataset.
        progress: called with the number of documents read so far.

    Attributes:
        digest: SHA-256 (hex) of ids and texts, in order.
        n_documents: how many there are, those without text included.

    Raises:
        SourceError: the documents cannot be read, an id comes twice, or there is no document.
    """

    def __init__(self, source: IrDataset, *, progress: Progress | None = None) -> None:
        self._source = source
        self.name = source.name
        self._inventory = take_inventory(source.documents(), source.name, progress)
        self.digest = self._inventory.digest
        self.n_documents = self._inventory.n_documents

    def documents(self) -> Iterator[Document]:
        """Every document in order; the title, where there is one, stands in front of the text.

        Raises:
            SourceError: they cannot be read.
        """
        return self._source.documents()

    def __contains__(self, id: object) -> bool:
        """Whether a document has this id."""
        return id in self._inventory.ids


def may_be_known(name: str) -> bool:
    """Whether ir_datasets has a dataset of this name; the library is not imported for that.

    Importing it makes folders in the home directory, which a mistyped path should not do.
    """
    spec = importlib.util.find_spec("ir_datasets")
    if spec is None or spec.origin is None:
        return False
    try:
        text = (Path(spec.origin).parent / "etc" / "metadata.json").read_text(encoding="utf-8")
        return name in json.loads(text)
    except (OSError, ValueError):
        return False


def _unknown(id: str, registry: Any) -> str:
    close = difflib.get_close_matches(id, list(registry), n=3)
    hint = f"; close to it: {', '.join(PREFIX + name for name in close)}" if close else ""
    return f"ir_datasets knows no dataset {quoted(id)}{hint}; see https://ir-datasets.com"


def _fields(record: Any) -> str:
    return f"their fields are {', '.join(repr(name) for name in record._fields)}"
