"""The faces in the frames of a video: searched for, cut out, measured."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facestudy.core import tables
from facestudy.faces import detection, quality
from facestudy.faces.detection import FaceSettings
from facestudy.media import archive, frames, video
from facestudy.runtime.work_cache import WorkCache, key_of

MAX_PIXELS = 10**9  # frames are our own pictures
Stored = list[tuple[str, str]]
"""Of each frame of a video: path and sha256."""


def faces_of_video(
    stored: Stored, folder: Path, settings: FaceSettings, archived: bool, cache: Path, code: Sequence[object]
) -> Path:
    """Find the faces in the frames of one video, unless an earlier run has.

    Parameters
    ----------
    stored
        The frames; their paths are relative to `folder`.
    settings
        How faces are searched for and chosen.
    archived
        Keep the cut-outs in one archive.
    cache
        The work cache's folder.
    code
        What decides the result beside frames and settings: a part of the entry's key.

    Returns
    -------
    Path
        The entry: faces.json and the cut-outs.

    Raises
    ------
    StudyError
        Names a frame that is missing or altered.
    """
    for name, sha256 in stored:
        archive.read_bytes(folder / name, sha256)  # also where the work was done before
    key = key_of([sha256 for _, sha256 in stored], settings.of_search(), code)
    entries = WorkCache(cache)

    def build(entry: Path) -> None:
        if not (archived and entries.copy(key, entry)):  # a run may grow past storage.archive_above
            search(stored, folder, settings, entry)
        if archived:
            archive.pack(entry.glob("*.png"), entry / archive.PICTURES)

    return entries.entry(key_of(key, "archived") if archived else key, build)


def search(stored: Stored, folder: Path, settings: FaceSettings, out: Path) -> None:
    """Write the cut-outs of each frame's faces and faces.json: for each frame its faces, or the reason for none."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(stored), settings.batch):  # a batch in memory, however long the video
        batch = [archive.read_bytes(folder / name, sha256) for name, sha256 in stored[start : start + settings.batch]]
        pictures = [video.read_picture(io.BytesIO(content), MAX_PIXELS) for content in batch]
        for picture, candidates in zip(pictures, detection.detect(pictures, settings), strict=True):
            chosen, reason = detection.select(candidates, picture.shape, settings)
            rows = [cut(picture, face, out / f"{len(found):06d}_f{n}.png") for n, face in enumerate(chosen)]
            found.append({"faces": rows, "reason": reason})
    (out / "faces.json").write_text(json.dumps(found))


def cut(picture: video.Picture, face: detection.Face, path: Path) -> dict[str, Any]:
    """Write the cut-out of a face; return its columns of tables.FACES, `path` relative to the entry."""
    found = detection.cut_out(picture, face)
    sha256 = frames.write_picture(path, found.picture)
    box = {"x": face.x, "y": face.y, "w": face.w, "h": face.h}
    return {
        **box,
        "confidence": face.confidence,
        **dict(zip(tables.LANDMARK_COLUMNS, face.landmarks.ravel().tolist(), strict=True)),
        **{"cut_x": found.x, "cut_y": found.y, "cut_scale": found.scale},
        **dict(zip(("valid_x0", "valid_y0", "valid_x1", "valid_y1"), found.valid, strict=True)),
        **quality.measure(picture, (face.x, face.y, face.w, face.h), face.landmarks),
        "path": path.name,
        "sha256": sha256,
    }
