"""What one more clip costs: the stages `frames` and `faces` with one clip more than before, over all of them.

    python -m benchmarks.one_more [--quick] [--clips N]

N clips (200) of ten seconds, then one more. The stages run in this process, whose workers are kept: their own work.
Their start-up and what DVC takes for their outputs are reported apart.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import measure
from benchmarks.study import drawn_clips, forget, prepare, stage, stage_here

SECONDS = 10
STAGES = ("frames", "faces")


def both(folder: Path) -> None:
    for name in STAGES:
        stage_here(folder, name)


def apart(folder: Path) -> None:
    for name in STAGES:
        stage(folder, name)


def dvc(folder: Path, *options: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *options], cwd=folder, check=True, capture_output=True)


def main() -> None:
    given = measure.arguments(__doc__, ("clips", 200, "clips before the one more"))
    count = 4 if given.quick else given.clips
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        clips, folder = room / "clips", room / "study"
        drawn_clips(clips, count + 1, SECONDS)
        (more,) = clips.glob(f"*/c{count:04d}.mp4")
        prepare(folder, {"source": "folder", "folder": {"path": str(clips)}})
        dvc(folder, "init", "--no-scm", "--quiet")
        stage(folder, "videos")
        both(folder)  # the workers are there then
        costs: dict[str, list[measure.Cost]] = {part: [] for part in ("whole", "more", "again", "started", "dvc")}
        work = functools.partial(both, folder)
        for _ in range(given.rounds):
            more.rename(room / "aside.mp4")
            stage_here(folder, "videos")
            forget(folder, *STAGES)
            costs["whole"].append(measure.cost(work))
            add = functools.partial(dvc, folder, "add", "--quiet", *(f"data/{one}" for one in STAGES))
            add()
            (room / "aside.mp4").rename(more)
            stage_here(folder, "videos")
            costs["more"].append(measure.cost(work))
            costs["dvc"].append(measure.cost(add))
            costs["again"].append(measure.cost(work))
            costs["started"].append(measure.cost(functools.partial(apart, folder)))
        start_up = measure.median(costs["started"]) - measure.median(costs["again"])
    row = [
        str(count),
        f"{measure.median(costs['whole']):.2f}",
        f"{measure.median(costs['more']):.2f}",
        f"{measure.ratio(costs['more'], costs['whole']):.1%}",
        f"{measure.median(costs['again']):.2f}",
        f"{start_up:.1f}",
        f"{measure.median(costs['dvc']):.1f}",
    ]
    header = [
        "clips", "all, s", "one more, s", "share", "none more, s", "start-up of both stages, s",
        "`dvc add` of their outputs after one more, s",
    ]  # fmt: skip
    measure.report("one_more", measure.table(header, [row]), given.quick)


if __name__ == "__main__":
    main()
