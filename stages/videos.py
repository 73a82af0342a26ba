"""The videos named by `source`: data/videos/index.csv, and the clips themselves for the sample."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import functools
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.media.video import OWN_FILES, probe
from facestudy.runtime.disk import CLIP_BYTES
from facestudy.runtime.parallel import ComputeSettings, map_items
from facestudy.runtime.work_cache import WorkCache, code_below, file_sha256, key_of, link_or_copy
from facestudy.sample.clips import Clip, SampleSettings, list_clips, render
from facestudy.sources import youtube
from facestudy.sources.folder import FolderSettings, examine, list_items, of_other_types
from facestudy.sources.youtube import YoutubeSettings
from stages.stage import WORK_CACHE, check_disk_space, output_folder, read_params, run, section

OUT = Path("data/videos")


def one_clip(clip: Clip, settings: SampleSettings, boxes: dict[str, Box], code: dict[str, str]) -> Path:
    """The work-cache entry with a rendered clip and its truth; `code` is a part of its key."""
    key = key_of(clip.video_id, settings.model_dump(exclude={"people"}), boxes, code)
    return WorkCache(WORK_CACHE / "videos").entry(key, lambda folder: render(clip, settings, boxes, folder))


def from_sample(params: dict[str, Any], out: Path) -> list[dict[str, object]]:
    """Render every clip of the sample into out; their rows."""
    settings = section(params, "sample", SampleSettings)
    boxes = section(params, "regions", dict[str, Box])
    clips = list_clips(settings)
    check_disk_space(len(clips) * settings.frames * settings.width * settings.height * CLIP_BYTES)
    work = functools.partial(one_clip, settings=settings, boxes=boxes, code=code_below("facestudy.sample.clips"))
    rows: list[dict[str, object]] = []
    for clip, entry in zip(
        clips, map_items(work, clips, section(params, "compute", ComputeSettings), "videos"), strict=True
    ):
        for file in (f"{clip.video_id}.mp4", f"{clip.video_id}.npz"):
            link_or_copy(entry / file, out / file)
        path = out / f"{clip.video_id}.mp4"
        found = probe(path, OWN_FILES)
        rows.append(
            {
                **{name: getattr(clip, name) for name in ("video_id", "label", "identity", "donor", "method")},
                **vars(found),
                "path": path.name,
                "sha256": file_sha256(path),
                "origin": "sample",
                "truth_path": f"{clip.video_id}.npz",
                "status": "ok",
            }
        )
    return rows


def from_folder(params: dict[str, Any], out: Path) -> list[dict[str, object]]:
    """Look into every video and picture of the folder; the rows of all files. Nothing is copied: `out` stays empty."""
    settings = section(params, "folder", FolderSettings)
    work = functools.partial(examine, settings=settings)
    found = map_items(work, list_items(settings), section(params, "compute", ComputeSettings), "videos")
    return [*found, *of_other_types(settings)]


def from_youtube(params: dict[str, Any], out: Path) -> list[dict[str, object]]:
    """Fetch what the lists name into out; the rows, and requests.csv with what became of each link.

    Raises StudyError when a class ends with fewer videos than the study needs.
    """
    settings = section(params, "youtube", YoutubeSettings)
    limits = section(params, "folder", FolderSettings).limits
    cache = WorkCache(WORK_CACHE / "videos")
    links, repeats = youtube.wanted(settings, cache)
    print(youtube.announcement(links, repeats, settings), flush=True)
    check_disk_space(1e9 * youtube.expected_video_gb(len(links), settings))
    rows, requests = [], []
    for outcome in youtube.obtain(links, settings, limits, cache):
        row = youtube.row(outcome)
        rows.append(row)
        requests.append(youtube.request_row(outcome, row))
        if outcome.entry is not None:
            link_or_copy(outcome.entry / youtube.probe_of(outcome.entry)["file"], out / str(row["path"]))
    tables.write(out / "requests.csv", tables.to_dataframe(requests, youtube.REQUESTS), youtube.REQUESTS)
    print(youtube.report(rows), flush=True)
    youtube.check_enough(rows, settings)
    return rows


SOURCES = {"sample": from_sample, "folder": from_folder, "youtube": from_youtube}


def main() -> str:
    params = read_params()
    source = section(params, "source", str)
    if source not in SOURCES:
        raise StudyError(f"params.yaml: source = {source!r} is not one of {', '.join(SOURCES)}.")
    with output_folder(OUT) as out:
        rows = SOURCES[source](params, out)
        index = tables.to_dataframe(rows, tables.VIDEOS)
        tables.write(out / "index.csv", index, tables.VIDEOS)
        return summary(index)  # refuses when a class has no usable video; nothing is left then


def summary(index: pd.DataFrame) -> str:
    """Videos of each class that can be used, and why the others cannot.

    Raises StudyError when a class has none.
    """
    ok = index[index["status"] == "ok"]
    reasons = Counter(index.loc[index["status"] == "rejected", "reason"])
    listed = "; ".join(f"{count} rejected: {reason}" for reason, count in reasons.most_common(5))
    for label in tables.LABELS:
        if not (ok["label"] == label).any():
            raise StudyError(f"none of the {(index['label'] == label).sum()} {label} videos can be used ({listed}).")
    counts = " + ".join(f"{(ok['label'] == label).sum()} {label}" for label in tables.LABELS)
    return f"{len(index)} videos in, {counts} usable" + (f"; {listed} (data/videos/index.csv)" if listed else "")


if __name__ == "__main__":
    run("videos", main)
