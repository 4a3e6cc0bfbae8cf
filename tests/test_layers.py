"""Imports point up the page: the table of ARCHITECTURE.md against the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "gingham"
DATA_ONLY = {"models"}
LINE_BUDGET = 450


def read_table() -> dict[str, tuple[set[str], set[str]]]:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.split("## The layers", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| *(\w+) *\|([\w ]*)\|([\w ]*)\|$", section, re.MULTILINE)
    return {
        part: (set(allowed.split()), set(only.split()))
        for part, allowed, only in rows
        if part != "part"
    }


LAYERS = read_table()
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names of all imports of a module, wherever they stand in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            if module == "gingham":
                found.update(f"gingham.{alias.name}" for alias in node.names)
            else:
                found.add(module)
    return found


def test_every_part_has_a_row_and_every_row_a_part() -> None:
    parts = {part_of(path) for path in MODULES} - DATA_ONLY
    assert parts == set(LAYERS)


def test_the_table_points_up() -> None:
    above: set[str] = set()
    for part, (allowed, _) in LAYERS.items():
        assert allowed <= above, f"{part} may not import {sorted(allowed - above)} from below"
        above.add(part)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_row_names(path: Path) -> None:
    part = part_of(path)
    allowed, _ = LAYERS[part]
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "gingham" and rest:
            target = rest.split(".")[0]
            assert target == part or target in allowed, f"{part} imports {name}"
        elif top == "gingham":
            assert part == "cli", f"{part} imports the package itself"
        owners = {other for other, (_, only) in LAYERS.items() if top in only}
        assert not owners or part in owners, f"{top} belongs to {sorted(owners)}, not {part}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_what_it_is_and_stays_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert len(text.splitlines()) <= LINE_BUDGET


def test_nobody_unpickles() -> None:
    for path in MODULES:
        assert not imports(path) & {"pickle", "shelve", "marshal", "dill"}, path
