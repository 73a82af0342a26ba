"""Cues that do not show the face: the file, its format, the place of the face and its surroundings.

A network that only notices such cues has not found a manipulation. `facestudy.controls.audit` measures how far they
tell the classes apart.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from facestudy.controls.jpeg import mean_quantisation
from facestudy.core.errors import StudyError
from facestudy.faces.face import Face
from facestudy.faces.quality import GRID, blockiness
from facestudy.media.archive import read_picture
from facestudy.runtime.parallel import ComputeSettings, map_items

CUES: Mapping[str, tuple[str, ...]] = {
    "file_size": ("log_bytes", "log_bytes_per_pixel"),
    "format": ("container", "codec"),
    "resolution": ("log_width", "log_height", "width_x_height"),
    "time": ("fps", "frame_rate", "log_duration"),
    "jpeg": ("log_luminance_table", "log_chrominance_table"),
    "surroundings": ("red", "green", "blue", "log_sharpness", "blockiness"),
    "placement": ("log_face_size", "face_x", "face_y", "log_face_width", "log_face_height"),
    "face": ("face_log_sharpness", "face_brightness", "face_blockiness"),
}
"""The cues of each group. `face` is about the picture of the face itself, the other groups are not."""
CATEGORIES = ("container", "codec", "width_x_height", "frame_rate")
"""Cues that are text; all others are numbers."""
MARGIN = 0.125
"""The distance of the surroundings from the box, in longer sides of the box: hair and chin may lie outside it."""


def _log(value: float) -> float:
    """The natural logarithm; NaN (missing) of what is not above 0."""
    return math.log(value) if value > 0 else math.nan


def file_cues(path: Path, video: Mapping[str, Any]) -> dict[str, float | str]:
    """Collect the cues of a file: size, format, resolution, time, JPEG tables.

    Parameters
    ----------
    path : Path
        The video or picture.
    video : mapping
        Its row of tables.VIDEOS.

    Returns
    -------
    dict
        Numbers and text by cue. NaN: a picture has no frame rate, a video no JPEG tables.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    width, height = float(video["width"]), float(video["height"])
    fps, duration = float(video["fps"]), float(video["duration_s"])
    size, frames = path.stat().st_size, max(1, round(fps * duration))
    luminance, chrominance = mean_quantisation(path)
    return {
        "log_bytes": _log(size),
        "log_bytes_per_pixel": _log(size / max(1.0, width * height * frames)),
        "container": path.suffix.lower(),
        "codec": video["codec"],
        "log_width": _log(width),
        "log_height": _log(height),
        "width_x_height": f"{width:.0f}x{height:.0f}",
        "fps": fps if fps > 0 else math.nan,
        "frame_rate": f"{fps:.0f}",
        "log_duration": _log(duration),
        "log_luminance_table": _log(luminance),
        "log_chrominance_table": _log(chrominance),
    }


def face_cues(face: Face, width: float, height: float) -> dict[str, float]:
    """Collect the cues of a face's box, and the measures of its picture.

    Parameters
    ----------
    face : Face
        With its `quality`.
    width, height : float
        Of its frame, turned where the clip is, pixels.

    Returns
    -------
    dict of str to float
        Numbers by cue: the groups `placement` and `face`. Position and size are shares of the frame.
    """
    return {
        "log_face_size": _log(face.quality["size"]),
        "face_x": (face.x + face.w / 2) / width,
        "face_y": (face.y + face.h / 2) / height,
        "log_face_width": _log(face.w / width),
        "log_face_height": _log(face.h / height),
        "face_log_sharpness": _log(face.quality["sharpness"]),
        "face_brightness": float(face.quality["brightness"]),
        "face_blockiness": float(face.quality["blockiness"]),
    }


