"""Masks, alterations, colours and donors of pseudo-fakes."""

from __future__ import annotations

import ast
import colorsys
import itertools
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facestudy.core.arrays import FloatArray, Layer, Picture
from facestudy.core.regions import CANONICAL_LANDMARKS, apply, similarity
from facestudy.dataset.split import groups
from facestudy.pseudo_fakes import donor_swap, donors, masks, self_blend
from facestudy.pseudo_fakes.donors import Clip, choose_donors
from facestudy.pseudo_fakes.masks import MaskPlan
from facestudy.pseudo_fakes.self_blend import Move, PictureChange

NOTHING = PictureChange((0, 0, 0), 0, 0, 0, 0.0, 0.0, 1, 0.0)
SHAPE = 200, 300
seeds = st.integers(0, 2**32 - 1)
plans = st.tuples(seeds, st.booleans()).map(
    lambda drawn: (masks.self_blend_plan if drawn[1] else masks.donor_plan)(np.random.default_rng(drawn[0]))
)


def noise(seed: int, shape: tuple[int, int] = SHAPE) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


@st.composite
def faces(draw: st.DrawFn) -> FloatArray:
    """Landmarks anywhere in or beyond a frame, turned by up to 45 degrees, with errors."""
    angle, size = draw(st.floats(-0.78, 0.78)), draw(st.floats(20, 400))
    linear = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([draw(st.floats(-50, 350)), draw(st.floats(-50, 250))])
    errors = draw(st.lists(st.floats(-0.04, 0.04), min_size=10, max_size=10))
    return (CANONICAL_LANDMARKS - 0.5 + np.reshape(errors, (5, 2))) @ linear.T + centre


INEXACT = {"exp", "log", "power", "float_power", "sin", "cos", "tan", "arctan2", "hypot", "cbrt", "tanh", "linalg"}
"""Of NumPy: last bits depend on the CPU or the C library, see tests/test_cpu.py."""


@pytest.mark.parametrize("module", [masks, self_blend, donor_swap, donors], ids=lambda module: module.__name__)
def test_no_function_depends_on_the_cpu(module: ModuleType) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text())
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not used & (INEXACT | {"standard_normal", "normal", "exponential"})
    powers = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)]
    assert all(ast.unparse(power.right) == "2" for power in powers)
    assert not hasattr(module, "math")


# --- masks ----------------------------------------------------------------------------------------


@given(plans, seeds)
def test_a_mask_is_a_share_that_ends_on_its_canvas(plan: MaskPlan, seed: int) -> None:
    mask = masks.draw_mask(plan, np.random.default_rng(seed))
    assert mask.dtype == np.float32 and mask.min() == 0 and mask.max() <= plan.ratio
    assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any()
    centre = masks.CANVAS_LANDMARKS[2].astype(int)
    assert mask[centre[1], centre[0]] == pytest.approx(plan.ratio, abs=1e-6)  # the nose


@given(plans, seeds, faces())
def test_a_placed_mask_has_the_frame_and_a_tight_rectangle(plan: MaskPlan, seed: int, landmarks: FloatArray) -> None:
    share = masks.place(masks.draw_mask(plan, np.random.default_rng(seed)), landmarks, (*SHAPE, 3))
    assert share.shape == SHAPE and share.min() >= 0 and share.max() <= plan.ratio
    rows, columns = masks.rectangle(share)
    assert np.count_nonzero(share[rows, columns]) == np.count_nonzero(share)
    if share.any():
        edges = share[rows, columns]
        assert all(edge.any() for edge in (edges[0], edges[-1], edges[:, 0], edges[:, -1]))


def test_a_mask_covers_the_inner_face_and_not_the_hair() -> None:
    landmarks = CANONICAL_LANDMARKS * 100 + 50
    mask = masks.draw_mask(MaskPlan(False, 4, 0.0, (5,), 1.0), np.random.default_rng(0))
    share = masks.place(mask, landmarks, (200, 200))
    assert all(share[round(y), round(x)] > 0.99 for x, y in landmarks)
    x, y = np.meshgrid(np.arange(200), np.arange(200))
    outside = (x < 50 + 15) | (x > 50 + 85) | (y < 50 + 20) | (y > 50 + 96)
    assert not share[outside].any()


