"""Choose frames of a clip, and store them as pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import cv2
from pydantic import Field, model_validator

from facestudy.core.arrays import Picture
from facestudy.core.settings import Section
from facestudy.media import video
from facestudy.media.archive import write_picture
from facestudy.media.video import Frame, Limits, MediaError


class FrameSettings(Section):
    """Section `frames` of params.yaml."""

    per_video: Annotated[int, Field(ge=1)] | None
    every: Annotated[int, Field(ge=1)] | None
    max_per_video: Annotated[int, Field(ge=1)]
    format: Literal["png", "jpg"]
    jpg_quality: Annotated[int, Field(ge=1, le=100)]
    max_side: Annotated[int, Field(ge=32)] | None

    @model_validator(mode="after")
    def _one_of(self) -> FrameSettings:
        if (self.per_video is None) == (self.every is None):
            raise ValueError("set one of per_video and every, and the other to null")
        return self


def choose(count: int, settings: FrameSettings) -> list[int]:
    """Choose the frames to take from a clip.

    With `per_video` n, these are the frames in the middle of n equal parts of the clip, or all frames if there are
    fewer. With `every` n, these are frames 0, n, 2n, …, thinned evenly to `max_per_video`.

    Parameters
    ----------
    count : int
        The number of frames of the clip.
    settings : FrameSettings
        `per_video`, `every` and `max_per_video` decide.

    Returns
    -------
    list of int
        Frame numbers from 0, ascending.

    Examples
    --------
    >>> choose(100, FrameSettings(per_video=4, every=None, max_per_video=9, format="png",
    ...                           jpg_quality=95, max_side=None))
    [12, 37, 62, 87]
    """
    if settings.per_video is not None:
        return _spread(count, settings.per_video)
    numbers = list(range(0, count, settings.every or 1))
    return [numbers[i] for i in _spread(len(numbers), settings.max_per_video)]


def _spread(count: int, parts: int) -> list[int]:
    if count <= parts:
        return list(range(count))
    return [(2 * part + 1) * count // (2 * parts) for part in range(parts)]


def reduce(picture: Picture, max_side: int | None) -> Picture:
    """Reduce a picture by area averaging, so that its longer side has at most `max_side` pixels.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        RGB.
    max_side : int or None
        In pixels; None for no limit.

    Returns
    -------
    ndarray of uint8, shape (new height, new width, 3)
        The picture itself where it is small enough.

    Examples
    --------
    >>> import numpy as np
    >>> reduce(np.zeros((100, 400, 3), np.uint8), 200).shape
    (50, 200, 3)
    """
    height, width = picture.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return picture
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def within(times: Sequence[float], start_s: float | None, end_s: float | None) -> list[int]:
    """Select the frames in a part of a clip, both ends included.

    Parameters
    ----------
    times : sequence of float
        The time of each frame, in seconds.
    start_s, end_s : float or None
        Start and end of the part, in seconds; None for those of the clip.

    Returns
    -------
    list of int
        Frame numbers from 0, ascending.

    Examples
    --------
    >>> within([0.0, 0.5, 1.0, 1.5], 0.5, 1.0)
    [1, 2]
    """
    low, high = start_s or 0.0, float("inf") if end_s is None else end_s
    return [number for number, time in enumerate(times) if low <= round(time, 6) <= high]


def extract(
    source: Path,
    settings: FrameSettings,
    limits: Limits,
    folder: Path,
    start_s: float | None = None,
    end_s: float | None = None,
) -> None:
    """Write the chosen frames of a file to a folder, and describe them in frames.json.

    frames.json holds {"frames": [{"frame_number", "time_s", "width", "height", "path", "sha256"}], "dropped": reason or
    ""}. A file that cannot be decoded gives no frames and a reason.

    Parameters
    ----------
    source : Path
        A video or picture.
    settings : FrameSettings
        Which frames are taken, and how they are stored.
    limits : Limits
        What the file may be.
    folder : Path
        The folder to write to.
    start_s, end_s : float, optional
        The wanted part of the video, in seconds, both ends included. By default the whole video.
    """
    rows: list[dict[str, object]] = []
    reason = ""
    try:
        if video.is_picture(source):
            wanted = [0]
            decoded = iter([Frame(0, 0.0, video.read_picture(source, limits.max_pixels))])
        else:
            inside = within(video.frame_times(source, limits), start_s, end_s)
            wanted = [inside[place] for place in choose(len(inside), settings)]
            decoded = video.read_video(source, wanted, limits)
        for frame in decoded:
            picture = reduce(frame.picture, settings.max_side)
            name = f"{frame.number:06d}.{settings.format}"
            sha256 = write_picture(folder / name, picture, settings.jpg_quality)
            rows.append(
                {
                    "frame_number": frame.number,
                    "time_s": round(frame.time_s, 3),
                    "width": picture.shape[1],
                    "height": picture.shape[0],
                    "path": name,
                    "sha256": sha256,
                }
            )
        if not wanted:
            reason = f"no frame from {start_s or 0:g} s on" + (f" to {end_s:g} s" if end_s is not None else "")
        elif len(rows) < len(wanted):
            reason = f"{len(wanted) - len(rows)} of {len(wanted)} frames cannot be decoded"
    except MediaError as error:
        reason = str(error)
    write_list(folder, rows, reason)


def write_list(folder: Path, rows: Sequence[Mapping[str, object]], reason: str) -> None:
    """Write the file frames.json of `extract`.

    Parameters
    ----------
    folder : Path
        The folder to write to.
    rows : sequence of mapping
        The entries of "frames".
    reason : str
        Why there are no more frames, or "".
    """
    (folder / "frames.json").write_text(json.dumps({"frames": rows, "dropped": reason}, indent=0))
