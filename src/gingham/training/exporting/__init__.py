"""A trained model → one folder that both gingham and sentence-transformers load, checked.

`exporting.export` conducts: the torch weights are saved, the transformer becomes an ONNX graph in
float32 and in eight bits, both are compared with PyTorch, and what eight bits cost is measured.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from gingham.errors import MissingDependencyError

if TYPE_CHECKING:
    from gingham.training.exporting.exporting import export
    from gingham.training.exporting.values import Exported, Parity, Quality, Turned

__all__ = ["Exported", "Parity", "Quality", "Turned", "export"]

_HOMES = {
    "Exported": "values",
    "Parity": "values",
    "Quality": "values",
    "Turned": "values",
    "export": "exporting",
}


def __getattr__(name: str) -> object:
    """Import a public name (PEP 562): this package alone loads no PyTorch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"exporting a model needs {error.name}: pip install 'gingham[train]'"
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
