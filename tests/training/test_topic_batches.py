"""Batches of one topic: how they are drawn, the loss of their scores, that runs continue."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gingham.errors import InputError
from gingham.training import (
    Example,
    TopicBatches,
    TrainingSet,
    TrainingSettings,
    batched,
    group_by_topic,
)
from training.toys import WORDS, run, toy_set, toy_settings, weights

SIZE = 8


def points(topics: int, each: int, seed: int) -> Any:
    """(topics · each, 16) float32 of length 1: topic t is rows t · each to (t + 1) · each."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(topics, 1, 16))
    values = (centres + 0.1 * rng.normal(size=(topics, each, 16))).reshape(-1, 16)
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def taught(count: int = 80, seed: int = 1) -> TopicBatches:
    """Toy examples in batches, scored by how many of the query's words a document has."""
    source = toy_set(count, seed, negatives=0)
    words = [
        [
            {word for word in text.replace("?", " ").replace(",", " ").split() if word in WORDS}
            for text in texts.values()
        ]
        for texts in (source.queries, source.documents)
    ]
    rows = [np.arange(start, start + SIZE) for start in range(0, count, SIZE)]
    return batched(
        source,
        rows,
        lambda batch: np.array(
            [[3.0 * len(words[0][q] & words[1][d]) for d in batch] for q in batch], np.float32
        ),
    )


