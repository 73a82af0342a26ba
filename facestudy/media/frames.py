"""Which frames of a clip to look at, and storing them as pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import cv2
from pydantic import Field, model_validator

from facestudy.core.settings import Section
from facestudy.media import video
from facestudy.media.video import Frame, Limits, MediaError, Picture


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
    """The numbers of the frames to take from a clip of `count` frames, ascending.

    `per_video` n: the frames in the middle of n equal parts of the clip, fewer when the clip has
    fewer. `every` n: frames 0, n, 2n, …, thinned evenly to `max_per_video`.

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
    """The picture with its longer side at most max_side pixels, by area averaging."""
    height, width = picture.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return picture
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def write_picture(path: Path, picture: Picture, quality: int = 95) -> str:
    """Write RGB as PNG (lossless) or JPEG, by the name's ending; the sha256 of the file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    ok, data = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not ok:
        raise OSError(f"{path.name} cannot be encoded")
    content = data.tobytes()
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def within(times: Sequence[float], start_s: float | None, end_s: float | None) -> list[int]:
    """The numbers of the frames whose time lies in the wanted part of a clip, both ends included.

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
    """Write the chosen frames of a file into folder, and frames.json about them.

    frames.json: {"frames": [{"frame_number", "time_s", "width", "height", "path", "sha256"}],
    "dropped": reason or ""}. A file that cannot be decoded gives no frames and a reason.
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
    """frames.json of `extract`: the frames, and why there are no more."""
    (folder / "frames.json").write_text(json.dumps({"frames": rows, "dropped": reason}, indent=0))
