"""Datasets by name: what is read, what is refused, and that nothing is fetched or printed unasked.

The library runs in a home of its own, empty, so that no dataset of this machine is in reach.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gingham.errors import MissingDependencyError, SourceError
from gingham.evaluation.ir_datasets_guard import DownloadRefused, held
from gingham.evaluation.ir_datasets_reader import IrDataset, may_be_known
from gingham.evaluation.reading import open_dataset


class Library(NamedTuple):
    module: Any
    home: Path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """ir_datasets, imported afresh: it takes its home from the environment at the import."""
    home = tmp_path_factory.mktemp("ir_datasets_home")
    before = {name: module for name, module in sys.modules.items() if _is_ours(name)}
    for name in before:
        del sys.modules[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IR_DATASETS_HOME", str(home))
        patch.setenv("IR_DATASETS_TMP", str(home / "tmp"))
        import ir_datasets

        yield Library(ir_datasets, home)
    for name in [name for name in sys.modules if _is_ours(name)]:
        del sys.modules[name]
    sys.modules.update(before)


def _is_ours(name: str) -> bool:
    return name.split(".")[0] == "ir_datasets"


DOCS = "a\tabout a\nb\t\nc\tabout c\n"
QUERIES = "1\tone\n2\ttwo\n3\tthree\n"
QRELS = "3 0 a 1\n1 0 b 2\n1 0 c -1\n"

Register = Callable[..., str]


@pytest.fixture
def register(library: Library, tmp_path: Path) -> Iterator[Register]:
    """Register a dataset of local files under a name of its own; taken out again afterwards."""
    names: list[str] = []

    def register(
        docs: str | None = DOCS,
        queries: str | None = QUERIES,
        qrels: str | None = QRELS,
        *more: Any,
    ) -> str:
        files = {"docs_tsv": docs, "queries_tsv": queries, "qrels_trec": qrels}
        paths = {}
        for kind, content in files.items():
            if content is not None:
                path = tmp_path / f"{len(names)}_{kind}"
                path.write_text(content, encoding="utf-8")
                paths[kind] = str(path)
        dataset = library.module.create_dataset(**paths)
        names.append(f"gingham-test/{len(names)}")
        library.module.registry.register(names[-1], library.module.Dataset(*more, dataset))
        return names[-1]

    yield register
    for name in names:
        del library.module.registry._registered[name]


def message(read: Callable[[], object], kind: type[Exception] = SourceError) -> str:
    with pytest.raises(kind) as error:
        read()
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_dataset(register: Register, capfd: pytest.CaptureFixture[str]) -> None:
    name = register()
    dataset = open_dataset(f"irds:{name}")
    assert (dataset.name, dataset.split, dataset.title) == (name, None, name)
    assert list(dataset.queries.items()) == [("1", "one"), ("3", "three")]
    assert dataset.qrels == {"3": {"a": 1}, "1": {"b": 2, "c": -1}}
    assert dataset.corpus is not None
    assert dataset.corpus.n_documents == 3
    for _ in range(2):
        texts = [(document.id, document.text) for document in dataset.corpus.documents()]
        assert texts == [("a", "about a"), ("b", ""), ("c", "about c")]
    assert "b" in dataset.corpus
    assert "d" not in dataset.corpus
    assert capfd.readouterr() == ("", "")


def test_the_same_documents_have_the_same_digest_wherever_they_are(
    register: Register, tmp_path: Path
) -> None:
    by_name = open_dataset(f"irds:{register()}").corpus
    (tmp_path / "docs.tsv").write_text(DOCS, encoding="utf-8")
    by_file = open_dataset(f"irds:{register(None)}", corpus=[tmp_path / "docs.tsv"]).corpus
    assert by_name is not None
    assert by_file is not None
    assert by_name.digest == by_file.digest


def test_parts(register: Register, tmp_path: Path) -> None:
    only_qrels = open_dataset(f"irds:{register(None, None)}")
    assert (only_qrels.queries, only_qrels.corpus, len(only_qrels.qrels)) == ({}, None, 2)
    (tmp_path / "q.tsv").write_text("1\tuno\n3\ttre\n", encoding="utf-8")
    (tmp_path / "j.txt").write_text("3 0 c 1\n", encoding="utf-8")
    dataset = open_dataset(
        f"irds:{register()}", queries=tmp_path / "q.tsv", qrels=tmp_path / "j.txt"
    )
    assert (dataset.queries, dataset.qrels) == ({"3": "tre"}, {"3": {"c": 1}})


def test_progress(register: Register) -> None:
    docs = "".join(f"{i}\tx\n" for i in range(5000))
    seen: list[int] = []
    name = register(docs, None, "1 0 7 1\n")
    open_dataset(f"irds:{name}", progress=seen.append)
    assert seen == [2048, 4096, 5000]


class Topic(NamedTuple):
    query_id: str
    title: str
    description: str


class Article(NamedTuple):
    doc_id: int
    title: str
    abstract: str
    body: str
    pages: int


def handler(library: Library, kind: str, records: list[Any]) -> Any:
    """A handler of ir_datasets that gives out these records."""
    base = {"docs": "BaseDocs", "queries": "BaseQueries", "qrels": "BaseQrels"}[kind]
    methods = {f"{kind}_iter": lambda _: iter(records), f"{kind}_cls": lambda _: type(records[0])}
    return type("Handler", (getattr(library.module.formats, base),), methods)()


def test_fields_of_queries(library: Library, register: Register) -> None:
    topics = [Topic("1", " short ", "long"), Topic("3", "s", "l")]
    name = register(None, None, QRELS, handler(library, "queries", topics))
    assert open_dataset(f"irds:{name}").queries == {"1": "short", "3": "s"}
    assert open_dataset(f"irds:{name}", topic_field="desc").queries == {"1": "long", "3": "l"}
    assert message(lambda: open_dataset(f"irds:{name}", topic_field="narr")) == (
        f"irds:{name}: queries have no field 'narr'; their fields are 'query_id', 'title', "
        "'description': choose one of them with --topic-field (topic_field=)"
    )


def test_documents_without_a_default_text(library: Library, register: Register) -> None:
    article = Article(7, "T", "", "B \ud800", 3)
    name = register(None, None, "1 0 7 1\n", handler(library, "docs", [article]))
    corpus = open_dataset(f"irds:{name}").corpus
    assert corpus is not None
    assert [(document.id, document.text) for document in corpus.documents()] == [
        ("7", "T\nB \ufffd")
    ]


def test_what_is_refused(register: Register) -> None:
    def told(*parts: str | None, **options: Any) -> str:
        name = register(*parts)
        text = message(lambda: open_dataset(f"irds:{name}", **options))
        assert text.startswith(f"irds:{name}: ")
        return text.removeprefix(f"irds:{name}: ")

    assert told(DOCS, QUERIES, None) == "no judgements; it can give documents or queries only"
    assert told(DOCS, QUERIES, "") == "there is no judgement in it"
    assert told("", QUERIES, QRELS).startswith("there is no document in it")
    assert told(DOCS + "a\tx\n", QUERIES, QRELS).startswith("the document id 'a' comes twice")
    assert told(DOCS, QUERIES + "1\tx\n", QRELS).startswith("the query id '1' comes twice")
    assert told(DOCS, "1\n", QRELS).startswith("cannot be read (expected 2 fields, got 1); see ")
    assert told(DOCS, QUERIES, "1 0 a x\n").startswith("cannot be read (invalid literal for int()")
    assert told(DOCS, QUERIES, "1 0 x 1\n").startswith("the judged document 'x' is not in the corp")
    assert told(DOCS, "1\t \n", "1 0 a 1\n").startswith("the text of query '1' is empty, but it ha")
    assert told(DOCS, QUERIES, "1 0 a 1\n9 0 a 1\n").startswith("the judged query '9' is not in ir")
    assert "no whole number" in message(lambda: IrDataset(register())._grade(Judged("1", "a", 0.5)))


class Judged(NamedTuple):
    query_id: str
    doc_id: str
    relevance: float


def test_repeated_judgements_are_remarked(register: Register) -> None:
    name = register(DOCS, QUERIES, "1 0 a 1\n1 0 a 2\n1 0 b 0\n")
    dataset = open_dataset(f"irds:{name}")
    assert dataset.qrels == {"1": {"a": 2, "b": 0}}
    assert dataset.remarks == (
        f"irds:{name}: 1 judgement came again for the same query and document: the last one counts",
    )


def test_names_that_are_unknown(library: Library) -> None:
    assert message(lambda: open_dataset("irds:vaswan")).startswith(
        "irds:vaswan: ir_datasets knows no dataset 'vaswan'; close to it: irds:vaswani"
    )
    assert message(lambda: open_dataset("irds:")).startswith("irds:: ir_datasets knows no dataset")
    assert message(lambda: open_dataset("irds:beir/scifact")) == (
        "irds:beir/scifact: no judgements; these parts of it have some: irds:beir/scifact/test, "
        "irds:beir/scifact/train"
    )
    with pytest.raises(ValueError, match=r"irds:beir/scifact/test$"):
        open_dataset("irds:beir/scifact", split="test")
    assert may_be_known("vaswani")
    assert not may_be_known("vaswan")


# Downloads


@pytest.fixture
def no_network(library: Library, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would have been requested; nothing is."""
    asked: list[str] = []

    class Requests:
        class exceptions:
            RequestException = ConnectionError

        @staticmethod
        def get(url: str, **_: Any) -> Any:
            asked.append(url)
            raise ConnectionError("no network\nin this test")

    monkeypatch.setattr(library.module.lazy_libs, "requests", lambda: Requests)
    return asked


