"""Source `sample`: every clip of the drawn people, rendered once, and their rows."""

from __future__ import annotations

import functools
from pathlib import Path

from facestudy.core.regions import Box
from facestudy.media.video import OWN_FILES, probe
from facestudy.runtime.disk import CLIP_BYTES
from facestudy.runtime.parallel import ComputeSettings, map_items
from facestudy.runtime.work_cache import WorkCache, code_below, file_sha256, key_of, link_or_copy
from facestudy.sample.clips import Clip, SampleSettings, list_clips, render


def expected_bytes(settings: SampleSettings) -> float:
    """About what the clips will take."""
    return len(list_clips(settings)) * settings.frames * settings.width * settings.height * CLIP_BYTES


def obtain(
    settings: SampleSettings, boxes: dict[str, Box], cache: Path, out: Path, compute: ComputeSettings
) -> list[dict[str, object]]:
    """Render every clip into a folder, unless an earlier run has.

    Parameters
    ----------
    settings, boxes
        The sample, and the regions of the canonical face.
    cache
        The work cache's folder.
    out
        Where the clips and their truth go.
    compute
        Where the work runs.

    Returns
    -------
    list of dict
        A row of tables.VIDEOS for each clip.
    """
    clips = list_clips(settings)
    code = code_below("facestudy.sample.clips")
    work = functools.partial(_entry, settings=settings, boxes=boxes, cache=cache, code=code)
    entries = map_items(work, clips, compute, "videos")
    return [_row(clip, entry, out) for clip, entry in zip(clips, entries, strict=True)]


def _entry(clip: Clip, settings: SampleSettings, boxes: dict[str, Box], cache: Path, code: dict[str, str]) -> Path:
    """The work-cache entry with a rendered clip and its truth; `code` is a part of its key."""
    key = key_of(clip.video_id, settings.model_dump(exclude={"people"}), boxes, code)
    return WorkCache(cache).entry(key, lambda folder: render(clip, settings, boxes, folder))


def _row(clip: Clip, entry: Path, out: Path) -> dict[str, object]:
    for file in (f"{clip.video_id}.mp4", f"{clip.video_id}.npz"):
        link_or_copy(entry / file, out / file)
    path = out / f"{clip.video_id}.mp4"
    return {
        **{name: getattr(clip, name) for name in ("video_id", "label", "identity", "donor", "method")},
        **vars(probe(path, OWN_FILES)),
        "path": path.name,
        "sha256": file_sha256(path),
        "origin": "sample",
        "truth_path": f"{clip.video_id}.npz",
        "status": "ok",
    }
