"""Crop variants: which part of a face a network gets to see, cut from the stored cut-outs.

A variant is resolved once into a `Plan`, the same for every face: boxes on a *plane* and the
rectangles they fill in the crop. The plane is either the canonical face, placed by the five
landmarks (`face: aligned`), or the widened detector box resized to a fixed number of pixels
(`face: box`, what the study did). Each box is then taken from the cut-out in one interpolation.

Coordinates. Landmarks are pixel indices: pixel i covers i - 0.5 to i + 0.5, as in OpenCV and
MTCNN. Boxes, `cut_x`, `cut_y` and everything on a plane are edges, as in slices: pixel i covers
i to i + 1. An edge coordinate is an index plus 0.5.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, model_validator

from facestudy.core import regions, tables
from facestudy.core.arrays import FloatArray, Picture
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import NAME_PATTERN, Section
from facestudy.crops.jitter import Jitter, drawn
from facestudy.faces.face import Face
from facestudy.media.archive import SUFFIX, pack, read_picture, write_picture
from facestudy.media.resizing import resize
from facestudy.runtime.parallel import ComputeSettings, map_items

Rect = tuple[int, int, int, int]
"""Left, top, right, bottom edge in pixels of the crop."""
Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

CHUNK = 32
"""Faces per task: enough to make starting a task cheap, few enough for a smooth progress bar."""
FINEST = 16
"""Most samples per pixel of a crop along one axis; a face more than 16 times the crop's size aliases."""
SURROUNDINGS: Box = (-0.3, -0.3, 1.3, 1.3)
"""What `view: surroundings` shows, in canonical coordinates: about as much as a cut-out holds."""
MEAN_SIDE = 64
"""The mean colour is taken from faces of this many pixels, whatever the size of the crops."""


class Variant(Section):
    """One entry of `crop_variants` in params.yaml."""

    regions: list[str] = Field(default_factory=list)
    layout: Literal["stack", "mask", "occlude"]
    placement: Literal["anatomical", "random"] = "anatomical"
    # What `occlude` fills beyond the boxes: a fraction of the plane, and pixels of the crop.
    margin: Annotated[float, Field(ge=0, le=0.5)] | Literal["sample.feather"] = 0.0
    margin_px: Annotated[int, Field(ge=0)] = 0
    # `stack`: enlarge the boxes to fill the crop, or show them at the scale that the whole face would have.
    scale: Literal["fill", "face"] = "fill"
    # Reduce the crop to as many pixels as these regions have in it, and enlarge it again.
    pixels_of: list[str] = Field(default_factory=list)
    # `mask`, `occlude`: the face region, or also what lies around it in the cut-out.
    view: Literal["face", "surroundings"] = "face"
    seed: Annotated[int, Field(ge=0)] | None = None  # of `placement: random`; null: crops.seed
    # Further, misplaced copies of each crop, for training only.
    jitter: Jitter | None = None
    # The study's unaligned face: the detector box, widened, resized to box_size; boxes in its pixels.
    face: Literal["aligned", "box"] = "aligned"
    boxes: list[Annotated[tuple[float, float, float, float], Field(strict=False)]] = Field(default_factory=list)
    box_size: Annotated[tuple[int, int], Field(strict=False)] | None = None
    box_margins: Annotated[tuple[float, float, float, float], Field(strict=False)] = (1 / 12, 1 / 12, 1 / 12, 0)

    @model_validator(mode="after")
    def _consistent(self) -> Variant:
        if self.face == "aligned" and (not self.regions or self.boxes or self.box_size):
            raise ValueError("an aligned face takes `regions` (at least one); `boxes` and `box_size` need `face: box`")
        if self.face == "box" and (self.regions or not self.boxes or self.box_size is None):
            raise ValueError("`face: box` takes `boxes` (at least one) and `box_size`, no `regions`")
        if self.layout != "occlude" and (self.margin or self.margin_px):
            raise ValueError("`margin` and `margin_px` go with `layout: occlude` only")
        if self.scale == "face" and (self.layout != "stack" or self.face != "aligned"):
            raise ValueError("`scale: face` goes with `layout: stack` of `regions` only")
        if self.view == "surroundings" and (self.layout == "stack" or self.face != "aligned"):
            raise ValueError("`view: surroundings` goes with `layout: mask` or `occlude` of `regions` only")
        if self.pixels_of and self.face != "aligned":
            raise ValueError("`pixels_of` goes with `regions` only")
        if self.jitter is not None and (self.view == "surroundings" or self.face != "aligned"):
            raise ValueError("`jitter` goes with `regions` and `view: face` only")
        if self.seed is not None and self.placement != "random":
            raise ValueError("`seed` goes with `placement: random` only")
        width, height = self.box_size or (0, 0)
        for x0, y0, x1, y1 in self.boxes:
            if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
                raise ValueError("a box is [left, top, right, bottom] in pixels, within `box_size`")
        return self


