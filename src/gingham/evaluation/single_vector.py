"""A dense model as a system: one vector a document, compared exhaustively.

What a late-interaction model has to beat, above all its own backbone. sentence-transformers encodes
(pooling, prompts and similarity are the model's own); vectors are cached in parts, so that an
interrupted encoding continues.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gingham.document import Document, Float32
from gingham.errors import InputError, MissingDependencyError, ModelError
from gingham.evaluation.atomic import replacing
from gingham.evaluation.build_lock import build_lock
from gingham.evaluation.build_record import BuildRecord
from gingham.evaluation.costs import IndexCost, PeakMemory
from gingham.evaluation.quiet_libraries import quiet_libraries
from gingham.evaluation.run import Ranking
from gingham.evaluation.systems import Explained, Job, Opening

# Documents of one part: what an interruption loses at most.
_PART = 512
_PARTS = "part-*.npy"
_RECORD = "build.json"
# The documents' ids, a row each.
_IDS = "ids.json"
# Loggers of what loads a model.


@dataclass(frozen=True, slots=True)
class SingleVector:
    """A sentence-transformers model that makes one vector a text.

    Attributes:
        model: a folder or a hub name.
        name: what tables call it.
    """

    model: str | os.PathLike[str]
    name: str = "one vector"

    def check(self, job: Job) -> None:
        """There must be documents, and a model that can be loaded.

        Raises:
            MissingDependencyError: sentence-transformers is not installed.
            ModelError: the model cannot be loaded.
            InputError: the dataset has no documents.
        """
        _ = job.corpus
        # A hub that cannot be reached is asked for more than a minute.
        job.report(f"{self.name}, loading the model", 0, None, os.fspath(self.model))
        _load(self.model)

    def prepare(self, job: Job) -> PreparedVectors:
        """Encode the documents, as far as they are not cached.

        Raises:
            MissingDependencyError: sentence-transformers is not installed.
            ModelError: the model cannot be loaded, or is no single-vector model.
            InputError: no document has text.
        """
        with PeakMemory() as memory:
            model = _load(self.model)
            folder = job.folder(f"one-vector-{_fingerprint(model)[:16]}")
            ids = [document.id for document in job.documents()]
            if not ids:
                raise InputError(f"{job.dataset.title}: there is no text in any document to search")
            record, vectors = _complete(folder, len(ids))
            if record is None or vectors is None:
                with build_lock(folder / "build.lock", lambda: _waiting(job, self.name)):
                    record, vectors = _complete(folder, len(ids))  # another may have built it
                    if record is None or vectors is None:
                        record = _encode(job, model, folder, ids, self.name, memory)
                        vectors = _cached(folder, len(ids))
        if vectors is None:
            raise ModelError(f"{self.model}: does not make one vector a text")
        cost = IndexCost(
            record.seconds, record.threads, len(ids), len(ids), vectors.nbytes, record.peak_bytes
        )
        name = Path(self.model).name
        description = f"{name}, {vectors.shape[1]} dimensions fp32, compared with every document"
        arguments = {"model": os.fspath(self.model), "folder": os.fspath(folder)}
        opening = Opening("gingham.evaluation.single_vector:open_vectors", arguments)
        return PreparedVectors(model, vectors, ids, description, cost, opening)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedVectors:
    """The vectors in memory.

    Attributes:
        vectors: (n_documents, dim) float32.
        ids: one a row.
        opening: the model and the cached vectors.
    """

    model: Any
    vectors: Float32
    ids: Sequence[str]
    description: str
    cost: IndexCost
    opening: Opening
    depth: int | None = None

    @contextlib.contextmanager
    def searcher(self, threads: int) -> Iterator[VectorSearcher]:
        """Set PyTorch's threads, for model and comparison alike."""
        with _searcher(self.model, self.vectors, self.ids, threads) as searcher:
            yield searcher


@contextlib.contextmanager
def open_vectors(model: str, folder: str, threads: int) -> Iterator[VectorSearcher]:
    """Search cached vectors, and do nothing else; see `PreparedVectors.opening`.

    Raises:
        InputError: they are not there.
    """
    ids = json.loads((Path(folder) / _IDS).read_text(encoding="utf-8"))
    vectors = _cached(Path(folder), len(ids))
    if vectors is None:
        raise InputError(f"{folder}: there are no cached vectors of {len(ids):,} documents")
    with _searcher(_load(model), vectors, ids, threads) as searcher:
        yield searcher


@contextlib.contextmanager
def _searcher(
    model: Any, vectors: Float32, ids: Sequence[str], threads: int
) -> Iterator[VectorSearcher]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield VectorSearcher(model, torch.from_numpy(vectors), ids)
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, slots=True, eq=False)
class VectorSearcher:
    """Answers by the similarity with every document."""

    model: Any
    vectors: Any
    ids: Sequence[str]

    def encode(self, query: str) -> Any:
        """A (dim) tensor."""
        return self.model.encode_query(
            query, convert_to_tensor=True, normalize_embeddings=_normalises(self.model)
        )

    def search(self, encoded: Any, k: int) -> Ranking:
        """The k best documents."""
        best = (self.vectors @ encoded).topk(min(k, len(self.ids)))
        ids = tuple(self.ids[i] for i in best.indices.tolist())
        return Ranking(ids, best.values.numpy().astype(np.float32))

    def answer(self, queries: Sequence[str], k: int) -> Iterator[Ranking]:
        """Encoded in batches."""
        for start in range(0, len(queries), 256):
            vectors = self.model.encode_query(
                list(queries[start : start + 256]),
                convert_to_tensor=True,
                normalize_embeddings=_normalises(self.model),
                show_progress_bar=False,
            )
            for vector in vectors:
                yield self.search(vector, k)

    def explain(self, query: str, id: str) -> Explained:
        """One vector a text says nothing about its words."""
        return Explained(None)


