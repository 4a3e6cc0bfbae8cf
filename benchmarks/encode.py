"""Encoding speed: gingham (ONNX) beside sentence-transformers (PyTorch), same model, same texts.

    python benchmarks/encode.py MODEL CORPUS --documents 500 --queries QUERIES

MODEL is a MultiVectorEncoder folder with torch weights, `onnx/model.onnx` and
`onnx/model_int8.onnx` (what is missing is left out); CORPUS and QUERIES are BEIR files of JSON
lines. Every engine encodes the same texts in each round, one after the other, so that a busy
machine slows all alike; the best round counts. Tokens are those that have vectors. Prints a
Markdown table.

sentence-transformers runs as its users run it: `encode_document`, batches of 32, sorted by length.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gingham import Encoder, ModelError
from gingham.threads import resolve_threads

Engine = tuple[str, Callable[[list[str]], Any], Callable[[str], Any]]


def main() -> None:
    arguments = parse_arguments()
    threads = resolve_threads(arguments.threads)
    documents = read_texts(arguments.corpus, arguments.documents)
    path = arguments.queries or arguments.corpus.with_name("queries.jsonl")
    queries = read_texts(path, arguments.latency_queries)
    engines = make_engines(arguments.model, threads)
    tokens = count_tokens(arguments.model, documents)

    seconds: dict[str, list[float]] = {name: [] for name, _, _ in engines}
    latencies: dict[str, list[float]] = {name: [] for name, _, _ in engines}
    for _, encode_documents, encode_query in engines:  # the first run is never typical
        encode_documents(documents[:8])
        encode_query(queries[0])
    for _ in range(arguments.rounds):
        for name, encode_documents, _ in engines:
            seconds[name].append(timed(lambda run=encode_documents: run(documents)))
        for query in queries:
            for name, _, encode_query in engines:
                latencies[name].append(timed(lambda run=encode_query, q=query: run(q)))

    print(
        f"{arguments.model.name}: {len(documents)} documents of {arguments.corpus}, "
        f"{tokens} tokens; "
        f"{len(queries)} queries; {threads} threads, {processor()}, load {os.getloadavg()[0]:.1f}, "
        f"best of {arguments.rounds} rounds\n"
    )
    print(table(tokens, seconds, latencies))


def make_engines(model: Path, threads: int) -> list[Engine]:
    """Everything that can encode with this folder; the slowest of users' habits first."""
    engines = torch_engines(model, threads)
    for precision in ("fp32", "int8"):
        try:
            encoder = Encoder(model, threads=threads, precision=precision)
        except ModelError as error:
            print(f"left out: gingham {precision}: {error}")
            continue
        engines.append((f"gingham, {precision}", encoder.encode_documents, encoder.encode_queries))
    return engines


def torch_engines(model: Path, threads: int) -> list[Engine]:
    if not (model / "model.safetensors").is_file():
        print("left out: sentence-transformers: no torch weights")
        return []
    import torch
    from sentence_transformers import MultiVectorEncoder

    torch.set_num_threads(threads)
    engines: list[Engine] = []
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        oracle = MultiVectorEncoder(str(model), device="cpu", model_kwargs={"dtype": kind})
        oracle.to(kind)
        engines.append(
            (
                f"sentence-transformers, {name}",
                lambda texts, o=oracle: o.encode_document(texts, show_progress_bar=False),
                lambda text, o=oracle: o.encode_query(text, show_progress_bar=False),
            )
        )
    return engines


def table(tokens: int, seconds: dict[str, list[float]], latencies: dict[str, list[float]]) -> str:
    base = min(next(iter(seconds.values())))
    lines = [
        "| engine | tokens/s | speed-up | one query, ms: median | best |",
        "|---|---|---|---|---|",
    ]
    for name, times in seconds.items():
        one = sorted(latencies[name])
        lines.append(
            f"| {name} | {tokens / min(times):,.0f} | {base / min(times):.1f} "
            f"| {1e3 * one[len(one) // 2]:.1f} | {1e3 * one[0]:.1f} |"
        )
    return "\n".join(lines)


def count_tokens(model: Path, documents: list[str]) -> int:
    return len(Encoder(model).tokenize_documents(documents).token_ids)


def read_texts(path: Path, count: int) -> list[str]:
    """The first texts of a BEIR file, titles in front."""
    texts = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            texts.append(f"{record.get('title') or ''} {record['text']}".strip())
            if len(texts) == count:
                break
    return texts


def timed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a MultiVectorEncoder folder")
    parser.add_argument("corpus", type=Path, help="a BEIR corpus.jsonl")
    parser.add_argument("--queries", type=Path, help="else queries.jsonl beside the corpus")
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--latency-queries", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    main()
