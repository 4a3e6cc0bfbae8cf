"""A small dataset in BEIR's layout: twelve documents, six judged queries, graded judgements."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from gingham.evaluation.dataset import Dataset
from gingham.evaluation.reading import open_dataset

TITLES = {"moon": "Tides", "bread": "Baking"}
TEXTS = {
    "moon": "The moon pulls the sea, and so the tide rises twice a day.",
    "bread": "Knead the dough, let it rest for an hour, then bake the bread.",
    "csv": "A reader of comma separated files gives one dictionary for each row.",
    "train": "The night train to Vienna leaves from platform nine at ten o'clock.",
    "cat": "Cats sleep for most of the day and hunt at dusk.",
    "dog": "Dogs sleep at night and hunt for bread.",
    "sea": "Sailors of old crossed the sea by the stars.",
    "twin": "Sailors of old crossed the sea by the stars.",
    "empty": " ",
    "star": "A star burns hydrogen; the moon only mirrors the light of one.",
    # Longer than a passage of the model.
    "long": "Chapter on rivers. "
    + "Rivers carry sand and clay down to the plains. " * 60
    + "At last the tide stops them where the river meets the sea.",
    "rye": "Rye bread keeps for a week; rye dough is sticky, rye is dark.",
}
QUERIES = {
    "q1": "why does the sea rise?",
    "q2": "how to bake rye bread",
    "q3": "when do cats hunt",
    "q4": "zzzz",
    "q5": "night train",
    "q6": "Which sailors crossed the sea? The sailors of old",
    "unjudged": "is nobody asked?",
}
GRADES = {
    "q1": {"moon": 3, "long": 1, "sea": 0, "empty": 1},
    "q2": {"rye": 2, "bread": 1, "dog": 0},
    "q3": {"cat": 2, "dog": 1},
    "q4": {"csv": 1},
    "q5": {"train": 1, "dog": 0},
    "q6": {"sea": 2, "twin": 2, "star": 0},
}


def write_beir(
    folder: Path,
    *,
    texts: Mapping[str, str] = TEXTS,
    queries: Mapping[str, str] = QUERIES,
    grades: Mapping[str, Mapping[str, int]] = GRADES,
) -> Path:
    """Make the files of a dataset; the folder is named as it is."""
    (folder / "qrels").mkdir(parents=True)
    records = ({"_id": i, "title": TITLES.get(i, ""), "text": t} for i, t in texts.items())
    (folder / "corpus.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    asked = ({"_id": i, "text": t} for i, t in queries.items())
    (folder / "queries.jsonl").write_text("".join(json.dumps(r) + "\n" for r in asked))
    lines = [f"{q}\t{d}\t{grade}\n" for q, judged in grades.items() for d, grade in judged.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files, in a folder "small"."""
    return write_beir(tmp_path / "small")


@pytest.fixture
def dataset(folder: Path) -> Dataset:
    """The files, read."""
    return open_dataset(folder)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where indexes are kept."""
    return tmp_path / "cache"
