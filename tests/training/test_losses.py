"""Each loss against its formula, and that each learns."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gingham.errors import InputError
from gingham.training import Example, TrainingSet, TrainingSettings
from training.toys import run, toy_set, toy_settings

DATA, SCORED = toy_set(48, 1, negatives=3), toy_set(48, 2, negatives=3, scored=True)


@pytest.fixture(scope="module")
def model(backbone: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch

        from gingham.training.modelling import build_model

        torch.set_num_threads(1)  # many small operations: threads only wait for each other
        torch.manual_seed(0)
        return build_model(toy_settings(backbone, dropout=0.0), list(DATA.documents.values())[:32])


def columns(model: Any, one: TrainingSet, count: int, n_documents: int) -> list[Any]:
    """Features of the first examples, as the trainer's collator makes them."""
    examples = one.examples[:count]
    texts = [[one.queries[example.query_id] for example in examples]]
    for index in range(n_documents):
        texts.append([one.documents[example.documents[index]] for example in examples])
    tasks = ["query"] + ["document"] * n_documents
    return [
        {**model.preprocess(column, prompt=model.prompts[task], task=task), "task": task}
        for column, task in zip(texts, tasks, strict=True)
    ]


def maxsim(model: Any, one: TrainingSet, count: int, n_documents: int, l2: bool) -> Any:
    """(queries, queries, documents) by NumPy: of every query with every one's documents."""
    examples = one.examples[:count]
    asked = model.encode_query([one.queries[e.query_id] for e in examples], convert_to_numpy=True)
    found = [
        model.encode_document([one.documents[id] for id in e.documents], convert_to_numpy=True)
        for e in examples
    ]

    def score(query: Any, document: Any) -> float:
        if l2:
            squares = ((query[:, None] - document[None]) ** 2).sum(2)
            return -float(squares.min(1).sum())
        return float((query @ document.T).max(1).sum())

    return np.array([[[score(q, d) for d in row[:n_documents]] for row in found] for q in asked])


def softmax(values: Any) -> Any:
    raised = np.exp(values - values.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def value(model: Any, settings: TrainingSettings, kind: str, scored: bool = False) -> Any:
    import torch

    from gingham.training.losses import make_loss

    one = SCORED if scored else DATA
    labels = torch.tensor([example.scores for example in one.examples[:6]]) if scored else None
    model.eval()
    with torch.no_grad():
        loss = make_loss(model, settings, kind)(columns(model, one, 6, 4), labels)
    if isinstance(loss, dict):
        return {name: float(part) for name, part in loss.items()}
    return float(loss)


@pytest.mark.parametrize("similarity", ["cosine", "l2"])
def test_values(model: Any, backbone: Path, similarity: str) -> None:
    settings = toy_settings(backbone, similarity=similarity, temperature=2.0)
    scores = maxsim(model, DATA, 6, 4, similarity == "l2") / 2
    own = scores[np.arange(6), np.arange(6)]
    wanted = -np.log(softmax(own)[:, 0]).mean()
    assert value(model, settings, "pairwise") == pytest.approx(wanted, abs=1e-4)
    every = scores.reshape(6, 24)
    wanted = -np.log(softmax(every)[np.arange(6), np.arange(6) * 4]).mean()
    assert value(model, settings, "in-batch") == pytest.approx(wanted, abs=1e-4)
    cached = replace(settings, minibatch_size=2)
    assert value(model, cached, "in-batch") == pytest.approx(wanted, abs=1e-4)

    scores = maxsim(model, SCORED, 6, 4, similarity == "l2") / 2
    own = scores[np.arange(6), np.arange(6)]
    taught = replace(settings, teacher_temperature=0.5, label_weight=0.25, distillation_weight=3)
    teacher = softmax(np.array([example.scores for example in SCORED.examples[:6]]) / 0.5)
    divergence = (teacher * (np.log(teacher) - np.log(softmax(own)))).sum(1).mean() * 2**2
    assert value(model, taught, "distil", True) == pytest.approx(divergence, abs=1e-3)
    ranking = -np.log(softmax(scores.reshape(6, 24))[np.arange(6), np.arange(6) * 4]).mean()
    both = value(model, taught, "both", True)
    assert both["divergence"] == pytest.approx(3 * divergence, abs=1e-3)
    assert both["cross_entropy"] == pytest.approx(0.25 * ranking, abs=1e-4)


def test_cached_gradients_are_those_of_the_whole_batch(model: Any, backbone: Path) -> None:
    import torch

    from gingham.training.losses import make_loss

    found = []
    for size in (None, 2):
        model.zero_grad()
        settings = toy_settings(backbone, dropout=0.0, minibatch_size=size)
        make_loss(model, settings, "in-batch")(columns(model, DATA, 6, 4), None).backward()
        found.append(model[1].linear.weight.grad.clone())
    assert float(found[0].abs().max()) > 0
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("pairwise", {"negatives": 2}),
        ("in-batch", {"minibatch_size": 4}),
        ("distil", {"ways": 3}),
        ("auto", {"bf16": True, "similarity": "l2"}),
    ],
)
def test_every_loss_learns(
    backbone: Path, tmp_path: Path, loss: str, options: dict[str, Any]
) -> None:
    sets = [SCORED] if loss in ("distil", "auto") else [DATA]
    settings = toy_settings(backbone, loss=loss, steps=24, schedule="constant", **options)
    fitted = run(settings, sets, None, tmp_path / "out")
    rows = (tmp_path / "out" / "training" / "log.csv").read_text().splitlines()[1:]
    losses = [float(row.split(",")[2]) for row in rows]
    assert np.mean(losses[-6:]) < 0.97 * np.mean(losses[:6])
    assert fitted.losses == (("both",) if loss == "auto" else (loss,))
    assert fitted.rows == (("toy", 48),)


