"""How the memory of the stages grows with the number of videos: the peak with N videos and with a tenth of them.

    python -m benchmarks.memory [--quick] [--clips N]

N clips (100) of a second. Each stage runs in a process of its own; its memory is the anonymous memory of this process
and those that it starts, summed, looked at every 20 milliseconds. The decoded crops that `train` maps are not
anonymous. Linux only.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks import measure
from benchmarks.study import command, drawn_clips, environment, forget, prepare, stage

EVERY_S = 0.02
FEWEST = 8
"""Clips that a split needs."""
CELL = ("full", "mesonet")
MEASURED = {
    "frames": ((), ("frames",)),
    "faces": ((), ("faces",)),
    "crops": (("--variant", CELL[0]), ("crops",)),
    "train": (("--variant", CELL[0], "--model", CELL[1]), ("train",)),
}
"""Options of a stage, and what it must make again."""


def anonymous_mb(process: psutil.Process) -> float:
    """Return the anonymous memory of a process and those below it, in units of 2**20 bytes."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{one.pid}/status").read_text())
            total += int(found[1]) if found else 0
    except (psutil.NoSuchProcess, OSError):  # it has ended meanwhile
        pass
    return total / 1024


def peak_mb(folder: Path, name: str) -> float:
    """Run a stage without its work cache, and return the peak of its memory."""
    options, made = MEASURED[name]
    forget(folder, *made)
    started = subprocess.Popen(
        command(name, *options), cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    process, peak = psutil.Process(started.pid), 0.0
    while started.poll() is None:
        peak = max(peak, anonymous_mb(process))
        time.sleep(EVERY_S)
    if started.returncode:
        sys.exit(f"{name} failed")
    return peak


def main() -> None:
    given = measure.arguments(__doc__, ("clips", 100, "clips"))
    if not Path("/proc/self/status").is_file():
        sys.exit("the memory of processes is read from /proc, which this system lacks")
    count = FEWEST + 4 if given.quick else given.clips
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        folders = []
        for number in (max(FEWEST, count // 10), count):
            clips, folder = room / f"{number}-clips", room / f"{number}"
            drawn_clips(clips, number, 1)
            changes = {"source": "folder", "folder": {"path": str(clips)}, "duplicates": {"max_distance": None}}
            trained = {"epochs": 2, "warmup_epochs": 0, "schedule": "constant"}
            prepare(folder, changes | {"seeds": [1, 2], "variants": [CELL[0]], "models": {CELL[1]: trained}})
            for one in ("videos", "frames", "faces", "duplicates", "split"):
                stage(folder, one)
            for one in ("crops", "altered"):
                stage(folder, one, "--variant", CELL[0])
            folders.append(folder)
        rows = []
        for one in MEASURED:
            peaks = np.array([[peak_mb(folder, one) for folder in folders] for _ in range(given.rounds)])
            few, many = np.median(peaks, axis=0)
            rows.append([one, f"{few:.0f}", f"{many:.0f}", f"{np.median(peaks[:, 1] / peaks[:, 0]):.2f}"])
    header = ["stage", f"{folders[0].name} clips, MiB", f"{folders[1].name} clips, MiB", "ratio"]
    measure.report("memory", measure.table(header, rows), given.quick)


if __name__ == "__main__":
    main()
