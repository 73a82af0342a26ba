"""Drawing people who do not exist: shaded heads with hair, brows, eyes, nose and lips.

A person is a record of numbers drawn at random; a `Head` is that person painted once under a given
light on a texture, with small patches for each state of the eyes and the mouth, so that a frame of
a clip costs one warp. Only NumPy and OpenCV are used, and every random number comes from the
generator that is handed in.

Lengths are in canonical units (facestudy.core.regions), colours are RGB in 0 to 255.

The same bytes on every CPU. NumPy and the C library compute powers, exp, sin, cos and arctan2 with
other instructions on other CPUs, and the last bits differ. So every such function is called through
`rounded`: it is computed in float64 and rounded to float32 before it meets anything else. A float64
result is right to a few units in its last place, and float32 has 29 bits less, so the rounded values
are equal. Sums, differences, products, quotients, square roots and squares (`x**2`) are exactly
rounded everywhere and need no care; a hypotenuse is the root of a sum of squares. Normal numbers are
`cut_off`. These rules hold in facestudy.sample.scenes and facestudy.sample.clips too; tests/test_cpu.py checks them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from facestudy.core.arrays import FloatArray, Layer
from facestudy.core.regions import CANONICAL_LANDMARKS

EYE_STATES = (0.0, 0.35, 0.7, 1.0)
"""How far the eyes are open, from closed to open."""
MOUTH_STATES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""How far the mouth is open."""

NORMAL_LIMIT = 3.65
"""Where normal numbers are cut off: NumPy computes the 0.03 % beyond 3.654 with the C library's logarithm."""

TEXTURE_BOX = (-0.32, -0.38, 1.32, 1.48)
"""What a head's texture spans: left, top, right, bottom."""

FACE_BOX = (0.06, -0.17, 0.94, 1.08)
"""What the widest and longest face fills; skin is painted there and continued outwards."""

DETECTOR_OFFSETS: FloatArray = np.array(
    [[0.0067, -0.0069], [-0.0067, -0.0069], [0.0, -0.0112], [0.0042, -0.0041], [-0.0042, -0.0041]]
)
"""Where a face detector (MTCNN) puts its five points, less the drawn centre of the eye, tip of the
nose and corner of the mouth. Mean over drawings; benchmarks/sample_cues.py prints what is left."""

SKIN_TONES = ((228, 192, 168), (222, 180, 150), (222, 174, 140), (198, 146, 110), (164, 112, 80), (118, 78, 56))
HAIR_TONES = ((30, 24, 22), (54, 38, 28), (92, 62, 40), (112, 80, 50), (150, 120, 80), (108, 58, 38), (112, 108, 106))
IRIS_TONES = ((44, 30, 22), (66, 46, 28), (82, 62, 40), (70, 80, 56), (66, 88, 112), (84, 98, 106))


@dataclass(frozen=True)
class Person:
    """How somebody looks; lengths in canonical units, colours RGB."""

    skin: FloatArray
    hair: FloatArray
    iris: FloatArray
    lips: FloatArray
    face_width: float
    face_bottom: float
    jaw: float
    eyes_apart: float
    eye_width: float
    eye_height: float
    eye_slant: float
    brow_height: float
    brow_thickness: float
    brow_arch: float
    brow_slant: float
    brow_strength: float
    nose_length: float
    nose_width: float
    mouth_height: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    smile: float
    hairline: float
    hairline_curve: float
    fringe: float
    hair_volume: float
    hair_length: float
    bald: bool
    beard: float
    freckles: int
    age: float
    skin_texture: float
    grain: int

    @property
    def landmarks(self) -> FloatArray:
        """The drawn centres of the eyes, tip of the nose and corners of the closed mouth, (5, 2) in canonical units."""
        points = CANONICAL_LANDMARKS.copy()
        points[0, 0] = 0.5 - self.eyes_apart / 2
        points[1, 0] = 0.5 + self.eyes_apart / 2
        points[2, 1] += self.nose_length
        points[3] = 0.5 - self.mouth_width / 2, points[3, 1] + self.mouth_height
        points[4] = 0.5 + self.mouth_width / 2, points[4, 1] + self.mouth_height
        return points


@dataclass(frozen=True)
class Light:
    """The light of a take.

    Attributes
    ----------
    direction : ndarray of shape (3,)
        Where it comes from, a unit vector: x right, y down, z to the viewer.
    ambient : float
        The share that comes from everywhere, 0 to 1.
    colour : ndarray of shape (3,)
        A factor on red, green and blue.
    """

    direction: FloatArray
    ambient: float
    colour: FloatArray


def rounded(function: Callable[..., Any], *arguments: npt.ArrayLike) -> Layer:
    """Compute a function of arrays in float64 and round the result to float32.

    Parameters
    ----------
    function : callable
        A function of NumPy, such as ``np.exp``, or of a generator.
    *arguments : array_like
        Its arguments, converted to float64.

    Returns
    -------
    ndarray of float32

    Examples
    --------
    >>> rounded(np.power, [1, 4], 0.5)
    array([1., 2.], dtype=float32)
    """
    return np.asarray(function(*(np.asarray(argument, np.float64) for argument in arguments)), np.float32)


