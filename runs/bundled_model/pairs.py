"""Training triplets for the bundled model: (query, positive document, negative document).

Reads question sets in BEIR layout and makes one list of triplets a set. Only sets whose licence
lets a model trained on them be redistributed are named here. Besides each set's own questions there
are three sets made from the same texts: `titles` (a page's title asks for its text), `sentences` (a
sentence asks for the passage that it was cut from) and `snippets` (a sentence asks for another
sentence that answers the same question). Negatives are drawn from the best BM25 documents of the
query in its own set, less every document that is judged relevant to a query with the same words.

Nothing here knows about models or tokenizers. The same folder and seed give the same triplets.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import bm25s
import Stemmer


@dataclass(frozen=True)
class Source:
    """How one set is used: qrels files, most triplets a copy, copies, documents to hold out."""

    splits: tuple[str, ...]
    limit: int
    copies: int = 1
    held_out: int = 64


# A copy draws another negative and another title decision for the same pair. Small sets of natural
# questions get two, so that they are not drowned by the large synthetic-looking ones.
SOURCES: dict[str, Source] = {
    "squad-train-part": Source(("train",), limit=11000),
    "squad-sent-train": Source(("train",), limit=8000),
    "medquad": Source(("train",), limit=6500),
    "bioasq-sent-train": Source(("train",), limit=6000, copies=2),
    "clapnq": Source(("train", "dev"), limit=2300, copies=2),
    "selqa": Source(("dev", "test"), limit=3000, copies=2),
}
TITLE_SOURCES = ("medquad", "selqa")
SENTENCE_SOURCES = ("medquad", "squad-train-part", "clapnq")
SNIPPET_SOURCE = "bioasq-sent-train"

TITLE_DROPOUT = 0.3  # documents without a title must be found too
QUESTION_MARK_DROPOUT = 0.3  # so must queries typed without one
NEGATIVE_RANKS = 30  # negatives are drawn from this many best BM25 documents


@dataclass(frozen=True)
class QuestionSet:
    """Document id to (title, text), query id to text, query id to relevant document ids."""

    name: str
    documents: dict[str, tuple[str, str]]
    queries: dict[str, str]
    relevant: dict[str, list[str]]


@dataclass
class Triplets:
    """One list of triplets for training and one, of other queries and documents, held out."""

    train: list[tuple[str, str, str]] = field(default_factory=list)
    held_out: list[tuple[str, str, str]] = field(default_factory=list)


def build_triplets(data: Path, seed: int) -> dict[str, Triplets]:
    """Make the triplets of every set under `data`/train, in a fixed order."""
    sets = {
        name: read_question_set(data / "train" / name, source.splits)
        for name, source in SOURCES.items()
    }
    triplets = {name: _question_triplets(sets[name], SOURCES[name], seed) for name in SOURCES}
    held_out_texts = {text for made in triplets.values() for _, text, _ in made.held_out}
    pools = {name: _Negatives(sets[name].documents) for name in (*TITLE_SOURCES, *SENTENCE_SOURCES)}
    titles, sentences = Triplets(), Triplets()
    for name in TITLE_SOURCES:
        titles.train += _title_triplets(sets[name], pools[name], held_out_texts, seed)
    for name in SENTENCE_SOURCES:
        sentences.train += _sentence_triplets(
            sets[name], pools[name], held_out_texts, seed, limit=3500
        )
    snippets = Triplets(train=_snippet_triplets(sets[SNIPPET_SOURCE], held_out_texts, seed))
    return {**triplets, "titles": titles, "sentences": sentences, "snippets": snippets}


def read_question_set(folder: Path, splits: Iterable[str]) -> QuestionSet:
    """Read corpus, queries and the relevant documents of the given splits."""
    documents = {
        row["_id"]: (row.get("title") or "", row["text"])
        for row in read_json_lines(folder / "corpus.jsonl")
    }
    queries = {row["_id"]: row["text"] for row in read_json_lines(folder / "queries.jsonl")}
    relevant: dict[str, list[str]] = {}
    for split in splits:
        for line in (folder / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]:
            query_id, document_id, score = line.split("\t")
            if int(score) > 0 and documents[document_id][1].strip():
                relevant.setdefault(query_id, []).append(document_id)
    return QuestionSet(folder.name, documents, queries, relevant)


def join_title(title: str, text: str) -> str:
    """The document as the encoder sees it: title, newline, text."""
    return f"{title}\n{text}" if title else text


class _Negatives:
    """BM25 over one set's documents, to draw hard negatives from."""

    def __init__(self, documents: dict[str, tuple[str, str]]) -> None:
        self.ids = list(documents)
        self._stemmer = Stemmer.Stemmer("english")
        self._index = bm25s.BM25()
        texts = [join_title(*documents[document_id]) for document_id in self.ids]
        self._index.index(self._tokens(texts), show_progress=False)

    def ranked(self, queries: list[str]) -> list[list[str]]:
        """The ids of the best documents of each query, best first."""
        depth = min(NEGATIVE_RANKS, len(self.ids))
        found, _ = self._index.retrieve(
            self._tokens(queries), k=depth, show_progress=False, n_threads=2
        )
        return [[self.ids[position] for position in row] for row in found]

    def _tokens(self, texts: list[str]) -> bm25s.tokenization.Tokenized:
        return bm25s.tokenize(texts, stopwords="en", stemmer=self._stemmer, show_progress=False)


