"""What became of each clip on its way into the split: data/clip_counts.csv."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path

from facestudy.core import tables
from facestudy.dataset.clips import clip_table, counted
from stages.stage import output_file, run

DATA = Path("data")


def main() -> str:
    clips = clip_table(
        tables.read(DATA / "videos/index.csv", tables.VIDEOS),
        tables.read(DATA / "frames/index.csv", tables.FRAMES),
        tables.read(DATA / "frames/dropped.csv", tables.UNDECODED),
        tables.read(DATA / "faces/index.csv", tables.FACES),
        tables.read(DATA / "faces/dropped.csv", tables.DROPPED),
        tables.read(DATA / "split.csv", tables.SPLIT),
    )
    with output_file(DATA / "clip_counts.csv") as path:
        tables.write(path, clips, tables.CLIPS)
    return f"{counted(clips)} (data/clip_counts.csv)"


if __name__ == "__main__":
    run("clips", main)
