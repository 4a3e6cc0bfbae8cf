"""gingham beside other late-interaction engines, on the same vectors: quality, time, size, build.

    python benchmarks/peers.py VECTORS_FOLDER --work FOLDER --passages 20000 \\
        --peer tachiom=envs/tachiom/bin/python --bits 1,2,4,8 --threads 1,2 --plot peers.svg

VECTORS_FOLDER is what `benchmarks/vectors.py` made. The first `--passages` passages of the datasets
are joined, the queries spread over the datasets that have a part in them. Every system runs in
processes of its own (see `peers/harness.py`): gingham and exact MaxSim by torch with this
interpreter, a peer with the one given for it. gingham is asked anew right after each peer, and a
ratio is to those answers, so a machine that grew slow meanwhile slows both.

Prints Markdown. Indexes and results stay in `--work`: a repeated command does only what is missing,
`--again NAME` does one anew.

Recall is the share of the 10 or 100 passages of the exact float32 ranking that are found. nDCG@10
is that of documents, by their best passage, over the queries that have a relevant document among
the joined passages.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham import kernels

FOLDER = Path(__file__).parent / "peers"
OURS = "gingham"
EXACT = "exact_torch"
ONE_SIZE = {EXACT: 16, "tachiom": 2}  # what they keep whatever bits are asked for
PEERS = ("tachiom", "fast_plaid", "colbert_plaid", "xtr_warp")
DEPTH = 100
QUERY_VECTORS = 32
TARGETS = (0.85, 0.90, 0.92, 0.95)

Int64 = npt.NDArray[np.int64]
Result = dict[str, Any]


# The data --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """The joined vectors, the exact rankings, and what is relevant."""

    folder: Path
    n_passages: int
    n_tokens: int
    documents: Int64
    truth: Int64
    qrels: Sequence[Mapping[int, int]]

    def recall(self, answers: Sequence[Sequence[int]], k: int) -> float:
        """Mean share of the exact k best that are among the first k of an answer."""
        shares = [
            len({*answer[:k]} & {*exact[:k].tolist()}) / len(exact[:k])
            for answer, exact in zip(answers, self.truth, strict=True)
        ]
        return float(np.mean(shares))

    def ndcg(self, answers: Sequence[Sequence[int]], k: int = 10) -> float:
        """Mean nDCG@k of the documents, as trec_eval computes it; NaN without judgements."""
        values = []
        for answer, grades in zip(answers, self.qrels, strict=True):
            if grades:
                ranked = list(dict.fromkeys(self.documents[np.asarray(answer, dtype=np.int64)]))
                best = sorted(grades.values(), reverse=True)
                found = [grades.get(int(document), 0) for document in ranked]
                values.append(_dcg(found[:k]) / _dcg(best[:k]))
        return float(np.mean(values)) if values else math.nan


def _dcg(grades: Sequence[int]) -> float:
    return sum(grade / math.log2(rank + 2) for rank, grade in enumerate(grades))


def join(source: Path, names: Sequence[str], n_passages: int, n_queries: int, work: Path) -> Data:
    """The data folder in `work`, made where it is not there yet."""
    folder = work / "data"
    asked = {"datasets": list(names), "passages": n_passages, "queries": n_queries}
    record = folder / "data.json"
    if record.exists():
        made = json.loads(record.read_text(encoding="utf-8"))
        if made["asked"] != asked:
            raise SystemExit(f"{work} holds results for {made['asked']}: use another --work")
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        made = {"asked": asked, **_join(source, names, n_passages, n_queries, folder)}
        record.write_text(json.dumps(made), encoding="utf-8")
    offsets = np.load(folder / "offsets.npy")
    return Data(
        folder,
        len(offsets) - 1,
        int(offsets[-1]),
        np.load(folder / "documents.npy"),
        np.load(folder / "truth.npy"),
        [{int(d): grade for d, grade in grades.items()} for grades in made["qrels"]],
    )


def _join(
    source: Path, names: Sequence[str], n_passages: int, n_queries: int, folder: Path
) -> dict[str, Any]:
    """Write the arrays of a data folder; returns what else has to be kept."""
    parts: list[tuple[str, int]] = []  # datasets, and how many passages of each
    left = n_passages
    for name in names:
        here = min(left, len(np.load(source / name / "offsets.npy")) - 1)
        if here:
            parts.append((name, here))
        left -= here
    lengths = [np.diff(np.load(source / name / "offsets.npy")[: n + 1]) for name, n in parts]
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    given = np.load(source / parts[0][0] / "values.npy", mmap_mode="r")
    values = np.lib.format.open_memmap(
        folder / "values.npy", "w+", given.dtype, (int(offsets[-1]), given.shape[1])
    )
    tokens = np.empty(len(values), dtype=np.uint32)
    documents: list[Int64] = []
    queries: list[npt.NDArray[np.float32]] = []
    qrels: list[dict[int, int]] = []
    first_token = first_document = 0
    for i, (name, count) in enumerate(parts):
        rows = slice(first_token, first_token + int(lengths[i].sum()))
        size = rows.stop - rows.start
        values[rows] = np.load(source / name / "values.npy", mmap_mode="r")[:size]
        tokens[rows] = np.load(source / name / "token_ids.npy", mmap_mode="r")[:size]
        owners = np.load(source / name / "documents.npy")[:count]
        documents.append(owners + first_document)
        known = json.loads((source / name / "names.json").read_text(encoding="utf-8"))
        number = {id: n for n, id in enumerate(known["documents"])}
        there = set(owners.tolist())
        judged = []
        for query in known["queries"]:
            grades = {number[d]: g for d, g in known["qrels"][query].items() if d in number}
            judged.append(
                {n + first_document: g for n, g in grades.items() if n in there and g > 0}
            )
        # Those first that have something to find; the sort keeps their order.
        order = sorted(range(len(judged)), key=lambda n: not judged[n])
        share = n_queries // len(parts) + (i < n_queries % len(parts))
        answerable = sum(map(bool, judged))
        pool = order[: max(share, answerable)]
        chosen = [pool[n * len(pool) // share] for n in range(share)] if len(pool) > share else pool
        queries.append(np.load(source / name / "queries.npy")[chosen][:, :QUERY_VECTORS])
        qrels += [judged[n] for n in chosen]
        first_token, first_document = rows.stop, first_document + len(known["documents"])
    values.flush()
    asked = np.ascontiguousarray(np.concatenate(queries).astype(np.float32))
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "token_ids.npy", tokens)
    np.save(folder / "documents.npy", np.concatenate(documents))
    np.save(folder / "queries.npy", asked)
    # float16 values become float32 without rounding, so this is exact MaxSim in float32.
    whole = np.load(folder / "values.npy")
    exact = [np.argsort(-kernels.score(q, whole, offsets), kind="stable")[:DEPTH] for q in asked]
    np.save(folder / "truth.npy", np.array(exact, dtype=np.int64))
    return {"parts": parts, "qrels": qrels}


# Running ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class System:
    """An adapter, the interpreter that runs it, and bits a dimension."""

    name: str
    python: str
    bits: int

    @property
    def label(self) -> str:
        return f"{self.name}-{self.bits}"


class Failed(Exception):
    """An adapter ended with an error; it has said which."""


@dataclass
class Bench:
    """Runs adapters, and remembers their results in the work folder."""

    data: Data
    work: Path
    build_threads: int

    def __post_init__(self) -> None:
        self.results = self.work / "results"
        self.results.mkdir(parents=True, exist_ok=True)

    def forget(self, names: Sequence[str]) -> None:
        """Remove results; gingham's also from beside the peers."""
        for file in self.results.glob("*.json"):
            name = file.name.split("-")[0]
            if name in names or (OURS in names and not file.name.endswith("-build.json")):
                file.unlink()

    def build(self, system: System) -> Result:
        """Make the index, where its result or itself is missing."""
        file = self.results / f"{system.label}-build.json"
        if not (file.exists() and self._index(system).exists()):
            self._run(system, file, self.build_threads, "--build", "--points", "[]")
        return _read(file)

    def search(self, system: System, threads: int, beside: Sequence[System]) -> Result:
        """Ask all points, and gingham's right after, where that has not been done."""
        file = self.results / f"{system.label}-t{threads}.json"
        labels = {other.label for other in beside}
        if not file.exists() or not labels <= _read(file).get("beside", {}).keys():
            self._run(system, file, threads)
            result = _read(file)
            result["beside"] = {}
            for other in beside:
                aside = self.results / f"{other.label}-aside.json"
                self._run(other, aside, threads)
                result["beside"][other.label] = _read(aside)
                aside.unlink()
            file.write_text(json.dumps(result), encoding="utf-8")
        return _read(file)

    def _index(self, system: System) -> Path:
        return self.work / "indexes" / system.label

    def _run(self, system: System, out: Path, threads: int, *extra: str) -> None:
        print(f"{out.stem}, {threads} threads …", file=sys.stderr, flush=True)
        command: list[str | Path] = [system.python, FOLDER / f"{system.name}_adapter.py"]
        command += [self.data.folder, self._index(system), "--threads", str(threads)]
        command += ["--bits", str(system.bits), "--out", out, *extra]
        if subprocess.run(command, stdout=sys.stderr).returncode:
            out.unlink(missing_ok=True)
            raise Failed(system.label)


