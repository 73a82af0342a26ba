"""What surrounds a drawn person: a room behind and clothes below, drawn with NumPy and OpenCV only.

What makes the bytes the same on every CPU is described in facestudy.sample.people.
"""

from __future__ import annotations

import cv2
import numpy as np

from facestudy.core.arrays import FloatArray, Layer
from facestudy.core.regions import invert
from facestudy.media.resizing import resize
from facestudy.sample.people import cut_off, rounded


def paint_background(rng: np.random.Generator, shape: tuple[int, int]) -> Layer:
    """Paint a room at random: a wall, shelves, lights or frames, in or out of focus.

    Parameters
    ----------
    rng
        Where the random numbers come from.
    shape
        Height and width in pixels.

    Returns
    -------
    ndarray of shape (height, width, 3), float32
        RGB, 0 to 255.
    """
    height, width = shape
    first, second = _colour(rng, 30, 215), _colour(rng, 30, 215)
    second = first + 0.5 * (second - first)
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.arange(width)[None, :, None] / width - 0.5, np.arange(height)[:, None, None] / height - 0.5
    share = np.clip(0.5 + rounded(np.cos, angle) * x + rounded(np.sin, angle) * y, 0, 1)
    scene = (first * (1 - share) + second * share).astype(np.float32)
    kind = rng.integers(4)
    if kind == 1:
        _shelves(scene, rng)
    elif kind == 2:
        _lights(scene, rng)
    elif kind == 3:
        _frames(scene, rng)
    coarse = cut_off(rng.standard_normal((12, 16), dtype=np.float32))
    blotches = resize(coarse, (width, height), cv2.INTER_CUBIC)
    scene += rng.uniform(0, 9) * blotches[..., None]
    focus = height / 240 * rng.uniform(0.4, 3.5)
    scene = cv2.GaussianBlur(scene, (0, 0), focus)
    fine = cut_off(rng.standard_normal((height, width), dtype=np.float32))
    weave = cv2.GaussianBlur(fine, (0, 0), 0.6 * height / 240)
    scene += rng.uniform(0, 7) * weave[..., None]
    return np.clip(scene, 5, 250)


def _colour(rng: np.random.Generator, low: float, high: float) -> FloatArray:
    """A colour between two levels, mostly muted."""
    vivid = rng.uniform(low, high, 3)
    return vivid.mean() + rng.uniform(0.1, 0.7) * (vivid - vivid.mean())


def _shelves(scene: Layer, rng: np.random.Generator) -> None:
    height, width = scene.shape[:2]
    board = rng.uniform(0.18, 0.32) * height
    top = rng.uniform(-board, 0)
    while top < height:
        left = 0.0
        while left < width:
            book = rng.uniform(0.015, 0.05) * width
            up = top + board * rng.uniform(0.1, 0.4)
            box = (int(left), max(0, int(up))), (int(left + book), int(top + board * 0.94))
            cv2.rectangle(scene, *box, _colour(rng, 20, 220).tolist(), -1)
            left += book
        top += board


def _lights(scene: Layer, rng: np.random.Generator) -> None:
    height, width = scene.shape[:2]
    for _ in range(int(rng.integers(8, 26))):
        centre = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        layer = np.zeros(scene.shape[:2], np.float32)
        cv2.circle(layer, centre, int(rng.uniform(0.02, 0.10) * height), float(rng.uniform(0.15, 0.5)), -1)
        scene += (_colour(rng, 90, 255).astype(np.float32) - scene) * layer[..., None]


def _frames(scene: Layer, rng: np.random.Generator) -> None:
    height, width = scene.shape[:2]
    for _ in range(int(rng.integers(2, 6))):
        corner = np.array([rng.uniform(-0.1, 0.9) * width, rng.uniform(-0.1, 0.8) * height])
        size = np.array([rng.uniform(0.1, 0.35) * width, rng.uniform(0.15, 0.5) * height])
        edge = rng.uniform(0.01, 0.03) * height
        for grow, colour in ((edge, _colour(rng, 20, 220)), (0, _colour(rng, 40, 240))):
            low, high = np.round(corner - grow).astype(int), np.round(corner + size + grow).astype(int)
            cv2.rectangle(scene, low.tolist(), high.tolist(), colour.tolist(), -1)


def paint_clothes(rng: np.random.Generator, shape: tuple[int, int], pose: FloatArray, light: FloatArray) -> Layer:
    """Paint shoulders with a neckline under a head.

    Parameters
    ----------
    rng
        Where the random numbers come from.
    shape
        Height and width in pixels.
    pose : ndarray of shape (2, 3)
        The matrix from canonical units to pixels.
    light : ndarray of shape (3,)
        The colour of the light.

    Returns
    -------
    ndarray of shape (height, width, 4), float32
        Colour times alpha, and alpha in 0 to 1.
    """
    height, width = shape
    back = invert(pose)
    x = (back[0, 0] * np.arange(width) + back[0, 2])[None, :] - 0.5
    y = (back[1, 1] * np.arange(height) + back[1, 2])[:, None]
    off = np.abs(x)
    neckline, depth, slope = rng.uniform(0.16, 0.22), rng.uniform(0.0, 0.12), rng.uniform(0.10, 0.25)
    top = 1.06 + slope * rounded(np.power, np.clip((off - neckline) / 0.6, 0, None), 1.3)
    top = np.where(off < neckline, 1.06 + depth * (1 - (off / neckline) ** 2), top)
    top = np.where(off > rng.uniform(0.72, 0.85), 9.0, top)
    alpha = np.clip(0.5 + (y - top) * pose[0, 0] / 1.5, 0, 1)
    colour = np.broadcast_to(_colour(rng, 25, 220) * light, (height, width, 3)).copy()
    pattern = rng.integers(3)
    stripes = rounded(np.sin, (y if pattern == 1 else x) * rng.uniform(40, 110)) * np.ones((height, width))
    if pattern:
        colour *= 1 + 0.25 * np.sign(stripes)[..., None]
    folds = rounded(np.sin, 7 * x + 3 * rounded(np.sin, 5 * y)) * 0.10 - 0.2 * np.clip(off - 0.3, 0, 1)
    colour *= 1 + folds[..., None]
    return np.dstack([np.clip(colour, 5, 245) * alpha[..., None], alpha]).astype(np.float32)