class Equalise(Section):
    """Bring every cut-out to one size and encode it once as JPEG, so that neither differs between the classes."""

    side: Annotated[int, Field(ge=16, le=4096)]
    jpg_quality: Annotated[int, Field(ge=1, le=100)]


class CropSettings(Section):
    """How crops are stored: section `crops` of params.yaml."""

    size: Annotated[
        tuple[Annotated[int, Field(ge=8, le=2048)], Annotated[int, Field(ge=8, le=2048)]], Field(strict=False)
    ] = (128, 128)
    fit: Literal["stretch", "pad"] = "stretch"
    seed: Annotated[int, Field(ge=0)] = 1
    sheet_faces: Annotated[int, Field(ge=1, le=64)] = 8
    equalise: Equalise | None = None


@dataclass(frozen=True)
class Part:
    """A box on the plane and the rectangle of the crop that shows it."""

    box: Box
    rect: Rect


@dataclass(frozen=True)
class Plan:
    """A variant with every number worked out; the same for all faces.

    Attributes
    ----------
    name : str
    layout, placement : str
        As in `Variant`.
    plane : {"aligned", "box"}
        As `face` in `Variant`.
    plane_size : (float, float)
        Width and height of the plane: 1, 1 for the canonical face, else pixels of `box_size`.
    box_margins : (float, float, float, float)
        As in `Variant`.
    whole : Box
        The face region: `mask` and `occlude` show it in place, and random boxes lie in it.
    boxes : tuple of Box
        The boxes as placed; for `occlude` also widened by `margin`, without `margin_px`.
    overlap : float
        Random placement: the share of the boxes' area that lies on the original boxes or on each other.
    size : (int, int)
        Width and height of the crop, pixels.
    parts : tuple of Part
        What the crop shows, and where.
    rects : tuple of Rect
        `mask`: what stays visible; `occlude`: what is filled; `stack`: empty.
    reduced : (int, int), optional
        Width and height to which the crop is reduced before it is enlarged to `size`, pixels.
    equalise : Equalise, optional
        What is done to every cut-out first.
    jitter : Jitter, optional
        How the misplaced copies are drawn.
    """

    name: str
    layout: Literal["stack", "mask", "occlude"]
    placement: Literal["anatomical", "random"]
    plane: Literal["aligned", "box"]
    plane_size: tuple[float, float]
    box_margins: tuple[float, float, float, float]
    whole: Box
    boxes: tuple[Box, ...]
    overlap: float
    size: tuple[int, int]
    parts: tuple[Part, ...]
    rects: tuple[Rect, ...]
    reduced: tuple[int, int] | None = None
    equalise: Equalise | None = None
    jitter: Jitter | None = None


# --- from a variant to a plan ------------------------------------------------------------------


RESERVED = ("curves", "training", "reasons", "findings")
"""Folders in metrics/ that are not those of a variant."""


def check_variants(variants: Mapping[str, Variant], boxes: Mapping[str, Box]) -> None:
    """Refuse variants with names that cannot be paths, with a reserved name, or with unknown regions.

    Parameters
    ----------
    variants
        Section `crop_variants` of the settings.
    boxes
        Named boxes on the canonical face.

    Raises
    ------
    StudyError
        With the file, the variant, the wrong name and the known ones.
    """
    known = ", ".join(boxes)
    if "face" not in boxes:
        raise StudyError(f"params.yaml: regions.face is missing (known here: {known}); every variant needs it.")
    for name, variant in variants.items():
        _check_name(name)
        if name in RESERVED:
            raise StudyError(f"params.yaml: crop_variants.{name}: metrics/{name}/ holds something else; rename it.")
        for key, named in (("regions", variant.regions), ("pixels_of", variant.pixels_of)):
            for region in named:
                if region not in boxes:
                    raise StudyError(
                        f"params.yaml: crop_variants.{name}.{key} names {region!r}, which `regions` does not "
                        f"hold (known: {known})."
                    )


def _check_name(name: str) -> None:
    if not re.match(NAME_PATTERN, name):
        raise StudyError(f"params.yaml: the crop variant {name!r} should be named with a-z, 0-9 and _ only.")


