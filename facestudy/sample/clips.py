"""The built-in sample: clips of people who do not exist, each real one with a fake twin.

A person's real clip and fake clip are the same take: same movement, blinks, speech, light and
background. The fake shows the inner face of a donor who appears nowhere else: drawn under the same
expression, pressed through a small picture as the first deepfake autoencoders did, laid on by the
similarity of the landmarks, matched in colour, blended with a soft edge. Camera noise comes last,
fresh for each twin, and both are encoded alike. docs/sample.md says what this can show.

Every clip depends on the settings, the regions and its person's number alone, so clips can be
rendered in any order and by any number of processes.
"""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from pydantic import AfterValidator, Field

from facestudy.core.arrays import FloatArray, Layer, Picture
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box, apply, invert, to_canonical
from facestudy.core.settings import Section
from facestudy.media import npz
from facestudy.media.encoding import encode, one_thread
from facestudy.sample.people import (
    EYE_STATES,
    MOUTH_STATES,
    Head,
    Person,
    cut_off,
    draw_light,
    draw_person,
    mixed_light,
    paint_head,
    rounded,
)
from facestudy.sample.scenes import paint_background, paint_clothes

Artefact = Literal["everywhere", "eyes", "lower_face", "eyes_lower", "outside_eyes_lower", "none"]

PERSON, TAKE, DONOR, NOISE = range(4)
"""Streams of random numbers of a person; the fake's noise is NOISE + 1."""

OVERSAMPLING = 1.25
"""Texture pixels a frame pixel, before the frame's sampling."""

SHARPENING = 0.5
"""Share of the fine contrast (unsharp mask, one pixel of the bottleneck) added to the small picture,
as swapping tools do: edges get their steepness back, texture that was lost stays lost."""

CANDIDATES = 6
"""Donors to choose from: as makers of fakes do, the one whose complexion is nearest is taken."""

DONOR_LIGHT = 0.6
"""Share of another light in that on the donor: a swap carries over some of the shadows the donor's
own pictures had."""


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("should be even, as H.264 with halved chroma needs it")
    return value


