"""What became of each clip, from what came in to its scores: data/clips.csv."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path
from typing import Any

from facestudy.core import tables
from facestudy.dataset.clips import clip_scores, clip_table, counted
from facestudy.dataset.split import SplitSettings
from stages.stage import output_file, read_params, run, section

DATA = Path("data")


def main() -> str:
    params = read_params()
    models = list(section(params, "models", dict[str, Any]))
    variants = section(params, "variants", list[str])
    seeds = section(params, "seeds", list[int])
    repeats = section(params, "split", SplitSettings).repeats
    trainings = [tables.training_name(seed, repeat, repeats) for repeat in range(1, repeats + 1) for seed in seeds]
    scores = {}
    for model in models:
        for variant in variants:
            files = [Path("predictions") / variant / model / f"{name}.csv" for name in trainings]
            scores[f"{model}.{variant}"] = clip_scores([tables.read(file, tables.PREDICTIONS) for file in files])
    clips = clip_table(
        tables.read(DATA / "videos/index.csv", tables.VIDEOS),
        tables.read(DATA / "frames/index.csv", tables.FRAMES),
        tables.read(DATA / "frames/dropped.csv", tables.UNDECODED),
        tables.read(DATA / "faces/index.csv", tables.FACES),
        tables.read(DATA / "faces/dropped.csv", tables.DROPPED),
        tables.read(DATA / "split.csv", tables.SPLIT),
        scores,
    )
    with output_file(DATA / "clips.csv") as path:
        tables.write(path, clips, tables.clips_table(models, variants))
    return f"{counted(clips)} (data/clips.csv)"


if __name__ == "__main__":
    run("clips", main)
