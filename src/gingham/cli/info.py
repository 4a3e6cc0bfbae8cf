"""`gingham info`: the sizes and settings of a collection."""

from __future__ import annotations

from gingham.cli import console
from gingham.cli.options import CollectionPath, Json

EXAMPLES = (
    "gingham info docs.gingham",
    "gingham info docs.gingham --json",
)


def info(
    collection: CollectionPath,
    json: Json = False,
) -> None:
    """Print the size and the settings of a collection.

    With --json one object: path, documents, passages, tokens, dim, codec, bits,
    passage_length, titles, clustered, centroids, parameters, segments, bytes, bytes_per_token,
    model, fingerprint, generation, format_version.
    """
    from dataclasses import asdict

    import gingham

    with gingham.open(collection, read_only=True) as opened:
        record = asdict(opened.info())
    if json:
        console.write_json(record)
        return
    shown = {}
    for name, value in record.items():
        if name == "parameters":
            own = ", ".join(
                f"{part} {console.setting(size)}" for part, size in (value or {}).items()
            )
            text = own or "the defaults"
        elif name == "passage_length" and value is None and record["dim"] is not None:
            text = "what the model takes"
        elif value is None or (name == "titles" and record["dim"] is None):
            text = "none yet"
        elif isinstance(value, bool):
            text = "in every passage" if value else "in the first passage"
        elif name == "bytes":
            text = console.size(value)
        elif name == "bytes_per_token":
            text = f"{value:.1f}"
        else:
            text = console.number(value) if isinstance(value, int) else str(value)
        shown[name.replace("_", " ")] = text
    console.write_table(shown)
