"""Self-blended images: a face blended with a slightly altered copy of itself (Shiohara & Yamasaki, CVPR 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facestudy.core.arrays import FloatArray, Picture
from facestudy.core.regions import apply, invert, similarity
from facestudy.pseudo_fakes.masks import CANVAS_LANDMARKS, MARGIN, UNIT

RGB_SHIFT = 20
"""Grey levels by which a channel is shifted at most; each is shifted with probability RGB_CHANCE."""
RGB_CHANCE = 0.3
HUE_SHIFT = 4
"""Steps of 2 degrees."""
SATURATION_SHIFT, VALUE_SHIFT = 20, 15
"""Of 255."""
BRIGHTNESS, CONTRAST = 0.1, 0.1
DOWNSCALE = (2, 4)
SHARPEN = (0.3, 1.0)
SCALE = (0.95, 1.05)
SHIFT = (0.03, 0.015)
"""Across and down, fractions of the canonical face."""


@dataclass(frozen=True)
class PictureChange:
    """Changes of colour and of frequency, the same for all frames of a clip.

    Attributes
    ----------
    rgb : tuple of int
        Grey levels added to each channel.
    hue, saturation, value : int
        Added to these channels of HSV; a step of hue is 2 degrees, the others have 255 steps.
    brightness : float
        Added, a fraction of 255.
    contrast : float
        A pixel is multiplied by 1 + contrast.
    downscale : int
        The factor by which the picture is reduced and enlarged again; 1 for not at all.
    sharpen : float
        The share of the fine contrast that is added (unsharp mask, one pixel); 0 for none.
    """

    rgb: tuple[int, int, int]
    hue: int
    saturation: int
    value: int
    brightness: float
    contrast: float
    downscale: int
    sharpen: float


def draw_change(rng: np.random.Generator) -> PictureChange:
    """Draw changes of colour, and one of frequency: downscaling or sharpening.

    Parameters
    ----------
    rng
        Where the random numbers come from.

    Returns
    -------
    PictureChange

    References
    ----------
    Shiohara and Yamasaki, CVPR 2022, section 3 (source-target generator). The ranges are this project's.
    """
    shifts = rng.integers(-RGB_SHIFT, RGB_SHIFT + 1, 3) * (rng.random(3) < RGB_CHANCE)
    hue, saturation, value = (
        int(rng.integers(-limit, limit + 1)) for limit in (HUE_SHIFT, SATURATION_SHIFT, VALUE_SHIFT)
    )
    brightness, contrast = (round(float(rng.uniform(-limit, limit)), 4) for limit in (BRIGHTNESS, CONTRAST))
    down, factor, amount = rng.integers(2) == 0, DOWNSCALE[rng.integers(2)], round(float(rng.uniform(*SHARPEN)), 4)
    return PictureChange(
        rgb=(int(shifts[0]), int(shifts[1]), int(shifts[2])),
        hue=hue,
        saturation=saturation,
        value=value,
        brightness=brightness,
        contrast=contrast,
        downscale=factor if down else 1,
        sharpen=0.0 if down else amount,
    )


def altered(picture: Picture, changes: PictureChange) -> Picture:
    """Change the colours and frequencies of a picture.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 3), uint8
        RGB.
    changes
        What to change.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
    """
    levels = np.arange(256)
    shifted = np.clip(levels[:, None] + np.array(changes.rgb), 0, 255).astype(np.uint8)
    hsv = cv2.cvtColor(cv2.LUT(picture, shifted[None]), cv2.COLOR_RGB2HSV)
    moved = np.stack(
        [(levels + changes.hue) % 180, levels + changes.saturation, levels + changes.value], axis=1
    )  # OpenCV's hue has 180 steps
    picture = cv2.cvtColor(cv2.LUT(hsv, np.clip(moved, 0, 255).astype(np.uint8)[None]), cv2.COLOR_HSV2RGB)
    contrasted = levels * (1 + changes.contrast) + 255 * changes.brightness
    picture = cv2.LUT(picture, np.clip(np.floor(contrasted + 0.5), 0, 255).astype(np.uint8))
    height, width = picture.shape[:2]
    if changes.downscale > 1:
        small = (max(1, width // changes.downscale), max(1, height // changes.downscale))
        reduced = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
        picture = cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR)
    if changes.sharpen:
        soft = cv2.GaussianBlur(picture, (5, 5), 1.0)
        picture = cv2.addWeighted(picture, 1 + changes.sharpen, soft, -changes.sharpen, 0)
    return np.asarray(picture, np.uint8)


@dataclass(frozen=True)
class Move:
    """How the source is resized and translated on the target, relative to the canonical face.

    Attributes
    ----------
    scale : float
        About the centre of the canonical face.
    right, down : float
        Canonical units.
    """

    scale: float
    right: float
    down: float


def draw_move(rng: np.random.Generator) -> Move:
    """Draw how the source is resized and translated.

    Parameters
    ----------
    rng
        Where the random numbers come from.

    Returns
    -------
    Move
    """
    scale, right, down = rng.uniform(*SCALE), rng.uniform(-SHIFT[0], SHIFT[0]), rng.uniform(-SHIFT[1], SHIFT[1])
    return Move(round(float(scale), 4), round(float(right), 4), round(float(down), 4))


def moved(landmarks: FloatArray, move: Move) -> FloatArray:
    """Find where the points of a face lie once it is resized and translated.

    Parameters
    ----------
    landmarks : ndarray of shape (5, 2)
        Points x, y in pixels of the frame; they decide where the canonical face lies.
    move
        The resizing and translation.

    Returns
    -------
    ndarray of shape (2, 5, 2)
        The canonical landmarks as they lie in the frame, before and after.

    Examples
    --------
    >>> before, after = moved(CANVAS_LANDMARKS, Move(1.0, 0.5, 0.0))
    >>> (after - before).round(6)[0].tolist()
    [128.0, 0.0]
    """
    to_frame = invert(similarity(landmarks, CANVAS_LANDMARKS))
    centre = MARGIN + UNIT / 2
    shift = np.array([move.right, move.down]) * UNIT
    after = (CANVAS_LANDMARKS - centre) * move.scale + centre + shift
    return np.stack([apply(to_frame, CANVAS_LANDMARKS), apply(to_frame, after)])


def source_picture(picture: Picture, points: FloatArray) -> Picture:
    """Resize and translate a frame.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 3), uint8
        RGB.
    points : ndarray of shape (2, 5, 2)
        From `moved`.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
    """
    return np.asarray(
        cv2.warpAffine(
            picture, similarity(points[1], points[0]), (picture.shape[1], picture.shape[0]),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )  # fmt: skip
