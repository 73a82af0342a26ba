"""Cut-outs at and over the frame's edge, choosing a face, and MTCNN on a drawn one."""

from __future__ import annotations

import shutil
from pathlib import Path

import mtcnn
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facestudy.core.errors import StudyError
from facestudy.core.regions import CANONICAL_LANDMARKS
from facestudy.faces import detection
from facestudy.faces.detection import (
    FaceSettings,
    cut_out,
    detect,
    intersection_over_union,
    is_plausible,
    is_upright,
    select,
    tracks,
)
from facestudy.faces.face import Face
from facestudy.sample.clips import SampleSettings, draw, list_clips
from tests.project import params

SETTINGS = FaceSettings.model_validate(params()["faces"] | {"batch": 4})
POINTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


def face(x: float, y: float, w: float, h: float, confidence: float = 0.99) -> Face:
    return Face(x, y, w, h, confidence, POINTS * [w, h] + [x, y])


def tilted(degrees: float) -> Face:
    """A face of the canonical landmarks turned clockwise."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return Face(0, 0, 50, 50, 0.99, (CANONICAL_LANDMARKS - 0.5) @ turn * 100 + 50)


@given(st.floats(-180, 180))
def test_upright_is_within_45_degrees(degrees: float) -> None:
    assert is_plausible(tilted(degrees))
    if abs(abs(degrees) - 45) > 1e-6:
        assert is_upright(tilted(degrees)) == (abs(degrees) < 45)


@given(
    st.floats(-300, 300),
    st.floats(-300, 300),
    st.floats(1, 400),
    st.floats(1, 400),
    st.integers(1, 200),
    st.integers(1, 200),
)
def test_cut_outs_are_squares_wherever_the_box_is(
    x: float, y: float, w: float, h: float, width: int, height: int
) -> None:
    rows, columns = np.mgrid[0:height, 0:width]
    picture = np.stack([columns, rows, np.full_like(rows, 7)], axis=-1).astype(np.uint8)
    cut = cut_out(picture, face(x, y, w, h))
    side = max(2, round(2 * max(w, h)))
    assert cut.picture is not None and cut.picture.shape == (side, side, 3)
    x0, y0, x1, y1 = cut.valid
    assert 0 <= x0 <= x1 <= side and 0 <= y0 <= y1 <= side
    # Every pixel is the frame's nearest one: edge-padded, never wrapped round. (Outside the frame
    # altogether only the colour of the nearest edge is promised.)
    columns = np.clip(np.arange(side) + round(cut.cut_x), 0, width - 1)
    rows = np.clip(np.arange(side) + round(cut.cut_y), 0, height - 1)
    assert np.array_equal(cut.picture[..., 0], np.broadcast_to(columns, (side, side)))
    assert np.array_equal(cut.picture[..., 1], np.broadcast_to(rows[:, None], (side, side)))


def test_the_cut_out_is_centred_on_the_box() -> None:
    cut = cut_out(np.zeros((500, 500, 3), np.uint8), face(200, 220, 60, 80))
    assert cut.picture is not None
    assert (cut.cut_x, cut.cut_y, cut.picture.shape[0]) == (150, 180, 160)
    assert cut.valid == (0, 0, 160, 160)


def test_largest_sure_face_is_chosen() -> None:
    small, large, unsure = face(0, 0, 40, 50), face(5, 5, 60, 70), face(0, 0, 90, 90, 0.5)
    chosen, reason = select([small, unsure, large], (200, 200, 3), SETTINGS)
    assert [id(one) for one in chosen] == [id(large)] and reason == ""
    chosen, _ = select([small, unsure, large], (200, 200, 3), SETTINGS.model_copy(update={"all": True}))
    assert [id(one) for one in chosen] == [id(large), id(small)]


@given(st.lists(st.lists(st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(5, 40)] * 2), max_size=4), max_size=6))
def test_tracks_have_one_face_per_frame_and_overlap(frames: list[list[tuple[int, ...]]]) -> None:
    boxes = [[(float(x), float(y), float(w), float(h)) for x, y, w, h in frame] for frame in frames]
    numbers = tracks(boxes, 0.3)
    assert [len(frame) for frame in numbers] == [len(frame) for frame in boxes]
    last: dict[int, tuple[float, ...]] = {}
    for frame, on in zip(boxes, numbers, strict=True):
        assert len(set(on)) == len(on)
        for box, number in zip(frame, on, strict=True):
            assert number not in last or intersection_over_union(box, last[number]) >= 0.3
        for box, number in zip(frame, on, strict=True):
            if number not in last:  # a new track: no free one fitted
                free = [track for track in last if track not in on]
                assert all(intersection_over_union(box, last[track]) < 0.3 for track in free)
        last |= dict(zip(on, frame, strict=True))
    assert sorted(last) == list(range(len(last)))


def test_tracks_survive_a_change_of_the_larger_face() -> None:
    left, right = (10.0, 10.0, 40.0, 40.0), (200.0, 10.0, 38.0, 38.0)
    grown = (196.0, 8.0, 46.0, 46.0)
    assert tracks([[left, right], [grown, left], [], [grown]], 0.3) == [[0, 1], [1, 0], [], [1]]


@pytest.mark.parametrize(
    ("candidates", "shape", "reason"),
    [
        ([], (200, 200, 3), "no_face"),
        ([face(0, 0, 50, 50, 0.9)], (200, 200, 3), "low_confidence"),
        ([face(0, 0, 50, 50)], (1, 1, 3), "frame_too_small"),
        ([face(0, 0, 0.2, 50)], (200, 200, 3), "implausible_landmarks"),
        ([tilted(180)], (200, 200, 3), "not_upright"),
    ],
)
def test_a_frame_without_a_face_has_a_reason(candidates: list[Face], shape: tuple[int, ...], reason: str) -> None:
    assert select(candidates, shape, SETTINGS) == ([], reason)


def test_upside_down_face_counts_but_mirrored_does_not() -> None:
    upright = face(0, 0, 50, 50)
    turned = Face(0, 0, 50, 50, 1, -upright.landmarks)
    swapped = Face(0, 0, 50, 50, 1, upright.landmarks[[1, 0, 2, 4, 3]])
    assert is_plausible(upright) and is_plausible(turned) and not is_plausible(swapped)


def test_a_batch_that_comes_back_empty_is_asked_again_singly(monkeypatch: pytest.MonkeyPatch) -> None:
    """MTCNN answers an error inside a batch with no face for all of it."""
    answer = {"box": [1, 2, 30, 40], "confidence": 0.95}
    keypoints = dict(
        zip(("left_eye", "right_eye", "nose", "mouth_left", "mouth_right"), (POINTS * 30).tolist(), strict=True)
    )

    class Fragile:
        def search(self, pictures: np.ndarray) -> list[list[dict[str, object]]]:
            return [[]] if len(pictures) > 1 else [[{**answer, "keypoints": keypoints}]]

    monkeypatch.setattr(detection, "_detector", Fragile)
    found = detect([np.zeros((100, 100, 3), np.uint8)] * 3, SETTINGS)
    assert [len(one) for one in found] == [1, 1, 1]


def test_found_on_a_reduced_copy_and_mapped_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes and landmarks come back in pixels of the picture, pixel centres at whole numbers."""
    seen: list[tuple[int, ...]] = []
    keypoints = dict(
        zip(("left_eye", "right_eye", "nose", "mouth_left", "mouth_right"), [[9.5, 19.5]] * 5, strict=True)
    )

    class Fixed:
        def search(self, pictures: np.ndarray) -> list[list[dict[str, object]]]:
            seen.extend(picture.shape for picture in pictures)
            return [[{"box": [9.5, 19.5, 30, 40], "confidence": 0.95, "keypoints": keypoints}]] * len(pictures)

    monkeypatch.setattr(detection, "_detector", Fixed)
    ((found,),) = detect([np.zeros((720, 1280, 3), np.uint8)], SETTINGS)
    assert seen == [(384, 640, 3)]
    assert (found.x, found.y, found.w, found.h) == (19.5, 39.5, 60, 80)
    assert found.landmarks.tolist() == [[19.5, 39.5]] * 5


