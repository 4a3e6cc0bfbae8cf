"""The conductor of the encoder, and the one way in: texts → `TokenVectors`.

`tokenization` → `session` → `projection`, window by window. It knows no index and no score.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

import numpy as np

from gingham.document import Float32, TokenVectors
from gingham.encoder.checkpoint import Precision, load_checkpoint
from gingham.encoder.passages import Passages, Rule
from gingham.encoder.projection import normalise
from gingham.encoder.session import Session
from gingham.encoder.tokenization import Tokenization, TokenizedText, Tokens, check_texts, pack
from gingham.errors import InputError
from gingham.threads import resolve_threads

# A window also ends after so many characters: its texts and vectors are in memory together.
_WINDOW_CHARACTERS = 4_000_000


class Encoder:
    """A ColBERT model: texts in, one vector a token out. Safe for threads and in forked children.

    On a CPU a text's vectors do not depend on the number of threads. With int8 they do not depend
    on the texts encoded with it either; with fp32 that holds up to rounding.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        threads: int | None = None,
        precision: Precision = "auto",
    ) -> None:
        """Load a model.

        Args:
            model: a folder, the name of a model on the hub, or None for the bundled model.
            device: "cpu", "cuda", or "auto": cuda where ONNX Runtime has it.
            threads: on a CPU; else `GINGHAM_THREADS`, else all cores. Changes no result.
            precision: "fp32" or "int8", or "auto": fp32 where the model has it.

        Raises:
            InputError: an argument is not one of these.
            ModelError: the model is unknown, incomplete, damaged or of an unsupported layout.
        """
        self._asked = {"device": device, "threads": threads}
        self._threads = resolve_threads(threads)
        self._checkpoint = load_checkpoint(model, precision)
        self._tokenization = Tokenization(self._checkpoint)
        self._passages = Passages(self._tokenization.tokenizer)
        self._session = Session(
            self._checkpoint,
            device=device,
            threads=self._threads,
            pad_id=self._tokenization.pad_id,
        )

    def __getstate__(self) -> dict[str, object]:
        """What opens it again: pickled it is a name, not weights."""
        return {"model": self.name, "precision": self.precision, **self._asked}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Load the model that the name stands for, here and now."""
        self.__init__(**state)  # type: ignore[misc]

    @property
    def name(self) -> str:
        """What opens this model again: a hub name, an absolute folder, or "gingham-mini"."""
        return self._checkpoint.name

    @property
    def threads(self) -> int:
        """How many a run on a CPU uses."""
        return self._threads

    @property
    def precision(self) -> Literal["fp32", "int8"]:
        """What the transformer computes with; the argument that opens the same file again."""
        return "int8" if self._checkpoint.quantised else "fp32"

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self._checkpoint.dim

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over everything that changes vectors: weights, tokenizer, settings."""
        return self._checkpoint.fingerprint

    @property
    def query_length(self) -> int:
        """Most tokens of a query, markers and special tokens included."""
        return self._checkpoint.query_length

    @property
    def document_length(self) -> int:
        """Most tokens of a document, markers and special tokens included; the rest is cut off."""
        return self._checkpoint.document_length

    def encode_queries(self, texts: str | Sequence[str], *, batch_size: int = 32) -> TokenVectors:
        """Vectors of queries.

        Args:
            texts: queries; one str is one query. Of no texts the result has no texts.
            batch_size: most texts of one run; fewer where they are long.

        Returns:
            `TokenVectors` of one text a query, `values` (n_tokens, dim) float32, with token ids and
            spans.

        Raises:
            InputError: an entry is not a str.
            ModelError: the transformer fails.
        """
        queries = _as_list(texts)
        check_texts(queries)
        return self._encode(
            self._tokenization.queries(queries), _positive(batch_size, "batch_size")
        )

    def encode_documents(self, texts: str | Iterable[str], *, batch_size: int = 32) -> TokenVectors:
        """Vectors of documents, in one value: 512 bytes a token at 128 dimensions.

        Args:
            texts: documents; one str is one document. What is beyond `document_length` tokens is
                cut off: `split` gives passages that fit. Of no texts the result has no texts.
            batch_size: most texts of one run; fewer where they are long.

        Returns:
            `TokenVectors` of one text a document, `values` (n_tokens, dim) float32, with token ids
            and spans.

        Raises:
            InputError: an entry is not a str.
            ModelError: the transformer fails.
        """
        windows = list(self.iter_documents(texts, batch_size=batch_size))
        return TokenVectors.concatenate(windows) if windows else self._encode([], batch_size)

    def iter_documents(
        self, texts: str | Iterable[str], *, batch_size: int = 32, window: int = 512
    ) -> Iterator[TokenVectors]:
        """Vectors of documents from any iterator, in bounded memory.

        Args:
            texts: as in `encode_documents`; read as the result is consumed.
            batch_size: as in `encode_documents`.
            window: most texts of one yielded value; long texts make it fewer.

        Yields:
            `TokenVectors` of the next texts, in the order of `texts`.

        Raises:
            InputError: an entry is not a str; its index counts from the first text.
            ModelError: the transformer fails.
        """
        _positive(batch_size, "batch_size")
        for documents in _windows(texts, _positive(window, "window")):
            yield self._encode(self._tokenization.documents(documents), batch_size)

    def split(
        self, text: str, *, length: int | None = None, titled: bool = False
    ) -> list[tuple[int, int]]:
        """Half-open character spans of the passages of a text that each fit the model.

        A text that fits, and a blank one, is one passage: (0, len(text)). Others lose the white
        space around passages and nothing else.

        Args:
            text: the whole of it.
            length: most tokens of a passage, markers and special tokens included; at most
                `document_length`, which it is where None.
            titled: leave room for its title in each, see `passage_texts`.

        Raises:
            InputError: `text` is not a str, or a passage of such a length has no room for text.
        """
        check_texts([text])
        return self._passages.split(text, self._rule(length, titled))

    def split_many(
        self, texts: Sequence[str], *, length: int | None = None, titled: bool = False
    ) -> list[list[tuple[int, int]]]:
        """`split` of each text, on all threads.

        Raises:
            InputError: an entry is not a str, or `length` is too small.
        """
        check_texts(texts)
        split = partial(self._passages.split, rule=self._rule(length, titled))
        if self._threads == 1 or len(texts) < 2:
            return [split(text) for text in texts]
        with ThreadPoolExecutor(self._threads) as pool:  # tokenizer and splitter release the GIL
            return list(pool.map(split, texts))

    def passage_texts(
        self,
        text: str,
        spans: Sequence[tuple[int, int]],
        *,
        length: int | None = None,
        titled: bool = False,
    ) -> list[str]:
        """What to encode for the passages of a text.

        Args:
            text: the whole of it.
            spans: from `split` with the same options.
            length: as in `split`.
            titled: in front of a passage that lacks it stands the title, on a line of its own: the
                first line of the text, unless the second goes on with it, or it is longer than 32
                tokens or a quarter of a passage.

        Raises:
            InputError: `text` is not a str, or `length` is too small.
        """
        check_texts([text])
        return self._passages.texts(text, spans, self._rule(length, titled))

    def tokenize_queries(self, texts: str | Sequence[str]) -> Tokens:
        """The tokens that `encode_queries` makes vectors of, without running the model.

        Raises:
            InputError: an entry is not a str.
        """
        return self._tokenize(texts, self._tokenization.queries)

    def tokenize_documents(self, texts: str | Sequence[str]) -> Tokens:
        """The tokens that `encode_documents` makes vectors of, without running the model.

        Raises:
            InputError: an entry is not a str.
        """
        return self._tokenize(texts, self._tokenization.documents)

    def token_text(self, token_id: int) -> str:
        """The vocabulary's entry, such as "##ing" or "[MASK]".

        Raises:
            InputError: there is none of this id.
        """
        text = self._tokenization.tokenizer.id_to_token(token_id) if token_id >= 0 else None
        if text is None:
            raise InputError(f"{self.name} has no token {token_id}: pass an id that it made")
        return text

    def __repr__(self) -> str:
        """Name and dimension."""
        return f"Encoder({self.name!r}, dim {self.dim})"

    def _rule(self, length: int | None, titled: bool) -> Rule:
        capacity, whole = self._tokenization.passage_capacity, self.document_length
        if length is not None and _positive(length, "length") < whole:
            capacity -= whole - length
        if capacity < 1:
            raise InputError(f"a passage of {length} tokens has no room for text: take more")
        return Rule(capacity, titled)

    def _tokenize(
        self,
        texts: str | Sequence[str],
        tokenize: Callable[[Sequence[str]], list[TokenizedText]],
    ) -> Tokens:
        known = _as_list(texts)
        check_texts(known)
        return pack(tokenize(known))

    def _encode(self, texts: list[TokenizedText], batch_size: int) -> TokenVectors:
        tokens = pack(texts)
        values = np.empty((len(tokens.token_ids), self.dim), np.float32)
        for i, vectors in self._session.run(texts, batch_size, self._project):
            values[tokens.offsets[i] : tokens.offsets[i + 1]] = vectors
        return TokenVectors(values, tokens.offsets, tokens.token_ids, tokens.spans)

    def _project(self, hidden: Float32) -> Float32:
        for layer in self._checkpoint.dense:
            hidden = layer(hidden)
        return normalise(hidden) if self._checkpoint.normalises else hidden


def _as_list(texts: str | Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        return [texts]
    try:
        return list(texts)
    except TypeError:
        raise InputError(f"texts is a {type(texts).__name__}: pass a str or several") from None


def _windows(texts: str | Iterable[str], size: int) -> Iterator[list[str]]:
    """Runs of texts, checked, each of at most `size` texts and about so many characters."""
    iterator = iter(_as_list(texts) if isinstance(texts, str) else _iterable(texts))
    window: list[str] = []
    characters = 0
    for i, text in enumerate(iterator):
        check_texts([text], i)
        window.append(text)
        characters += len(text)
        if len(window) == size or characters >= _WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window


def _iterable(texts: Iterable[str]) -> Iterable[str]:
    if not isinstance(texts, Iterable):
        raise InputError(f"texts is a {type(texts).__name__}: pass a str or several")
    return texts


def _positive(number: int, name: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InputError(f"{name} must be a whole number of at least 1, got {number!r}")
    return number
