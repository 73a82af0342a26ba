"""What finding faces costs, against the package mtcnn by itself: as the earlier study used it, and in batches of 8.

    python -m benchmarks.faces [--quick] [--frames N]

The videos below $FACESTUDY_TEST_DATA/videos, at most N frames of each (24). "Clips" are all frames of all clips: the
stage `faces` in a new process each round, start-up included. "720p" are the frames of the clips of that size: the
stage in this process, whose workers are kept, so without start-up. The earlier study made a new detector for each
picture; it gets one frame of each clip a round, another one each time, and its time is scaled to all frames. One
detector with batches of 8 gets the first 8 frames of each clip, scaled in the same way. Both search the full size and
use all cores.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import measure
from benchmarks.mtcnn_alone import BATCHES, STUDY, Alone
from benchmarks.study import forget, prepare, stage, stage_here
from facestudy.faces.detection import intersection_over_union

BATCH = 8
SAME = 0.6
"""Boxes with such an intersection over union show the same face."""
HD = {(1280, 720), (720, 1280)}


class Search:
    """The frames of a study, searched by the stage and by mtcnn alone."""

    def __init__(self, folder: Path, videos: Path, per_video: int) -> None:
        self.folder = folder
        self.whole = {"source": "folder", "folder": {"path": str(videos)}, "frames": {"per_video": per_video}}
        prepare(folder, self.whole)
        for name in ("videos", "frames"):
            stage(folder, name)
        index = pd.read_csv(folder / "data/frames/index.csv")
        self.frames = [
            list(zip(rows["frame_id"], (folder / "data/frames" / path for path in rows["path"]), strict=True))
            for _, rows in index.groupby("video_id")
        ]
        self.count = len(index)
        self.asked: dict[str, list[float] | None] = {}

    def by_stage(self, run: Callable[[Path, str], None]) -> float:
        """Return the seconds of the stage with an empty work cache."""
        forget(self.folder, "faces")
        start = time.perf_counter()
        run(self.folder, "faces")
        return time.perf_counter() - start

    def as_study(self, alone: Alone, turn: int) -> float:
        """Return the seconds for all frames, from one of each clip; keep the faces found."""
        chosen = [clip[turn * len(clip) // measure.ROUNDS] for clip in self.frames]
        start = time.perf_counter()
        found = alone.search(STUDY, [[path] for _, path in chosen])
        seconds = time.perf_counter() - start
        self.asked |= {frame: box for (frame, _), box in zip(chosen, found, strict=True)}
        return seconds * self.count / len(chosen)

    def in_batches(self, alone: Alone) -> float:
        """Return the seconds for all frames, from the first batch of each clip."""
        batches = [[path for _, path in clip[:BATCH]] for clip in self.frames]
        start = time.perf_counter()
        alone.search(BATCHES, batches)
        return (time.perf_counter() - start) * self.count / sum(map(len, batches))

    def agreement(self) -> tuple[int, int]:
        """Count the frames in which the study's way finds a face, and those in which the stage has the same."""
        table = pd.read_csv(self.folder / "data/faces/index.csv").set_index("frame_id")
        boxes = {frame: tuple(row) for frame, *row in table[["x", "y", "w", "h"]].itertuples()}
        theirs = {frame: box for frame, box in self.asked.items() if box is not None}
        same = [
            frame in boxes and intersection_over_union(boxes[frame], tuple(box)) > SAME for frame, box in theirs.items()
        ]
        return len(theirs), sum(same)


def row(
    title: str, search: Search, rounds: int, run: Callable[[Path, str], None], alone: Alone, start_s: float
) -> Sequence[str]:
    """Measure in rounds; the cells of a row. start_s: what mtcnn alone is charged for its start."""
    found = np.array(
        [
            [search.by_stage(run), search.as_study(alone, turn) + start_s, search.in_batches(alone) + start_s]
            for turn in range(rounds)
        ]
    )
    ours, study, batches = np.median(found, axis=0)
    theirs, same = search.agreement()
    return [
        title,
        str(search.count),
        *(f"{1000 * seconds / search.count:.1f}" for seconds in (ours, study, batches)),
        f"{np.median(found[:, 1] / found[:, 0]):.1f}",
        f"{np.median(found[:, 2] / found[:, 0]):.1f}",
        f"{same} of {theirs}",
    ]


def main() -> None:
    given = measure.arguments(__doc__, ("frames", 24, "frames of each clip"))
    data = measure.test_data("videos")
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        if given.quick:  # the smallest clip of each class
            for label in ("real", "fake"):
                (room / "few" / label).mkdir(parents=True)
                smallest = min(data.glob(f"{label}/*.mp4"), key=lambda clip: clip.stat().st_size)
                shutil.copy(smallest, room / "few" / label)
            data = room / "few"
        whole = Search(room / "whole", data, 2 if given.quick else given.frames)
        alone = Alone(whole.frames[0][0][1])
        rows = [row("clips", whole, given.rounds, stage, alone, alone.start_s)]
        if not given.quick:
            table = pd.read_csv(room / "whole/data/videos/index.csv")
            for path in table["path"][[size in HD for size in zip(table["width"], table["height"], strict=True)]]:
                (room / "hd" / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(data / path, room / "hd" / path)
            search = Search(room / "large", room / "hd", given.frames)
            search.by_stage(stage_here)  # the workers are there then
            rows.append(row("720p", search, given.rounds, stage_here, alone, 0))
        alone.child.end()
    header = [
        "frames", "number", "stage, ms a frame", "study's way", f"batches of {BATCH}",
        "study's way over stage", "batches over stage", "same largest face",
    ]  # fmt: skip
    measure.report("faces", measure.table(header, rows), given.quick)


if __name__ == "__main__":
    main()
