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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gingham.errors import MissingDependencyError
from gingham.training.card import write_card
from gingham.training.checking import SetCounts, check
from gingham.training.examples import TrainingSet
from gingham.training.fitted import Fitted, as_json, from_json
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

# The trained model, the output, some documents and the settings in; remarks out.
Finishing = Callable[[Path, Path, Sequence[str], TrainingSettings], list[str]]

_SAMPLE = 512  # documents whose token vectors give a new projection its axes


def fit(
    settings: TrainingSettings,
    sets: Sequence[TrainingSet],
    dev: TrainingSet | None,
    output: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    remark: Callable[[str], None] | None = None,
    checked: tuple[Sequence[SetCounts], Sequence[str]] | None = None,
    finishing: Finishing | None = None,
) -> Fitted:
    """Train, choose the best checkpoint, and leave a model in `output`.

    Killed and called again with the same arguments, it goes on from the last checkpoint in
    `output`/training and ends with the same weights, to the bit on a CPU. Called once more after
    that, it returns what it came to. Ctrl-C makes a checkpoint and raises; a second Ctrl-C does not
    wait for it. Only checkpoints in `output` are read, as safetensors and with PyTorch's
    `weights_only`, which runs no code that a file brings.

    Args:
        settings: how.
        sets: on what; each with another name.
        dev: where its positives rank tells which checkpoint is best; None takes the last.
        output: a new folder, or the one of an interrupted run of the same settings and data.
        progress: called after every step, in the first process only.
        remark: called with what should be known, before training starts and at the end.
        checked: what `check` returned; None checks now, and allows documents that dev shares.
        finishing: makes what is left in the output, in place of `export_for_both`.

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
    counts, found = checked or check(sets, dev, allow_shared_documents=True)
    final = Path(os.path.abspath(output))
    folder = final / FOLDER
    record = make_record(settings, sets, dev)
    with trainer.first_process_first(settings) as is_first:
        finished = begin_or_continue(folder, record)
    if finished is not None:
        return from_json(final, finished)
    trainer.prepare(settings)
    tables, left_out = trainer.tables(sets, settings)
    remarks = [*found, *left_out]
    tell = remark if remark is not None and is_first else _silent
    for line in remarks:
        tell(line)
    sample = _sample(sets, settings.seed)
    model = trainer.start(settings, sample)
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
        trained = folder / final.name
        shutil.rmtree(trained, ignore_errors=True)  # of a process that died here
        trainer.save(run, trained)
        write_card(trained / "README.md", settings, counts, result)
        later = (finishing or export_for_both)(trained, final, sample, settings)
        for line in later:
            tell(line)
        result = replace(result, remarks=(*result.remarks, *later))
        shutil.rmtree(trained, ignore_errors=True)
        finish(folder, record, as_json(result))
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
        tuple(dict.fromkeys(table.loss for table in tables)),
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


def export_for_both(
    trained: Path, output: Path, sample: Sequence[str], settings: TrainingSettings
) -> list[str]:
    """Export for gingham and sentence-transformers, into the output.

    Eight bits that cost more than exports allow are left out: float32 remains.

    Args:
        trained: the model, as sentence-transformers saves it.
        output: where it goes, beside the folder of the run.
        sample: some documents, to fit eight bits to.
        settings: of the run.

    Returns:
        What should be known of it.
    """
    from gingham.training.exporting.exporting import export
    from gingham.training.exporting.values import ALLOWED_COST

    draft = trained.with_name(f"{trained.name}.exported")
    exported = export(trained, draft, sample, allow=1.0, force=True, threads=settings.threads)
    remarks = []
    costly = [one for one in exported.quality if -one.difference > ALLOWED_COST]
    if costly:
        (draft / "onnx" / "model_int8.onnx").unlink(missing_ok=True)
        remarks.append(
            f"eight bits would cost {-costly[0].difference:.4f} nDCG@10 on {costly[0].dataset}, "
            f"more than {ALLOWED_COST}: the model is left in float32"
        )
    move_into(draft, output)
    return remarks


def move_into(folder: Path, output: Path) -> None:
    """Every entry of a folder to another, in place of what has its name there."""
    for path in sorted(folder.iterdir()):
        target = output / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)
    folder.rmdir()


def _silent(line: str) -> None:
    """Tell nobody."""
