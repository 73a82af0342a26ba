"""Clips whose pixels lie on their side are found out and turned; upright ones cost nothing and stay as they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from facestudy.core import tables
from facestudy.core.arrays import Picture
from facestudy.core.regions import CANONICAL_LANDMARKS
from facestudy.core.settings import check
from facestudy.crops.cutting import CropSettings, Variant, crop, read_cut_out, resolve
from facestudy.faces import detection, orientation
from facestudy.faces.detection import FaceSettings
from facestudy.faces.extraction import find_faces, search
from facestudy.faces.face import Face
from facestudy.media import archive, frames, video
from facestudy.media.frames import FrameSettings
from tests.media import LIMITS
from tests.project import params

SETTINGS = FaceSettings.model_validate(params()["faces"])
MARK = 250


def marked(side: int = 60) -> Picture:
    """A picture with a bright corner, top left, where the stand-in for the detector sees an upright face."""
    picture = np.full((side, side + 20, 3), 90, np.uint8)
    picture[:20, :20] = MARK
    return picture


class Detector:
    """Finds an upright face where the bright corner is top left; in the others what `wrong` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wrong: float = 0) -> None:
        self.looked, self.wrong = 0, wrong
        monkeypatch.setattr(detection, "detect", self.detect)

    def detect(self, pictures: Sequence[Picture], settings: FaceSettings) -> list[list[Face]]:
        self.looked += len(pictures)
        return [self.faces(picture) for picture in pictures]

    def faces(self, picture: Picture) -> list[Face]:
        confidence = 0.99 if picture[5, 5, 0] > 200 else self.wrong
        points = CANONICAL_LANDMARKS * 40 + 5
        return [Face(5, 5, 40, 40, confidence, points)] if confidence and picture.max() > 200 else []


def store(folder: Path, pictures: Sequence[Picture]) -> list[tuple[str, str]]:
    names = [f"{number:06d}.png" for number in range(len(pictures))]
    pairs = zip(names, pictures, strict=True)
    return [(name, archive.write_picture(folder / name, picture)) for name, picture in pairs]


def searched(folder: Path, pictures: Sequence[Picture]) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """faces.json and the cut-outs of a clip of these frames."""
    out = folder / "out"
    out.mkdir(parents=True)
    search(store(folder, pictures), folder, SETTINGS, out)
    return json.loads((out / "faces.json").read_text()), {path.name: path.read_bytes() for path in out.glob("*.png")}


def rotations(found: Sequence[dict[str, Any]]) -> set[int]:
    return {face["rotation"] for frame in found for face in frame["faces"]}


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_clip_gives_the_upright_ones_faces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rotation: int
) -> None:
    detector = Detector(monkeypatch)
    upright, cut_outs = searched(tmp_path / "upright", [marked()] * 12)
    assert detector.looked == 12  # nothing else was looked at
    assert rotations(upright) == {0} and len(cut_outs) == 12
    turned = [orientation.turned(marked(), rotation)] * 12
    found, same = searched(tmp_path / "turned", turned)
    assert rotations(found) == {360 - rotation}
    assert same == cut_outs
    for frame, other in zip(found, upright, strict=True):
        assert [face | {"rotation": 0} for face in frame["faces"]] == other["faces"]


def test_a_few_frames_without_a_face_turn_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Detector(monkeypatch)
    sideways = orientation.turned(marked(), 90)
    found, cut_outs = searched(tmp_path, [marked(), sideways, sideways, marked(), marked()])
    assert rotations(found) == {0} and len(cut_outs) == 3
    assert [frame["reason"] for frame in found] == ["", "no_face", "no_face", "", ""]


def test_half_of_the_frames_are_no_majority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Detector(monkeypatch)
    faceless = np.full((60, 80, 3), 90, np.uint8)
    found, cut_outs = searched(tmp_path, [orientation.turned(marked(), 90), faceless] * 3)
    assert not cut_outs and {frame["reason"] for frame in found} == {"no_face"}


def test_a_less_sure_face_in_each_frame_is_outvoted(monkeypatch: pytest.MonkeyPatch) -> None:
    Detector(monkeypatch, wrong=0.95)
    assert orientation.rotation_of([orientation.turned(marked(), 180)] * 3, SETTINGS) == 180
    assert orientation.rotation_of([marked()] * 3, SETTINGS) == 0


def test_badly_placed_landmarks_do_not_win_by_confidence(monkeypatch: pytest.MonkeyPatch) -> None:
    askew = CANONICAL_LANDMARKS.copy()
    askew[2:] += [0.1, 0.05]

    def detect(pictures: Sequence[Picture], settings: FaceSettings) -> list[list[Face]]:
        return [
            [Face(5, 5, 40, 40, 0.93, CANONICAL_LANDMARKS * 40)]
            if picture[5, 5, 0] > 200
            else [Face(5, 5, 40, 40, 0.99, askew * 40)]
            for picture in pictures
        ]

    monkeypatch.setattr(detection, "detect", detect)
    assert orientation.rotation_of([marked()] * 2, SETTINGS) == 0


