"""Which files are found, in which order, under which name."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from gingham.errors import SourceError
from gingham.sources.files import SourceFile, find_files

from .conftest import Write


def names(*sources: str) -> list[str]:
    return [file.name for file in find_files(sources, Counter())]


def test_folder_in_sorted_order_without_hidden_files(write: Write) -> None:
    for name in ("b.txt", "a/z.md", "a/B.html", ".hidden.txt", ".git/x.txt", "CVS/x.txt", "c.pdf"):
        write(f"notes/{name}", "x")
    assert names("notes") == ["notes/a/B.html", "notes/a/z.md", "notes/b.txt", "notes/c.pdf"]


@pytest.mark.parametrize("given", ["notes", "./notes", "notes/", "notes/."])
def test_name_is_the_path_as_given_without_ornaments(write: Write, given: str) -> None:
    write("notes/a.txt", "x")
    assert names(given) == ["notes/a.txt"]


def test_name_of_a_file_is_the_same_alone_and_in_its_folder(write: Write) -> None:
    write("notes/sub/a.txt", "x")
    assert names("notes/sub/a.txt") == names("notes") == ["notes/sub/a.txt"]
    assert names("notes", "notes/sub/a.txt") == ["notes/sub/a.txt"]


def test_current_folder(write: Write) -> None:
    write("notes/a.txt", "x")
    assert names(".") == ["notes/a.txt"]


def test_two_folders_with_files_of_the_same_name(write: Write) -> None:
    write("one/README.md", "x")
    write("two/README.md", "x")
    assert names("one", "two") == ["one/README.md", "two/README.md"]


@pytest.mark.parametrize("whole", ["corpus.jsonl", "collection.tsv"])
def test_data_set_folder_is_its_one_file(write: Write, whole: str) -> None:
    for name in (whole, "queries.jsonl", "qrels/test.tsv", "README.md"):
        write(f"data/scifact/{name}", "x")
    assert names("data") == [f"data/scifact/{whole}"]


def test_own_collections_are_passed_over(write: Write) -> None:
    write("docs.gingham/catalog.sqlite", "x")
    write("docs.gingham/a.txt", "x")
    assert names(".") == []


def test_other_kinds_are_counted_in_folders(write: Write) -> None:
    for name in ("a.png", "b.PNG", "c.py", "Makefile", "d.txt"):
        write(f"notes/{name}", "x")
    skipped: Counter[str] = Counter()
    assert [file.name for file in find_files(["notes"], skipped)] == ["notes/d.txt"]
    assert skipped == {".png": 2, ".py": 1, "(no suffix)": 1}


def test_other_kinds_named_directly_are_text_if_they_look_so(write: Write) -> None:
    write("Makefile", "all:\n")
    write("a.bin", b"\x7fELF\0")
    assert find_files(["Makefile"], Counter()) == [
        SourceFile(Path("Makefile"), "Makefile", "text", 5, True)
    ]
    with pytest.raises(SourceError, match=r"a\.bin: a binary file of no known kind; gingham reads"):
        names("a.bin")


@pytest.mark.parametrize("suffix", [".json", ".gz", ".zip", ".docx"])
def test_kinds_with_a_remedy(write: Write, suffix: str) -> None:
    write(f"a{suffix}", "x")
    with pytest.raises(SourceError, match=f"a{suffix}: {suffix} files cannot be read; "):
        names(f"a{suffix}")


def test_missing_file(write: Write) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.txt: no such file or folder"):
        names("nowhere.txt")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_link_loops_end_and_links_are_followed_once(write: Write) -> None:
    write("notes/a.txt", "x")
    write("elsewhere/b.txt", "x")
    os.symlink("..", "notes/up", target_is_directory=True)
    os.symlink("../elsewhere", "notes/link", target_is_directory=True)
    os.symlink("nowhere", "notes/broken.txt")
    skipped: Counter[str] = Counter()
    found = [file.name for file in find_files(["notes"], skipped)]
    assert found == ["notes/a.txt", "notes/link/b.txt"]
    assert skipped == {".txt": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode elsewhere")
def test_file_name_that_is_no_unicode(write: Write) -> None:
    folder = os.fsencode(write("notes/a.txt", "x").parent)
    with open(folder + b"/caf\xe9.txt", "wb") as file:
        file.write(b"x")
    assert names("notes") == ["notes/a.txt", "notes/caf\\xe9.txt"]