def cut_off(normal: npt.NDArray[np.floating]) -> npt.NDArray[Any]:
    """Move standard normal numbers beyond NORMAL_LIMIT to it.

    Parameters
    ----------
    normal : ndarray
        What ``Generator.standard_normal`` returns.

    Returns
    -------
    ndarray
        Of the same dtype and shape.

    Examples
    --------
    >>> cut_off(np.array([-4.0, 0.5]))
    array([-3.65,  0.5 ])
    """
    return np.clip(normal, -NORMAL_LIMIT, NORMAL_LIMIT)


def _tone(rng: np.random.Generator, tones: tuple[tuple[int, int, int], ...], spread: float) -> FloatArray:
    """A colour between two neighbours of a scale, with a little spread of its own."""
    place = rng.uniform(0, len(tones) - 1)
    low = int(place)
    first, second = np.array(tones[low], float), np.array(tones[min(low + 1, len(tones) - 1)], float)
    tone = first + (second - first) * (place - low)
    brightness, colour = cut_off(rng.standard_normal(1)), cut_off(rng.standard_normal(3))
    return np.clip(tone * (1 + 0.05 * brightness) + spread * colour, 8, 250)


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a person at random."""
    skin = _tone(rng, SKIN_TONES, 3)
    flush = np.array([rng.uniform(0.62, 0.98), rng.uniform(0.4, 0.62), rng.uniform(0.4, 0.66)])
    long_hair = rng.random() < 0.45
    return Person(
        skin=skin,
        hair=_tone(rng, HAIR_TONES, 2.5),
        iris=_tone(rng, IRIS_TONES, 6),
        lips=np.clip(skin * flush + np.array([22, 8, 10]), 20, 240),
        face_width=rng.uniform(0.625, 0.72),
        face_bottom=rng.uniform(0.93, 1.01),
        jaw=rng.uniform(2.1, 2.8),
        eyes_apart=rng.uniform(0.298, 0.327),
        eye_width=rng.uniform(0.068, 0.082),
        eye_height=rng.uniform(0.018, 0.026),
        eye_slant=rng.uniform(-0.10, 0.12),
        brow_height=rng.uniform(0.078, 0.102),
        brow_thickness=rng.uniform(0.014, 0.024),
        brow_arch=rng.uniform(0.004, 0.024),
        brow_slant=rng.uniform(-0.12, 0.14),
        brow_strength=rng.uniform(0.6, 0.95),
        nose_length=rng.uniform(-0.018, 0.022),
        nose_width=rng.uniform(0.050, 0.072),
        mouth_height=rng.uniform(-0.030, 0.006),
        mouth_width=rng.uniform(0.232, 0.282),
        upper_lip=rng.uniform(0.014, 0.026),
        lower_lip=rng.uniform(0.020, 0.034),
        smile=rng.uniform(-0.006, 0.014),
        hairline=rng.uniform(0.02, 0.085),
        hairline_curve=rng.uniform(0.6, 1.7),
        fringe=float(rng.uniform(0.05, 0.12) if rng.random() < 0.3 else 0.0),
        hair_volume=rng.uniform(0.025, 0.10),
        hair_length=float(rng.uniform(0.75, 1.35) if long_hair else rng.uniform(0.35, 0.5)),
        bald=bool(rng.random() < 0.07),
        beard=float(rng.uniform(0.15, 0.6) if not long_hair and rng.random() < 0.4 else 0.0),
        freckles=int(rng.integers(30, 70) if rng.random() < 0.3 else rng.integers(3, 14)),
        age=rng.uniform(0, 1),
        skin_texture=rng.uniform(0.6, 1.4),
        grain=int(rng.integers(2**31)),
    )


def draw_light(rng: np.random.Generator) -> Light:
    """Draw the light of a take at random."""
    direction = np.array([rng.choice([-1, 1]) * rng.uniform(0.35, 0.9), rng.uniform(-0.75, -0.1), 1.0])
    warmth = rng.uniform(-0.06, 0.06)
    colour = rng.uniform(0.74, 0.98) * np.array([1 + warmth, 1.0, 1 - warmth])
    return Light(_unit(direction), rng.uniform(0.25, 0.45), colour)


def _unit(direction: FloatArray) -> FloatArray:
    return direction / np.sqrt((direction**2).sum())


def mixed_light(first: Light, second: Light, share: float) -> Light:
    """Mix two lights.

    Parameters
    ----------
    first, second
        The lights.
    share
        The share of the second, 0 to 1.

    Returns
    -------
    Light
    """
    direction = first.direction + share * (second.direction - first.direction)
    return Light(
        _unit(direction),
        first.ambient + share * (second.ambient - first.ambient),
        first.colour + share * (second.colour - first.colour),
    )


@dataclass
class Head:
    """A person painted under a light, with patches for each state of the eyes and the mouth.

    Attributes
    ----------
    person : Person
    turn : float
        As in `paint_head`.
    scale : float
        Texture pixels per canonical unit.
    base : ndarray of shape (h, w, 4), float32
        The texture without eyes and mouth: colour times alpha, and alpha in 0 to 1.
    skin : ndarray of shape (h, w), float32
        How much bare skin of the inner face a pixel shows, 0 to 1.
    light : Light
    """

    person: Person
    turn: float
    scale: float
    base: Layer
    skin: Layer
    light: Light
    _patches: dict[tuple[str, int], tuple[slice, slice, Layer]] = field(default_factory=dict)

    def to_texture(self) -> FloatArray:
        """The (2, 3) matrix from canonical units to texture pixels (whole numbers are pixel centres)."""
        left, top = TEXTURE_BOX[:2]
        return np.array([[self.scale, 0, -self.scale * left - 0.5], [0, self.scale, -self.scale * top - 0.5]])

    def landmarks(self, mouth: int) -> FloatArray:
        """The points that a face detector calls eyes, nose and corners of the mouth.

        Parameters
        ----------
        mouth
            The state of the mouth, an index of MOUTH_STATES.

        Returns
        -------
        ndarray of shape (5, 2)
            Canonical units.
        """
        points = _turned(self.person, self.turn) + DETECTOR_OFFSETS
        narrower = 0.012 * MOUTH_STATES[mouth]
        points[3] += narrower, 0.35 * narrower
        points[4] += -narrower, 0.35 * narrower
        return points

    def picture(self, eyes: int, mouth: int) -> Layer:
        """The texture with eyes and mouth in a state.

        Parameters
        ----------
        eyes, mouth
            Indices of EYE_STATES and MOUTH_STATES.

        Returns
        -------
        ndarray of shape (h, w, 4), float32
            Colour times alpha, and alpha in 0 to 1.
        """
        texture = self.base.copy()
        for name, state in (("eyes", eyes), ("mouth", mouth)):
            if (name, state) not in self._patches:
                self._patches[name, state] = self._patch(name, state)
            rows, columns, patch = self._patches[name, state]
            texture[rows, columns, :3] = patch
        return texture

    def _patch(self, name: str, state: int) -> tuple[slice, slice, Layer]:
        points = _turned(self.person, self.turn)
        if name == "eyes":
            box = (points[0, 0] - 0.075, points[0, 1] - 0.07, points[1, 0] + 0.075, points[0, 1] + 0.055)
        else:
            box = (points[3, 0] - 0.04, points[3, 1] - 0.06, points[4, 0] + 0.04, points[3, 1] + 0.17)
        x, y = _grid(self.scale)
        rows, columns = _window(box, x, y, self.scale)
        x, y = x[:, columns], y[rows]
        patch = self.base[rows, columns, :3].copy()
        if name == "eyes":
            _paint_eyes(patch, x, y, self.person, points, EYE_STATES[state], self.light, self.scale)
        else:
            _paint_mouth(patch, x, y, self.person, points, MOUTH_STATES[state], self.light, self.scale)
        return rows, columns, patch


def paint_head(person: Person, light: Light, turn: float, scale: float, skin_only: bool = False) -> Head:
    """Paint a person's head.

    Parameters
    ----------
    person
        Who is painted.
    light
        The light that falls on the head.
    turn
        How far the features are shifted sideways, canonical units; the nose is shifted twice as far.
    scale
        Texture pixels per canonical unit.
    skin_only
        Paint the inner face on skin that fills the texture, without contour, ears or hair: a swap needs its donor
        like this.

    Returns
    -------
    Head
    """
    x, y = _grid(scale)
    rng = np.random.default_rng(person.grain)
    radius = _face_radius(person, x, y)
    rows, columns = _window(FACE_BOX, x, y, scale)
    part = _paint_skin(person, light, turn, scale, x[:, columns], y[rows], radius[rows, columns], rng)
    height, width = radius.shape
    face = cv2.copyMakeBorder(
        part, rows.start, height - rows.stop, columns.start, width - columns.stop, cv2.BORDER_REPLICATE
    )
    alpha = np.ones_like(radius) if skin_only else _soft((radius - 1) * person.face_width / 2, scale)
    hair = np.zeros_like(radius)
    canvas = np.zeros((*radius.shape, 4), np.float32)
    if not skin_only:
        hair_colour = _paint_hair(person, light, scale, x, y, rng)
        back, hair = _hair_masks(person, scale, x, y)
        _over(canvas, hair_colour * np.float32(0.62), back)
        _over(canvas, *_neck(person, light, scale, x, y))
        _over(canvas, *_ears(person, light, scale, x, y))
    _over(canvas, face, alpha)
    if not skin_only:
        _shade(canvas[..., :3], 0.45 * cv2.GaussianBlur(hair, (0, 0), 0.022 * scale) * (1 - hair))
        _over(canvas, hair_colour, hair)
    inner = np.clip((0.985 - radius) / 0.07, 0, 1).astype(np.float32) * (1 - hair)
    return Head(person, turn, scale, canvas, inner, light)


# --- small tools ----------------------------------------------------------------------------------


def _turned(person: Person, turn: float) -> FloatArray:
    points = person.landmarks
    points[:, 0] += turn * np.array([1, 1, 2, 1, 1])
    return points


def _grid(scale: float) -> tuple[Layer, Layer]:
    """Canonical x of a texture's columns (1, w) and y of its rows (h, 1)."""
    left, top, right, bottom = TEXTURE_BOX
    width, height = round((right - left) * scale), round((bottom - top) * scale)
    x = (left + (np.arange(width, dtype=np.float64) + 0.5) / scale).astype(np.float32)
    y = (top + (np.arange(height, dtype=np.float64) + 0.5) / scale).astype(np.float32)
    return x[None, :], y[:, None]