@pytest.mark.parametrize("side", [-1, 1])
def test_the_far_half_of_a_turned_face_is_narrower(side: int) -> None:
    mask = masks.draw_mask(MaskPlan(False, 4, 0.0, (5,), 1.0), np.random.default_rng(0))
    ahead = CANONICAL_LANDMARKS * 100 + 50
    turned = ahead + np.array([[0, 0], [0, 0], [4 * side, 0], [0, 0], [0, 0]])
    spans = []
    for landmarks in (ahead, turned):
        share = masks.place(mask, landmarks, (200, 200))
        row = np.flatnonzero(share[round(landmarks[:2, 1].mean())] > 0.5) - landmarks[[0, 1, 3, 4], 0].mean()
        spans.append((-row.min(), row.max())[::side])
    (_, far), (near_turned, far_turned) = spans
    assert far_turned < 0.85 * far and near_turned > far_turned
    assert spans[0][0] == pytest.approx(far, abs=1.5)
    of_both = masks.place(mask, ahead, (200, 200), turned * 3)
    assert (of_both <= masks.place(mask, ahead, (200, 200)) + 0.1).all()  # the edge is resampled
    row = np.flatnonzero(of_both[round(ahead[:2, 1].mean())] > 0.5) - ahead[[0, 1, 3, 4], 0].mean()
    near_of_both, far_of_both = (-row.min(), row.max())[::side]
    assert far_of_both < 0.85 * far and near_of_both > far_of_both


@given(st.integers(1, 12), st.floats(0, 0.02))
def test_deformation_moves_the_edge_by_its_amplitude(grid: int, amplitude: float) -> None:
    sharp = [
        masks.draw_mask(MaskPlan(True, grid, size, (1,), 1.0), np.random.default_rng(grid)) > 0.5
        for size in (0.0, amplitude)
    ]
    reach = 2 * int(np.ceil(amplitude * masks.UNIT * 2**0.5 + 1)) + 1
    wider = cv2.dilate(sharp[0].astype(np.uint8), np.ones((reach, reach)))
    narrower = cv2.erode(sharp[0].astype(np.uint8), np.ones((reach, reach)))
    assert not (sharp[1] & (wider == 0)).any() and not (~sharp[1] & (narrower == 1)).any()


def test_two_blurs_erode_or_widen() -> None:
    def area(*kernels: int) -> float:
        return float((masks.draw_mask(MaskPlan(True, 4, 0.0, kernels, 1.0), np.random.default_rng(0)) > 1e-3).sum())

    assert area(25, 5) < area(5) < area(5, 25)
    sharp, cut = (
        masks.draw_mask(MaskPlan(True, 4, 0.0, kernels, 1.0), np.random.default_rng(0)) for kernels in ((1,), (25, 1))
    )
    least, most = (cv2.erode((sharp == 1).astype(np.uint8), np.ones((side, side))) for side in (25, 13))
    assert (least <= (cut > 0)).all() and ((cut > 0) <= most).all()


# --- blending -------------------------------------------------------------------------------------


@given(plans, seeds, faces())
def test_a_blend_is_the_target_outside_its_mask(plan: MaskPlan, seed: int, landmarks: FloatArray) -> None:
    target, source = noise(seed), noise(seed + 1)
    share = masks.place(masks.draw_mask(plan, np.random.default_rng(seed)), landmarks, SHAPE)
    area = masks.rectangle(share)
    before = target.copy()
    blended = masks.blend(target, source[area], share, area)
    assert np.array_equal(target, before) and np.array_equal(blended[share == 0], target[share == 0])
    assert np.array_equal(blended[share == 1], source[share == 1])
    low, high = np.minimum(target, source), np.maximum(target, source)
    assert (blended >= low).all() and (blended <= high).all()


@given(seeds)
def test_a_mask_of_zeros_gives_the_target(seed: int) -> None:
    share: Layer = np.zeros(SHAPE, np.float32)
    whole = slice(0, SHAPE[0]), slice(0, SHAPE[1])
    for area in (whole, masks.rectangle(share)):
        assert np.array_equal(masks.blend(noise(seed), noise(seed + 1)[area], share, area), noise(seed))


# --- the altered copy -----------------------------------------------------------------------------


def test_no_change_keeps_the_picture_up_to_the_colour_space() -> None:
    picture = noise(0)
    moved = self_blend.altered(picture, NOTHING).astype(int) - picture
    assert np.abs(moved).max() <= 8 and np.abs(moved).mean() < 1  # hue has 180 steps


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.integers(-4, 4), st.integers(-15, 15))
def test_hue_and_value_move_as_in_colorsys(red: int, green: int, blue: int, hue: int, value: int) -> None:
    changes = PictureChange((0, 0, 0), hue, 0, value, 0.0, 0.0, 1, 0.0)
    found = self_blend.altered(np.full((2, 2, 3), (red, green, blue), np.uint8), changes)[0, 0]
    h, s, v = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
    right = np.array(colorsys.hsv_to_rgb((h + hue / 180) % 1, s, np.clip(v + value / 255, 0, 1))) * 255
    assert found == pytest.approx(right, abs=6)


