"""`gingham train`: a model of your own, from questions and the passages that answer them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gingham.cli import console
from gingham.cli import training_rounds as in_rounds
from gingham.cli.options import Json
from gingham.errors import InputError

if TYPE_CHECKING:
    from gingham.training import Fitted, TrainingProgress, TrainingSet, TrainingSettings

EXAMPLES = (
    "gingham train faq.jsonl --output models/faq",
    "gingham train faq.jsonl --check",
    "gingham train ./selqa:dev --dev ./clapnq:dev --output models/qa --epochs 2",
    "gingham train triples.tsv --queries queries.tsv --collection collection.tsv --output m",
    "gingham train scored.jsonl --from models/qa --loss both --steps 2000 --output models/v2",
    "gingham train hf:sentence-transformers/natural-questions --lora 16 --bf16 --output m",
    *in_rounds.EXAMPLES,
)

# Fewer examples are worth more in training than for choosing a checkpoint.
_ENOUGH_TO_HOLD_OUT = 1000
_HELD_OUT = 0.02


def train(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA",
            help="BEIR folders (FOLDER:SPLIT), JSON lines of pairs, triples or scored lists, "
            "tab-separated triples, folders of examples, hf:NAME[:CONFIG[:SPLIT]].",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where the model goes."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="The folder or Hugging Face name to start from: an encoder or a late-interaction "
            "checkpoint; by default sentence-transformers/all-MiniLM-L6-v2.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only read and check the data, and print counts.")
    ] = False,
    split: Annotated[
        str | None, typer.Option(help="Which split of every folder; by default train.")
    ] = None,
    queries: Annotated[
        str | None, typer.Option(metavar="FILE", help="The queries that a file of ids is of.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option(metavar="FILE", help="The documents that a file of ids is of.")
    ] = None,
    dev: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Choose the best checkpoint by nDCG@10 on this set."),
    ] = None,
    hold_out: Annotated[
        float | None,
        typer.Option(
            metavar="PART",
            help="Without --dev, hold out this part of the queries instead; by default 0.02 where "
            "there are 1,000 examples, else none.",
        ),
    ] = None,
    allow_shared_documents: Annotated[
        bool,
        typer.Option(
            "--allow-shared-documents",
            help="Let a document answer queries of both the dev set and the training sets.",
        ),
    ] = False,
    loss: Annotated[
        str,
        typer.Option(
            metavar="LOSS",
            help="pairwise: against its own negatives; in-batch: against the whole batch; distil: "
            "a teacher's scores; both: the last two; auto: both where there are scores.",
        ),
    ] = "auto",
    similarity: Annotated[
        str, typer.Option(metavar="NAME", help="Train with cosine or l2; both rank alike.")
    ] = "cosine",
    dim: Annotated[
        int | None, typer.Option(metavar="N", help="Dimensions of a token vector; by default 128.")
    ] = None,
    query_length: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens of a query; by default 32.")
    ] = None,
    document_length: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens of a document; by default 220.")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(metavar="N", help="Passes over the data; by default 1.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Updates of the weights, instead of epochs.")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", help="Queries a step and device; by default 32."),
    ] = None,
    minibatch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Encode so many at a time: large batches in little memory (in-batch)."
        ),
    ] = None,
    accumulation: Annotated[
        int | None, typer.Option(metavar="N", help="Batches summed for one update; by default 1.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(metavar="RATE", help="The highest; by default 5e-5.")
    ] = None,
    lora: Annotated[
        int | None,
        typer.Option(metavar="RANK", help="Train low-rank updates, merged at the end."),
    ] = None,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Compute in bfloat16 where it is safe.")
    ] = False,
    evaluate_every: Annotated[
        int | None,
        typer.Option(metavar="STEPS", help="How often to measure; by default ten times."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(metavar="N", help="Stop after N measurements without a better one."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random; by default 12.")] = None,
    threads: Annotated[int | None, typer.Option(help="Of PyTorch on the CPU.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or mps; by default a GPU where there is one.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write event files for TensorBoard too.")
    ] = False,
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other setting, such as dropout=0.1 or freeze_layers=2; docs/training.md has "
            "them all. May be given several times.",
        ),
    ] = None,
    rounds: in_rounds.Rounds = None,
    teacher: in_rounds.Teachers = None,
    ranks: in_rounds.Ranks = in_rounds.RANKS,
    mined: in_rounds.Mined = in_rounds.MINED,
    margin: in_rounds.Margin = in_rounds.MARGIN,
    margin_points: in_rounds.MarginPoints = None,
    restart: in_rounds.Restart = False,
    adapt: in_rounds.Adapt = None,
    json: Json = False,
) -> None:
    """Train a late-interaction model; gingham and sentence-transformers load what it leaves.

    Killed or interrupted, the same command goes on from the last checkpoint and ends with the same
    weights. Several GPUs: torchrun --nproc-per-node 4 -m gingham.cli.main train …

    With --rounds it mines hard negatives from its own index, lets a --teacher score them, and
    trains on the scores; with --adapt it needs no DATA.

    With --json one object: output, steps, seconds, loss, best_step, curve (pairs of step and
    nDCG@10), rows, losses, parameters, device, remarks; with --check an array of one object a set.
    In rounds: output, rounds (number, mining, disagreements, dev, change), chosen; adapting also
    base, recommended, verdict, pairs, held_out, systems, kinds, change, over_words.
    """
    from gingham import training

    settings = _settings(
        more or (),
        backbone=backbone,
        loss=loss,
        similarity=similarity,
        dim=dim,
        query_length=query_length,
        document_length=document_length,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        minibatch_size=minibatch_size,
        accumulation=accumulation,
        learning_rate=learning_rate,
        lora_rank=lora,
        bf16=bf16,
        evaluate_every=evaluate_every,
        patience=patience,
        seed=seed,
        threads=threads,
        device=device,
        tensorboard=tensorboard,
        hold_out=hold_out,
    )
    recipe = in_rounds.recipe_settings(
        rounds, teacher, ranks, mined, margin, margin_points, restart, settings.seed
    )
    if output is None and not check:
        raise InputError("name the folder where the model goes: --output FOLDER (or only --check)")
    if adapt is not None:
        in_rounds.check_adapting(data, dev, hold_out, check)
        in_rounds.adapt(adapt, settings, recipe, output or "", base=backbone, json=json)
        return
    if not data:
        raise InputError("name what to train on: DATA, or --adapt COLLECTION")
    if dev is not None and hold_out:
        raise InputError("--dev and --hold-out are two ways to the same end: choose one")
    sets = training.read_all(data, split=split, queries=queries, collection=collection)
    settings, sets, dev_set, remarks = _with_dev(settings, sets, dev, hold_out)
    if patience is not None and dev_set is None:
        raise InputError("--patience needs something to measure on: --dev or --hold-out")
    checked = training.check(sets, dev_set, allow_shared_documents=allow_shared_documents)
    counts, found = checked
    if check:
        for remark in (*remarks, *found):
            console.note(remark)
        if json:
            console.write_json([dataclasses.asdict(one) for one in counts])
            return
        for one in counts:
            console.write(console.harmless(one.line()))
        return
    if _is_first():
        for one in counts:
            console.note(console.harmless(one.line()))
        for remark in remarks if recipe is not None else ():  # else `fit` tells
            console.note(remark)
    if recipe is not None:
        in_rounds.train_in_rounds(settings, recipe, sets, dev_set, output or "", json=json)
        return
    with console.Steps() as bar:

        def tell(line: str) -> None:
            bar.end()
            console.note(line)

        fitted = training.fit(
            settings,
            sets,
            dev_set,
            output or "",
            progress=lambda now: bar("training", now.step, now.steps, remark_of(now)),
            remark=tell,
            checked=(counts, (*remarks, *found)),
        )
    if _is_first():
        _report(fitted, json)


def remark_of(now: TrainingProgress) -> str:
    """Where a run is, on one line."""
    parts = [f"step {now.step:,} of {now.steps:,}"]
    if now.loss is not None:
        parts.append(f"loss {now.loss:.4f}")
    if now.steps_per_second >= 1:
        parts.append(f"{now.steps_per_second:.2f} steps/s")
    elif now.steps_per_second > 0:
        parts.append(f"{1 / now.steps_per_second:.1f} s a step")
    if now.seconds_left is not None:
        parts.append(f"{duration(now.seconds_left)} left")
    if now.dev is not None:
        parts.append(f"dev nDCG@10 {now.dev:.4f}")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _settings(more: list[str] | tuple[()], **given: Any) -> TrainingSettings:
    """The settings of the options that were given, and of --set."""
    from gingham.training import TrainingSettings

    values = {name: value for name, value in given.items() if value is not None}
    types = {field.name: str(field.type) for field in dataclasses.fields(TrainingSettings)}
    for item in more:
        name, equals, text = item.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in types:
            known = ", ".join(sorted(types))
            raise InputError(f"--set takes NAME=VALUE, got {item!r}; the names are {known}")
        values[name] = _value(name, text.strip(), types[name])
    return TrainingSettings(**values)


def _value(name: str, text: str, kind: str) -> Any:
    """A setting from the command line, of the type that its annotation names."""
    if text.lower() == "none" and "None" in kind:
        return None
    kind = kind.replace("| None", "").strip()
    try:
        if kind == "bool":
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
                text.lower()
            ]
        return {"int": int, "float": float}.get(kind, str)(text)
    except (ValueError, KeyError):
        wanted = {"bool": "true or false", "int": "a whole number", "float": "a number"}[kind]
        raise InputError(f"--set {name} takes {wanted}, got {text!r}") from None


def _with_dev(
    settings: TrainingSettings, sets: list[TrainingSet], dev: str | None, hold_out: float | None
) -> tuple[TrainingSettings, list[TrainingSet], TrainingSet | None, list[str]]:
    """The sets to train on and the one to measure on."""
    from gingham import training

    if dev is not None:
        return settings, sets, _read_dev(dev), []
    examples = sum(len(one.examples) for one in sets)
    part = _HELD_OUT if hold_out is None and examples >= _ENOUGH_TO_HOLD_OUT else hold_out or 0.0
    settings = dataclasses.replace(settings, hold_out=part)
    if not part:
        return settings, sets, None, []
    rest, held, remarks = training.hold_out(sets, part, settings.seed)
    return settings, rest, held, remarks


def _read_dev(name: str) -> TrainingSet:
    """A dev set: its dev split where none is named, then test, then whatever it has."""
    from gingham import training

    qrels = Path(name) / "qrels"
    for split in ("dev", "test"):
        if (qrels / f"{split}.tsv").is_file():
            return training.read(name, split=split)
    return training.read(name)


def _is_first() -> bool:
    """Whether this is the first process of a run, the one that prints."""
    return os.environ.get("RANK", "0") == "0"


def _report(fitted: Fitted, json: bool) -> None:
    if json:
        record = dataclasses.asdict(fitted)
        console.write_json({**record, "output": str(fitted.output)})
        return
    quality = ""
    if fitted.curve:
        start, scores = fitted.curve[0][1], dict(fitted.curve)
        best = scores[fitted.best_step] if fitted.best_step is not None else start
        quality = f"; nDCG@10 {start:.4f} → {best:.4f} (step {fitted.best_step:,})"
    console.write(
        f"{fitted.output}: {console.plural(fitted.steps, 'step')} in {duration(fitted.seconds)} on "
        f"{fitted.device}{quality}"
    )