def _window(box: tuple[float, float, float, float], x: Layer, y: Layer, scale: float) -> tuple[slice, slice]:
    """Rows and columns of a grid that lie in a box: left, top, right, bottom."""
    left, top = float(x[0, 0]), float(y[0, 0])
    x0, x1 = (max(0, round((edge - left) * scale)) for edge in (box[0], box[2]))
    y0, y1 = (max(0, round((edge - top) * scale)) for edge in (box[1], box[3]))
    return slice(y0, y1), slice(x0, x1)


def _around(x: float, y: float, reach: float) -> tuple[float, float, float, float]:
    return x - reach, y - reach, x + reach, y + reach


def _triple(share: Layer) -> Layer:
    """One number a pixel as three equal channels: arithmetic on whole pictures is much faster so."""
    share = np.ascontiguousarray(share, np.float32)
    return cv2.merge((share, share, share))


def _soft(distance: npt.NDArray[np.floating], scale: float) -> Layer:
    """1 where a signed distance (canonical units) is inside, 0 outside, a pixel and a half between."""
    return np.clip(0.5 - distance * np.float32(scale / 1.5), 0, 1).astype(np.float32, copy=False)


def _bell(distance: npt.NDArray[np.floating]) -> Layer:
    """The Gaussian bell, 1 at 0 and 1/e at a distance of 1."""
    return rounded(np.exp, -(distance**2))


