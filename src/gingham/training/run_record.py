"""What a run was told, kept beside its checkpoints, so that nothing else continues it.

`run.json` in the folder `training` of the output: settings, and a digest of every data set. A run
that is told something else for the same output is refused with the name of what changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gingham.errors import InputError, shown
from gingham.training.examples import TrainingSet
from gingham.training.settings import TrainingSettings
from gingham.training.topic_batches import TopicBatches

FOLDER, FILE, CHECKPOINTS, LOG, TENSORBOARD = (
    "training",
    "run.json",
    "checkpoints",
    "log.csv",
    "tensorboard",
)
COMPLETE = "complete.json"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What decides the result of a run.

    Attributes:
        settings: all of them.
        data: name, number of examples and digest of every set, in order.
        dev: the same of the dev set; None without one.
    """

    settings: dict[str, Any]
    data: tuple[dict[str, Any], ...]
    dev: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """As run.json has it."""
        return {"settings": self.settings, "data": list(self.data), "dev": self.dev}


def make_record(
    settings: TrainingSettings, sets: Sequence[TrainingSet], dev: TrainingSet | None
) -> RunRecord:
    """Read all examples and the texts they name, once."""
    return RunRecord(
        settings.as_dict(),
        tuple(_of_set(training_set) for training_set in sets),
        None if dev is None else _of_set(dev),
    )


def begin_or_continue(folder: Path, record: RunRecord) -> dict[str, Any] | None:
    """Keep the record of a new run, or check that a run that is there is the same.

    Returns:
        What a finished run came to; None where there is still something to do.

    Raises:
        InputError: the folder holds another run, or files of something else.
    """
    file = folder / FILE
    if not file.is_file():
        if folder.parent.is_dir() and any(
            path.name != FOLDER and not path.name.startswith(".")
            for path in folder.parent.iterdir()
        ):
            raise InputError(
                f"{shown(str(folder.parent))} holds files that no training run wrote; name a new "
                "folder"
            )
        (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        write_json(file, record.as_dict())
        return None
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))
        changed = _changed(earlier, record.as_dict())
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(
            f"{shown(str(file))}: no record of a training run ({error}); name a new folder"
        ) from error
    if changed:
        raise InputError(
            f"{shown(str(folder.parent))} holds a run with other settings or data: "
            f"{'; '.join(changed)}; repeat the first command to go on, or name a new folder"
        )
    finished: dict[str, Any] | None = earlier.get("finished")
    return finished


def finish(folder: Path, record: RunRecord, result: dict[str, Any]) -> None:
    """Note that the run is over and what came of it."""
    write_json(folder / FILE, {**record.as_dict(), "finished": result})


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all."""
    draft = path.with_name(f".{path.name}.part")
    with draft.open("w", encoding="utf-8", newline="\n") as stream:
        json.dump(value, stream, indent=1, ensure_ascii=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


def last_checkpoint(folder: Path) -> Path | None:
    """The latest whole checkpoint: not one that was being written when its process died."""
    found = [
        path
        for path in (folder / CHECKPOINTS).glob("checkpoint-*")
        if (path / COMPLETE).is_file() and path.name.removeprefix("checkpoint-").isdigit()
    ]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _changed(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    changes = []
    for name in sorted({*earlier["settings"], *now["settings"]}):
        before, after = earlier["settings"].get(name), now["settings"].get(name)
        if before != after:
            changes.append(f"{name} was {shown(before)}, now {shown(after)}")
    before_sets, after_sets = earlier["data"], now["data"]
    if len(before_sets) != len(after_sets):
        changes.append(f"there were {len(before_sets)} data sets, now {len(after_sets)}")
    else:
        pairs = zip(before_sets, after_sets, strict=True)
        changes += [_changed_set("data", a, b) for a, b in pairs if a != b]
    if earlier["dev"] != now["dev"]:
        changes.append(_changed_set("dev set", earlier["dev"], now["dev"]))
    return changes


def _changed_set(what: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    if before is None or after is None:
        return f"there was {'no' if before is None else 'a'} {what}, now there is the other"
    if before["name"] != after["name"]:
        return f"the {what} was {shown(before['name'])}, now {shown(after['name'])}"
    return (
        f"the {what} {shown(after['name'])} had {before['examples']:,} examples, now "
        f"{after['examples']:,}"
        + ("" if before["examples"] != after["examples"] else ", with other contents")
    )


def _of_set(training_set: TrainingSet) -> dict[str, Any]:
    sha = hashlib.sha256()
    for example in training_set.examples:
        _update(sha, example.query_id, training_set.queries[example.query_id])
        for id in example.positives:
            _update(sha, "positive", id, training_set.documents[id])
        for id in example.negatives:
            _update(sha, "negative", id, training_set.documents[id])
        _update(sha, repr(example.scores))
    if isinstance(training_set, TopicBatches):
        sha.update(training_set.scores.tobytes())
    return {
        "name": training_set.name,
        "examples": len(training_set.examples),
        "digest": sha.hexdigest(),
    }


def _update(sha: Any, *parts: str) -> None:
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        sha.update(len(data).to_bytes(8, "little"))
        sha.update(data)
