"""Is what was written the model? Graph against PyTorch, gingham against sentence-transformers, int8
against fp32; on texts that have gone wrong before.

It knows vectors, not what they are good for: that is the business of `quality`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import MultiVectorEncoder

from gingham.document import Float32, TokenVectors
from gingham.encoder import Encoder
from gingham.errors import ModelError
from gingham.evaluation.quiet_libraries import quiet_libraries
from gingham.training.exporting.loading import transformer_of
from gingham.training.exporting.values import LARGEST_DIFFERENCE, Parity, Turned

TEXTS = (
    "",
    " ",
    "...!?",
    "why does the sea rise twice a day?",
    "The tide rises twice a day because the Moon pulls at the sea.",
    "Gingham\nA plain-woven fabric, usually of cotton, in checks of white and one colour.",
    "Statins lower LDL cholesterol; muscle pain is the side effect most often reported. " * 24,
    "a literal [MASK] [CLS] [SEP] [PAD] [UNK] <mask> <pad> <s> </s> in the text",
    "[unused0] [unused1] [Q] [D]",
    unicodedata.normalize("NFD", "naïve café, Ünüß") + " ﬁn ½ Ⅷ 漢字日本語 مرحبا हिन्दी 😀 👩‍👩‍👧",
    "\ttabs\r\nlines\u00a0spaces\u200bzero\ufffd",
    "x" * 300,
    "q" + "!" * 80,
)


def check_fp32(model: MultiVectorEncoder, folder: Path, threads: int | None) -> Parity:
    """Compare a folder in float32 with the model it was made of.

    Args:
        model: that was saved.
        folder: with its weights for PyTorch and onnx/model.onnx.
        threads: of ONNX Runtime.

    Raises:
        ModelError: they differ by more than `LARGEST_DIFFERENCE`, or the folder does not load.
    """
    encoder = Encoder(folder, device="cpu", threads=threads, precision="fp32")
    states = max(_state_difference(model, folder, task) for task in ("query", "document"))
    _require(states, f"{folder.name}: the graph's hidden states", "PyTorch")
    with quiet_libraries():
        reloaded = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    worst = 0.0
    for whose, other in (("the model", model), ("MultiVectorEncoder", reloaded)):
        with quiet_libraries():
            theirs = {
                "queries": other.encode_query(list(TEXTS), convert_to_numpy=True),
                "documents": other.encode_document(list(TEXTS), convert_to_numpy=True),
            }
        ours = {
            "queries": encoder.encode_queries(TEXTS),
            "documents": encoder.encode_documents(TEXTS),
        }
        for what, vectors in ours.items():
            difference = _vector_difference(vectors, theirs[what], what, whose)
            _require(difference, f"gingham's vectors of {what}", whose)
            worst = max(worst, difference)
    return Parity(states, worst, len(TEXTS))


def compare_int8(folder: Path, texts: Sequence[str], threads: int | None) -> Turned:
    """How far the vectors of onnx/model_int8.onnx are from those of onnx/model.onnx."""
    exact, coarse = (
        Encoder(folder, device="cpu", threads=threads, precision=precision)
        for precision in ("fp32", "int8")
    )
    asked = [*TEXTS, *(" ".join(text.split()[:12]) for text in texts)]
    query = _cosines(exact.encode_queries(asked), coarse.encode_queries(asked))
    told = [*TEXTS, *texts]
    document = _cosines(exact.encode_documents(told), coarse.encode_documents(told))
    return Turned(
        float(query.mean()), float(query.min()), float(document.mean()), float(document.min())
    )


def _state_difference(model: MultiVectorEncoder, folder: Path, task: str) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        str(folder / "onnx" / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    names = {node.name for node in session.get_inputs()}
    worst = 0.0
    # Alone and together: padding must change nothing.
    for texts in (TEXTS, TEXTS[4:5], TEXTS[6:7]):
        with quiet_libraries():
            features = model.preprocess(list(texts), prompt=model.prompts.get(task), task=task)
            with torch.inference_mode():
                expected = transformer_of(model)(dict(features))["token_embeddings"].numpy()
        scored = features["attention_mask"].numpy().astype(bool)
        # The filling of a query may not be attended to, but it is scored.
        filling = features.get("query_expansion_positions")
        if filling is not None:
            scored |= filling.numpy().astype(bool)
        feed = {name: features[name].numpy() for name in names if name in features}
        try:
            hidden = session.run(["last_hidden_state"], feed)[0]
        except Exception as error:  # onnxruntime raises its own classes, which it does not export
            line = " ".join(str(error).split())[:200]
            raise ModelError(
                f"the graph fails on a run of shape {feed['input_ids'].shape} ({line}): it cannot "
                "be exported"
            ) from error
        if hidden.shape != expected.shape:
            raise ModelError(
                f"the graph gives the shape {hidden.shape}, PyTorch {expected.shape}: it cannot be "
                "exported"
            )
        worst = max(worst, _largest(hidden[scored] - expected[scored]))
    return worst


def _vector_difference(ours: TokenVectors, theirs: Any, what: str, whose: str) -> float:
    worst = 0.0
    for text, mine, its in zip(TEXTS, ours, theirs, strict=True):
        if mine.shape != its.shape:
            raise ModelError(
                f"of {text[:40]!r} among {what} gingham makes {len(mine)} vectors and {whose} "
                f"{len(its)}: the tokenizer or a setting has no equal in gingham"
            )
        worst = max(worst, _largest(mine - its))
    return worst


def _largest(difference: npt.NDArray[np.float32]) -> float:
    return float(np.abs(difference).max(initial=0.0))


def _require(difference: float, what: str, whose: str) -> None:
    # Not `>`: NaN must fail.
    if not difference <= LARGEST_DIFFERENCE:
        raise ModelError(
            f"{what} are off those of {whose} by {difference:.1e}, more than "
            f"{LARGEST_DIFFERENCE:.0e}: the model cannot be exported as it is"
        )


def _cosines(exact: TokenVectors, coarse: TokenVectors) -> Float32:
    a, b = exact.values, coarse.values
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found: Float32 = (a * b).sum(1) / np.maximum(norms, 1e-12)
    return found