def surroundings(face: Face) -> dict[str, float]:
    """Measure colour, sharpness and blockiness of what the cut-out shows around the face.

    Parameters
    ----------
    face : Face
        With its cut-out in `picture`.

    Returns
    -------
    dict of str to float
        Numbers by cue; NaN where the box, MARGIN wider, leaves no strip of GRID pixels. Sharpness is the variance of
        the Laplacian. Blockiness is the mean over the strips above, below, left and right, weighted by their areas.
    """
    assert face.picture is not None
    left, top, right, bottom = face.valid
    wider = MARGIN * max(face.w, face.h)
    x0, x1 = (int(np.clip(x - face.cut_x, left, right)) for x in (face.x - wider, face.x + face.w + wider))
    y0, y1 = (int(np.clip(y - face.cut_y, top, bottom)) for y in (face.y - wider, face.y + face.h + wider))
    strips = ((left, top, right, y0), (left, y1, right, bottom), (left, y0, x0, y1), (x1, y0, right, y1))
    wide = [(a, b, c, d) for a, b, c, d in strips if min(c - a, d - b) >= GRID]
    if not wide:
        return dict.fromkeys(CUES["surroundings"], math.nan)
    grey = cv2.cvtColor(face.picture, cv2.COLOR_RGB2GRAY)
    laplacian = cv2.Laplacian(grey, cv2.CV_64F)
    outside = np.zeros(grey.shape, bool)
    for a, b, c, d in wide:
        outside[b:d, a:c] = True
    first = (int(face.cut_x), int(face.cut_y))
    blocks = [blockiness(grey[b:d, a:c], (a + first[0]) % GRID, (b + first[1]) % GRID) for a, b, c, d in wide]
    areas = [(c - a) * (d - b) for a, b, c, d in wide]
    colour = face.picture[outside].mean(axis=0)
    return {
        **dict(zip(("red", "green", "blue"), map(float, colour), strict=True)),
        "log_sharpness": math.log(float(laplacian[outside].var()) + 1e-6),
        "blockiness": float(np.average(blocks, weights=areas)),
    }


def surroundings_of(faces: Sequence[Face], folder: Path) -> list[dict[str, float]]:
    """Read cut-outs and measure the surroundings of their faces.

    Parameters
    ----------
    faces : sequence of Face
        With `path` and `sha256` of their cut-outs.
    folder : Path
        What `path` is relative to.

    Returns
    -------
    list of dict
        As `surroundings` returns them, in the order of the faces.

    Raises
    ------
    StudyError
        When a cut-out is missing or altered.
    """
    found = []
    for face in faces:
        picture = read_picture(folder / face.path, face.sha256)
        if picture is None:
            raise StudyError(f"{folder / face.path} is missing or not a picture; `dvc repro` makes it.")
        found.append(surroundings(replace(face, picture=picture)))
    return found


def cue_table(
    faces: pd.DataFrame,
    frames: pd.DataFrame,
    videos: pd.DataFrame,
    sources: Path,
    cut_outs: Path,
    compute: ComputeSettings,
) -> pd.DataFrame:
    """Collect all cues of faces.

    Parameters
    ----------
    faces, frames, videos : DataFrame
        As tables.FACES (the faces to collect the cues of), tables.FRAMES and tables.VIDEOS.
    sources : Path
        The folder of the videos and pictures.
    cut_outs : Path
        The folder of the cut-outs.
    compute : ComputeSettings
        Where cut-outs are measured.

    Returns
    -------
    DataFrame
        Indexed by face_id, with the columns of CUES.

    Raises
    ------
    StudyError
        When a cut-out is missing or altered.
    OSError
        When a video or picture cannot be read.
    """
    of_video = {row["video_id"]: row for row in videos.to_dict("records")}
    sizes = frames.set_index("frame_id")[["width", "height"]]
    per_video = {str(video_id): rows.to_dict("records") for video_id, rows in faces.groupby("video_id")}
    items = [[Face.from_row(row) for row in rows] for rows in per_video.values()]
    measured = map_items(functools.partial(surroundings_of, folder=cut_outs), items, compute, "shortcuts")
    found = []
    for (video_id, rows), own, around in zip(per_video.items(), items, measured, strict=True):
        of_file = file_cues(sources / of_video[video_id]["path"], of_video[video_id])
        for row, face, near in zip(rows, own, around, strict=True):
            size = [float(side) for side in sizes.loc[row["frame_id"]]]
            width, height = size if row["rotation"] % 180 == 0 else reversed(size)
            found.append({"face_id": face.face_id, **of_file, **face_cues(face, width, height), **near})
    return pd.DataFrame(found).set_index("face_id")