def test_the_detector_finds_what_the_package_finds() -> None:
    """Number by number, in batches and alone, with and without faces."""
    settings = SampleSettings.model_validate(params()["sample"] | {"people": 2})
    boxes = {name: tuple(box) for name, box in params()["regions"].items()}
    drawn = [next(draw(clip, settings, boxes)).picture for clip in list_clips(settings)]
    faces = np.stack([np.pad(picture, ((0, 16), (0, 0), (0, 0))) for picture in drawn])
    empty, noise = np.zeros_like(faces[:1]), np.random.default_rng(1).integers(0, 256, (2, 64, 192, 3), np.uint8)
    detector, package = detection._detector(), mtcnn.MTCNN()
    for batch in (faces, np.concatenate([faces[:1], empty]), faces[1:2], empty, noise):
        assert detector.search(batch) == package.detect_faces(list(batch), fit_to_image=False)
    assert all(detector.search(faces))


ASSETS = Path(mtcnn.__file__).parent / "assets/weights"


@pytest.mark.parametrize("name", detection.WEIGHTS)
def test_altered_mtcnn_weights_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    shutil.copytree(ASSETS, tmp_path / "assets/weights")
    monkeypatch.setattr(mtcnn, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr("joblib.load", lambda path: pytest.fail(f"{path} was read"))
    path = tmp_path / "assets/weights" / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    for _ in ("altered", "missing"):
        with pytest.raises(StudyError) as refusal:
            detection._detector.__wrapped__()
        assert str(refusal.value).startswith(f"{path} is not the file") and "make env" in str(refusal.value)
        path.unlink(missing_ok=True)


def test_weights_of_mtcnn_come_from_the_package_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package itself takes a file of the name in the working directory first."""
    monkeypatch.chdir(tmp_path)
    read: list[str] = []

    def load_weights(path: str) -> None:
        read.append(path)
        raise EOFError

    monkeypatch.setattr(mtcnn.stages.stage_pnet, "load_weights", load_weights)
    (tmp_path / "pnet.lz4").write_bytes(b"runs code")
    with pytest.raises(EOFError):
        detection._detector.__wrapped__()
    assert read == [str(ASSETS / "pnet.lz4")]