def resolve(
    name: str,
    variants: Mapping[str, Variant],
    boxes: Mapping[str, Box],
    settings: CropSettings,
    feather: float = 0.0,
) -> Plan:
    """Work out the plan of a variant.

    Parameters
    ----------
    name
        The variant.
    variants
        All of `crop_variants`.
    boxes
        Named boxes on the canonical face.
    settings
        Section `crops` of the settings.
    feather
        The value of `margin: sample.feather`, a fraction of the canonical face.

    Returns
    -------
    Plan

    Raises
    ------
    StudyError
        When a variant or region is unknown, or a region is too small for the crop.

    Examples
    --------
    >>> boxes = {"face": (0.0, 0.0, 1.0, 1.0), "eyes": (0.2, 0.25, 0.8, 0.5)}
    >>> eyes = Variant(regions=["eyes"], layout="mask")
    >>> resolve("eyes_mask", {"eyes_mask": eyes}, boxes, CropSettings(size=(100, 100))).rects
    ((20, 25, 80, 50),)
    """
    _check_name(name)
    check_variants(variants, boxes)
    if name not in variants:
        raise StudyError(f"params.yaml: crop_variants does not hold {name!r} (known: {', '.join(variants)}).")
    variant = variants[name]
    if variant.box_size is None:
        plane_size, whole = (1.0, 1.0), boxes["face"]
        chosen = tuple(boxes[region] for region in variant.regions)
    else:
        plane_size = (float(variant.box_size[0]), float(variant.box_size[1]))
        whole, chosen = (0.0, 0.0, *plane_size), tuple(variant.boxes)
    overlap = 0.0
    if variant.placement == "random":
        chosen, overlap = place_elsewhere(chosen, whole, settings.seed if variant.seed is None else variant.seed)
    if variant.view == "surroundings":
        whole = SURROUNDINGS
    if variant.scale == "face":
        parts = _stacked(chosen, settings, whole, name)
    else:
        parts = _stacked(chosen if variant.layout == "stack" else (whole,), settings)
    rects: tuple[Rect, ...] = ()
    if variant.layout == "mask":
        rects = tuple(_rect_inside(box, parts[0]) for box in chosen)
    elif variant.layout == "occlude":
        margin = feather if variant.margin == "sample.feather" else variant.margin
        chosen = tuple(_widened(box, margin, plane_size) for box in chosen)
        rects = tuple(_rect_around(box, parts[0], variant.margin_px) for box in chosen)
    for x0, y0, x1, y1 in [part.rect for part in parts] + list(rects):
        if x0 >= x1 or y0 >= y1:
            width, height = settings.size
            raise StudyError(
                f"params.yaml: crop_variants.{name}: a region gets no pixel in a crop of {width}x{height} or lies "
                "outside regions.face; enlarge crops.size or the region."
            )
    return Plan(
        name, variant.layout, variant.placement, variant.face, plane_size, variant.box_margins,
        whole, chosen, overlap, settings.size, parts, rects,
        _reduced([boxes[region] for region in variant.pixels_of], parts, settings.size), settings.equalise,
        variant.jitter,
    )  # fmt: skip


def _reduced(regions: Sequence[Box], parts: Sequence[Part], size: tuple[int, int]) -> tuple[int, int] | None:
    """The size of a crop with as many pixels for what it shows as `regions` have in it; None without regions."""
    if not regions:
        return None
    area, shown = (
        sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) for boxes in (regions, [p.box for p in parts])
    )
    share = math.sqrt(min(1.0, area / shown))
    return max(1, round(share * size[0])), max(1, round(share * size[1]))


def _stacked(
    boxes: Sequence[Box], settings: CropSettings, scale_of: Box | None = None, name: str = ""
) -> tuple[Part, ...]:
    """Boxes one below the other at one common scale, the narrower ones centred.

    The boxes fill the crop, or, with `scale_of`, have the scale at which this box would fill it. Edges are rounded to
    whole pixels of the crop, so a part's scale may differ from the common one by half a pixel over its length.
    """
    width = max(x1 - x0 for x0, _, x1, _ in boxes)
    height = sum(y1 - y0 for _, y0, _, y1 in boxes)
    filled = (width, height) if scale_of is None else (scale_of[2] - scale_of[0], scale_of[3] - scale_of[1])
    if width > filled[0] + 1e-9 or height > filled[1] + 1e-9:
        raise StudyError(
            f"params.yaml: crop_variants.{name}: its regions, one below the other, are larger than regions.face, so "
            "`scale: face` leaves no room for them; leave `scale` out."
        )
    scale_x, scale_y = settings.size[0] / filled[0], settings.size[1] / filled[1]
    if settings.fit == "pad":
        scale_x = scale_y = min(scale_x, scale_y)
    y = (settings.size[1] - scale_y * height) / 2
    parts = []
    for box in boxes:
        x = (settings.size[0] - scale_x * (box[2] - box[0])) / 2
        bottom = y + scale_y * (box[3] - box[1])
        parts.append(Part(box, (round(x), round(y), round(settings.size[0] - x), round(bottom))))
        y = bottom
    return tuple(parts)