def ragged(count: int, n_negatives: int, *, scored: bool = False) -> list[Example]:
    ids = tuple(f"d{index}" for index in range(n_negatives + 1))
    scores = tuple(float(index) for index in range(len(ids))) if scored else None
    return [Example("q", ids[:1], ids[1:], scores) for _ in range(count)]


def tables_of(examples: list[Example], **options: Any) -> tuple[list[tuple[Any, ...]], list[str]]:
    from gingham.training.rows import make_tables

    one = TrainingSet("s", {"q": "query"}, {f"d{n}": f"text {n}" for n in range(20)}, examples)
    settings = TrainingSettings(**{"batch_size": 8, "negatives": 9, "ways": 9, **options})
    tables, remarks = make_tables([one], settings)
    rows = [(t.loss, len(t.rows.column_names) - 1, len(t.rows)) for t in tables]
    for table in tables:
        assert table.rows[0]["document_1"].startswith("text ")
    return rows, remarks


def test_rows_of_too_few_are_cut_to_the_next_number_of_documents() -> None:
    examples = ragged(5, 4) + ragged(4, 2) + ragged(20, 1) + ragged(3, 0)
    rows, remarks = tables_of(examples)
    assert rows == [("in-batch", 2, 20), ("in-batch", 3, 9)]
    assert remarks == [
        "s: 3 rows of 32 left out: a batch is of rows with equally many documents, and there are "
        "fewer of these than a batch takes"
    ]
    with pytest.raises(InputError, match="s: 7 rows to train on, and a batch takes 8; lower"):
        tables_of(ragged(7, 1))


def test_rows_of_scored_and_labelled_examples() -> None:
    rows, _ = tables_of(ragged(8, 2, scored=True) + ragged(9, 1))
    assert rows == [("both", 4, 8), ("in-batch", 2, 9)]  # the label is a column too
    with pytest.raises(
        InputError, match=r"'distil' needs a teacher's scores .* query 'q' has none"
    ):
        tables_of(ragged(8, 2), loss="distil")
    with pytest.raises(InputError, match="'pairwise' needs a negative"):
        tables_of(ragged(8, 0), loss="pairwise")


def test_what_a_row_holds() -> None:
    """The first is the positive, or what the teacher likes best; scores go with their documents."""
    from gingham.training.rows import make_tables

    documents = {f"d{n}": f"text {n}" for n in range(5)}
    example = Example("q", ("d0", "d1"), ("d2", "d3"), (1.0, 3.0, 2.0, 0.0))
    unlabelled = Example("q", (), ("d2", "d4"), (1.0, 5.0))

    def row(one: Example, **options: Any) -> dict[str, Any]:
        training_set = TrainingSet("s", {"q": "query"}, documents, [one, one])
        settings = TrainingSettings(**{"batch_size": 2, **options})
        [table], _ = make_tables([training_set], settings)
        found: dict[str, Any] = table.rows[0]
        return {name: found[name] for name in list(found) if name != "query"}

    assert row(example, loss="distil") == {
        "document_1": "text 1", "document_2": "text 0", "document_3": "text 2",
        "document_4": "text 3", "label": [3.0, 1.0, 2.0, 0.0],
    }  # fmt: skip
    assert row(example, loss="both", ways=2) == {
        "document_1": "text 1", "document_2": "text 2", "label": [3.0, 2.0],
    }  # fmt: skip
    assert row(unlabelled, loss="both")["document_1"] == "text 4"
    assert row(unlabelled, loss="in-batch") == {"document_1": "text 4", "document_2": "text 2"}
    assert row(example, loss="in-batch", negatives=0) == {"document_1": "text 0"}
