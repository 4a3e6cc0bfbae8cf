"""What is written is true: links lead somewhere, names exist, examples run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gingham

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links {target}"


def source() -> str:
    files = [*ROOT.glob("src/**/*.py"), *ROOT.glob("cpp/*.cpp"), *ROOT.glob("cpp/*.h")]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def test_names_in_the_architecture_exist() -> None:
    code = source()
    names = re.findall(r"`([A-Za-z_]+(?:\.[A-Za-z_]+)*)`", read("ARCHITECTURE.md"))
    assert len(names) > 20
    for name in names:
        last = name.split(".")[-1]
        if last in ("py", "cpp", "md"):
            file = name.rsplit("/", 1)[-1]
            assert any(ROOT.rglob(file)), name
        else:
            assert re.search(rf"\b{re.escape(last)}\b", code), name


def test_every_public_name_is_documented() -> None:
    text = read("README.md") + read("docs/api.md")
    for name in gingham.__all__:
        assert re.search(rf"`(gingham\.)?{name}\b", text), f"{name} is in no page"


def test_every_command_is_documented() -> None:
    from gingham.cli.main import app

    text = read("README.md")
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        assert f"gingham {name}" in text, f"{name} is not in README.md"


def make_tiny_dataset(folder: Path) -> None:
    """The folder that docs/evaluation.md evaluates."""
    (folder / "qrels").mkdir(parents=True)
    texts = {"tide": "The moon pulls the sea.", "bread": "Yeast makes dough rise."}
    lines = [json.dumps({"_id": id, "text": text}) for id, text in texts.items()]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    queries = {"q1": "why is there a tide?", "q2": "why does dough rise?"}
    lines = [json.dumps({"_id": id, "text": text}) for id, text in queries.items()]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    qrels = "query-id\tcorpus-id\tscore\nq1\ttide\t1\nq2\tbread\t1\n"
    (folder / "qrels" / "test.tsv").write_text(qrels)


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/api.md", "docs/evaluation.md"])
def test_python_examples_run(page: str, tmp_path: Path) -> None:
    """All blocks of a page, one after the other in one process, as a reader would paste them."""
    make_tiny_dataset(tmp_path / "tiny")
    blocks = python_blocks(page)
    assert blocks
    code = "\n".join(blocks)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr


def test_importing_is_light() -> None:
    """No heavy library, no output, no file: see ARCHITECTURE.md."""
    heavy = "numpy onnxruntime tokenizers huggingface_hub torch typer rich selectolax sqlite3"
    code = f"import sys, gingham; print([m for m in {heavy.split()!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")
