"""Crops: geometry against analytic pictures, what each layout shows, refusals, the stage."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from facestudy.core import regions, tables
from facestudy.core.arrays import FloatArray, Picture
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import check
from facestudy.crops import cutting
from facestudy.crops.contact_sheet import TILE, crop_sheet, mark_boxes
from facestudy.crops.cutting import RESERVED, CropSettings, Plan, Variant, check_variants
from facestudy.crops.jitter import Jitter, copies_folder, drawn
from facestudy.faces.face import Face
from facestudy.media import archive
from stages import crops as stage
from tests.pipeline_files import ROOT
from tests.project import params

PARAMS = params()
PARAMS["crops"] = PARAMS["crops"] | {"size": [128, 128]}
CONTROLS: dict[str, Any] = yaml.safe_load((ROOT / "presets/controls.yaml").read_text(encoding="utf-8"))
BOXES = check(dict[str, Box], PARAMS["regions"], "regions")
DEFINED = {**PARAMS["crop_variants"], **CONTROLS.get("crop_variants", {})}
VARIANTS = check(dict[str, Variant], DEFINED, "crop_variants")
SIZE = CropSettings(size=(128, 128))
FEATHER = 0.03
GREY = (128, 128, 128)


def plan_of(name: str, size: CropSettings = SIZE) -> Plan:
    return cutting.resolve(name, VARIANTS, BOXES, size, FEATHER)


# --- a face whose every point is known ---------------------------------------------------------


def pose(side: float, angle: float, x: float, y: float) -> FloatArray:
    """Canonical face to frame pixels: `side` pixels long, turned by `angle`, its centre at x, y."""
    c, s = side * math.cos(angle), side * math.sin(angle)
    linear = np.array([[c, -s], [s, c]])
    return np.hstack([linear, (np.array([x, y]) - linear @ [0.5, 0.5])[:, None]])


def canonical(matrix: FloatArray, width: int, height: int) -> tuple[FloatArray, FloatArray]:
    """The canonical x and y, each (height, width), of the pixels of a frame under a pose."""
    (xx, xy, x), (yx, yy, y) = regions.invert(matrix)
    columns, rows = np.arange(width), np.arange(height)[:, None]
    return xx * columns + xy * rows + x, yx * columns + yy * rows + y


def blobs(x: FloatArray, y: FloatArray) -> FloatArray:
    """A smooth picture on the canonical face: coordinates, each (height, width), to (height, width, 3), 0-255."""
    x, y = x.astype(np.float32), y.astype(np.float32)
    centres = [(0.34, 0.37), (0.66, 0.38), (0.5, 0.55), (0.45, 0.75), (0.2, 0.2), (0.8, 0.9)]
    weights = [np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 0.1**2)) for cx, cy in centres]
    colours = [(90 * (-1) ** k, 80 - 30 * k, 25 * k - 60) for k in range(len(centres))]
    return np.clip(110 + np.stack(weights, axis=-1) @ np.array(colours, np.float32), 0, 255)


def render(matrix: FloatArray, width: int, height: int) -> Picture:
    """The frame that shows `blobs` under a pose."""
    return blobs(*canonical(matrix, width, height)).round().astype(np.uint8)


def cut(frame: Picture, matrix: FloatArray, box: tuple[float, float, float, float]) -> tuple[Picture, Face]:
    """A cut-out by the letter of the contract, and its record."""
    x, y, w, h = box
    side = round(2 * max(w, h))
    left, top = round(x + w / 2 - side / 2), round(y + h / 2 - side / 2)
    rows = np.clip(np.arange(top, top + side), 0, frame.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, frame.shape[1] - 1)
    landmarks = regions.apply(matrix, regions.CANONICAL_LANDMARKS)
    return frame[rows][:, columns], Face(*box, 0.99, landmarks, left, top, face_id="f1", video_id="v1", label="real")


def detector_box(matrix: FloatArray) -> tuple[float, float, float, float]:
    """A box much as MTCNN's: upright around the face's centre."""
    centre = regions.apply(matrix, np.array([[0.5, 0.55]]))[0]
    side = float(np.hypot(*matrix[:, 0]))
    w, h = 0.7 * side, 0.9 * side
    return float(centre[0] - w / 2), float(centre[1] - h / 2), w, h


def truth(plan: Plan) -> FloatArray:
    """What a stack of aligned boxes shows of `blobs`, evaluated at the pixels' centres."""
    picture = np.zeros((plan.size[1], plan.size[0], 3))
    for part in plan.parts:
        x0, y0, x1, y1 = part.rect
        x = part.box[0] + (np.arange(x1 - x0) + 0.5) * (part.box[2] - part.box[0]) / (x1 - x0)
        y = part.box[1] + (np.arange(y1 - y0) + 0.5) * (part.box[3] - part.box[1]) / (y1 - y0)
        picture[y0:y1, x0:x1] = blobs(*np.meshgrid(x, y))
    return picture


