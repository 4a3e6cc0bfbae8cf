"""The recipe of ColBERTv2 in one call: train → export → index → mine → score → distil, in rounds.

Round 0 trains on the labels. Each further round lets the last model index the documents, mines hard
negatives from that index, lets a teacher score them, and trains on the scores
(https://arxiv.org/abs/2112.01488, section 3.2); without a teacher it trains on the labels with the
mined negatives (ANCE, https://arxiv.org/abs/2007.00808). Every step leaves a finished folder, see
`steps`: killed anywhere, the same call goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gingham.errors import InputError
from gingham.evaluation.systems import Step
from gingham.training.examples import TrainingSet, read_training_set, write_training_set
from gingham.training.fitted import Fitted
from gingham.training.fitting import fit
from gingham.training.measuring import as_test, difference, measure, measured
from gingham.training.mining import MiningReport, MiningSettings, mine
from gingham.training.recipe_report import (
    RecipeReport,
    Round,
    read_mining_report,
    read_report,
    write_mining_report,
    write_report,
)
from gingham.training.rescoring import Disagreement, disagreement, rescore
from gingham.training.run_record import make_record
from gingham.training.settings import TrainingSettings
from gingham.training.steps import ProgressCallback, alone, begin, check_new, finish, silent
from gingham.training.teachers import Teacher, TeacherSpec, open_teacher

if TYPE_CHECKING:
    from gingham.training.progress import TrainingProgress

FOLDER = "training"
REPORT = "rounds.json"
_MODEL = "model"

Fit = Callable[..., Fitted]


@dataclass(frozen=True, slots=True)
class RecipeSettings:
    """What the rounds do.

    Attributes:
        rounds: of mining and training after the first training on labels.
        teachers: what scores the mined lists; none trains on labels and mined negatives.
        mining: which hits become negatives.
        restart: train each round from the backbone instead of from the last round's model.

    Raises:
        InputError: fewer than no rounds.
    """

    rounds: int = 1
    teachers: tuple[TeacherSpec, ...] = ()
    mining: MiningSettings = field(default_factory=MiningSettings)
    restart: bool = False

    def __post_init__(self) -> None:
        """Check."""
        if self.rounds < 0:
            raise InputError(f"rounds are counted from 0, got {self.rounds}")
        if self.teachers and not self.rounds:
            raise InputError("a teacher scores what a round has mined: ask for at least one round")


def run_recipe(
    settings: TrainingSettings,
    recipe: RecipeSettings,
    sets: Sequence[TrainingSet],
    dev: TrainingSet | None,
    output: str | os.PathLike[str],
    *,
    teacher: Callable[[TrainingSet], Teacher] | None = None,
    train: Fit = fit,
    progress: ProgressCallback | None = None,
    remark: Callable[[str], None] | None = None,
) -> RecipeReport:
    """Train in rounds, and leave the best model in `output`.

    Args:
        settings: of every training. Where there are no scores yet, a loss that needs them is
            in-batch cross-entropy instead.
        recipe: the rounds.
        sets: training sets, each with an index of its own.
        dev: measured after each round; it also chooses the best checkpoint in each training.
        output: a new folder, or that of an interrupted run of the same settings and sets. Its
            `training` folder holds the steps; what is there may be deleted when all is done.
        teacher: makes a teacher of your own for a set, in place of `recipe.teachers`. What decides
            its scores should be in its name: that is all a continued run can compare.
        train: in place of `fit`.
        progress: told how far it has come.
        remark: told what should be known of a training.

    Raises:
        InputError: the folder was begun with or holds something else, or mining finds nothing.
        LockedError: another process works in the folder.
        ModelError: a model cannot be loaded.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "rounds index and search in one process: start gingham train without torchrun"
        )
    final = Path(os.path.abspath(output))
    work, open_one = final / FOLDER, teacher or _opener(recipe, settings)
    check_new(final, work)
    with alone(work):
        record = make_record(settings, sets, dev)
        asked = {**record.settings, **_recipe_record(recipe, teacher)}
        begin(work, {**asked, "data": record.data, "dev": record.dev}, "this training")
        if (work / REPORT).exists():
            return read_report(work / REPORT, final)
        if open_one is not None and not (_folder(work, recipe.rounds) / _MODEL).exists():
            open_one(sets[0])  # what cannot be loaded should be known before hours of training
        run = _Run(settings, recipe, sets, dev, work, open_one, train, progress or silent, remark)
        rounds = [run.first(), *(run.further(number) for number in range(1, recipe.rounds + 1))]
        report = run.report(final, rounds)
        _take_over(_folder(work, report.chosen) / _MODEL, final)
        _remove_drafts(work)
        write_report(work / REPORT, report)
    return report


