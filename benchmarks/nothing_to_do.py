"""What `dvc repro` takes when nothing is to be done, over `dvc status`.

    python -m benchmarks.nothing_to_do [--quick]

In the current folder, whose study must be finished.
"""

from __future__ import annotations

import functools
import subprocess
import sys

from benchmarks import measure

WAYS = {"repro": ("repro",), "status": ("status",)}


def dvc(*options: str) -> str:
    """Run DVC in a process of its own; end the program with its words when it fails."""
    done = subprocess.run([sys.executable, "-m", "dvc", *options], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def main() -> None:
    given = measure.arguments(__doc__)
    said = dvc("status")
    if "up to date" not in said:
        sys.exit(f"The study in this folder is not finished (`make run`):\n{said}")
    costs = measure.alternate({name: functools.partial(dvc, *options) for name, options in WAYS.items()}, given.rounds)
    row = [
        *(f"{measure.median(costs[name]):.2f}" for name in WAYS),
        f"{measure.ratio(costs['repro'], costs['status']):.2f}",
    ]
    measure.report("nothing_to_do", measure.table(["`dvc repro`, s", "`dvc status`, s", "ratio"], [row]), given.quick)


if __name__ == "__main__":
    main()
