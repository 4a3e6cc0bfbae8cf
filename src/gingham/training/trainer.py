"""sentence-transformers' trainer, with checkpoints that are whole or not there.

What it is told comes from `TrainingSettings`; how a run is begun, continued and ended is the
business of `fitting`.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
import transformers
from accelerate import PartialState
from safetensors.torch import load_model, save_model
from sentence_transformers import (
    MultiVectorEncoder,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
)
from sentence_transformers.base.sampler import (
    BatchSamplers,
    DefaultBatchSampler,
    MultiDatasetBatchSamplers,
)
from sentence_transformers.multi_vector_encoder.evaluation import (
    MultiVectorInformationRetrievalEvaluator,
)
from transformers import PrinterCallback
from transformers.integrations import TensorBoardCallback

from gingham.errors import InputError
from gingham.training.dev_sets import documents_to_search
from gingham.training.examples import TrainingSet
from gingham.training.losses import make_loss
from gingham.training.modelling import (
    build_model,
    merge_low_rank_updates,
    projection_names,
    trained_parameters,
)
from gingham.training.progress import Progress
from gingham.training.rows import BATCH_SCORES, Table, make_tables
from gingham.training.run_record import COMPLETE, write_json
from gingham.training.settings import TrainingSettings
from gingham.training.watching import LOGGED, Watcher, best_step

__all__ = ["trained_parameters"]

_WEIGHTS = "weights.safetensors"
_LOGS_A_RUN = 200


def prepare(settings: TrainingSettings) -> None:
    """Seeds, threads, and quiet libraries, for this process."""
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if settings.device is not None and settings.device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise InputError(f"device {settings.device!r} is not there; PyTorch sees no GPU")
    elif settings.device not in (None, "cpu", "mps"):
        raise InputError(f"device must be cpu, cuda or mps, got {settings.device!r}")
    transformers.set_seed(settings.seed)


def tables(
    sets: Sequence[TrainingSet], settings: TrainingSettings
) -> tuple[list[Table], list[str]]:
    """The rows to draw batches from, and remarks on rows left out."""
    return make_tables(sets, settings)


def start(settings: TrainingSettings, documents: Sequence[str]) -> MultiVectorEncoder:
    """The model before the first step, on the CPU; the trainer moves it."""
    return build_model(settings, documents)


def make_trainer(
    model: MultiVectorEncoder,
    settings: TrainingSettings,
    tables: Sequence[Table],
    dev: TrainingSet | None,
    *,
    checkpoints: Path,
    log_file: Path,
    tensorboard: Path | None,
    resumed: bool,
    progress: Progress | None,
    stop_requested: Callable[[], bool],
) -> Trainer:
    """A trainer that is ready to train.

    Args:
        model: on the CPU.
        settings: what to do.
        tables: what with.
        dev: what to measure on; None measures nothing.
        checkpoints: where they go.
        log_file: a CSV.
        tensorboard: a folder of event files; None writes none.
        resumed: whether a checkpoint will be loaded.
        progress: called after every step.
        stop_requested: asked after every step; True makes a checkpoint and stops.
    """
    world = PartialState().num_processes
    steps = settings.steps or _steps(tables, settings, world)
    evaluate_every = settings.evaluate_every or max(1, steps // 10)
    in_batch = any(table.loss in ("in-batch", "both") for table in tables)
    arguments = MultiVectorEncoderTrainingArguments(
        output_dir=str(checkpoints),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        learning_rate_mapping={projection_names(model): settings.projection_learning_rate},
        lr_scheduler_type=_SCHEDULES[settings.schedule],
        warmup_steps=round(settings.warmup * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip,
        bf16=settings.bf16,
        use_cpu=settings.device == "cpu",
        max_length=(
            None
            if settings.training_document_length is None
            else {"document": settings.training_document_length}
        ),
        batch_sampler=BatchSamplers.NO_DUPLICATES if in_batch else BatchSamplers.BATCH_SAMPLER,
        multi_dataset_batch_sampler=MultiDatasetBatchSamplers.PROPORTIONAL,
        # Every epoch then has as many batches as it says, which finding one's place again needs.
        dataloader_drop_last=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=torch.cuda.is_available() and settings.device != "cpu",
        eval_strategy="no" if dev is None else "steps",
        eval_steps=evaluate_every,
        # Keeps the best checkpoint from being deleted; `load_best` loads it.
        metric_for_best_model=None if dev is None else LOGGED,
        greater_is_better=None if dev is None else True,
        eval_on_start=dev is not None and not resumed,
        save_strategy="steps",
        save_steps=settings.save_every or evaluate_every,
        save_total_limit=settings.keep,
        logging_steps=max(1, steps // _LOGS_A_RUN),
        logging_first_step=True,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
        data_seed=settings.seed,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
    )
    if world == 1 and arguments.n_gpu > 1:
        arguments._n_gpu = 1  # one process uses one GPU; several are for torchrun
    trainer = Trainer(
        model=model,
        args=arguments,
        # Not by their names: losses are put into a module, where "train" and dots are taken.
        train_dataset={f"table_{i}": table.rows for i, table in enumerate(tables)},
        loss={
            f"table_{i}": make_loss(model, settings, table.loss, gather=world > 1)
            for i, table in enumerate(tables)
        },
        evaluator=None if dev is None else _evaluator(dev, settings),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(
        Watcher(
            log_file,
            patience=settings.patience,
            measures=dev is not None,
            progress=progress,
            stop_requested=stop_requested,
            on_epoch=trainer.set_epoch,
        )
    )
    if tensorboard is not None:
        from torch.utils.tensorboard import SummaryWriter

        trainer.add_callback(TensorBoardCallback(SummaryWriter(str(tensorboard))))
    return trainer


class Trainer(MultiVectorEncoderTrainer):  # type: ignore[misc]
    """Checkpoints hold the weights alone, as safetensors, and a mark once all is on disk."""

    _sampler: Any = None

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: our own card is written at the end, and theirs asks the hub about the backbone."""

    def get_multi_dataset_batch_sampler(self, *args: Any, **kwargs: Any) -> Any:
        """Keep hold of it, to tell it the epoch."""
        self._sampler = super().get_multi_dataset_batch_sampler(*args, **kwargs)
        return self._sampler

    def get_batch_sampler(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Whole batches where a teacher scored them, else what the arguments say."""
        if BATCH_SCORES in dataset.column_names:
            return WholeBatches(dataset, *args, **kwargs)
        return super().get_batch_sampler(dataset, *args, **kwargs)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch's order batches are drawn in."""
        if self._sampler is not None:
            self._sampler.set_epoch(epoch)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.model, str(folder / _WEIGHTS))

    def _load_from_checkpoint(self, checkpoint_path: str, model: Any = None) -> None:
        load_model(self.model, str(Path(checkpoint_path) / _WEIGHTS), strict=True)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            # Of a run that died here before: what is left of it is not to be mistaken for whole.
            (folder / COMPLETE).unlink(missing_ok=True)
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            for path in folder.iterdir():
                _sync(path)
            write_json(folder / COMPLETE, {"step": self.state.global_step})
            _sync(folder)