class SampleSettings(Section):
    """Section `sample` of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    people: Annotated[int, Field(ge=2, le=10_000)]
    artefact: Artefact
    seconds: Annotated[float, Field(gt=0, le=600)]
    fps: Annotated[int, Field(ge=1, le=120)]
    width: Annotated[int, Field(ge=96, le=3840), AfterValidator(_even)]
    height: Annotated[int, Field(ge=96, le=3840), AfterValidator(_even)]
    bottleneck: Annotated[int, Field(ge=64, le=1024)]
    feather: Annotated[float, Field(gt=0, le=0.1)]
    noise: Annotated[float, Field(ge=0, le=50)]
    quantizer: Annotated[int, Field(ge=0, le=51)]

    @property
    def frames(self) -> int:
        """The number of frames of a clip, at least one."""
        return max(1, round(self.seconds * self.fps))


@dataclass(frozen=True)
class Clip:
    """One clip of the sample.

    Attributes
    ----------
    video_id : str
    label : str
        "real" or "fake".
    identity : str
        The person in it.
    donor : str
        The person whose inner face it shows; empty for real clips.
    method : str
        The artefact of a fake, "none" for real clips.
    person : int
        The number of the person, from 0.
    """

    video_id: str
    label: str
    identity: str
    donor: str
    method: str
    person: int


@dataclass(frozen=True)
class Drawing:
    """A frame before encoding.

    Attributes
    ----------
    picture : ndarray of shape (height, width, 3), uint8
        RGB.
    landmarks : ndarray of shape (5, 2)
        Points x, y in pixels; whole numbers are pixel centres.
    mask : ndarray of shape (height, width), uint8
        The share of the donor in each pixel: 255 for all of it, 0 only where the frame is unchanged.
    """

    picture: Picture
    landmarks: FloatArray
    mask: Picture


def list_clips(settings: SampleSettings) -> list[Clip]:
    """List the clips of the sample: for each person a real one and its fake twin."""
    found = []
    for person in range(settings.people):
        identity = f"p{person:04d}"
        # Without an artefact nobody's face is in the twin.
        donor = "" if settings.artefact == "none" else f"d{person:04d}"
        found.append(Clip(f"{identity}_real", "real", identity, "", "none", person))
        found.append(Clip(f"{identity}_fake", "fake", identity, donor, settings.artefact, person))
    return found


def render(clip: Clip, settings: SampleSettings, regions: Mapping[str, Box], folder: Path) -> None:
    """Write the video of a clip, `<video_id>.mp4`, and its truth, `<video_id>.npz`; the same bytes every time.

    The truth holds `landmarks`, float32 of shape (frames, 5, 2), and `mask`, uint8 of shape (frames, height, width),
    as in `Drawing`.

    Parameters
    ----------
    clip
        One of `list_clips`.
    settings
        Section `sample` of the settings.
    regions
        Named boxes on the canonical face.
    folder
        Where the files go.

    Raises
    ------
    StudyError
        When `regions` lacks one that the artefact needs.
    """
    landmarks, masks = [], []

    def pictures() -> Iterator[Picture]:
        for drawing in draw(clip, settings, regions):
            landmarks.append(drawing.landmarks)
            masks.append(drawing.mask)
            yield drawing.picture

    encode(pictures(), Fraction(settings.fps), settings.quantizer, folder / f"{clip.video_id}.mp4")
    with zipfile.ZipFile(folder / f"{clip.video_id}.npz", "w") as file:
        for name, array in {"landmarks": np.array(landmarks, np.float32), "mask": np.array(masks, np.uint8)}.items():
            with npz.member(file, name, array.dtype, array.shape) as opened:
                opened.write(array.tobytes())


def draw(clip: Clip, settings: SampleSettings, regions: Mapping[str, Box]) -> Iterator[Drawing]:
    """Draw the frames of a clip.

    Parameters
    ----------
    clip
        One of `list_clips`.
    settings
        Section `sample` of the settings.
    regions
        Named boxes on the canonical face.

    Yields
    ------
    Drawing

    Raises
    ------
    StudyError
        When `regions` lacks one that the artefact needs.
    """
    fake = clip.label == "fake"
    swapped = fake and clip.method != "none"
    if swapped:
        needed_boxes(clip.method, regions)
    with one_thread():
        take = _take(settings, clip.person)
        person = draw_person(np.random.default_rng([settings.seed, clip.person, PERSON]))
        head = paint_head(person, take.light, take.turn, take.texture_scale)
        swap = None
        if swapped:
            rng = np.random.default_rng([settings.seed, clip.person, DONOR])
            donor, light = cast_donor(rng, person), mixed_light(take.light, draw_light(rng), DONOR_LIGHT)
            inner = paint_head(donor, light, take.turn, take.texture_scale, skin_only=True)
            swap = Swap(head, inner, clip.method, regions, settings)
        noise = CameraNoise(settings, np.random.default_rng([settings.seed, clip.person, NOISE + fake]), take.gain)
        for number in range(settings.frames):
            frame, landmarks = _compose(take, head, number, settings)
            mask = np.zeros(frame.shape[:2], np.uint8)
            if swap is not None:
                mask = swap.paste(frame, take, number, landmarks)
            yield Drawing(noise.add(frame), landmarks, mask)


def cast_donor(rng: np.random.Generator, person: Person) -> Person:
    """Draw CANDIDATES people and take the one whose skin has the colour nearest to a person's.

    Parameters
    ----------
    rng
        Where the random numbers come from.
    person
        The person who is to be faked.

    Returns
    -------
    Person
    """
    return min((draw_person(rng) for _ in range(CANDIDATES)), key=lambda c: float(np.abs(c.skin - person.skin).sum()))


# --- the take -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Take:
    """What both twins share.

    Attributes
    ----------
    light : Light
    turn : float
        As in `facestudy.sample.people.paint_head`.
    texture_scale : float
        Texture pixels per canonical unit.
    poses : list of ndarray of shape (2, 3)
        For each frame, the matrix from canonical units to pixels.
    eyes, mouth : list of int
        For each frame, the index of the state in EYE_STATES and MOUTH_STATES.
    background : ndarray of shape (height, width, 3), float32
    clothes : ndarray of shape (height, width, 4), float32
        Colour times alpha, and alpha.
    softness : float
        The blur of the lens, a standard deviation in pixels.
    gain : float
        A factor on the camera's noise.
    """

    light: Any
    turn: float
    texture_scale: float
    poses: list[FloatArray]
    eyes: list[int]
    mouth: list[int]
    background: Layer
    clothes: Layer
    softness: float
    gain: float


def _take(settings: SampleSettings, person: int) -> Take:
    rng = np.random.default_rng([settings.seed, person, TAKE])
    light = draw_light(rng)
    turn = rng.uniform(-0.022, 0.022)
    size = min(settings.height, 0.75 * settings.width)
    scale = size * rng.uniform(0.64, 0.80)
    centre = np.array(
        [
            settings.width * (0.5 + rng.uniform(-0.08, 0.08)),
            settings.height * (0.5 + rng.uniform(-0.02, 0.03)),
        ]
    )
    poses = _movement(rng, settings, scale, centre)
    eyes, mouth = _blinks(rng, settings), _speech(rng, settings)
    still = np.array([[scale, 0, centre[0] - scale / 2], [0, scale, centre[1] - scale / 2]])
    shape = settings.height, settings.width
    return Take(
        light=light,
        turn=turn,
        texture_scale=OVERSAMPLING * scale,
        poses=poses,
        eyes=eyes,
        mouth=mouth,
        background=paint_background(rng, shape),
        clothes=paint_clothes(rng, shape, still, light.colour),
        softness=rng.uniform(0.0, 0.6) * size / 240,
        gain=rng.uniform(0.75, 1.25),
    )


def _sway(rng: np.random.Generator, seconds: FloatArray) -> FloatArray:
    """A slow movement between about -1 and 1."""
    slow, fast = rng.uniform(0.15, 0.4), rng.uniform(0.5, 0.9)
    phases = rng.uniform(0, 2 * np.pi, 2)
    slowly = rounded(np.sin, 2 * np.pi * slow * seconds + phases[0])
    quickly = rounded(np.sin, 2 * np.pi * fast * seconds + phases[1])
    return 0.7 * slowly.astype(float) + 0.3 * quickly


def _movement(rng: np.random.Generator, settings: SampleSettings, scale: float, centre: FloatArray) -> list[FloatArray]:
    """The head's pose in each frame: turned in the picture, shifted, nearer and farther."""
    seconds = np.arange(settings.frames) / settings.fps
    angles = np.radians(rng.uniform(-6, 6) + rng.uniform(1, 5) * _sway(rng, seconds))
    scales = scale * (1 + rng.uniform(0.005, 0.03) * _sway(rng, seconds))
    shifts = scale * rng.uniform(0.01, 0.045) * np.stack([_sway(rng, seconds), 0.6 * _sway(rng, seconds)], axis=1)
    poses = []
    for angle, size, shift in zip(angles, scales, shifts, strict=True):
        cos, sin = (size * float(rounded(function, angle)) for function in (np.cos, np.sin))
        linear = np.array([[cos, -sin], [sin, cos]])
        poses.append(np.hstack([linear, (centre + shift - linear @ (0.5, 0.5))[:, None]]))
    return poses


