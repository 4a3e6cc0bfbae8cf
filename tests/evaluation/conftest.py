"""A small dataset in BEIR's layout: twelve documents, six judged queries, graded judgements."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gingham.document import Document
from gingham.evaluation.dataset import Corpus, Dataset
from gingham.evaluation.experiment import make_job
from gingham.evaluation.reading import open_dataset
from gingham.evaluation.run import Ranking
from gingham.evaluation.systems import Job, Prepared

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


@pytest.fixture
def job(dataset: Dataset, cache: Path) -> Job:
    return make_job(dataset, cache, threads=1)


@dataclass
class Interrupting:
    """A corpus in which Ctrl-C is pressed after some documents, however often it is read."""

    inner: Corpus
    after: int
    read: int = 0

    @property
    def digest(self) -> str:
        return self.inner.digest

    @property
    def n_documents(self) -> int:
        return self.inner.n_documents

    def documents(self) -> Iterator[Document]:
        for document in self.inner.documents():
            if self.read == self.after:
                raise KeyboardInterrupt
            self.read += 1
            yield document

    def __contains__(self, id: object) -> bool:
        return id in self.inner


def interrupted(job: Job, after: int) -> Job:
    corpus: Any = Interrupting(job.corpus, after)
    return replace(job, dataset=replace(job.dataset, corpus=corpus))


def ask(prepared: Prepared, query: str, k: int = 100) -> Ranking:
    with prepared.searcher(1) as searcher:
        return searcher.search(searcher.encode(query), k)


def by_id(ranking: Ranking) -> dict[str, float]:
    return dict(zip(ranking.ids, ranking.scores.tolist(), strict=True))


def explained(prepared: Prepared, query: str, id: str) -> float:
    with prepared.searcher(1) as searcher:
        return sum(share for _, _, share in searcher.explain(query, id).parts)
