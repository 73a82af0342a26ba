"""Quality of the picture of a face: five measures, thresholds on them, and what the thresholds exclude of each class.

Thresholds are the same for both classes. They can still exclude more of one class than of the other. Then the
remaining faces differ in more than the manipulation: `exclusions` counts and tests this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from facestudy.core.arrays import FloatArray, Picture
from facestudy.core.regions import CANONICAL_LANDMARKS, apply, to_canonical
from facestudy.core.settings import Section
from facestudy.core.tables import LABELS

SIDE = 112
"""Pixels; sharpness is measured on the face at this size, so that it does not depend on the size of the face."""
GRID = 8
"""Pixels; the block size of JPEG and of the transforms of most video codecs."""

Limit = Annotated[float, Field(ge=0)] | None


class QualitySettings(Section):
    """`faces.quality` of params.yaml; null: no threshold."""

    min_size: Limit
    min_sharpness: Limit
    min_brightness: Limit
    max_brightness: Limit
    max_landmark_error: Limit
    max_blockiness: Limit

    def reason(self, found: Mapping[str, float]) -> str:
        """Say why a face is left out.

        Parameters
        ----------
        found : mapping of str to float
            The measures of the face, as `measure` returns them.

        Returns
        -------
        str
            The first threshold that the face fails, or "" when it passes all.

        Examples
        --------
        >>> limits = dict.fromkeys(QualitySettings.model_fields) | {"min_size": 40}
        >>> QualitySettings(**limits).reason({"size": 39.5})
        'size_below_40'
        """
        for name, limit in self.model_dump().items():
            side, measure = name.split("_", 1)
            if limit is not None and (found[measure] < limit if side == "min" else found[measure] > limit):
                return f"{measure}_{'below' if side == 'min' else 'above'}_{limit:g}"
        return ""


def measure(picture: Picture, box: tuple[float, float, float, float], landmarks: FloatArray) -> dict[str, float]:
    """Compute the five measures of a face.

    - size: the shorter side of the box, pixels;
    - sharpness: variance of the Laplacian of the grey levels, with the face scaled to SIDE pixels;
    - brightness: mean grey level, 0 to 255;
    - landmark_error: root mean square distance of the landmarks from those of the canonical face, after the
      best-fitting similarity transform, in units of the distance between the eyes. It is small for a frontal face, and
      .2 or more for a profile or a wrong detection;
    - blockiness: mean step between neighbouring grey levels across the edges of the GRID, divided by that elsewhere; 1
      without blocks.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        The frame, RGB.
    box : tuple of float
        x, y, w, h of the face, in pixels of the frame.
    landmarks : ndarray of float, shape (5, 2)
        In pixels of the frame, in the order of facestudy.core.regions.

    Returns
    -------
    dict of str to float
        The measures, named as the columns of the faces table.

    References
    ----------
    Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000 (sharpness). Blockiness follows the
    idea of Wang, Sheikh and Bovik, No-reference perceptual quality assessment of JPEG compressed images, ICIP 2002.
    """
    x, y, w, h = box
    # A box entirely outside the frame is measured on the nearest pixels.
    left, top = min(max(0, round(x)), picture.shape[1] - 1), min(max(0, round(y)), picture.shape[0] - 1)
    part = picture[top : max(top + 1, round(y + h)), left : max(left + 1, round(x + w))]
    inside = cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2GRAY)
    standard = cv2.resize(inside, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return {
        "size": min(w, h),
        "sharpness": sharpness(standard),
        "brightness": float(inside.mean()),
        "landmark_error": landmark_error(landmarks),
        "blockiness": blockiness(inside, left % GRID, top % GRID),
    }


def sharpness(grey: npt.NDArray[np.uint8]) -> float:
    """Compute the variance of the Laplacian of grey levels.

    Parameters
    ----------
    grey : ndarray of uint8, shape (height, width)
        Grey levels.

    Returns
    -------
    float

    References
    ----------
    Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000.
    """
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def landmark_error(landmarks: FloatArray) -> float:
    """Compute how far landmarks are from those of the canonical face; see `measure`.

    Parameters
    ----------
    landmarks : ndarray of float, shape (5, 2)
        In any unit of length.

    Returns
    -------
    float
        In units of the distance between the eyes; infinite when all landmarks coincide.

    Examples
    --------
    >>> landmark_error(CANONICAL_LANDMARKS * 300 + 20) < 1e-9
    True
    """
    if np.ptp(landmarks, axis=0).max() == 0:
        return float("inf")
    away = apply(to_canonical(landmarks), landmarks) - CANONICAL_LANDMARKS
    between_eyes = CANONICAL_LANDMARKS[1, 0] - CANONICAL_LANDMARKS[0, 0]
    return float(np.sqrt((away**2).sum(axis=1).mean()) / between_eyes)


def blockiness(grey: npt.NDArray[np.uint8], left: int, top: int) -> float:
    """Compare the steps between grey levels across the edges of blocks with the steps elsewhere; see `measure`.

    Parameters
    ----------
    grey : ndarray of uint8, shape (height, width)
        Grey levels.
    left, top : int
        Column and row of the first pixel within its block, 0 to GRID - 1.

    Returns
    -------
    float
        The ratio of the mean steps; 1 without blocks, and where it is undefined.

    Examples
    --------
    >>> columns = np.repeat(np.array([0, 40], np.uint8), 8) + np.tile(np.arange(8, dtype=np.uint8), 2)
    >>> blockiness(np.tile(columns, (16, 1)), 0, 0) > 1
    True
    """
    across, elsewhere = [], []
    for axis, first in ((1, left), (0, top)):
        steps = np.abs(np.diff(grey.astype(np.int16), axis=axis)).mean(axis=1 - axis)
        on_edge = (np.arange(len(steps)) + first + 1) % GRID == 0
        across.append(steps[on_edge])
        elsewhere.append(steps[~on_edge])
    edges, others = np.concatenate(across), np.concatenate(elsewhere)
    if len(edges) == 0 or len(others) == 0 or others.mean() == 0:
        return 1.0
    return float(edges.mean() / others.mean())


BEYOND_CHANCE = 0.05
"""The summary warns of a difference between the classes when p is below this value."""


@dataclass(frozen=True)
class Exclusion:
    """How many faces, or frames without a face, were left out of each class for one reason.

    Attributes
    ----------
    reason : str
        The reason.
    dropped : mapping of str to int
        For each class, how many were left out for this reason.
    examined : mapping of str to int
        For each class, how many were examined.
    p : float
        Two-sided p-value of the difference between the classes, multiplied by the number of reasons (Bonferroni). It is
        from a permutation of the classes over the videos, because frames of one video are alike. NaN with fewer than
        two videos of a class.
    """

    reason: str
    dropped: Mapping[str, int]
    examined: Mapping[str, int]
    p: float


def exclusions(
    kept: Sequence[Mapping[str, object]], dropped: Sequence[Mapping[str, object]], seed: int = 1
) -> list[Exclusion]:
    """Count and test the exclusions of each reason.

    Parameters
    ----------
    kept : sequence of mapping
        Rows with video_id and label.
    dropped : sequence of mapping
        Rows with video_id, label and reason.
    seed : int
        Seed of the permutations.

    Returns
    -------
    list of Exclusion
        One for each reason, the most frequent first.
    """
    columns = ["video_id", "label", "reason"]
    rows = [{"reason": "", **{name: row[name] for name in columns if name in row}} for row in (*kept, *dropped)]
    data = pd.DataFrame(rows, columns=columns)
    examined = {label: int((data["label"] == label).sum()) for label in LABELS}
    reasons = data.loc[data["reason"] != "", "reason"].value_counts()
    found = []
    for reason in sorted(reasons.index, key=lambda name: (-reasons[name], name)):
        hit = data["reason"] == reason
        shares = hit.groupby([data["label"], data["video_id"]]).mean()
        real, fake = (shares.get(label, pd.Series(dtype=float)).to_numpy() for label in LABELS)
        counts = {label: int((hit & (data["label"] == label)).sum()) for label in LABELS}
        p = np.minimum(1.0, len(reasons) * _p_of_difference(real, fake, seed))
        found.append(Exclusion(reason, counts, examined, float(p)))
    return found


def _p_of_difference(first: FloatArray, second: FloatArray, seed: int) -> float:
    """Compute p of the difference of two means, by permutation; NaN with fewer than two values on a side."""
    if min(len(first), len(second)) < 2:
        return math.nan
    if np.ptp(np.concatenate([first, second])) == 0:
        return 1.0
    from scipy.stats import permutation_test  # takes most of a second

    result = permutation_test(
        (first, second),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        vectorized=True,
        n_resamples=9999,
        batch=max(1, 10_000_000 // (len(first) + len(second))),
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def exclusion_table(exclusions: Sequence[Exclusion]) -> pd.DataFrame:
    """Make metrics/faces.csv: for each reason, how many faces or frames of each class were left out, and p.

    Parameters
    ----------
    exclusions : sequence of Exclusion
        As `exclusions` returns them.

    Returns
    -------
    DataFrame
        One row for each reason; p is text with four decimals, or empty.
    """
    columns = ["reason", *(f"{label}_{what}" for label in LABELS for what in ("dropped", "examined")), "p"]
    rows = [
        [
            one.reason,
            *(n for label in LABELS for n in (one.dropped[label], one.examined[label])),
            one.p,
        ]
        for one in exclusions
    ]
    table = pd.DataFrame(rows, columns=columns)
    table["p"] = ["" if math.isnan(p) else f"{p:.4f}" for p in table["p"]]
    return table


def summary(frame_count: int, found: Sequence[Mapping[str, Any]], exclusions: Sequence[Exclusion]) -> str:
    """Describe how many faces each class has, why others were left out, and which reasons are imbalanced.

    Parameters
    ----------
    frame_count : int
        The number of frames that were searched.
    found : sequence of mapping
        Rows of tables.FACES.
    exclusions : sequence of Exclusion
        As `exclusions` returns them.

    Returns
    -------
    str
        Lines for the log, with a warning for each reason whose p is below BEYOND_CHANCE.
    """
    rates = "; ".join(rate(label, sum(row["label"] == label for row in found), exclusions) for label in LABELS)
    lines = [f"{frame_count} frames in, {len(found)} faces out; {rates}"]
    turned = len({row["video_id"] for row in found if row["rotation"]})
    if turned:
        lines.append(f"  {turned} video{'s' if turned > 1 else ''} turned upright (column `rotation` of the faces)")
    for one in exclusions:
        if one.p < BEYOND_CHANCE:
            taken = " and ".join(f"{one.dropped[label]} of {one.examined[label]} {label}" for label in LABELS)
            lines.append(
                f"  warning: {one.reason} excluded {taken} frames (p = {one.p:.3f}); a model may learn that imbalance"
            )
    return "\n".join(lines)


def rate(label: str, kept: int, exclusions: Sequence[Exclusion]) -> str:
    """Describe the share of a class's frames that gave a face, and why the others did not.

    Parameters
    ----------
    label : str
        "real" or "fake".
    kept : int
        The number of faces of the class.
    exclusions : sequence of Exclusion
        As `exclusions` returns them.

    Returns
    -------
    str

    Examples
    --------
    >>> rate("real", 3, [Exclusion("no_face", {"real": 1, "fake": 0}, {"real": 4, "fake": 4}, 1.0)])
    'real 3 of 4 (75.0%), without: 1 no_face'
    """
    total = kept + sum(one.dropped[label] for one in exclusions)
    share = f"{kept / total:.1%}" if total else "none"
    listed = ", ".join(f"{one.dropped[label]} {one.reason}" for one in exclusions if one.dropped[label])
    return f"{label} {kept} of {total} ({share})" + (f", without: {listed}" if listed else "")
