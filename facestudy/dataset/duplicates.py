"""The same clip twice: identical files, and faces that look alike to a perceptual hash.

A video and its re-encoded copy on two sides of a split are a leak that no name shows. Faces are
compared by the pHash of their cut-outs (Zauner 2010; the package ImageHash), 256 bits, which changes
little by re-encoding and resizing; cut-outs rather than frames, so that borders and captions do not matter.
"""

from __future__ import annotations

import itertools
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import imagehash
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from pydantic import Field

from facestudy.core.settings import Section
from facestudy.core.tables import DUPLICATES, to_dataframe
from facestudy.media.archive import read_bytes
from facestudy.runtime.work_cache import key_of

SIDE = 16
BITS = SIDE * SIDE

BLOCK = 4096
"""Faces that are compared with as many others at once; memory does not grow with the number of faces."""

Bits = npt.NDArray[np.bool_]


class DuplicateSettings(Section):
    """Section `duplicates` of params.yaml."""

    max_distance: Annotated[int, Field(ge=0, lt=BITS // 2)] | None
    min_share: Annotated[float, Field(gt=0, le=1)]


def hash_of(path: Path, sha256: str | None = None) -> Bits:
    """The perceptual hash of a stored picture.

    Parameters
    ----------
    path, sha256
        As in `facestudy.media.archive.read_bytes`.

    Returns
    -------
    ndarray of shape (256,), bool
    """
    with Image.open(BytesIO(read_bytes(path, sha256))) as picture:
        return np.asarray(imagehash.phash(picture, hash_size=SIDE).hash).ravel()


def find(videos: pd.DataFrame, faces: pd.DataFrame, hashes: Bits, settings: DuplicateSettings) -> pd.DataFrame:
    """Find pairs of videos that are the same.

    Identical files are pairs of the first with each other one. Two videos look alike when, of the faces of the one
    with fewer, at least `min_share` have a face in the other that differs by at most `max_distance` bits. Of
    identical files, only the first is compared with other videos in this way.

    Parameters
    ----------
    videos : DataFrame
        The usable videos: columns video_id, label, identity, donor, sha256.
    faces : DataFrame
        Column video_id.
    hashes : ndarray of shape (n, 256), bool
        The hash of each row of `faces`.
    settings
        Section `duplicates` of the settings.

    Returns
    -------
    DataFrame
        The columns of tables.DUPLICATES.
    """
    about = videos.set_index("video_id")
    first_of = about.reset_index().groupby("sha256")["video_id"].transform("min").set_axis(about.index)
    rows = [
        _row(about, first, second, "identical", {})
        for second, first in first_of.items()
        if first != second and about.loc[second, "sha256"]
    ]
    if settings.max_distance is not None:
        once = (faces["video_id"] == faces["video_id"].map(first_of)).to_numpy()
        alike = _alike(faces.loc[once, "video_id"], hashes[once], settings.max_distance)
        alike = alike[alike["matched"] >= settings.min_share * alike["faces"]]
        rows += [_row(about, pair.pop("first"), pair.pop("second"), "near", pair) for pair in alike.to_dict("records")]
    return to_dataframe(rows, DUPLICATES)


def _row(about: pd.DataFrame, first: str, second: str, kind: str, found: dict[Any, Any]) -> dict[str, object]:
    people = [set(about.loc[video, ["identity", "donor"]]) - {""} for video in (first, second)]
    return {
        "pair_id": key_of(first, second)[:16],
        "first": first,
        "second": second,
        **{f"{which}_label": about.loc[video, "label"] for which, video in (("first", first), ("second", second))},
        "kind": kind,
        **found,
        "same_person": "yes" if people[0] & people[1] else "no" if all(people) else "unknown",
    }


def _alike(video_ids: pd.Series, hashes: Bits, max_distance: int) -> pd.DataFrame:
    """Pairs of videos with a face in common, first and second in order of their ids: faces (of the one with
    fewer), how many of them are matched, the least distance."""
    ids = video_ids.to_numpy().astype(str)
    order = np.argsort(ids, kind="stable")
    names, number, sizes = np.unique(ids[order], return_inverse=True, return_counts=True)
    # Signs instead of bits: a matrix product then counts equal less unequal ones.
    signs = np.where(hashes[order], np.float32(1), np.float32(-1))
    starts, parts = range(0, len(signs), BLOCK), []
    for low, high in itertools.combinations_with_replacement(starts, 2):
        product = signs[low : low + BLOCK] @ signs[high : high + BLOCK].T
        row, column = np.nonzero(product >= BITS - 2 * max_distance)
        distance = (BITS - product[row, column]) / 2
        row, column = row + low, column + high
        part = pd.DataFrame({"first": number[row], "second": number[column], "row": row, "column": column})
        parts.append(part.assign(distance=distance)[part["first"] < part["second"]])
    pairs = pd.concat(parts, ignore_index=True).groupby(["first", "second"])
    found = pairs.agg(rows=("row", "nunique"), columns=("column", "nunique"), distance=("distance", "min"))
    found = found.reset_index()
    of_first, of_second = sizes[found["first"]], sizes[found["second"]]
    matched = np.where(of_first <= of_second, found["rows"], found["columns"])
    return pd.DataFrame(
        {
            "first": names[found["first"]],
            "second": names[found["second"]],
            "faces": np.minimum(of_first, of_second),
            "matched": matched,
            "distance": found["distance"].astype(int),
        }
    )


def summary(pairs: pd.DataFrame) -> str:
    """Say how many pairs of each kind there are, and how many join the classes or people not known to be the same."""
    parts = []
    for kind in ("identical", "near"):
        rows = pairs[pairs["kind"] == kind]
        across = int((rows["first_label"] != rows["second_label"]).sum())
        news = int((rows["same_person"] != "yes").sum())
        parts.append(f"{len(rows)} {kind} pairs ({across} of a real and a fake, {news} not known to show one person)")
    return "; ".join(parts)
