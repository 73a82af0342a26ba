"""How far real and fake are told apart without seeing the face: metrics/shortcuts.csv."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path
from typing import Any

import pandas as pd

from facestudy.controls.audit import audit, drop_rate, one_class
from facestudy.controls.cues import cue_table
from facestudy.controls.shortcuts import SHORTCUTS, drop_summary, one_class_warning, summary, warning
from facestudy.core import tables
from facestudy.dataset.split import SplitSettings
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.runtime.parallel import ComputeSettings
from stages.stage import output_file, read_params, run, section

DATA = Path("data")


def main() -> str:
    params = read_params()
    folder = section(params, "folder", dict[str, Any])
    sources = Path(folder["path"]) if section(params, "source", str) == "folder" else DATA / "videos"
    split = tables.read(DATA / "split.csv", tables.SPLIT)
    faces = tables.read(DATA / "faces/index.csv", tables.FACES)
    used = faces["face_id"].isin(split.loc[split["subset"].isin(["train", "test"]), "face_id"])
    cues = cue_table(
        faces[used],
        tables.read(DATA / "frames/index.csv", tables.FRAMES),
        tables.read(DATA / "videos/index.csv", tables.VIDEOS),
        sources,
        DATA / "faces",
        section(params, "compute", ComputeSettings),
    )
    settings = EvaluateSettings()  # 95 %: another confidence of the results must not need the videos again
    found = audit(cues, split, settings, section(params, "split", SplitSettings).test_share())
    lost = drop_rate(faces, tables.read(DATA / "faces/dropped.csv", tables.DROPPED))
    shortcuts = pd.concat([found, lost, one_class(split)], ignore_index=True)
    with output_file(Path("metrics/shortcuts.csv")) as path:
        tables.write(path, shortcuts, SHORTCUTS)
    lines = (summary(shortcuts), drop_summary(shortcuts), warning(shortcuts), one_class_warning(shortcuts))
    return "\n  ".join(filter(None, lines))


if __name__ == "__main__":
    run("shortcuts", main)