@given(
    st.integers(1, 6), st.integers(1, 40), st.integers(1, 12), st.integers(0, 11), st.integers(0, 5)
)
@settings(max_examples=80, deadline=None)
def test_batches_of_any_rows(topics: int, each: int, size: int, hard: int, seed: int) -> None:
    queries = points(topics, each, seed)
    rng = np.random.default_rng(seed)
    documents = points(topics, max(1, each // 2), seed + 1)
    document_of = rng.integers(0, len(documents), len(queries)).tolist()
    if hard > size // 2 or len(queries) < size:
        with pytest.raises(InputError):
            group_by_topic(queries, documents, document_of, size=size, hard=hard)
        return
    made = group_by_topic(queries, documents, document_of, size=size, hard=hard, seed=seed)
    cores = Counter[int]()
    for batch in made:
        assert len(batch) == size
        assert len({document_of[row] for row in batch}) == size
        cores.update(batch[: size - hard].tolist())
    assert all(count == 1 for count in cores.values())
    again = group_by_topic(queries, documents, document_of, size=size, hard=hard, seed=seed)
    assert [batch.tolist() for batch in made] == [batch.tolist() for batch in again]


def test_a_batch_is_of_one_topic_and_hard_rows_are_near() -> None:
    queries = points(5, 60, 3)
    # More clusters than topics: k-means that starts at random points may join two.
    made = group_by_topic(queries, queries, range(300), size=12, hard=4, topics=12, seed=1)
    pure = [len({row // 60 for row in batch[:8].tolist()}) == 1 for batch in made]
    assert np.mean(pure) > 0.7  # the last batches are of what all topics left
    near = [
        row // 60 in {core // 60 for core in batch[:8].tolist()}
        for batch in made
        for row in batch[8:].tolist()
    ]
    assert np.mean(near) > 0.95
    covered = {row for batch in made for row in batch[:8].tolist()}
    assert len(covered) >= 296  # fewer than a core are left over


def test_loss_value(backbone: Path) -> None:
    """KL of the target, a mixture of the teacher and the label, from the mean over vectors."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from gingham.training.losses import make_loss
        from gingham.training.modelling import build_model

        torch.manual_seed(0)
        one = taught()
        options: dict[str, Any] = {
            "augmentation": False,
            "temperature": 0.1,
            "label_part": 0.3,
            "query_length": 24,
        }
        chosen = toy_settings(
            backbone, loss="batch-distil", dropout=0.0, teacher_temperature=2.0, **options
        )
        model = build_model(chosen, list(one.documents.values())[:32]).eval()
    asked = [
        " ".join([one.queries[example.query_id]] * (1 + number % 2))
        for number, example in enumerate(one.examples[:SIZE])
    ]
    # Of very different lengths, so that the loss encodes them in another order.
    found = [
        " ".join([one.documents[example.positives[0]]] * (1 + 3 * (number % 3)))
        for number, example in enumerate(one.examples[:SIZE])
    ]
    features = [
        {**model.preprocess(texts, prompt=model.prompts[task], task=task), "task": task}
        for texts, task in ((asked, "query"), (found, "document"))
    ]
    with torch.no_grad():
        value = float(
            make_loss(model, chosen, "batch-distil")(features, torch.tensor(one.scores[0]))
        )
    queries = model.encode_query(asked, convert_to_numpy=True)
    documents = model.encode_document(found, convert_to_numpy=True)
    assert len({len(query) for query in queries}) > 1
    student = np.array([[(q @ d.T).max(1).mean() for d in documents] for q in queries]) / 0.1
    student -= np.log(np.exp(student).sum(1, keepdims=True))
    teacher = np.exp(one.scores[0] / 2)
    target = 0.7 * teacher / teacher.sum(1, keepdims=True) + 0.3 * np.eye(SIZE)
    assert value == pytest.approx((target * (np.log(target) - student)).sum(1).mean(), abs=1e-4)


def test_it_learns_and_goes_on_to_the_same_weights(backbone: Path, tmp_path: Path) -> None:
    chosen = toy_settings(
        backbone, loss="auto", augmentation=False, temperature=0.1, save_every=3, evaluate_every=3
    )
    fitted = run(chosen, [taught()], None, tmp_path / "whole")
    assert fitted.losses == ("batch-distil",)
    assert fitted.steps == 20
    rows = (tmp_path / "whole" / "training" / "log.csv").read_text().splitlines()[1:]
    losses = [float(row.split(",")[2]) for row in rows]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])

    class Stopped(Exception):
        """Somebody pulled the plug."""

    for stop in (5, 16):  # in the first epoch, and in the second, whose order is another

        def progress(now: Any, stop: int = stop) -> None:
            if now.step == stop:
                raise Stopped

        with pytest.raises(Stopped):
            run(chosen, [taught()], None, tmp_path / "parts", progress=progress)
    run(chosen, [taught()], None, tmp_path / "parts")
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def test_another_teacher_is_another_run(backbone: Path, tmp_path: Path) -> None:
    chosen = toy_settings(backbone, loss="batch-distil", steps=1)
    one = taught()
    run(chosen, [one], None, tmp_path / "out")
    with pytest.raises(InputError, match="with other contents"):
        run(chosen, [replace(one, scores=one.scores + 1)], None, tmp_path / "out")


def test_what_does_not_fit_is_refused() -> None:
    from gingham.training.rows import make_tables

    one = taught(16)
    [table], _ = make_tables([one], TrainingSettings(batch_size=SIZE))
    assert table.loss == "batch-distil"
    assert len(table.rows) == 16
    assert table.rows[9]["scores"] == pytest.approx(one.scores[1, 1].tolist())
    assert table.rows[9]["query"] == one.queries[one.examples[9].query_id]
    with pytest.raises(InputError, match="batches are of 8, and batch_size is 4; make both"):
        make_tables([one], TrainingSettings(batch_size=4))
    with pytest.raises(InputError, match="the loss 'in-batch' has no use for"):
        make_tables([one], TrainingSettings(batch_size=SIZE, loss="in-batch"))
    with pytest.raises(InputError, match="needs a teacher's scores of whole batches"):
        make_tables([toy_set(16, 1)], TrainingSettings(batch_size=8, loss="batch-distil"))
    parts = (one.name, one.queries, one.documents)
    with pytest.raises(InputError, match="scores must be"):
        TopicBatches(*parts, one.examples, one.scores[:1])
    with pytest.raises(InputError, match="no finite number"):
        TopicBatches(*parts, one.examples, np.full_like(one.scores, np.nan))
    several = [Example("q0", ("p0", "p1"))] * 16
    with pytest.raises(InputError, match="one positive, nothing else"):
        TopicBatches(*parts, several, one.scores)
    with pytest.raises(InputError, match="there is no batch"):
        batched(TrainingSet(*parts, one.examples), [], lambda rows: one.scores[0])
