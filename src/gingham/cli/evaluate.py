"""`gingham evaluate`: systems on datasets; quality, cost, and who differs from whom."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gingham.cli import console
from gingham.cli.options import Json, Threads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gingham.evaluation import Dataset, Evaluation, Run
    from gingham.evaluation.systems import System

EXAMPLES = (
    "gingham evaluate scifact --bm25",
    "gingham evaluate scifact nfcorpus --bm25 --exact --markdown > page.md",
    "gingham evaluate scifact --collection docs.gingham --rerank 100 --wins 5",
    "gingham evaluate qrels.txt --run mine.run --run theirs.run --metric nDCG@20",
    "gingham evaluate irds:beir/scifact/test --download",
    "gingham evaluate scifact --json > before.json; "
    "gingham evaluate scifact --no-worse-than before.json",
)

# Quality has fallen: not an error of the command, which is 2.
_FELL = 1
# Fewer documents are read before anybody wonders.
_MANY = 10_000
_WHITE_SPACE = re.compile(r"\s")


def evaluate(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATASETS",
            help="Folders in BEIR, MS MARCO or TREC layout, irds:ID for one that ir_datasets "
            "knows, or a file of judgements to score run files with.",
            show_default=False,
        ),
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option(
            metavar="COLLECTION",
            help="Search this collection, whose ids are the dataset's, instead of indexing.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="The folder or Hugging Face name of the model; by default the bundled one, or "
            "the collection's own.",
        ),
    ] = None,
    gingham: Annotated[
        bool, typer.Option("--gingham/--no-gingham", help="Whether gingham itself is measured.")
    ] = True,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Add exhaustive MaxSim over fp16 vectors, the yardstick."),
    ] = False,
    bm25: Annotated[bool, typer.Option("--bm25", help="Add BM25.")] = False,
    rerank: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Add BM25 with its best N re-ranked by MaxSim."),
    ] = None,
    dense: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Add a model with one vector a text (needs sentence-transformers).",
        ),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Add a TREC run file; may be given several times."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What to measure, as ir-measures names it; several times for several, the first "
            "matters most. By default nDCG@10 RR@10 R@50 R@100 R@1000 AP Success@5.",
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The system that the others are tested against; the first if none."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which judgements; by default test, the only ones, dev."),
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Documents, where they are not in the dataset."),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Queries (JSONL, TSV, TREC topics), likewise."),
    ] = None,
    qrels: Annotated[
        str | None, typer.Option(metavar="FILE", help="Judgements (TREC, TSV), likewise.")
    ] = None,
    topic_field: Annotated[
        str, typer.Option(metavar="NAME", help="Which part of a TREC topic is the query.")
    ] = "title",
    max_queries: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N judged queries.")
    ] = None,
    depth: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many documents a query are ranked.")
    ] = 1000,
    timed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Time a sample of N queries, one at a time.")
    ] = 200,
    wins: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Show the N queries that the first system wins and loses by most.",
        ),
    ] = None,
    versus: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The system that --wins and --plot-differences compare the first with; the "
            "second if none.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw quality against time (.png, .svg, .pdf)."),
    ] = None,
    plot_differences: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the difference of two systems, query by query."),
    ] = None,
    write_runs: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write each system's rankings as a TREC run file."),
    ] = None,
    no_worse_than: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Compare with an earlier --json report; exit code 1 where quality fell by more "
            "than noise.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where indexes are kept; by default the user's cache folder."
        ),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Let ir_datasets fetch what is missing.")
    ] = False,
    allow_unknown_ids: Annotated[
        bool,
        typer.Option(
            "--allow-unknown-ids", help="Judgements and runs may name unknown documents or queries."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of intervals, tests and samples.")] = 0,
    threads: Threads = None,
    json: Json = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a page of Markdown instead.")
    ] = False,
) -> None:
    """Measure systems on test collections: quality with intervals and tests, and what it costs.

    The documents are indexed once and the index is kept in a cache, by their content and the
    model; an interrupted run continues. Values are those of trec_eval, over all judged queries.

    With --json one object a dataset: gingham, machine, dataset, depth, seed, systems (measures,
    index, latencies_ms, per_query), comparisons, remarks.
    """
    from gingham import evaluation
    from gingham.cli import evaluation_output as output
    from gingham.errors import InputError
    from gingham.evaluation import plots, report
    from gingham.evaluation.measures import DEFAULT_MEASURES, parse_measures

    sources: list[str | None] = [*(datasets or [])] or [None]
    of_one: dict[str, object] = {
        "--run": run,
        "--collection": collection,
        "--corpus": corpus,
        "--queries": queries,
        "--qrels": qrels,
        "--plot": plot,
        "--plot-differences": plot_differences,
    }
    _check(sources, of_one, json and markdown)
    systems = _systems(collection, model, gingham, exact, bm25, rerank, dense)
    # Everything that can be wrong with the command, before hours of work.
    measures = [str(measure) for measure in parse_measures(metric or DEFAULT_MEASURES)]
    if plot is not None and not (timed and systems):
        raise InputError("--plot draws systems that are timed: name one, and leave out --timed 0")
    for path in (plot, plot_differences):
        if path is not None:
            plots.check_format(path)
            if not path.parent.is_dir() or path.is_dir():
                raise InputError(f"cannot write {path}: name a file in a folder that exists")
    earlier = None if no_worse_than is None else report.read_report(no_worse_than)

    def asked_of(dataset: Dataset) -> list[System]:
        # Judgements alone are enough to score run files; who names a system means it.
        only_runs = run and dataset.corpus is None and collection is None
        return [] if only_runs and len(systems) == gingham else systems

    def read(source: str | None, steps: console.Steps) -> tuple[Dataset, list[Run], list[str]]:
        def progress(documents: int) -> None:
            if documents >= _MANY:
                steps(f"reading {source or qrels}", documents, None, f"{documents:,} documents")

        dataset = evaluation.open_dataset(
            source,
            split=split,
            corpus=corpus,
            queries=queries,
            qrels=qrels,
            topic_field=topic_field,
            max_queries=max_queries,
            download=download,
            allow_unknown_ids=allow_unknown_ids,
            progress=progress,
        )
        if earlier is not None:
            report.comparable(earlier, dataset, measures[0])
        if write_runs is not None:
            _check_writable(dataset, write_runs)
        runs, remarks = _runs(run or [], dataset, allow_unknown_ids, asked_of(dataset))
        return dataset, runs, remarks

    def measure(
        dataset: Dataset, runs: list[Run], remarks: list[str], steps: console.Steps
    ) -> output.Measured:
        asked = asked_of(dataset)
        if plot is not None and not asked:
            raise InputError("--plot draws systems that are timed, and run files are not")
        if versus or wins is not None or plot_differences is not None:
            output.pair([*(s.name for s in asked), *(r.name for r in runs)], versus)
        result = evaluation.evaluate(
            dataset,
            asked,
            runs=runs,
            measures=measures,
            baseline=baseline,
            depth=depth,
            threads=threads,
            cache=cache,
            timed_queries=timed,
            seed=seed,
            progress=lambda step: steps(step.what, step.done, step.total, step.remark),
        )
        if write_runs is not None:
            remarks += _write_runs(result, write_runs)
        found = output.find_wins(result, asked, wins, versus, threads, cache)
        return output.Measured(result, remarks, found)

    measured = []
    try:
        with console.Steps() as steps:
            # All are read first: a wrong name is no reason to lose hours of work on another.
            for one in _distinct([read(source, steps) for source in sources]):
                measured.append(measure(*one, steps))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "interrupted: what is indexed is kept; the same command continues from there"
        ) from None
    if plot is not None:
        output.plot_quality(measured[0].evaluation, plot)
    if plot_differences is not None:
        output.plot_differences(measured[0].evaluation, versus, plot_differences)
    if json:
        output.write_json(measured)
    elif markdown:
        output.write_markdown(measured)
    else:
        output.write_terminal(measured)
    if earlier is not None and output.has_fallen(measured, earlier, seed):
        raise typer.Exit(_FELL)


def _check(sources: Sequence[str | None], of_one: Mapping[str, object], both: bool) -> None:
    from gingham.errors import InputError

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
    if both:
        raise InputError("--json and --markdown: choose one")


def _systems(
    collection: str | None,
    model: str | None,
    gingham: bool,
    exact: bool,
    bm25: bool,
    rerank: int | None,
    dense: str | None,
) -> list[System]:
    from gingham import evaluation

    own = evaluation.LateInteraction(model, collection)
    systems: list[System] = [own] if gingham else []
    if exact:
        systems.append(evaluation.LateInteraction(model, collection, exact=True))
    if bm25:
        systems.append(evaluation.BM25())
    if rerank is not None:
        systems.append(evaluation.Reranked(rerank, own))
    if dense is not None:
        systems.append(evaluation.SingleVector(dense))
    return systems


def _runs(
    paths: Sequence[str], dataset: Dataset, allow_unknown_ids: bool, systems: Sequence[System]
) -> tuple[list[Run], list[str]]:
    from gingham import evaluation

    runs: list[Run] = []
    remarks: list[str] = []
    for path in paths:
        run = evaluation.read_run(path)
        # Yesterday's run of a system beside today's: the file says which is which.
        if run.name in [*(system.name for system in systems), *(other.name for other in runs)]:
            run = replace(run, name=Path(path).stem)
        remarks += evaluation.check_run(run, dataset, path, allow_unknown_ids=allow_unknown_ids)
        runs.append(run)
    return runs, remarks


def _distinct(
    opened: list[tuple[Dataset, list[Run], list[str]]],
) -> list[tuple[Dataset, list[Run], list[str]]]:
    from gingham.errors import InputError

    titles = [dataset.title for dataset, _, _ in opened]
    twice = [title for i, title in enumerate(titles) if title in titles[:i]]
    if twice:
        raise InputError(f"two datasets are called {twice[0]}: evaluate them one by one")
    return opened


def _check_writable(dataset: Dataset, folder: Path) -> None:
    from gingham.errors import InputError

    if folder.exists() and not folder.is_dir():
        raise InputError(f"--write-runs {folder} is no folder: name one")
    judged = (id for grades in dataset.qrels.values() for id in grades)
    for id in (*dataset.qrels, *judged):
        if _WHITE_SPACE.search(id):
            raise InputError(
                f"the id {id!r} cannot stand in a run file, where white space parts the columns: "
                "leave out --write-runs"
            )


def _write_runs(result: Evaluation, folder: Path) -> list[str]:
    from gingham import evaluation

    folder.mkdir(parents=True, exist_ok=True)
    remarks: list[str] = []
    for system in result.systems:
        if not any(ranking.ids for ranking in system.run.rankings.values()):
            remarks.append(f"{system.name} found nothing: there is no run to write")
            continue
        name = "-".join(f"{result.dataset.name} {system.name}".replace("/", "-").split())
        evaluation.write_run(system.run, folder / f"{name}.run", overwrite=True)
    return remarks
