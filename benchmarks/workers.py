"""What two workers gain over one worker with one thread in the stages `frames` and `faces`.

    python -m benchmarks.workers [--quick] [--clips N]

N clips (24) of ten seconds, 8 frames of each. The stages run in this process, whose workers are kept: starting them and
loading the detector is left out.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path

import cv2

from benchmarks import measure
from benchmarks.study import drawn_clips, forget, prepare, stage_here

SECONDS = 10
STAGES = ("frames", "faces")
WORKERS = ("1", "2")


def empty(folders: Mapping[str, Path], name: str, workers: str) -> None:
    """Remove what a stage has made."""
    forget(folders[workers], name)


def main() -> None:
    given = measure.arguments(__doc__, ("clips", 24, "clips"))
    cv2.setNumThreads(1)
    rows = []
    with tempfile.TemporaryDirectory() as room:
        clips = Path(room) / "clips"
        drawn_clips(clips, 4 if given.quick else given.clips, SECONDS)
        folders = {count: Path(room) / count for count in WORKERS}
        for count, folder in folders.items():
            changes = {"source": "folder", "folder": {"path": str(clips)}, "frames": {"per_video": 8}}
            prepare(folder, changes | {"compute": {"workers": int(count)}})
            for name in ("videos", *STAGES):
                stage_here(folder, name)
        for name in STAGES:
            costs = measure.alternate(
                {count: functools.partial(stage_here, folder, name) for count, folder in folders.items()},
                given.rounds,
                before=functools.partial(empty, folders, name),
            )
            one, two = (costs[count] for count in WORKERS)
            seconds = [f"{measure.median(costs[count]):.2f}" for count in WORKERS]
            rows.append([name, *seconds, f"{measure.ratio(one, two):.2f}", f"{measure.ratio(two, one, 'cpu'):.2f}"])
    header = ["stage", "one worker, s", "two workers, s", "times as fast", "CPU seconds over those of one"]
    measure.report("workers", measure.table(header, rows), given.quick)


if __name__ == "__main__":
    main()
