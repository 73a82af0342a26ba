"""The canonical face: similarity() against known transforms and OpenCV, boxes as settings."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facestudy.core import regions
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import check
from tests.project import params

ANGLE = st.floats(-np.pi, np.pi)
SCALE = st.floats(0.01, 500)
SHIFT = st.floats(-1000, 1000)


def known(angle: float, scale: float, x: float, y: float) -> regions.FloatArray:
    """The (2, 3) matrix of a turn by `angle`, a scaling and a shift, written out."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


@given(ANGLE, SCALE, SHIFT, SHIFT)
def test_similarity_finds_the_transform_that_made_the_points(angle: float, scale: float, x: float, y: float) -> None:
    matrix = known(angle, scale, x, y)
    points = regions.apply(matrix, regions.CANONICAL_LANDMARKS)
    found = regions.similarity(regions.CANONICAL_LANDMARKS, points)
    np.testing.assert_allclose(found, matrix, atol=1e-8 * max(1, scale, abs(x), abs(y)))


@given(ANGLE, st.floats(1, 500), SHIFT, SHIFT)
def test_apply_then_invert_is_the_identity(angle: float, scale: float, x: float, y: float) -> None:
    matrix = known(angle, scale, x, y)
    there = regions.apply(matrix, regions.CANONICAL_LANDMARKS)
    np.testing.assert_allclose(regions.apply(regions.invert(matrix), there), regions.CANONICAL_LANDMARKS, atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_similarity_agrees_with_opencv_on_noisy_landmarks(seed: int) -> None:
    generator = np.random.default_rng(seed)
    points = regions.apply(known(0.3, 140, 60, 40), regions.CANONICAL_LANDMARKS)
    points = points + generator.normal(0, 4, (5, 2))
    # With a threshold that makes every point an inlier, OpenCV's refinement minimises the same squares.
    expected, inliers = cv2.estimateAffinePartial2D(
        regions.CANONICAL_LANDMARKS, points, method=cv2.RANSAC, ransacReprojThreshold=1e3, refineIters=100
    )
    assert inliers.all()
    found = regions.similarity(regions.CANONICAL_LANDMARKS, points)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_similarity_has_the_least_squares(seed: int) -> None:
    generator = np.random.default_rng(seed)
    source, target = generator.normal(size=(7, 2)), generator.normal(size=(7, 2))
    best = regions.similarity(source, target)

    def error(matrix: regions.FloatArray) -> float:
        return float(((regions.apply(matrix, source) - target) ** 2).sum())

    for _ in range(200):
        a, b, x, y = generator.normal(0, 0.05, 4)
        assert error(best + np.array([[a, -b, x], [b, a, y]])) >= error(best)


def test_similarity_never_mirrors() -> None:
    mirrored = regions.CANONICAL_LANDMARKS * [-1, 1]
    matrix = regions.similarity(regions.CANONICAL_LANDMARKS, mirrored)
    assert np.linalg.det(matrix[:, :2]) >= 0


def test_coinciding_points_are_refused() -> None:
    with pytest.raises(ValueError, match="coincide"):
        regions.to_canonical(np.full((5, 2), 7.0))


def test_canonical_landmarks_land_on_themselves() -> None:
    points = regions.apply(known(-0.4, 90, 300, 20), regions.CANONICAL_LANDMARKS)
    matrix = regions.to_canonical(points)
    np.testing.assert_allclose(regions.apply(matrix, points), regions.CANONICAL_LANDMARKS, atol=1e-12)


@pytest.mark.parametrize("box", [[0.5, 0, 0.5, 1], [0, 0.9, 1, 0.2], [-0.1, 0, 1, 1], [0, 0, 1, 1.01]])
def test_a_box_outside_the_face_or_inside_out_is_refused(box: list[float]) -> None:
    with pytest.raises(StudyError, match=r"regions\.eyes.*fractions of the canonical face"):
        check(dict[str, Box], {"eyes": box}, "regions")


def test_the_projects_regions_hold_their_landmarks() -> None:
    """Each named region lies in the face region and holds the landmarks it is named after."""
    boxes = check(dict[str, Box], params()["regions"], "regions")
    holds = {"eyes": [0, 1], "nose": [2], "lower_face": [3, 4], "face": [0, 1, 2, 3, 4]}
    face = boxes["face"]
    for name, indices in holds.items():
        x0, y0, x1, y1 = boxes[name]
        assert face[0] <= x0 and face[1] <= y0 and x1 <= face[2] and y1 <= face[3]
        for i, (x, y) in enumerate(regions.CANONICAL_LANDMARKS):
            inside = x0 < x < x1 and y0 < y < y1
            assert inside == (i in indices), f"{name}, {regions.LANDMARKS[i]}"
