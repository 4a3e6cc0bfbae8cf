"""A model for one's own texts, without labels: made pairs, training, an honest before and after.

The documents are parted by digests of their ids: most make pairs to train on, some to choose the
best checkpoint by, and some to measure on that nothing else sees. Old model, new model and BM25
answer the same held-out pairs; what is said of them is the paired difference with its interval.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from gingham import collection as collections
from gingham.encoder import Encoder
from gingham.errors import InputError
from gingham.evaluation.bm25 import BM25
from gingham.evaluation.experiment import Evaluation
from gingham.evaluation.significance import compare_systems
from gingham.evaluation.systems import Step
from gingham.training.adapting_sets import (
    PARTS,
    AdaptingSettings,
    count_kinds,
    kinds_of,
    make_sets,
)
from gingham.training.examples import read_training_set, write_training_set
from gingham.training.fitting import fit
from gingham.training.measuring import (
    MEASURE,
    Difference,
    Measured,
    as_test,
    difference,
    measure,
    measured,
)
from gingham.training.recipe import Fit, RecipeSettings, run_recipe
from gingham.training.recipe_report import RecipeReport
from gingham.training.settings import TrainingSettings
from gingham.training.steps import ProgressCallback, alone, begin, check_new, finish, silent
from gingham.training.stored_texts import stored_documents
from gingham.training.thawing import trainable

FOLDER = "adapting"
BEFORE, AFTER, WORDS = "before", "after", "BM25"


@dataclass(frozen=True, slots=True)
class Adapted:
    """What adapting came to.

    Attributes:
        output: the folder of the adapted model.
        base: the model that it came from.
        recommended: which of the two to use: the adapted one only where it is better by more than
            noise.
        pairs: made to train on, by kind.
        systems: nDCG@10 on the held-out pairs of "before", "after" and "BM25".
        kinds: the same by kind of pair: kind → system → mean, where there are pairs of it.
        held_out: held-out pairs, by kind.
        change: after less before.
        over_words: after less BM25.
        rounds: of the training.
    """

    output: Path
    base: str
    recommended: str
    pairs: dict[str, int]
    systems: dict[str, Measured]
    kinds: dict[str, dict[str, float]]
    held_out: dict[str, int]
    change: Difference
    over_words: Difference
    rounds: RecipeReport

    @property
    def verdict(self) -> str:
        """One sentence that says whether it was worth it."""
        change = f"nDCG@10 on held-out pairs changed by {self.change}"
        if self.change.verdict == "better":
            return f"adapting helped: {change}; use {self.recommended}"
        if self.change.verdict == "worse":
            return f"adapting made it worse: {change}; keep using {self.recommended}"
        return f"adapting changed nothing that is more than noise: {change}; keep using " + (
            self.recommended
        )


def adapt(
    collection: str | os.PathLike[str],
    output: str | os.PathLike[str],
    settings: TrainingSettings | None = None,
    adapting: AdaptingSettings | None = None,
    recipe: RecipeSettings | None = None,
    *,
    base: str | None = None,
    train: Fit = fit,
    progress: ProgressCallback | None = None,
    remark: Callable[[str], None] | None = None,
) -> Adapted:
    """Adapt a collection's model to its texts, and say honestly whether that helped.

    Killed, the same call goes on. The collection is only read; to use the new model, its documents
    are indexed with it anew.

    Args:
        collection: with stored texts, and a model.
        output: a new folder, or that of an interrupted call.
        settings: of the training; `backbone` is not looked at.
        adapting: of the pairs.
        recipe: mined negatives and a teacher; none by default.
        base: the model to start from and to compare with; the collection's own if None.
        train: in place of `fit`.
        progress: told how far it has come.
        remark: told what should be known of a training.

    Raises:
        InputError: the texts give too few pairs, or the output was begun with something else.
        CollectionError: the collection cannot be read.
        ModelError: the model cannot be loaded, or has no weights to train.
    """
    final, report = Path(os.path.abspath(output)), progress or silent
    work, pairing = final / FOLDER, adapting or AdaptingSettings()
    asked, rounds = settings or TrainingSettings(), recipe or RecipeSettings(rounds=0)
    with collections.open(collection, base, threads=asked.threads, read_only=True) as opened:
        encoder = Encoder(base, threads=asked.threads) if base is not None else opened.encoder
    check_new(final, work)
    with alone(work):
        made_with = {
            "collection": os.path.abspath(collection),
            "base": encoder.fingerprint,
            **asdict(pairing),
        }
        begin(work, made_with, "adapting")
        report(Step("making pairs", 0, None, os.fspath(collection)))
        finish(work / "pairs", lambda draft: _write_pairs(collection, encoder, pairing, draft))
        to_train, dev, to_test = (read_training_set(work / "pairs" / part, part) for part in PARTS)
        started = trainable(encoder.name, work)
        trained = run_recipe(
            replace(asked, backbone=started, hold_out=0.0),
            rounds,
            [replace(to_train, name="made pairs")],
            dev,
            final,
            train=train,
            progress=report,
            remark=remark,
        )
        evaluation = measure(
            as_test(to_test, pairing.searched, asked.seed),
            {BEFORE: encoder.name, AFTER: final},
            work / "test",
            others=[BM25()],
            seed=asked.seed,
            threads=asked.threads,
            progress=report,
        )
    change, over_words = difference(evaluation, AFTER), _over_words(evaluation)
    if change is None:
        raise InputError(f"{os.fspath(collection)}: too few held-out pairs to compare by")
    better = change.verdict == "better"
    return Adapted(
        output=final,
        base=encoder.name,
        recommended=os.fspath(final) if better else encoder.name,
        pairs=count_kinds(to_train),
        systems={name: measured(evaluation, name) for name in (BEFORE, AFTER, WORDS)},
        kinds=_by_kind(evaluation, kinds_of(to_test)),
        held_out=count_kinds(to_test),
        change=change,
        over_words=over_words,
        rounds=trained,
    )


def _write_pairs(
    collection: str | os.PathLike[str], encoder: Encoder, settings: AdaptingSettings, draft: Path
) -> None:
    sets = make_sets(stored_documents(collection), encoder.split, settings, os.fspath(collection))
    for part, made in sets.items():
        if not (draft / part).exists():
            write_training_set(made, draft / part)


def _by_kind(evaluation: Evaluation, kinds: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Kind → system → mean."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, query in enumerate(evaluation.dataset.qrels):
        rows[kinds[query]].append(row)
    return {
        kind: {
            system.name: float(np.mean(system.values[MEASURE][chosen]))
            for system in evaluation.systems
        }
        for kind, chosen in sorted(rows.items())
    }


def _over_words(evaluation: Evaluation) -> Difference:
    """After less BM25; the evaluation itself compares with before."""
    values = {name: {MEASURE: evaluation.system(name).values[MEASURE]} for name in (WORDS, AFTER)}
    (found,) = compare_systems(values, WORDS, seed=evaluation.seed)
    return Difference(found.difference, found.interval, found.p)
