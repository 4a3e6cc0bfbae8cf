"""Plain text, Markdown, HTML and PDF: what becomes a document, and what hostile files become."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pypdf
import pytest

from gingham.errors import SourceError
from gingham.sources import SourceOptions, Sources
from gingham.sources.html import html_document
from gingham.sources.pdf import pdf_documents
from gingham.sources.plain import markdown_document

from .conftest import Write, make_pdf


def html(page: str) -> str:
    return html_document(page.encode(), "f", None).text or ""


def test_front_matter_becomes_metadata_and_its_title_goes_in_front() -> None:
    text = '---\ntitle: "Tides"\nlang: en\ntags: [a, b]\nnested:\n  key: x\n---\n\n# The sea\n'
    document = markdown_document(text, "f")
    assert document.text == "Tides\n# The sea"
    assert document.metadata == {"lang": "en"}


@pytest.mark.parametrize("text", ["# Title\n---\nrest", "---\nno end", "text"])
def test_markdown_without_front_matter_is_left_as_it_is(text: str) -> None:
    assert markdown_document(text, "f").text == text


def test_html_shows_what_a_reader_sees() -> None:
    page = """<html><head><title>The
        tides</title><style>b{}</style></head><body><nav>Home</nav><h1>Why</h1>
        <p>The <b>moon</b> pulls<br>the sea.</p><script>x()</script><ul><li>one<li>two</ul>end
        </body></html>"""
    assert html(page) == "The tides\nWhy\nThe moon pulls\nthe sea.\none\ntwo\nend"


def test_html_title_is_not_repeated() -> None:
    assert html("<title>Tides</title><h1>Tides</h1><p>x") == "Tides\nx"


def test_html_says_its_encoding() -> None:
    page = '<meta charset="iso-8859-1"><p>Zoë'.encode("latin-1")
    assert html_document(page, "f", None).text == "Zoë"
    with pytest.raises(SourceError, match="not utf-8"):
        html_document(page, "f", "utf-8")


@pytest.mark.parametrize(
    "page",
    ["", "<", "<p>a" + "<div>" * 20_000 + "b", "<!--", "<p\0>a", "\ufeff<p>a", "<table><p>" * 999],
)
def test_hostile_html_gives_text_or_nothing(page: str) -> None:
    assert isinstance(html(page), str)


def test_pdf_is_a_document_a_page() -> None:
    documents = list(pdf_documents(io.BytesIO(make_pdf(["The tides", "", "The moon"])), "f.pdf"))
    assert [(d.id, d.text, d.metadata) for d in documents] == [
        ("f.pdf#page=1", "The tides", {"page": 1}),
        ("f.pdf#page=2", "", {"page": 2}),
        ("f.pdf#page=3", "The moon", {"page": 3}),
    ]


def test_encrypted_pdf() -> None:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(make_pdf(["secret"])))
    writer.encrypt("password", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    with pytest.raises(SourceError, match=r"f\.pdf: an encrypted PDF; save it without a password"):
        list(pdf_documents(out, "f.pdf"))


def test_damaged_pdfs_give_one_line_or_text() -> None:
    whole = make_pdf(["The tides", "The moon"])
    rng = random.Random(0)
    refused: list[str] = []
    for trial in range(150):
        data = bytearray(whole[: rng.randrange(len(whole))] if trial % 2 else whole)
        for _ in range(trial % 7):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            list(pdf_documents(io.BytesIO(bytes(data)), "f.pdf"))
        except SourceError as error:
            refused.append(str(error))
    assert refused
    assert all(line.startswith("f.pdf") and "\n" not in line for line in refused)


def test_sources_gives_files_their_path_and_type(write: Write) -> None:
    write("notes/a.txt", "one\r\ntwo\n")
    write("notes/b.md", "# Two")
    write("notes/c.html", "<p>three")
    write("notes/d.pdf", make_pdf(["four"]))
    assert [(d.id, d.text, d.metadata) for d in Sources(["notes"])] == [
        ("notes/a.txt", "one\ntwo", {"path": "notes/a.txt", "type": "text"}),
        ("notes/b.md", "# Two", {"path": "notes/b.md", "type": "markdown"}),
        ("notes/c.html", "three", {"path": "notes/c.html", "type": "html"}),
        ("notes/d.pdf#page=1", "four", {"page": 1, "path": "notes/d.pdf", "type": "pdf"}),
    ]


def test_latin_1(write: Write) -> None:
    write("a.txt", "Zoë".encode("latin-1"))
    options = SourceOptions(encoding="latin-1")
    assert [d.text for d in Sources([Path("a.txt")], options)] == ["Zoë"]
