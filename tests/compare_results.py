"""Are the results in the work tree those that git has? `.ci/run` asks after `make run`.

Parameters and data tables must be the same to the byte. Predictions and metrics must be the same
to the byte on the same kind of CPU; another kind rounds differently, training amplifies it, and a
probability of a metric may move by TOLERANCE.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TOLERANCE = 0.10
"""Largest change of accuracy or AUC between kinds of CPU; see docs/reproducibility.md."""
EXACT = ("params.yaml", "data/split.csv")


def committed(path: str) -> bytes:
    """A file's bytes in the current commit."""
    return subprocess.run(["git", "show", f"HEAD:{path}"], capture_output=True, check=True).stdout


def differences() -> list[str]:
    """One line for each figure that is not the committed one."""
    changed = subprocess.run(
        ["git", "diff", "--name-only", "HEAD", "--", *EXACT, "metrics", "predictions", "data"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    lines = [f"{path}: changed, and must not" for path in changed if path in EXACT]
    for path in changed:
        if not path.endswith(".json"):
            continue
        old, new = json.loads(committed(path)), json.loads(Path(path).read_text())
        if old.keys() != new.keys():
            lines.append(f"{path}: keys {sorted(old.keys() ^ new.keys())} are on one side only")
        for key in sorted(old.keys() & new.keys()):
            exact = key.startswith(("test_", "seeds"))
            allowed = 0.0 if exact else TOLERANCE if ("accuracy" in key or "auc" in key) else float("inf")
            if abs(old[key] - new[key]) > allowed:
                lines.append(f"{path}: {key} was {old[key]}, is {new[key]} (allowed: {allowed})")
    if changed:
        print("Not the same bytes as committed:", *changed, sep="\n  ")
    else:
        print("All results are the committed ones, byte for byte.")
    return lines


if __name__ == "__main__":
    wrong = differences()
    if wrong:
        print(*wrong, sep="\n")
        sys.exit("FAILED: the results are not the committed ones within the documented tolerance.")
