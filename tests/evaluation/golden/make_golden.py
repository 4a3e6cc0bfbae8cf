"""Make the files of this folder: judgements and runs that are hard to rank, and trec_eval's values.

    python tests/evaluation/golden/make_golden.py PATH_OF_TREC_EVAL

They were made with trec_eval 9.0.4 (https://github.com/usnistgov/trec_eval). The inputs are random
with a fixed seed: running this again must change nothing.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
# Byte order, code-point order, UTF-16 order and the order of any language differ among these.
DOCUMENTS = (
    [f"d{n:02}" for n in range(40)]
    + [f"D{n:02}" for n in range(20)]
    + [str(n) for n in range(5, 15)]
    + [
        "é",
        "e",
        "E",
        "z",
        "Z",
        "Ω",
        "日本",
        "\uff5e",
        "\U0001d4b3",
        "a-b",
        "a_b",
        "a.b",
        "ab",
    ]
)
QUERIES = [f"q{n}" for n in range(1, 15)] + ["Q1", "ü", "7"]
FAR = ["unjudged1", "unjudged2"]
KEPT = re.compile(
    r"map|recip_rank|Rprec|bpref|infAP|ndcg|num_q|num_ret|num_rel|num_rel_ret|set_P|set_recall|set_map"
    r"|set_F|(P|recall|ndcg_cut|map_cut|success)_(1|5|10|100|1000)|iprec_at_recall_(0.00|0.10|1.00)"
)
ASKED = {
    "": ["-m", "all_trec"],
    "recall_50": ["-m", "recall.50"],
    "RR@10": ["-M", "10", "-m", "recip_rank"],
    "AP(rel=2)": ["-l", "2", "-m", "map"],
    "P(judged_only=True)@5": ["-J", "-m", "P.5"],
}


def make_qrels(random_: random.Random) -> list[str]:
    lines = []
    for query in QUERIES:
        grades = [0, 0, 1, 2, 3, -1]
        if query in ("q3", "7"):
            grades = [0]  # nothing relevant
        if query == "q4":
            grades = [0, -1, -2]
        for document in random_.sample(DOCUMENTS, random_.randint(5, 40)):
            lines.append(f"{query} 0 {document} {random_.choice(grades)}")
    return lines


def make_run(random_: random.Random, scores: list[str], shuffled: bool) -> list[str]:
    missing = random_.sample(QUERIES, 3)
    lines = []
    for query in [*(q for q in QUERIES if q not in missing), *FAR]:
        found = random_.sample(DOCUMENTS, random_.choice([1, 8, 30, len(DOCUMENTS)]))
        for rank, document in enumerate(found, 1):
            lines.append(f"{query} Q0 {document} {rank} {random_.choice(scores)} golden")
    if shuffled:
        random_.shuffle(lines)
        lines = [random_.choice([line, line.replace(" ", "\t"), f"  {line} "]) for line in lines]
    return lines


def make_runs(random_: random.Random) -> dict[str, list[str]]:
    exponents = range(-6, 7)
    return {
        "ties": make_run(random_, ["3", "2", "1", "0", "-1"], False),
        "float32": make_run(
            random_,
            ["16777216", "16777217", "16777218", "0.1", "0.1000000001", "0.10000001", "-0.0", "0"],
            False,
        ),
        "shuffled": make_run(
            random_,
            [f"{random_.uniform(-9, 9):.3f}e{random_.choice(exponents)}" for _ in range(60)],
            True,
        ),
    }


def ask(trec_eval: str, qrels: Path, run: Path) -> list[str]:
    lines = []
    for name, options in ASKED.items():
        command = [trec_eval, "-c", "-q", *options, str(qrels), str(run)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for line in output.splitlines():
            measure, query, value = line.split()
            if name or KEPT.fullmatch(measure):
                lines.append(f"{name or measure}\t{query}\t{value}")
    return lines


def refusal(trec_eval: str, qrels: Path, run: Path) -> dict[str, str | int]:
    done = subprocess.run(
        [trec_eval, "-m", "map", str(qrels), str(run)], capture_output=True, text=True
    )
    return {"exit": done.returncode, "message": done.stderr, "output": done.stdout}


def write(name: str, lines: list[str]) -> Path:
    path = HERE / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    return path


def main() -> None:
    trec_eval = sys.argv[1]
    random_ = random.Random(20)
    judged = make_qrels(random_)
    qrels = write("qrels.txt", judged)
    for name, lines in make_runs(random_).items():
        run = write(f"{name}.run", lines)
        write(f"{name}.expected", ask(trec_eval, qrels, run))
    # A line again, with another score or grade; of a query that has both.
    run = HERE / "ties.run"
    found = run.read_text(encoding="utf-8").splitlines()
    query, _, document, *_ = found[2].split()
    twice = write("twice.run", [*found, f"{query} Q0 {document} 1 0.5 golden"])
    document = next(line.split()[2] for line in judged if line.startswith(f"{query} "))
    twice_judged = write("twice_qrels.txt", [*judged, f"{query} 0 {document} 7"])
    refused = {
        twice.name: refusal(trec_eval, qrels, twice),
        twice_judged.name: refusal(trec_eval, twice_judged, run),
    }
    write("refused.json", json.dumps(refused, indent=2).splitlines())


if __name__ == "__main__":
    main()
