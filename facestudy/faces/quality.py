"""How good the picture of a face is: five measures, thresholds on them, and what they exclude of each class.

Thresholds hold for both classes alike. They can still take more of one class than of the other, and
then what is left differs in more than the manipulation: `exclusions` counts and tests it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field
from scipy.stats import permutation_test

from facestudy.core.regions import CANONICAL_LANDMARKS, FloatArray, apply, to_canonical
from facestudy.core.settings import Section
from facestudy.core.tables import LABELS
from facestudy.media.video import Picture

SIDE = 112
"""Pixels; sharpness is measured on the face at this size, so that a large face is not sharp by its size."""
GRID = 8
"""Pixels; the blocks of JPEG and of the transforms of most video codecs."""

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
        """Why a face with these measures is left out, or "" when it stays.

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
    """The five measures of a face, named as the columns of the faces table.

    picture: the frame, RGB. box: x, y, w, h of the face in its pixels. landmarks: (5, 2).

    - size: the shorter side of the box, pixels;
    - sharpness: variance of the Laplacian of the grey levels at SIDE pixels;
    - brightness: mean grey level, 0 to 255;
    - landmark_error: root mean square distance of the landmarks from the canonical face's, after the
      similarity that fits best, in distances between the eyes: small from the front, .2 and more in
      profile or where the detector erred;
    - blockiness: mean step between neighbouring grey levels across the edges of the GRID, over that
      elsewhere (after Wang, Sheikh & Bovik 2002); 1 without blocks.
    """
    x, y, w, h = box
    # A box outside the frame altogether is measured on the nearest pixels.
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
    """Variance of the Laplacian of grey levels (Pech-Pacheco et al. 2000)."""
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def landmark_error(landmarks: FloatArray) -> float:
    """See `measure`; (5, 2) landmarks in any units.

    >>> landmark_error(CANONICAL_LANDMARKS * 300 + 20) < 1e-9
    True
    """
    if np.ptp(landmarks, axis=0).max() == 0:
        return float("inf")
    away = apply(to_canonical(landmarks), landmarks) - CANONICAL_LANDMARKS
    between_eyes = CANONICAL_LANDMARKS[1, 0] - CANONICAL_LANDMARKS[0, 0]
    return float(np.sqrt((away**2).sum(axis=1).mean()) / between_eyes)


def blockiness(grey: npt.NDArray[np.uint8], left: int, top: int) -> float:
    """See `measure`; left, top: where on the grid the first pixel lies, 0 to GRID - 1."""
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
"""Below this p the difference between the classes is worth a warning."""


@dataclass(frozen=True)
class Exclusion:
    """How many of the looked-at (faces, or frames without one) a reason took from each class.

    p: two-sided, from a permutation of the classes over the videos, as frames of one video are alike;
    times the number of reasons (Bonferroni).
    """

    reason: str
    dropped: Mapping[str, int]
    examined: Mapping[str, int]
    p: float


def exclusions(
    kept: Sequence[Mapping[str, object]], dropped: Sequence[Mapping[str, object]], seed: int = 1
) -> list[Exclusion]:
    """One Exclusion for each reason, the most frequent first.

    kept, dropped: rows with video_id and label; dropped ones with a reason.
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
        found.append(Exclusion(reason, counts, examined, min(1.0, len(reasons) * _p_of_difference(real, fake, seed))))
    return found


def _p_of_difference(first: FloatArray, second: FloatArray, seed: int) -> float:
    """p of the difference of two means, by permutation; 1 where there is too little to tell."""
    if min(len(first), len(second)) < 2 or np.ptp(np.concatenate([first, second])) == 0:
        return 1.0
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
    """metrics/faces.csv: for each reason how many of each class it took, of how many, and p of the difference."""
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
    table["p"] = [f"{p:.4f}" for p in table["p"]]
    return table


def summary(frame_count: int, found: Sequence[Mapping[str, Any]], exclusions: Sequence[Exclusion]) -> str:
    """Faces of each class, why others were left out, and a warning where a reason took more of one class."""
    rates = "; ".join(rate(label, sum(row["label"] == label for row in found), exclusions) for label in LABELS)
    lines = [f"{frame_count} frames in, {len(found)} faces out; {rates}"]
    turned = len({row["video_id"] for row in found if row["rotation"]})
    if turned:
        lines.append(f"  {turned} video{'s' if turned > 1 else ''} turned upright: `rotation` in data/faces/index.csv")
    for one in exclusions:
        if one.p < BEYOND_CHANCE:
            taken = " and ".join(f"{one.dropped[label]} of {one.examined[label]} {label}" for label in LABELS)
            lines.append(
                f"  warning: {one.reason} excluded {taken} frames (p = {one.p:.3f}); a model may learn that imbalance"
            )
    return "\n".join(lines)


def rate(label: str, kept: int, exclusions: Sequence[Exclusion]) -> str:
    """The share of a class's frames that gave a face, and why the others did not."""
    total = kept + sum(one.dropped[label] for one in exclusions)
    share = f"{kept / total:.1%}" if total else "none"
    listed = ", ".join(f"{one.dropped[label]} {one.reason}" for one in exclusions if one.dropped[label])
    return f"{label} {kept} of {total} ({share})" + (f", without: {listed}" if listed else "")
