"""How long until something happens: importing, --help, a first search, as whole processes.

    python benchmarks/startup.py [--passages 10000] [--runs 9]

Makes a collection of so many passages of 75 token vectors (of the bundled model, repeated with
noise: the time of a search does not depend on what they say) and runs each command in turn, so that
a change of the machine's speed meets all of them. Prints medians and the fastest run.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

import gingham
from gingham import TokenVectors
from gingham.index.writer import IndexWriter, NewDocument
from gingham.recorded_model import RecordedModel
from gingham.sources.stdlib_docs import StandardLibrary

TOKENS = 75


def make_collection(path: Path, passages: int) -> None:
    """A collection whose texts and model are real and whose vectors are real ones with noise."""
    encoder = gingham.Encoder()
    texts = [document.text or "" for document in islice(StandardLibrary(), 400)]
    seed = encoder.encode_documents(texts).values
    generator = np.random.default_rng(0)
    gingham.open(path)
    model = RecordedModel(path, encoder, None).record({})
    with IndexWriter(path) as writer:
        for start in range(0, passages, 2000):
            count = min(2000, passages - start)
            rows = generator.integers(0, len(seed), count * TOKENS)
            noise = generator.standard_normal((len(rows), encoder.dim), dtype=np.float32)
            values = seed[rows] + 0.02 * noise
            values /= np.linalg.norm(values, axis=1, keepdims=True)
            offsets = np.arange(count + 1, dtype=np.int64) * TOKENS
            documents = [
                NewDocument(f"d{i}", texts[i % 400], "{}", b"", ((0, len(texts[i % 400])),))
                for i in range(start, start + count)
            ]
            writer.add(documents, [TokenVectors(values, offsets)], "int8", model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.gingham"
        make_collection(path, arguments.passages)
        program = str(Path(sys.executable).parent / "gingham")
        query = "run a function when the program exits"
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import numpy": [sys.executable, "-c", "import numpy"],
            "import gingham": [sys.executable, "-c", "import gingham"],
            "gingham --help": [program, "--help"],
            f"gingham search, {arguments.passages} passages": [program, "search", str(path), query],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for run in range(arguments.runs + 1):
            for name, command in commands.items():
                begin = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                if run:  # the first is a warm-up
                    seconds[name].append(time.perf_counter() - begin)
    print("| command | median s | fastest s |\n|---|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f} |")


if __name__ == "__main__":
    main()