def _read(file: Path) -> Result:
    result: Result = json.loads(file.read_text(encoding="utf-8"))
    return result


# Reporting -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One system on so many threads, with its build."""

    system: System
    threads: int
    build: Result
    search: Result

    @property
    def title(self) -> str:
        name = self.search["name"]
        exact = ", exact float32" if self.system.name == EXACT else ""
        return f"{name} {self.search['version']}{exact}"


def median(point: Mapping[str, Any]) -> float:
    """Milliseconds a query."""
    return float(np.median(point["ms"]))


def main_table(data: Data, measured: Sequence[Measured]) -> Iterator[str]:
    """Everything about every point."""
    yield (
        "| system | bits | bytes/token | threads | parameters | recall@10 | recall@100 | nDCG@10 "
        "| ms p50 | ms p95 | build s | build threads | build / gingham | MB on disk | resident MB |"
    )
    yield "|" + "---|" * 15
    ours = {m.system.bits: m.build for m in measured if m.system.name == OURS}
    for one in measured:
        size = one.build["bytes"]
        resident = one.search["rss_bytes"] - one.search["rss_before_bytes"]
        # The build of the same bits where there is one, else that of the most.
        base = ours.get(one.system.bits, ours.get(max(ours, default=0)))
        seconds, threads = one.build["build_s"], one.build["threads"]
        comparable = base and one.system.name != OURS and base["threads"] == threads
        ratio = f"{seconds / base['build_s']:.1f}" if base and comparable else ""
        for point in one.search["points"]:
            parameters = ", ".join(f"{k} {v}" for k, v in point["parameters"].items())
            cells = [
                one.title,
                str(one.system.bits),
                f"{size / data.n_tokens:.1f}",
                str(one.threads),
                parameters or "defaults",
                f"{data.recall(point['ids'], 10):.3f}",
                f"{data.recall(point['ids'], 100):.3f}",
                f"{data.ndcg(point['ids']):.3f}",
                f"{median(point):.2f}",
                f"{np.percentile(point['ms'], 95):.2f}",
                f"{seconds:.1f}",
                str(threads),
                ratio,
                f"{size / 1e6:.1f}",
                f"{resident / 1e6:.0f}",
            ]
            yield f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Curve:
    """The fastest way to each recall@10: points with both rising."""

    recalls: Sequence[float]
    ms: Sequence[float]

    @classmethod
    def of(cls, data: Data, result: Result) -> Curve:
        points = [(median(p), data.recall(p["ids"], 10)) for p in result["points"]]
        front: list[tuple[float, float]] = []
        for time, recall in sorted(points):
            if not front or recall > front[-1][1]:
                front.append((time, recall))
        return cls([recall for _, recall in front], [time for time, _ in front])

    def at(self, recall: float) -> float | None:
        """Milliseconds for a recall, linear in (recall, log ms); None beyond the best.

        Below the least recall of the front it is the time of that: nothing faster was measured.
        """
        if recall > self.recalls[-1] + 1e-9:
            return None
        return math.exp(float(np.interp(recall, self.recalls, np.log(self.ms))))


