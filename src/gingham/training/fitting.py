"""The conductor: settings and data in, a trained model's folder out.

sentence-transformers' trainer does the work. Ours differs from it in what it keeps: a checkpoint is
the weights as safetensors beside the trainer's own state, marked whole once all of it is on disk,
so that a process may be killed anywhere and the same call goes on with the same result.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gingham.errors import InputError, MissingDependencyError, shown
from gingham.training.examples import TrainingSet
from gingham.training.run_record import (
    CHECKPOINTS,
    FOLDER,
    LOG,
    TENSORBOARD,
    begin_or_continue,
    finish,
    last_checkpoint,
    make_record,
)
from gingham.training.settings import TrainingSettings

if TYPE_CHECKING:
    from gingham.training.progress import Progress
    from gingham.training.rows import Table

_SAMPLE = 512  # documents whose token vectors give a new projection its axes


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a run came to.

    Attributes:
        output: the folder of the model.
        steps: updates made.
        seconds: of training, in the process that finished it; checks and export not counted.
        loss: the last that was logged; None where there was none.
        best_step: the checkpoint that was kept, by nDCG@10; None without a dev set: the last one.
        curve: (step, nDCG@10) of every measurement; step 0 is the model before training.
        rows: (table, rows) that were trained on.
        parameters: numbers that were trained.
        device: where, in words.
        remarks: what a reader should know, a line each.
    """

    output: Path
    steps: int
    seconds: float
    loss: float | None
    best_step: int | None
    curve: tuple[tuple[int, float], ...]
    rows: tuple[tuple[str, int], ...]
    parameters: int
    device: str
    remarks: tuple[str, ...]


def fit(
    settings: TrainingSettings,
    sets: Sequence[TrainingSet],
    dev: TrainingSet | None,
    output: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    remark: Callable[[str], None] | None = None,
    finishing: Callable[[Path, Path, Fitted], None] | None = None,
) -> Fitted:
    """Train, choose the best checkpoint, and leave a model in `output`.

    Killed and called again with the same arguments, it goes on from the last checkpoint in
    `output`/training and ends with the same weights, to the bit on a CPU. Called once more after
    that, it returns what it came to. Ctrl-C makes a checkpoint and raises; a second Ctrl-C does not
    wait for it. Only checkpoints in `output` are read, as safetensors and with PyTorch's
    `weights_only`, which runs no code that a file brings.

    Args:
        settings: how.
        sets: on what; checked before (`gingham.training.check`).
        dev: where its positives rank tells which checkpoint is best; None takes the last.
        output: a new folder, or the one of an interrupted run of the same settings and data.
        progress: called after every step, in the first process only.
        remark: called with what should be known before training starts.
        finishing: called with the trained checkpoint, the output and what the run came to, instead
            of the export for both libraries; it leaves what it likes in the output.

    Raises:
        InputError: the output holds another run, or a set cannot be trained on.
        ModelError: the backbone cannot be loaded.
        MissingDependencyError: PyTorch or sentence-transformers is not installed.
        KeyboardInterrupt: after Ctrl-C; the message says how to go on.
    """
    try:
        from gingham.training import trainer
    except ImportError as error:
        raise MissingDependencyError(
            f"training needs {error.name or error}: pip install 'gingham[train]'"
        ) from error
    if not sets:
        raise InputError("there is no training set; give at least one")
    final = Path(os.path.abspath(output))
    folder = final / FOLDER
    record = make_record(settings, sets, dev)
    with trainer.first_process_first() as is_first:
        finished = begin_or_continue(folder, record)
    if finished is not None:
        return _from_json(final, finished)
    trainer.prepare(settings)
    tables, remarks = trainer.tables(sets, settings)
    for line in remarks if remark is not None and is_first else ():
        remark(line) if remark is not None else None
    model = trainer.start(settings, _sample(sets, settings.seed))
    checkpoint = last_checkpoint(folder)
    started = time.perf_counter()
    with trainer.Interruption() as interruption:
        run = trainer.make_trainer(
            model,
            settings,
            tables,
            dev,
            checkpoints=folder / CHECKPOINTS,
            log_file=folder / LOG,
            tensorboard=folder / TENSORBOARD if settings.tensorboard else None,
            resumed=checkpoint is not None,
            progress=progress,
            stop_requested=interruption,
        )
        run.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if interruption():
        raise KeyboardInterrupt(
            f"stopped after step {run.state.global_step:,}, which is kept; the same command goes on"
        )
    seconds = time.perf_counter() - started
    best = trainer.load_best(run, folder / CHECKPOINTS)
    result = _result(final, run, tables, remarks, best, seconds)
    if is_first:
        trained = folder / "trained"
        trainer.save(run, trained)
        (finishing or _export)(trained, final, result)
        shutil.rmtree(trained, ignore_errors=True)
        finish(folder, record, _as_json(result))
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    trainer.wait_for_everyone()
    return result


def _result(
    output: Path,
    run: Any,
    tables: Sequence[Table],
    remarks: Sequence[str],
    best: int | None,
    seconds: float,
) -> Fitted:
    from gingham.training import trainer, watching

    losses = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
    return Fitted(
        output,
        run.state.global_step,
        round(seconds, 1),
        losses[-1] if losses else None,
        best,
        tuple(watching.dev_curve(run.state.log_history)),
        tuple((table.name, len(table.rows)) for table in tables),
        trainer.trained_parameters(run.model),
        trainer.device_in_words(run),
        tuple(remarks),
    )


def _sample(sets: Sequence[TrainingSet], seed: int) -> list[str]:
    """Some documents of every set, drawn by the seed."""
    drawn: list[str] = []
    for training_set in sets:
        examples = training_set.examples
        count = min(len(examples), _SAMPLE // len(sets) + 1)
        for index in random.Random(seed).sample(range(len(examples)), count):
            drawn.append(training_set.documents[examples[index].documents[0]])
    return drawn


def _export(trained: Path, output: Path, result: Fitted) -> None:
    """The sentence-transformers folder, moved into its place."""
    for path in trained.iterdir():
        target = output / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)


def _as_json(result: Fitted) -> dict[str, Any]:
    return {name: value for name, value in asdict(result).items() if name != "output"}


def _from_json(output: Path, value: dict[str, Any]) -> Fitted:
    try:
        return Fitted(
            output,
            **{
                **value,
                "curve": tuple((int(step), float(score)) for step, score in value["curve"]),
                "rows": tuple((str(name), int(count)) for name, count in value["rows"]),
                "remarks": tuple(value["remarks"]),
            },
        )
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"{shown(str(output))}: its record of a finished run cannot be read ({error}); name a "
            "new folder"
        ) from error