# --- geometry ----------------------------------------------------------------------------------


@given(st.floats(60, 420), st.floats(-0.8, 0.8), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
@example(150.0, 0.0, 0.5, 0.5)
def test_a_face_turned_shifted_and_scaled_gives_the_same_crop(side: float, angle: float, x: float, y: float) -> None:
    span = round(2.4 * side)
    matrix = pose(side, angle, span / 2 + x, span / 2 + y)
    cut_out, face = cut(render(matrix, span, span), matrix, detector_box(matrix))
    for name in ("full", "eyes_lower"):
        plan = plan_of(name)
        difference = np.abs(cutting.crop(cut_out, face, plan, GREY) - truth(plan))
        assert difference.max() <= 3, f"{name}: {difference.max():.1f} grey levels"


def test_the_oracle_notices_half_a_pixel() -> None:
    """The tolerance above would be worth little if a shifted crop passed it."""
    matrix = pose(150, 0.2, 180, 180)
    cut_out, face = cut(render(matrix, 360, 360), matrix, detector_box(matrix))
    shifted = replace(face, cut_x=face.cut_x + 0.5)
    plan = plan_of("full")
    assert np.abs(cutting.crop(cut_out, shifted, plan, GREY) - truth(plan)).max() > 3


MOST = {"shift": 6.0, "rotate": 12.0, "scale": 8.0}


@given(st.integers(1, 1000), st.sampled_from([*MOST, "all"]))
def test_a_misplaced_crop_is_that_of_misplaced_landmarks(copy: int, kind: str) -> None:
    matrix = pose(150, 0.2, 180, 180)
    cut_out, face = cut(render(matrix, 360, 360), matrix, detector_box(matrix))
    jitter = Jitter(copies=1, **(MOST if kind == "all" else {kind: MOST[kind]}))
    plan = plan_of("eyes_lower")
    moved = drawn(jitter, cutting.canonical_to_cut(face), plan.whole, "f1", copy)
    corner = np.array([face.cut_x, face.cut_y])
    landmarks = regions.apply(moved, face.landmarks - corner) + corner
    expected = cutting.crop(cut_out, replace(face, landmarks=landmarks), plan, GREY).astype(float)
    assert np.abs(cutting.crop(cut_out, face, plan, GREY, moved) - expected).max() <= 1


def test_misplacements_stay_within_their_limits_and_fill_them() -> None:
    region: Box = (0.1, 0.1, 0.9, 0.9)
    to_cut = pose(100, 0.3, 90, 70)
    centre, width = regions.apply(to_cut, np.array([[0.5, 0.5]]))[0], 80
    jitter = Jitter(copies=1, **MOST)
    moved = np.stack([drawn(jitter, to_cut, region, f"face{n}", 1) for n in range(400)])
    shifts = np.linalg.norm(moved @ [*centre, 1.0] - centre, axis=1) / width * 100
    factors = np.hypot(moved[:, 0, 0], moved[:, 1, 0])
    angles = np.degrees(np.arctan2(moved[:, 1, 0], moved[:, 0, 0]))
    for found, most in ((shifts, 6.0), (np.abs(angles), 12.0), (100 * np.abs(np.log(factors)), 100 * math.log(1.08))):
        assert 0.95 * most < found.max() <= most + 1e-9
    assert abs(angles.mean()) < 1 and abs(np.log(factors).mean()) < 0.01
    assert len({drawn(jitter, to_cut, region, "face1", copy).tobytes() for copy in range(1, 9)}) == 8


@pytest.mark.parametrize("scale", [0.5, 0.25])
def test_a_reduced_cut_out_gives_the_same_crop(scale: float) -> None:
    matrix = pose(400, 0.1, 480, 470)
    cut_out, face = cut(render(matrix, 960, 960), matrix, detector_box(matrix))
    side = round(cut_out.shape[0] * scale / 4) * 4
    cut_out = np.ascontiguousarray(cut_out[: round(side / scale), : round(side / scale)])
    small = cv2.resize(cut_out, (side, side), interpolation=cv2.INTER_AREA)
    plan = plan_of("full")
    found = cutting.crop(np.asarray(small, np.uint8), replace(face, cut_scale=scale), plan, GREY)
    assert np.abs(found - truth(plan)).max() <= 3


@given(st.floats(-120, 320), st.floats(-120, 280), st.floats(30, 200))
@example(-60.0, -60.0, 120.0)
def test_faces_over_the_frame_edge_give_full_size_crops(x: float, y: float, side: float) -> None:
    matrix = pose(side, 0.1, x, y)
    cut_out, face = cut(render(matrix, 200, 160), matrix, detector_box(matrix))
    for name, (width, height) in product(("full", "complement", "eyes_lower_paper"), ((64, 64), (96, 40))):
        plan = plan_of(name, CropSettings(size=(width, height)))
        picture = cutting.crop(cut_out, face, plan, GREY)
        assert picture.shape == (height, width, 3) and picture.dtype == np.uint8


def test_what_lies_inside_the_frame_is_unharmed_by_the_edge() -> None:
    matrix = pose(120, 0.0, 70, 40)
    frame = render(matrix, 200, 160)
    cut_out, face = cut(frame, matrix, detector_box(matrix))
    plan = plan_of("full")
    to_frame = cutting.plane_to_cut(face, plan) + np.array([[0, 0, face.cut_x], [0, 0, face.cut_y]])
    x, y = np.meshgrid(*(np.linspace(a, b, 129)[:-1] + (b - a) / 256 for a, b in ((0.08, 0.92), (0.06, 0.98))))
    where = regions.apply(to_frame, np.column_stack([x.ravel(), y.ravel()]))
    inside = ((where >= 3) & (where <= [196, 156])).all(axis=1).reshape(128, 128)
    assert 0.5 < inside.mean() < 1
    assert np.abs(cutting.crop(cut_out, face, plan, GREY) - truth(plan))[inside].max() <= 3


@pytest.mark.parametrize("side", [500, 911, 1300])
def test_shrinking_does_not_alias(side: int) -> None:
    """A one-pixel chequerboard shrunk to the crop is its mean, not a pattern."""
    span = round(2.2 * side)
    board = (np.indices((span, span)).sum(axis=0) % 2 * 255).astype(np.uint8)
    frame = np.repeat(board[:, :, None], 3, axis=2)
    matrix = pose(side, 0.13, span / 2, span / 2)
    cut_out, face = cut(frame, matrix, detector_box(matrix))
    picture = cutting.crop(cut_out, face, plan_of("full"), GREY).astype(float)
    assert abs(picture.mean() - 127.5) < 2 and picture.std() < 16


@given(st.integers(2, 9), st.integers(5, 16), st.integers(60, 90), st.integers(60, 90))
def test_the_studys_boxes_equal_slices_of_the_resized_box(k: int, j: int, x: int, y: int) -> None:
    """eyes_lower_paper at the boxes' own size against what the study's own code would slice."""
    w, h = 12 * k, 12 * j
    matrix = pose(h, 0.3, x + w / 2, y + h / 2)
    frame = render(matrix, 480, 480)
    cut_out, face = cut(frame, matrix, (x, y, w, h))
    widened = frame[y - h // 12 : y + h, x - w // 12 : x + w + w // 12]
    resized = cv2.resize(widened, (196, 235), interpolation=cv2.INTER_LINEAR)
    expected = np.vstack([resized[72:121, 30:180], resized[162:232, 30:180]])
    plan = plan_of("eyes_lower_paper", CropSettings(size=(150, 49 + 70)))
    assert [part.rect for part in plan.parts] == [(0, 0, 150, 49), (0, 49, 150, 119)]
    # Linear against cubic interpolation of a smooth picture, in pixels up to eight times enlarged.
    difference = np.abs(cutting.crop(cut_out, face, plan, GREY).astype(int) - expected)
    assert difference.max() <= 12 and difference.mean() < 1.5


# --- what a layout shows -----------------------------------------------------------------------


def shown_boxes(name: str) -> tuple[Plan, np.ndarray]:
    """A plan and which pixels of its crop show anything of the face: (height, width) bool."""
    plan = plan_of(name)
    matrix = pose(160, 0.1, 200, 200)
    white = np.full((400, 400, 3), 255, np.uint8)
    cut_out, face = cut(white, matrix, detector_box(matrix))
    return plan, cutting.crop(cut_out, face, plan, (0, 0, 0)).max(axis=2) > 0


def test_complement_and_mask_never_show_the_same_pixel() -> None:
    _, complement = shown_boxes("complement")
    plan, mask = shown_boxes("eyes_lower_mask")
    assert complement.any() and mask.any() and not (complement & mask).any()
    bare = Variant(regions=["eyes", "lower_face"], layout="occlude")
    unwidened = cutting.resolve("c", {"c": bare}, BOXES, SIZE)
    filled = np.zeros_like(mask)
    for x0, y0, x1, y1 in unwidened.rects:
        filled[y0:y1, x0:x1] = True
    # Without widening only the pixels on a box's very edge are shown by neither.
    assert (filled & ~mask).sum() <= sum(2 * (x1 - x0) + 2 * (y1 - y0) for x0, y0, x1, y1 in plan.rects)
    assert not (mask & ~filled).any()


@given(st.floats(170, 700), st.floats(-0.7, 0.7), st.floats(0, 1), st.floats(0, 1))
def test_complement_holds_nothing_of_the_altered_area(side: float, angle: float, x: float, y: float) -> None:
    """Paint the regions and their feather in a marker colour: none is left, not even by interpolation."""
    span = round(2.2 * side)
    matrix = pose(side, angle, span / 2 + x, span / 2 + y)
    across, down = canonical(matrix, span, span)
    altered = np.zeros((span, span), bool)
    for name in ("eyes", "lower_face"):
        x0, y0, x1, y1 = BOXES[name]
        altered |= (across >= x0 - FEATHER) & (across <= x1 + FEATHER) & (down >= y0 - FEATHER) & (down <= y1 + FEATHER)
    frame = np.where(altered[:, :, None], [255, 0, 255], [128, 128, 128]).astype(np.uint8)
    cut_out, face = cut(frame, matrix, detector_box(matrix))
    assert (cutting.crop(cut_out, face, plan_of("complement"), GREY) == 128).all()
    assert (cutting.crop(cut_out, face, plan_of("eyes_lower"), GREY) == [255, 0, 255]).all()


def test_fill_and_mask_use_the_given_colour_and_leave_the_rest() -> None:
    matrix = pose(160, 0.1, 200, 200)
    cut_out, face = cut(render(matrix, 400, 400), matrix, detector_box(matrix))
    full = cutting.crop(cut_out, face, plan_of("full"), GREY)
    for name in ("complement", "eyes_lower_mask", "nose_mask"):
        plan, shown = shown_boxes(name)
        picture = cutting.crop(cut_out, face, plan, (1, 2, 3))
        assert (picture[shown] == full[shown]).all()
        assert (picture[~shown] == (1, 2, 3)).all()


def test_stack_keeps_one_scale_centres_the_narrower_box_and_pads() -> None:
    variant = Variant(regions=["eyes", "nose"], layout="stack")
    plan = cutting.resolve("both", {"both": variant}, BOXES, CropSettings(size=(132, 200), fit="pad"))
    eyes, nose = (part.rect for part in plan.parts)
    assert (eyes[0], eyes[2]) == (0, 132)  # 0.66 wide: 200 pixels a unit
    assert eyes[3] - eyes[1] == 42 and nose[3] - nose[1] == 34  # 0.21 and 0.17 high
    assert (nose[0], nose[2]) == (34, 98) and nose[1] == eyes[3]
    assert eyes[1] == 200 - nose[3] == 62
    matrix = pose(160, 0.1, 200, 200)
    cut_out, face = cut(np.full((400, 400, 3), 255, np.uint8), matrix, detector_box(matrix))
    picture = cutting.crop(cut_out, face, plan, (9, 8, 7))
    expected = np.zeros((200, 132), bool)
    expected[62:104, :] = expected[104:138, 34:98] = True
    assert (picture[expected] == 255).all() and (picture[~expected] == (9, 8, 7)).all()


def test_margin_takes_a_number_as_well() -> None:
    variant = Variant(regions=["eyes"], layout="occlude", margin=0.1)
    plan = cutting.resolve("v", {"v": variant}, BOXES, SIZE, feather=0.3)
    np.testing.assert_allclose(plan.boxes[0], np.add(BOXES["eyes"], [-0.1, -0.1, 0.1, 0.1]))


def test_scale_face_shows_regions_as_large_as_full_does() -> None:
    small, mask = plan_of("eyes_lower_small"), plan_of("eyes_lower_mask")
    for part, whole in zip(small.parts, mask.rects, strict=True):
        for axis in (0, 1):
            assert abs((part.rect[axis + 2] - part.rect[axis]) - (whole[axis + 2] - whole[axis])) <= 2
    zoomed = plan_of("eyes_lower").parts[0].rect
    assert zoomed[2] - zoomed[0] > 1.2 * (small.parts[0].rect[2] - small.parts[0].rect[0])
    matrix = pose(160, 0.1, 200, 200)
    cut_out, face = cut(render(matrix, 400, 400), matrix, detector_box(matrix))
    picture, expected = cutting.crop(cut_out, face, small, (0, 0, 0)), truth(small)
    assert np.abs(picture - expected).max() <= 3


def test_the_order_of_the_regions_is_the_order_of_the_stack() -> None:
    eyes, lower = plan_of("eyes_lower").parts
    first, second = plan_of("lower_eyes").parts
    assert (first.box, second.box) == (lower.box, eyes.box)
    assert first.rect[1] == 0 and second.rect[3] == 128 and first.rect[3] == second.rect[1]


def test_full_reduced_has_the_pixels_of_the_cropped_regions() -> None:
    plan = plan_of("full_reduced")
    area, face = (sum((b[2] - b[0]) * (b[3] - b[1]) for b in boxes) for boxes in (
        [BOXES["eyes"], BOXES["lower_face"]], [BOXES["face"]]
    ))  # fmt: skip
    assert plan.reduced is not None
    assert plan.reduced[0] * plan.reduced[1] / 128**2 == pytest.approx(area / face, rel=0.02)
    matrix = pose(400, 0, 480, 470)
    noise = np.random.default_rng(1).integers(0, 256, (960, 960, 3), np.uint8)
    cut_out, one = cut(noise, matrix, detector_box(matrix))
    full, reduced = (cutting.crop(cut_out, one, each, GREY).astype(float) for each in (plan_of("full"), plan))
    assert reduced.shape == full.shape and np.diff(reduced, axis=1).std() < 0.8 * np.diff(full, axis=1).std()
    cut_out, one = cut(render(matrix, 960, 960), matrix, detector_box(matrix))
    assert np.abs(cutting.crop(cut_out, one, plan, GREY) - truth(plan)).max() <= 4  # nothing moves


@given(st.floats(100, 400), st.floats(-0.4, 0.4))
def test_background_holds_nothing_of_the_face(side: float, angle: float) -> None:
    span = round(3 * side)
    matrix = pose(side, angle, span / 2, span / 2)
    across, down = canonical(matrix, span, span)
    x0, y0, x1, y1 = BOXES["face"]
    inside = (across >= x0 - 0.08) & (across <= x1 + 0.08) & (down >= y0 - 0.08) & (down <= y1 + 0.08)
    frame = np.where(inside[:, :, None], [255, 0, 255], [128, 128, 128]).astype(np.uint8)
    cut_out, face = cut(frame, matrix, detector_box(matrix))
    assert (cutting.crop(cut_out, face, plan_of("background"), GREY) == 128).all()
    filled = cutting.crop(np.full_like(cut_out, 128), face, plan_of("background"), (0, 0, 0)) == 0
    assert 0.3 < filled.mean() < 0.6


@pytest.mark.parametrize("side", [96, 400])
def test_equalised_crops_lie_where_the_others_do(side: int) -> None:
    settings = CropSettings(size=(128, 128), equalise=cutting.Equalise(side=side, jpg_quality=95))
    matrix = pose(160, 0.1, 200, 200)
    cut_out, face = cut(render(matrix, 400, 400), matrix, detector_box(matrix))
    plan = plan_of("full", settings)
    assert np.abs(cutting.crop(cut_out, face, plan, GREY) - truth(plan)).max() <= 8


def test_equalised_crops_hide_how_a_picture_was_stored() -> None:
    """Sharpness tells a picture of half the size from the other; after equalising it does not."""

    def sharpness(settings: CropSettings) -> list[float]:
        found = []
        for scale in (1.0, 0.5):
            small = cv2.resize(cut_out, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            stored = replace(face, cut_scale=scale)
            picture = cutting.crop(np.asarray(small, np.uint8), stored, plan_of("full", settings), GREY)
            found.append(float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()))
        return found

    matrix = pose(240, 0, 300, 300)
    noise = np.random.default_rng(2).integers(0, 256, (600, 600, 3), np.uint8)
    frame = np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.0), np.uint8)
    cut_out, face = cut(frame, matrix, detector_box(matrix))
    cut_out = np.ascontiguousarray(cut_out[: len(cut_out) // 2 * 2, : len(cut_out) // 2 * 2])
    before = sharpness(CropSettings(size=(128, 128)))
    after = sharpness(CropSettings(size=(128, 128), equalise=cutting.Equalise(side=96, jpg_quality=60)))
    assert before[0] > 1.5 * before[1]
    assert after[0] == pytest.approx(after[1], rel=0.2)


# --- random placement --------------------------------------------------------------------------


def overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


@given(st.integers(0, 10_000))
def test_boxes_that_fit_are_placed_without_overlap(seed: int) -> None:
    boxes: list[Box] = [(0.4, 0.2, 0.6, 0.3), (0.35, 0.7, 0.65, 0.85), (0.45, 0.45, 0.55, 0.55)]
    whole: Box = (0.1, 0.1, 0.9, 0.9)
    placed, share = cutting.place_elsewhere(boxes, whole, seed)
    assert share == 0 and (placed, share) == cutting.place_elsewhere(boxes, whole, seed)
    for i, (box, original) in enumerate(zip(placed, boxes, strict=True)):
        np.testing.assert_allclose(
            [box[2] - box[0], box[3] - box[1]], [original[2] - original[0], original[3] - original[1]], atol=1e-5
        )
        assert box[0] >= 0.1 - 1e-6 and box[1] >= 0.1 - 1e-6 and box[2] <= 0.9 + 1e-6 and box[3] <= 0.9 + 1e-6
        assert all(overlap(box, other) < 1e-6 for other in boxes + list(placed[i + 1 :]))


def test_seeds_differ_where_there_is_room() -> None:
    found = {cutting.place_elsewhere([(0.4, 0.4, 0.6, 0.6)], (0, 0, 1, 1), seed)[0] for seed in range(10)}
    assert len(found) > 5


def test_random_area_overlaps_as_little_as_any_placement() -> None:
    """Against every pair of places on a coarser grid; the reported share is that of its boxes."""
    plan = plan_of("random_area")
    assert plan.boxes == plan_of("random_area_mask").boxes
    originals = [BOXES["eyes"], BOXES["lower_face"]]
    places = [cutting._grid(box, BOXES["face"])[::2] for box in originals]
    fixed = [cutting._overlaps(place, originals) for place in places]
    first, second = places[0][:, None, :], places[1][None, :, :]
    size = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    total = fixed[0][:, None] + fixed[1][None, :] + np.clip(size, 0, None).prod(axis=2)
    area = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in originals)
    assert plan.overlap <= total.min() / area + 1e-4
    share = sum(overlap(box, other) for box in plan.boxes for other in originals) + overlap(*plan.boxes)
    assert plan.overlap == pytest.approx(share / area, abs=1e-3)
    for box, original in zip(plan.boxes, originals, strict=True):
        assert box[2] - box[0] == pytest.approx(original[2] - original[0], abs=1e-5)
        assert box[3] - box[1] == pytest.approx(original[3] - original[1], abs=1e-5)


# --- refusals ----------------------------------------------------------------------------------


def test_an_unknown_region_is_refused_by_name() -> None:
    variants = {"mine": Variant(regions=["eyes", "ears"], layout="stack")}
    with pytest.raises(StudyError, match=r"crop_variants\.mine\.regions.*'ears'.*known: face, eyes, nose, lower_face"):
        cutting.resolve("mine", variants, BOXES, SIZE)


@pytest.mark.parametrize("name", RESERVED)
def test_a_name_that_a_folder_of_metrics_has_is_refused(name: str) -> None:
    with pytest.raises(StudyError, match=rf"crop_variants\.{name}: metrics/{name}/ holds something else; rename it"):
        check_variants({name: Variant(regions=["face"], layout="stack")}, {"face": (0.0, 0.0, 1.0, 1.0)})


def test_an_unknown_variant_and_a_bad_name_are_refused() -> None:
    with pytest.raises(StudyError, match=r"does not hold 'whole' \(known: full, eyes_lower"):
        cutting.resolve("whole", VARIANTS, BOXES, SIZE)
    with pytest.raises(StudyError, match=r"'\.\./x' should be named"):
        cutting.check_variants({"../x": VARIANTS["full"]}, BOXES)
    with pytest.raises(StudyError, match=r"regions\.face is missing"):
        cutting.check_variants(VARIANTS, {"eyes": BOXES["eyes"]})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"regions": ["eyes"], "layout": "collage"},
            r"crop_variants\.v\.layout = 'collage'.*'stack', 'mask' or 'occlude'",
        ),
        ({"regions": ["eyes"], "layout": "stack", "zoom": 2}, r"crop_variants\.v\.zoom is not a known setting"),
        ({"regions": "eyes", "layout": "stack"}, r"crop_variants\.v\.regions = 'eyes'"),
        ({"layout": "stack"}, "takes `regions`"),
        ({"regions": ["eyes"], "layout": "mask", "margin_px": 2}, "`layout: occlude` only"),
        ({"regions": ["eyes"], "layout": "mask", "scale": "face"}, "`scale: face` goes with"),
        ({"regions": ["eyes"], "layout": "stack", "view": "surroundings"}, "`view: surroundings` goes with"),
        ({"regions": ["eyes"], "layout": "stack", "seed": 3}, "`seed` goes with"),
        (
            {"face": "box", "box_size": [9, 9], "boxes": [[0, 0, 9, 9]], "layout": "stack", "jitter": {"copies": 2}},
            "`jitter` goes with",
        ),
        ({"face": "box", "regions": ["eyes"], "layout": "stack"}, "takes `boxes`"),
        (
            {"face": "box", "box_size": [196, 235], "boxes": [[30, 72, 197, 121]], "layout": "stack"},
            "within `box_size`",
        ),
    ],
)
def test_a_variant_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        check(dict[str, Variant], {"v": values}, "crop_variants")


