"""HTML → one document a page: the title and the text that a reader would see.

The only module that imports selectolax. Paragraphs and other blocks become lines, so that passages
break where the page does; scripts, styles, navigation and forms are left out.
"""

from __future__ import annotations

import re
from typing import Any

from gingham.document import Document
from gingham.errors import SourceError
from gingham.sources.decoding import decoded

_HIDDEN_TAGS = "script style noscript template nav form button select svg iframe object head"
_BLOCK_TAGS = """
    address article aside blockquote br caption dd details div dl dt fieldset figcaption figure
    footer h1 h2 h3 h4 h5 h6 header hr legend li main ol p pre section summary table tbody td
    tfoot th thead tr ul
"""
_HIDDEN = frozenset(_HIDDEN_TAGS.split())
_BLOCKS = frozenset(_BLOCK_TAGS.split())
_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w-]+)""", re.IGNORECASE)
_SPACES = re.compile(r"[^\S\n]+")
_LINE_ENDS = re.compile(r" ?\n[ \n]*")


def html_document(data: bytes, name: str, encoding: str | None) -> Document:
    """The title in front of the visible text of a page.

    Raises:
        SourceError: the page cannot be decoded or parsed.
    """
    from selectolax.lexbor import LexborHTMLParser

    page = decoded(data, name, encoding or _declared(data))
    try:
        tree = LexborHTMLParser(page)
        heading = tree.css_first("head > title")
        title = " ".join(heading.text().split()) if heading is not None else ""
        body = _visible_text(tree.body)
    except Exception as error:  # a parser in C: what it raises is not documented
        raise SourceError(f"{name}: not HTML that can be parsed ({error})") from error
    # Many pages repeat their title as the first heading.
    text = body if body.startswith(title) else f"{title}\n{body}".strip()
    return Document(name, text, {"title": title} if title else {})


def _visible_text(root: Any) -> str:
    # A stack of nodes and of texts yet to come, not recursion: pages nest as deep as they like.
    pieces: list[str] = []
    stack: list[Any] = [] if root is None else [root]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            pieces.append(node)
        elif node.tag == "-text":
            pieces.append(node.text_content or "")
        elif node.tag not in _HIDDEN:
            edge = "\n" if node.tag in _BLOCKS else ""
            pieces.append(edge)
            children: list[Any] = [edge]
            child = node.last_child
            while child is not None:
                children.append(child)
                child = child.prev
            stack.extend(children)
    return _LINE_ENDS.sub("\n", _SPACES.sub(" ", "".join(pieces))).strip()


def _declared(data: bytes) -> str | None:
    match = _CHARSET.search(data[:2048])
    if match is None or data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return None
    name = match[1].decode("ascii")
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return None
    return name
