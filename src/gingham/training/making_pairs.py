"""Pairs out of texts that nobody labelled: what stands above a passage, or was cut out of it, asks
for it.

Four kinds: a title asks for the text below it; so does a heading; a sentence asks for the passage
that it was taken from (the inverse cloze task, Lee et al. 2019, https://arxiv.org/abs/1906.00300);
a sentence asks for its neighbour. Every passage is in the set once, as its pair has it: where its
title was taken away or a sentence cut out, nothing has the whole. All draws come from digests of
ids: the same texts give the same pairs, whatever else there is.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gingham.document import Document
from gingham.training.mining import normalised

KINDS = ("title", "heading", "cloze", "neighbour")
# Lee et al. keep the sentence in a tenth of the passages, so that matching words is learnt too.
KEPT_SENTENCES = 0.1

Split = Callable[[str], Sequence[tuple[int, int]]]

_LONGEST_TITLE, _SHORTEST_BODY = 150, 60
_SHORTEST_SENTENCE, _LONGEST_SENTENCE = 25, 300
# Scripts that need no spaces say more in a character.
_DENSE = 2.5
_MOST_POSITIVES = 4
_HEADING = re.compile(r"^#{1,6}[ \t]+(\S.*?)[ \t#]*$", re.MULTILINE)
_UNDERLINED = re.compile(r"^(\S[^\n]{2,150})\n([=\-~^\"'`#*+])\2{2,}[ \t]*$", re.MULTILINE)
_SENTENCE_END = re.compile(
    r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[^\Wa-z_])|(?<=[。！？])\s*|\n\s*\n"
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A made query, and what it asks for.

    Attributes:
        kind: one of `KINDS`.
        query: a text.
        document_id: the document that it was made from.
        positives: ids of the passages that answer it.
    """

    kind: str
    query: str
    document_id: str
    positives: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Everything that was made of some documents.

    Attributes:
        pairs: at most one a passage, and one of the whole document.
        passages: text by id, as the pairs have them; those without a pair as they were.
        owners: the document of each passage.
    """

    pairs: tuple[Pair, ...]
    passages: dict[str, str]
    owners: dict[str, str]


def make_pairs(documents: Iterable[Document], split: Split) -> Pairs:
    """Pairs of every kind that the documents allow.

    Titles and headings that several documents have ask for nothing in particular: such a title is
    not used, and such a heading has the title put in front. A passage that stands in two documents
    word for word is taken once.

    Args:
        documents: those without text are passed over.
        split: the half-open spans of passages of a text, as `gingham.Encoder.split`.
    """
    parts = [part for document in documents for part in _parts(document)]
    titles = Counter(normalised(part.title) for part in parts if part.title and part.is_first)
    headings = Counter(normalised(part.heading) for part in parts if part.heading)
    seen: set[str] = set()
    pairs: list[Pair] = []
    passages: dict[str, str] = {}
    owners: dict[str, str] = {}
    by_title: dict[str, list[str]] = {}
    for part in parts:
        found = _of_part(part, split, headings, seen)
        for id, text, pair in found:
            passages[id], owners[id] = text, part.document_id
            if pair is not None:
                pairs.append(pair)
            if part.title and titles[normalised(part.title)] == 1:
                by_title.setdefault(part.title, []).append(id)
    for title, ids in by_title.items():
        owner = owners[ids[0]]
        pairs.append(Pair("title", title, owner, tuple(ids[:_MOST_POSITIVES])))
    return Pairs(tuple(pairs), passages, owners)


def share_of(id: str, purpose: str) -> float:
    """A number in [0, 1) that an id always has, another one for each purpose."""
    data = f"{purpose}\0{id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") / 2**64


def sentences(text: str) -> list[tuple[int, int]]:
    """Half-open spans of sentences, without the white space around them."""
    ends = [match.start() for match in _SENTENCE_END.finditer(text)]
    starts = [match.end() for match in _SENTENCE_END.finditer(text)]
    spans = zip([0, *starts], [*ends, len(text)], strict=True)
    return [(start, end) for start, end in spans if text[start:end].strip()]


@dataclass(frozen=True, slots=True)
class _Part:
    """A run of a document under one heading, or the whole."""

    document_id: str
    number: int
    title: str
    heading: str
    body: str

    @property
    def is_first(self) -> bool:
        return self.number == 0


def _parts(document: Document) -> Iterator[_Part]:
    text = (document.text or "").strip()
    title, body = _title(text)
    marks = sorted(
        [(m.start(), m.end(), m[1]) for m in _HEADING.finditer(body)]
        + [(m.start(), m.end(), m[1]) for m in _UNDERLINED.finditer(body)]
    )
    starts = [0, *(end for _, end, _ in marks)]
    ends = [*(start for start, _, _ in marks), len(body)]
    names = ["", *(name.strip() for _, _, name in marks)]
    number = 0
    for name, start, end in zip(names, starts, ends, strict=True):
        if start <= end and (run := body[start:end].strip()):
            yield _Part(document.id, number, title, name, run)
            number += 1


def _title(text: str) -> tuple[str, str]:
    """The first line, where it is one, and the rest."""
    first, line_end, rest = text.partition("\n")
    marked = _HEADING.match(first)
    title, body = (marked[1] if marked else first).strip(), rest.strip()
    is_sentence = title.endswith((".", ",", ";", ":", "。")) and not marked
    if not line_end or is_sentence or len(title) > _LONGEST_TITLE or _size(body) < _SHORTEST_BODY:
        return "", text
    return ("", text) if _UNDERLINED.match(text) or _size(title) < 3 else (title, body)


def _of_part(
    part: _Part, split: Split, headings: Counter[str], seen: set[str]
) -> Iterator[tuple[str, str, Pair | None]]:
    """Id, text and pair of every passage; the first one below a heading answers that."""
    wanted = part.heading
    if wanted and headings[normalised(wanted)] > 1:
        wanted = f"{part.title}: {wanted}" if part.title else ""
    for number, (start, end) in enumerate(split(part.body)):
        text = part.body[start:end].strip()
        key = normalised(text)
        if not text or key in seen:
            continue
        seen.add(key)
        id = f"{part.document_id}#{part.number}.{number}"
        if wanted and number == 0 and _size(text) >= _SHORTEST_BODY:
            yield id, text, Pair("heading", wanted, part.document_id, (id,))
            continue
        yield _of_passage(id, text, part.document_id)


def _of_passage(id: str, text: str, document_id: str) -> tuple[str, str, Pair | None]:
    spans = sentences(text)
    usable = [n for n, span in enumerate(spans) if _is_sentence(text[slice(*span)])]
    if share_of(id, "kind") < 0.25:
        followed = [n for n in usable if n + 1 in usable]
        if followed:
            n = followed[int(share_of(id, "sentence") * len(followed))]
            query, answer = (text[slice(*spans[m])] for m in (n, n + 1))
            return id, answer, Pair("neighbour", query, document_id, (id,))
    if len(spans) < 3 or not usable:
        return id, text, None
    start, end = spans[usable[int(share_of(id, "sentence") * len(usable))]]
    kept = share_of(id, "kept") < KEPT_SENTENCES
    rest = text if kept else f"{text[:start].rstrip()} {text[end:].lstrip()}"
    return id, rest.strip(), Pair("cloze", text[start:end], document_id, (id,))


def _is_sentence(text: str) -> bool:
    return _size(text) >= _SHORTEST_SENTENCE and len(text) <= _LONGEST_SENTENCE


def _size(text: str) -> float:
    """Characters, those of scripts without spaces counted for what they say."""
    dense = sum("\u3040" <= c <= "\u30ff" or "\u4e00" <= c <= "\u9fff" for c in text)
    return len(text) + (_DENSE - 1) * dense
