"""Alterations of test faces: where crops move to, what happens to pictures, what is random."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from facestudy.alterations.altering import altered, altered_picture, displacement, face_width
from facestudy.alterations.settings import COMPOSITE, PLACEMENTS, RECODED, Alteration, RobustnessSettings, label
from facestudy.core import regions
from facestudy.core.arrays import FloatArray, Picture
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import check
from facestudy.crops import cutting
from facestudy.crops.cutting import Colour, CropSettings, Plan
from facestudy.crops.jitter import generator
from facestudy.faces.face import Face
from facestudy.media.archive import read_picture
from stages import crops as crops_stage
from tests.pipeline_files import ROOT
from tests.project import params, write_params
from tests.test_crops import BOXES, GREY, blobs, cut, detector_box, make_faces, plan_of, pose, render

FACE = BOXES["face"]
FACE_WIDTH = FACE[2] - FACE[0]
CENTRE = np.array([(FACE[0] + FACE[2]) / 2, (FACE[1] + FACE[3]) / 2])
PRESET = yaml.safe_load((ROOT / "presets/robustness.yaml").read_text(encoding="utf-8"))["robustness"]


def altered_crop(
    cut_out: Picture, face: Face, plan: Plan, colour: Colour, region: Box, alteration: Alteration | None
) -> Picture:
    """The crop of an altered face; None: as it is."""
    picture, moved = altered(cut_out, face, alteration, region) if alteration else (cut_out, None)
    return cutting.crop(picture, face, plan, colour, moved)


def posed(side: float = 160, angle: float = 0.1, face_id: str = "f1") -> tuple[Picture, Face]:
    span = round(2.6 * side)
    matrix = pose(side, angle, span / 2, span / 2)
    cut_out, face = cut(render(matrix, span, span), matrix, detector_box(matrix))
    return cut_out, replace(face, face_id=face_id)


def on_the_face(alteration: Alteration, face: Face) -> FloatArray:
    """The displacement in canonical coordinates: which point of the face is shown where another was."""
    matrix, moved = cutting.canonical_to_cut(face), displacement(alteration, face, FACE)
    points = np.array([[0.0, 0], [1, 0], [0, 1]])
    origin, x, y = regions.apply(regions.invert(matrix), regions.apply(moved, regions.apply(matrix, points)))
    return np.column_stack([x - origin, y - origin, origin])


def displaced_truth(plan: Plan, moved: FloatArray) -> FloatArray:
    """What a crop of the box `face` shows of `blobs` at the moved points."""
    (part,) = plan.parts
    axes = [
        part.box[i] + (np.arange(plan.size[i]) + 0.5) * (part.box[i + 2] - part.box[i]) / plan.size[i] for i in (0, 1)
    ]
    grid = np.column_stack([axis.ravel() for axis in np.meshgrid(*axes)])
    return blobs(*regions.apply(moved, grid).reshape(plan.size[1], plan.size[0], 2).transpose(2, 0, 1))


face_ids = st.text("abc0123", min_size=1, max_size=8)


@settings(max_examples=15, deadline=None)
@given(st.floats(80, 300), st.floats(-0.6, 0.6), st.sampled_from([1.0, 4.0, 8.0]), face_ids)
def test_a_shift_moves_by_its_share_of_the_face(side: float, angle: float, percent: float, face_id: str) -> None:
    cut_out, face = posed(side, angle, face_id)
    moved = on_the_face(Alteration("shift", percent), face)
    np.testing.assert_allclose(moved[:, :2], np.eye(2), atol=1e-9)
    assert np.hypot(*moved[:, 2]) == pytest.approx(percent / 100 * FACE_WIDTH)
    picture = altered_crop(cut_out, face, plan_of("full"), GREY, FACE, Alteration("shift", percent))
    assert np.abs(picture - displaced_truth(plan_of("full"), moved)).max() <= 3


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["rotate", "scale"]), st.sampled_from([2.0, 5.0, 10.0]), st.floats(-0.5, 0.5), face_ids)
def test_turns_and_scales_keep_the_middle_of_the_face(kind: str, severity: float, angle: float, face_id: str) -> None:
    cut_out, face = posed(180, angle, face_id)
    moved = on_the_face(Alteration(kind, severity), face)
    np.testing.assert_allclose(regions.apply(moved, CENTRE[None]), CENTRE[None], atol=1e-9)
    factor, turned = np.hypot(*moved[:, 0]), math.degrees(math.atan2(moved[1, 0], moved[0, 0]))
    if kind == "rotate":
        assert factor == pytest.approx(1) and abs(turned) == pytest.approx(severity)
    else:
        assert turned == pytest.approx(0) and abs(factor - 1) == pytest.approx(severity / 100)
    picture = altered_crop(cut_out, face, plan_of("full"), GREY, FACE, Alteration(kind, severity))
    assert np.abs(picture - displaced_truth(plan_of("full"), moved)).max() <= 3


@pytest.mark.parametrize("variant", ["full", "eyes_lower", "eyes_lower_mask", "full_paper"])
def test_every_variant_moves_by_the_same_pixels(variant: str) -> None:
    """On a ramp the change of the mean grey level tells how far a crop has moved, whatever it shows."""
    cut_out, face = posed()
    columns, rows = np.meshgrid(np.arange(cut_out.shape[1]), np.arange(cut_out.shape[0]))
    ramp = np.stack([columns, rows, columns], axis=2) // 2
    pictures = [
        altered_crop(ramp.astype(np.uint8), face, plan_of(variant), (0, 0, 0), FACE, alteration).astype(float)
        for alteration in (None, Alteration("shift", 8))
    ]
    shown = (pictures[0] > 0).all(axis=2)
    change = (pictures[1] - pictures[0])[shown].mean(axis=0)[:2]
    np.testing.assert_allclose(2 * change, displacement(Alteration("shift", 8), face, FACE)[:, 2], atol=0.3)


@pytest.mark.parametrize("variant", ["full", "eyes_lower", "complement", "full_reduced", "eyes_lower_paper"])
def test_no_displacement_gives_the_same_bytes(variant: str) -> None:
    cut_out, face = posed()
    stay = np.array([[1.0, 0, 0], [0, 1, 0]])
    plain = cutting.crop(cut_out, face, plan_of(variant), GREY)
    assert np.array_equal(plain, cutting.crop(cut_out, face, plan_of(variant), GREY, stay))
    assert np.array_equal(plain, altered_crop(cut_out, face, plan_of(variant), GREY, FACE, None))


@pytest.mark.parametrize("variant", ["eyes_lower", "complement"])
def test_an_unaltered_face_gives_the_stored_crop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str) -> None:
    faces = make_faces(tmp_path)
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, params() | {"compute": {"workers": 1}})
    crops_stage.main(variant)
    folder = tmp_path / "data/crops" / variant
    colour = cutting.read_colour(folder / "variant.json")
    plan = plan_of(variant, check(CropSettings, params()["crops"], "crops"))
    for face in faces:
        cut_out = cutting.read_cut_out(tmp_path / "data/faces", face)
        stored = np.asarray(read_picture(folder / f"{face.face_id}.png"))
        assert np.array_equal(stored, altered_crop(cut_out, face, plan, colour, FACE, None))
    (folder / "variant.json").write_text("{}")
    with pytest.raises(StudyError, match=r"variant\.json cannot be read"):
        cutting.read_colour(folder / "variant.json")


def textured() -> Picture:
    """A picture with detail at every scale."""
    noise = np.random.default_rng(3).integers(-20, 20, (200, 200, 3))
    cut_out, _ = posed(120)
    return np.clip(cut_out[:200, :200] + noise, 0, 255).astype(np.uint8)


def psnr(first: Picture, second: Picture) -> float:
    """Peak signal-to-noise ratio, dB."""
    square = ((first.astype(float) - second) ** 2).mean()
    return math.inf if square == 0 else 10 * math.log10(255**2 / square)


MILD_TO_STRONG = [
    *((kind, values) for kind, values in PRESET.items() if kind not in (*PLACEMENTS, RECODED, COMPOSITE, "brightness")),
    ("brightness", [0.9, 0.7, 0.5]),
    ("brightness", [1.1, 1.5, 2]),
]


@pytest.mark.parametrize(("kind", "severities"), MILD_TO_STRONG)
def test_a_stronger_alteration_leaves_less_of_the_picture(kind: str, severities: list[float]) -> None:
    picture = textured()
    before = picture.copy()
    found = [psnr(picture, altered_picture(picture, 110, Alteration(kind, value), "f1")) for value in severities]
    assert all(first > second for first, second in pairwise(found)) and 5 < found[-1] < found[0] < 60
    assert np.array_equal(picture, before)


@pytest.mark.parametrize(
    ("kind", "severity"), [("brightness", 1), ("noise", 0), ("downscale", 110), ("downscale", 200)]
)
def test_nothing_to_do_changes_nothing(kind: str, severity: float) -> None:
    picture = textured()
    assert np.array_equal(picture, altered_picture(picture, 110, Alteration(kind, severity), "f1"))


def test_blur_and_noise_have_the_standard_deviation_asked_for() -> None:
    step = np.zeros((60, 200, 3), np.uint8)
    step[:, 100:] = 200
    blurred = altered_picture(step, 150, Alteration("blur", 4), "f1")[30, :, 0].astype(float)
    weights = np.diff(blurred) / 200  # of an edge, the kernel itself
    places = np.arange(199) - 99
    assert math.sqrt((weights * places**2).sum() - (weights * places).sum() ** 2) == pytest.approx(6, rel=0.05)
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = altered_picture(grey, 150, Alteration("noise", 8), "f1").astype(float) - 128
    assert noise.std() == pytest.approx(8, rel=0.02) and abs(noise.mean()) < 0.1


def test_a_face_is_altered_alike_at_every_severity() -> None:
    _, face = posed()
    shifts = [displacement(Alteration("shift", value), face, FACE)[:, 2] for value in (1, 2, 8)]
    np.testing.assert_allclose(shifts, np.outer([1, 2, 8], shifts[0]), atol=1e-9)
    grey = np.full((50, 50, 3), 128, np.uint8)
    weak, strong = (
        altered_picture(grey, 40, Alteration("noise", value), "f1").ravel().astype(float) for value in (8, 16)
    )
    assert np.corrcoef(weak, strong)[0, 1] > 0.99
    other = altered_picture(grey, 40, Alteration("noise", 8), "f2").ravel()
    assert abs(np.corrcoef(weak, other)[0, 1]) < 0.1


def test_directions_cover_the_circle_and_sides_are_even() -> None:
    _, face = posed()
    faces = [replace(face, face_id=f"person-{number}") for number in range(800)]
    move = np.array([displacement(Alteration("shift", 4), face, FACE)[:, 2] for face in faces])
    sectors = np.floor((np.arctan2(move[:, 1], move[:, 0]) / math.pi + 1) * 4).astype(int) % 8
    counts = np.bincount(sectors, minlength=8)
    assert counts.min() > 60 and counts.max() < 140
    left = np.array([displacement(Alteration("rotate", 5), face, FACE)[1, 0] > 0 for face in faces])
    larger = np.array([displacement(Alteration("scale", 5), face, FACE)[0, 0] > 1 for face in faces])
    for sides in (left, larger, left == larger):  # and the kinds are independent
        assert 0.44 < sides.mean() < 0.56
    assert generator("a", "shift").random() == generator("a", "shift").random() != generator("a", "scale").random()


def test_the_width_of_a_face_is_that_of_its_region() -> None:
    _, face = posed(200, 0.3)
    assert face_width(face, FACE) == pytest.approx(200 * FACE_WIDTH)


def test_alterations_of_the_settings() -> None:
    found = RobustnessSettings(brightness=[0.5], shift=[1, 2]).alterations()
    assert [(one.kind, one.severity) for one in found] == [("shift", 1), ("shift", 2), ("brightness", 0.5)]
    assert [one.name for one in found] == ["shift_1", "shift_2", "brightness_0_5"]
    (made,) = RobustnessSettings(composite=["other_person"]).alterations()
    assert (made.name, made.written, str(made)) == (
        "composite_other_person",
        "other_person",
        "rest from another person",
    )
    assert RobustnessSettings().alterations() == []
    with pytest.raises(StudyError, match="robustness = .*: shift lists 2 twice"):
        check(RobustnessSettings, {"shift": [2, 4, 2.0000001]}, "robustness")
    with pytest.raises(StudyError, match="robustness = .*: composite lists other_frame twice"):
        check(RobustnessSettings, {"composite": ["other_frame"] * 2}, "robustness")
    with pytest.raises(StudyError, match=r"robustness\.composite\.0 = 'other_class': input should be 'other_f"):
        check(RobustnessSettings, {"composite": ["other_class"]}, "robustness")
    for kind in RobustnessSettings.model_fields:
        assert "4" in label(kind, "4")
        with pytest.raises(StudyError, match=f"robustness.{kind}"):
            check(RobustnessSettings, {kind: [0]}, "robustness")
