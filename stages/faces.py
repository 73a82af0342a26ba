"""The faces of every frame, cut out and measured: data/faces/; what was dropped of each class: metrics/faces.csv."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import functools
import json
from pathlib import Path
from typing import Any

import pandas as pd

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.faces import detection, quality
from facestudy.faces.detection import FaceSettings
from facestudy.faces.extraction import faces_of_video
from facestudy.faces.quality import Exclusion
from facestudy.media import archive
from facestudy.media.archive import StorageSettings
from facestudy.runtime import environment
from facestudy.runtime.disk import cut_out_bytes
from facestudy.runtime.parallel import ComputeSettings, map_items
from facestudy.runtime.work_cache import code_below, link_or_copy
from stages.stage import WORK_CACHE, check_disk_space, output_file, output_folder, read_params, run, section

FRAMES = Path("data/frames")
CACHE = WORK_CACHE / "faces"
BEYOND_CHANCE = 0.05


def rows_of(
    video_id: str, label: str, frame_ids: list[str], answers: list[dict[str, Any]], settings: FaceSettings
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of one video for the faces table and for the dropped ones; `path` is still the work cache's."""
    boxes = [[(face["x"], face["y"], face["w"], face["h"]) for face in answer["faces"]] for answer in answers]
    # One face a frame is taken for one person: the largest face of a clip.
    numbers = detection.tracks(boxes, settings.track_overlap) if settings.all else [[0] * len(frame) for frame in boxes]
    kept: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    for frame_id, answer, on in zip(frame_ids, answers, numbers, strict=True):
        frame = {"video_id": video_id, "label": label, "frame_id": frame_id}
        if answer["reason"]:
            dropped.append({**frame, "face_id": f"{frame_id}_f0", "reason": answer["reason"]})
        for number, (face, track) in enumerate(zip(answer["faces"], on, strict=True)):
            row = {**frame, **face, "face_id": f"{frame_id}_f{number}", "track_id": f"{video_id}_t{track}"}
            row["reason"] = settings.quality.reason(face)
            (dropped if row["reason"] else kept).append(row)
    return kept, dropped


def main() -> str:
    params = read_params()
    settings = section(params, "faces", FaceSettings)
    index = tables.read(FRAMES / "index.csv", tables.FRAMES)
    labels = tables.read(Path("data/videos/index.csv"), tables.VIDEOS).set_index("video_id")["label"]
    per_video = {str(video_id): rows for video_id, rows in index.groupby("video_id")}
    archived = section(params, "storage", StorageSettings).archived(len(index), len(per_video))
    code = [environment.decisive(), code_below("facestudy.faces.extraction")]
    work = functools.partial(
        faces_of_video, folder=FRAMES, settings=settings, archived=archived, cache=CACHE, code=code
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
            dropped += lost
            if archived and kept:
                link_or_copy(entry / archive.PICTURES, out / f"{video_id}{archive.SUFFIX}")
            for row in kept:
                name = f"{video_id}{archive.SUFFIX}/{row['path']}" if archived else f"{video_id}/{row['face_id']}.png"
                if not archived:
                    link_or_copy(entry / row["path"], out / name)
                found.append({**row, "path": name})
        exclusions = quality.exclusions(found, dropped)
        if not found:
            reasons = ", ".join(f"{sum(one.dropped.values())} {one.reason}" for one in exclusions)
            raise StudyError(
                f"no face is left of {len(index)} frames ({reasons}); lower faces.min_confidence "
                f"({settings.min_confidence}) or the thresholds of faces.quality, or add videos that show faces."
            )
        tables.write(out / "index.csv", tables.to_dataframe(found, tables.FACES), tables.FACES)
        tables.write(out / "dropped.csv", tables.to_dataframe(dropped, tables.DROPPED), tables.DROPPED)
        exclusion_table(exclusions).to_csv(report, index=False, encoding="utf-8", lineterminator="\n")
    return summary(len(index), found, exclusions)


def exclusion_table(exclusions: list[Exclusion]) -> pd.DataFrame:
    """metrics/faces.csv: for each reason how many of each class it took, of how many, and p of the difference."""
    columns = ["reason", *(f"{label}_{what}" for label in tables.LABELS for what in ("dropped", "examined")), "p"]
    rows = [
        [
            one.reason,
            *(n for label in tables.LABELS for n in (one.dropped[label], one.examined[label])),
            one.p,
        ]
        for one in exclusions
    ]
    table = pd.DataFrame(rows, columns=columns)
    table["p"] = [f"{p:.4f}" for p in table["p"]]
    return table


def summary(frame_count: int, found: list[dict[str, Any]], exclusions: list[Exclusion]) -> str:
    """Faces of each class, why others were left out, and a warning where a reason took more of one class."""
    rates = "; ".join(rate(label, sum(row["label"] == label for row in found), exclusions) for label in tables.LABELS)
    lines = [f"{frame_count} frames in, {len(found)} faces out; {rates}"]
    for one in exclusions:
        if one.p < BEYOND_CHANCE:
            taken = " and ".join(f"{one.dropped[label]} of {one.examined[label]} {label}" for label in tables.LABELS)
            lines.append(
                f"  warning: {one.reason} excluded {taken} frames (p = {one.p:.3f}); a model may learn that imbalance"
            )
    return "\n".join(lines)


def rate(label: str, kept: int, exclusions: list[Exclusion]) -> str:
    """The share of a class's frames that gave a face, and why the others did not."""
    total = kept + sum(one.dropped[label] for one in exclusions)
    share = f"{kept / total:.1%}" if total else "none"
    listed = ", ".join(f"{one.dropped[label]} {one.reason}" for one in exclusions if one.dropped[label])
    return f"{label} {kept} of {total} ({share})" + (f", without: {listed}" if listed else "")


if __name__ == "__main__":
    run("faces", main)
