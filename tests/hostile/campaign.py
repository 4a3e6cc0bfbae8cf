"""Do every attack to every file of small collections, and count what becomes of them.

`PYTHONPATH=tests python -m hostile.campaign [--every N] [--only KIND]`; `make hostile` runs all.
Each damaged copy is read, then written to, in a child process with a limit of time and memory.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from hostile.attacks import Attack, Expect, attacks_on
from hostile.specimens import (
    KINDS,
    LOG,
    Answer,
    Fate,
    Specimen,
    examined,
    in_a_child,
    make,
    reading,
)

GOOD = ("refused", "right", "found by verify", "survived")
BAD = ("wrong, unnoticed", "let pass", "other exception", "crash", "hang", "touched outside")
PRECIOUS = b"mine"


def attempt(specimen: Specimen, attack: Attack, room: Path) -> tuple[str, str]:
    """Damage a copy, ask it; what became of it and, where that is bad, how."""
    copy, outside = room / "copy", room / "outside"
    for folder in (copy, copy.with_name("copy written")):
        shutil.rmtree(folder, ignore_errors=True)
    outside.mkdir(exist_ok=True)
    (outside / "precious").write_bytes(PRECIOUS)
    shutil.copytree(specimen.path, copy)
    attack.apply(copy / attack.file)
    target = outside / "target"
    before = _contents(target)
    fate = in_a_child(reading if specimen.kind == LOG else examined, copy)
    if not (outside / "precious").is_file() or _contents(target) != before:
        return "touched outside", "a file outside the collection was changed"
    if (outside / "precious").read_bytes() != PRECIOUS:
        return "touched outside", "a file outside the collection was changed"
    return judged(fate, attack.expect, specimen.states)


def _contents(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file): file.read_bytes() for file in files}


def judged(fate: Fate, expect: Expect, states: Iterable[list[Answer]]) -> tuple[str, str]:
    """What became of a collection, one of `GOOD` or `BAD`, and the reason."""
    if fate.end:
        return ("hang" if fate.end == "hang" else "crash"), fate.end
    others = [answer for answer in fate.answers if answer[1] == "other"]
    if others:
        return "other exception", f"{others[0][0]}: {others[0][2]}"[:300]
    errors = [answer for answer in fate.answers if answer[1] == "error"]
    if expect is Expect.SURVIVED:
        return ("refused" if errors else "survived"), ""
    if expect is Expect.ERROR and not errors:
        return "let pass", "no error"
    wrong: list[Answer] = []
    for state in states:
        right = {answer[0]: answer[2] for answer in state}
        if any(name in ("open to write", "add", "delete") for name, _, _ in errors):
            right.pop("search again", None)  # what was not written cannot be found
        wrong = [a for a in fate.answers if a[1] == "ok" and right.get(a[0], a[2]) != a[2]]
        if not wrong:
            return ("refused" if errors else "right"), ""
    if any(name.startswith(("verify", "open")) for name, _, _ in errors):
        return "found by verify", ""
    return "wrong, unnoticed", f"{wrong[0][0]}: {wrong[0][2]}"[:300]


def campaign(
    room: Path, kinds: Iterable[str], every: int = 1, seed: int = 0
) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Attack collections of these kinds, with one of `every` attacks of each group.

    Returns:
        How often each group had each end, and a line for each that was bad.
    """
    counts: Counter[tuple[str, str]] = Counter()
    bad: list[str] = []
    met: Counter[str] = Counter()
    for kind in kinds:
        folder = room / kind.replace(" ", "-")
        specimen = make(kind, folder)
        for attack in _attacks(specimen, folder / "outside", seed):
            met[attack.group] += 1
            if (met[attack.group] + seed) % every:
                continue
            end, reason = attempt(specimen, attack, folder)
            counts[attack.group, end] += 1
            if end in BAD:
                bad.append(f"{end}: {kind}, {attack.file}, {attack.group} {attack.name}: {reason}")
        shutil.rmtree(folder)
    return counts, bad


def _attacks(specimen: Specimen, outside: Path, seed: int) -> Iterator[Attack]:
    """Of a log only what a reader opens; every cell of the catalog for two kinds."""
    for attack in attacks_on(specimen.path, specimen.other, outside, seed=seed):
        unread = attack.file in ("write.lock", "codebooks") or attack.group == "catalog schema"
        if specimen.kind == LOG and (unread or "garbage" in attack.name):
            continue
        if specimen.kind not in ("int8", "bits 4") and attack.group == "catalog cell":
            continue
        yield attack


def table(counts: Counter[tuple[str, str]]) -> str:
    """The counts as lines."""
    ends = [end for end in (*GOOD, *BAD) if any(e == end for _, e in counts)]
    ends += [end for end in BAD if end not in ends]
    groups = sorted({group for group, _ in counts})
    rows = [["attack", "tried", *ends]]
    for group in groups:
        found = [counts[group, end] for end in ends]
        rows.append([group, str(sum(found)), *map(str, found)])
    sums = [sum(counts[group, end] for group in groups) for end in ends]
    rows.append(["all", str(sum(sums)), *map(str, sums)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="try one of so many attacks")
    parser.add_argument("--seed", type=int, default=0, help="of random bytes and places")
    parser.add_argument("--only", choices=[*KINDS, LOG], help="one kind of collection")
    given = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as room:
        kinds = [given.only] if given.only else [*KINDS, LOG]
        counts, bad = campaign(Path(room), kinds, given.every, given.seed)
    print("\n".join(bad[:200]))
    print(table(counts))
    print(
        f"{sum(counts.values())} damaged collections in {time.perf_counter() - start:.0f} s, "
        f"{len(bad)} of them as they must not be"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