def _bump(x: Layer, y: Layer, cx: float, cy: float, sx: float, sy: float) -> Layer:
    """A Gaussian bell of height 1."""
    column = _bell((x - np.float32(cx)) / np.float32(sx))
    row = _bell((y - np.float32(cy)) / np.float32(sy))
    return column * row


def _over(canvas: Layer, colour: Layer, alpha: Layer) -> None:
    """Paint a layer over a premultiplied canvas, in place."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not len(rows):
        return
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    share = _triple(alpha[part])
    below = cv2.merge((share, alpha[part]))
    layer = cv2.merge((colour[part] * share, np.ascontiguousarray(alpha[part])))
    canvas[part] = canvas[part] * (1 - below) + layer


def _mix(picture: Layer, colour: FloatArray | Layer, alpha: Layer) -> None:
    """Blend a colour into a picture, in place."""
    picture += (np.asarray(colour, np.float32) - picture) * _triple(alpha)


def _shade(picture: Layer, amount: Layer) -> None:
    """Darken (or lighten, where negative) a picture by a share, in place."""
    picture *= 1 - _triple(amount)


def _grain(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Layer:
    """Smooth noise of standard deviation 1; sigma in pixels."""
    noise: Layer = cut_off(rng.standard_normal(shape[:2], dtype=np.float32))
    if sigma > 0:
        noise = cv2.GaussianBlur(noise, (0, 0), sigma)
        noise /= noise.std()
    return noise


def _face_radius(person: Person, x: Layer, y: Layer) -> Layer:
    """0 at the middle of the face, 1 at its contour: a superellipse, the jaw squarer than the brow."""
    across = np.abs((x - np.float32(0.5)) / np.float32(person.face_width / 2))
    down = y - np.float32(0.44)
    height = -down[down[:, 0] < 0] / np.float32(0.58)
    depth = down[down[:, 0] >= 0] / np.float32(person.face_bottom - 0.44)
    # The cheeks narrow towards the chin: without it the superellipse would be a box.
    taper = 1 + 0.13 * np.minimum(depth, 1.5) ** 2
    return np.vstack([_superellipse(across, height, 2.25), _superellipse(across * taper, depth, person.jaw)])


def _superellipse(across: Layer, along: Layer, power: float) -> Layer:
    return rounded(np.power, rounded(np.power, across, power) + rounded(np.power, along, power), 1 / power)


# --- layers ---------------------------------------------------------------------------------------


def _paint_skin(
    person: Person,
    light: Light,
    turn: float,
    scale: float,
    x: Layer,
    y: Layer,
    radius: Layer,
    rng: np.random.Generator,
) -> Layer:
    """The face without eyes and mouth: complexion, relief, folds, brows, grain."""
    points = _turned(person, turn)
    skin = np.empty((*radius.shape, 3), np.float32)
    skin[:] = person.skin
    _complexion(skin, person, points, x, y, scale, rng)
    _shade(skin, 1 - _relief(person, light, points, x, y, radius))
    _folds(skin, person, points, x, y, scale)
    _paint_brows(skin, person, points, x, y, scale, rng)
    _paint_nostrils(skin, person, points, x, y, scale)
    skin *= light.colour.astype(np.float32)
    return np.clip(skin, 0, 250)


def _complexion(
    skin: Layer,
    person: Person,
    points: FloatArray,
    x: Layer,
    y: Layer,
    scale: float,
    rng: np.random.Generator,
) -> None:
    """Blotches, red cheeks and nose, pores, freckles, beard."""
    shape = skin.shape[:2]
    pores = _grain(rng, shape, 0.009 * scale) * 0.022 + _grain(rng, shape, 0.0045 * scale) * 0.022
    _shade(skin, pores * np.float32(person.skin_texture) + 0.018 * _grain(rng, shape, 0.05 * scale))
    red = sum(_bump(x, y, 0.5 + side * 0.17, 0.58, 0.09, 0.08) for side in (-1, 1))
    red = red + 0.8 * _bump(x, y, points[2, 0], points[2, 1], 0.05, 0.05)
    skin *= 1 - _triple(red) * np.array([-0.02, 0.09, 0.08], np.float32)
    spots = np.zeros(shape, np.float32)
    for _ in range(person.freckles):
        right, down = cut_off(rng.standard_normal(2))
        centre = 0.5 + 0.16 * right, 0.56 + 0.14 * down
        size = rng.uniform(0.003, 0.007)
        rows, columns = _window(_around(*centre, 0.025), x, y, scale)
        spots[rows, columns] += rng.uniform(0.1, 0.34) * _bump(x[:, columns], y[rows], *centre, size, size)
    _mix(skin, person.skin * np.array([0.5, 0.38, 0.32]), np.minimum(spots, 0.6))
    if person.beard:
        mouth = (points[3, 1] + points[4, 1]) / 2
        area = np.clip((y - 0.62 - 0.35 * (0.30 - np.abs(x - 0.5))) / 0.08, 0, 1)
        area = area * (1 - 0.9 * _bump(x, y, 0.5, mouth + 0.01, 0.10, 0.045))
        area = np.maximum(area, 0.9 * _bump(x, y, 0.5, mouth - 0.055, 0.10, 0.022))
        stubble = 0.6 + 0.2 * _grain(rng, shape, 0.004 * scale)
        _mix(skin, person.hair * 0.65 + person.skin * 0.15, np.clip(area * stubble * person.beard, 0, 0.9))


def _relief(person: Person, light: Light, points: FloatArray, x: Layer, y: Layer, radius: Layer) -> Layer:
    """Brightness of the skin: an ellipsoid head with sockets, nose, cheeks and chin, Lambert's law."""
    nose_x, nose_y = points[2]
    brow = points[0, 1] - 0.05
    bridge = 0.5 + (nose_x - 0.5) * np.clip((y - brow) / (nose_y - brow), 0, 1)
    ridge = _bell((x - bridge) / np.float32(0.6 * person.nose_width))
    along = np.clip((y - brow) / 0.04, 0, 1) * np.clip((nose_y + 0.02 - y) / 0.035, 0, 1)
    # Beyond the contour the ellipsoid goes on straight: no bright rim, and no edge in a donor's skin.
    height = 0.36 * np.sqrt(1 - (0.93 * np.minimum(radius, 1)) ** 2) - 0.4 * np.clip(radius - 1, 0, 1)
    height = height + ridge * along * (0.016 + 0.036 * np.clip((y - brow) / (nose_y - brow), 0, 1))
    height += 0.020 * _bump(x, y, nose_x, nose_y, 0.8 * person.nose_width, 0.035)
    for side, eye in ((-1, points[0]), (1, points[1])):
        height -= 0.027 * _bump(x, y, eye[0], eye[1] - 0.005, 0.085, 0.05)
        height += 0.021 * _bump(x, y, 0.5 + side * 0.19, points[2, 1] + 0.005, 0.09, 0.07)
        height += 0.007 * _bump(x, y, nose_x + side * 0.75 * person.nose_width, nose_y + 0.008, 0.02, 0.02)
    mouth = (points[3, 1] + points[4, 1]) / 2
    height += 0.015 * _bump(x, y, 0.5, mouth + 0.14, 0.07, 0.045)
    height -= 0.012 * _bump(x, y, 0.5, mouth + 0.065, 0.08, 0.018)
    step_y, step_x = float(y[1, 0] - y[0, 0]), float(x[0, 1] - x[0, 0])
    slope_y, slope_x = np.gradient(height.astype(np.float32), step_y, step_x)
    lx, ly, lz = (np.float32(v) for v in light.direction)
    lambert = (lz - lx * slope_x - ly * slope_y) / np.sqrt(1 + slope_x**2 + slope_y**2)
    bright = np.float32(light.ambient) + np.float32(1 - light.ambient) * np.clip(lambert / lz, 0, 1.35)
    for eye in points[:2]:  # sockets see less of the sky
        bright = bright * (1 - 0.26 * _bump(x, y, eye[0], eye[1] - 0.012, 0.080, 0.048))
    bright = bright * (1 - 0.30 * _bump(x, y, nose_x, nose_y + 0.042, 0.8 * person.nose_width, 0.022))
    return np.clip(bright, 0.15, 1.3)


