"""Fuzz the readers with atheris, guided by the coverage of gingham's Python code.

`PYTHONPATH=tests python -m hostile.fuzz --seconds 60 [--target NAME] [--seed 1]`; `make fuzz` does.
Each target runs in a process of its own, since libFuzzer ends it. Kept seeds lie in `seeds/`; what
is found is written to `findings/`, where `test_fuzz.py` replays it for ever.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FunctionType

HERE = Path(__file__).parent
SEEDS, FINDINGS = HERE / "seeds", HERE / "findings"
NAMES = ("arrays", "catalog", "where", "parameters", "vectors", "jsonl", "csv", "tsv")
_DONE = re.compile(rb"Done (\d+) runs in (\d+) second")
_LEAVING, _PATIENCE = 5.0, 120.0  # seconds for a process to end, and for a target beyond its time
_COVERED = re.compile(rb"cov: (\d+)")


def fuzz(name: str, seconds: float, seed: int, findings: Path) -> tuple[int, int, bytes]:
    """Run a target in a child.

    Returns:
        How often it was called, how many branches were covered, and the report of a finding.
    """
    findings.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "hostile.fuzz", "--inside", name, "--seconds", str(seconds)),
        *("--seed", str(seed), "--findings", str(findings)),
    ]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        deadline = time.monotonic() + seconds + _PATIENCE
        while True:
            try:
                status = child.wait(timeout=_LEAVING)
            except subprocess.TimeoutExpired:
                # Rarely libFuzzer ends its work, says so, and its process does not go.
                said = os.pread(output.fileno(), 1 << 24, 0)
                if not _DONE.search(said) and time.monotonic() < deadline:
                    continue
                child.kill()
                child.wait()
                status = 0 if _DONE.search(said) else -1
            break
        said = os.pread(output.fileno(), 1 << 24, 0)
    done = _DONE.search(said)
    covered = [int(count) for count in _COVERED.findall(said)]
    report = b"" if status == 0 and done else b"ended with %d\n" % status + said[-6000:]
    return int(done[1]) if done else 0, max(covered, default=0), report


def _inside(name: str, seconds: float, seed: int, findings: Path) -> None:
    import atheris

    from hostile import targets

    targets.TARGETS[name](b"{}" * 100)  # imports what it needs
    # Not `instrument_imports`: it does not see through the loader of an editable installation.
    for function in gc.get_objects():
        module = getattr(function, "__module__", None) or ""
        if isinstance(function, FunctionType) and module.startswith("gingham"):
            atheris.instrument_func(function)
    if name in ("arrays", "catalog"):
        targets.forget_all_digests()
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(targets.made_seeds(name)):
            Path(folder, f"made-{number}").write_bytes(content)
        kept = [str(place / name) for place in (SEEDS, FINDINGS) if (place / name).is_dir()]
        options = [f"-max_total_time={seconds:.0f}", f"-seed={seed}", "-timeout=20"]
        options += ["-max_len=4096", "-rss_limit_mb=3000", f"-artifact_prefix={findings}/{name}-"]
        atheris.Setup([name, *options, folder, *kept], targets.TARGETS[name])
        atheris.Fuzz()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--target", choices=NAMES, help="one target")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer")
    parser.add_argument("--findings", type=Path, default=FINDINGS, help="where to write them")
    parser.add_argument("--inside", choices=NAMES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        _inside(given.inside, given.seconds, given.seed, given.findings)
        return 0
    total = bad = 0
    for name in [given.target] if given.target else NAMES:
        runs, covered, report = fuzz(name, given.seconds, given.seed, given.findings)
        total += runs
        print(f"{name:<10}  {runs:>9} executions, {covered:>5} edges covered", flush=True)
        if report:
            bad += 1
            print(report.decode(errors="replace"))
    print(f"{total} executions, {bad} targets with findings")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
