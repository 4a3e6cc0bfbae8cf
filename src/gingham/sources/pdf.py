"""PDF → one document a page, `file.pdf#page=3`, so that a hit says where to look.

The only module that imports pypdf. A page without text (a scan) is given out with the text "", for
the conductor to count.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import BinaryIO

from gingham.document import Document
from gingham.errors import SourceError


def pdf_documents(stream: BinaryIO, name: str) -> Iterator[Document]:
    """One document a page, with the page number, counted from 1, as metadata.

    Raises:
        SourceError: the file is damaged, encrypted or no PDF.
    """
    import pypdf

    # pypdf logs each repair it makes; a file it cannot repair raises.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(stream)
        pages = len(reader.pages)
    except Exception as error:  # on damaged files pypdf raises whatever Python does
        raise _damaged(name, error) from error
    for number in range(1, pages + 1):
        try:
            text = reader.pages[number - 1].extract_text()
        except Exception as error:
            raise _damaged(f"{name}, page {number}", error) from error
        yield Document(f"{name}#page={number}", text.strip(), {"page": number})


def _damaged(where: str, error: Exception) -> SourceError:
    if type(error).__name__ in {"FileNotDecryptedError", "DependencyError"}:
        return SourceError(f"{where}: an encrypted PDF; save it without a password first")
    reason = " ".join(str(error).split()) or type(error).__name__
    return SourceError(f"{where}: not a PDF that can be read ({reason[:200]})")
