"""TREC topics, in the SGML of the early tracks and in XML → fields by topic.

SGML: `<top> <num> Number: 301 <title> … <desc> Description: … </top>`; closing tags may be missing
and a text may go on over lines. XML: elements `topic` with the number in an attribute or child.
XML that declares a document type is refused: entities can make a small file fill the memory. Which
field is the query is not decided here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

from gingham.errors import SourceError
from gingham.evaluation.numbered_lines import numbered_lines, shown

# The field of a topic that has text and no elements.
WHOLE = "text"

_TAG = re.compile(r"<(/?)([A-Za-z][\w.-]*)[^<>]*>")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_ENTITY = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z]+);")
# What stands in front of the text of a field for human readers.
_LABELS = {
    "num": "Number:",
    "title": "Topic:",
    "desc": "Description:",
    "narr": "Narrative:",
    "smry": "Summary:",
    "con": "Concept(s):",
    "dom": "Domain:",
}
_TOPIC_TAGS = frozenset({"topic", "top", "query"})
_IDS = ("num", "number", "id", "qid", "query_id", "topic_id")


class Topic(NamedTuple):
    """One topic: its id and the text of its fields, by lower-case name."""

    line: int
    id: str
    fields: dict[str, str]


def topics(path: Path) -> Iterator[Topic]:
    """Every topic in the order of the file, with the line it starts in.

    Raises:
        SourceError: the file cannot be read, is not well formed or declares a document type, or a
            topic has no number.
    """
    # Blank lines keep their place, so that positions say line numbers.
    lines, at = [], 1
    for number, line in numbered_lines(path):
        lines.append("\n" * (number - at) + line)
        at = number
    whole = "".join(lines)
    first = _TAG.search(_COMMENT.sub("", whole))
    is_sgml = first is not None and first[2].lower() == "top"
    for start, fields in _sgml(whole) if is_sgml else _xml(whole, shown(path)):
        yield _topic(start, fields, f"{shown(path)}, line {start}")


def _topic(line: int, fields: dict[str, str], where: str) -> Topic:
    for name in _IDS:
        if id := fields.pop(name, ""):
            return Topic(line, id, fields)
    raise SourceError(f"{where}: a topic without a number; each needs one, as <num> or number=")


def _sgml(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    text = _COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), text)
    fields: dict[str, str] | None = None
    line = counted_to = 0
    tags = list(_TAG.finditer(text))
    for tag, following in zip(tags, [*tags[1:], None], strict=True):
        closing, name = tag[1], tag[2].lower()
        if name == "top":
            if fields is not None:
                yield line + 1, fields
            fields = None if closing else {}
        if not closing and name == "top":
            line += text.count("\n", counted_to, tag.start())
            counted_to = tag.start()
        elif not closing and fields is not None:
            content = text[tag.end() : following.start() if following else len(text)]
            fields.setdefault(name, _clean(name, content))
    if fields is not None:
        yield line + 1, fields


def _clean(name: str, content: str) -> str:
    content = _ENTITY.sub(lambda entity: html.unescape(entity[0]), content)
    return _unlabelled(name, content)


def _unlabelled(name: str, content: str) -> str:
    return " ".join(content.split()).removeprefix(_LABELS.get(name, "")).strip()


def _xml(text: str, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    collector = _Collector(name)
    try:
        collector.parser.Parse(text, True)
    except expat.ExpatError as error:
        raise SourceError(
            f"{name}, line {error.lineno}: not XML ({expat.ErrorString(error.code)}); topics are "
            "<topics><topic number=…>…, or TREC's <top><num>…"
        ) from error
    yield from collector.topics


class _Collector:
    """What a parser of XML tells of topics; expat itself, as ElementTree cannot refuse a DTD."""

    def __init__(self, name: str) -> None:
        self.topics: list[tuple[int, dict[str, str]]] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._refuse
        self._name = name
        self._depth = 0  # elements open within a topic, itself included
        # "" is the topic itself, None what is passed over.
        self._field: str | None = None
        self._parts: dict[str, list[str]] = {}

    def _refuse(self, *_: object) -> None:
        raise SourceError(
            f"{self._name}, line {self.parser.CurrentLineNumber}: a DOCTYPE, which could declare "
            "entities without end; topics are read without: remove it"
        )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.lower()
        if self._depth:
            self._depth += 1
            if self._depth == 2:
                # Of several elements of a name the first counts, as in SGML.
                self._field = tag if tag not in self._parts else None
        elif tag in _TOPIC_TAGS:
            self._depth = 1
            self._field = ""
            self._parts = {key.lower(): [value] for key, value in attributes.items()}
            self.topics.append((self.parser.CurrentLineNumber, {}))

    def _text(self, data: str) -> None:
        if self._depth and self._field is not None:
            self._parts.setdefault(self._field, []).append(data)

    def _end(self, _: str) -> None:
        if self._depth == 1:
            fields = {
                name: _unlabelled(name, "".join(parts)) for name, parts in self._parts.items()
            }
            if own := fields.pop("", ""):
                fields.setdefault(WHOLE, own)
            self.topics[-1][1].update(fields)
        if self._depth:
            self._depth -= 1
        if self._depth == 1:
            self._field = ""
