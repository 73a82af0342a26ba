"""How the memory of the stages grows with the number of videos: the peak with N videos and with a tenth of them.

    python -m benchmarks.memory [--quick] [--clips N]

N clips (100) of a second, eight frames of each: with fewer, the stage `crops` would not start worker processes for a
tenth of the clips. Each stage runs in a process of its own and is measured as by `make profile`: the anonymous memory
of this process and of those that it starts. The decoded crops that `train` maps are not anonymous.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.study import command, drawn_clips, environment, forget, prepare, stage
from commands.profile import measured

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


def peak_mb(folder: Path, name: str) -> float:
    """Run a stage without its work cache, and return the peak of its memory, in units of 2**20 bytes."""
    options, made = MEASURED[name]
    forget(folder, *made)
    return measured(command(name, *options), folder, environment()).peak_bytes / 2**20


def main() -> None:
    given = measure.arguments(__doc__, ("clips", 100, "clips"))
    count = FEWEST + 4 if given.quick else given.clips
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        folders = []
        for number in (max(FEWEST, count // 10), count):
            clips, folder = room / f"{number}-clips", room / f"{number}"
            drawn_clips(clips, number, 1)
            changes = {"source": "folder", "folder": {"path": str(clips)}, "duplicates": {"max_distance": None}}
            changes |= {"frames": {"per_video": 8}}
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