def test_brightness_and_shift_add_and_contrast_multiplies() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    for changes, expected in [
        (PictureChange((7, 7, 7), 0, 0, 0, 0.0, 0.0, 1, 0.0), 107),
        (PictureChange((0, 0, 0), 0, 0, 0, 0.1, 0.0, 1, 0.0), 126),
        (PictureChange((0, 0, 0), 0, 0, 0, 0.0, 0.1, 1, 0.0), 110),
    ]:
        assert (self_blend.altered(grey, changes) == expected).all()


def test_downscaling_removes_detail_and_sharpening_adds() -> None:
    picture = cv2.GaussianBlur(noise(1), (0, 0), 1.5)

    def detail(downscale: int, sharpen: float) -> float:
        changes = PictureChange((0, 0, 0), 0, 0, 0, 0.0, 0.0, downscale, sharpen)
        return float(cv2.Laplacian(self_blend.altered(picture, changes), cv2.CV_64F).std())

    assert detail(4, 0) < detail(2, 0) < detail(1, 0) < detail(1, 1)


@given(seeds)
def test_alterations_stay_within_their_ranges(seed: int) -> None:
    changes = self_blend.draw_change(np.random.default_rng(seed))
    assert max(map(abs, changes.rgb)) <= 20 and abs(changes.hue) <= 4 and abs(changes.contrast) <= 0.1
    assert (changes.downscale > 1) != (changes.sharpen > 0)
    assert changes == self_blend.draw_change(np.random.default_rng(seed))


@given(faces(), st.floats(0.95, 1.05), st.floats(-0.03, 0.03), st.floats(-0.03, 0.03))
def test_the_copy_is_resized_about_the_face(landmarks: FloatArray, scale: float, right: float, down: float) -> None:
    before, after = self_blend.moved(landmarks, Move(scale, right, down))
    to_canvas = similarity(landmarks, CANONICAL_LANDMARKS)
    assert apply(to_canvas, before) == pytest.approx(CANONICAL_LANDMARKS, abs=1e-6)
    expected = (CANONICAL_LANDMARKS - 0.5) * scale + 0.5 + (right, down)
    assert apply(to_canvas, after) == pytest.approx(expected, abs=1e-6)


def test_a_translated_copy_is_the_picture_elsewhere() -> None:
    picture = noise(3)
    landmarks = CANONICAL_LANDMARKS * 100 + 50
    moved = self_blend.source_picture(picture, np.stack([landmarks, landmarks + np.array([3, -2])]))
    assert np.array_equal(moved[10:100, 13:103], picture[12:102, 10:100])


# --- colours --------------------------------------------------------------------------------------


@given(seeds, st.floats(0.6, 1.6), st.floats(-10, 10))
def test_colour_transfer_gives_the_targets_moments(seed: int, spread: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    source = rng.normal(50, 8, (40, 50, 3)).astype(np.float32)
    target = rng.normal(50 + shift, 8 * spread, (30, 20, 3)).astype(np.float32)
    inside = rng.random((40, 50)) < 0.5
    everywhere = np.ones((30, 20), bool)
    gain, offset = donor_swap.colour_transfer(
        donor_swap.moments([(source, inside)]), donor_swap.moments([(target, everywhere)])
    )
    given_colours = source[inside] * gain + offset
    assert given_colours.mean(axis=0) == pytest.approx(target.reshape(-1, 3).mean(axis=0), abs=0.02)
    assert given_colours.std(axis=0) == pytest.approx(target.reshape(-1, 3).std(axis=0), abs=0.02)


def test_moments_are_those_of_all_pixels_together() -> None:
    parts = [np.random.default_rng(n).normal(n, 2 + n, (9, 7 + n, 3)).astype(np.float32) for n in range(3)]
    mean, spread = donor_swap.moments((part, np.ones(part.shape[:2], bool)) for part in parts)
    pixels = np.concatenate([part.reshape(-1, 3) for part in parts])
    assert mean == pytest.approx(pixels.mean(axis=0), abs=1e-4)
    assert spread == pytest.approx(pixels.std(axis=0), abs=1e-4)


def test_a_flat_donor_does_not_become_noise() -> None:
    gain, _ = donor_swap.colour_transfer((np.ones(3), np.zeros(3)), (np.ones(3), np.full(3, 9.0)))
    assert gain.tolist() == [2.0] * 3


def test_lab_is_that_of_the_cie() -> None:
    """White, black and sRGB red; values of the CIE 1976 formulas under D65."""
    lab = donor_swap.to_lab(np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0]]], np.uint8))
    assert lab[0] == pytest.approx(np.array([[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]]), abs=0.1)
    picture = noise(5)
    there_and_back = np.abs(donor_swap.from_lab(donor_swap.to_lab(picture)) - picture)
    assert there_and_back.max() < 2 and there_and_back.mean() < 0.5


