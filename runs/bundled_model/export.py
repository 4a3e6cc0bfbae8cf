"""Write a trained model as the folder that is shipped: `gingham export`, with the texts to fit to.

    python export.py TRAINED OUTPUT --data ../shared/data [--full] [--check FOLDER]…
                     [--unfilled TOKENS] [--document-length TOKENS] [--card FILE] [--licence FILE]

Eight bits are fitted to documents of the training sets. What `gingham export` checks is checked:
float32 against PyTorch, what eight bits cost on parts of these documents or, with --check, on test
collections. Without --full the folder holds only what gingham needs, about 24 MB: the eight-bit
graph, no float32 graph and no PyTorch weights. With --unfilled, queries are no longer filled with
[MASK], whatever they were trained with, and are cut at so many tokens. --document-length says where
documents are cut, and so how long the passages are that gingham splits them into.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from pairs import SOURCES, join_title, read_question_set
from sentence_transformers import MultiVectorEncoder

from gingham.training.exporting import export

CALIBRATION_DOCUMENTS = 48  # of each training set


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trained", type=Path, help="folder that train.py wrote")
    parser.add_argument("output", type=Path, help="folder to write; replaced if it holds a model")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--full", action="store_true", help="keep float32 graph and PyTorch weights"
    )
    parser.add_argument("--check", type=Path, action="append", help="test collection, BEIR layout")
    parser.add_argument("--allow", type=float, default=0.003, help="nDCG@10 that int8 may cost")
    parser.add_argument("--unfilled", type=int, metavar="TOKENS", help="fill queries no more")
    parser.add_argument("--document-length", type=int, metavar="TOKENS", help="cut documents so")
    parser.add_argument("--card", type=Path, help="model card to put in")
    parser.add_argument("--licence", type=Path, help="licence text to put in")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        trained = arguments.trained
        if arguments.unfilled or arguments.document_length:
            trained = with_lengths(
                trained, arguments.unfilled, arguments.document_length, Path(folder)
            )
        done = export(
            trained,
            arguments.output,
            calibration_texts(arguments.data),
            check=arguments.check or (),
            allow=arguments.allow,
            only="all" if arguments.full else "int8",
            force=True,
            progress=lambda step: None if step.done else print(step.what, step.remark, flush=True),
        )
    print(done.parity, done.turned, *done.quality, sep="\n")
    for source, name in ((arguments.card, "MODEL_CARD.md"), (arguments.licence, "LICENSE")):
        if source is not None:
            shutil.copyfile(source, done.folder / name)
    for path in sorted(path for path in done.folder.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size:>11,} {path.relative_to(done.folder)}")


def with_lengths(
    trained: Path, unfilled: int | None, document_length: int | None, folder: Path
) -> Path:
    """The same model, saved in `folder`, with other lengths; see `main`."""
    model = MultiVectorEncoder(str(trained), device="cpu")
    if unfilled:
        model[0].query_expansion = None
        model[0].query_length = unfilled
    if document_length:
        model[0].document_length = document_length
    model.save(str(folder), create_model_card=False)
    return folder


def calibration_texts(data: Path) -> list[str]:
    """Documents evenly spaced through each training set."""
    texts = []
    for name, source in SOURCES.items():
        documents = list(read_question_set(data / "train" / name, source.splits).documents.values())
        step = max(1, len(documents) // CALIBRATION_DOCUMENTS)
        texts += [join_title(*document) for document in documents[::step][:CALIBRATION_DOCUMENTS]]
    return texts


if __name__ == "__main__":
    main()
