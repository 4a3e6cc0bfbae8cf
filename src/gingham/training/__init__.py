"""Train a late-interaction model on your own questions and passages.

The way of a training run: `reading` turns files into `TrainingSet`s, `checking` refuses what would
spoil a run, `modelling` makes a model of a backbone, `fitting` trains it with the trainer of
sentence-transformers. What a run is told stands in one frozen value, `TrainingSettings`. `recipe`
repeats it in rounds with negatives that `mining` finds and `teachers` score; `adapting` makes its
own pairs of a collection.

Each name is imported when it is first used: `import gingham.training` loads no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gingham.training.adapting import Adapted, adapt
    from gingham.training.adapting_sets import AdaptingSettings
    from gingham.training.checking import SetCounts, check
    from gingham.training.dev_sets import hold_out
    from gingham.training.examples import (
        Example,
        TrainingSet,
        read_training_set,
        write_training_set,
    )
    from gingham.training.fitted import Fitted
    from gingham.training.fitting import fit
    from gingham.training.mining import Mined, MiningReport, MiningSettings, mine
    from gingham.training.progress import TrainingProgress
    from gingham.training.reading import read, read_all
    from gingham.training.recipe import RecipeSettings, run_recipe
    from gingham.training.recipe_report import RecipeReport, Round
    from gingham.training.rescoring import Disagreement, disagreement, rescore
    from gingham.training.settings import TrainingSettings
    from gingham.training.teachers import (
        Ensemble,
        Teacher,
        TeacherSpec,
        open_teacher,
        parse_teacher,
    )
    from gingham.training.topic_batches import TopicBatches, batched, group_by_topic


__all__ = [
    "Adapted",
    "AdaptingSettings",
    "Disagreement",
    "Ensemble",
    "Example",
    "Fitted",
    "Mined",
    "MiningReport",
    "MiningSettings",
    "RecipeReport",
    "RecipeSettings",
    "Round",
    "SetCounts",
    "Teacher",
    "TeacherSpec",
    "TopicBatches",
    "TrainingProgress",
    "TrainingSet",
    "TrainingSettings",
    "adapt",
    "batched",
    "check",
    "disagreement",
    "fit",
    "group_by_topic",
    "hold_out",
    "mine",
    "open_teacher",
    "parse_teacher",
    "read",
    "read_all",
    "read_training_set",
    "rescore",
    "run_recipe",
    "write_training_set",
]

_HOMES = {
    "Adapted": "adapting",
    "AdaptingSettings": "adapting_sets",
    "Disagreement": "rescoring",
    "Ensemble": "teachers",
    "Example": "examples",
    "Fitted": "fitted",
    "Mined": "mining",
    "MiningReport": "mining",
    "MiningSettings": "mining",
    "RecipeReport": "recipe_report",
    "RecipeSettings": "recipe",
    "Round": "recipe_report",
    "SetCounts": "checking",
    "Teacher": "teachers",
    "TeacherSpec": "teachers",
    "TopicBatches": "topic_batches",
    "TrainingProgress": "progress",
    "TrainingSet": "examples",
    "TrainingSettings": "settings",
    "adapt": "adapting",
    "batched": "topic_batches",
    "check": "checking",
    "disagreement": "rescoring",
    "fit": "fitting",
    "group_by_topic": "topic_batches",
    "hold_out": "dev_sets",
    "mine": "mining",
    "open_teacher": "teachers",
    "parse_teacher": "teachers",
    "read": "reading",
    "read_all": "reading",
    "read_training_set": "examples",
    "rescore": "rescoring",
    "run_recipe": "recipe",
    "write_training_set": "examples",
}


def __getattr__(name: str) -> object:
    """Import a public name (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