def speed_table(data: Data, measured: Sequence[Measured], bits: Sequence[int]) -> Iterator[str]:
    """Times at equal recall, of peers and of gingham as it was asked beside each."""
    heads = " | ".join(f"gingham {b} bits ms | ratio" for b in bits)
    yield f"| system | threads | recall@10 | ms | {heads} |"
    yield "|---|---|---|---|" + "---|---|" * len(bits)
    for one in measured:
        if one.system.name == OURS:
            continue
        theirs = Curve.of(data, one.search)
        best = theirs.recalls[-1]
        targets = [t for t in TARGETS if t <= best]
        if len(targets) < len(TARGETS):
            targets.append(best)  # the most that it reaches
        for target in targets:
            ms = theirs.at(target)
            assert ms is not None
            cells = [f"{one.title}, {one.system.bits} bits", str(one.threads)]
            cells += [f"{target:.3f}", f"{ms:.2f}"]
            for b in bits:
                result = one.search["beside"].get(f"{OURS}-{b}")
                our = None if result is None else Curve.of(data, result).at(target)
                cells += ["–", "–"] if our is None else [f"{our:.2f}", f"{ms / our:.1f}"]
            yield f"| {' | '.join(cells)} |"


def report(data: Data, measured: Sequence[Measured], bits: Sequence[int]) -> str:
    """Both tables as Markdown."""
    judged = sum(map(bool, data.qrels))
    lines = [
        f"{data.n_passages} passages, {data.n_tokens} tokens; {len(data.qrels)} queries, {judged} "
        f"with a relevant document; k = {DEPTH}.",
        "",
        *main_table(data, measured),
        "",
        "Milliseconds (median) at equal recall@10, by interpolation between the points of a system "
        "that no other of its points beats; its fastest point where that already exceeds the "
        "recall; where it does not reach the last of the recalls, a row at the most it reaches. "
        "Ratio: how many times faster gingham was, asked right after.",
        "",
        *speed_table(data, measured, bits),
    ]
    return "\n".join(lines) + "\n"