def _blinks(rng: np.random.Generator, settings: SampleSettings) -> list[int]:
    """The state of the eyes in each frame: about one blink in two seconds, a third of a second long."""
    seconds = np.arange(settings.frames) / settings.fps
    opening = np.ones(settings.frames)
    at = float(rounded(rng.exponential, 1.2))
    while at < settings.seconds:
        opening = np.minimum(opening, np.clip(np.abs(seconds - at) / 0.16, 0, 1))
        at += 0.6 + float(rounded(rng.exponential, 2.0))
    return [int(np.abs(np.array(EYE_STATES) - value).argmin()) for value in opening]


def _speech(rng: np.random.Generator, settings: SampleSettings) -> list[int]:
    """The state of the mouth in each frame: syllables in phrases, with pauses."""
    seconds = np.arange(settings.frames) / settings.fps
    syllables = np.abs(rounded(np.sin, np.pi * rng.uniform(1.6, 3.2) * seconds + rng.uniform(0, np.pi)))
    wave = rounded(np.sin, 2 * np.pi * rng.uniform(0.2, 0.5) * seconds + rng.uniform(0, 6.3))
    opening = rng.uniform(0.3, 1.0) * syllables * np.clip(0.5 + 1.4 * wave, 0, 1)
    return [int(np.abs(np.array(MOUTH_STATES) - value).argmin()) for value in opening]