def test_a_clip_without_any_face_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    Detector(monkeypatch)
    assert orientation.rotation_of([np.zeros((50, 70, 3), np.uint8)] * 3, SETTINGS) == 0


def encode(path: Path, pictures: Sequence[Picture]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"qp": "18", "preset": "ultrafast"})
        stream.height, stream.width = (side // 2 * 2 for side in pictures[0].shape[:2])
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            inside = np.ascontiguousarray(picture[: stream.height, : stream.width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(inside, format="rgb24")))
        container.mux(stream.encode())
    return path


FRAMES = FrameSettings(per_video=8, every=None, max_per_video=100, format="png", jpg_quality=95, max_side=None)
CLIPS = ("real/retalking_4.mp4", "real/liveportrait_d0.mp4", "fake/fomm_cam2.mp4")
TURNS = {0: None, 90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("clip", CLIPS)
def test_turned_real_clips_give_upright_faces(outside_data: Path, tmp_path: Path, clip: str) -> None:
    source = outside_data / "videos" / clip
    wanted = frames.choose(len(video.frame_times(source, LIMITS)), FRAMES)
    pictures = [frames.reduce(frame.picture, 320) for frame in video.read_video(source, wanted, LIMITS)]
    found = {}
    for degrees, turn in TURNS.items():
        turned = pictures if turn is None else [np.asarray(cv2.rotate(p, turn), np.uint8) for p in pictures]
        folder = tmp_path / str(degrees)
        (folder / "out").mkdir(parents=True)
        frames.extract(encode(folder / "clip.mp4", turned), FRAMES, LIMITS, folder)
        rows = json.loads((folder / "frames.json").read_text())["frames"]
        search([(row["path"], row["sha256"]) for row in rows], folder, SETTINGS, folder / "out")
        found[degrees] = json.loads((folder / "out/faces.json").read_text())
        assert rotations(found[degrees]) == {(360 - degrees) % 360}, degrees
        assert len(list((folder / "out").glob("*.png"))) == sum(len(frame["faces"]) for frame in found[degrees])
    upright = boxes(found[0])
    for degrees in (90, 180, 270):
        same = boxes(found[degrees])
        assert len(same.keys() & upright.keys()) >= len(upright) - 1
        for number in same.keys() & upright.keys():
            assert detection.intersection_over_union(same[number], upright[number]) > 0.8


def boxes(found: Sequence[dict[str, Any]]) -> dict[int, tuple[float, ...]]:
    """The box of the face in each frame that has one."""
    return {
        number: tuple(frame["faces"][0][name] for name in "xywh")
        for number, frame in enumerate(found)
        if frame["faces"]
    }


def test_four_calls_from_a_picture_to_its_crop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crop of a face in memory has the bytes of the crop of the stored one."""
    values = params()
    variants = {name: check(Variant, variant, name) for name, variant in values["crop_variants"].items()}
    plan = resolve("eyes_lower", variants, values["regions"], check(CropSettings, values["crops"], "crops"))
    rng = np.random.default_rng(3)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (200, 260, 3)).astype(np.uint8), (0, 0), 3)
    seen = Face(60.123456, 50.98765, 71.5, 80.49999, 0.9912345, CANONICAL_LANDMARKS * 111.111 + 41.2345)
    monkeypatch.setattr(detection, "detect", lambda pictures, settings: [[seen] for _ in pictures])

    ((faces, reason),) = find_faces([picture], SETTINGS)
    assert reason == "" and faces[0].picture is not None
    in_memory = crop(faces[0].picture, faces[0], plan, (0, 0, 0))

    search(store(tmp_path, [picture]), tmp_path, SETTINGS, tmp_path)
    (frame,) = json.loads((tmp_path / "faces.json").read_text())
    row = {**frame["faces"][0], "face_id": "f0", "frame_id": "f", "video_id": "v", "label": "real", "track_id": "t"}
    tables.write(tmp_path / "faces.csv", tables.to_dataframe([row], tables.FACES), tables.FACES)
    stored = Face.from_row(tables.read(tmp_path / "faces.csv", tables.FACES).to_dict("records")[0])
    assert np.array_equal(crop(read_cut_out(tmp_path, stored), stored, plan, (0, 0, 0)), in_memory)
    assert stored.box == faces[0].box and np.array_equal(stored.landmarks, faces[0].landmarks)
