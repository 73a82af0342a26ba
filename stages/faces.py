"""The largest sure face of every frame, cut out: data/faces/."""

from __future__ import annotations

import functools
import json
from collections import Counter
from pathlib import Path
from typing import Any

from facestudy import faces, frames, tables, video
from facestudy.errors import StudyError
from facestudy.faces import FaceSettings
from facestudy.parallel import ComputeSettings, map_items
from facestudy.work_cache import WorkCache, code_of, file_sha256, key_of, link_or_copy
from stages.stage import WORK_CACHE, output_folder, read_params, run, section

FRAMES = Path("data/frames")
MAX_PIXELS = 10**9  # frames are our own pictures


def one_video(names: list[str], settings: FaceSettings) -> Path:
    """The work-cache entry with the faces in the frames of one video."""
    digests = [file_sha256(FRAMES / name) for name in names]
    key = key_of(digests, settings.model_dump(), code_of(faces, frames))
    return WorkCache(WORK_CACHE / "faces").entry(key, lambda folder: search(names, settings, folder))


def search(names: list[str], settings: FaceSettings, folder: Path) -> None:
    """Write the cut-out of each frame's face and faces.json, in order of the frames."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(names), settings.batch):  # a batch in memory, however long the video
        pictures = [video.read_picture(FRAMES / name, MAX_PIXELS) for name in names[start : start + settings.batch]]
        for picture, candidates in zip(pictures, faces.detect(pictures, settings), strict=True):
            face, reason = faces.select(candidates, picture.shape, settings)
            if face is None:
                found.append({"reason": reason})
                continue
            cut = faces.cut_out(picture, face)
            name = f"{len(found):06d}.png"
            frames.write_picture(folder / name, cut.picture)
            numbers = {"x": face.x, "y": face.y, "w": face.w, "h": face.h, "confidence": face.confidence}
            points = dict(zip(tables.LANDMARK_COLUMNS, face.landmarks.ravel().tolist(), strict=True))
            place = {"cut_x": cut.x, "cut_y": cut.y, "cut_scale": cut.scale}
            valid = dict(zip(("valid_x0", "valid_y0", "valid_x1", "valid_y1"), cut.valid, strict=True))
            found.append({**numbers, **points, **place, **valid, "path": name, "reason": ""})
    (folder / "faces.json").write_text(json.dumps(found))


def main() -> str:
    params = read_params()
    settings = section(params, "faces", FaceSettings)
    index = tables.read(FRAMES / "index.csv", tables.FRAMES)
    labels = tables.read(Path("data/videos/index.csv"), tables.VIDEOS).set_index("video_id")["label"]
    per_video = {str(video_id): rows for video_id, rows in index.groupby("video_id")}
    work = functools.partial(one_video, settings=settings)
    items = [rows["path"].tolist() for rows in per_video.values()]
    found: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    with output_folder(Path("data/faces")) as out:
        entries = map_items(work, items, section(params, "compute", ComputeSettings), "faces")
        for (video_id, rows), entry in zip(per_video.items(), entries, strict=True):
            base = {"video_id": video_id, "label": labels[video_id]}
            answers = json.loads((entry / "faces.json").read_text())
            for frame_id, answer in zip(rows["frame_id"], answers, strict=True):
                row = {**base, "frame_id": frame_id, **answer}
                if answer["reason"]:
                    dropped.append(row)
                    continue
                name = f"{video_id}/{frame_id}_f0.png"
                link_or_copy(entry / answer["path"], out / name)
                found.append({**row, "face_id": f"{frame_id}_f0", "track_id": f"{video_id}_t0", "path": name})
        if not found:
            raise StudyError(
                f"no face above confidence {settings.min_confidence} in {len(index)} frames; "
                "lower faces.min_confidence or add videos that show faces."
            )
        tables.write(out / "index.csv", tables.frame(found, tables.FACES), tables.FACES)
        tables.write(out / "dropped.csv", tables.frame(dropped, tables.DROPPED), tables.DROPPED)
    return f"{len(index)} frames in, {len(found)} faces out; " + "; ".join(
        rate(label, found, dropped) for label in tables.LABELS
    )


def rate(label: str, found: list[dict[str, Any]], dropped: list[dict[str, Any]]) -> str:
    """Frames of a class with a face, and why the others have none."""
    with_face = sum(row["label"] == label for row in found)
    reasons = Counter(row["reason"] for row in dropped if row["label"] == label)
    total = with_face + reasons.total()
    share = f"{with_face / total:.1%}" if total else "none"
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return f"{label} {with_face} of {total} ({share})" + (f", without: {listed}" if listed else "")


if __name__ == "__main__":
    run("faces", main)
