"""Files → documents: paths in, a stream of `Document`s out, one at a time.

The steps in the order a file meets them: `files` finds it and knows its kind, `decoding` turns its
bytes into lines, one module a family (`tables`, `plain`, `html`, `pdf`) turns those into documents,
and `reading`, the conductor, joins the streams and counts. `stdlib_docs` is a source of its own:
the documentation of the running interpreter. Nothing in here knows of collections or models.
"""

from gingham.sources.options import Report, SourceOptions
from gingham.sources.reading import Sources

__all__ = ["Report", "SourceOptions", "Sources"]
