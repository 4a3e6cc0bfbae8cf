"""What an export was asked for, and what it found: plain values, without PyTorch or ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Only = Literal["all", "fp32", "int8"]

# nDCG@10 that eight bits may cost.
ALLOWED_COST = 0.003
# What float32 may differ by, in any component of a hidden state or a vector.
LARGEST_DIFFERENCE = 1e-4


@dataclass(frozen=True, slots=True)
class Parity:
    """How far what was written is from the model in PyTorch, in float32.

    Attributes:
        states: largest difference of a hidden state, graph against PyTorch.
        vectors: largest difference of a vector's component, `gingham.Encoder` against
            `MultiVectorEncoder`, each loading the folder, over queries and documents.
        texts: how many of each were compared.
    """

    states: float
    vectors: float
    texts: int


@dataclass(frozen=True, slots=True)
class Turned:
    """How far eight bits turn the vectors of float32.

    Attributes:
        query_mean, query_worst: cosine, over the tokens of queries.
        document_mean, document_worst: cosine, over the tokens of documents.
    """

    query_mean: float
    query_worst: float
    document_mean: float
    document_worst: float


@dataclass(frozen=True, slots=True)
class Quality:
    """What eight bits cost on a set of questions, by exhaustive MaxSim.

    Attributes:
        dataset: what was asked.
        made_up: the queries are parts of the documents, where no judged ones were given.
        queries: how many.
        documents: how many were searched.
        fp32, int8: nDCG@10.
        difference: int8 - fp32, mean over queries.
        interval: of the difference, 95 %, over queries.
        p: of a paired randomisation test.
    """

    dataset: str
    made_up: bool
    queries: int
    documents: int
    fp32: float
    int8: float
    difference: float
    interval: tuple[float, float]
    p: float


@dataclass(frozen=True, slots=True)
class Exported:
    """A folder that was written.

    Attributes:
        folder: that `gingham.Encoder` loads, and `MultiVectorEncoder` where it has the weights.
        architecture: of the transformer.
        graph: "written" node by node, or "traced" by PyTorch.
        parity: float32 against PyTorch.
        turned: int8 against float32; None where only fp32 was asked for.
        quality: of int8, one a set; empty where nothing was to be checked.
        files: bytes by path within the folder.
    """

    folder: Path
    architecture: str
    graph: Literal["written", "traced"]
    parity: Parity
    turned: Turned | None
    quality: tuple[Quality, ...]
    files: Mapping[str, int]
