"""Are the results in the work tree those that git has? `.ci/run` asks after `make run`.

    python tests/compare_results.py            # compare
    python tests/compare_results.py --record   # say that the results to be committed are of this CPU

Parameters and data tables must be the same to the byte. On the kind of CPU that made the committed
results (metrics/cpu.txt) so must predictions and metrics; another kind rounds differently, training
amplifies it, and accuracy and AUC may move by TOLERANCE.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from pathlib import Path

TOLERANCE = 0.10
"""Largest change of accuracy or AUC between kinds of CPU; see docs/reproducibility.md."""
EXACT = ("params.yaml", "data/split.csv")
CPU = Path("metrics/cpu.txt")


def cpu_kind(cpuinfo: str) -> str:
    """What of a CPU decides how sums are rounded: model, cache, instructions. cpuinfo: as Linux tells it."""
    pairs = (line.split(":", 1) for line in cpuinfo.split("\n\n")[0].splitlines() if ":" in line)
    first = {key.strip(): value.strip() for key, value in pairs}
    names = ("vendor_id", "cpu family", "model", "model name", "stepping", "cache size")
    instructions = hashlib.sha256(" ".join(sorted(first.get("flags", "").split())).encode()).hexdigest()[:16]
    return "; ".join([*(f"{name} {first.get(name, 'unknown')}" for name in names), f"flags {instructions}"])


def this_cpu() -> str:
    """The kind of this machine's CPU, or of its system where Linux does not tell."""
    try:
        return cpu_kind(Path("/proc/cpuinfo").read_text())
    except OSError:
        return platform.platform()


def committed(path: str) -> bytes:
    """A file's bytes in the current commit."""
    return subprocess.run(["git", "show", f"HEAD:{path}"], capture_output=True, check=True).stdout


def differences(same_cpu: bool) -> list[str]:
    """One line for each figure that is not the committed one; on the same kind of CPU, for each file."""
    changed = subprocess.run(
        ["git", "diff", "--name-only", "HEAD", "--", *EXACT, "metrics", "predictions", "data"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    lines = [f"{path}: changed, and must not" for path in changed if path in EXACT or same_cpu]
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
    if "--record" in sys.argv[1:]:
        CPU.write_text(this_cpu() + "\n")
        sys.exit()
    same = committed(CPU.as_posix()).decode().strip() == this_cpu()
    print("The committed results are of", "this kind of CPU." if same else "another kind of CPU.")
    wrong = differences(same)
    if wrong:
        print(*wrong, sep="\n")
        sys.exit("FAILED: the results are not the committed ones within the documented tolerance.")