def _widened(box: Box, margin: float, plane_size: tuple[float, float]) -> Box:
    dx, dy = margin * plane_size[0], margin * plane_size[1]
    return (box[0] - dx, box[1] - dy, box[2] + dx, box[3] + dy)


def _in_crop(box: Box, whole: Part) -> tuple[float, float, float, float]:
    """A box of the plane in edge pixels of a crop that shows `whole`."""
    rect = whole.rect
    scale_x = (rect[2] - rect[0]) / (whole.box[2] - whole.box[0])
    scale_y = (rect[3] - rect[1]) / (whole.box[3] - whole.box[1])
    x = [rect[0] + (value - whole.box[0]) * scale_x for value in (box[0], box[2])]
    y = [rect[1] + (value - whole.box[1]) * scale_y for value in (box[1], box[3])]
    return x[0], y[0], x[1], y[1]


def _rect_inside(box: Box, whole: Part) -> Rect:
    """The pixels that lie in the box entirely: what is masked elsewhere cannot show here."""
    x0, y0, x1, y1 = (round(value, 6) for value in _in_crop(box, whole))
    left, top, right, bottom = whole.rect
    return max(math.ceil(x0), left), max(math.ceil(y0), top), min(math.floor(x1), right), min(math.floor(y1), bottom)


def _rect_around(box: Box, whole: Part, margin: int) -> Rect:
    """The pixels that the box touches at all, and `margin` more on each side."""
    x0, y0, x1, y1 = (round(value, 6) for value in _in_crop(box, whole))
    left, top, right, bottom = whole.rect
    return (
        max(math.floor(x0) - margin, left),
        max(math.floor(y0) - margin, top),
        min(math.ceil(x1) + margin, right),
        min(math.ceil(y1) + margin, bottom),
    )


def place_elsewhere(boxes: Sequence[Box], whole: Box, seed: int, restarts: int = 40) -> tuple[tuple[Box, ...], float]:
    """Put boxes of the same sizes elsewhere inside `whole`, overlapping as little as possible.

    Each box in turn goes to the place (of a grid of hundredths of `whole`) that overlaps least with the original
    boxes and with the other placed ones (ties are broken at random), until none moves. The best of several random
    starts is taken. All faces have the same placement: a network sees the same part of every face, as it does with
    the original boxes.

    Parameters
    ----------
    boxes
        The original boxes.
    whole
        Where the placed boxes lie.
    seed
        Breaks ties between places.
    restarts
        The number of random starts.

    Returns
    -------
    placed : tuple of Box
        In the order of `boxes`.
    overlap : float
        The share of their area that overlaps, 0 to 1.

    Examples
    --------
    >>> place_elsewhere([(0.0, 0.0, 1.0, 0.5)], (0.0, 0.0, 1.0, 1.0), seed=1)
    (((0.0, 0.5, 1.0, 1.0),), 0.0)
    """
    generator = np.random.default_rng(seed)
    places = [_grid(box, whole) for box in boxes]
    fixed = [_overlaps(place, boxes) for place in places]
    area = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes)
    best: tuple[float, list[int]] = (math.inf, [])
    for _ in range(restarts):
        chosen = [int(generator.integers(len(place))) for place in places]
        cost = math.inf
        while True:
            for i in generator.permutation(len(boxes)):
                others = [tuple(places[j][chosen[j]]) for j in range(len(boxes)) if j != i]
                overlap = np.round(fixed[i] + _overlaps(places[i], others), 9)
                chosen[i] = int(generator.choice(np.flatnonzero(overlap == overlap.min())))
            before, cost = cost, _total_overlap(places, fixed, chosen)
            if cost >= before - 1e-9:
                break
        if cost < best[0] - 1e-9:
            best = (cost, list(chosen))
        if best[0] < 1e-9:
            break
    placed = [tuple(round(float(value), 6) for value in places[i][k]) for i, k in enumerate(best[1])]
    return tuple((b[0], b[1], b[2], b[3]) for b in placed), round(max(best[0], 0.0) / area, 4)


