"""Text → token ids, attention, which tokens get vectors, and where they stand in the text.

Marker, truncation, query augmentation with [MASK] and the skiplist happen here, in this order, as
in ColBERT (https://arxiv.org/abs/2004.12832, section 3.2). It knows the checkpoint's settings and
the tokenizer, not the transformer. The tokenizer's own truncation and padding stay off: they are
state, and several threads share it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gingham.document import Int32, Int64, UInt32
from gingham.encoder.checkpoint import Checkpoint
from gingham.encoder.files import read_json
from gingham.errors import InputError, ModelError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

# Of a text much longer than the model takes, this many characters a token are looked at first.
_CHARACTERS_OF_A_TOKEN = 32
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedText:
    """One text as the transformer takes it.

    Attributes:
        ids: (n) int64 vocabulary ids, special tokens and filling included.
        attention: (n) int64, 0 where no token attends to this one.
        keep: (n) bool, whether the token gets a vector.
        spans: (n, 2) int32 half-open character positions in the text; (0, 0) for added tokens.
    """

    ids: Int64
    attention: Int64
    keep: npt.NDArray[np.bool_]
    spans: Int32


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """The tokens of several texts that have vectors, packed: `TokenVectors` without the vectors.

    Attributes:
        token_ids: (n_tokens) uint32 vocabulary ids.
        spans: (n_tokens, 2) int32 half-open character positions in the text.
        offsets: (n_texts + 1) int64; text i owns the rows offsets[i]:offsets[i + 1].
    """

    token_ids: UInt32
    spans: Int32
    offsets: Int64

    def __len__(self) -> int:
        """Texts."""
        return len(self.offsets) - 1


class Tokenization:
    """A checkpoint's tokenizer with its rules for queries and documents. Safe for threads."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Read the tokenizer and resolve every token that the rules name.

        Raises:
            ModelError: the tokenizer is damaged, or lacks what the configuration asks of it.
        """
        self._checkpoint = checkpoint
        self.tokenizer = tokenizer = _load_tokenizer(checkpoint.folder / "tokenizer.json")
        # Where the special tokens stand, from a text that has them: [CLS] first, [SEP] last.
        special = tokenizer.encode("a").special_tokens_mask
        self._n_leading = special.index(0) if 0 in special else len(special)
        self._trailing = tokenizer.encode("a").ids[len(special) - special[::-1].index(0) :]
        for length, prompt in (
            (checkpoint.query_length, checkpoint.query_prompt),
            (checkpoint.document_length, checkpoint.document_prompt),
        ):
            if self._capacity(length, prompt) < 1:
                raise ModelError(
                    f"{checkpoint.folder}: {length} tokens leave no room for text after marker and "
                    "special tokens: raise the length in sentence_bert_config.json"
                )
        skip = (tokenizer.token_to_id(word) for word in checkpoint.skiplist)
        self._skip = np.array([token for token in skip if token is not None], np.int64)
        self._kept = np.array(checkpoint.kept_ids, np.int64)
        self._filling, self.pad_id = self._special_ids()

    @property
    def passage_capacity(self) -> int:
        """Tokens of its own that a document may have before it is cut."""
        return self._capacity(self._checkpoint.document_length, self._checkpoint.document_prompt)

    def queries(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Tokenise queries: marker, truncation, augmentation."""
        checkpoint = self._checkpoint
        augmentation = checkpoint.augmentation
        result = []
        for ids, spans in self._encode(texts, checkpoint.query_prompt, checkpoint.query_length):
            n, short = len(ids), 0
            if augmentation is not None:
                short = max(augmentation.length - n, 0)
                ids = np.pad(ids, (0, short), constant_values=self._filling)
                spans = np.pad(spans, ((0, short), (0, 0)))
            attention = np.ones(n + short, np.int64)
            attention[n:] = augmentation is not None and augmentation.attend
            keep = attention.astype(bool) | checkpoint.scores_augmentation
            if checkpoint.skips_queries:
                keep &= ~np.isin(ids, self._skip)
            result.append(TokenizedText(ids, attention, keep, spans))
        return result

    def documents(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Tokenise documents: marker, truncation, skiplist."""
        checkpoint = self._checkpoint
        result = []
        for ids, spans in self._encode(
            texts, checkpoint.document_prompt, checkpoint.document_length
        ):
            keep = np.ones(len(ids), bool)
            if checkpoint.skips_documents and len(self._skip):
                keep &= ~np.isin(ids, self._skip)
            if len(self._kept):
                keep &= np.isin(ids, self._kept)
            result.append(TokenizedText(ids, np.ones(len(ids), np.int64), keep, spans))
        return result

    def _encode(self, texts: Sequence[str], prompt: str, length: int) -> list[tuple[Int64, Int32]]:
        """Ids and spans of each text behind its prompt, cut to `length`."""
        texts = [prompt + printable(text) for text in texts]
        heads = [_head(text, length * _CHARACTERS_OF_A_TOKEN) for text in texts]
        encodings = self.tokenizer.encode_batch(heads)
        for i, (text, head) in enumerate(zip(texts, heads, strict=True)):
            if len(head) < len(text) and len(encodings[i]) <= length:  # mostly white space
                encodings[i] = self.tokenizer.encode(text)
        return [self._cut(encoding, len(prompt), length) for encoding in encodings]

    def _cut(self, encoding: Encoding, shift: int, length: int) -> tuple[Int64, Int32]:
        tail = self._trailing if len(encoding) > length else []
        if len(encoding) > length:
            encoding.truncate(length - len(tail))  # cut in Rust: a book has a million tokens
        ids = np.array(encoding.ids + tail, np.int64)
        spans = np.array(encoding.offsets + [(0, 0)] * len(tail), np.int32).reshape(-1, 2)
        # The tokenizer saw prompt and text as one: what stands in the prompt becomes (0, 0).
        return ids, np.maximum(spans - np.int32(shift), 0)

    def _capacity(self, length: int, prompt: str) -> int:
        marker = len(self.tokenizer.encode(prompt, add_special_tokens=False).ids)
        return length - marker - self._n_leading - len(self._trailing)

    def _special_ids(self) -> tuple[int, int]:
        """The id that fills queries (0 where nothing does), and the id of padding."""
        path = self._checkpoint.folder / "tokenizer_config.json"
        config = read_json(path) if path.is_file() else {}
        pad = self._special_id(config, "pad_token")
        augmentation = self._checkpoint.augmentation
        if augmentation is None:
            return 0, pad or 0
        if augmentation.token is not None:
            filling = self.tokenizer.token_to_id(augmentation.token)
        else:
            filling = self._special_id(config, "mask_token")
            if filling is None:
                filling = self._special_id(config, "eos_token")
        if filling is None:
            raise ModelError(
                f"{self._checkpoint.folder}: query augmentation needs a mask token, and the "
                "tokenizer has none: name one in query_expansion of sentence_bert_config.json"
            )
        return filling, pad or 0

    def _special_id(self, config: dict[str, Any], key: str) -> int | None:
        token = config.get(key)
        content = token.get("content") if isinstance(token, dict) else token
        return self.tokenizer.token_to_id(content) if isinstance(content, str) else None


def pack(texts: Sequence[TokenizedText]) -> Tokens:
    """The kept tokens of all texts in one value."""
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([np.count_nonzero(text.keep) for text in texts], out=offsets[1:])
    if not texts:
        return Tokens(np.empty(0, np.uint32), np.empty((0, 2), np.int32), offsets)
    ids = np.concatenate([text.ids[text.keep] for text in texts]).astype(np.uint32)
    return Tokens(ids, np.concatenate([text.spans[text.keep] for text in texts]), offsets)


def printable(text: str) -> str:
    """The text with each lone surrogate, which UTF-8 cannot hold, replaced by U+FFFD.

    One character for one: spans stay true.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text)
    return text


def _head(text: str, size: int) -> str:
    """The beginning of a text, cut before a word: its tokens are those of the whole text."""
    if len(text) <= size:
        return text
    parts = text[:size].rsplit(None, 1)
    return parts[0] if len(parts) == 2 else ""


def check_texts(texts: Sequence[object], first: int = 0) -> None:
    """Raise an InputError that names the first entry, counted from `first`, that is no text."""
    for i, text in enumerate(texts, first):
        if not isinstance(text, str):
            raise InputError(f"text {i} is a {type(text).__name__}, not a str: pass text")


def _load_tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        line = str(error).splitlines()[0] if str(error) else "unreadable"
        raise ModelError(f"{path}: damaged tokenizer ({line}): get the file again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
