"""Frames of every usable video: data/frames/."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import functools
from pathlib import Path

from facestudy.core import tables
from facestudy.core.errors import AlteredFileError, StudyError
from facestudy.media.archive import StorageSettings
from facestudy.media.extraction import expected_bytes, expected_frames, frames_of_video, stored_frames, wanted_parts
from facestudy.media.frames import FrameSettings
from facestudy.media.settings import DecodingSettings
from facestudy.runtime.parallel import ComputeSettings, map_items
from facestudy.runtime.work_cache import code_below, link_or_copy
from facestudy.sources.folder import FolderSettings
from stages.stage import WORK_CACHE, check_disk_space, output_folder, read_params, run, section


def main() -> str:
    params = read_params()
    settings = section(params, "frames", FrameSettings)
    folder = section(params, "folder", FolderSettings)
    root = Path(folder.path) if section(params, "source", str) == "folder" else Path("data/videos")
    videos = tables.read(Path("data/videos/index.csv"), tables.VIDEOS)
    usable = videos[videos["status"] == "ok"]
    listed = usable.to_dict("records")
    expected = sum(expected_frames(row, settings) for row in listed)
    archived = section(params, "storage", StorageSettings).archived(expected, len(usable))
    work = functools.partial(
        frames_of_video,
        root=root,
        settings=settings,
        limits=section(params, "decoding", DecodingSettings).limits,
        archived=archived,
        cache=WORK_CACHE / "frames",
        code=code_below("facestudy.media.extraction"),
    )
    check_disk_space(sum(expected_bytes(row, settings) for row in listed))
    rows, dropped = [], []
    with output_folder(Path("data/frames")) as out:
        entries = map_items(work, wanted_parts(usable), section(params, "compute", ComputeSettings), "frames")
        try:
            for video_id, entry in zip(usable["video_id"], entries, strict=True):
                files, found, reason = stored_frames(entry, video_id, archived)
                for name, path in files.items():
                    link_or_copy(entry / name, out / path)
                rows += found
                if reason:
                    dropped.append({"video_id": video_id, "reason": reason})
        except AlteredFileError as error:
            again = "`dvc repro --force --single-item videos` looks at the videos again"
            raise StudyError(f"{error}; {again}.") from None
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