def _grid(box: Box, whole: Box) -> FloatArray:
    """(n, 4): where a box of this size can go."""
    width, height = min(box[2] - box[0], whole[2] - whole[0]), min(box[3] - box[1], whole[3] - whole[1])
    axes = []
    for low, high, length in ((whole[0], whole[2], width), (whole[1], whole[3], height)):
        free = high - low - length
        axes.append(np.linspace(low, low + free, round(100 * free / (high - low)) + 1))
    x, y = (axis.ravel() for axis in np.meshgrid(*axes))
    return np.column_stack([x, y, x + width, y + height])


def _overlaps(places: FloatArray, boxes: Sequence[tuple[float, ...]]) -> FloatArray:
    """(n,): summed overlap of each place with the boxes."""
    total = np.zeros(len(places))
    for box in boxes:
        width = np.minimum(places[:, 2], box[2]) - np.maximum(places[:, 0], box[0])
        height = np.minimum(places[:, 3], box[3]) - np.maximum(places[:, 1], box[1])
        total += np.clip(width, 0, None) * np.clip(height, 0, None)
    return total


def _total_overlap(places: Sequence[FloatArray], fixed: Sequence[FloatArray], chosen: Sequence[int]) -> float:
    """Overlap with the original boxes plus overlap among the placed ones, each pair once."""
    total = sum(float(fixed[i][k]) for i, k in enumerate(chosen))
    placed = [places[i][[k]] for i, k in enumerate(chosen)]
    for i, place in enumerate(placed):
        total += float(_overlaps(place, [tuple(other[0]) for other in placed[i + 1 :]])[0])
    return total


# --- from a plan and a cut-out to a crop -------------------------------------------------------


def faces_from_table(table: pd.DataFrame) -> list[Face]:
    """The rows of a faces table (tables.FACES) as records, sorted by face_id."""
    return [Face.from_row(row) for row in table.sort_values("face_id", kind="stable").to_dict("records")]


def plane_to_cut(face: Face, plan: Plan) -> FloatArray:
    """The matrix from the plane of a plan to a face's cut-out.

    Parameters
    ----------
    face
        The face.
    plan
        The plan of the variant.

    Returns
    -------
    ndarray of shape (2, 3)
        From edge coordinates on the plane to pixel indices of the cut-out.

    Raises
    ------
    StudyError
        When the landmarks or the box of the face cannot place a plane; the message names the face.
    """
    if plan.plane == "aligned":
        return canonical_to_cut(face)
    x, y, w, h = face.box
    left, top, right, bottom = plan.box_margins
    scale = np.array([w * (1 + left + right) / plan.plane_size[0], h * (1 + top + bottom) / plan.plane_size[1]])
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise StudyError(
            f"Face {face.face_id}: its box (w = {w:g}, h = {h:g}) has no area; `dvc repro -f faces` finds "
            "the faces again."
        )
    origin = np.array([x - left * w, y - top * h]) - 0.5
    return _frame_to_cut(face, np.hstack([np.diag(scale), origin[:, None]]))


def canonical_to_cut(face: Face) -> FloatArray:
    """The similarity from the canonical face to a face's cut-out.

    Parameters
    ----------
    face
        The face.

    Returns
    -------
    ndarray of shape (2, 3)
        From canonical units to pixel indices of the cut-out.

    Raises
    ------
    StudyError
        As `canonical_to_frame`.
    """
    return _frame_to_cut(face, canonical_to_frame(face))


def _frame_to_cut(face: Face, to_frame: FloatArray) -> FloatArray:
    """A matrix to pixel indices of the frame as one to those of the cut-out."""
    if not (np.isfinite(face.cut_scale) and face.cut_scale > 0):
        raise StudyError(
            f"Face {face.face_id}: cut_scale = {face.cut_scale:g} should be above 0; `dvc repro -f faces` "
            "makes the cut-outs again."
        )
    # Scaling acts on edges, hence the half pixels; they cancel at cut_scale 1.
    to_cut = to_frame * face.cut_scale
    to_cut[:, 2] += face.cut_scale * (0.5 - np.array([face.cut_x, face.cut_y])) - 0.5
    return np.asarray(to_cut, float)


def canonical_to_frame(face: Face) -> FloatArray:
    """The similarity from the canonical face to the source frame of a face.

    Parameters
    ----------
    face
        The face.

    Returns
    -------
    ndarray of shape (2, 3)
        From canonical units to pixel indices of the frame.

    Raises
    ------
    StudyError
        When the landmarks coincide or are not arranged as in a face; the message names the face.
    """
    landmarks = face.landmarks
    try:
        to_canonical = regions.to_canonical(landmarks)
    except ValueError:
        to_canonical = np.zeros((2, 3))
    scale = float(np.hypot(*to_canonical[:, 0]))
    spread = float(np.ptp(landmarks, axis=0).max())
    # A real face's landmarks span about a third of the square; far less means they fit no face.
    if not (np.isfinite(scale) and spread > 0 and 0.05 < scale * spread < 5):
        places = "; ".join(f"{x:g}, {y:g}" for x, y in landmarks)
        raise StudyError(
            f"Face {face.face_id}: its landmarks ({places}) are not those of a face; remove the frame or raise "
            "faces.min_confidence."
        )
    return regions.invert(to_canonical)


