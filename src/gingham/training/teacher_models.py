"""The teachers that are there: a cross-encoder, a dense model, a late-interaction model, BM25.

Each loads what it needs when it is made, and knows nothing of training sets: it is handed texts.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham import kernels
from gingham.document import Float32
from gingham.encoder import Encoder
from gingham.errors import InputError, MissingDependencyError, ModelError, shown
from gingham.evaluation.bm25 import BM25, BM25Searcher
from gingham.evaluation.experiment import make_job
from gingham.evaluation.quiet_libraries import quiet_libraries
from gingham.training.in_memory import as_dataset

Float16 = npt.NDArray[np.float16]

# Texts that are encoded together.
_BATCH = 32
# Values of token vectors that are kept, as fp16: half a gigabyte.
_KEPT_VALUES = 1 << 28


class CrossEncoderTeacher:
    """A model that reads query and document together (Nogueira & Cho 2019, arXiv:1901.04085).

    Its logits are the scores, without the sigmoid that would flatten the differences at the ends.
    """

    floor = 0.5

    def __init__(self, model: str | os.PathLike[str], *, batch_size: int = _BATCH) -> None:
        """Load a folder or hub name, onto a GPU where there is one.

        Raises:
            ModelError: it cannot be loaded, or gives several numbers a pair.
            MissingDependencyError: sentence-transformers is not installed.
        """

        def load(name: str) -> Any:
            from sentence_transformers import CrossEncoder
            from torch.nn import Identity

            return CrossEncoder(name, activation_fn=Identity())

        self._model = _loaded(load, model, "a cross-encoder")
        self._batch_size = batch_size
        self.name = f"cross-encoder {_called(model)}"
        if self._model.num_labels != 1:
            raise ModelError(
                f"{model}: gives {self._model.num_labels} numbers a pair; a teacher's model gives "
                "one, as those trained on MS MARCO do"
            )

    def score(self, queries: Sequence[str], documents: Sequence[Sequence[str]]) -> list[Float32]:
        """See `gingham.training.teachers.Teacher.score`."""
        pairs = [
            (query, text) for query, texts in zip(queries, documents, strict=True) for text in texts
        ]
        scores = self._model.predict(
            pairs, batch_size=self._batch_size, show_progress_bar=False, convert_to_numpy=True
        )
        return _parted(np.asarray(scores, dtype=np.float32), documents)


class DenseTeacher:
    """A model with one vector a text: the cosine, or what else the model compares by.

    Each document is encoded once, however many lists it is in and however often it is asked for.
    """

    floor = 0.01

    def __init__(self, model: str | os.PathLike[str], *, batch_size: int = _BATCH) -> None:
        """Load a folder or hub name, onto a GPU where there is one.

        Raises:
            ModelError: it cannot be loaded, or does not make one vector a text.
            MissingDependencyError: sentence-transformers is not installed.
        """

        def load(name: str) -> Any:
            from sentence_transformers import SentenceTransformer
            from sentence_transformers.util import load_file_path

            # A model of another kind would be given a pooling that nobody trained.
            config = load_file_path(name, "config_sentence_transformers.json")
            if config is not None:
                kind = json.loads(Path(config).read_text(encoding="utf-8")).get("model_type")
                if kind not in (None, "SentenceTransformer"):
                    raise ValueError(f"it is a {kind}")
            return SentenceTransformer(name)

        self._model = _loaded(load, model, "a single-vector model")
        self._batch_size = batch_size
        self._rows: dict[bytes, int] = {}
        self._vectors = np.empty((0, 0), dtype=np.float32)
        self.name = f"dense {_called(model)}"

    def score(self, queries: Sequence[str], documents: Sequence[Sequence[str]]) -> list[Float32]:
        """See `gingham.training.teachers.Teacher.score`."""
        asked = self._encode(self._model.encode_query, list(queries))
        keys = [[_digest(text) for text in texts] for texts in documents]
        new = {
            key: text
            for row, texts in zip(keys, documents, strict=True)
            for key, text in zip(row, texts, strict=True)
            if key not in self._rows
        }
        if new:
            vectors = self._encode(self._model.encode_document, list(new.values()))
            start = len(self._rows)
            self._rows.update({key: start + i for i, key in enumerate(new)})
            self._vectors = np.concatenate([self._vectors, vectors]) if start else vectors
        scores = []
        for vector, row in zip(asked, keys, strict=True):
            chosen = [self._rows[key] for key in row]
            scores.append((self._vectors[chosen] @ vector).astype(np.float32))
        return scores

    def _encode(self, encode: Callable[..., Any], texts: list[str]) -> Float32:
        if not texts:
            return np.empty((0, 0), dtype=np.float32)
        vectors = encode(
            texts,
            batch_size=self._batch_size,
            normalize_embeddings=self._model.similarity_fn_name in (None, "cosine"),
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return np.asarray(vectors, dtype=np.float32)


class LateInteractionTeacher:
    """Another ColBERT model: MaxSim, by gingham's own encoder and kernels.

    Token vectors of documents are kept as fp16, as many as fit, those asked for last.
    """

    floor = 0.1

    def __init__(self, model: str | os.PathLike[str], *, threads: int | None = None) -> None:
        """Load a folder or hub name that `gingham.Encoder` takes.

        Raises:
            ModelError: it cannot be loaded.
        """
        self._encoder = Encoder(model, threads=threads)
        self._threads = threads
        self._kept: OrderedDict[bytes, Float16] = OrderedDict()
        self._kept_values = 0
        self.name = f"late interaction {_called(model)}"

    def score(self, queries: Sequence[str], documents: Sequence[Sequence[str]]) -> list[Float32]:
        """See `gingham.training.teachers.Teacher.score`."""
        scores = []
        for start in range(0, len(queries), _BATCH):
            lists = documents[start : start + _BATCH]
            known = self._vectors({_digest(text): text for texts in lists for text in texts})
            asked = self._encoder.encode_queries(list(queries[start : start + _BATCH]))
            for query, texts in zip(asked, lists, strict=True):
                scores.append(self._maxsim(query, [known[_digest(text)] for text in texts]))
        return scores

    def _maxsim(self, query: Float32, documents: list[Float16]) -> Float32:
        if not documents:
            return np.empty(0, dtype=np.float32)
        offsets = np.zeros(len(documents) + 1, dtype=np.int64)
        np.cumsum([len(rows) for rows in documents], out=offsets[1:])
        values = np.ascontiguousarray(np.concatenate(documents))
        return kernels.score(query, values, offsets, threads=self._threads)

    def _vectors(self, texts: Mapping[bytes, str]) -> dict[bytes, Float16]:
        """(n_tokens, dim) vectors of texts, by their digests."""
        new = {key: text for key, text in texts.items() if key not in self._kept}
        for key, rows in zip(new, self._encoder.encode_documents(list(new.values())), strict=True):
            self._kept[key] = rows.astype(np.float16)
            self._kept_values += rows.size
        for key in texts:
            self._kept.move_to_end(key)
        found = {key: self._kept[key] for key in texts}
        while self._kept_values > _KEPT_VALUES:
            self._kept_values -= self._kept.popitem(last=False)[1].size
        return found


class BM25Teacher:
    """Exact matching of words, with the counts of the set's own documents.

    bm25s with the settings of `gingham evaluate --bm25`. Alone it teaches little that is not in
    the words; in an ensemble it holds on to names and numbers that dense models blur.
    """

    floor = 0.5
    name = "BM25"

    def __init__(self, documents: Mapping[str, str]) -> None:
        """Index.

        Args:
            documents: text by id; blank ones are left out, and have the score 0.

        Raises:
            InputError: no document has a word.
            MissingDependencyError: bm25s or PyStemmer is not installed.
        """
        dataset = as_dataset("teacher", documents, {}, {})
        with tempfile.TemporaryDirectory(prefix="gingham-bm25-") as cache:
            prepared = BM25().prepare(make_job(dataset, Path(cache), 1))
        self._searcher = BM25Searcher(prepared.index, prepared.ids)
        self._n_documents = len(documents)
        self._ids: dict[bytes, str] = {}
        for id, text in documents.items():
            self._ids.setdefault(_digest(text), id)

    def score(self, queries: Sequence[str], documents: Sequence[Sequence[str]]) -> list[Float32]:
        """See `gingham.training.teachers.Teacher.score`.

        Raises:
            InputError: a text is none of the documents that were indexed.
        """
        scores = []
        for query, texts in zip(queries, documents, strict=True):
            found = self._searcher.search(self._searcher.encode(query), self._n_documents)
            by_id = dict(zip(found.ids, found.scores.tolist(), strict=True))
            row = [by_id.get(self._id(text), 0.0) for text in texts]
            scores.append(np.array(row, dtype=np.float32))
        return scores

    def _id(self, text: str) -> str:
        id = self._ids.get(_digest(text))
        if id is None:
            raise InputError(
                f"BM25 scores only the documents that it was given: {shown(text)} is none of them"
            )
        return id


def _parted(scores: Float32, documents: Sequence[Sequence[str]]) -> list[Float32]:
    """Scores of all documents in a row → an array a query."""
    ends = np.cumsum([len(texts) for texts in documents])[:-1]
    return list(np.split(scores, ends)) if len(documents) else []


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _called(model: str | os.PathLike[str]) -> str:
    return Path(model).name if Path(model).exists() else os.fspath(model)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _loaded(load: Callable[[str], Any], model: str | os.PathLike[str], kind: str) -> Any:
    """What sentence-transformers makes of a name."""
    name = os.fspath(model)
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().exists():
        # sentence-transformers would ask the hub for it, again and again.
        raise ModelError(f"{name}: no such folder; pass the folder or hub name of {kind}")
    try:
        with quiet_libraries():
            return load(os.path.expanduser(name))
    except ImportError as error:
        raise MissingDependencyError(
            f"a teacher needs {error.name or 'sentence-transformers'}: pip install 'gingham[train]'"
        ) from error
    except Exception as error:  # whatever transformers raises for a broken or missing folder
        raise ModelError(
            f"{name}: sentence-transformers cannot load it ({_line(error)}): pass the folder or "
            f"hub name of {kind}"
        ) from error