def _question_triplets(questions: QuestionSet, source: Source, seed: int) -> Triplets:
    rng = random.Random(f"{seed} {questions.name}")
    pairs = [(query_id, doc) for query_id, docs in questions.relevant.items() for doc in docs]
    rng.shuffle(pairs)
    positives_of_words: dict[str, set[str]] = {}
    for query_id, docs in questions.relevant.items():
        positives_of_words.setdefault(_words(questions.queries[query_id]), set()).update(docs)

    # Held out: whole documents, with every query that asks for one of them.
    held_out_documents: set[str] = set()
    for _, doc in pairs:
        if len(held_out_documents) >= source.held_out:
            break
        held_out_documents.add(doc)
    held_out_queries = {query_id for query_id, doc in pairs if doc in held_out_documents}

    ranked_of_words = dict(
        zip(
            positives_of_words,
            _Negatives(questions.documents).ranked(list(positives_of_words)),
            strict=True,
        )
    )
    made = Triplets()
    seen: set[str] = set()
    for copy in range(source.copies):
        taken = 0
        for query_id, doc in pairs:
            words = _words(questions.queries[query_id])
            candidates = [
                other for other in ranked_of_words[words] if other not in positives_of_words[words]
            ]
            if not candidates:
                continue
            triplet = (
                _drop_question_mark(questions.queries[query_id], rng),
                _document(questions, doc, rng),
                _document(questions, rng.choice(candidates), rng),
            )
            if query_id in held_out_queries:
                if copy == 0 and doc in held_out_documents and doc not in seen:
                    made.held_out.append(triplet)
                    seen.add(doc)
            elif doc not in held_out_documents and taken < source.limit:
                made.train.append(triplet)
                taken += 1
    return made


def _title_triplets(
    questions: QuestionSet, pool: _Negatives, held_out: set[str], seed: int
) -> list[tuple[str, str, str]]:
    """A title asks for the text under it, which stands without the title; one text a title."""
    rng = random.Random(f"{seed} titles {questions.name}")
    by_title: dict[str, list[str]] = {}
    for document_id, (title, text) in questions.documents.items():
        if title and len(text.split()) >= 15:
            by_title.setdefault(title, []).append(document_id)
    made = []
    for (title, own), ranked in zip(by_title.items(), pool.ranked(list(by_title)), strict=True):
        others = [other for other in ranked if questions.documents[other][0] != title]
        if others:
            positive = questions.documents[rng.choice(own)][1]
            negative = questions.documents[rng.choice(others)][1]
            made.append((title, positive, negative))
    return [triplet for triplet in made if triplet[1] not in held_out]


def _sentence_triplets(
    questions: QuestionSet, pool: _Negatives, held_out: set[str], seed: int, limit: int
) -> list[tuple[str, str, str]]:
    """A sentence of a passage asks for the rest of the passage (the inverse cloze task)."""
    rng = random.Random(f"{seed} sentences {questions.name}")
    documents = list(questions.documents.items())
    rng.shuffle(documents)
    in_documents = Counter(
        sentence for _, text in questions.documents.values() for sentence in set(_sentences(text))
    )
    cut: list[tuple[str, str, str]] = []
    for document_id, (title, text) in documents:
        sentences = _sentences(text)
        usable = [
            position
            for position, sentence in enumerate(sentences)
            if 6 <= len(sentence.split()) <= 28 and in_documents[sentence] == 1  # no boilerplate
        ]
        if len(sentences) < 3 or not usable or len(cut) == limit or text in held_out:
            continue
        chosen = rng.choice(usable)
        rest = " ".join(sentences[:chosen] + sentences[chosen + 1 :])
        # One in ten keeps the sentence: exact matches must stay good.
        passage = text if rng.random() < 0.1 else rest
        cut.append(
            (
                document_id,
                sentences[chosen],
                join_title(title if rng.random() < 0.5 else "", passage),
            )
        )
    made = []
    for (document_id, query, positive), ranked in zip(
        cut, pool.ranked([row[1] for row in cut]), strict=True
    ):
        others = [other for other in ranked if other != document_id]
        if others:
            made.append((query, positive, _document(questions, rng.choice(others), rng)))
    return made


def _snippet_triplets(
    questions: QuestionSet, held_out: set[str], seed: int
) -> list[tuple[str, str, str]]:
    """A short sentence asks for another sentence that answers the same question."""
    rng = random.Random(f"{seed} snippets")
    asked: list[tuple[str, str, set[str]]] = []
    for documents in questions.relevant.values():
        for first, second in pairwise(documents):
            query, positive = questions.documents[first][1], questions.documents[second][1]
            if len(query.split()) <= 40 and not {query, positive} & held_out and query != positive:
                asked.append((query, positive, set(documents)))
    made = []
    ranked_of_query = _Negatives(questions.documents).ranked([query for query, _, _ in asked])
    for (query, positive, own), ranked in zip(asked, ranked_of_query, strict=True):
        others = [other for other in ranked if other not in own]
        if others:
            made.append((query, positive, questions.documents[rng.choice(others)][1]))
    return made


def _document(questions: QuestionSet, document_id: str, rng: random.Random) -> str:
    title, text = questions.documents[document_id]
    return join_title("" if rng.random() < TITLE_DROPOUT else title, text)


def _drop_question_mark(query: str, rng: random.Random) -> str:
    return query.rstrip(" ?") if rng.random() < QUESTION_MARK_DROPOUT else query


def _sentences(text: str) -> list[str]:
    """The first ten sentences: no more than these fit the encoder's length."""
    return [sentence for sentence in re.split(r"(?<=[.!?])\s+", text)[:10] if sentence]


def _words(query: str) -> str:
    return " ".join(re.findall(r"\w+", query.lower()))


def read_json_lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
