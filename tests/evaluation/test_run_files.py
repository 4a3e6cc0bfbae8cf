"""Run files: what is read and written, and the one line each error is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from gingham.document import Document
from gingham.errors import EmptyInputError, InputError, SourceError
from gingham.evaluation.dataset import Dataset
from gingham.evaluation.run import Ranking, Run
from gingham.evaluation.run_files import check_run, read_run, trec_order, write_run


class Ids:
    """A corpus of ids without texts."""

    digest = ""

    def __init__(self, ids: str) -> None:
        self.ids = set(ids.split())
        self.n_documents = len(self.ids)

    def documents(self) -> Iterator[Document]:
        return iter(())

    def __contains__(self, id: object) -> bool:
        return id in self.ids


def ranking(ids: str, *scores: float) -> Ranking:
    return Ranking(tuple(ids.split()), np.array(scores, dtype=np.float32))


def dataset(corpus: Ids | None = None) -> Dataset:
    qrels = {"q1": {"a": 1}, "q2": {"b": 1}, "q{3}": {"b": 0}}
    return Dataset("small {set}", "test", {}, qrels, corpus)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some.run"


def test_order_is_by_score_then_id_both_descending() -> None:
    ordered = trec_order(ranking("a Z b \uff5e \U0001d4b3 c", 1, 1, 2, 1, 1, -0.0))
    assert ordered.ids == ("b", "\U0001d4b3", "\uff5e", "a", "Z", "c")
    assert ordered.scores.tolist() == [2, 1, 1, 1, 1, 0]
    assert trec_order(ranking("")).ids == ()


def test_reads_any_line_order_and_white_space(file: Path) -> None:
    file.write_bytes(
        "\ufeffq2 Q0 b 7 1e-3 t\r\n\n q1\t0  a 9 .5 t \n"
        "q1 x é\u00a0f 9 +5E0 t\nq1 Q0 c 1 0.5 t".encode()
    )
    run = read_run(file)
    assert list(run.rankings) == ["q2", "q1"]
    assert run.rankings["q1"].ids == ("é\u00a0f", "c", "a")
    assert run.rankings["q1"].scores.dtype == np.float32
    assert run.rankings["q1"].scores.tolist() == [5.0, 0.5, 0.5]


def test_ids_are_held_once(file: Path) -> None:
    file.write_text("q1 Q0 document 1 1 t\nq2 Q0 document 1 1 t\n")
    one, other = read_run(file).rankings.values()
    assert one.ids[0] is other.ids[0]


def test_name_is_the_tag_or_the_file(file: Path) -> None:
    file.write_text("q1 Q0 a 1 1 bm25\nq2 Q0 a 1 1 bm25\n")
    assert read_run(file).name == "bm25"
    assert read_run(file, name="mine").name == "mine"
    file.write_text("q1 Q0 a 1 1 bm25\nq2 Q0 a 1 1 other\n")
    assert read_run(file).name == "some"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "some.run: empty; a run file has a line a document found"),
        (b"\n \n", "some.run: empty;"),
        (
            b"q Q0 a 1 1 t\nq Q0 a 1 1\n",
            "some.run, line 2: 5 columns, but a line of a run file has six",
        ),
        (b"q Q0 a b 1 1 t\n", "some.run, line 1: 7 columns, but"),
        (b"q\n", "some.run, line 1: 1 column, but"),
        (
            b"q Q0 a 1 x t\n",
            "some.run, line 1: the score 'x' is no finite 32-bit number; the fifth",
        ),
        (b"q Q0 a 1 nan t\n", "line 1: the score 'nan' is no finite"),
        (b"q Q0 a 1 -inf t\n", "line 1: the score '-inf' is no finite"),
        (b"q Q0 a 1 1e39 t\n", "line 1: the score '1e39' is no finite"),
        (b"q Q0 a 1 1_0 t\n", "line 1: the score '1_0' is no finite"),
        ("q Q0 a 1 ١ t\n".encode(), "line 1: the score '١' is no finite"),
        (
            b"q Q0 a 1 2 t\np Q0 a 1 2 t\n\nq Q0 a 2 1 t\nq Q0 a 2 1 t\n",
            "some.run, lines 1 and 4: query 'q' has document 'a' twice; a document may come once",
        ),
        (
            b"q Q0 a 1 1 t\nq Q0 \xff 1 1 t\n",
            "some.run, line 2: not UTF-8 (byte 0xff at position 18)",
        ),
    ],
)
def test_bad_file_is_one_line(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(SourceError) as error:
        read_run(file)
    assert message in str(error.value)
    assert file.as_posix() in str(error.value)
    assert "\n" not in str(error.value)
    assert "--encoding" not in str(error.value)  # there is no such option here


def test_no_such_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no.run"):
        with pytest.raises(SourceError) as error:
            read_run(path)
        assert str(error.value).startswith(path.as_posix())


def test_writes_ranks_in_trec_order(file: Path) -> None:
    run = Run("my system", {"q2": ranking("a b c", 1, 1, 0.1), "q1": ranking("x", 3)})
    write_run(run, file)
    assert file.read_bytes() == (
        b"q2 Q0 b 1 1.0 my_system\nq2 Q0 a 2 1.0 my_system\nq2 Q0 c 3 0.1 my_system\n"
        b"q1 Q0 x 1 3.0 my_system\n"
    )
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@given(
    st_numpy.arrays(
        np.float32,
        st.integers(1, 20),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_scores_keep_their_bits(
    tmp_path_factory: pytest.TempPathFactory, scores: np.ndarray[tuple[int], np.dtype[np.float32]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "bits.run"
    given = Ranking(tuple(f"d{i}" for i in range(len(scores))), scores)
    write_run(Run("r", {"q": given}), path, overwrite=True)
    read = read_run(path).rankings["q"]
    assert read.ids == trec_order(given).ids
    assert read.scores.tobytes() == trec_order(given).scores.tobytes()


def test_the_largest_and_the_smallest_scores(file: Path) -> None:
    limits = np.finfo(np.float32)
    extremes = [float(limits.max), float(limits.smallest_subnormal), float(limits.min)]
    write_run(Run("r", {"q": ranking("a b c", *extremes)}), file)
    assert "3.4028235e+38" in file.read_text()  # above the largest float32, and rounded to it
    assert read_run(file).rankings["q"].scores.tolist() == extremes
    file.write_text("q Q0 a 1 3.4028236e38 t\n")
    with pytest.raises(SourceError, match="no finite 32-bit number"):
        read_run(file)


def test_a_score_that_is_rounded_twice(file: Path) -> None:
    score = np.float32(7.038531e-26)
    below = np.nextafter(score, np.float32(0))
    write_run(Run("r", {"q": ranking("a b", float(score), float(below))}), file)
    assert read_run(file).rankings["q"].scores.tolist() == [score, below]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            Run("r", {"q": Ranking(("a b",), np.ones(1, np.float32))}),
            "the document id 'a b' cannot stand",
        ),
        (
            Run("r", {"q": Ranking(("a\u00a0b",), np.ones(1, np.float32))}),
            "ids there must not be empty",
        ),
        (
            Run("r", {"q": Ranking(("",), np.ones(1, np.float32))}),
            "the document id '' cannot stand",
        ),
        (
            Run("r", {"q": Ranking(("\ud800",), np.ones(1, np.float32))}),
            "cannot stand in a run file",
        ),
        (Run("r", {"q\n": ranking("a", 1)}), "the query id 'q\\n' cannot stand in a run file"),
        (Run("r", {"q": ranking("a a", 2, 1)}), "query 'q' has a document twice"),
        (Run("r", {"q": ranking("a", np.inf)}), "query 'q' has a score that is not finite"),
    ],
)
def test_what_cannot_be_written(file: Path, run: Run, message: str) -> None:
    with pytest.raises(InputError) as error:
        write_run(run, file)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(file.parent.iterdir())


def test_nothing_to_write(file: Path) -> None:
    with pytest.raises(EmptyInputError, match="run 'r' found nothing for any query"):
        write_run(Run("r", {"q": ranking("")}), file)


def test_a_file_is_replaced_only_when_told_and_only_by_a_whole_one(file: Path) -> None:
    good, bad = (
        Run("r", {"q": ranking("a", 1)}),
        Run("r", {"p": ranking("a", 1), "": ranking("a", 1)}),
    )
    write_run(good, file)
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"some\.run exists"):
        write_run(good, file)
    with pytest.raises(InputError):
        write_run(bad, file, overwrite=True)
    assert file.read_bytes() == before
    with pytest.raises(InputError, match="cannot write"):
        write_run(good, file.parent / "no" / "folder.run")
    with pytest.raises(InputError, match="is a folder"):
        write_run(good, file.parent, overwrite=True)


def test_a_run_of_other_queries(file: Path) -> None:
    with pytest.raises(SourceError) as error:
        check_run(Run("r", {"x9": ranking("a", 1)}), dataset(), file)
    assert str(error.value) == (
        f"{file.as_posix()}: no query of the run has judgements in small {{set}} (test): its "
        "queries are such as 'x9', the judged ones such as 'q1'; give the dataset of this run"
    )


def test_documents_that_are_not_in_the_corpus(file: Path) -> None:
    file.write_text("x9 Q0 zz 1 2 r\nq1 Q0 a 1 2 r\nq1 Q0 zz 2 1 r\nq1 Q0 yy 3 0 r\n")
    run = read_run(file)
    with pytest.raises(SourceError) as error:
        check_run(run, dataset(Ids("a b")), file)
    assert str(error.value).startswith(
        f"{file.as_posix()}, line 3: document 'zz' of query 'q1' is not in the corpus of "
        "small {set} (test) (and 1 more id)"
    )
    assert "allow_unknown_ids" in str(error.value)
    remarks = check_run(run, dataset(Ids("a b")), file, allow_unknown_ids=True)
    assert "documents of run 'r' not in the corpus" in remarks[-1]
    assert remarks[-1].endswith("let through: 2 ('yy', 'zz')")
    assert check_run(run, dataset(None), file) == remarks[:-1]


def test_remarks_name_what_is_missing_and_what_is_ignored(file: Path) -> None:
    run = Run("r", {"q2": ranking("b", 1), **{f"x{i}": ranking("zz", 1) for i in range(5)}})
    assert check_run(run, dataset(Ids("a b")), file) == (
        "judged queries missing from run 'r', counted as 0: 2 of 3 ('q1', 'q{3}')",
        "queries of run 'r' without judgements, ignored: 5 ('x0', 'x1', 'x2', …)",
    )
    full = Run("r", {"q1": ranking("a", 1), "q2": ranking("b", 1), "q{3}": ranking("b", 1)})
    assert check_run(full, dataset(Ids("a b")), file) == ()