def warp(picture: Picture, matrix: FloatArray, box: Box, size: tuple[int, int]) -> Picture:
    """Show a box of the plane as a picture, in one interpolation.

    Where the picture is enlarged, the interpolation is cubic. Where it shrinks by a factor s, ceil(s) × ceil(s) cubic
    samples are averaged for each pixel, so that nothing aliases. Beyond the edge of the picture its edge is repeated.

    Parameters
    ----------
    picture : ndarray of shape (h, w, 3), uint8
        The source.
    matrix : ndarray of shape (2, 3)
        From the plane to pixel indices of the source.
    box
        What to show, in coordinates of the plane.
    size
        Width and height of the result, pixels.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8

    Examples
    --------
    >>> picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    >>> shift = np.array([[1.0, 0, -0.5], [0, 1, -0.5]])  # the plane has edges, the picture has pixel centres
    >>> bool((warp(picture, shift, (1, 1, 3, 3), (2, 2)) == picture[1:3, 1:3]).all())
    True
    """
    width, height = size
    step = np.array([(box[2] - box[0]) / width, (box[3] - box[1]) / height])
    shrink = float(np.max(np.linalg.norm(matrix[:, :2] * step, axis=0)))
    samples = min(FINEST, max(1, math.ceil(shrink - 1e-6)))
    linear = matrix[:, :2] * (step / samples)
    shift = matrix[:, :2] @ (np.array(box[:2]) + step / samples / 2) + matrix[:, 2]
    fine = cv2.warpAffine(
        picture,
        np.hstack([linear, shift[:, None]]),
        (width * samples, height * samples),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if samples > 1:
        fine = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(fine, np.uint8)


def crop(cut_out: Picture, face: Face, plan: Plan, colour: Colour, displacement: FloatArray | None = None) -> Picture:
    """Cut the crop of one face.

    Parameters
    ----------
    cut_out : ndarray of shape (side, side, 3), uint8
        RGB.
    face
        The face.
    plan
        The plan of the variant.
    colour
        What fills the parts that the variant does not show.
    displacement : ndarray of shape (2, 3), optional
        Moves the whole crop on the cut-out: from pixel indices of the cut-out to pixel indices of the cut-out.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        RGB, of the size in `plan`.

    Raises
    ------
    StudyError
        As `plane_to_cut`.
    """
    matrix = plane_to_cut(face, plan)
    if displacement is not None:
        matrix = displacement[:, :2] @ matrix
        matrix[:, 2] += displacement[:, 2]
    if plan.equalise is not None:
        cut_out, matrix = equalised(cut_out, matrix, plan.equalise)
    shown = np.empty((plan.size[1], plan.size[0], 3), np.uint8)
    shown[:] = colour
    for part in plan.parts:
        x0, y0, x1, y1 = part.rect
        shown[y0:y1, x0:x1] = warp(cut_out, matrix, part.box, (x1 - x0, y1 - y0))
    if plan.reduced is not None:
        small = cv2.resize(shown, plan.reduced, interpolation=cv2.INTER_AREA)
        shown = resize(small, plan.size, cv2.INTER_CUBIC)
    if plan.layout == "stack":
        return shown
    inside = np.zeros(shown.shape[:2], bool)
    for x0, y0, x1, y1 in plan.rects:
        inside[y0:y1, x0:x1] = True
    shown[~inside if plan.layout == "mask" else inside] = colour
    return shown


def equalised(cut_out: Picture, matrix: FloatArray, settings: Equalise) -> tuple[Picture, FloatArray]:
    """Bring a cut-out to one size and encode it once as JPEG.

    Parameters
    ----------
    cut_out : ndarray of shape (side, side, 3), uint8
        RGB.
    matrix : ndarray of shape (2, 3)
        From the plane to pixel indices of the cut-out.
    settings
        The size and the quality.

    Returns
    -------
    picture : ndarray of shape (settings.side, settings.side, 3), uint8
        RGB.
    matrix : ndarray of shape (2, 3)
        From the plane to pixel indices of `picture`.
    """
    scale = np.array([settings.side / cut_out.shape[1], settings.side / cut_out.shape[0]])
    shrinks = scale.min() < 1
    small = resize(cut_out, (settings.side, settings.side), cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    quality = [cv2.IMWRITE_JPEG_QUALITY, settings.jpg_quality]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)
    picture = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    matrix = scale[:, None] * matrix
    matrix[:, 2] += scale / 2 - 0.5  # scaling acts on edges
    return np.asarray(picture, np.uint8), matrix


# --- many faces --------------------------------------------------------------------------------


def read_cut_out(folder: Path, face: Face) -> Picture:
    """Read the cut-out of a face.

    Parameters
    ----------
    folder
        The folder that the path of the face is relative to.
    face
        The face.

    Returns
    -------
    ndarray of shape (side, side, 3), uint8
        RGB.

    Raises
    ------
    StudyError
        When it cannot be read, or is not the picture that was stored.
    """
    path = folder / face.path
    picture = read_picture(path, face.sha256)
    if picture is None:
        raise StudyError(
            f"{path}, the cut-out of face {face.face_id}, cannot be read; `dvc repro -f faces` makes it again."
        )
    return picture


def mean_colour(faces: Sequence[Face], folder: Path, whole: Box, compute: ComputeSettings) -> Colour:
    """The mean colour of the face region over all faces, whatever their label.

    Sums are of integers, so the order of the faces and the number of workers do not matter.

    Parameters
    ----------
    faces
        At least one.
    folder
        The folder that their paths are relative to.
    whole
        The face region in canonical coordinates.
    compute
        Section `compute` of the settings.

    Returns
    -------
    (int, int, int)
        Red, green, blue, 0 to 255.

    Raises
    ------
    StudyError
        When a cut-out cannot be read.
    """
    task = partial(_colour_sum, folder=folder, whole=whole)
    total = np.zeros(3, np.int64)
    for part in map_items(task, _chunks(faces), compute, "mean colour"):
        total += part
    mean = total / (len(faces) * MEAN_SIDE**2)
    red, green, blue = (math.floor(value + 0.5) for value in mean)
    return red, green, blue


def _colour_sum(chunk: Sequence[Face], folder: Path, whole: Box) -> npt.NDArray[np.int64]:
    size = (MEAN_SIDE, MEAN_SIDE)
    plan = Plan(
        "mean", "stack", "anatomical", "aligned", (1.0, 1.0), (0, 0, 0, 0),
        whole, (whole,), 0.0, size, (Part(whole, (0, 0, *size)),), (),
    )  # fmt: skip
    total = np.zeros(3, np.int64)
    for face in chunk:
        total += crop(read_cut_out(folder, face), face, plan, (0, 0, 0)).sum(axis=(0, 1), dtype=np.int64)
    return total


Alter = Callable[[Picture, Face], tuple[Picture, FloatArray | None]]
"""What is done to a face before it is cropped: takes its cut-out and the face, and returns the picture to crop and the
displacement of the crop, as `crop` takes them. Several processes call it, so it is a function of a module, or a
`functools.partial` of one."""


def jittered(plan: Plan, copy: int) -> Alter:
    """Prepare one misplaced copy of each crop.

    Parameters
    ----------
    plan
        The plan of a variant with `jitter`.
    copy
        The number of the copy, from 1.

    Returns
    -------
    callable
        For `write_crops`.
    """
    assert plan.jitter is not None
    return partial(_misplaced, jitter=plan.jitter, region=plan.whole, copy=copy)


def _misplaced(cut_out: Picture, face: Face, jitter: Jitter, region: Box, copy: int) -> tuple[Picture, FloatArray]:
    return cut_out, drawn(jitter, canonical_to_cut(face), region, face.face_id, copy)


def write_crops(
    faces: Sequence[Face],
    folder: Path,
    target: Path,
    plan: Plan,
    colour: Colour,
    compute: ComputeSettings,
    archived: bool = False,
    alter: Alter | None = None,
) -> None:
    """Write the crop of every face, `<face_id>.png`, and their table (tables.CROPS), index.csv.

    Parameters
    ----------
    faces
        The faces.
    folder
        The folder that their paths are relative to.
    target
        Where the crops and the table go; it is made.
    plan
        The plan of the variant.
    colour
        What fills the parts that the variant does not show.
    compute
        Section `compute` of the settings.
    archived
        Whether to write one `<video_id>.zip` with the crops of each video, not a file for each face.
    alter
        What is done to each face first. By default nothing.

    Raises
    ------
    StudyError
        When a cut-out cannot be read.
    """
    target.mkdir(parents=True, exist_ok=True)
    task = partial(_write_chunk, folder=folder, target=target, plan=plan, colour=colour, archived=archived, alter=alter)
    chunks = _by_video(faces) if archived else _chunks(faces)
    rows: list[dict[str, str]] = []
    for part in map_items(task, chunks, compute, f"crops {plan.name}"):
        rows += part
    tables.write(target / "index.csv", tables.to_dataframe(rows, tables.CROPS), tables.CROPS)


def _write_chunk(
    chunk: Sequence[Face],
    folder: Path,
    target: Path,
    plan: Plan,
    colour: Colour,
    archived: bool,
    alter: Alter | None,
) -> list[dict[str, str]]:
    within = f"{chunk[0].video_id}{SUFFIX}/" if archived else ""
    rows = []
    for face in chunk:
        name = f"{face.face_id}.png"
        cut_out = read_cut_out(folder, face)
        picture, moved = alter(cut_out, face) if alter is not None else (cut_out, None)
        sha256 = write_picture(target / name, crop(picture, face, plan, colour, moved))
        rows.append({"face_id": face.face_id, "path": within + name, "sha256": sha256})
    if archived:
        pack([target / f"{face.face_id}.png" for face in chunk], target / within)
    return rows


def _chunks(faces: Sequence[Face]) -> list[Sequence[Face]]:
    edges = [*range(0, len(faces), CHUNK), len(faces)]
    return [faces[start:end] for start, end in pairwise(edges)]


def _by_video(faces: Sequence[Face]) -> list[Sequence[Face]]:
    videos: dict[str, list[Face]] = {}
    for face in faces:
        videos.setdefault(face.video_id, []).append(face)
    return list(videos.values())


def describe(plan: Plan, colour: Colour, faces: int) -> str:
    """The content of variant.json: the numbers of a variant, boxes on the plane, rectangles in pixels of the crop.

    Parameters
    ----------
    plan
        The plan of the variant.
    colour
        What fills the parts that the variant does not show.
    faces
        The number of faces.

    Returns
    -------
    str
        JSON.
    """
    facts = {
        "variant": plan.name,
        "layout": plan.layout,
        "face": plan.plane,
        "face_size": list(plan.plane_size),
        "face_region": list(plan.whole),
        "placement": plan.placement,
        "boxes": [[round(value, 6) for value in box] for box in plan.boxes],
        "overlap": plan.overlap,
        "size": list(plan.size),
        "parts": [{"box": list(part.box), "pixels": list(part.rect)} for part in plan.parts],
        "mean_colour": list(colour),
        "faces": faces,
    }
    if plan.reduced:
        facts["reduced_to"] = list(plan.reduced)
    if plan.equalise:
        facts["equalised"] = plan.equalise.model_dump()
    if plan.jitter:
        facts["jitter"] = plan.jitter.model_dump()
    if plan.rects:
        facts["filled_pixels" if plan.layout == "occlude" else "kept_pixels"] = [list(r) for r in plan.rects]
    return json.dumps(facts, indent=2) + "\n"


def read_colour(path: Path) -> Colour:
    """Read the mean colour that `describe` wrote.

    Parameters
    ----------
    path
        variant.json.

    Returns
    -------
    (int, int, int)
        Red, green, blue, 0 to 255.

    Raises
    ------
    StudyError
        When the file is missing or holds something else; the message names it.
    """
    try:
        red, green, blue = json.loads(path.read_text(encoding="utf-8"))["mean_colour"]
        return int(red), int(green), int(blue)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StudyError(f"{path} cannot be read ({error}); `dvc repro -f` makes it again.") from None


def sheet_choice(faces: Sequence[Face], count: int) -> Iterator[tuple[str, list[Face]]]:
    """Choose the faces of a contact sheet: of each class, the first face of some videos, evenly over the videos.

    Videos whose ids differ in the label alone are twins, as in the sample. Where there are at least `count` pairs of
    twins, both classes show the same pairs.

    Parameters
    ----------
    faces
        The faces to choose from.
    count
        The largest number of faces of a class.

    Yields
    ------
    label : str
        "real", then "fake".
    chosen : list of Face
    """
    first: dict[str, dict[str, Face]] = {"real": {}, "fake": {}}
    for face in sorted(faces, key=lambda face: (face.video_id, face.face_id)):
        first[face.label].setdefault(face.video_id.replace(face.label, ""), face)
    twins = [name for name in first["real"] if name in first["fake"]]
    for label, videos in first.items():
        names = twins if len(twins) >= count else list(videos)
        take = min(count, len(names))
        yield label, [videos[names[k * len(names) // take]] for k in range(take)]