def _compose(take: Take, head: Head, number: int, settings: SampleSettings) -> tuple[Layer, FloatArray]:
    """A frame without noise, and its landmarks."""
    pose, mouth = take.poses[number], take.mouth[number]
    size = settings.width, settings.height
    layer = cv2.warpAffine(
        head.picture(take.eyes[number], mouth), _chain(invert(head.to_texture()), pose), size, flags=cv2.INTER_LINEAR
    )
    frame = take.background.copy()
    _lay_over(frame, layer)
    first = int(take.clothes[..., 3].any(axis=1).argmax())  # only the lowest rows have any
    _lay_over(frame[first:], take.clothes[first:])
    if take.softness > 0.25:
        frame = cv2.GaussianBlur(frame, (0, 0), take.softness)
    return frame, apply(pose, head.landmarks(mouth))


def _lay_over(frame: Layer, layer: Layer) -> None:
    """Lay a premultiplied layer over a frame, in place."""
    red, green, blue, alpha = cv2.split(layer)
    clear = 1 - alpha
    frame *= cv2.merge((clear, clear, clear))
    frame += cv2.merge((red, green, blue))


def _chain(first: FloatArray, second: FloatArray) -> FloatArray:
    """The (2, 3) matrix that applies `first`, then `second`."""
    return second[:, :2] @ first + np.hstack([np.zeros((2, 2)), second[:, 2:]])


class CameraNoise:
    """Noise of a camera: mostly in brightness, a little in colour, different in every clip.

    Frames take random windows of one larger field.

    Parameters
    ----------
    settings
        Section `sample` of the settings.
    rng
        Where the random numbers come from.
    gain
        A factor on the noise.
    """

    def __init__(self, settings: SampleSettings, rng: np.random.Generator, gain: float) -> None:
        self._rng = rng
        shape = settings.height + 64, settings.width + 64
        bright = cut_off(rng.standard_normal((*shape, 1), dtype=np.float32))
        colour = cut_off(rng.standard_normal((*shape, 3), dtype=np.float32))
        self._field = np.float32(settings.noise * gain) * (np.float32(0.9) * bright + np.float32(0.436) * colour)

    def add(self, frame: Layer) -> Picture:
        """Add noise to a frame.

        Parameters
        ----------
        frame : ndarray of shape (height, width, 3), float32
            RGB, 0 to 255.

        Returns
        -------
        ndarray of shape (height, width, 3), uint8
        """
        top, left = self._rng.integers(0, 65, 2)
        height, width = frame.shape[:2]
        noisy = frame + self._field[top : top + height, left : left + width]
        noisy += 0.5
        return np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)


# --- the swap -------------------------------------------------------------------------------------


def needed_boxes(artefact: str, regions: Mapping[str, Box]) -> tuple[Box, Box]:
    """The boxes `eyes` and `lower_face`, which every artefact needs.

    Parameters
    ----------
    artefact
        Its name, for messages.
    regions
        Named boxes on the canonical face.

    Returns
    -------
    tuple of Box
        `eyes`, `lower_face`.

    Raises
    ------
    StudyError
        When one is missing.
    """
    for name in ("eyes", "lower_face"):
        if name not in regions:
            raise StudyError(
                f"params.yaml: sample.artefact = {artefact!r} needs the region {name}, which the section regions lacks."
            )
    return regions["eyes"], regions["lower_face"]


def inner_face(regions: Mapping[str, Box]) -> Box:
    """The box around the regions `eyes` and `lower_face`; in it, the swap of `everywhere` covers the bare skin.

    Examples
    --------
    >>> inner_face({"eyes": (0.2, 0.3, 0.8, 0.5), "lower_face": (0.1, 0.6, 0.9, 1.0)})
    (0.1, 0.3, 0.9, 1.0)
    """
    eyes, lower = needed_boxes("everywhere", regions)
    return min(eyes[0], lower[0]), min(eyes[1], lower[1]), max(eyes[2], lower[2]), max(eyes[3], lower[3])