def _load(model: str | os.PathLike[str]) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingDependencyError(
            "a single-vector model needs sentence-transformers: pip install sentence-transformers"
        ) from error
    if os.fspath(model).startswith((".", "/")) and not Path(model).exists():
        # sentence-transformers would ask the hub for it, again and again.
        raise ModelError(f"{model}: no such folder; pass that of a single-vector model")
    try:
        with quiet_libraries():
            return _load_quietly(SentenceTransformer, os.fspath(model))
    except Exception as error:  # whatever transformers raises for a broken or missing folder
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{model}: sentence-transformers cannot load it ({line}): pass the folder or hub name "
            "of a single-vector model"
        ) from error


def _load_quietly(load: Any, model: str) -> Any:
    """What is on this computer needs no hub; the hub is asked for the rest."""
    from sentence_transformers.util import is_sentence_transformer_model

    if not Path(model).exists():
        # Without its list of modules, parts of a model would be taken for the whole.
        with contextlib.suppress(Exception):
            if is_sentence_transformer_model(model, local_files_only=True):
                return load(model, device="cpu", local_files_only=True)
    return load(model, device="cpu")


def _normalises(model: Any) -> bool:
    return model.similarity_fn_name in (None, "cosine")


def _fingerprint(model: Any) -> str:
    """SHA-256 (hex) of weights and settings."""
    import torch

    settings = (model.max_seq_length, model.prompts, model.default_prompt_name, _normalises(model))
    digest = hashlib.sha256(repr(settings).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _waiting(job: Job, name: str) -> None:
    remark = "waiting for another process that builds this index"
    job.report(f"{name}, encoding", 0, None, remark)


def _complete(folder: Path, n_documents: int) -> tuple[BuildRecord | None, Float32 | None]:
    """Record and vectors, where both are there and whole."""
    record = BuildRecord.read(folder / _RECORD)
    if record is None or not record.complete or not (folder / _IDS).exists():
        return None, None
    return record, _cached(folder, n_documents)


def _encode(
    job: Job, model: Any, folder: Path, ids: Sequence[str], name: str, memory: PeakMemory
) -> BuildRecord:
    import torch

    torch.set_num_threads(job.threads)
    clock, total = time.perf_counter, job.corpus.n_documents
    start, done = clock(), 0
    before = None
    if any(folder.glob(_PARTS)):
        # What is there without a record has cost nobody knows what.
        before = BuildRecord.read(folder / _RECORD) or BuildRecord.lost(job.threads)
    job.report(f"{name}, encoding", 0, total, f"{total:,} documents")
    BuildRecord.after(before, 0.0, job.threads).write(folder / _RECORD)
    with replacing(folder / _IDS) as draft:
        draft.write_text(json.dumps(ids), encoding="utf-8")
    for number, part in enumerate(_parts(job.documents())):
        path = folder / f"part-{number:06}.npy"
        if _shape(path)[:-1] != (len(part),):
            vectors = model.encode_document(
                [document.text or "" for document in part],
                normalize_embeddings=_normalises(model),
                show_progress_bar=False,
            )
            with replacing(path) as draft, draft.open("wb") as file:
                np.save(file, vectors.astype(np.float32))
            BuildRecord.after(before, clock() - start, job.threads).write(folder / _RECORD)
        done += len(part)
        job.report(f"{name}, encoding", done, total, f"{done:,} of {total:,} documents")
    seconds, added = clock() - start, memory.read()
    record = BuildRecord.after(before, seconds, job.threads, added, complete=True)
    record.write(folder / _RECORD)
    return record


def _shape(path: Path) -> tuple[int, ...]:
    """(n, dim) of a part; () where it is missing, truncated or none of ours."""
    with contextlib.suppress(OSError, ValueError, EOFError):
        return tuple(np.load(path, mmap_mode="r", allow_pickle=False).shape)
    return ()


def _cached(folder: Path, n_documents: int) -> Float32 | None:
    """(n_documents, dim) what was encoded; None where that is not whole."""
    paths = sorted(folder.glob(_PARTS))
    shapes = [_shape(path) for path in paths]
    widths = {shape[1:] for shape in shapes}
    if len(widths) != 1 or len(shapes[0]) != 2 or sum(s[0] for s in shapes) != n_documents:
        return None
    # Part by part into one array: they are never in memory twice.
    vectors = np.empty((n_documents, shapes[0][1]), dtype=np.float32)
    start = 0
    for path, (rows, _) in zip(paths, shapes, strict=True):
        vectors[start : start + rows] = np.load(path, allow_pickle=False)
        start += rows
    return vectors


def _parts(documents: Iterator[Document]) -> Iterator[list[Document]]:
    part: list[Document] = []
    for document in documents:
        part.append(document)
        if len(part) == _PART:
            yield part
            part = []
    if part:
        yield part
