"""What the bundled model is trained on: documents, and rows of a query and its document.

Reads question sets in BEIR layout, only those whose licence lets a model trained on them be
redistributed. Besides the sets' own questions, titles and sentences of the same texts ask for them.
(A few words of a document as a query were tried too: the model got worse.)

Nothing here knows about models. The same folder gives the same rows.
"""

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse
import Stemmer

_stem = Stemmer.Stemmer("english").stemWord
# Set → splits of its judgements that are trained on; medquad's dev split is held out.
SOURCES = {
    "squad-train-part": ("train",),
    "squad-sent-train": ("train",),
    "medquad": ("train",),
    "bioasq-sent-train": ("train",),
    "clapnq": ("train", "dev"),
    "selqa": ("dev", "test"),
}
HELD_OUT = 64  # documents of each set, with all that asks for them
MOST_POSITIVES = 3  # of one query
_STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then "
    "there these they this to was will with what which who how do does did can when where why from "
    "has have had its may also been were than other more most some any all between about after "
    "during used use one two he she his her we you your i our them us so because while over under "
    "only both each many much very would could should"
)
_STOP = frozenset(_STOP_WORDS.split())


@dataclass
class Pool:
    """Documents and rows as parallel lists.

    Attributes:
        titles: of the documents; empty where there is none.
        bodies: their texts.
        sources: the set that each document is of.
        queries: one a row.
        document_of: the number of each row's document.
        kinds: "question", "title" or "sentence".
        held_out: documents that no row asks for.
        dev: for each set the held-out questions: (query, documents that answer it).
    """

    titles: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    document_of: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    held_out: set[int] = field(default_factory=set)
    dev: dict[str, list[tuple[str, list[int]]]] = field(default_factory=dict)

    def documents(self) -> list[str]:
        """As the encoder sees them: title, newline, text."""
        return [join_title(*pair) for pair in zip(self.titles, self.bodies, strict=True)]

    def add(self, query: str, document: int, kind: str) -> None:
        self.queries.append(query)
        self.document_of.append(document)
        self.kinds.append(kind)


def build_pool(data: Path) -> Pool:
    """Read every set under `data`/train and add the rows made from its texts."""
    pool = Pool()
    for name, splits in SOURCES.items():
        _read_questions(pool, data / "train" / name, splits)
    _derive_rows(pool)
    return pool


def _read_questions(pool: Pool, folder: Path, splits: tuple[str, ...]) -> None:
    number: dict[str, int] = {}
    for row in _json_lines(folder / "corpus.jsonl"):
        number[row["_id"]] = len(pool.bodies)
        pool.titles.append(row.get("title") or "")
        pool.bodies.append(row["text"])
        pool.sources.append(folder.name)
    queries = {row["_id"]: row["text"] for row in _json_lines(folder / "queries.jsonl")}
    dev_only = {document for _, document in _judged(folder, "dev", number)}
    pairs = [
        pair
        for split in splits
        for pair in _judged(folder, split, number)
        if pool.bodies[pair[1]].strip()
    ]
    drawn = random.Random(f"hold{folder.name}").sample(
        sorted({document for _, document in pairs}), HELD_OUT
    )
    held_out = set(drawn) | (dev_only if "dev" not in splits else set())
    held_out_queries = {query for query, document in pairs if document in held_out}
    asked: dict[str, list[int]] = defaultdict(list)
    kept: dict[str, list[int]] = defaultdict(list)
    for query, document in pairs:
        if query in held_out_queries:
            asked[query].append(document)
        else:
            kept[query].append(document)
    pool.held_out |= held_out
    pool.dev[folder.name] = [(queries[query], found) for query, found in asked.items()]
    for query, documents in kept.items():
        for document in documents[:MOST_POSITIVES]:
            pool.add(queries[query], document, "question")


def _judged(folder: Path, split: str, number: dict[str, int]) -> Iterator[tuple[str, int]]:
    path = folder / "qrels" / f"{split}.tsv"
    for line in path.read_text(encoding="utf-8").splitlines()[1:] if path.is_file() else ():
        query, document, score = line.split("\t")
        if int(score) > 0:
            yield query, number[document]


def _derive_rows(pool: Pool) -> None:
    """At random, the title and a sentence of a long document ask for it."""
    rng = random.Random(5)
    for number, body in enumerate(pool.bodies):
        if number in pool.held_out:
            continue
        is_long = len(body.split()) >= 40
        sentences = [one for one in _sentences(body) if 5 <= len(one.split()) <= 30]
        if pool.titles[number] and is_long and rng.random() < 0.25:
            pool.add(pool.titles[number], number, "title")
        if is_long and sentences and rng.random() < 0.5:
            pool.add(rng.choice(sentences), number, "sentence")


class BM25:
    """BM25 of every row's query and document, as part of the query's highest possible score."""

    def __init__(self, pool: Pool, k1: float = 1.2, b: float = 0.6) -> None:
        counts = [Counter(terms(text)) for text in pool.documents()]
        frequency = Counter(term for one in counts for term in one)
        column = {term: index for index, term in enumerate(frequency)}
        idf = np.array([_idf(count, len(counts)) for count in frequency.values()])
        lengths = np.array([one.total() for one in counts])
        norms = k1 * (1 - b + b * lengths / lengths.mean())
        rows, columns, values = [], [], []
        for number, one in enumerate(counts):
            for term, count in one.items():
                rows.append(number)
                columns.append(column[term])
                values.append(idf[column[term]] * count * (k1 + 1) / (count + norms[number]))
        shape = (len(counts), len(column))
        self._documents = scipy.sparse.csr_matrix((np.float32(values), (rows, columns)), shape)
        asked = [
            (number, column[term])
            for number, query in enumerate(pool.queries)
            for term in sorted(set(terms(query)))
            if term in column
        ]
        self._queries = scipy.sparse.csr_matrix(
            (np.ones(len(asked), np.float32), tuple(np.array(asked).T)),
            (len(pool.queries), len(column)),
        )
        self._highest = np.maximum(np.asarray(self._queries @ idf) * (k1 + 1), 1e-6)

    def scores(
        self, rows: npt.NDArray[np.int64], documents: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """(rows, documents), each from 0 to 1."""
        dots = (self._queries[rows] @ self._documents[documents].T).toarray()
        return np.asarray(dots / self._highest[rows, None], np.float32)


def terms(text: str) -> list[str]:
    """Stems of the words, stop words left out."""
    return [_stem(word) for word in _words(text) if word not in _STOP]


def join_title(title: str, text: str) -> str:
    return f"{title}\n{text}" if title else text


def _idf(frequency: int, n_documents: int) -> float:
    return float(np.log(1 + (n_documents - frequency + 0.5) / (frequency + 0.5)))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _sentences(text: str) -> list[str]:
    """The first eight: what comes later is cut off in training."""
    return re.split(r"(?<=[.!?])\s+", text)[:8]


def _json_lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
