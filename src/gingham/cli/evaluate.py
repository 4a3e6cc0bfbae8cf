"""`gingham evaluate`: systems on datasets; quality, cost, and who differs from whom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gingham.cli import console
from gingham.cli.options import Json, Threads

if TYPE_CHECKING:
    from gingham.evaluation import Evaluation

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
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="The folder or Hugging Face name of the model; by default the bundled one, or "
            "the collection's own. May be given several times, to compare models.",
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
    from gingham.cli import evaluation_input as given
    from gingham.cli import evaluation_output as output
    from gingham.errors import GinghamError
    from gingham.evaluation import evaluate as measure
    from gingham.evaluation import open_dataset, regression
    from gingham.evaluation.measures import DEFAULT_MEASURES, parse_measures

    # Everything that can be wrong with the command and its files, before hours of work.
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
    given.check_sources(sources, of_one)
    given.check_outputs(json, markdown, wins, plot, plot_differences, write_runs)
    systems = given.systems(model or [], collection, gingham, exact, bm25, rerank, dense)
    measures = [str(measure) for measure in parse_measures(metric or DEFAULT_MEASURES)]
    if plot is not None:
        given.check_timed(systems, timed)
    earlier = None if no_worse_than is None else regression.read_report(no_worse_than)

    def read(source: str | None, steps: console.Steps) -> given.Work:
        def progress(documents: int) -> None:
            if documents >= _MANY:
                steps(f"reading {source or qrels}", documents, None, f"{documents:,} documents")

        dataset = open_dataset(
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
        # Judgements alone are enough to score run files; who names a system means it.
        only_runs = run and dataset.corpus is None and collection is None
        asked = [] if only_runs and len(systems) == gingham else systems
        work = given.work(dataset, asked, run or [], allow_unknown_ids)
        if plot is not None:
            given.check_timed(asked, timed)
        if versus or wins is not None or plot_differences is not None:
            output.pair(work.names, versus)
        if earlier is not None:
            regression.comparable(earlier, dataset, measures[0], depth, work.names)
        if write_runs is not None:
            given.check_writable(dataset)
        return work

    measured: list[Evaluation] = []

    def one(work: given.Work, steps: console.Steps) -> None:
        result = measure(
            work.dataset,
            work.systems,
            runs=work.runs,
            measures=measures,
            baseline=baseline,
            depth=depth,
            threads=threads,
            cache=cache,
            timed_queries=timed,
            seed=seed,
            progress=lambda step: steps(step.what, step.done, step.total, step.remark),
        )
        measured.append(result)
        found = None
        if wins is not None:
            found = output.find_wins(result, work.systems, wins, versus, threads, cache)
        # Shown as soon as it is known: what comes after may fail or be interrupted.
        steps.end()
        if json:
            output.write_json(result, found)
        elif not markdown:
            output.write_terminal(result, found)
        if write_runs is not None:
            output.write_runs(result, write_runs)

    try:
        with console.Steps() as steps:
            # All are read first: a wrong name is no reason to lose hours of work on another.
            for work in given.distinct([read(source, steps) for source in sources]):
                one(work, steps)
    except KeyboardInterrupt:
        output.write_page(measured, markdown)
        raise KeyboardInterrupt(
            "interrupted: what is indexed is kept; the same command continues from there"
        ) from None
    except (GinghamError, OSError):
        output.write_page(measured, markdown)
        raise
    output.write_page(measured, markdown)
    if not (json or markdown):
        output.write_summary(measured)
    if plot is not None:
        output.plot_quality(measured[0], plot)
    if plot_differences is not None:
        output.plot_differences(measured[0], versus, plot_differences)
    if earlier is not None and output.has_fallen(measured, earlier, seed):
        raise typer.Exit(_FELL)
