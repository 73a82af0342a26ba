"""Source `pseudo_fakes`: the real clips of a folder, their real twins and pseudo-fakes, and their rows."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facestudy.core.errors import StudyError
from facestudy.core.tables import Table
from facestudy.media.video import OWN_FILES, Limits, MediaError, probe
from facestudy.pseudo_fakes import donors, tracks
from facestudy.pseudo_fakes.clips import PARAMETERS, REAL, Job, Real, methods_of, render
from facestudy.pseudo_fakes.settings import PseudoFakeSettings
from facestudy.pseudo_fakes.tracks import Source
from facestudy.runtime import environment
from facestudy.runtime.parallel import ComputeSettings, map_items
from facestudy.runtime.work_cache import WorkCache, code_below, file_sha256, key_of, link_or_copy
from facestudy.sources import folder
from facestudy.sources.folder import FolderSettings, make_id
from facestudy.sources.layouts import Item

LABEL = ("real",)
TABLE = Table(
    {
        "video_id": "text",
        "method": "text",
        "real": "text",
        "real_sha256": "text",
        "donor": "text",
        "donor_sha256": "text",
        "seed": "int",
        "frames": "int",
        "left_out": "int",
        "parameters": "text",
    },
    key="video_id",
)
"""pseudo_fakes.csv: for each pseudo-fake the real clip and the donor's, relative to folder.path, the seed of its draws,
frames with and without a face, and the parameters as JSON."""

Row = dict[str, Any]


def expected_bytes(source: FolderSettings, settings: PseudoFakeSettings) -> float:
    """About what the twins of all real clips take.

    Parameters
    ----------
    source, settings
        Sections `folder` and `pseudo_fakes` of the settings.

    Returns
    -------
    float
        For frames of 1280 x 720 pixels, measured on web clips.
    """
    count = len(folder.list_items(source, LABEL))
    return count * (1 + settings.per_clip) * settings.max_frames * 1280 * 720 * 0.05


def obtain(
    settings: PseudoFakeSettings, source: FolderSettings, limits: Limits, cache: Path, out: Path,
    compute: ComputeSettings,
) -> tuple[list[Row], list[Row]]:  # fmt: skip
    """Make the twins of every real clip of a folder, unless an earlier run has.

    Parameters
    ----------
    settings, source
        Sections `pseudo_fakes` and `folder` of the settings. Fakes in the folder are not used.
    limits
        What the files may be.
    cache
        The work cache's folder.
    out
        Where the twins and the masks go.
    compute
        Where the work runs.

    Returns
    -------
    videos : list of dict
        Rows of tables.VIDEOS: a real one and its pseudo-fakes for each usable clip, one with the status "rejected" for
        each other file.
    made : list of dict
        Rows of TABLE.

    Raises
    ------
    StudyError
        When the folder has no usable real clip; see also `facestudy.sources.folder.list_items`.
    """
    items = folder.list_items(source, LABEL)
    find = functools.partial(
        _examined, settings=settings, source=source, limits=limits, cache=cache,
        code=[environment.decisive(), code_below("facestudy.pseudo_fakes.tracks")],
    )  # fmt: skip
    found = [_with_track(row, track) for row, track in map_items(find, items, compute, "faces")]
    usable = {row["video_id"]: row for row in found if row["status"] == "ok"}
    partners = donors.choose_donors(list(map(_clip, usable.values())), settings.seed)
    for name, row in usable.items():
        row["methods"] = methods_of(settings, row["sha256"], name in partners)
        row["giver"] = usable[partners[name]] if "donor_swap" in row["methods"] else None
        if not row["methods"]:
            row |= {"status": "rejected", "reason": "no other person's clip is left to be its donor"}
    jobs = [row for row in found if row["status"] == "ok"]
    make = functools.partial(
        _rendered, settings=settings, limits=limits, cache=cache, code=code_below("facestudy.pseudo_fakes.clips")
    )
    entries = map_items(make, [_job(row) for row in jobs], compute, "videos")
    videos: list[Row] = []
    made: list[Row] = []
    for row, entry in zip(jobs, entries, strict=True):
        if isinstance(entry, str):
            row |= {"status": "rejected", "reason": entry}
        else:
            _place(row, entry, out, videos, made)
    videos += [row for row in found if row["status"] != "ok"]
    others = [row for row in folder.of_other_types(source) if row["label"] in LABEL]
    if not made:
        reasons = Counter(row["reason"] for row in videos).most_common(3)
        listed = "; ".join(f"{count}: {reason}" for reason, count in reasons)
        raise StudyError(f"none of the {len(items)} real clips in {source.path} gives a pseudo-fake ({listed}).")
    return [*videos, *others], made


def _examined(
    item: Item, settings: PseudoFakeSettings, source: FolderSettings, limits: Limits, cache: Path, code: Sequence[Any]
) -> tuple[Row, str]:
    """The row of a file, and its track as text; rejected without a track."""
    row: Row = folder.examine(item, source, limits)
    if row["status"] != "ok":
        return row, ""
    start, end = tracks.middle(float(row["duration_s"]), settings.max_seconds)
    clip = Source(Path(source.path) / item.file, row["sha256"], start, end)
    row |= {"source": clip, "file": row["path"]}
    key = key_of(*_decoded(clip, settings, limits), code)

    def build(entry: Path) -> None:
        taken = tracks.take_frames(clip, settings, limits, entry)
        (entry / "track.json").write_text(tracks.to_json(tracks.find_track(taken, entry)))
        for path in [*entry.glob("*.png"), entry / "frames.json"]:
            path.unlink()

    try:
        entry = WorkCache(cache).entry(key, build)
    except MediaError as error:  # tried again by the next run: the machine may be the cause
        return row | {"status": "rejected", "reason": str(error)}, ""
    return row, (entry / "track.json").read_text()


def _decoded(clip: Source, settings: PseudoFakeSettings, limits: Limits) -> list[object]:
    """What decides the frames of a clip, for keys of the work cache."""
    bounds = [limits.max_pixels, limits.max_frames, limits.max_streams]
    part = [clip.start_s, clip.end_s, settings.max_frames, settings.max_side]
    return [clip.sha256, clip.path.suffix.lower(), part, bounds]


def _with_track(row: Row, text: str) -> Row:
    if not text:
        return row
    track = tracks.from_json(text)
    if track.reason:
        return row | {"status": "rejected", "reason": track.reason}
    # Copies of a file show the same person, whatever their names.
    person = row["identity"] or f"clip-{row['sha256'][:16]}"
    return row | {"track": track, "identity": person}


def _clip(row: Mapping[str, Any]) -> donors.Clip:
    shape = donors.aligned(row["track"].points()).mean(axis=0).round(4)
    return donors.Clip(row["video_id"], row["identity"], row["official_subset"], shape)


def _job(row: Mapping[str, Any]) -> Job:
    giver = row["giver"]
    return Job(
        Real(row["source"], row["track"]), giver and Real(giver["source"], giver["track"]), methods=row["methods"]
    )


def _rendered(
    job: Job, settings: PseudoFakeSettings, limits: Limits, cache: Path, code: Mapping[str, str]
) -> Path | str:
    """The work-cache entry with the twins of a clip, or why there is none."""
    decides = [
        [*_decoded(clip.source, settings, limits), tracks.to_json(clip.track)] if clip else None
        for clip in (job.target, job.donor)
    ]
    chosen = [settings.seed, "self_blend" in settings.methods, settings.quantizer, job.methods]
    try:
        return WorkCache(cache).entry(key_of(decides, chosen, code), lambda entry: render(job, settings, limits, entry))
    except MediaError as error:
        return str(error)


def _place(row: Row, entry: Path, out: Path, videos: list[Row], made: list[Row]) -> None:
    """Put the twins of a clip into the output, and add their rows."""
    link_or_copy(entry / REAL, out / f"{row['video_id']}.mp4")
    videos.append(_row(row, row["video_id"], out))
    counts: Counter[str] = Counter()
    for number, fake in enumerate(json.loads((entry / PARAMETERS).read_text())):
        method = fake["method"]
        counts[method] += 1
        video_id = make_id(row["file"], method) + (f"_{counts[method]}" if counts[method] > 1 else "")
        for suffix in ("mp4", "npz"):
            link_or_copy(entry / f"{number}.{suffix}", out / f"{video_id}.{suffix}")
        giver = row["giver"] if method == "donor_swap" else None
        changes = {"label": "fake", "method": method, "donor": giver["identity"] if giver else ""}
        videos.append(_row(row, video_id, out) | changes | {"truth_path": f"{video_id}.npz"})
        made.append(
            {
                "video_id": video_id,
                "method": method,
                "real": row["file"],
                "real_sha256": row["sha256"],
                "donor": giver["file"] if giver else "",
                "donor_sha256": giver["sha256"] if giver else "",
                "seed": fake["seed"],
                "frames": len(row["track"].names),
                "left_out": row["track"].left_out,
                "parameters": json.dumps(fake["parameters"]),
            }
        )


def _row(row: Mapping[str, Any], video_id: str, out: Path) -> Row:
    """The row of tables.VIDEOS of a twin."""
    path = out / f"{video_id}.mp4"
    return {
        **{name: row[name] for name in ("label", "identity", "donor", "method", "official_subset")},
        **vars(probe(path, OWN_FILES)),
        "video_id": video_id,
        "path": path.name,
        "sha256": file_sha256(path),
        "origin": "pseudo_fakes",
        "status": "ok",
    }
