"""transformers and what stands on it, without their bars, retries and warnings among our lines."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

TALKATIVE = ("huggingface_hub", "transformers", "sentence_transformers", "torch.onnx")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence for the block, then everything as it was; what goes wrong is still raised."""
    from transformers.utils import logging as bars

    drawn = bars.is_progress_bar_enabled()
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    bars.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if drawn:
            bars.enable_progress_bar()
