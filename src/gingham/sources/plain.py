"""Plain text and Markdown → one document a file.

Markdown is indexed as it is written: its few marks do no harm, and spans then point into the
file's own text. Only the front matter between `---` lines is taken off: its plain `key: value`
lines become metadata, its title goes in front. It is not parsed as YAML, which would need a parser
for no gain.
"""

from __future__ import annotations

import re

from gingham.document import Document

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)?(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_SCALAR = re.compile(r"^([A-Za-z_][\w-]*):[ \t]+([^\s\[{|>&*!#].*?)[ \t]*$", re.MULTILINE)


def text_document(text: str, name: str) -> Document:
    """The whole text."""
    return Document(name, text.strip(), {})


def markdown_document(text: str, name: str) -> Document:
    """The text below the front matter, the front matter as metadata."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        return text_document(text, name)
    metadata = {key: _unquoted(value) for key, value in _SCALAR.findall(match[1] or "")}
    body = text[match.end() :].strip()
    title = metadata.pop("title", None)
    return Document(name, f"{title}\n{body}".strip() if title else body, metadata)


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value
