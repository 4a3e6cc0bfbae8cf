"""The conductor: a checkpoint in, one checked folder out, or an error and nothing.

1 `loading` reads the model and merges what is to be merged, 2 `folder` begins a draft with what
PyTorch needs, 3 the float32 graph is written (`bert_graph`) or traced (`tracing`) and compared with
PyTorch (`parity`), 4 `watching_inputs` looks at what enters its matrices, `eight_bits` quantises
them, 5 `quality` measures what that costs, 6 the draft takes its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx

from gingham.encoder.checkpoint import load_checkpoint
from gingham.encoder.tokenization import Tokenization
from gingham.errors import InputError, ModelError
from gingham.evaluation import Dataset, Step
from gingham.evaluation.quiet_libraries import quiet_libraries
from gingham.threads import resolve_threads
from gingham.training.exporting import bert_graph, eight_bits, folder, parity, quality
from gingham.training.exporting.eight_bits import Quantisation
from gingham.training.exporting.loading import load_model, transformer_of
from gingham.training.exporting.values import (
    ALLOWED_COST,
    Exported,
    Only,
    Turned,
)
from gingham.training.exporting.watching_inputs import watch

ProgressCallback = Callable[[Step], None]

FLOAT_GRAPH, INT8_GRAPH = "model.onnx", "model_int8.onnx"
# Enough tokens for the moments of a matrix with some thousand inputs; more gained nothing.
_CALIBRATED = 256
# Texts on which int8 is compared with fp32, of those that calibrated nothing where there are any.
_COMPARED = 32
_WORDS_OF_A_QUERY = 10


@dataclass(frozen=True, slots=True)
class _Work:
    """What all steps share."""

    model: Any
    name: str
    draft: Path
    threads: int
    progress: ProgressCallback

    def report(self, what: str, remark: str = "") -> None:
        self.progress(Step(what, 0, None, remark))


def export(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    calibration: Sequence[str],
    *,
    check: Sequence[str | os.PathLike[str]] | None = (),
    allow: float = ALLOWED_COST,
    only: Only = "all",
    force: bool = False,
    max_queries: int | None = None,
    quantisation: Quantisation | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> Exported:
    """Write a trained model as one folder that gingham and sentence-transformers both load.

    Args:
        checkpoint: a folder, or the name of a model on the hub, that `MultiVectorEncoder` loads;
            low-rank updates are merged.
        output: the folder to write: whole, or not there.
        calibration: texts like those that will be searched; eight bits are fitted to them. Some
            hundred are enough.
        check: folders with documents, queries and judgements, to measure what eight bits cost; of
            none, queries are made of the calibration texts; None measures nothing.
        allow: nDCG@10 that eight bits may cost on each.
        only: "all": weights for PyTorch and both graphs; "int8" or "fp32": that graph alone, which
            `MultiVectorEncoder` cannot load.
        force: replace a folder that holds a model.
        max_queries: at most so many of each folder to check on.
        quantisation: how matrices become eight bits; None takes the best that is known.
        threads: on the CPU; `GINGHAM_THREADS`, else all cores, if None.
        progress: told what is being done.

    Raises:
        InputError: an argument is wrong, the folder exists, or there is no text to calibrate with.
        ModelError: the model cannot be loaded or exported, a graph disagrees with PyTorch by more
            than 1e-4, or eight bits cost more than is allowed.
        SourceError: a folder to check on cannot be read.
    """
    target = Path(os.path.abspath(output))
    folder.recover(target)
    folder.check_output(target, os.fspath(checkpoint), force)
    _check_arguments(only, allow, calibration)
    tell = progress or _silent
    datasets = _datasets(check, calibration, max_queries, only)
    tell(Step("loading", 0, None, os.fspath(checkpoint)))
    model = load_model(checkpoint)
    with folder.draft_of(target) as draft:
        work = _Work(model, os.fspath(checkpoint), draft, resolve_threads(threads), tell)
        folder.save_torch(model, work.name, draft)
        graph, how = _float_graph(work)
        folder.save_graph(graph, draft / "onnx" / FLOAT_GRAPH)
        work.report("comparing with PyTorch")
        agreed = parity.check_fp32(model, draft, work.threads)
        turned, costs = None, []
        if only != "fp32":
            turned = _int8(work, graph, calibration, quantisation or Quantisation())
            for dataset, is_made_up in datasets:
                found = quality.measure_cost(
                    draft, dataset, made_up=is_made_up, threads=work.threads, progress=tell
                )
                quality.require(found, allow)
                costs.append(found)
        graphs = {"all": (FLOAT_GRAPH, INT8_GRAPH), "fp32": (FLOAT_GRAPH,), "int8": (INT8_GRAPH,)}
        folder.leave_only(draft, graphs[only], torch=only == "all")
        files = {
            path.relative_to(draft).as_posix(): path.stat().st_size
            for path in sorted(draft.rglob("*"))
            if path.is_file()
        }
    architecture = type(transformer_of(model).auto_model).__name__
    return Exported(target, architecture, how, agreed, turned, tuple(costs), files)


def _check_arguments(only: Only, allow: float, calibration: Sequence[str]) -> None:
    if only not in ("all", "fp32", "int8"):
        raise InputError(f'only is "all", "fp32" or "int8", got {only!r}')
    if not 0 <= allow <= 1:
        raise InputError(f"allow is nDCG@10 that may be lost, from 0 to 1, got {allow!r}")
    if isinstance(calibration, str) or not all(isinstance(text, str) for text in calibration):
        raise InputError("calibration is a list of texts")
    if only != "fp32" and not any(text.strip() for text in calibration):
        raise InputError(
            "there is no text to calibrate eight bits with: give some hundred like those that "
            "will be searched, or export fp32 alone"
        )


def _datasets(
    check: Sequence[str | os.PathLike[str]] | None,
    calibration: Sequence[str],
    max_queries: int | None,
    only: Only,
) -> list[tuple[Dataset, bool]]:
    """What to measure on, and whether its queries are made up."""
    if check is None or only == "fp32":
        return []
    if check:
        return [(dataset, False) for dataset in quality.datasets_of(check, max_queries)]
    made = quality.made_up(calibration)
    return [] if made is None else [(made, True)]


def _float_graph(work: _Work) -> tuple[onnx.ModelProto, Literal["written", "traced"]]:
    backbone = transformer_of(work.model).auto_model
    bert = bert_graph.read_bert(backbone)
    if bert is not None:
        work.report("writing", "the float32 graph")
        return bert_graph.write_bert(*bert), "written"
    from gingham.training.exporting.tracing import trace

    work.report("tracing", type(backbone).__name__)
    with quiet_libraries():
        return trace(backbone, backbone.get_input_embeddings().num_embeddings), "traced"


def _int8(
    work: _Work, graph: onnx.ModelProto, calibration: Sequence[str], how: Quantisation
) -> Turned:
    """Write the eight-bit graph, and say how far it turns vectors."""
    texts = [text for text in calibration if text.strip()]
    chosen = _spread(texts, _CALIBRATED)
    work.report("calibrating", f"{len(chosen):,} texts")
    inputs = eight_bits.products(graph)
    if not inputs:
        raise ModelError(
            f"{work.name}: its graph has no matrix that could become eight bits: export fp32 alone"
        )
    statistics = watch(graph, inputs, _runs(work.draft, chosen), work.threads)
    work.report("quantising", f"{len(inputs):,} matrices")
    made = eight_bits.quantise(graph, how, statistics)
    folder.save_graph(made, work.draft / "onnx" / INT8_GRAPH)
    others = sorted(set(texts) - set(chosen)) or texts
    work.report("comparing int8 with fp32")
    turned = parity.compare_int8(work.draft, _spread(others, _COMPARED), work.threads)
    if not turned.document_mean > 0:
        raise ModelError(f"{work.name}: eight bits destroy its vectors: export fp32 alone")
    return turned


def _spread(texts: Sequence[str], count: int) -> list[str]:
    """At most so many, evenly spaced."""
    places = np.linspace(0, len(texts) - 1, min(count, len(texts))).round().astype(int)
    return [texts[i] for i in places]


def _runs(draft: Path, texts: Sequence[str]) -> Iterator[dict[str, npt.NDArray[np.int64]]]:
    """The texts as documents, and their first words as queries, as the encoder would run them."""
    tokenization = Tokenization(load_checkpoint(draft, "fp32"))
    asked = [" ".join(text.split()[:_WORDS_OF_A_QUERY]) for text in texts]
    for text in (*tokenization.documents(texts), *tokenization.queries(asked)):
        yield {"input_ids": text.ids[None], "attention_mask": text.attention[None]}


def _silent(step: Step) -> None:
    pass
