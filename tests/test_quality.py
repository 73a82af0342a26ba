"""What is measured of a face, thresholds, and whether they took more of one class."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facestudy.core.arrays import Picture
from facestudy.core.regions import CANONICAL_LANDMARKS
from facestudy.faces.quality import (
    QualitySettings,
    blockiness,
    exclusion_table,
    exclusions,
    landmark_error,
    measure,
    sharpness,
)

RNG = np.random.default_rng(5)
NO_LIMIT = dict.fromkeys(QualitySettings.model_fields)
BOX = (40.0, 30.0, 90.0, 110.0)
POINTS = CANONICAL_LANDMARKS * 130 + [30, 20]


def textured(side: int = 240, blur: float = 1.5) -> Picture:
    rough = cv2.GaussianBlur(RNG.normal(128, 60, (side, side, 3)), (0, 0), blur)
    picture: Picture = np.clip((rough - rough.mean()) * 2.5 * blur + 128, 0, 255).astype(np.uint8)
    return picture


def test_blur_dark_and_compression_are_reported() -> None:
    picture = textured()
    found = measure(picture, BOX, POINTS)
    assert found["size"] == 90
    assert found["landmark_error"] < 1e-9
    assert found["brightness"] == pytest.approx(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[30:140, 40:130].mean())
    blurred = measure(cv2.GaussianBlur(picture, (0, 0), 3), BOX, POINTS)
    assert blurred["sharpness"] < found["sharpness"] / 10
    dark = measure((picture // 4).astype(np.uint8), BOX, POINTS)
    assert dark["brightness"] < found["brightness"] / 3
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 8])
    blocky = measure(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8), BOX, POINTS)
    assert found["blockiness"] == pytest.approx(1, abs=0.1) and blocky["blockiness"] > 1.3


def test_a_large_face_is_not_sharp_by_its_size() -> None:
    picture = textured(480, 8)
    half = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    large = measure(picture, (40, 40, 400, 400), POINTS)["sharpness"]
    small = measure(half, (20, 20, 200, 200), POINTS)["sharpness"]
    assert large == pytest.approx(small, rel=0.05)


@given(st.integers(0, 7), st.integers(0, 7))
def test_blocks_are_found_wherever_the_face_lies_on_their_grid(left: int, top: int) -> None:
    blocks = np.kron(np.random.default_rng(1).integers(0, 255, (12, 12)), np.ones((8, 8))).astype(np.uint8)
    noisy = np.clip(blocks + np.random.default_rng(2).normal(0, 3, blocks.shape), 0, 255).astype(np.uint8)
    part = noisy[top : top + 70, left : left + 70]
    assert blockiness(part, left, top) > 10
    assert blockiness(part, (left + 4) % 8, top) < blockiness(part, left, top) / 2


def test_flat_and_tiny_pictures_have_no_blocks() -> None:
    assert blockiness(np.full((50, 50), 9, np.uint8), 0, 0) == 1
    assert blockiness(np.zeros((1, 1), np.uint8), 3, 3) == 1
    assert sharpness(np.full((50, 50), 9, np.uint8)) == 0


@given(
    st.floats(-500, 500), st.floats(-500, 500), st.floats(0.5, 900), st.floats(0.5, 900),
    st.integers(1, 60), st.integers(1, 60),
)  # fmt: skip
def test_every_box_can_be_measured(x: float, y: float, w: float, h: float, width: int, height: int) -> None:
    found = measure(np.full((height, width, 3), 77, np.uint8), (x, y, w, h), POINTS)
    assert found["brightness"] == 77 and found["sharpness"] == 0 and found["blockiness"] == 1


def test_profile_is_further_from_canonical_than_turned() -> None:
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    assert landmark_error(POINTS @ turn.T * 3 + 7) < 1e-9
    profile = POINTS * [0.4, 1]
    assert landmark_error(profile) > 0.15
    assert landmark_error(np.zeros((5, 2))) == np.inf


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({}, ""),
        ({"min_size": 90}, ""),
        ({"min_size": 90.5}, "size_below_90.5"),
        ({"max_brightness": 100}, "brightness_above_100"),
        ({"min_brightness": 120}, ""),
        ({"max_landmark_error": 0.01, "min_sharpness": 50}, "sharpness_below_50"),
    ],
)
def test_thresholds_keep_what_meets_them(limits: dict[str, float], reason: str) -> None:
    found = {"size": 90.0, "sharpness": 40.0, "brightness": 120.0, "landmark_error": 0.2, "blockiness": 1.0}
    assert QualitySettings(**(NO_LIMIT | limits)).reason(found) == reason


def rows(label: str, videos: int, hit: int, of: int = 4) -> list[dict[str, object]]:
    """Faces of some videos; in each the first `hit` are dropped."""
    return [
        {"video_id": f"{label}{video}", "label": label, "reason": "size_below_40" if face < hit else ""}
        for video in range(videos)
        for face in range(of)
    ]


def parted(data: list[dict[str, object]]) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    return [row for row in data if not row["reason"]], [row for row in data if row["reason"]]


def test_only_differences_beyond_chance_are_reported() -> None:
    (found,) = exclusions(*parted(rows("real", 20, 0) + rows("fake", 14, 1)))
    assert (found.reason, found.dropped, found.examined) == (
        "size_below_40",
        {"real": 0, "fake": 14},
        {"real": 80, "fake": 56},
    )
    assert found.p < 0.001
    (alike,) = exclusions(*parted(rows("real", 20, 1) + rows("fake", 14, 1)))
    assert alike.p == 1
    assert exclusions(rows("real", 3, 0), []) == []
    (single,) = exclusions(*parted(rows("real", 1, 0) + rows("fake", 14, 1)))
    assert math.isnan(single.p) and exclusion_table([single])["p"].tolist() == [""]


def test_one_bad_video_is_no_evidence_however_many_frames_it_has() -> None:
    """Frames of a video are alike: 40 lost frames of one video are one loss."""
    bad: list[dict[str, object]] = [{"video_id": "fake-bad", "label": "fake", "reason": "size_below_40"}] * 40
    (found,) = exclusions(*parted(rows("real", 20, 0, 40) + rows("fake", 19, 0, 40) + bad))
    assert found.dropped == {"real": 0, "fake": 40} and found.p > 0.5


def test_chance_alone_warns_rarely() -> None:
    rng = np.random.default_rng(8)
    warned = 0
    for _ in range(60):
        data: list[dict[str, object]] = []
        for label in ("real", "fake"):
            for video in range(12):
                share = rng.beta(0.3, 3)
                data += [
                    {"video_id": f"{label}{video}", "label": label, "reason": "dark" if rng.random() < share else ""}
                    for _ in range(8)
                ]
        warned += any(exclusion.p < 0.05 for exclusion in exclusions(*parted(data)))
    assert warned <= 8  # 3 expected; 9 and more happen once in 400 such tests
