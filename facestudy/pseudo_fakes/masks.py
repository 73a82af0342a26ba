"""Masks of the altered area: an outline on the canonical face, deformed, with a soft edge, placed by the landmarks.

The papers take the convex hull of 68 or 81 landmarks. MTCNN finds five, so the hull here is that of an average face,
drawn on the canonical face of facestudy.core.regions. A mask is drawn once for a clip; in each frame the similarity of
the landmarks places it, and where the head is turned, the far half is made narrower.

No function in this module rounds differently on another CPU: random numbers are uniform, and the rest is sums, products
and OpenCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from facestudy.core.arrays import FloatArray, Layer, Picture
from facestudy.core.regions import CANONICAL_LANDMARKS, apply, similarity

UNIT = 256
"""Pixels of the canvas for one canonical unit."""
MARGIN = 32
"""Pixels of the canvas around the canonical face, for soft edges."""
SIDE = UNIT + 2 * MARGIN
CANVAS_LANDMARKS: FloatArray = CANONICAL_LANDMARKS * UNIT + MARGIN
"""(5, 2) x, y in pixels of the canvas."""

JAW = ((0.19, 0.40), (0.19, 0.52), (0.21, 0.64), (0.27, 0.76), (0.37, 0.87), (0.50, 0.915))
"""Left half of the jaw down to the chin, canonical units; the right half mirrors it."""
BROWS = ((0.23, 0.29), (0.34, 0.255))
FOREHEAD = ((0.24, 0.25), (0.30, 0.16), (0.41, 0.115))
"""Left halves of the upper edge: above the brows (68 landmarks), or up to the forehead (81 landmarks)."""

NARROWING = 6.5
"""How much narrower the far half of a turned face is, per canonical unit that its nose lies off the middle: the edge of
the face lies about twice as far behind the eyes as the tip of the nose lies in front of them."""
NARROWEST = 0.4

FULL = 1 - 1e-4
"""From here on a blurred mask counts as 1."""
KERNELS = tuple(range(5, 26, 2))
"""Sides of Gaussian kernels, pixels of the canvas."""
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
"""Blend ratios of self-blended images (Shiohara & Yamasaki 2022, section 3)."""


@dataclass(frozen=True)
class MaskPlan:
    """The numbers that a mask is drawn with.

    Attributes
    ----------
    forehead : bool
        Whether the outline includes the forehead.
    grid : int
        Points of the field of displacements along each axis: many for elastic, few for coarse deformation.
    amplitude : float
        The largest displacement, canonical units.
    kernels : tuple of int
        Sides of the Gaussian kernels, pixels of the canvas. With two, the mask is cut back to where the first blur left
        it at 1, so a larger first kernel erodes the mask and a larger second one widens it.
    ratio : float
        The mask is multiplied by it.
    """

    forehead: bool
    grid: int
    amplitude: float
    kernels: tuple[int, ...]
    ratio: float


def self_blend_plan(rng: np.random.Generator) -> MaskPlan:
    """Draw the numbers of a mask as for self-blended images.

    Parameters
    ----------
    rng
        Where the random numbers come from.

    Returns
    -------
    MaskPlan

    References
    ----------
    Shiohara and Yamasaki, Detecting Deepfakes with Self-Blended Images, CVPR 2022, section 3.
    """
    return MaskPlan(
        forehead=bool(rng.integers(4) > 0),
        grid=12,
        amplitude=0.02,
        kernels=tuple(KERNELS[n] for n in rng.integers(len(KERNELS), size=2)),
        ratio=RATIOS[rng.integers(len(RATIOS))],
    )


def donor_plan(rng: np.random.Generator) -> MaskPlan:
    """Draw the numbers of a mask as for Face X-ray: a coarse deformation and one blur.

    Parameters
    ----------
    rng
        Where the random numbers come from.

    Returns
    -------
    MaskPlan

    References
    ----------
    Li et al., Face X-ray for More General Face Forgery Detection, CVPR 2020, section 4.
    """
    return MaskPlan(forehead=False, grid=4, amplitude=0.03, kernels=(KERNELS[rng.integers(len(KERNELS))],), ratio=1.0)


def outline(forehead: bool) -> FloatArray:
    """Return the convex outline of an average face.

    Parameters
    ----------
    forehead
        Whether it includes the forehead.

    Returns
    -------
    ndarray of shape (n, 2)
        x, y in canonical units.

    Examples
    --------
    >>> outline(False)[:, 1].min().round(3), outline(True)[:, 1].min().round(3)
    (np.float64(0.255), np.float64(0.115))
    """
    left = np.array([*reversed(JAW), *(FOREHEAD if forehead else BROWS)])
    points = np.concatenate([left, left[::-1] * [-1, 1] + [1, 0]]).astype(np.float32)
    return cv2.convexHull(points)[:, 0].astype(float)


def draw_mask(plan: MaskPlan, rng: np.random.Generator) -> Layer:
    """Draw a mask on the canvas.

    Parameters
    ----------
    plan
        The numbers to draw it with.
    rng
        Where the displacements come from.

    Returns
    -------
    ndarray of shape (SIDE, SIDE), float32
        0 to `plan.ratio`; 0 on the border of the canvas.
    """
    corners = np.round((outline(plan.forehead) * UNIT + MARGIN) * 16).astype(np.int32)
    filled = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillConvexPoly(filled, corners[:, None], 255, cv2.LINE_AA, 4)
    mask = _deformed(filled.astype(np.float32) / np.float32(255), plan, rng)
    for number, kernel in enumerate(plan.kernels):
        if number:
            mask = np.where(mask >= FULL, np.float32(1), np.float32(0))
        mask = cv2.GaussianBlur(mask, (kernel, kernel), 0)
    return np.clip(mask, 0, 1) * np.float32(plan.ratio)


def _deformed(mask: Layer, plan: MaskPlan, rng: np.random.Generator) -> Layer:
    """Move each pixel by a smooth random displacement: random vectors on a grid, interpolated in between."""
    field = rng.uniform(-plan.amplitude * UNIT, plan.amplitude * UNIT, (plan.grid, plan.grid, 2)).astype(np.float32)
    shift = cv2.resize(field, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    at = np.arange(SIDE, dtype=np.float32)
    return np.asarray(
        cv2.remap(mask, at[None, :] + shift[..., 0], at[:, None] + shift[..., 1], cv2.INTER_LINEAR), np.float32
    )


def place(mask: Layer, landmarks: FloatArray, shape: tuple[int, ...], donor: FloatArray | None = None) -> Layer:
    """Place a mask on a frame.

    Parameters
    ----------
    mask : ndarray of shape (SIDE, SIDE), float32
        From `draw_mask`.
    landmarks : ndarray of shape (5, 2)
        Points x, y in pixels of the frame.
    shape
        Height and width of the frame, pixels.
    donor : ndarray of shape (5, 2), optional
        The landmarks of the donor's face in its frame. The mask then stays within both faces.

    Returns
    -------
    ndarray of shape (height, width), float32
        0 where the mask does not reach.
    """
    to_canvas = similarity(landmarks, CANVAS_LANDMARKS)
    mask = _narrowed(mask, [landmarks] if donor is None else [landmarks, donor])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(mask, to_canvas, (shape[1], shape[0]), flags=flags), np.float32)


def _narrowed(mask: Layer, faces: Sequence[FloatArray]) -> Layer:
    """Make the halves of a mask narrower that lie on the far side of turned faces."""
    widths = [1.0, 1.0]
    for landmarks in faces:
        across = apply(similarity(landmarks, CANONICAL_LANDMARKS), landmarks)[:, 0]
        off = across[2] - across[[0, 1, 3, 4]].mean()
        far = int(off > 0)
        widths[far] = min(widths[far], max(NARROWEST, 1 - NARROWING * abs(off)))
    from_middle = np.arange(SIDE) - SIDE / 2
    columns = from_middle / np.where(from_middle > 0, widths[1], widths[0]) + SIDE / 2
    at = np.broadcast_arrays(columns.astype(np.float32)[None, :], np.arange(SIDE, dtype=np.float32)[:, None])
    return np.asarray(cv2.remap(mask, at[0].copy(), at[1].copy(), cv2.INTER_LINEAR), np.float32)


def rectangle(share: Layer) -> tuple[slice, slice]:
    """The rows and columns of the smallest rectangle that holds all of a placed mask; empty slices without any."""
    rows, columns = np.flatnonzero(share.any(axis=1)), np.flatnonzero(share.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def blend(target: Picture, source: Picture | Layer, share: Layer, area: tuple[slice, slice]) -> Picture:
    """Blend a source into a frame.

    Parameters
    ----------
    target : ndarray of shape (height, width, 3), uint8
        The frame, which is not changed.
    source : ndarray, shape that of the area with 3 channels, uint8 or float32
        0 to 255.
    share : ndarray of shape (height, width), float32
        Of the source, 0 to 1.
    area
        Rows and columns of the frame beyond which the share is 0.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        Exactly the target where the share is 0.
    """
    blended = target.copy()
    part = target[area].astype(np.float32)
    part += share[area][..., None] * (source.astype(np.float32) - part)
    blended[area] = np.clip(np.floor(part + np.float32(0.5)), 0, 255).astype(np.uint8)
    return blended
