"""The faces in the frames of a video: search, measurement, cut-outs, and their rows in the tables.

((faces, reason),) = find_faces([picture], settings)  # RGB; no face has a reason
crops = [crop(face.picture, face, plan, colour) for face in faces]  # facestudy.crops.cutting
p_fake = model.predict(np.stack(crops))[:, 0]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from facestudy.core.arrays import Picture
from facestudy.core.errors import StudyError
from facestudy.faces import detection, orientation, quality
from facestudy.faces.detection import FaceSettings
from facestudy.faces.face import Face
from facestudy.media import archive
from facestudy.runtime.work_cache import WorkCache, key_of, link_or_copy

Stored = list[tuple[str, str]]
"""Path and sha256 of each frame of a video."""


def find_faces(pictures: Sequence[Picture], settings: FaceSettings) -> list[tuple[list[Face], str]]:
    """Find the faces in each picture, measure them and cut them out.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (height, width, 3)
        RGB, any sizes, upright.
    settings : FaceSettings
        How faces are searched for and chosen. Thresholds on quality are not applied; this is up to the caller.

    Returns
    -------
    list of tuple
        For each picture its faces with their cut-outs, the largest first (only that one unless `settings.all`), and
        "". Without a face, an empty list and the reason.
    """
    found = []
    for picture, candidates in zip(pictures, detection.detect(pictures, settings), strict=True):
        chosen, reason = detection.select(candidates, picture.shape, settings)
        measured = [replace(face, quality=quality.measure(picture, face.box, face.landmarks)) for face in chosen]
        found.append(([detection.cut_out(picture, face) for face in measured], reason))
    return found


def faces_of_video(
    stored: Stored, folder: Path, settings: FaceSettings, archived: bool, cache: Path, code: Sequence[object]
) -> Path:
    """Find the faces in the frames of one video, unless an earlier run did.

    Parameters
    ----------
    stored : Stored
        Path, relative to `folder`, and sha256 of each frame.
    folder : Path
        The folder of all frames.
    settings : FaceSettings
        How faces are searched for and chosen.
    archived : bool
        Keep the cut-outs in one archive.
    cache : Path
        The work cache's folder.
    code : sequence of object
        What decides the result besides frames and settings: a part of the entry's key.

    Returns
    -------
    Path
        The entry: faces.json and the cut-outs.

    Raises
    ------
    StudyError
        When a frame is missing or altered; the message names it.
    """
    for name, sha256 in stored:
        archive.read_bytes(folder / name, sha256)  # also when the result is in the cache
    key = key_of([sha256 for _, sha256 in stored], settings.of_search(), code)
    entries = WorkCache(cache)

    def build(entry: Path) -> None:
        if not (archived and entries.copy(key, entry)):  # a run may grow past storage.archive_above
            search(stored, folder, settings, entry)
        if archived:
            archive.pack(entry.glob("*.png"), entry / archive.PICTURES)

    return entries.entry(key_of(key, "archived") if archived else key, build)


def search(stored: Stored, folder: Path, settings: FaceSettings, out: Path) -> None:
    """Write faces.json, with the faces of each frame or the reason for none, and the cut-outs.

    Where a frame has no upright face, the clip may lie on its side. Then the frames vote on the orientation of the
    clip, and are turned if necessary.

    Parameters
    ----------
    stored : Stored
        Path, relative to `folder`, and sha256 of each frame.
    folder : Path
        The folder of all frames.
    settings : FaceSettings
        How faces are searched for and chosen.
    out : Path
        The folder to write to.
    """
    found = _search(stored, folder, settings, out, 0)
    if not all(frame["faces"] for frame in found):
        chosen = [stored[number] for number in orientation.voters(len(stored))]
        rotation = orientation.rotation_of(_pictures(chosen, folder), settings)
        if rotation:
            for path in out.glob("*.png"):
                path.unlink()
            found = _search(stored, folder, settings, out, rotation)
    (out / "faces.json").write_text(json.dumps(found))


def _pictures(stored: Stored, folder: Path) -> list[Picture]:
    pictures = []
    for name, sha256 in stored:
        picture = archive.read_picture(folder / name, sha256)
        if picture is None:
            raise StudyError(f"{folder / name} is missing or no picture; `dvc repro -f frames` makes it again.")
        pictures.append(picture)
    return pictures


def _search(stored: Stored, folder: Path, settings: FaceSettings, out: Path, rotation: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for start in range(0, len(stored), settings.batch):  # one batch in memory, for videos of any length
        pictures = _pictures(stored[start : start + settings.batch], folder)
        if rotation:
            pictures = [orientation.turned(picture, rotation) for picture in pictures]
        for faces, reason in find_faces(pictures, settings):
            rows = [
                {"rotation": rotation, **write(face, out / f"{len(found):06d}_f{n}.png")}
                for n, face in enumerate(faces)
            ]
            found.append({"faces": rows, "reason": reason})
    return found


def write(face: Face, path: Path) -> dict[str, Any]:
    """Write the cut-out of a face as PNG.

    Parameters
    ----------
    face : Face
        A face with its cut-out in `picture`.
    path : Path
        The file to write.

    Returns
    -------
    dict
        The face's columns of tables.FACES; `path` is the name of the file.
    """
    assert face.picture is not None
    return replace(face, path=path.name, sha256=archive.write_picture(path, face.picture)).row()


def rows_of(
    video_id: str, label: str, frame_ids: Sequence[str], answers: Sequence[dict[str, Any]], settings: FaceSettings
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Make the rows of one video for the tables of faces and of dropped faces.

    Parameters
    ----------
    video_id, label : str
        Id and label of the video.
    frame_ids : sequence of str
        Ids of its frames.
    answers : sequence of dict
        What `search` wrote: for each frame its faces, or the reason for none.
    settings : FaceSettings
        The thresholds on quality, and how a person is followed through the clip.

    Returns
    -------
    kept, dropped : list of dict
        Rows of tables.FACES, with `path` relative to the entry, and of tables.DROPPED.
    """
    boxes = [[(face["x"], face["y"], face["w"], face["h"]) for face in answer["faces"]] for answer in answers]
    # With one face per frame, all faces of a clip are taken for one person.
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


def place(
    entry: Path, video_id: str, kept: Sequence[dict[str, Any]], out: Path, archived: bool
) -> list[dict[str, Any]]:
    """Put the cut-outs of a video's kept faces into the output of the stage.

    Parameters
    ----------
    entry : Path
        What `faces_of_video` returned.
    video_id : str
        Id of the video.
    kept : sequence of dict
        Rows of tables.FACES, as `rows_of` returned them.
    out : Path
        The folder of all faces.
    archived : bool
        As in `faces_of_video`.

    Returns
    -------
    list of dict
        The rows, with `path` relative to `out`.
    """
    if archived and kept:
        link_or_copy(entry / archive.PICTURES, out / f"{video_id}{archive.SUFFIX}")
    rows = []
    for row in kept:
        name = f"{video_id}{archive.SUFFIX}/{row['path']}" if archived else f"{video_id}/{row['face_id']}.png"
        if not archived:
            link_or_copy(entry / row["path"], out / name)
        rows.append({**row, "path": name})
    return rows
