"""Token ids → hidden states: the transformer, run by ONNX Runtime. Only here is it imported.

It knows arrays of ids, not texts. Documents run several at a time, each on one thread, rather than
one at a time on all threads: on 2 cores that made int8 1.2 to 3 times as fast, and whatever the
number of threads each run computes the same bytes.

A quantised transformer runs each text alone. Where its activations are scaled by the largest of a
whole run, which is usual, a text's vectors would depend on its neighbours, by up to 0.8 in a hidden
state of all-MiniLM-L6; and unpadded runs of one text are as fast.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gingham.document import Float32
from gingham.encoder.checkpoint import Checkpoint
from gingham.encoder.tokenization import TokenizedText
from gingham.errors import InputError, ModelError
from gingham.forking import renew_after_fork

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Tokens of a run, padding included. On a CPU a run should stay in a core's cache; a GPU must be
# filled.
_CPU_TOKENS, _CUDA_TOKENS = 1024, 32768
# One query of 32 tokens is too little work to share among more threads.
_THREADS_OF_ONE_TEXT = 4
_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_OUTPUTS = ("last_hidden_state", "token_embeddings")
# Sessions of the process that forked this one, whose threads are not here: a run, and even letting
# go of them, would wait for these.
_of_the_parent: list[InferenceSession] = []


class Session:
    """The transformer of a checkpoint. Safe for threads."""

    def __init__(self, checkpoint: Checkpoint, *, device: str, threads: int, pad_id: int) -> None:
        """Load the transformer.

        Args:
            checkpoint: whose ONNX file to run.
            device: "auto", "cpu" or "cuda".
            threads: that work at the same time on a CPU.
            pad_id: fills shorter texts of a run; not attended to.

        Raises:
            InputError: the device is not known here.
            ModelError: the file is damaged, or its inputs and outputs are not as expected.
        """
        self._checkpoint = checkpoint
        self._provider = _provider(device)
        self._threads = threads if self._provider == "CPUExecutionProvider" else 1
        self._pad_id = pad_id
        self._lock = threading.Lock()
        self._sessions: dict[int, InferenceSession] = {}
        renew_after_fork(self)
        session = self._session(min(self._threads, _THREADS_OF_ONE_TEXT))
        self._inputs = {node.name for node in session.get_inputs()}
        outputs = [node.name for node in session.get_outputs()]
        self._output = next((name for name in _OUTPUTS if name in outputs), "")
        if not {"input_ids", "attention_mask"} <= self._inputs <= _INPUTS or not self._output:
            raise ModelError(
                f"{checkpoint.onnx}: takes {', '.join(sorted(self._inputs))} and gives "
                f"{', '.join(outputs)}: export the transformer with the inputs "
                f"{', '.join(sorted(_INPUTS))} and the output {_OUTPUTS[0]}"
            )

    def run(
        self,
        texts: Sequence[TokenizedText],
        batch_size: int,
        project: Callable[[Float32], Float32],
    ) -> Iterator[tuple[int, Float32]]:
        """Vectors of the kept tokens of each text, longest text first.

        Args:
            texts: in any order.
            batch_size: most texts of one run.
            project: (n, hidden) float32 hidden states → (n, dim) float32 vectors; called in the
                threads that run the transformer.

        Yields:
            The index of a text and its (n_tokens, dim) float32 vectors.

        Raises:
            ModelError: the transformer refuses its input.
        """
        groups = self._groups(texts, batch_size)

        def vectors(session: InferenceSession, group: list[int]) -> list[tuple[int, Float32]]:
            hidden = self._hidden_states(session, [texts[i] for i in group])
            return [
                (i, project(states[: len(texts[i].ids)][texts[i].keep]))
                for i, states in zip(group, hidden, strict=True)
            ]

        if self._threads == 1 or len(groups) == 1:
            session = self._session(min(self._threads, _THREADS_OF_ONE_TEXT))
            for group in groups:
                yield from vectors(session, group)
            return
        from concurrent.futures import ThreadPoolExecutor  # here: a search never needs it

        session = self._session(1)
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="gingham-encoder")
        try:
            for made in pool.map(vectors, itertools.repeat(session), groups):
                yield from made
        finally:  # an interrupt must not wait for what has not begun
            pool.shutdown(wait=True, cancel_futures=True)

    def _groups(self, texts: Sequence[TokenizedText], batch_size: int) -> list[list[int]]:
        """Indices of the texts of each run, of similar length, the longest first."""
        budget = _CPU_TOKENS if self._provider == "CPUExecutionProvider" else _CUDA_TOKENS
        if self._checkpoint.quantised:
            batch_size = 1
        groups: list[list[int]] = []
        for i in sorted(range(len(texts)), key=lambda i: -len(texts[i].ids)):
            group = groups[-1] if groups else []
            fits = group and (len(group) + 1) * len(texts[group[0]].ids) <= budget
            if fits and len(group) < batch_size:
                group.append(i)
            else:
                groups.append([i])
        return groups

    def _hidden_states(self, session: InferenceSession, texts: list[TokenizedText]) -> Float32:
        """(n_texts, n_tokens of the longest, which is first, hidden) float32 of one run."""
        ids = np.full((len(texts), len(texts[0].ids)), self._pad_id, np.int64)
        attention = np.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text.ids)] = text.ids
            attention[row, : len(text.ids)] = text.attention
        feed = {"input_ids": ids, "attention_mask": attention}
        if "token_type_ids" in self._inputs:
            feed["token_type_ids"] = np.zeros_like(ids)
        try:
            hidden = np.asarray(session.run([self._output], feed)[0], np.float32)
        except Exception as error:  # onnxruntime raises its own classes, which it does not export
            raise ModelError(
                f"{self._checkpoint.onnx}: the transformer failed on a run of shape {ids.shape} "
                f"({_line(error)}): check the lengths in sentence_bert_config.json"
            ) from error
        if hidden.shape != (*ids.shape, self._checkpoint.hidden_size):
            raise ModelError(
                f"{self._checkpoint.onnx}: gives hidden states of the shape {hidden.shape}, where "
                f"the checkpoint has {(*ids.shape, self._checkpoint.hidden_size)}: export it again"
            )
        return hidden

    def _session(self, threads: int) -> InferenceSession:
        """The session whose runs use so many threads; each is made when first needed."""
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = self._load(threads)
            return self._sessions[threads]

    def after_fork_in_child(self) -> None:
        """Load anew when first needed."""
        self._lock = threading.Lock()
        _of_the_parent.extend(self._sessions.values())
        self._sessions = {}

    def _load(self, threads: int) -> InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors arrive as exceptions; nothing is printed
        # Idle threads sleep: spinning took cores from whatever runs beside, and gained nothing.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Plans are kept for every shape that occurs, and each length is one: memory that grows.
        options.enable_mem_pattern = False
        try:
            return onnxruntime.InferenceSession(
                str(self._checkpoint.onnx), options, providers=[self._provider]
            )
        except Exception as error:  # as above
            raise ModelError(
                f"{self._checkpoint.onnx}: damaged, or not for this ONNX Runtime "
                f"({_line(error)}): get the file again"
            ) from error


def _provider(device: str) -> str:
    import onnxruntime

    available: list[Any] = onnxruntime.get_available_providers()
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f'device must be "auto", "cpu" or "cuda", got {device!r}')
    if device == "cuda" and "CUDAExecutionProvider" not in available:
        raise InputError(
            "device is 'cuda', and this onnxruntime has no CUDA: install onnxruntime-gpu in its "
            'place, or take device="cpu"'
        )
    has_cuda = device != "cpu" and "CUDAExecutionProvider" in available
    return "CUDAExecutionProvider" if has_cuda else "CPUExecutionProvider"


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
