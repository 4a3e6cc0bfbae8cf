"""Fixtures of several test modules: small collections of random vectors."""

from __future__ import annotations

from pathlib import Path

import pytest

import gingham
from gingham import Collection, TokenVectors
from support import random_vectors


@pytest.fixture
def vectors() -> TokenVectors:
    """Forty texts of 1 to 9 tokens."""
    return random_vectors([1 + i % 9 for i in range(40)])


@pytest.fixture
def collection(tmp_path: Path, vectors: TokenVectors) -> Collection:
    """The forty texts as documents d0 … d39, with a parity and a number as metadata."""
    opened = gingham.open(tmp_path / "forty.gingham")
    opened.add(
        vectors,
        ids=[f"d{i}" for i in range(40)],
        metadata=[{"n": i, "parity": "odd" if i % 2 else "even"} for i in range(40)],
    )
    return opened