def _folds(skin: Layer, person: Person, points: FloatArray, x: Layer, y: Layer, scale: float) -> None:
    """Lines from nose to mouth, under the eyes and on the forehead, deeper with age."""
    lines: list[tuple[list[tuple[float, float]], float, float]] = []
    nose_x, nose_y = points[2]
    for side, eye, corner in ((-1, points[0], points[3]), (1, points[1], points[4])):
        start = (nose_x + side * (person.nose_width + 0.014), nose_y + 0.004)
        end = (corner[0] + side * 0.024, corner[1] - 0.012)
        middle = ((start[0] + end[0]) / 2 + side * 0.016, (start[1] + end[1]) / 2)
        lines.append(([start, middle, end], 0.009, 0.10 + 0.16 * person.age))
        w = person.eye_width
        bag = [(eye[0] - 0.8 * w, eye[1] + 0.034), (eye[0], eye[1] + 0.05), (eye[0] + 0.8 * w, eye[1] + 0.034)]
        lines.append((bag, 0.007, 0.05 + 0.14 * person.age))
    for k in range(3):
        level = 0.15 + 0.035 * k
        bow = [(0.37, level + 0.006), (0.5, level), (0.63, level + 0.006)]
        lines.append((bow, 0.005, 0.12 * person.age))
    for path, width, depth in lines:
        _shade(skin, depth * _stroke(x, y, path, width, scale))


