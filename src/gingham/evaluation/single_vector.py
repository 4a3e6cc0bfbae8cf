"""A dense model as a system: one vector a document, compared exhaustively.

What a late-interaction model has to beat, above all its own backbone. sentence-transformers encodes
(pooling, prompts and similarity are the model's own); vectors are cached in parts, so that an
interrupted encoding continues.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gingham.document import Document, Float32
from gingham.errors import InputError, MissingDependencyError, ModelError
from gingham.evaluation.build_record import BuildRecord
from gingham.evaluation.costs import IndexCost, PeakMemory
from gingham.evaluation.run import Ranking
from gingham.evaluation.systems import Explained, Job

# Documents of one part: what an interruption loses at most.
_PART = 512


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
        _load(self.model)
        _ = job.corpus

    def prepare(self, job: Job) -> PreparedVectors:
        """Encode the documents, as far as they are not cached.

        Raises:
            MissingDependencyError: sentence-transformers is not installed.
            ModelError: the model cannot be loaded, or is no single-vector model.
            InputError: no document has text.
        """
        model = _load(self.model)
        folder = job.folder(f"one-vector-{_fingerprint(model)[:16]}")
        ids = [document.id for document in job.documents()]
        if not ids:
            raise InputError(f"{job.dataset.title}: there is no text in any document to search")
        record = BuildRecord.read(folder / "build.json")
        vectors = _cached(folder, len(ids)) if record is not None and record.complete else None
        if record is None or vectors is None:
            record = _encode(job, model, folder, record, self.name)
            vectors = _cached(folder, len(ids))
        if vectors is None:
            raise ModelError(f"{self.model}: does not make one vector a text")
        cost = IndexCost(
            record.seconds, record.threads, len(ids), len(ids), vectors.nbytes, record.peak_bytes
        )
        name = Path(self.model).name
        description = f"{name}, {vectors.shape[1]} dimensions fp32, compared with every document"
        return PreparedVectors(model, vectors, ids, description, cost)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedVectors:
    """The vectors in memory.

    Attributes:
        vectors: (n_documents, dim) float32.
        ids: one a row.
    """

    model: Any
    vectors: Float32
    ids: Sequence[str]
    description: str
    cost: IndexCost

    @contextlib.contextmanager
    def searcher(self, threads: int) -> Iterator[VectorSearcher]:
        """Set PyTorch's threads, for model and comparison alike."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield VectorSearcher(self.model, torch.from_numpy(self.vectors), self.ids)
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
    from transformers.utils import logging

    # Its bars would run through ours.
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return SentenceTransformer(os.fspath(model), device="cpu")
    except Exception as error:  # whatever transformers raises for a broken or missing folder
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{model}: sentence-transformers cannot load it ({line}): pass the folder or hub name "
            "of a single-vector model"
        ) from error
    finally:
        if shown:
            logging.enable_progress_bar()


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


def _encode(
    job: Job, model: Any, folder: Path, before: BuildRecord | None, name: str
) -> BuildRecord:
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(job.threads)
    clock, total = time.perf_counter, job.corpus.n_documents
    start, done = clock(), 0
    job.report(f"{name}, encoding", 0, total, f"{total:,} documents")
    with PeakMemory() as memory:
        for number, part in enumerate(_parts(job.documents())):
            path = folder / f"part-{number:06}.npy"
            if not path.exists():
                vectors = model.encode_document(
                    [document.text or "" for document in part],
                    normalize_embeddings=_normalises(model),
                    show_progress_bar=False,
                )
                temporary = folder / "part.tmp"
                with temporary.open("wb") as file:
                    np.save(file, vectors.astype(np.float32))
                os.replace(temporary, path)
                BuildRecord.after(before, clock() - start, job.threads).write(folder / "build.json")
            done += len(part)
            job.report(f"{name}, encoding", done, total, f"{done:,} of {total:,} documents")
    record = BuildRecord.after(before, clock() - start, job.threads, memory.bytes, complete=True)
    record.write(folder / "build.json")
    return record


def _cached(folder: Path, n_documents: int) -> Float32 | None:
    """(n_documents, dim) what was encoded; None, and nothing is kept, where that is damaged."""
    paths = sorted(folder.glob("part-*.npy"))
    with contextlib.suppress(OSError, ValueError, EOFError):
        vectors = np.concatenate([np.load(path, allow_pickle=False) for path in paths])
        if vectors.ndim == 2 and len(vectors) == n_documents:
            return vectors.astype(np.float32, copy=False)
    for path in paths:
        path.unlink()
    return None


def _parts(documents: Iterator[Document]) -> Iterator[list[Document]]:
    part: list[Document] = []
    for document in documents:
        part.append(document)
        if len(part) == _PART:
            yield part
            part = []
    if part:
        yield part
