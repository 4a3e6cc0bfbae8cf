"""What is drawn: highlights where they belong, colour only where it is wanted, honest progress."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gingham.cli import console
from gingham.ranking import Hit

TEXT = "The moon pulls the sea,\n\n  and so the tide rises twice a day."


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """A terminal 40 columns wide; called by the test, as pytest sets stdout after its fixtures."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def start() -> Terminal:
        out = Terminal()
        monkeypatch.setattr("sys.stdout", out)
        return out

    return start


def marked(shown: str) -> list[str]:
    return re.findall(r"\033\[1;32m(.*?)\033\[0m", shown)


def plain(shown: str) -> str:
    return " ".join(re.sub(r"\033\[[\d;]*m", "", shown).split())


def spans_of(*words: str) -> list[tuple[int, int, float]]:
    return [(TEXT.index(word), TEXT.index(word) + len(word), 0.9) for word in words]


def test_words_are_marked_across_lines(terminal: Callable[[], Terminal]) -> None:
    out = terminal()
    console.write_passage(TEXT, spans_of("moon", "sea,\n\n  and", "day"), 400)
    shown = out.getvalue()
    assert plain(shown) == " ".join(TEXT.split())
    assert " ".join(marked(shown)).split() == ["moon", "sea,", "and", "day"]
    assert all(len(plain(line)) <= 32 for line in shown.splitlines())


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour(
    terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    out = terminal()
    console.write_hit(1, Hit("a", 1.0, TEXT, (0, len(TEXT))), spans_of("moon"))
    assert "moon" in out.getvalue()
    assert "\033" not in out.getvalue()


def test_no_colour_and_one_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    console.write_hit(3, Hit("a", 12.345, TEXT, (0, len(TEXT))), spans_of("moon"))
    assert capsys.readouterr().out == f"  3   12.35  a\n      {' '.join(TEXT.split())}\n"


def test_pieces_of_words_are_widened_to_words() -> None:
    text = "of numeric data, midpoint"
    assert console._whole_words(text, [(5, 10, 0.6), (17, 20, 0.7), (20, 22, 0.9)]) == [
        (3, 10, 0.6),
        (17, 25, 0.9),
    ]


def test_long_passage_shows_its_best_part(terminal: Callable[[], Terminal]) -> None:
    text = "filler words " * 100 + "the tide rises " + "other words " * 100
    start = text.index("tide rises")
    out = terminal()
    console.write_passage(text, [(0, 6, 0.6), (start, start + 10, 0.9)], 120)
    shown = out.getvalue()
    assert plain(shown).startswith("… ")
    assert plain(shown).endswith(" …")
    assert " ".join(marked(shown)) == "tide rises"
    assert len(plain(shown)) < 130


@given(st.text(min_size=1), st.data())
def test_any_passage_can_be_shown(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8, unique=True)))
    spans = [(a, b, 0.9) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    shown = data.draw(st.integers(1, len(text) + 5))
    spans = list(console._whole_words(text, spans))
    start, end = console._window(text, spans, shown)
    assert 0 <= start <= end <= len(text)
    flat, marks = console._flatten(text, spans, start, end)
    assert "\n" not in flat
    assert "\x1b" not in flat
    assert all(0 <= a <= b <= len(flat) for a, b in marks)


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (3e12, "3000.0 GB")]
)
def test_size(count: float, shown: str) -> None:
    assert console.size(count) == shown


def test_json_is_never_lossy(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    console.write_json({"a": "é"})
    out.flush()
    assert out.buffer.getvalue() == b'{"a": "\\u00e9"}\n'


def test_bar_on_a_terminal_leaves_nothing_but_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    err = Terminal()
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    with console.Bar("adding", 10) as bar:
        bar.update(5, "3 documents stored")
    assert "adding" in err.getvalue()


def test_bar_without_terminal_says_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with console.Bar("adding", 10) as bar:
        bar.update(5, "3 documents stored")
        bar.update(6, "4 documents stored")
    with console.Bar("adding", None, quiet=True) as bar:
        bar.update(5, "x")
    captured = capsys.readouterr()
    assert captured.err == "adding 50%: 3 documents stored\n"
    assert captured.out == ""