@pytest.mark.parametrize("size", [1.0, 3.0])
def test_a_donor_lies_where_the_target_is(size: float) -> None:
    """Five dots on the donor's landmarks come to lie on the target's."""
    points, target = CANONICAL_LANDMARKS * 80 * size + 20, CANONICAL_LANDMARKS * 90 + (60, 40)
    donor = np.zeros((round(130 * size), round(130 * size), 3), np.uint8)
    for x, y in points:
        cv2.circle(donor, (round(x * 16), round(y * 16)), round(4 * size * 16), (255, 255, 255), -1, cv2.LINE_AA, 4)
    warped = donor_swap.warp_donor(donor, points, target, SHAPE)
    _, _, _, centres = cv2.connectedComponentsWithStats((warped[..., 0] > 127).astype(np.uint8))
    assert len(centres) == 6  # the first is the background
    assert all(np.linalg.norm(centres[1:] - point, axis=1).min() < 0.75 for point in target)


# --- donors ---------------------------------------------------------------------------------------


def test_the_nearest_frame_is_that_of_brute_force() -> None:
    rng = np.random.default_rng(4)
    target, donor = rng.normal(size=(7, 5, 2)), rng.normal(size=(11, 5, 2))
    brute = [min(range(11), key=lambda m: float(np.linalg.norm(target[n] - donor[m]))) for n in range(7)]
    assert donors.nearest_frames(target, donor).tolist() == brute


def test_aligned_landmarks_do_not_depend_on_the_camera() -> None:
    face = CANONICAL_LANDMARKS + np.random.default_rng(0).normal(0, 0.01, (5, 2))
    turned = face @ np.array([[60.0, -80], [80, 60]]) + (300, 200)
    assert donors.aligned(np.stack([face * 50, turned])) == pytest.approx(
        np.stack([donors.aligned(face[None])[0]] * 2), abs=1e-4
    )


@st.composite
def clips(draw: st.DrawFn) -> list[Clip]:
    rng = np.random.default_rng(draw(seeds))
    people = draw(st.lists(st.integers(0, 12), max_size=30))
    return [
        Clip(f"clip{n}", f"p{person}", "test" if person % 3 == 0 else "train", rng.normal(size=(5, 2)))
        for n, person in enumerate(people)
    ]


@given(clips(), seeds)
def test_donors_join_two_people_at_most(found: list[Clip], seed: int) -> None:
    chosen = choose_donors(found, seed)
    by_name = {clip.name: clip for clip in found}
    for name, donor in chosen.items():
        assert by_name[name].person != by_name[donor].person and by_name[name].subset == by_name[donor].subset
    rows = [
        {"video_id": clip.name, "identity": clip.person, "donor": by_name[chosen[clip.name]].person}
        for clip in found
        if clip.name in chosen
    ]
    videos = pd.DataFrame(rows, columns=["video_id", "identity", "donor"])
    joined = videos.assign(group=videos["video_id"].map(groups(videos)))
    assert (joined.groupby("group")["identity"].nunique() == 2).all()
    for subset in ("test", "train"):
        people = {clip.person for clip in found if clip.subset == subset}
        without = {clip.person for clip in found if clip.subset == subset and clip.name not in chosen}
        assert len(without) == len(people) % 2


@given(clips(), seeds)
def test_donors_do_not_depend_on_the_order(found: list[Clip], seed: int) -> None:
    assert choose_donors(found, seed) == choose_donors(found[::-1], seed)


@given(st.integers(2, donors.CANDIDATES + 1), seeds)
def test_the_first_person_gets_the_nearest_of_all(count: int, seed: int) -> None:
    """With few people the candidates are everybody: some pair is that of brute force."""
    rng = np.random.default_rng(seed)
    found = [Clip(f"c{n}", f"p{n}", "", rng.normal(size=(5, 2))) for n in range(count)]
    chosen = choose_donors(found, seed)
    nearest = {
        a.name: min((b for b in found if b is not a), key=lambda b: float(np.linalg.norm(a.shape - b.shape))).name
        for a in found
    }
    assert any(chosen.get(name) == other for name, other in nearest.items())


def test_of_several_clips_the_nearest_gives_its_face() -> None:
    shapes = {"a1": 0.0, "a2": 5.0, "b1": 4.0, "b2": 1.0}
    found = [Clip(name, name[0], "", np.full((5, 2), value)) for name, value in shapes.items()]
    assert choose_donors(found, 1) == {"a1": "b2", "a2": "b1", "b1": "a2", "b2": "a1"}
    assert all(choose_donors(list(order), 1) == choose_donors(found, 1) for order in itertools.permutations(found))