def plot(data: Data, measured: Sequence[Measured], path: Path) -> None:
    """recall@10 against the median time, a panel a number of threads."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    counts = sorted({m.threads for m in measured})
    figure, axes = pyplot.subplots(
        1, len(counts), figsize=(6 * len(counts), 4.5), sharey=True, squeeze=False
    )
    for axis, threads in zip(axes[0], counts, strict=True):
        for one in measured:
            if one.threads == threads:
                points = sorted(
                    (median(p), data.recall(p["ids"], 10)) for p in one.search["points"]
                )
                axis.plot(
                    [time for time, _ in points],
                    [recall for _, recall in points],
                    marker="o",
                    markersize=4,
                    linestyle="-" if one.system.name == OURS else "--",
                    label=f"{one.search['name']}, {one.system.bits} bits",
                )
        axis.set_xscale("log")
        axis.set_xlabel("ms a query, median")
        axis.set_title(f"{threads} thread{'s' if threads > 1 else ''}")
        axis.grid(alpha=0.3, which="both")
    axes[0][0].set_ylabel("recall@10 of exact MaxSim")
    axes[0][-1].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path)


# Command line ----------------------------------------------------------------------------------


def main() -> None:
    """Do what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("vectors", type=Path, help="folder of benchmarks/vectors.py")
    parser.add_argument("--work", type=Path, required=True, help="for data, indexes and results")
    parser.add_argument("--datasets", type=_names, help="in this order; default: all")
    parser.add_argument("--passages", type=int, default=sys.maxsize, help="default: all")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--bits", type=_numbers, default=[4], help="of gingham, default 4")
    parser.add_argument("--peer-bits", type=_numbers, default=[4], help="of the peers, default 4")
    parser.add_argument("--threads", type=_numbers, default=[1])
    parser.add_argument("--only", type=_names, help=f"of {OURS}, {EXACT} and the peers")
    parser.add_argument("--again", type=_names, default=[], help="names to do anew")
    parser.add_argument("--markdown", type=Path, help="also write the tables here")
    parser.add_argument("--plot", type=Path, help="for example peers.svg")
    arguments = parser.parse_args()
    pythons = {OURS: sys.executable, EXACT: sys.executable}
    for peer in arguments.peer:
        name, _, python = peer.partition("=")
        if name not in PEERS or not python:
            parser.error(f"--peer is NAME=PYTHON with a name of {', '.join(PEERS)}; got {peer}")
        pythons[name] = python
    wanted = list(pythons) if arguments.only is None else arguments.only
    if unknown := {*wanted, *arguments.again} - pythons.keys():
        parser.error(f"no interpreter for {', '.join(sorted(unknown))}: see --peer")

    found = sorted(file.parent.name for file in arguments.vectors.glob("*/names.json"))
    names = found if arguments.datasets is None else arguments.datasets
    if missing := set(names) - set(found):
        parser.error(f"{arguments.vectors} has no {', '.join(sorted(missing))}")
    data = join(arguments.vectors, names, arguments.passages, arguments.queries, arguments.work)
    bench = Bench(data, arguments.work, max(arguments.threads))
    bench.forget(arguments.again)
    ours = [System(OURS, pythons[OURS], bits) for bits in arguments.bits] if OURS in wanted else []
    systems = list(ours)
    for name in wanted:
        if name != OURS:
            sizes = [ONE_SIZE[name]] if name in ONE_SIZE else arguments.peer_bits
            systems += [System(name, pythons[name], bits) for bits in sizes]
    measured = []
    for system in systems:
        try:
            build = bench.build(system)
            for threads in arguments.threads:
                found_there = bench.search(system, threads, [] if system in ours else ours)
                measured.append(Measured(system, threads, build, found_there))
        except Failed as error:
            print(f"(left out: {error} failed)\n")
    for one in measured:
        recall = data.recall(one.search["points"][0]["ids"], DEPTH)
        if one.system.name == EXACT and recall < 0.99:
            print(f"(torch and gingham disagree on the exact rankings: {recall:.3f})\n")
    text = report(data, measured, arguments.bits)
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")
    if arguments.plot:
        plot(data, measured, arguments.plot)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in _names(text)]


if __name__ == "__main__":
    main()
