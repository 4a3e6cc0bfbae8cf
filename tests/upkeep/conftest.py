"""A small collection of each kind, and a copy to damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from damaging import KINDS, copied, make


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of each kind, never changed."""
    folder = tmp_path_factory.mktemp("templates")
    for kind in KINDS:
        make(folder / kind, kind)
    return folder


@pytest.fixture
def fresh(templates: Path, tmp_path: Path) -> Path:
    """A copy of the clustered one, to be damaged."""
    return copied(templates / "clustered", tmp_path / "c")
