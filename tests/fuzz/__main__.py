"""The command: every target in a process of its own, a table, exit code 1 on a violation."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.rules import PEAK_MB, SLOW_S, Report, Target, run
from tests.fuzz.targets import TARGETS

STUCK_S = 6 * SLOW_S
"""After so long with one input, in code that no signal ends, a target is killed."""


def work(name: str, count: int, seed: int, place: Path, answer: Connection) -> None:
    """Run one target in a folder of its own, where nothing may appear outside `stage`."""
    os.chdir(place / "elsewhere")
    os.environ |= {"HOME": str(place / "elsewhere"), "TMPDIR": str(place / "elsewhere")}
    tempfile.tempdir = None
    report = run(name, TARGETS[name][0](place / "stage"), count, seed, place / "stage")
    found = [str(path.relative_to(place)) for path in (place / "elsewhere").rglob("*")]
    if found and not report.violation:
        report.violation = f"files outside the stage's folder: {', '.join(found[:5])}"
    answer.send(report)


def supervise(name: str, count: int, seed: int) -> Report:
    """A target's report, also when it takes its process down or never comes back."""
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        for folder in ("stage", "elsewhere"):
            (place / folder).mkdir()
        receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        process = multiprocessing.get_context("fork").Process(target=work, args=(name, count, seed, place, sender))
        process.start()
        sender.close()
        started = time.monotonic()
        report = Report(name)
        current = place / "stage/input"
        while not receiver.poll(0.5):
            touched = current.stat().st_mtime if current.exists() else time.time()
            if time.time() - touched > STUCK_S:
                process.kill()
                report.violation = f"not back after {STUCK_S:g} s"
                break
        try:
            report = receiver.recv()
        except EOFError:
            process.join()
            report.violation = report.violation or f"the interpreter ended with code {process.exitcode}"
            report.seconds = time.monotonic() - started
            if current.exists():
                report.violation += f"\n    input: {current.read_bytes()[:2000]!r}"
        process.join()
        # The largest of all children so far, their own children among them: a bound for this one.
        after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        report.peak_mb = max(before, after) / (2**20 if sys.platform == "darwin" else 2**10)
        if report.peak_mb > PEAK_MB and not report.violation:
            report.violation = f"{report.peak_mb:.0f} MB of memory"
        return report
    finally:
        shutil.rmtree(place, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=TARGETS, action="append", help="one or more, default all")
    options = parser.parse_args()
    sys.dont_write_bytecode = True
    names = options.target or list(TARGETS)
    with tempfile.TemporaryDirectory() as folder:  # Hypothesis reads all of the code once, before the processes part
        run("none", Target(st.text(), str), 1, 1, Path(folder))
    shares = sum(TARGETS[name][1] for name in names)
    print(f"{'target':<15}{'inputs':>7}{'seconds':>9}{'slowest s':>11}{'peak MB':>9}  outcomes", flush=True)
    reports = []
    for name in names:
        count = -(-options.inputs * TARGETS[name][1] // shares)
        report = supervise(name, count, options.seed)
        reports.append(report)
        outcomes = ", ".join(f"{number} {word}" for word, number in sorted(report.outcomes.items()))
        figures = f"{report.inputs:>7}{report.seconds:>9.0f}{report.slowest_s:>11.2f}{report.peak_mb:>9.0f}"
        print(f"{name:<15}{figures}  {outcomes}", flush=True)
    broken = [report for report in reports if report.violation]
    total, seconds = sum(report.inputs for report in reports), sum(report.seconds for report in reports)
    print(f"{total} inputs in {seconds:.0f} s, seed {options.seed}: {len(broken)} violations")
    for report in broken:
        print(f"  {report.target}: {report.violation}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