@pytest.mark.parametrize("name", ["vaswani", "beir/scifact/test", "trec-robust04", "antique/test"])
def test_nothing_is_downloaded_unasked(
    library: Library, no_network: list[str], name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert message(lambda: open_dataset(f"irds:{name}")) == (
            f"irds:{name}: not on this machine; pass --download (download=True) to fetch it"
        )
    assert no_network == []
    assert capfd.readouterr() == ("", "")
    assert not [path for path in library.home.rglob("*") if path.is_file() and path.stat().st_size]


def test_documents_are_not_downloaded_either(no_network: list[str], library: Library) -> None:
    assert "not on this machine" in message(lambda: next(IrDataset("vaswani").documents()))
    assert "not on this machine" in message(lambda: next(IrDataset("beir/nq").documents()))
    assert no_network == []


def test_a_download_that_is_asked_for(
    no_network: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert message(lambda: open_dataset("irds:vaswani", download=True)).startswith(
        "irds:vaswani: cannot be read (('All download sources failed',"
    )
    assert any("npl.tar.gz" in url for url in no_network)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(SourceError):
        open_dataset("irds:vaswani", download=True, progress=lambda _: None)
    assert "download error" in capfd.readouterr().err


def test_files_to_be_put_there_by_hand(library: Library) -> None:
    path = library.home / "by_hand"
    missing = library.module.util.LocalDownload(path, "get it from the publisher")
    formats = library.module.formats
    library.module.registry.register(
        "gingham-test/hand", library.module.Dataset(formats.TrecQrels(missing, {}))
    )
    try:
        assert message(lambda: open_dataset("irds:gingham-test/hand")) == (
            f"irds:gingham-test/hand: needs the file {path}, which has to be put there by hand; "
            "see https://ir-datasets.com/gingham-test.html"
        )
    finally:
        del library.module.registry._registered["gingham-test/hand"]


def test_the_hold_is_undone(library: Library) -> None:
    module = library.module
    downloads = module.util.download

    def seams() -> list[Any]:
        return [
            *(vars(kind).get("stream") for kind in downloads.BaseDownload.__subclasses__()),
            module.lazy_libs.requests,
            module.lazy_libs.tqdm,
            module.log.easy().logger().disabled,
        ]

    before = seams()
    with held(download=False, quiet=True):
        during = seams()
        with held(download=True, quiet=True):
            assert seams() == during
            assert module.lazy_libs.requests().__name__ == "requests"
        with pytest.raises(DownloadRefused):
            module.lazy_libs.requests()
    assert seams() == before
    changed = [a is not b for a, b in zip(before, during, strict=True)]
    assert changed.count(False) == 1  # LocalDownload
    with pytest.raises(ZeroDivisionError), held(download=False, quiet=True):
        1 / 0  # noqa: B018
    assert seams() == before


def test_a_refusal_concerns_its_own_thread(library: Library) -> None:
    found: list[str] = []

    def other() -> None:
        found.append(library.module.lazy_libs.requests().__name__)

    with held(download=False, quiet=True) as hold:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert not hold.refused
    assert found == ["requests"]


def test_progress_bars_count_in_silence(
    library: Library, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = library.module.log.easy()
    with held(download=False, quiet=True):
        assert list(logger.pbar(range(3), desc="three")) == [0, 1, 2]
        with logger.pbar_raw(desc="bytes", total=5, file=None) as bar:
            bar.update(5)
            assert bar.n == 5
        logger.info("words")
    assert capfd.readouterr() == ("", "")


def test_ir_datasets_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    text = message(lambda: open_dataset("irds:vaswani"), MissingDependencyError)
    assert text == "datasets by name need ir_datasets: pip install 'gingham[eval]'"
    assert not may_be_known("vaswani")
    assert "expected a folder" in message(lambda: open_dataset("vaswani"))


def test_a_name_that_is_a_path_imports_nothing(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("1 0 a 1\n", encoding="utf-8")
    code = (
        "import sys; from gingham.evaluation.reading import open_dataset; "
        f"open_dataset({os.fspath(tmp_path / 'q.txt')!r}); assert 'ir_datasets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
