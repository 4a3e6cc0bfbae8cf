"""What is minimised: the losses of sentence-transformers, and two small ones that it lacks.

Scores are MaxSim, (queries, documents) float32. With "l2" a score is −Σ min ‖q − d‖², which for
vectors of length 1 is 2 · MaxSim − 2 a query vector (ColBERT, https://arxiv.org/abs/2004.12832).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.losses.merged_forward import embed_columns_padded
from sentence_transformers.multi_vector_encoder.losses import (
    CachedMultiVectorMultipleNegativesRankingLoss,
    MultiVectorDistillKLDivLoss,
    MultiVectorMultipleNegativesRankingLoss,
)
from sentence_transformers.multi_vector_encoder.scoring import colbert_kd_scores, colbert_scores
from sentence_transformers.util import (
    all_gather_padded,
    get_rank,
    stack_padded_token_embeddings,
)
from torch import Tensor, nn

from gingham.training.settings import TrainingSettings

Scoring = Callable[..., Tensor]

_PARTS = 4  # of a batch's documents, by length


def make_loss(
    model: MultiVectorEncoder, settings: TrainingSettings, kind: str, *, gather: bool = False
) -> nn.Module:
    """The loss of one data set.

    Args:
        model: what it trains.
        settings: weights, temperatures, similarity.
        kind: "pairwise", "in-batch", "distil", "both" or "batch-distil".
        gather: take the documents of every device's batch as negatives.
    """
    every, own = _scorings(settings.similarity)
    scale = 1 / settings.temperature
    if kind == "in-batch" and settings.minibatch_size is not None:
        return CachedMultiVectorMultipleNegativesRankingLoss(
            model,
            scale=scale,
            similarity_fct=every,
            mini_batch_size=settings.minibatch_size,
            gather_across_devices=gather,
        )
    if kind == "in-batch":
        return MultiVectorMultipleNegativesRankingLoss(
            model, scale=scale, similarity_fct=every, gather_across_devices=gather
        )
    if kind == "distil":
        return MultiVectorDistillKLDivLoss(
            model,
            similarity_fct=own,
            student_temperature=settings.temperature,
            teacher_temperature=settings.teacher_temperature,
        )
    if kind == "pairwise":
        return PairwiseLoss(model, settings)
    if kind == "batch-distil":
        return BatchDistillationLoss(model, settings)
    return DistilAndRankLoss(model, settings, gather=gather)


class PairwiseLoss(nn.Module):  # type: ignore[misc]
    """Softmax cross-entropy of each query's first document against its others (ColBERT, §3.3)."""

    def __init__(self, model: MultiVectorEncoder, settings: TrainingSettings) -> None:
        super().__init__()
        self.model = model
        self.scale = 1 / settings.temperature
        self.own = _scorings(settings.similarity)[1]

    def forward(
        self, features: Iterable[dict[str, Tensor]], labels: Tensor | None = None
    ) -> Tensor:
        """The mean over the queries; features are of the queries and of a column a document."""
        queries, queries_mask, documents, documents_mask = _embed(self.model, features)
        scores = self.own(
            queries, documents, queries_mask=queries_mask, documents_mask=documents_mask
        )
        first = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
        return F.cross_entropy(scores * self.scale, first)

    def get_config_dict(self) -> dict[str, Any]:
        """What a model card says."""
        return {"scale": self.scale}


class DistilAndRankLoss(nn.Module):  # type: ignore[misc]
    """KL divergence from a teacher, and cross-entropy against the batch, of the same vectors.

    ColBERTv2 (https://arxiv.org/abs/2112.01488) sums them so. The first document of a query is its
    positive.
    """

    def __init__(
        self, model: MultiVectorEncoder, settings: TrainingSettings, *, gather: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.every, self.own = _scorings(settings.similarity)
        self.gather = gather

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor) -> dict[str, Tensor]:
        """Both parts, weighted; the trainer sums and logs them.

        Args:
            features: of the queries, and of a column a document.
            labels: (queries, columns) the teacher's scores.
        """
        queries, queries_mask, documents, documents_mask = _embed(self.model, features)
        masks = {"queries_mask": queries_mask, "documents_mask": documents_mask}
        student = self.own(queries, documents, **masks) / self.settings.temperature
        teacher = labels.to(student) / self.settings.teacher_temperature
        divergence = F.kl_div(
            F.log_softmax(student, dim=-1),
            F.log_softmax(teacher, dim=-1),
            reduction="batchmean",
            log_target=True,
        )
        columns, first = documents.shape[1], 0
        if self.gather:
            first = get_rank() * len(queries) * columns
            documents, documents_mask = _gathered(documents, documents_mask)
        scores = self.every(
            queries, documents, queries_mask=queries_mask, documents_mask=documents_mask
        )
        targets = torch.arange(len(queries), device=scores.device) * columns + first
        ranking = F.cross_entropy(scores / self.settings.temperature, targets)
        return {
            # Times the temperature squared, so that the gradient does not depend on it (Hinton
            # et al. 2015, https://arxiv.org/abs/1503.02531, section 2).
            "divergence": divergence
            * (self.settings.temperature**2 * self.settings.distillation_weight),
            "cross_entropy": ranking * self.settings.label_weight,
        }

    def get_config_dict(self) -> dict[str, Any]:
        """What a model card says."""
        return {
            "distillation_weight": self.settings.distillation_weight,
            "label_weight": self.settings.label_weight,
        }


