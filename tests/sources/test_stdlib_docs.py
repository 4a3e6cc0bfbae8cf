"""The demo's corpus: public names of this interpreter, each once, short enough to encode fast."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from gingham.document import Document
from gingham.errors import SourceError
from gingham.sources.stdlib_docs import StandardLibrary


@pytest.fixture(scope="module")
def documents() -> dict[str, Document]:
    library = StandardLibrary()
    found = list(library)
    assert library.done == library.modules > 150
    by_id = {document.id: document for document in found}
    assert len(by_id) == len(found)
    return by_id


@pytest.mark.parametrize(
    ("id", "kind"),
    [
        ("csv", "module"),
        ("csv.DictReader", "class"),  # no docstring of its own
        ("csv.reader", "function"),  # from _csv
        ("atexit.register", "function"),
        ("collections.deque.append", "method"),
        ("datetime.date.strftime", "method"),
        ("functools.partial", "class"),
        ("itertools.combinations", "class"),
        ("math.sqrt", "function"),
        ("os.getcwd", "function"),  # from posix or nt
        ("os.path.join", "function"),  # from posixpath or ntpath
        ("pathlib.Path.glob", "method"),
        ("sorted", "function"),  # of builtins
        ("str.split", "method"),
        ("tempfile.TemporaryDirectory", "class"),
        ("timeit.timeit", "function"),
    ],
)
def test_names(documents: dict[str, Document], id: str, kind: str) -> None:
    document = documents[id]
    assert document.metadata["kind"] == kind
    assert (document.text or "").startswith(id)


def test_text_has_signature_kind_and_docstring(documents: dict[str, Document]) -> None:
    assert (documents["shutil.rmtree"].text or "").startswith("shutil.rmtree(path, ")
    text = documents["textwrap.dedent"].text or ""
    assert text.startswith(
        "textwrap.dedent(text)\nfunction in module textwrap\nRemove any common leading whitespace"
    )
    assert documents["textwrap.dedent"].metadata == {"module": "textwrap", "kind": "function"}


def test_size(documents: dict[str, Document]) -> None:
    assert 3000 < len(documents) < 12_000
    assert sum(len(document.text or "") for document in documents.values()) < 3_000_000
    assert max(len(document.text or "") for document in documents.values()) < 1000


def test_nothing_private_and_no_tests(documents: dict[str, Document]) -> None:
    for id, document in documents.items():
        assert not any(part.startswith("_") for part in id.split("."))
        assert document.metadata["module"].split(".")[0] not in {"test", "idlelib", "antigravity"}


def test_nothing_is_run_or_printed_and_stripped_docstrings_do_not_matter() -> None:
    code = """
import sys
import sysconfig
from gingham.sources.stdlib_docs import StandardLibrary
before = set(sys.modules)
count = sum(1 for _ in StandardLibrary())
if count < 3000 or (set(sys.modules) - before) & {"tkinter", "antigravity", "this", "turtle"}:
    sys.exit(f"{count} {sorted(set(sys.modules) - before)}")
"""
    command = [sys.executable, "-OO", "-W", "error", "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_python_without_documentation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(sys, "builtin_module_names", ("sys",))
    with pytest.raises(SourceError, match="installed without the sources or docstrings"):
        list(StandardLibrary())