@dataclass(frozen=True, slots=True)
class _Run:
    """One call of `run_recipe`."""

    settings: TrainingSettings
    recipe: RecipeSettings
    sets: Sequence[TrainingSet]
    dev: TrainingSet | None
    work: Path
    open_teacher: Callable[[TrainingSet], Teacher] | None
    train: Fit
    progress: ProgressCallback
    remark: Callable[[str], None] | None

    def first(self) -> Round:
        """Train on the labels."""
        loss = self.settings.loss
        labels = replace(self.settings, loss="auto" if loss in ("distil", "both") else loss)
        self._train(0, labels, self.sets)
        return Round(0)

    def further(self, number: int) -> Round:
        """Index, mine, score, distil."""
        before = _folder(self.work, number - 1) / _MODEL
        folder = _folder(self.work, number)
        reports: list[MiningReport] = []
        disagreements: list[Disagreement] = []
        sets: list[TrainingSet] = []
        for index, one in enumerate(self.sets, 1):
            own = folder / f"set-{index}"
            mined = self._mine(one, before, own, number)
            reports.append(read_mining_report(own / "mining.json"))
            if self.open_teacher is not None:
                mined = self._score(mined, self.open_teacher, one, own, number)
                disagreements.append(disagreement(mined))
            sets.append(mined)
        loss = self.settings.loss
        if self.open_teacher is not None and loss in ("in-batch", "pairwise"):
            loss = "both"
        backbone = self.settings.backbone if self.recipe.restart else os.fspath(before)
        self._train(number, replace(self.settings, backbone=backbone, loss=loss), sets)
        for index in range(1, len(self.sets) + 1):  # large, and never needed again
            shutil.rmtree(folder / f"set-{index}" / "mining", ignore_errors=True)
            shutil.rmtree(folder / f"set-{index}" / "scoring", ignore_errors=True)
        return Round(number, tuple(reports), tuple(disagreements))

    def report(self, output: Path, rounds: Sequence[Round]) -> RecipeReport:
        """Measure the rounds side by side, and choose."""
        if self.dev is None:
            return RecipeReport(output, tuple(rounds), len(rounds) - 1)
        names = [f"round {one.number}" for one in rounds]
        models = {name: _folder(self.work, number) / _MODEL for number, name in enumerate(names)}
        test = as_test(self.dev, self.settings.dev_documents, self.settings.seed)
        evaluation = measure(
            test,
            models,
            self.work / "dev",
            seed=self.settings.seed,
            threads=self.settings.threads,
            progress=self.progress,
        )
        complete = tuple(
            replace(one, dev=measured(evaluation, name), change=difference(evaluation, name))
            for one, name in zip(rounds, names, strict=True)
        )
        best = max(complete, key=lambda one: one.dev.mean if one.dev else 0.0)
        return RecipeReport(output, complete, best.number)

    def _train(self, number: int, settings: TrainingSettings, sets: Sequence[TrainingSet]) -> None:
        def tell(now: TrainingProgress) -> None:
            loss = "" if now.loss is None else f", loss {now.loss:.3f}"
            dev = "" if now.dev is None else f", dev nDCG@10 {now.dev:.4f}"
            remark = f"step {now.step:,} of {now.steps:,}{loss}{dev}"
            self.progress(Step(f"round {number}: training", now.step, now.steps, remark))

        def remark(line: str) -> None:
            if self.remark is not None:
                self.remark(f"round {number}: {line}")

        def make(draft: Path) -> None:
            self.train(settings, sets, self.dev, draft, progress=tell, remark=remark)

        # The model card has the name of the folder that will be taken over.
        finish(_folder(self.work, number) / _MODEL, make, called=self.work.parent.name)

    def _mine(self, one: TrainingSet, model: Path, own: Path, number: int) -> TrainingSet:
        if not (own / "mined").exists():
            mined = mine(
                one,
                model,
                own / "mining",
                self.recipe.mining,
                threads=self.settings.threads,
                progress=self._named(number, one),
            )
            write_mining_report(own / "mining.json", mined.report)
            write_training_set(mined.training_set, own / "mined")
        return read_training_set(own / "mined", one.name)

    def _score(
        self,
        mined: TrainingSet,
        open_one: Callable[[TrainingSet], Teacher],
        whole: TrainingSet,
        own: Path,
        number: int,
    ) -> TrainingSet:
        if not (own / "scored").exists():
            scored = rescore(
                mined, open_one(whole), own / "scoring", progress=self._named(number, mined)
            )
            write_training_set(scored, own / "scored")
        return read_training_set(own / "scored", mined.name)

    def _named(self, number: int, one: TrainingSet) -> ProgressCallback:
        def tell(step: Step) -> None:
            self.progress(replace(step, what=f"round {number}: {one.name}: {step.what}"))

        return tell


def _folder(work: Path, number: int) -> Path:
    return work / f"round-{number}"


def _opener(
    recipe: RecipeSettings, settings: TrainingSettings
) -> Callable[[TrainingSet], Teacher] | None:
    if not recipe.teachers:
        return None
    return lambda one: open_teacher(recipe.teachers, one.documents, threads=settings.threads)


def _recipe_record(
    recipe: RecipeSettings, teacher: Callable[[TrainingSet], Teacher] | None
) -> dict[str, Any]:
    """What decides the result, for `begin`."""
    teachers = "given" if teacher is not None else [str(spec) for spec in recipe.teachers]
    mining = {f"mining_{name}": value for name, value in asdict(recipe.mining).items()}
    return {"rounds": recipe.rounds, "teachers": teachers, "restart": recipe.restart, **mining}


def _remove_drafts(work: Path) -> None:
    """What killed processes had not finished writing."""
    for draft in [*work.rglob(".*.part")]:
        shutil.rmtree(draft, ignore_errors=True) if draft.is_dir() else draft.unlink()


def _take_over(model: Path, output: Path) -> None:
    """Copy a round's model to where it was asked for: each entry whole or not at all."""
    for entry in sorted(model.iterdir()):
        if entry.name == FOLDER:
            continue
        target, draft = output / entry.name, output / f".{entry.name}.part"
        shutil.rmtree(draft) if draft.is_dir() else draft.unlink(missing_ok=True)
        if entry.is_dir():
            shutil.copytree(entry, draft)
            shutil.rmtree(target, ignore_errors=True)
        else:
            shutil.copy2(entry, draft)
        draft.replace(target)
