"""Long texts → passages: character spans that each fit the model, and the texts that it encodes.

Boundaries are found by semantic-text-splitter (paragraphs, then sentences, then words), sizes are
counted by the model's own tokenizer. A passage from the middle of a text seldom says what it is
about, so the text's title is encoded in front of it. Knows a capacity in tokens, not what a
document is.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gingham.encoder.tokenization import printable
from gingham.forking import renew_after_fork

if TYPE_CHECKING:
    from semantic_text_splitter import TextSplitter
    from tokenizers import Tokenizer

# The splitter holds every boundary of a text at once; a book is first cut between paragraphs.
_PIECE = 200_000
_PARAGRAPH = re.compile(r"\n\s*\n")
# To the splitter every end of a line is a boundary above the sentence: a title before a long text
# would be a passage of its own, and so would lines of wrapped prose. Only blank lines should count.
_LONE_BREAK = re.compile(r"(?<![\r\n])\r?\n(?![\r\n])")
# Counting all tokens tells whether a text fits; this long a text is not worth counting first.
_CHARACTERS_OF_A_TOKEN = 16

# A title that takes more of each passage would leave too little for the passage.
_TITLE_TOKENS, _PART_OF_CAPACITY = 32, 4
# A splitter copies the vocabulary: one serves titles of several lengths.
_ROUNDED_TO = 8
_WRAPPED = 120  # Characters: longer lines are not wrapped, their ends mean something.
_LINE_END = re.compile(r"\r\n?|\n")


def title_span(text: str) -> tuple[int, int]:
    """Where the title is: the first line, without the marks of a heading; (0, 0) for none.

    A first line that the next one goes on with is no title. That is told by its form: it goes on if
    it starts with a small letter and is no longer than lines of wrapped prose.
    """
    start = text[: 2 + _WRAPPED + _TITLE_TOKENS * _CHARACTERS_OF_A_TOKEN]
    first, *rest = _LINE_END.split(start.lstrip(), maxsplit=2)
    if not rest or (rest[0][:1].islower() and len(rest[0]) <= _WRAPPED):
        return 0, 0
    title = first.strip().lstrip("#").strip()
    if not any(character.isalnum() for character in title):
        return 0, 0
    begin = text.index(title)
    return begin, begin + len(title)


@dataclass(frozen=True, slots=True)
class Rule:
    """How texts are split.

    Attributes:
        capacity: most tokens of a passage, without markers and special tokens.
        titled: the title counts, and stands in front of each.
    """

    capacity: int
    titled: bool


class Passages:
    """Splits texts for one tokenizer. Safe for threads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Keep the tokenizer."""
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._made: dict[int, TextSplitter] = {}
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Another thread may have held the lock."""
        self._lock = threading.Lock()

    def split(self, text: str, rule: Rule) -> list[tuple[int, int]]:
        """Half-open character spans of the passages, in order and apart.

        A text that fits is one passage, (0, len(text)), and so is a blank one. Others lose the
        white space around passages and nothing else.
        """
        text = printable(text)
        if self._fits(text, rule.capacity) or not text.strip():
            return [(0, len(text))]
        title = self._tokens_of_title(text, rule)
        room = min(-(-title // _ROUNDED_TO) * _ROUNDED_TO, rule.capacity // 2)
        splitter = self._splitter(rule.capacity - room)
        spans = []
        for start, end in _pieces(text):
            piece = _LONE_BREAK.sub(_blank, text[start:end])
            for offset, passage in splitter.chunk_indices(piece):
                spans.append((start + offset, start + offset + len(passage)))
        if title and len(spans) > 1 and spans[0][1] <= title_span(text)[1]:
            # A heading above a blank line: alone it would be found and say nothing.
            joined = spans[0][0], spans[1][1]
            if self._fits(text[slice(*joined)], rule.capacity):
                spans[:2] = [joined]
        return spans

    def texts(self, text: str, spans: Sequence[tuple[int, int]], rule: Rule) -> list[str]:
        """What is encoded for passages of a text that were split by the same rule."""
        if not self._tokens_of_title(text, rule):
            return [text[start:end] for start, end in spans]
        begin_title, end_title = title_span(text)
        title = text[begin_title:end_title]
        return [
            f"{title}\n{text[start:end]}" if start >= end_title else text[start:end]
            for start, end in spans
        ]

    def _tokens_of_title(self, text: str, rule: Rule) -> int:
        """Marks and line end may be some; 0 without a title, or one too long to be repeated."""
        text = printable(text)
        end = title_span(text)[1] if rule.titled else 0
        if not end:
            return 0
        line = f"{text[:end]}\n\n"
        n = len(self._tokenizer.encode(line, add_special_tokens=False))
        return n if n <= min(_TITLE_TOKENS, rule.capacity // _PART_OF_CAPACITY) else 0

    def _fits(self, text: str, capacity: int) -> bool:
        if len(text) > capacity * _CHARACTERS_OF_A_TOKEN:
            return False
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return len(encoding) <= capacity

    def _splitter(self, capacity: int) -> TextSplitter:
        # Made when the first long text comes: it copies the vocabulary, which takes 50 ms.
        with self._lock:
            if capacity not in self._made:
                from semantic_text_splitter import TextSplitter

                self._made[capacity] = TextSplitter.from_huggingface_tokenizer(
                    self._tokenizer, capacity
                )
            return self._made[capacity]


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Spans that cover the text, cut after a paragraph, or anywhere where there is none."""
    start = 0
    while len(text) - start > _PIECE:
        ends = [match.end() for match in _PARAGRAPH.finditer(text, start, start + _PIECE)]
        end = ends[-1] if ends and ends[-1] > start else start + _PIECE
        yield start, end
        start = end
    yield start, len(text)