def _stroke(x: Layer, y: Layer, path: list[tuple[float, float]], width: float, scale: float) -> Layer:
    """A soft line along a quadratic curve through three points, 1 in its middle."""
    t = np.linspace(0, 1, 24)[:, None]
    start, middle, end = (np.array(p) for p in path)
    control = 2 * middle - (start + end) / 2
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    canvas = np.zeros((y.shape[0], x.shape[1]), np.uint8)
    pixels = (curve - (x[0, 0], y[0, 0])) * scale * 16
    thickness = max(1, round(width * scale * 0.6))
    cv2.polylines(canvas, [np.round(pixels).astype(np.int32)[:, None]], False, 255, thickness, cv2.LINE_AA, 4)
    rows, columns = _window(
        (
            curve[:, 0].min() - 4 * width,
            curve[:, 1].min() - 4 * width,
            curve[:, 0].max() + 4 * width,
            curve[:, 1].max() + 4 * width,
        ),
        x,
        y,
        scale,
    )
    line = np.zeros(canvas.shape, np.float32)
    line[rows, columns] = cv2.GaussianBlur(
        canvas[rows, columns].astype(np.float32) / 255, (0, 0), max(0.4, width * scale * 0.45)
    )
    return line


def _paint_brows(
    skin: Layer,
    person: Person,
    points: FloatArray,
    x: Layer,
    y: Layer,
    scale: float,
    rng: np.random.Generator,
) -> None:
    hairs = _grain(rng, skin.shape, 0.0045 * scale)
    for side, eye in ((-1, points[0]), (1, points[1])):
        rows, columns = _window((eye[0] - 0.14, eye[1] - 0.2, eye[0] + 0.14, eye[1]), x, y, scale)
        u = (x[:, columns] - np.float32(eye[0])) * side  # grows outwards
        ridge = eye[1] - person.brow_height - person.brow_arch * (1 - ((u - 0.02) / 0.085) ** 2)
        ridge = ridge - person.brow_slant * u * 0.5
        inner, outer = -0.085, 0.098
        taper = np.clip((u - inner) / 0.03, 0, 1) * rounded(np.power, np.clip((outer - u) / 0.075, 0, 1), 0.7)
        half = np.float32(person.brow_thickness) * (0.35 + 0.65 * taper)
        inside = _soft((np.abs(y[rows] - ridge) - half) * 0.55, scale) * np.clip(taper * 3, 0, 1)
        alpha = inside * np.clip(person.brow_strength * (0.85 + 0.22 * hairs[rows, columns]), 0, 1)
        _mix(skin[rows, columns], person.hair * 0.5 + 0.1 * person.skin, alpha.astype(np.float32))


def _paint_nostrils(skin: Layer, person: Person, points: FloatArray, x: Layer, y: Layer, scale: float) -> None:
    nose_x, nose_y = points[2]
    dark = person.skin * np.array([0.30, 0.20, 0.18])
    for side in (-1, 1):
        hole = _bump(x, y, nose_x + side * 0.46 * person.nose_width, nose_y + 0.026, 0.017, 0.0095)
        _mix(skin, dark, np.clip(1.25 * hole, 0, 0.85))
        w = person.nose_width
        wing = [
            (nose_x + side * w * 0.98, nose_y - 0.014),
            (nose_x + side * w * 1.10, nose_y + 0.010),
            (nose_x + side * w * 0.72, nose_y + 0.028),
        ]
        _shade(skin, 0.30 * _stroke(x, y, wing, 0.007, scale))