def region_share(artefact: str, regions: Mapping[str, Box], feather: float, x: Layer, y: Layer) -> Layer:
    """How much of the donor may show at points of the canonical face.

    Parameters
    ----------
    artefact
        One of `Artefact` but "none".
    regions
        Named boxes on the canonical face.
    feather
        The width of the soft edge, canonical units. It lies outside the boxes. For "outside_eyes_lower" it lies
        outside the boxes of eyes and lower face widened by `feather`, so that nothing reaches into those.
    x, y : ndarray of float32, shapes that broadcast
        Canonical coordinates.

    Returns
    -------
    ndarray of float32
        1 in the region of the artefact, 0 beyond its edge.

    Raises
    ------
    StudyError
        When `regions` lacks `eyes` or `lower_face`.

    Examples
    --------
    >>> boxes = {"eyes": (0.2, 0.2, 0.8, 0.5), "lower_face": (0.2, 0.6, 0.8, 0.9)}
    >>> region_share("eyes", boxes, 0.25, np.array([0.5, 0.5]), np.array([0.25, 0.625])).tolist()
    [1.0, 0.5]
    """
    eyes, lower = needed_boxes(artefact, regions)

    def inside(box: Box) -> Layer:
        away = np.maximum(np.maximum(box[0] - x, x - box[2]), np.maximum(box[1] - y, y - box[3]))
        return np.clip(1 - away / feather, 0, 1)

    if artefact == "eyes":
        return inside(eyes)
    if artefact == "lower_face":
        return inside(lower)
    if artefact == "eyes_lower":
        return np.maximum(inside(eyes), inside(lower))
    everywhere = inside(inner_face(regions))
    if artefact == "everywhere":
        return everywhere
    widened = [(b[0] - feather, b[1] - feather, b[2] + feather, b[3] + feather) for b in (eyes, lower)]
    return np.minimum(everywhere, 1 - np.maximum(inside(widened[0]), inside(widened[1])))


