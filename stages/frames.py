"""Frames of every usable video: data/frames/."""

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
from facestudy.media import archive, decode, frames
from facestudy.media.archive import StorageSettings
from facestudy.media.decode import DecodingStopped
from facestudy.media.frames import FrameSettings
from facestudy.media.video import Limits
from facestudy.runtime.disk import frame_bytes
from facestudy.runtime.parallel import ComputeSettings, map_items
from facestudy.runtime.work_cache import WorkCache, code_below, file_sha256, key_of, link_or_copy
from facestudy.sources.folder import FolderSettings
from stages.stage import WORK_CACHE, check_disk_space, output_folder, read_params, run, section

Wanted = tuple[str, str, float | None, float | None]
"""Of a video: path, sha256, and the start and end in seconds of the part that is wanted."""


def one_video(
    item: Wanted, root: Path, settings: FrameSettings, limits: Limits, archived: bool, code: dict[str, str]
) -> Path:
    """The work-cache entry with the frames of one video, or of the wanted part of it; `code` is a part of its key.

    What time or memory stopped is tried again by the next run: it may be the machine's fault.
    """
    path, sha256, start_s, end_s = item
    part = None if start_s is None and end_s is None else (start_s, end_s)
    bounds = [limits.max_pixels, limits.max_frames, limits.max_streams]
    key = key_of(sha256, Path(path).suffix.lower(), part, settings.model_dump(), bounds, code)
    cache = WorkCache(WORK_CACHE / "frames")

    def build(folder: Path) -> None:
        if not (archived and cache.copy(key, folder)):  # a run may grow past storage.archive_above
            decode.extract(root / path, settings, limits, folder, start_s, end_s)
            if file_sha256(root / path) != sha256:
                raise StudyError(
                    f"{root / path} is not the file that data/videos/index.csv lists (its sha256 differs); "
                    "`dvc repro --force --single-item videos` looks at the videos again."
                )
        if archived:
            archive.pack(folder.glob(f"*.{settings.format}"), folder / archive.PICTURES)

    try:
        return cache.entry(key_of(key, "archived") if archived else key, build)
    except DecodingStopped as error:
        reason = str(error)
        return cache.entry(key_of(key, reason), lambda folder: frames.write_list(folder, [], reason))


def expected_frames(video: dict[Any, Any], settings: FrameSettings) -> float:
    """About how many frames a video will give; a still picture has no duration and gives one."""
    all_frames = video["fps"] * video["duration_s"]
    most = settings.per_video or settings.max_per_video
    return float(max(1, min(most, all_frames / (settings.every or 1))))


def expected_bytes(video: dict[Any, Any], settings: FrameSettings) -> float:
    """About what the frames of a video will take."""
    pixels = video["width"] * video["height"] * min(1.0, (settings.max_side or 1e9) / max(video["width"], 1)) ** 2
    return expected_frames(video, settings) * frame_bytes(pixels, settings.format)


def main() -> str:
    params = read_params()
    settings = section(params, "frames", FrameSettings)
    folder = section(params, "folder", FolderSettings)
    root = Path(folder.path) if section(params, "source", str) == "folder" else Path("data/videos")
    videos = tables.read(Path("data/videos/index.csv"), tables.VIDEOS)
    usable = videos[videos["status"] == "ok"]
    expected = [(expected_frames(row, settings), expected_bytes(row, settings)) for row in usable.to_dict("records")]
    archived = section(params, "storage", StorageSettings).archived(sum(count for count, _ in expected), len(usable))
    code = code_below("facestudy.media.decode", "facestudy.media.archive")
    work = functools.partial(
        one_video, root=root, settings=settings, limits=folder.limits, archived=archived, code=code
    )
    columns = ("path", "sha256", "start_s", "end_s")
    items: list[Wanted] = [
        (path, sha256, None if pd.isna(start) else start, None if pd.isna(end) else end)
        for path, sha256, start, end in zip(*(usable[column] for column in columns), strict=True)
    ]
    check_disk_space(sum(size for _, size in expected))
    rows, dropped = [], []
    with output_folder(Path("data/frames")) as out:
        entries = map_items(work, items, section(params, "compute", ComputeSettings), "frames")
        for video_id, entry in zip(usable["video_id"], entries, strict=True):
            found = json.loads((entry / "frames.json").read_text())
            if found["dropped"]:
                dropped.append({"video_id": video_id, "reason": found["dropped"]})
            if archived and found["frames"]:
                link_or_copy(entry / archive.PICTURES, out / f"{video_id}{archive.SUFFIX}")
            for row in found["frames"]:
                name = f"{video_id}{archive.SUFFIX if archived else ''}/{row['path']}"
                if not archived:
                    link_or_copy(entry / row["path"], out / name)
                rows.append(
                    {
                        **row,
                        "frame_id": f"{video_id}_{row['frame_number']:06d}",
                        "video_id": video_id,
                        "path": name,
                    }
                )
        if not rows:
            reasons = "; ".join(sorted({row["reason"] for row in dropped})[:3])
            raise StudyError(f"no frame could be decoded from {len(usable)} videos ({reasons}); add videos.")
        tables.write(out / "index.csv", tables.to_dataframe(rows, tables.FRAMES), tables.FRAMES)
        tables.write(out / "dropped.csv", tables.to_dataframe(dropped, tables.UNDECODED), tables.UNDECODED)
    return (
        f"{len(usable)} videos in, {len(rows)} frames out; {len(dropped)} videos with frames that could not "
        f"be decoded (data/frames/dropped.csv)"
    )


if __name__ == "__main__":
    run("frames", main)