def _paint_eyes(
    patch: Layer,
    x: Layer,
    y: Layer,
    person: Person,
    points: FloatArray,
    opening: float,
    light: Light,
    scale: float,
) -> None:
    """Both eyes, in place: white, iris, pupil, glint, lids, lashes."""
    white = np.array([214, 208, 202]) * light.colour * (0.72 + 0.2 * light.ambient)
    lash = person.hair * 0.25 + 8
    for side, eye in ((-1, points[0]), (1, points[1])):
        u = (x - np.float32(eye[0])) / np.float32(person.eye_width)
        v = y - np.float32(eye[1]) + np.float32(person.eye_slant * person.eye_width) * u * side
        arch = np.clip(1 - u**2, 0, None)
        lower = 0.72 * person.eye_height * rounded(np.power, arch, 0.8)
        upper = lower - 1.72 * person.eye_height * opening * rounded(np.power, arch, 0.75)
        # sideways the lids meet where arch is 0; the distance there is along u
        ends = (np.abs(u) - 1) * np.float32(person.eye_width)
        open_eye = _soft(np.maximum(np.maximum(upper - v, v - lower), ends).astype(np.float32), scale)
        ball = np.broadcast_to(white.astype(np.float32), patch.shape).copy()
        _shade(ball, np.clip(0.40 - (v - upper) * 18, 0, 0.42) + 0.18 * u**2 * np.ones_like(v))
        iris_radius = 0.94 * person.eye_height + 0.005
        away = np.sqrt((u * np.float32(person.eye_width)) ** 2 + (v + 0.12 * person.eye_height) ** 2)
        _mix(ball, person.iris * light.colour, _soft(away - iris_radius, scale))
        _mix(ball, person.iris * 0.35, _soft(np.abs(away - iris_radius) - 0.002, scale) * 0.7)
        _mix(ball, np.array([10.0, 8, 8]), _soft(away - 0.45 * iris_radius, scale))
        glint = _bump(
            x, y, eye[0] + 0.3 * iris_radius * np.sign(light.direction[0]), eye[1] - 0.45 * iris_radius, 0.006, 0.006
        )
        _mix(ball, np.array([250.0, 250, 250]), np.clip(1.3 * glint, 0, 0.95))
        if opening > 0:
            _mix(patch, ball, open_eye)
        inside = np.clip((1.06 - np.abs(u)) / 0.12, 0, 1)
        line = _soft((np.abs(v - upper + 0.002) - (0.0055 - 0.002 * u * side * -1)) * 0.7, scale)
        _mix(patch, lash, (0.9 * line * inside).astype(np.float32))
        under = _bell((v - lower - 0.003) / 0.004) * inside
        _shade(patch, (0.30 * under).astype(np.float32))
        crease = _bell((v - upper + 0.017 + 0.008 * (1 - opening)) / 0.0055) * inside
        _shade(patch, (0.28 * (0.35 + 0.65 * opening) * crease).astype(np.float32))


def _paint_mouth(
    patch: Layer,
    x: Layer,
    y: Layer,
    person: Person,
    points: FloatArray,
    opening: float,
    light: Light,
    scale: float,
) -> None:
    """The lips and, when open, teeth and the dark behind them, in place."""
    centre_x, centre_y = (points[3] + points[4]) / 2
    half = person.mouth_width / 2 - 0.012 * opening
    u = (x - np.float32(centre_x)) / np.float32(half)
    v = y - np.float32(centre_y + 0.004 * opening)
    arch = np.clip(1 - u**2, 0, None)
    bow = 1 - 0.30 * _bell(u / 0.16) + 0.12 * _bell((np.abs(u) - 0.24) / 0.16)
    seam = np.float32(person.smile) * arch  # the corners are higher than the middle in a smile
    gap = 0.062 * opening * rounded(np.power, arch, 0.8)
    top = seam - person.upper_lip * bow * rounded(np.power, arch, 0.75) - 0.10 * gap
    inner_top = seam - 0.12 * gap
    inner_bottom = seam + 0.88 * gap
    bottom = inner_bottom + person.lower_lip * rounded(np.power, arch, 0.62)
    ends = (np.abs(u) - 1) * np.float32(half)
    lips = _soft((np.maximum(np.maximum(top - v, v - bottom), ends) * 0.6).astype(np.float32), scale)
    colour = np.broadcast_to((person.lips * 0.85 * light.colour).astype(np.float32), patch.shape).copy()
    level = np.clip(0.72 + 0.28 * light.ambient - 0.25 * light.direction[1], 0.5, 1.0)
    upper_shade = np.where(v < inner_top, 0.20, 0.0) + 0.12 * rounded(np.cos, u * 46) * arch * 0.5
    gleam = 0.16 * _bell((v - (inner_bottom + 0.4 * person.lower_lip)) / 0.008) * arch
    _shade(colour, (1 - level * (1 - upper_shade) * (1 + gleam)).astype(np.float32))
    shadow = _bell((v - bottom - 0.010) / 0.012) * arch
    _shade(patch, (0.20 * shadow).astype(np.float32))
    _mix(patch, colour, lips)
    hole = _soft(np.maximum(np.maximum(inner_top - v, v - inner_bottom), ends).astype(np.float32), scale)
    inside = np.broadcast_to(np.array([52.0, 20, 20], np.float32), patch.shape).copy()
    teeth_end = inner_top + 0.022 * arch
    _mix(inside, np.array([214.0, 206, 192]) * light.colour, _soft((v - teeth_end).astype(np.float32), scale) * 0.9)
    tongue = np.clip((v - inner_bottom + 0.022) / 0.02, 0, 1) * arch
    _mix(inside, np.array([150.0, 70, 70]) * light.colour, (0.7 * tongue).astype(np.float32))
    if opening > 0:
        _mix(patch, inside, hole)
    line = _bell((v - inner_top) / (0.0035 + 0.001 * opening)) * np.clip((1.03 - np.abs(u)) / 0.1, 0, 1)
    _mix(patch, person.lips * 0.28, (0.75 * line).astype(np.float32))
    for side in (-1, 1):
        _shade(patch, 0.35 * _bump(x, y, centre_x + side * half, centre_y + 0.004 * opening, 0.011, 0.010))


