"""Hurt the study in every way and print what came of it.

    python -m tests.faults [--kills 50] [--at-once 2] [--seed 1] [--cases kills,ctrl_c,disk,…] [--write]

Exits with 1 when a try was lost. With --write the table becomes metrics/faults.csv (`make faults`).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from tests.faults.cases import CASES, MOUNTING, Bench, ctrl_c, kills
from tests.faults.harness import pristine


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", default=",".join(["kills", "ctrl_c", *CASES]))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    # A job in the background ignores Ctrl-C, and so would the runs that are to be hurt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    start = time.monotonic()
    rows = []
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        bench = Bench(pristine(Path(name) / "pristine"), Path(name))
        print(f"an undisturbed run takes {bench.seconds:.0f} s and leaves {len(bench.expected)} files", flush=True)
        for case in options.cases.split(","):
            if case in MOUNTING and os.geteuid() != 0:
                print(f"{case} is left out: it mounts file systems, which root alone may", flush=True)
                continue
            if case == "kills":
                found = kills(bench, options.kills, options.seed, options.at_once)
            elif case == "ctrl_c":
                found = ctrl_c(bench, options.seed)
            else:
                found = CASES[case](bench)
            for title, problems in found:
                rows.append({"case": title, "lost": bool(problems)})
                print(f"{time.monotonic() - start:6.0f} s  {title}: {'; '.join(problems) or 'survived'}", flush=True)
    table = pd.DataFrame(rows).groupby("case", sort=False)["lost"].agg(tries="size", lost="sum").reset_index()
    table.insert(2, "survived", table["tries"] - table["lost"])
    print(table.to_string(index=False))
    if options.write:
        table.to_csv("metrics/faults.csv", index=False, lineterminator="\n")
    sys.exit(bool(table["lost"].any()))


if __name__ == "__main__":
    main()