class WholeBatches(DefaultBatchSampler):  # type: ignore[misc]
    """Batches as their rows stand; in the first epoch in their order, then in a random one."""

    def __iter__(self) -> Iterator[list[int]]:
        """Row numbers of one batch after another."""
        order = np.arange(len(self))
        if self.epoch:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        for batch in order.tolist():
            yield list(range(batch * self.batch_size, (batch + 1) * self.batch_size))


class Interruption:
    """Ctrl-C as a question that is asked between steps; the second one is not waited for.

    Only the main thread can take signals; elsewhere nothing is changed, nor where Ctrl-C is
    ignored, as a shell's background jobs do.
    """

    def __init__(self) -> None:
        self._requested = False
        self._before: Any = None

    def __call__(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._requested

    def __enter__(self) -> Interruption:
        """Take over."""
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        if threading.current_thread() is threading.main_thread() and not ignored:
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        """Give back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        signal.signal(signal.SIGINT, self._before)


def load_best(trainer: Trainer, checkpoints: Path) -> int | None:
    """Put the best checkpoint's weights into the model, by nDCG@10; the step it is of.

    Returns:
        None where nothing was measured: the model stays as it is after the last step.

    Raises:
        InputError: the checkpoint is not there any more.
    """
    step = best_step(trainer.state.log_history)
    if step is None:
        return None
    folder = checkpoints / f"checkpoint-{step}"
    if not (folder / COMPLETE).is_file():
        raise InputError(f"{folder}, the best checkpoint, is gone; start again in a new folder")
    trainer._load_from_checkpoint(str(folder))
    return step


def save(trainer: Trainer, folder: Path) -> None:
    """The model as a folder of sentence-transformers, low-rank updates merged."""
    model = trainer.model
    merge_low_rank_updates(model)
    model.to("cpu")
    model.eval()
    model.save_pretrained(str(folder), create_model_card=False)


@contextmanager
def first_process_first(settings: TrainingSettings) -> Iterator[bool]:
    """Whether this is the first of several processes; the others wait until it is through."""
    # Made for the first time here: told of no CPU, it would take no notice of other processes.
    state = PartialState(cpu=settings.device == "cpu" or not torch.cuda.is_available())
    with state.main_process_first():
        yield state.is_main_process


def wait_for_everyone() -> None:
    """Until the other processes are here too."""
    PartialState().wait_for_everyone()


def device_in_words(trainer: Trainer) -> str:
    """What it ran on."""
    world = trainer.args.world_size
    each = "" if world == 1 else f"{world} × "
    if trainer.args.device.type == "cuda":
        return f"{each}{torch.cuda.get_device_name(trainer.args.device)}"
    threads = torch.get_num_threads()
    kind = trainer.args.device.type
    return f"{each}{kind} ({platform.machine()}, {threads} thread{'s' * (threads != 1)})"


_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def _steps(tables: Sequence[Table], settings: TrainingSettings, world: int) -> int:
    batches = sum(len(table.rows) // settings.batch_size for table in tables) // world
    if not batches:
        raise InputError(
            f"there are fewer batches of {settings.batch_size} than the {world} processes; lower "
            "batch_size, or give more examples"
        )
    return max(1, round(settings.epochs * math.ceil(batches / settings.accumulation)))


def _evaluator(dev: TrainingSet, settings: TrainingSettings) -> Any:
    ids = documents_to_search(dev, settings.dev_documents, settings.seed)
    relevant: dict[str, set[str]] = {}
    for example in dev.examples:
        relevant.setdefault(example.query_id, set()).update(example.positives)
    return MultiVectorInformationRetrievalEvaluator(
        queries={id: dev.queries[id] for id in relevant},
        corpus={id: dev.documents[id] for id in ids},
        relevant_docs=relevant,
        ndcg_at_k=[10],
        mrr_at_k=[10],
        map_at_k=[10],
        accuracy_at_k=[10],
        precision_recall_at_k=[10],
        batch_size=settings.batch_size,
        name="dev",
        show_progress_bar=False,
        write_csv=False,
    )


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows opens no folder
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