def test_a_stack_that_does_not_fit_at_the_scale_of_the_face() -> None:
    tall = Variant(regions=["face", "eyes"], layout="stack", scale="face")
    with pytest.raises(StudyError, match=r"crop_variants\.v: .*larger than regions\.face.*leave `scale` out"):
        cutting.resolve("v", {"v": tall}, BOXES, SIZE)
    unknown = Variant(regions=["face"], layout="stack", pixels_of=["ears"])
    with pytest.raises(StudyError, match=r"crop_variants\.v\.pixels_of names 'ears'"):
        cutting.resolve("v", {"v": unknown}, BOXES, SIZE)


def test_draws_of_random_area_differ() -> None:
    assert len({plan_of(name).boxes for name in ("random_area", "random_area_2", "random_area_3")}) == 3


def test_a_region_without_a_pixel_is_refused() -> None:
    thin: dict[str, Box] = {**BOXES, "line": (0.2, 0.5, 0.8, 0.501)}
    with pytest.raises(StudyError, match=r"crop_variants\.v: a region gets no pixel in a crop of 16x16"):
        cutting.resolve("v", {"v": Variant(regions=["line"], layout="mask")}, thin, CropSettings(size=(16, 16)))


# A mirrored and squeezed face: the best similarity is to shrink it to a point.
CENTRED = regions.CANONICAL_LANDMARKS - regions.CANONICAL_LANDMARKS.mean(axis=0)
SQUEEZED = CENTRED * [-100, 100 * (CENTRED[:, 0] ** 2).sum() / (CENTRED[:, 1] ** 2).sum()]
NO_FIT = tuple((float(x), float(y)) for x, y in SQUEEZED)


