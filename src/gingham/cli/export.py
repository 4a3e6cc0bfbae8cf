"""`gingham export`: a trained model as a folder that gingham and sentence-transformers load."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from gingham.cli import console
from gingham.cli.options import Json, Threads

if TYPE_CHECKING:
    from gingham.training.exporting import Exported

EXAMPLES = (
    "gingham export runs/mine/final models/mine",
    "gingham export lightonai/GTE-ModernColBERT-v1 models/gte --calibrate corpus.jsonl",
    "gingham export runs/mine/final models/mine --check scifact --check nfcorpus --allow 0.002",
    "gingham export runs/mine/final models/small --only int8 --force",
)


class Part(str, Enum):
    """What --only leaves."""

    INT8 = "int8"
    FP32 = "fp32"


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="A folder or Hugging Face name that MultiVectorEncoder loads: its own, PyLate's, "
            "Stanford's; low-rank updates are merged.",
        ),
    ],
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="The folder to write: whole, or not there.")
    ],
    calibrate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Texts like those to be searched, as gingham add reads them, to fit int8 to; may "
            "be given several times. By default this Python's documentation.",
        ),
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER",
            help="Measure on this test collection what int8 costs; may be given several times. "
            "Without it queries are made of the calibration texts, which says less.",
        ),
    ] = None,
    max_queries: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Only the first N judged queries of each --check."),
    ] = None,
    allow: Annotated[
        float, typer.Option(metavar="COST", help="How much nDCG@10 int8 may cost on each set.")
    ] = 0.003,
    only: Annotated[
        Part | None,
        typer.Option(
            help="Keep this ONNX graph alone, without the weights for PyTorch.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace FOLDER where it holds a model.")
    ] = False,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Write a trained model for gingham, and check that it is still the same model.

    The transformer becomes onnx/model.onnx and onnx/model_int8.onnx beside the weights. Float32
    must agree with PyTorch to 1e-4, in hidden states and in the vectors of gingham and of
    sentence-transformers; int8 must not cost more nDCG@10 than is allowed. Otherwise nothing is
    written.

    With --json one object: folder, architecture, graph, parity, turned, quality, files.
    """
    from gingham.training.exporting import export as export_model
    from gingham.training.exporting.calibration import read_texts

    with console.Steps() as steps:
        texts = [] if only is Part.FP32 else read_texts(calibrate or ())
        done = export_model(
            checkpoint,
            folder,
            texts,
            check=check or (),
            allow=allow,
            only=only.value if only is not None else "all",
            force=force,
            max_queries=max_queries,
            threads=threads,
            progress=lambda step: steps(step.what, step.done, step.total, step.remark),
        )
    if json:
        console.write_json({**asdict(done), "folder": str(done.folder), "files": dict(done.files)})
    else:
        _write(done)


def _write(done: Exported) -> None:
    console.write(f"{done.folder}: {done.architecture}, graph {done.graph}")
    parity = done.parity
    console.write(
        f"fp32    off PyTorch by {parity.states:.1e} in hidden states, {parity.vectors:.1e} in "
        f"vectors, on {console.plural(parity.texts, 'text')} as query and as document"
    )
    if done.turned is not None:
        turned = done.turned
        console.write(
            f"int8    cosine to fp32 {turned.query_mean:.5f} for queries (worst "
            f"{turned.query_worst:.5f}), {turned.document_mean:.5f} for documents (worst "
            f"{turned.document_worst:.5f})"
        )
    for found in done.quality:
        low, high = found.interval
        console.write(
            f"        {console.harmless(found.dataset)}: nDCG@10 {found.fp32:.4f} → "
            f"{found.int8:.4f}, {found.difference:+.4f} ({low:+.4f} to {high:+.4f}), "
            f"{console.number(found.queries)} quer{'y' if found.queries == 1 else 'ies'}, "
            f"{console.plural(found.documents, 'document')}"
        )
        if found.made_up:
            console.write("        made-up queries are easy: --check FOLDER says more")
    for name, size in done.files.items():
        console.write(f"{size:>13,}  {name}")
