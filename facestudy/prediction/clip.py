"""The faces of one clip or picture, found by the steps of the pipeline in a private folder."""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from facestudy.core.errors import StudyError
from facestudy.crops.cutting import canonical_to_frame, read_cut_out
from facestudy.faces import extraction
from facestudy.faces.detection import FaceSettings
from facestudy.faces.face import Face
from facestudy.media import decode
from facestudy.media.frames import FrameSettings
from facestudy.media.video import Limits, MediaError, Probe
from facestudy.runtime.work_cache import file_sha256

MIN_SIZE, MIN_SHARPNESS = 60.0, 10.0
"""Smaller and more blurred faces have no score where the study sets no limits; as in `faces.quality`."""


@dataclass(frozen=True)
class Found:
    """A face that can be scored.

    Attributes
    ----------
    face : Face
        With its cut-out in `picture`.
    person : int
        From 1, the one with most faces first.
    frame : int
        Number of its frame, from 0.
    time_s : float
        Of the frame, seconds.
    """

    face: Face
    person: int
    frame: int
    time_s: float


@dataclass(frozen=True)
class Examined:
    """What is in a clip.

    Attributes
    ----------
    probe : Probe
        Codec, size, length.
    sha256 : str
        Of the file.
    frames : int
        How many frames were examined.
    found : list of Found
        The faces, by person and time.
    skipped : mapping of str to int
        Reasons, as the stage `faces` gives them, and how many frames or faces were left out for each.
    undecoded : str
        Why not all frames could be examined, or "".
    """

    probe: Probe
    sha256: str
    frames: int
    found: list[Found]
    skipped: Mapping[str, int]
    undecoded: str


def examine(path: Path, frames: FrameSettings, faces: FaceSettings, limits: Limits, folder: Path) -> Examined:
    """Take frames of a file, and find and measure the faces in them.

    Where no frame has more than one usable face, all of them are taken for one person, as in the stage `faces`.
    Otherwise a person is followed by the box.

    Parameters
    ----------
    path : Path
        A video or picture.
    frames : FrameSettings
        Which frames are taken.
    faces : FaceSettings
        How faces are found and which are usable; all faces of a frame are, whatever `all` says.
    limits : Limits
        What the file may be, and what decoding it may take.
    folder : Path
        An empty folder for frames and cut-outs.

    Returns
    -------
    Examined

    Raises
    ------
    MediaError
        When the file cannot be used; the message is the reason.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise MediaError("not a regular file")
        probe, sha256 = decode.probe(path, limits), file_sha256(path)
        decode.extract(path, frames, limits, folder)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise MediaError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    listed = json.loads((folder / "frames.json").read_text())
    rows = {f"{row['frame_number']:06d}": row for row in listed["frames"]}
    settings = faces.model_copy(update={"all": True})
    cut_outs = folder / "faces"
    cut_outs.mkdir()
    extraction.search([(row["path"], row["sha256"]) for row in rows.values()], folder, settings, cut_outs)
    answers = json.loads((cut_outs / "faces.json").read_text())
    kept, dropped = extraction.rows_of("clip", "", list(rows), answers, settings)
    odd = [row for row in kept if not can_be_placed(Face.from_row(row))]
    kept = [row for row in kept if row not in odd]
    alone = len({row["frame_id"] for row in kept}) == len(kept)
    tracks = Counter("one" if alone else row["track_id"] for row in kept)
    people = {track: number for number, (track, _) in enumerate(tracks.most_common(), 1)}
    found = []
    for row in kept:
        face, frame = Face.from_row(row), rows[row["frame_id"]]
        face = replace(face, picture=read_cut_out(cut_outs, face))
        person = people["one" if alone else row["track_id"]]
        found.append(Found(face, person, frame["frame_number"], frame["time_s"]))
    return Examined(
        probe,
        sha256,
        len(rows),
        sorted(found, key=lambda one: (one.person, one.frame)),
        Counter([*(row["reason"] for row in dropped), *("implausible_landmarks" for _ in odd)]),
        listed["dropped"],
    )


def minimum(settings: FaceSettings) -> FaceSettings:
    """Add a least size and sharpness to settings that have none."""
    floor = {"min_size": MIN_SIZE, "min_sharpness": MIN_SHARPNESS}
    missing = {name: value for name, value in floor.items() if getattr(settings.quality, name) is None}
    return settings.model_copy(update={"quality": settings.quality.model_copy(update=missing)})


def can_be_placed(face: Face) -> bool:
    """Check whether the landmarks of a face place a canonical face; otherwise no crop can be cut."""
    try:
        canonical_to_frame(face)
    except StudyError:
        return False
    return True
