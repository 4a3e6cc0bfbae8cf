"""Fixtures of several test modules: small collections of random vectors."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import gingham
from gingham import Collection, TokenVectors
from support import random_vectors

# A shell's background jobs ignore Ctrl-C, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
