"""Long texts → passages: character spans that each fit the model.

Boundaries are found by semantic-text-splitter (paragraphs, then sentences, then words), sizes are
counted by the model's own tokenizer. It knows a capacity in tokens, not what a document is.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
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


class Passages:
    """Splits texts for one tokenizer and capacity. Safe for threads."""

    def __init__(self, tokenizer: Tokenizer, capacity: int) -> None:
        """Keep the tokenizer; `capacity` is in tokens, without markers and special tokens."""
        self._tokenizer = tokenizer
        self._capacity = capacity
        self._lock = threading.Lock()
        self._made: TextSplitter | None = None
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Another thread may have held the lock."""
        self._lock = threading.Lock()

    def split(self, text: str) -> list[tuple[int, int]]:
        """Half-open character spans of the passages, in order and apart.

        A text that fits is one passage, (0, len(text)), and so is a blank one. Others lose the
        white space around passages and nothing else.
        """
        text = printable(text)
        if self._fits(text) or not text.strip():
            return [(0, len(text))]
        spans = []
        for start, end in _pieces(text):
            piece = _LONE_BREAK.sub(_blank, text[start:end])
            for offset, passage in self._splitter.chunk_indices(piece):
                spans.append((start + offset, start + offset + len(passage)))
        return spans

    def _fits(self, text: str) -> bool:
        if len(text) > self._capacity * _CHARACTERS_OF_A_TOKEN:
            return False
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return len(encoding) <= self._capacity

    @property
    def _splitter(self) -> TextSplitter:
        # Made when the first long text comes: it copies the vocabulary, which takes 50 ms.
        with self._lock:
            if self._made is None:
                from semantic_text_splitter import TextSplitter

                self._made = TextSplitter.from_huggingface_tokenizer(
                    self._tokenizer, self._capacity
                )
            return self._made


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
