"""Train a late-interaction model on your own questions and passages.

The way of a training run: `reading` turns files into `TrainingSet`s, `checking` refuses what would
spoil a run, `modelling` makes a model of a backbone, `fitting` trains it with the trainer of
sentence-transformers. What a run is told stands in one frozen value, `TrainingSettings`.

Each name is imported when it is first used: `import gingham.training` loads no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from gingham.training.progress import TrainingProgress
    from gingham.training.reading import read, read_all
    from gingham.training.settings import TrainingSettings

__all__ = [
    "Example",
    "Fitted",
    "SetCounts",
    "TrainingProgress",
    "TrainingSet",
    "TrainingSettings",
    "check",
    "fit",
    "hold_out",
    "read",
    "read_all",
    "read_training_set",
    "write_training_set",
]

_HOMES = {
    "Example": "examples",
    "Fitted": "fitted",
    "SetCounts": "checking",
    "TrainingProgress": "progress",
    "TrainingSet": "examples",
    "TrainingSettings": "settings",
    "check": "checking",
    "fit": "fitting",
    "hold_out": "dev_sets",
    "read": "reading",
    "read_all": "reading",
    "read_training_set": "examples",
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