class BatchDistillationLoss(nn.Module):  # type: ignore[misc]
    """KL divergence from a teacher's scores of every query and every document of the batch.

    The model's score of a document is divided by the number of the query's vectors here, so that
    one temperature suits short queries and long ones; the order is the same. The target is the
    teacher's softmax with a part of the label, the query's own document, mixed in: a document that
    the teacher finds as good as the positive is no negative then, as in denoised supervision.
    """

    def __init__(self, model: MultiVectorEncoder, settings: TrainingSettings) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.every = _scorings(settings.similarity)[0]

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The mean over the queries.

        Args:
            features: of the queries, and of as many documents, one column.
            labels: (queries, documents) the teacher's scores.
        """
        first, column = [dict(one) for one in features]
        output = self.model(first, task="query")
        queries, mask = output["token_embeddings"].float(), output["attention_mask"].bool()
        with torch.autocast(queries.device.type, enabled=False):
            student = self._scores(queries, mask, column)
            student = student / mask.sum(1, keepdim=True) / self.settings.temperature
            target = torch.softmax(labels.to(student) / self.settings.teacher_temperature, dim=-1)
            own = torch.eye(len(target), device=target.device)
            target = torch.lerp(target, own, self.settings.label_part)
            return F.kl_div(F.log_softmax(student, dim=-1), target, reduction="batchmean")

    def _scores(self, queries: Tensor, mask: Tensor, column: dict[str, Any]) -> Tensor:
        """(queries, documents); the documents are encoded a few of like length at a time.

        In the order of the batch, short documents would be padded to the longest of it: on a CPU,
        a third of the time of a step.
        """
        lengths = column["attention_mask"].sum(1)
        order = torch.argsort(lengths, stable=True)
        size = column["attention_mask"].shape
        parts = []
        for chosen in order.split(max(1, math.ceil(len(order) / _PARTS))):
            longest = int(lengths[chosen].max())
            part = {
                name: value[chosen, :longest]
                if isinstance(value, Tensor) and value.shape[:2] == size
                else value
                for name, value in column.items()
            }
            with torch.autocast(
                queries.device.type, dtype=torch.bfloat16, enabled=self.settings.bf16
            ):
                output = self.model(part, task="document")
            parts.append(
                self.every(
                    queries,
                    output["token_embeddings"].float()[:, None],
                    queries_mask=mask,
                    documents_mask=output["attention_mask"].bool()[:, None],
                )
            )
        return torch.cat(parts, dim=1)[:, torch.argsort(order)]

    def get_config_dict(self) -> dict[str, Any]:
        """What a model card says."""
        return {
            "temperature": self.settings.temperature,
            "label_part": self.settings.label_part,
        }


def l2_scores(queries: Tensor, documents: Tensor, **masks: Any) -> Tensor:
    """−Σ min ‖q − d‖² of every query and every document; vectors have length 1."""
    return _as_distances(colbert_scores(queries, documents, **masks), queries, masks)


def own_l2_scores(queries: Tensor, documents: Tensor, **masks: Any) -> Tensor:
    """−Σ min ‖q − d‖² of every query and its own documents; vectors have length 1."""
    return _as_distances(colbert_kd_scores(queries, documents, **masks), queries, masks)


def _as_distances(scores: Tensor, queries: Tensor, masks: dict[str, Any]) -> Tensor:
    mask = masks.get("queries_mask")
    counts = queries.shape[1] if mask is None else mask.sum(1, keepdim=True)
    return 2 * scores - 2 * counts


def _scorings(similarity: str) -> tuple[Scoring, Scoring]:
    """Every query with every document, and with its own."""
    if similarity == "l2":
        return l2_scores, own_l2_scores
    return colbert_scores, colbert_kd_scores


def _embed(
    model: MultiVectorEncoder, features: Iterable[dict[str, Tensor]]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries (n, tokens, dim) and documents (n, columns, tokens, dim), each with its mask."""
    first, *others = [dict(column) for column in features]
    output = model(first, task="query")
    documents, masks = embed_columns_padded(model, others, None, task_default="document")
    stacked, mask = stack_padded_token_embeddings(documents, masks)
    return output["token_embeddings"], output["attention_mask"].bool(), stacked, mask


def _gathered(documents: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The documents of every device, those of the first device first."""
    pairs = [
        all_gather_padded(documents[:, column], mask[:, column], with_grad=True)
        for column in range(documents.shape[1])
    ]
    stacked, stacked_mask = stack_padded_token_embeddings(
        [vectors for vectors, _ in pairs], [column_mask for _, column_mask in pairs]
    )
    return stacked, stacked_mask
