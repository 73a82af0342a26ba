"""The inputs of attribution: the places of the regions and of the altered part in the crops of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from facestudy.attribution.areas import altered_area, read_mask, region_area, shown_places
from facestudy.attribution.settings import ALTERED
from facestudy.core.arrays import BoolArray
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.crops.cutting import Plan
from facestudy.faces.face import Face


@dataclass(frozen=True)
class Sight:
    """A face in its frame.

    Attributes
    ----------
    face : Face
    frame : int
        The number of the frame in its clip, from 0.
    frame_width : int
        Pixels, before the frame was turned.
    rotation : int
        Degrees clockwise by which the frame was turned.
    truth : Path, optional
        The file that says what is altered in the clip, where there is one.
    """

    face: Face
    frame: int
    frame_width: int
    rotation: int
    truth: Path | None


def sights(
    ids: Sequence[str], faces: pd.DataFrame, frames: pd.DataFrame, videos: pd.DataFrame, folder: Path
) -> list[Sight]:
    """Look up faces in the tables of a study.

    Parameters
    ----------
    ids
        The ids of the faces.
    faces, frames, videos
        Rows of tables.FACES, FRAMES and VIDEOS.
    folder
        The folder that `truth_path` is relative to.

    Returns
    -------
    list of Sight
        In the order of `ids`.

    Raises
    ------
    StudyError
        When a table lacks a face, its frame or its video.
    """
    wanted = pd.DataFrame({"face_id": ids}).merge(faces, on="face_id", how="left")
    wanted = wanted.merge(frames[["frame_id", "frame_number", "width"]], on="frame_id", how="left")
    wanted = wanted.merge(videos[["video_id", "truth_path"]], on="video_id", how="left")
    lost = wanted[wanted[["frame_number", "truth_path"]].isna().any(axis=1)]
    if len(lost):
        raise StudyError(
            f"the predictions have the face {lost['face_id'].iloc[0]}, but data/faces/, data/frames/ or data/videos/ "
            "is of another run; `dvc repro` or `dvc pull` brings them up to date."
        )
    return [
        Sight(
            Face.from_row(row), int(row["frame_number"]), int(row["width"]), int(row["rotation"]),
            folder / row["truth_path"] if row["truth_path"] else None,
        )
        for row in wanted.to_dict("records")
    ]  # fmt: skip


def crop_areas(
    plan: Plan, regions: Mapping[str, Box], seen: Sequence[Sight]
) -> tuple[tuple[str, ...], BoolArray, BoolArray]:
    """Find the regions, and the altered part of fakes, in the crops of a variant.

    Parameters
    ----------
    plan
        The plan of the variant, on the canonical face.
    regions
        Boxes by name.
    seen
        The faces.

    Returns
    -------
    names : tuple of str
        The regions that the crop shows in part, and ALTERED where that is known of any face.
    areas : ndarray of bool, shape (areas, faces, height, width)
    shown : ndarray of bool, shape (height, width)
        Where the crops show a face.

    Raises
    ------
    StudyError
        When a mask cannot be read.
    """
    places = shown_places(plan)
    shown = ~np.isnan(places[..., 0])
    found = {}
    for name, box in regions.items():
        area = region_area(places, box)
        if area.any() and (shown & ~area).any():
            found[name] = area
    altered = np.zeros((len(seen), *shown.shape), bool)
    for number, one in enumerate(seen):
        if one.face.label == "fake" and one.truth is not None:
            mask = read_mask(one.truth, one.frame)
            scale = mask.shape[1] / one.frame_width
            turned = np.rot90(mask, -(one.rotation // 90))
            altered[number] = altered_area(places, one.face, turned, scale)
    if altered.any():
        found[ALTERED] = altered
    areas = np.zeros((len(found), *altered.shape), bool)
    for number, area in enumerate(found.values()):
        areas[number] = area
    return tuple(found), areas, shown
