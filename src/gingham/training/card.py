"""The model card, written from what ran: nothing in it is typed by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gingham.training.checking import SetCounts
from gingham.training.fitted import Fitted
from gingham.training.settings import TrainingSettings

_PACKAGES = ("gingham", "torch", "sentence-transformers", "transformers", "datasets", "peft")
_LOSSES = {
    "pairwise": "softmax cross-entropy of the positive against its own negatives",
    "in-batch": "softmax cross-entropy against all documents of the batch",
    "distil": "KL divergence from a teacher's scores",
    "both": "KL divergence from a teacher's scores, and cross-entropy against the batch",
    "batch-distil": "KL divergence from a teacher's scores of all pairs of a batch of one topic",
}


def write_card(
    path: Path, settings: TrainingSettings, counts: Sequence[SetCounts], result: Fitted
) -> None:
    """Write README.md.

    Args:
        path: the file.
        settings: of the run.
        counts: of every training set, and of the dev set last where there was one.
        result: what the run came to.
    """
    text = model_card(path.parent.name, settings, counts, result)
    path.write_text(text, encoding="utf-8", newline="\n")


def model_card(
    name: str, settings: TrainingSettings, counts: Sequence[SetCounts], result: Fitted
) -> str:
    """The card as Markdown, with the header that the Hugging Face hub reads."""
    blocks = [
        _header(settings),
        f"# {_inline(name)}",
        "A late-interaction (ColBERT) model: one vector a token, scored by MaxSim. Trained by "
        f"`gingham train` from {_inline(settings.backbone)}.",
        _usage(),
        "## Data",
        _data(counts, result),
        "## Training",
        _training(settings, result),
    ]
    if result.curve:
        blocks += ["## nDCG@10 on the dev set", _curve(result)]
    if result.remarks:
        blocks += ["## Remarks", "\n".join(f"- {_inline(remark)}" for remark in result.remarks)]
    blocks += [
        "## All settings",
        "```json\n" + json.dumps(settings.as_dict(), indent=1, ensure_ascii=False) + "\n```",
    ]
    return "\n\n".join(blocks) + "\n"


def _header(settings: TrainingSettings) -> str:
    lines = ["---", "library_name: sentence-transformers", "pipeline_tag: feature-extraction"]
    if re.fullmatch(r"[\w.-]+/[\w.-]+", settings.backbone) and not Path(settings.backbone).exists():
        lines.append(f"base_model: {settings.backbone}")
    return "\n".join(
        [*lines, "tags:", "- ColBERT", "- late-interaction", "- multi-vector", "- gingham", "---"]
    )


def _usage() -> str:
    return """```python
import gingham

docs = gingham.open("docs.gingham", "THIS FOLDER")
docs.add(["The moon pulls at the sea."])
print(docs.search("why is there a tide?"))
```

sentence-transformers loads the folder too: `MultiVectorEncoder("THIS FOLDER")`."""


def _data(counts: Sequence[SetCounts], result: Fitted) -> str:
    rows = dict(result.rows)
    n_sets = len(counts) - 1 if result.curve else len(counts)
    lines = [
        "| set | queries | documents | examples | positives | negatives | scored |",
        "|---|---|---|---|---|---|---|",
    ]
    for index, one in enumerate(counts):
        name = one.name if index < n_sets else f"{one.name} (dev)"
        figures = (
            one.queries,
            one.documents,
            one.examples,
            one.positives,
            one.negatives,
            one.scored,
        )
        lines.append(f"| {_inline(name)} | {' | '.join(f'{n:,}' for n in figures)} |")
    listed = "; ".join(f"{_inline(name)}: {count:,}" for name, count in rows.items())
    return "\n".join(lines) + f"\n\nRows a pass: {listed}."


def _training(settings: TrainingSettings, result: Fitted) -> str:
    minutes = result.seconds / 60
    took = f"{result.seconds:.0f} seconds" if minutes < 2 else f"{minutes:.0f} minutes"
    chosen = "the last step" if result.best_step is None else f"step {result.best_step:,}"
    lines = [
        f"{result.steps:,} steps of {settings.batch_size * settings.accumulation} queries on "
        f"{result.device}, {took}; the weights are those of {chosen}. "
        f"{result.parameters:,} numbers were trained.",
        "",
        *(f"- loss: {_LOSSES[loss]}" for loss in result.losses),
        f"- similarity: {_similarity(settings)}",
        f"- learning rate: {settings.learning_rate:g}, of the projection "
        f"{settings.projection_learning_rate:g}; {settings.schedule}, warm-up "
        f"{settings.warmup:g} of the steps",
        *([] if result.loss is None else [f"- last loss: {result.loss:.4f}"]),
        f"- versions: {_versions()}",
    ]
    return "\n".join(lines)


def _similarity(settings: TrainingSettings) -> str:
    if settings.similarity == "l2":
        return (
            "trained with squared L2; vectors have length 1, so MaxSim, which the folder is "
            "marked with, ranks the same"
        )
    return "cosine (MaxSim of vectors of length 1)"


def _curve(result: Fitted) -> str:
    lines = ["| step | nDCG@10 |", "|---|---|"]
    for step, value in result.curve:
        mark = "**" if step == result.best_step else ""
        lines.append(f"| {step:,} | {mark}{value:.4f}{mark} |")
    return "\n".join(lines)


def _versions() -> str:
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _inline(text: str) -> str:
    """Somebody's text inside a line of Markdown."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))
