"""The public surface is a list on purpose: what `__all__` says is what there is, sorted."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest

import gingham

ROOT = Path(__file__).parent.parent


def test_all_is_sorted_and_complete() -> None:
    for name in gingham.__all__:
        getattr(gingham, name)  # each can be imported
    public = {
        name
        for name, value in vars(gingham).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    } - {"TYPE_CHECKING", "import_module"}
    assert list(gingham.__all__) == sorted(gingham.__all__)
    assert public == set(gingham.__all__) <= set(dir(gingham))
    with pytest.raises(AttributeError, match="nonsense"):
        gingham.nonsense  # noqa: B018


def test_what_type_checkers_see_is_what_there_is() -> None:
    tree = ast.parse((ROOT / "src" / "gingham" / "__init__.py").read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            home = __import__(str(node.module), fromlist=[alias.name])
            assert getattr(gingham, alias.name) is getattr(home, alias.name)


def test_every_public_name_has_a_docstring() -> None:
    for name in gingham.__all__:
        assert (getattr(gingham, name).__doc__ or "").strip(), name


def test_every_error_is_exported_and_drawn_in_the_tree() -> None:
    from gingham import errors

    tree = errors.__doc__ or ""
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.GinghamError):
            assert name in gingham.__all__
            assert name in tree


def test_versions_agree() -> None:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == gingham.__version__
    [newest, *_] = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest == gingham.__version__
