"""The frames of a video as an entry of the work cache, and the rows of the table of frames."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from facestudy.core.errors import AlteredFileError
from facestudy.media import archive, decode, frames
from facestudy.media.frames import FrameSettings
from facestudy.media.video import Limits, MediaError
from facestudy.runtime.disk import frame_bytes
from facestudy.runtime.work_cache import WorkCache, file_sha256, key_of

Wanted = tuple[str, str, float | None, float | None]
"""Of a video: path, sha256, and the start and end in seconds of the part that is wanted."""


def wanted_parts(videos: pd.DataFrame) -> list[Wanted]:
    """List what is wanted of each video of tables.VIDEOS."""
    columns = ("path", "sha256", "start_s", "end_s")
    return [
        (path, sha256, None if pd.isna(start) else start, None if pd.isna(end) else end)
        for path, sha256, start, end in zip(*(videos[column] for column in columns), strict=True)
    ]


def frames_of_video(
    item: Wanted,
    root: Path,
    settings: FrameSettings,
    limits: Limits,
    archived: bool,
    cache: Path,
    code: Mapping[str, str],
) -> Path:
    """Store the frames of one video, or of the wanted part of it, unless an earlier run has.

    A file whose decoding failed is tried again by the next run, because the machine may be the cause.

    Parameters
    ----------
    item : Wanted
        The path is relative to `root`.
    root : Path
    settings : FrameSettings
    limits : Limits
    archived : bool
        Keep the pictures in one archive.
    cache : Path
        The work cache's folder.
    code : mapping of str to str
        Hashes of the modules that decide the pictures, a part of the entry's key.

    Returns
    -------
    Path
        The entry: frames.json and the pictures.

    Raises
    ------
    AlteredFileError
        When the file is not the one with this sha256.
    """
    path, sha256, start_s, end_s = item
    part = None if start_s is None and end_s is None else (start_s, end_s)
    bounds = [limits.max_pixels, limits.max_frames, limits.max_streams]
    key = key_of(sha256, Path(path).suffix.lower(), part, settings.model_dump(), bounds, code)
    entries = WorkCache(cache)

    def build(folder: Path) -> None:
        if not (archived and entries.copy(key, folder)):  # a run may grow past storage.archive_above
            decode.extract(root / path, settings, limits, folder, start_s, end_s)
            if file_sha256(root / path) != sha256:
                raise AlteredFileError(f"{root / path} is not the file that was examined before (its sha256 differs)")
        if archived:
            archive.pack(folder.glob(f"*.{settings.format}"), folder / archive.PICTURES)

    try:
        return entries.entry(key_of(key, "archived") if archived else key, build)
    except MediaError as error:
        reason = str(error)
        return entries.entry(key_of(key, reason), lambda folder: frames.write_list(folder, [], reason))


def stored_frames(entry: Path, video_id: str, archived: bool) -> tuple[dict[str, str], list[dict[str, Any]], str]:
    """Read an entry of `frames_of_video`.

    Parameters
    ----------
    entry : Path
    video_id : str
    archived : bool
        As in `frames_of_video`.

    Returns
    -------
    files : dict of str to str
        Names in the entry, and their paths below the folder of all frames.
    rows : list of dict
        For tables.FRAMES.
    dropped : str
        Why there are no more frames, or "".
    """
    found = json.loads((entry / "frames.json").read_text())
    folder = f"{video_id}{archive.SUFFIX if archived else ''}"
    rows = [
        {
            **row,
            "frame_id": f"{video_id}_{row['frame_number']:06d}",
            "video_id": video_id,
            "path": f"{folder}/{row['path']}",
        }
        for row in found["frames"]
    ]
    files = {row["path"]: f"{folder}/{row['path']}" for row in found["frames"]}
    if archived:
        files = {archive.PICTURES: folder} if rows else {}
    return files, rows, found["dropped"]


def expected_frames(video: Mapping[Any, Any], settings: FrameSettings) -> float:
    """Estimate the number of frames of a video; a still picture has no duration and gives one.

    Parameters
    ----------
    video : mapping
        A row of tables.VIDEOS.
    settings : FrameSettings
    """
    all_frames = video["fps"] * video["duration_s"]
    most = settings.per_video or settings.max_per_video
    return float(max(1, min(most, all_frames / (settings.every or 1))))


def expected_bytes(video: Mapping[Any, Any], settings: FrameSettings) -> float:
    """Estimate the bytes of the frames of a video.

    Parameters
    ----------
    video : mapping
        A row of tables.VIDEOS.
    settings : FrameSettings
    """
    pixels = video["width"] * video["height"] * min(1.0, (settings.max_side or 1e9) / max(video["width"], 1)) ** 2
    return expected_frames(video, settings) * frame_bytes(pixels, settings.format)
