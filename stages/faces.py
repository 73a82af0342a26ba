"""The faces of every frame, cut out and measured: data/faces/; what was dropped of each class: metrics/faces.csv."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import functools
import json
from pathlib import Path
from typing import Any

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.faces import quality
from facestudy.faces.detection import FaceSettings
from facestudy.faces.extraction import faces_of_video, place, rows_of
from facestudy.media.archive import StorageSettings
from facestudy.runtime import environment
from facestudy.runtime.disk import cut_out_bytes
from facestudy.runtime.parallel import ComputeSettings, map_items
from facestudy.runtime.work_cache import code_below
from stages.stage import WORK_CACHE, check_disk_space, output_file, output_folder, read_params, run, section

FRAMES = Path("data/frames")


def main() -> str:
    params = read_params()
    settings = section(params, "faces", FaceSettings)
    index = tables.read(FRAMES / "index.csv", tables.FRAMES)
    labels = tables.read(Path("data/videos/index.csv"), tables.VIDEOS).set_index("video_id")["label"]
    per_video = {str(video_id): rows for video_id, rows in index.groupby("video_id")}
    archived = section(params, "storage", StorageSettings).archived(len(index), len(per_video))
    code = [environment.decisive(), code_below("facestudy.faces.extraction")]
    work = functools.partial(
        faces_of_video, folder=FRAMES, settings=settings, archived=archived, cache=WORK_CACHE / "faces", code=code
    )
    items = [list(zip(rows["path"], rows["sha256"], strict=True)) for rows in per_video.values()]
    check_disk_space(sum(cut_out_bytes(height) for height in index["height"]))
    found: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    with output_folder(Path("data/faces")) as out, output_file(Path("metrics/faces.csv")) as report:
        entries = map_items(work, items, section(params, "compute", ComputeSettings), "faces")
        for (video_id, rows), entry in zip(per_video.items(), entries, strict=True):
            answers = json.loads((entry / "faces.json").read_text())
            kept, lost = rows_of(video_id, labels[video_id], rows["frame_id"].tolist(), answers, settings)
            found += place(entry, video_id, kept, out, archived)
            dropped += lost
        exclusions = quality.exclusions(found, dropped)
        if not found:
            reasons = ", ".join(f"{sum(one.dropped.values())} {one.reason}" for one in exclusions)
            raise StudyError(
                f"no face is left of {len(index)} frames ({reasons}); lower faces.min_confidence "
                f"({settings.min_confidence}) or the thresholds of faces.quality, or add videos that show faces."
            )
        tables.write(out / "index.csv", tables.to_dataframe(found, tables.FACES), tables.FACES)
        tables.write(out / "dropped.csv", tables.to_dataframe(dropped, tables.DROPPED), tables.DROPPED)
        quality.exclusion_table(exclusions).to_csv(report, index=False, encoding="utf-8", lineterminator="\n")
    return quality.summary(len(index), found, exclusions)


if __name__ == "__main__":
    run("faces", main)
