"""Composites: which pixels stay, where the donor lies, who may be a donor, what detectors make of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from facestudy.alterations.altering import altered
from facestudy.alterations.composites import KEPT, REACH, Rest, aligned, composite, kept_boxes, own_share, with_donors
from facestudy.alterations.donors import MOST_WITHOUT_DONOR, choose_donors, donors_for
from facestudy.alterations.settings import Alteration
from facestudy.core import regions
from facestudy.core.arrays import BoolArray, FloatArray, Picture
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.crops import cutting
from facestudy.crops.cutting import CropSettings, Plan
from facestudy.faces.face import Face
from facestudy.media import archive
from tests.test_crops import BOXES, FEATHER, GREY, VARIANTS, canonical, cut, detector_box, plan_of, pose, render, truth

KEPT_BOXES = kept_boxes(BOXES)
FRAME, PERSON = Alteration("composite", "other_frame"), Alteration("composite", "other_person")


def within(box: Box, other: Box) -> bool:
    return box[0] >= other[0] and box[1] >= other[1] and box[2] <= other[2] and box[3] <= other[3]


SHOW_ONLY_KEPT = [
    name
    for name, variant in VARIANTS.items()
    if variant.regions and variant.placement == "anatomical" and variant.layout != "occlude"
    if all(any(within(BOXES[region], kept) for kept in KEPT_BOXES) for region in variant.regions)
]


def posed(side: float, angle: float, offset: float = 0.0) -> tuple[Picture, Face]:
    """The cut-out of a face that shows `blobs`, and the face."""
    span = round(2.6 * side)
    matrix = pose(side, angle, span / 2 + offset, span / 2)
    return cut(render(matrix, span, span), matrix, detector_box(matrix))


def noise(like: Picture, seed: int) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, like.shape).astype(np.uint8)


sides, angles = st.floats(50, 320), st.floats(-0.8, 0.8)

# --- which pixels -------------------------------------------------------------------------------


def test_the_variants_that_show_only_what_is_kept_are_known() -> None:
    assert {"eyes_lower", "eyes_lower_mask", "eyes_lower_small", "lower_eyes", "eyes_mask", "mouth"} < {*SHOW_ONLY_KEPT}
    assert not {"full", "nose", "cheeks", "complement", "random_area", "eyes_lower_paper"} & {*SHOW_ONLY_KEPT}


@settings(max_examples=15, deadline=None)
@given(sides, angles, sides, angles, st.floats(0, 1), st.sampled_from([64, 128]))
def test_crops_of_the_kept_boxes_keep_their_bytes(
    side: float, angle: float, donor_side: float, donor_angle: float, offset: float, size: int
) -> None:
    """On noise, where any other pixel would show."""
    (cut_out, face), (donor_cut_out, donor) = posed(side, angle, offset), posed(donor_side, donor_angle)
    cut_out, donor_cut_out = noise(cut_out, 1), noise(donor_cut_out, 2)
    before = cut_out.copy()
    made = composite(cut_out, face, donor_cut_out, donor, KEPT_BOXES, FEATHER)
    assert np.array_equal(cut_out, before) and (made != cut_out).any()
    for name in SHOW_ONLY_KEPT:
        plan = plan_of(name, CropSettings(size=(size, size)))
        assert np.array_equal(cutting.crop(made, face, plan, GREY), cutting.crop(cut_out, face, plan, GREY)), name


def distance(plan: Plan) -> FloatArray:
    """How far the pixels of a crop of one box are outside of the kept boxes, canonical units: (height, width)."""
    (part,) = plan.parts
    axes = [
        part.box[i] + (np.arange(plan.size[i]) + 0.5) * (part.box[i + 2] - part.box[i]) / plan.size[i] for i in (0, 1)
    ]
    x, y = np.meshgrid(*axes)
    away = [np.maximum(np.maximum(b[0] - x, x - b[2]), np.maximum(b[1] - y, y - b[3])) for b in KEPT_BOXES]
    return np.asarray(np.minimum(*away))


@settings(max_examples=15, deadline=None)
@given(st.floats(90, 320), angles, st.floats(90, 320), angles, st.floats(0, 1))
def test_beyond_the_soft_edge_a_crop_is_the_donors(
    side: float, angle: float, donor_side: float, donor_angle: float, offset: float
) -> None:
    """The donor is the negative of the face in another pose, so both sides are known at every point."""
    (cut_out, face), (positive, donor) = posed(side, angle, offset), posed(donor_side, donor_angle)
    made = composite(cut_out, face, 255 - positive, donor, KEPT_BOXES, FEATHER)
    plan = plan_of("full")
    found, own = cutting.crop(made, face, plan, GREY).astype(float), truth(plan)
    away, pixel = distance(plan), 1 / side
    rest, kept = away > FEATHER + (REACH + 3) * pixel, away < 0
    assert rest.mean() > 0.1 and kept.mean() > 0.3
    assert np.abs(found - (255 - own))[rest].max() <= 4
    assert np.abs(found - own)[kept].max() <= 3


@settings(max_examples=15, deadline=None)
@given(st.floats(60, 320), angles, st.floats(60, 320), angles)
def test_landmarks_of_the_donor_lie_on_those_of_the_face(
    side: float, angle: float, donor_side: float, donor_angle: float
) -> None:
    (cut_out, face), (donor_cut_out, donor) = posed(side, angle), posed(donor_side, donor_angle)
    columns, rows = np.meshgrid(*(np.arange(length) for length in donor_cut_out.shape[1::-1]))
    for x, y in face.landmarks - [face.cut_x, face.cut_y]:
        at = regions.apply(cutting.canonical_to_cut(donor), regions.apply(to_canonical(face), np.array([[x, y]])))[0]
        nearest = donor.landmarks[np.hypot(*(donor.landmarks - [donor.cut_x, donor.cut_y] - at).T).argmin()]
        dx, dy = nearest - [donor.cut_x, donor.cut_y]
        dot = 255 * np.exp(-((columns - dx) ** 2 + (rows - dy) ** 2) / (2 * (0.03 * donor_side) ** 2))
        shown = aligned(np.repeat(dot[..., None], 3, axis=2).round().astype(np.uint8), donor, face, cut_out.shape)
        weights = shown[..., 0].astype(float)
        grid = np.indices(weights.shape)
        centre = [(grid[axis] * weights).sum() / weights.sum() for axis in (1, 0)]
        assert np.hypot(*(centre - np.array([x, y]))) < 0.5


def to_canonical(face: Face) -> FloatArray:
    return regions.invert(cutting.canonical_to_cut(face))


def test_the_soft_edge_is_as_wide_as_asked_for() -> None:
    cut_out, face = posed(400, 0.0)
    x0, y0, _, y1 = KEPT_BOXES[0]
    outwards = np.array([0.0, 0.5, 1.0]) * FEATHER * 400 + REACH
    (x, y), *_ = regions.apply(cutting.canonical_to_cut(face), np.array([[x0, (y0 + y1) / 2]]))
    line = own_share(face, cut_out.shape, KEPT_BOXES, FEATHER)[round(y)]
    found = np.interp(x - outwards, np.arange(len(line)), line)
    np.testing.assert_allclose(found, [1, 0.5, 0], atol=0.05)
    assert (np.diff(line[: round(x)]) >= 0).all() and line[round(x)] == 1 and line[0] == 0


def test_donors_keep_their_colours() -> None:
    """A dark face in a bright one: nothing is matched."""
    cut_out, face = posed(120, 0.1)
    dark, bright = np.full_like(cut_out, 40), np.full_like(cut_out, 220)
    made = composite(dark, face, bright, replace(face, face_id="f2"), KEPT_BOXES, FEATHER)
    share = own_share(face, cut_out.shape, KEPT_BOXES, FEATHER)
    assert {*np.unique(made[share == 1])} == {40} and {*np.unique(made[share == 0])} == {220}
    between = made[(share > 0) & (share < 1)]
    assert between.min() >= 40 and between.max() <= 220 and len(np.unique(between)) > 10


def test_a_box_that_stays_must_be_a_region() -> None:
    for name in KEPT:
        with pytest.raises(StudyError, match=f"keeps the region '{name}', which `regions` does not hold"):
            kept_boxes({region: box for region, box in BOXES.items() if region != name})


# --- donors -------------------------------------------------------------------------------------


def rows_of(faces: Sequence[tuple[str, str, str, int]], splits: Sequence[Sequence[int]]) -> pd.DataFrame:
    """Test rows: label, method, group and clip of each face, and the splits that test it."""
    return pd.DataFrame(
        [
            {"repeat": repeat, "face_id": f"f{n:03}", "video_id": f"{group}-{label}-{method}-{clip}"}
            | {"track_id": "t0", "group": group, "method": method, "label": label, "subset": "test"}
            for n, ((label, method, group, clip), of_face) in enumerate(zip(faces, splits, strict=True))
            for repeat in of_face
        ],
        columns=["repeat", "face_id", "video_id", "track_id", "group", "method", "label", "subset"],
    )


@st.composite
def tables_of_tested(draw: st.DrawFn) -> pd.DataFrame:
    kinds = st.tuples(
        st.sampled_from(["real", "fake"]), st.sampled_from("ms"), st.sampled_from("abcde"), st.integers(0, 1)
    )
    faces = [
        (label, method if label == "fake" else "", group, clip)
        for label, method, group, clip in draw(st.lists(kinds, min_size=1, max_size=40))
    ]
    of_groups = {group: draw(st.sampled_from([(1,), (1,), (2,), (1, 2)])) for group in "abcde"}
    return rows_of(faces, [of_groups[group] for _, _, group, _ in faces])


def roles(tested: pd.DataFrame) -> dict[str, tuple[tuple[object, ...], ...]]:
    """By face: the splits that test it, with its label and method there."""
    return {
        str(face): tuple(sorted(rows[["repeat", "label", "method"]].itertuples(index=False, name=None)))
        for face, rows in tested.groupby("face_id")
    }


@given(tables_of_tested())
def test_donors_are_alike_but_of_another_group(tested: pd.DataFrame) -> None:
    donors, role = choose_donors(tested, "other_person"), roles(tested)
    group = dict(zip(tested["face_id"], tested["group"], strict=True))
    for face in role:
        possible = {other for other in role if role[other] == role[face] and group[other] != group[face]}
        assert (donors[face] in possible) if possible else (face not in donors)
    for kind in set(role.values()):
        faces = [face for face in role if role[face] == kind]
        if 2 * max(Counter(group[face] for face in faces).values()) <= len(faces):
            assert sorted(donors[face] for face in faces) == faces, "each is the donor of one other"
    assert donors == choose_donors(tested.sample(frac=1, random_state=3), "other_person")


@given(tables_of_tested())
def test_other_frames_are_of_the_same_clip(tested: pd.DataFrame) -> None:
    donors = choose_donors(tested, "other_frame")
    clips = tested.drop_duplicates("face_id").groupby("video_id")["face_id"].agg(sorted)
    for faces in clips:
        if len(faces) == 1:
            assert faces[0] not in donors
            continue
        assert sorted(donors[face] for face in faces) == faces
        steps = {abs(faces.index(donors[face]) - n) for n, face in enumerate(faces)}
        assert steps <= {len(faces) // 2, len(faces) - len(faces) // 2}, "half of the clip away"
    assert donors == choose_donors(tested.sample(frac=1, random_state=3), "other_frame")


def test_other_frames_are_of_the_same_track() -> None:
    tested = rows_of([("real", "", "a", 0)] * 4, [(1,)] * 4).assign(track_id=["t0", "t1", "t1", "t0"])
    expected = {"f000": "f003", "f003": "f000", "f001": "f002", "f002": "f001"}
    assert choose_donors(tested, "other_frame") == expected


def test_a_group_with_most_faces_shares_the_others() -> None:
    tested = rows_of([("real", "", group, 0) for group in "aaaaabc"], [(1,)] * 7)
    uses = Counter(choose_donors(tested, "other_person")[f"f{n:03}"] for n in range(5))
    assert uses == {"f005": 3, "f006": 2} or uses == {"f005": 2, "f006": 3}


def test_neighbours_by_name_are_no_usual_donors() -> None:
    tested = rows_of([("real", "", f"g{n:03}", 0) for n in range(200)], [(1,)] * 200)
    steps = [(int(donor[1:]) - int(face[1:])) % 200 for face, donor in choose_donors(tested, "other_person").items()]
    assert len(set(steps)) > 80


def test_many_faces_without_a_donor_leave_it_out() -> None:
    """One in ten may stay as it is, no more."""
    assert MOST_WITHOUT_DONOR == 0.1
    alone = ("fake", "rare", "a", 0)
    pairs = [("real", "", group, 0) for group in "abc" for _ in range(3)]
    nine, eight = (rows_of([*pairs[:count], alone], [(1,)] * (count + 1)) for count in (9, 8))
    donors, notes = donors_for([Alteration("shift", 4), PERSON], nine)
    lacking = "test faces have no test face of another group with the same class and method"
    assert list(donors) == [PERSON] and len(donors[PERSON]) == 9
    assert notes == [f"1 of 10 {lacking} and are not altered: rest from another person"]
    assert donors_for([PERSON], eight) == ({}, [f"rest from another person is skipped, as 1 of 9 {lacking}"])
    single = rows_of([("real", "", group, 0) for group in "ab"], [(1,)] * 2)
    said = "rest from another frame is skipped, as 2 of 2 test faces have no second test frame of their clip"
    assert donors_for([FRAME, PERSON], single) == ({PERSON: {"f000": "f001", "f001": "f000"}}, [said])
    assert donors_for([FRAME], rows_of(pairs, [(1,)] * 9))[1] == []


# --- known answers ------------------------------------------------------------------------------

PEOPLE = 16
WIDE = plan_of("full", CropSettings(size=(64, 64)))


def painted(folder: Path, name: str, kept: Sequence[int], rest: Sequence[int], angle: float) -> Face:
    """Store a face whose kept boxes have one colour and whose rest has another."""
    matrix = pose(160, angle, 190, 190)
    x, y = canonical(matrix, 380, 380)
    inside = np.zeros(x.shape, bool)
    for x0, y0, x1, y1 in KEPT_BOXES:
        inside |= (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    frame = np.where(inside[..., None], np.array(kept), np.array(rest)).astype(np.uint8)
    cut_out, face = cut(frame, matrix, detector_box(matrix))
    sha256 = archive.write_picture(folder / f"{name}.png", cut_out)
    return replace(face, face_id=name, path=f"{name}.png", sha256=sha256)


@pytest.fixture(scope="module")
def drawn_people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Face], pd.DataFrame]:
    """People with two frames of each class.

    Green says the class only in the relation of the parts: they are equally bright or dark in real faces, not in fake
    ones. Red says it in the kept part, blue in the rest, each with much noise that differs between people.
    """
    folder, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(5)
    faces, rows = [], []
    for person, label in product(range(PEOPLE), ("real", "fake")):
        bright, sign = rng.choice([-60, 60]), 1 if label == "real" else -1
        red, blue = (int(90 + 30 * (label == "fake") + rng.integers(-30, 30)) for _ in range(2))
        for frame in range(2):
            colours = [red + frame, 128 + bright, 0], [0, 128 + sign * bright, blue + frame]
            faces.append(painted(folder, f"p{person:02}-{label}-{frame}", *colours, angle=0.02 * person + 0.1 * frame))
            rows.append((label, "", f"p{person:02}", 0))
    ids = [face.face_id for face in faces]
    tested = rows_of(rows, [(1,)] * len(rows))
    return folder, faces, tested.assign(face_id=ids, video_id=[name[:-2] for name in ids])


def mean_of(crop: Picture, boxes: Sequence[str], channel: int) -> float:
    """The mean of a channel in the middle of regions, in a crop of the whole face."""
    (part,) = WIDE.parts
    where: BoolArray = np.zeros(crop.shape[:2], bool)
    for name in boxes:
        x0, y0, x1, y1 = BOXES[name]
        left, right = (round((x - part.box[0]) / (part.box[2] - part.box[0]) * 64) for x in (x0, x1))
        top, bottom = (round((y - part.box[1]) / (part.box[3] - part.box[1]) * 64) for y in (y0, y1))
        where[top + 5 : bottom - 5, left + 5 : right - 5] = True  # beyond the soft edge
    return float(crop[where][:, channel].mean())


DETECTORS: dict[str, Callable[[Picture], float]] = {
    "relation": lambda crop: round(abs(mean_of(crop, KEPT, 1) - mean_of(crop, ["forehead"], 1))),
    "kept part": lambda crop: mean_of(crop, KEPT, 0),
    "rest": lambda crop: round(mean_of(crop, ["forehead"], 2)),
}


def test_only_a_detector_of_the_relation_loses_its_auc(drawn_people: tuple[Path, list[Face], pd.DataFrame]) -> None:
    folder, faces, tested = drawn_people
    fake = ["fake" in face.face_id for face in faces]
    rest = Rest(folder, KEPT_BOXES, FEATHER)
    auc: dict[tuple[str, str], float] = {}
    for alteration in (None, FRAME, PERSON):
        shown = faces if alteration is None else with_donors(faces, choose_donors(tested, alteration.written))
        crops = []
        for face in shown:
            picture = cutting.read_cut_out(folder, face)
            if alteration is not None:
                picture, moved = altered(picture, face, alteration, BOXES["face"], rest=rest)
                assert moved is None
            crops.append(cutting.crop(picture, face, WIDE, GREY))
        for name, detector in DETECTORS.items():
            auc[name, alteration.written if alteration else "none"] = roc_auc_score(fake, [*map(detector, crops)])
    assert auc["relation", "none"] == auc["relation", "other_frame"] == 1
    assert 0.3 < auc["relation", "other_person"] < 0.7
    for name in ("kept part", "rest"):
        assert 0.6 < auc[name, "none"] < 0.95
        assert auc[name, "none"] == auc[name, "other_frame"] == auc[name, "other_person"], name
