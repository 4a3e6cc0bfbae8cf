"""Settings say no before anything heavy is loaded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gingham.errors import InputError
from gingham.training import TrainingSettings


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("dim", 0, "from 1 to 4,096, got 0"),
        ("query_length", 3, "from 4 to 512"),
        ("batch_size", 1.5, "a whole number of at least 1, got 1.5"),
        ("batch_size", True, "a whole number"),
        ("learning_rate", float("nan"), "above 0, got nan"),
        ("dropout", 1.0, "from 0 to below 1"),
        ("hold_out", 0.6, "from 0 to 0.5"),
        ("keep", 1, "at least 2"),
        (
            "loss",
            "triplet",
            "one of auto, pairwise, in-batch, distil, both, batch-distil, got 'triplet'",
        ),
        ("similarity", "dot", "one of cosine, l2"),
        ("schedule", "step", "one of linear"),
        ("backbone", "", "backbone must name"),
    ],
)
def test_a_value_out_of_range(name: str, value: Any, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        TrainingSettings(**{name: value})


def test_cached_gradients_are_for_one_loss() -> None:
    TrainingSettings(minibatch_size=4, loss="in-batch")
    with pytest.raises(InputError, match="not of 'distil'"):
        TrainingSettings(minibatch_size=4, loss="distil")


def test_settings_are_json() -> None:
    settings = TrainingSettings(dim=48)
    assert TrainingSettings(**json.loads(json.dumps(settings.as_dict()))) == settings