class Swap:
    """Lays a donor's inner face over a person's, in the same way in all frames of a clip.

    Parameters
    ----------
    target
        The head of the person.
    donor
        The head of the donor, painted with `skin_only`.
    artefact
        Where the donor shows, see `region_share`.
    regions
        Named boxes on the canonical face.
    settings
        Section `sample` of the settings.
    """

    def __init__(
        self, target: Head, donor: Head, artefact: str, regions: Mapping[str, Box], settings: SampleSettings
    ) -> None:
        self._target, self._donor = target, donor
        self._share = functools.partial(region_share, artefact, dict(regions), settings.feather)
        self._size = settings.bottleneck
        self._feather = settings.feather
        left, top, right, bottom = inner_face(regions)
        self._window = left, top, right, bottom
        side = max(right - left, bottom - top) + 4 * settings.feather
        self._corner = np.array([(left + right - side) / 2, (top + bottom - side) / 2])
        self._side = side
        self._skin_map = invert(target.to_texture())
        self._small: dict[tuple[int, int], Layer] = {}
        self._colour = self._match_colour(regions)

    def paste(self, frame: Layer, take: Take, number: int, landmarks: FloatArray) -> Picture:
        """Blend the donor into a frame, in place.

        Parameters
        ----------
        frame : ndarray of shape (height, width, 3), float32
            RGB, 0 to 255.
        take
            What the twins share.
        number
            The number of the frame, from 0.
        landmarks : ndarray of shape (5, 2)
            Points x, y in pixels of the frame.

        Returns
        -------
        ndarray of shape (height, width), uint8
            The mask as in `Drawing`.
        """
        height, width = frame.shape[:2]
        aligned = to_canonical(landmarks)
        rows, columns = self._rectangle(invert(aligned), (height, width))
        small = self._pressed(take.eyes[number], take.mouth[number])
        size = columns.stop - columns.start, rows.stop - rows.start
        shift = np.array([[0, 0, columns.start], [0, 0, rows.start]])
        face = cv2.warpAffine(
            small, _chain(self._from_small(), invert(aligned)) - shift, size, flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        skin = cv2.warpAffine(self._target.skin, _chain(self._skin_map, take.poses[number]) - shift, size)
        px = np.arange(columns.start, columns.stop)[None, :]
        py = np.arange(rows.start, rows.stop)[:, None]
        x, y = (row[0] * px + row[1] * py + row[2] for row in aligned)
        share = (self._share(x.astype(np.float32), y.astype(np.float32)) * skin).astype(np.float32)
        part = frame[rows, columns]
        part += (face - part) * cv2.merge((share, share, share))
        mask = np.zeros((height, width), np.uint8)
        mask[rows, columns] = np.ceil(share * 255)
        return mask

    def _rectangle(self, to_frame: FloatArray, shape: tuple[int, int]) -> tuple[slice, slice]:
        """The part of a frame that the inner face and its edge can reach."""
        left, top, right, bottom = self._window
        f = self._feather
        corners = np.array([[x, y] for x in (left - f, right + f) for y in (top - f, bottom + f)])
        points = apply(to_frame, corners)
        low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0)) + 1
        x0, y0 = (int(v) for v in np.clip(low, 0, (shape[1] - 1, shape[0] - 1)))
        x1, y1 = (int(v) for v in np.clip(high, (x0 + 1, y0 + 1), (shape[1], shape[0])))
        return slice(y0, y1), slice(x0, x1)

    def _from_small(self) -> FloatArray:
        """(2, 3) matrix from pixels of the small picture to canonical units."""
        step = self._side / self._size
        return np.hstack([np.eye(2) * step, (self._corner + step / 2)[:, None]])

    def _pressed(self, eyes: int, mouth: int) -> Layer:
        """The donor's inner face in a state as a small picture, in the target's colours."""
        if (eyes, mouth) not in self._small:
            gain, offset = self._colour
            small = self._reduce(self._donor, eyes, mouth) * gain + offset
            small += SHARPENING * (small - cv2.GaussianBlur(small, (0, 0), 1.0))
            self._small[eyes, mouth] = small
        return self._small[eyes, mouth]

    def _reduce(self, head: Head, eyes: int, mouth: int) -> Layer:
        """A head's inner face, aligned by its landmarks, bottleneck pixels wide and high.

        Four samples a pixel along each axis are averaged, so that nothing aliases.
        """
        to_head = invert(to_canonical(head.landmarks(mouth)))
        step = self._side / (4 * self._size)
        fine = np.hstack([np.eye(2) * step, (self._corner + step / 2)[:, None]])
        matrix = _chain(_chain(fine, to_head), head.to_texture())
        samples = cv2.warpAffine(
            head.picture(eyes, mouth)[..., :3], matrix, (4 * self._size, 4 * self._size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return cv2.resize(samples, (self._size, self._size), interpolation=cv2.INTER_AREA).astype(np.float32)

    def _match_colour(self, regions: Mapping[str, Box]) -> tuple[Layer, Layer]:
        """Gain and offset per channel that give the donor the mean and spread of the target's inner face.

        Taken once, with open eyes and closed mouth: a clip's colours stay put (Reinhard et al. 2001,
        section 3, in RGB).
        """
        eyes = len(EYE_STATES) - 1
        step = np.arange(self._size) + 0.5
        x = (self._corner[0] + step * self._side / self._size)[None, :].astype(np.float32)
        y = (self._corner[1] + step * self._side / self._size)[:, None].astype(np.float32)
        weights = region_share("everywhere", regions, self._feather, x, y)
        weights = weights * np.clip(1 - np.sqrt(((x - 0.5) / 0.27) ** 2 + ((y - 0.58) / 0.32) ** 2), 0, 0.3)
        moments = []
        for head in (self._donor, self._target):
            pixels = self._reduce(head, eyes, 0).reshape(-1, 3)
            mean = np.average(pixels, axis=0, weights=weights.ravel())
            spread = np.sqrt(np.average((pixels - mean) ** 2, axis=0, weights=weights.ravel()))
            moments.append((mean, spread))
        (donor_mean, donor_spread), (mean, spread) = moments
        gain = np.clip(spread / np.maximum(donor_spread, 1), 0.7, 1.35)
        return gain.astype(np.float32), (mean - donor_mean * gain).astype(np.float32)
