"""What `gingham evaluate` is given: systems, run files and datasets, checked before any work."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gingham.errors import InputError

if TYPE_CHECKING:
    from gingham.evaluation import Dataset, Run
    from gingham.evaluation.systems import System

_WHITE_SPACE = re.compile(r"\s")


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One dataset and what is to be measured on it."""

    dataset: Dataset
    systems: Sequence[System]
    runs: Sequence[Run]

    @property
    def names(self) -> list[str]:
        """Of systems and runs."""
        return [system.name for system in self.systems] + [run.name for run in self.runs]


def check_sources(sources: Sequence[str | None], of_one: Mapping[str, object]) -> None:
    """There must be a dataset, and one only for the options `of_one`.

    Raises:
        InputError: not so.
    """
    if sources == [None] and of_one["--qrels"] is None:
        raise InputError(
            "no dataset: name a folder, as in gingham evaluate scifact, or judgements with --qrels"
        )
    for option, value in of_one.items():
        if value and len(sources) > 1:
            raise InputError(
                f"{option} belongs to one dataset, and {len(sources)} are named: evaluate them one "
                "by one"
            )


def check_outputs(
    json: bool,
    markdown: bool,
    wins: int | None,
    plot: Path | None,
    plot_differences: Path | None,
    write_runs: Path | None,
) -> None:
    """The outputs must go together, and their files must be possible.

    Raises:
        InputError: not so.
    """
    from gingham.evaluation import plots

    if json and markdown:
        raise InputError("--json and --markdown: choose one")
    if markdown and wins is not None:
        raise InputError("--wins is shown in the terminal or with --json: leave out --markdown")
    for path in (plot, plot_differences):
        if path is not None:
            plots.check_format(path)
            if not path.parent.is_dir() or path.is_dir():
                raise InputError(f"cannot write {path}: name a file in a folder that exists")
    if write_runs is not None:
        if write_runs.exists() and not write_runs.is_dir():
            raise InputError(f"--write-runs {write_runs} is no folder: name one")
        try:
            write_runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError(f"--write-runs {write_runs}: {reason}; name a folder") from error


def check_timed(systems: Sequence[System], timed: int) -> None:
    """A plot of time needs systems that are timed.

    Raises:
        InputError: there are none.
    """
    if not (timed and systems):
        raise InputError(
            "--plot draws systems that are timed: name one that is no run file, and leave out "
            "--timed 0"
        )


def systems(
    models: Sequence[str],
    collection: str | None,
    gingham: bool,
    exact: bool,
    bm25: bool,
    rerank: int | None,
    dense: str | None,
) -> list[System]:
    """The systems that the options name; of several models each has the name of its folder.

    Raises:
        InputError: several models for one collection.
    """
    from gingham import evaluation

    if collection is not None and len(models) > 1:
        raise InputError("--collection was built with one model: name one --model, or none")
    found: list[System] = []
    named: Sequence[str | None] = models or [None]
    for model in named:
        label = Path(model).name if model is not None and len(models) > 1 else None
        own = evaluation.LateInteraction(model, collection, label=label)
        if gingham:
            found.append(own)
        if exact:
            label = label and f"{label}, exact"
            found.append(evaluation.LateInteraction(model, collection, exact=True, label=label))
    if bm25:
        found.append(evaluation.BM25())
    if rerank is not None:
        first = evaluation.LateInteraction(models[0] if models else None, collection)
        found.append(evaluation.Reranked(rerank, first))
    if dense is not None:
        found.append(evaluation.SingleVector(dense))
    return found


def work(
    dataset: Dataset, systems: Sequence[System], paths: Sequence[str], allow_unknown_ids: bool
) -> Work:
    """A dataset with its systems and run files; what is odd about the runs joins its remarks.

    Raises:
        SourceError: a run file cannot be read, or is of other queries or documents.
    """
    from gingham import evaluation

    runs: list[Run] = []
    for path in paths:
        run = evaluation.read_run(path)
        # Yesterday's run of a system beside today's: the file says which is which.
        if run.name in [*(system.name for system in systems), *(other.name for other in runs)]:
            run = replace(run, name=Path(path).stem)
        remarks = evaluation.check_run(run, dataset, path, allow_unknown_ids=allow_unknown_ids)
        dataset = replace(dataset, remarks=(*dataset.remarks, *remarks))
        runs.append(run)
    return Work(dataset, systems, runs)


def distinct(works: Sequence[Work]) -> Sequence[Work]:
    """The same, if no two datasets share a title.

    Raises:
        InputError: they do.
    """
    titles = [work.dataset.title for work in works]
    twice = [title for i, title in enumerate(titles) if title in titles[:i]]
    if twice:
        raise InputError(f"two datasets are called {twice[0]}: evaluate them one by one")
    return works


def check_writable(dataset: Dataset) -> None:
    """The ids that are known must fit into a run file.

    Raises:
        InputError: one has white space in it.
    """
    judged = (id for grades in dataset.qrels.values() for id in grades)
    for id in (*dataset.qrels, *judged):
        if _WHITE_SPACE.search(id):
            raise InputError(
                f"the id {id!r} cannot stand in a run file, where white space parts the columns: "
                "leave out --write-runs"
            )
