"""Any other encoder as a float32 ONNX graph, by PyTorch's exporter.

What the exporter makes is not trusted: the conductor compares it with PyTorch before it is kept.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import onnx
import torch

from gingham.errors import ModelError

OPSET = 20  # the first with Gelu, which eight bits treat apart; ONNX Runtime 1.17 reads it
_NAMES = ["input_ids", "attention_mask"]
_OUTPUT = "last_hidden_state"


class _HiddenStates(torch.nn.Module):  # type: ignore[misc]
    """The transformer as a function of ids and mask alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, return_dict=True
        ).last_hidden_state


def trace(model: Any, words: int) -> onnx.ModelProto:
    """The graph of a transformers encoder.

    Args:
        model: in evaluation mode, on the CPU, in float32.
        words: how many ids the vocabulary has; the example that is traced has several of them.

    Raises:
        ModelError: neither of PyTorch's two exporters can write it.
    """
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, words, (2, 12), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    wrapped = _HiddenStates(model).eval()
    failures = []
    for exporter in (_script, _dynamo):
        try:
            graph = exporter(wrapped, (ids, mask))
            onnx.checker.check_model(graph)
            return graph
        except Exception as error:  # whatever a model's code or the exporter raises
            failures.append((" ".join(str(error).split()) or type(error).__name__)[:150])
    raise ModelError(
        f"{type(model).__name__}: PyTorch cannot write it as ONNX ({'; '.join(failures)}): it "
        "cannot be exported"
    )


def _script(wrapped: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> onnx.ModelProto:
    file = io.BytesIO()
    torch.onnx.export(
        wrapped,
        example,
        file,
        input_names=_NAMES,
        output_names=[_OUTPUT],
        dynamic_axes={name: {0: "batch", 1: "sequence"} for name in [*_NAMES, _OUTPUT]},
        opset_version=OPSET,
        dynamo=False,
    )
    return onnx.load_from_string(file.getvalue())


def _dynamo(wrapped: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> onnx.ModelProto:
    import tempfile

    batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            wrapped,
            example,
            str(path),
            input_names=_NAMES,
            output_names=[_OUTPUT],
            dynamic_shapes=[{0: batch, 1: sequence}] * 2,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        return onnx.load(path)