def _hair_masks(person: Person, scale: float, x: Layer, y: Layer) -> tuple[Layer, Layer]:
    """Alpha of the hair behind the head and of the hair over the face."""
    rx = person.face_width / 2 + 0.02 + 0.7 * person.hair_volume
    top = -0.14 - person.hair_volume
    middle = 0.36
    off = np.abs(x - 0.5)
    dome = np.sqrt((off / rx) ** 2 + (np.minimum(y - middle, 0) / (middle - top)) ** 2)
    outside = (dome - 1) * rx
    below = y - person.hair_length
    fall = np.where(below < 0, outside, np.sqrt(np.maximum(outside + 0.05, 0) ** 2 + below**2) - 0.05)
    back = _soft(fall.astype(np.float32), scale)
    line = person.hairline + person.fringe + person.hairline_curve * off**2 * (0.4 if person.fringe else 1.0)
    sides = person.face_width / 2 - 0.030 + 0.05 * np.clip(0.36 - y, 0, 1)
    temple = np.maximum(sides - off, y - min(person.hair_length, 0.46))
    over = np.minimum(y - line, temple) if not person.bald else np.ones_like(outside)
    front = _soft((np.maximum(over, outside) * 0.45).astype(np.float32), scale)
    if person.bald:
        back = np.zeros_like(back)
    return back, front


def _paint_hair(person: Person, light: Light, scale: float, x: Layer, y: Layer, rng: np.random.Generator) -> Layer:
    """Hair colour with strands that run from the crown outwards and down."""
    parting = 0.5 + rng.uniform(-0.12, 0.12)
    wave = rng.uniform(0, 0.03) * rounded(np.sin, y * rng.uniform(12, 30) + rng.uniform(0, 6))
    angle = rounded(np.arctan2, x - parting + wave, y + 0.42)
    strands: Layer = cut_off(rng.standard_normal((48, 512), dtype=np.float32))
    strands = cv2.GaussianBlur(strands, (0, 0), 1.0, sigmaY=5.0)
    strands /= strands.std()
    column = (angle / np.pi + 0.5) * 511
    row = np.clip((y + 0.4) / 1.9, 0, 1) * 47 * np.ones_like(x)
    pattern = cv2.remap(strands, column, row.astype(np.float32), cv2.INTER_LINEAR)
    lit = 0.82 + 0.22 * _bell((y + 0.04) / 0.13) + 0.35 * float(light.direction[0]) * (x - 0.5)
    brightness = (lit * (1 + 0.24 * pattern)).astype(np.float32)
    hair = person.hair.astype(np.float32) * _triple(brightness) + _triple(7 * np.maximum(pattern, 0))
    return np.clip(hair * light.colour.astype(np.float32), 0, 250)


def _neck(person: Person, light: Light, scale: float, x: Layer, y: Layer) -> tuple[Layer, Layer]:
    half = 0.30 * person.face_width + 0.10 * np.clip(y - 1.1, 0, 1)
    alpha = _soft((np.maximum(np.abs(x - 0.5) - half, 0.6 - y)).astype(np.float32), scale)
    under = _bell((y - person.face_bottom) / 0.13)
    side = 0.5 * ((x - 0.5) / 0.25) ** 2 - 0.25 * float(light.direction[0]) * (x - 0.5) / 0.25
    bright = np.clip(0.86 - 0.42 * under - 0.25 * side, 0.2, 1.1).astype(np.float32)
    return (person.skin * light.colour).astype(np.float32) * _triple(bright), alpha


def _ears(person: Person, light: Light, scale: float, x: Layer, y: Layer) -> tuple[Layer, Layer]:
    alpha = np.zeros((y.shape[0], x.shape[1]), np.float32)
    inner = np.zeros_like(alpha)
    for side in (-1, 1):
        u = (x - (0.5 + side * (person.face_width / 2 + 0.005))) / 0.042
        v = (y - 0.47) / 0.095
        square = u**2 + v**2
        alpha = np.maximum(alpha, _soft(((np.sqrt(square) - 1) * 0.042).astype(np.float32), scale))
        inner = np.maximum(inner, _bell(square / 0.36))
    bright = (0.86 - 0.25 * inner).astype(np.float32)
    return (person.skin * light.colour * np.array([1.0, 0.93, 0.92])).astype(np.float32) * _triple(bright), alpha
