"""Scoring in parts, steps that a kill cannot spoil, and how a teacher contradicts the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from gingham.document import Float32
from gingham.errors import InputError, LockedError
from gingham.training import rescoring
from gingham.training.examples import Example, TrainingSet
from gingham.training.rescoring import Disagreement, disagreement, rescore
from gingham.training.steps import alone, begin, check_new, finish

DOCUMENTS = {id: id * length for length, id in enumerate("abcdefgh", 1)}
EXAMPLES = [
    Example("q0", ("c",), ("a", "b")),
    Example("q1", ("a", "d"), ("b", "c"), scores=(9.0, 9.0, 9.0, 9.0)),
    Example("q0", ("a",), ("h",)),
    Example("q1", ("h",)),
]
SET = TrainingSet("letters", {"q0": "long", "q1": "longer"}, DOCUMENTS, EXAMPLES)


class Length:
    """The longer a document, the better; told to fail at a call, it does."""

    name, floor = "length", 0.1

    def __init__(self, fails_at: int | None = None) -> None:
        self.asked: list[list[str]] = []
        self._fails_at = fails_at

    def score(self, queries: Sequence[str], documents: Sequence[Sequence[str]]) -> list[Float32]:
        if len(self.asked) == self._fails_at:
            raise KeyboardInterrupt
        self.asked.append(list(queries))
        return [np.array([len(text) for text in texts], dtype=np.float32) for texts in documents]


def test_every_document_is_scored_positives_first(tmp_path: Path) -> None:
    scored = rescore(SET, Length(), tmp_path / "work")
    assert [example.scores for example in scored.examples] == [
        (3.0, 1.0, 2.0),
        (1.0, 4.0, 2.0, 3.0),
        (1.0, 8.0),
        (8.0,),
    ]
    assert [example.documents for example in scored.examples] == [e.documents for e in EXAMPLES]


def test_an_interrupted_scoring_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescoring, "_PART", 2)
    with pytest.raises(KeyboardInterrupt):
        rescore(SET, Length(fails_at=1), tmp_path / "work")
    teacher = Length()
    again = rescore(SET, teacher, tmp_path / "work")
    assert teacher.asked == [["long", "longer"]]
    assert again.examples == rescore(SET, Length(), tmp_path / "other").examples


def test_scores_of_another_teacher_or_set_are_not_taken_up(tmp_path: Path) -> None:
    rescore(SET, Length(), tmp_path / "work")
    other = Length()
    other.name = "width"
    with pytest.raises(InputError, match="another teacher"):
        rescore(SET, other, tmp_path / "work")
    fewer = TrainingSet("letters", SET.queries, DOCUMENTS, EXAMPLES[1:])
    with pytest.raises(InputError, match="another examples"):
        rescore(fewer, Length(), tmp_path / "work")


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    rescore(SET, Length(), tmp_path / "work")
    (part,) = (tmp_path / "work").glob("*.npy")
    part.write_bytes(part.read_bytes()[:-4])
    with pytest.raises(InputError, match=f"{part.name}.*delete it"):
        rescore(SET, Length(), tmp_path / "work")


def test_disagreement_counts_what_the_teacher_puts_below(tmp_path: Path) -> None:
    found = disagreement(rescore(SET, Length(), tmp_path / "work"))
    # q0: c above a, b; q1: a below b, c and d above both; q0: a below h; the last has no negative.
    assert found == Disagreement(examples=3, inverted=2, worst=1, pairs=7, inverted_pairs=3)
    assert "2 of 3 examples (66.7%)" in str(found)
    assert str(disagreement(SET)) != str(found)
    unscored = TrainingSet("none", SET.queries, DOCUMENTS, EXAMPLES[:1])
    assert str(disagreement(unscored)) == "no example has positives and negatives"


def test_a_step_is_done_once_and_whole(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def make(draft: Path) -> None:
        seen.append(sorted(path.name for path in draft.iterdir()))
        (draft / f"file{len(seen)}").touch()
        if len(seen) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(tmp_path / "step", make)
    assert not (tmp_path / "step").exists()
    for _ in range(2):
        finish(tmp_path / "step", make)
    assert seen == [[], ["file1"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step"]


def test_a_folder_may_have_its_name_while_it_is_made(tmp_path: Path) -> None:
    seen: list[str] = []

    def make(draft: Path) -> None:
        seen.append(draft.name)
        (draft / "file").touch()

    for _ in range(2):
        finish(tmp_path / "step", make, called="model")
        assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
            "step",
            "step/file",
        ]
        (tmp_path / "step.partial").mkdir()  # a process that died here left it
    assert seen == ["model"]


def test_a_folder_says_what_it_was_begun_with(tmp_path: Path) -> None:
    begin(tmp_path / "work", {"rounds": 2, "ranks": (1, 2)}, "this training")
    begin(tmp_path / "work", {"ranks": (1, 2), "rounds": 2}, "this training")
    with pytest.raises(InputError, match=r"begun with another rounds \(2, now 3\)"):
        begin(tmp_path / "work", {"rounds": 3, "ranks": (1, 2)}, "this training")
    with pytest.raises(InputError, match=r"another ranks \(\[1, 2\], now none\)"):
        begin(tmp_path / "work", {"rounds": 2}, "this training")
    (tmp_path / "work" / "begun.json").write_text("[")
    with pytest.raises(InputError, match="does not say"):
        begin(tmp_path / "work", {}, "this training")


def test_one_process_works_in_a_folder(tmp_path: Path) -> None:
    with (
        alone(tmp_path),
        pytest.raises(LockedError, match="another gingham train"),
        alone(tmp_path),
    ):
        pass
    with alone(tmp_path):
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    output, work = tmp_path / "model", tmp_path / "model" / "training"
    check_new(output, work)
    (output / "adapting").mkdir(parents=True)
    work.mkdir()
    check_new(output, work)
    (work / "run.json").touch()  # of a training without rounds
    with pytest.raises(InputError, match="holds another training"):
        check_new(output, work)
    (work / "run.json").unlink()
    (output / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"holds thesis\.txt"):
        check_new(output, work)
    begin(work, {}, "this training")
    check_new(output, work)
    with pytest.raises(InputError, match="is a file"):
        check_new(output / "thesis.txt", output / "thesis.txt" / "training")