@pytest.mark.parametrize(
    "landmarks",
    [
        ((5.0, 5.0),) * 5,
        NO_FIT,
        ((math.nan, 1.0),) * 5,
    ],
)
def test_landmarks_of_no_face_name_the_face(landmarks: tuple[tuple[float, float], ...]) -> None:
    face = Face(0, 0, 10, 10, 0.99, np.array(landmarks), face_id="f7")
    with pytest.raises(StudyError, match="Face f7: its landmarks"):
        cutting.plane_to_cut(face, plan_of("full"))


# --- many faces, files, the stage --------------------------------------------------------------


def make_faces(folder: Path, count: int = 3) -> list[Face]:
    """count real and count fake reddish faces of differing pose as a faces stage leaves them."""
    (folder / "data/faces").mkdir(parents=True)
    rows = []
    for label, i in product(("real", "fake"), range(count)):
        matrix = pose(90 + 10 * i, 0.1 * i, 100 + 3 * i, 90)
        frame = render(matrix, 220, 180)
        frame[..., 1:] //= 4
        if label == "fake":
            frame //= 2
        cut_out, face = cut(frame, matrix, detector_box(matrix))
        name = f"{label}-{i}"
        sha256 = archive.write_picture(folder / "data/faces" / f"{name}.png", cut_out)
        x, y, w, h = face.box
        flat = dict(zip(tables.LANDMARK_COLUMNS, np.ravel(face.landmarks), strict=True))
        rows.append(
            {
                "face_id": name, "frame_id": name, "video_id": name, "label": label, "track_id": "t",
                "x": x, "y": y, "w": w, "h": h, "confidence": 0.99, **flat,
                "cut_x": face.cut_x, "cut_y": face.cut_y, "cut_scale": 1,
                "valid_x0": 0, "valid_y0": 0, "valid_x1": 1, "valid_y1": 1, "path": f"{name}.png", "sha256": sha256,
            }
        )  # fmt: skip
    path = folder / "data/faces/index.csv"
    tables.write(path, tables.to_dataframe(rows, tables.FACES), tables.FACES)
    return cutting.faces_from_table(tables.read(path, tables.FACES))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_faces(tmp_path)
    params = {**PARAMS, "crop_variants": DEFINED, "compute": {"workers": 1}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_the_stage_writes_every_variant(project: Path, variant: str) -> None:
    summary = stage.main(variant)
    assert summary.startswith(f"{variant}: 6 faces in, 6 crops of 128x128 out (3 real, 3 fake), mean colour ")
    assert ("overlaps" in summary) == (VARIANTS[variant].placement == "random")
    folder = project / "data/crops" / variant
    index = tables.read(folder / "index.csv", tables.CROPS)
    assert list(index.face_id) == ["fake-0", "fake-1", "fake-2", "real-0", "real-1", "real-2"]
    copies = {"copies"} if VARIANTS[variant].jitter else set()
    assert {path.name for path in folder.iterdir()} == {*index.path, "index.csv", "variant.json", *copies}
    facts = json.loads((folder / "variant.json").read_text(encoding="utf-8"))
    red, green, blue = facts["mean_colour"]
    assert facts["faces"] == 6 and len(facts["boxes"]) == len(plan_of(variant).boxes) and red > 2 * max(green, blue)
    for name in index.path:
        blue, green, red = np.asarray(cv2.imread(str(folder / name))).mean(axis=(0, 1))
        assert red > 2 * max(green, blue), "a red face should stay red in the file"
    sheet = np.asarray(cv2.imread(str(project / f"reports/crops/{variant}.png")))
    assert sheet.shape[0] > 4 * TILE and sheet.shape[1] > 3 * TILE


def test_misplaced_copies_are_of_the_same_faces(project: Path) -> None:
    summary = stage.main("eyes_lower_jitter")
    folder = project / "data/crops/eyes_lower_jitter"
    in_place = tables.read(folder / "index.csv", tables.CROPS)
    jitter = VARIANTS["eyes_lower_jitter"].jitter
    assert jitter is not None
    copies = jitter.copies
    assert summary.endswith(f"; {copies} misplaced copies of each, for training.")
    seen = set(in_place["sha256"])
    for copy in range(1, copies + 1):
        index = tables.read(copies_folder(folder, copy) / "index.csv", tables.CROPS)
        assert index["face_id"].tolist() == in_place["face_id"].tolist()
        seen |= set(index["sha256"])
    assert len(seen) == (1 + copies) * len(in_place)
    stage.main("eyes_lower")
    plain = tables.read(project / "data/crops/eyes_lower/index.csv", tables.CROPS)
    assert plain["sha256"].tolist() == in_place["sha256"].tolist()


def test_the_stage_writes_the_same_bytes_again(project: Path) -> None:
    def run() -> dict[str, bytes]:
        stage.main("random_area")
        files = [*(project / "data/crops").rglob("*.*"), *(project / "reports").rglob("*.png")]
        return {str(path): path.read_bytes() for path in files}

    assert run() == run()


def test_the_stage_ends_in_a_sentence_on_bad_input(project: Path) -> None:
    with pytest.raises(StudyError, match="does not hold 'whole'"):
        stage.main("whole")
    (project / "data/faces/real-1.png").write_bytes((project / "data/faces/real-2.png").read_bytes())
    with pytest.raises(StudyError, match=r"real-1\.png is not the picture that was stored"):
        stage.main("full")
    (project / "data/faces/real-1.png").unlink()
    with pytest.raises(StudyError, match=r"real-1\.png, the cut-out of face real-1, cannot be read"):
        stage.main("full")
    assert not (project / "data/crops/full").exists()
    tables.write(project / "data/faces/index.csv", tables.to_dataframe([], tables.FACES), tables.FACES)
    with pytest.raises(StudyError, match="lists no face"):
        stage.main("full")


# --- the contact sheet -------------------------------------------------------------------------


def test_the_sheet_shows_twins_of_different_videos(tmp_path: Path) -> None:
    faces = [
        Face(
            0,
            0,
            1,
            1,
            0.99,
            np.zeros((5, 2)),
            face_id=f"{label}-{i:02d}-{k}",
            video_id=f"{label}-{i:02d}",
            label=label,
        )
        for label, i, k in product(("fake", "real"), range(20), range(3))
    ]
    chosen = dict(cutting.sheet_choice(faces, 4))
    assert list(chosen) == ["real", "fake"]
    assert [face.face_id for face in chosen["real"]] == ["real-00-0", "real-05-0", "real-10-0", "real-15-0"]
    assert [face.video_id[-2:] for face in chosen["fake"]] == ["00", "05", "10", "15"]
    assert [len(row) for _, row in cutting.sheet_choice(faces[:6], 4)] == [0, 2]
    # Where a video of a pair gave no face, the columns still show pairs.
    without = [face for face in faces if face.video_id not in ("fake-00", "fake-07", "real-12")]
    shown = {label: [face.video_id[-2:] for face in row] for label, row in cutting.sheet_choice(without, 5)}
    assert shown["real"] == shown["fake"] and len(set(shown["real"])) == 5
    alone = [face for face in faces if face.label == "real" or face.video_id == "fake-03"]
    assert [len(row) for _, row in cutting.sheet_choice(alone, 4)] == [4, 1]


def test_the_sheets_boxes_lie_where_the_crop_is_taken(tmp_path: Path) -> None:
    """The green outline, mapped back to the canonical face, is the eyes' box."""
    matrix = pose(150, 0.35, 190, 200)
    cut_out, face = cut(np.zeros((400, 400, 3), np.uint8), matrix, detector_box(matrix))
    variant = Variant(regions=["eyes"], layout="stack")
    plan = cutting.resolve("v", {"v": variant}, BOXES, SIZE)
    tile = mark_boxes(cut_out, face, plan).astype(int)
    y, x = np.nonzero((tile[..., 1] > 150) & (tile[..., 0] < 80))
    assert len(x) > 50
    scale = cut_out.shape[0] / TILE
    frame = (np.column_stack([x, y]) + 0.5) * scale - 0.5 + [face.cut_x, face.cut_y]
    points = regions.apply(regions.invert(matrix), frame)
    found = [*points.min(axis=0), *points.max(axis=0)]
    np.testing.assert_allclose(found, BOXES["eyes"], atol=0.02)


def test_a_sheet_with_one_class_only(tmp_path: Path) -> None:
    faces = [face for face in make_faces(tmp_path) if face.label == "fake"]
    page = crop_sheet(faces, tmp_path / "data/faces", plan_of("full"), GREY, 2)
    assert page.shape[2] == 3 and page.dtype == np.uint8
