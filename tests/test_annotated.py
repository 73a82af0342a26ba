"""The clip with the scores on it: every frame once, boxes where people are, little memory and disk, sudden ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from facestudy.core.arrays import Picture
from facestudy.core.settings import check
from facestudy.media import decode
from facestudy.media.frames import FrameSettings
from facestudy.media.video import MediaError
from facestudy.prediction import annotated
from facestudy.prediction.annotated import BOX, drawn, label_at, write_video
from facestudy.prediction.answer import ClipAnswer, FaceScore, Person
from tests.media import LIMITS, number_of, write_clip
from tests.project import params

FRAMES = check(FrameSettings, params()["frames"], "frames")


def face(frame: int, x: float, p_fake: float = 0.5) -> FaceScore:
    """A face of 20 x 30 pixels."""
    return FaceScore(
        frame=frame, time_s=frame / 10, x=x, y=10, w=20, h=30, confidence=1, quality={}, p_fake={"one": p_fake}
    )


def answer(path: Path, *people: list[FaceScore]) -> ClipAnswer:
    """What is known of a clip."""
    probe = decode.probe(path, LIMITS)
    persons = [Person(person=number, scores=[], faces=faces) for number, faces in enumerate(people, 1)]
    return ClipAnswer(source=path.name, status="scored", reason="", **vars(probe) | {"frames": 4}, persons=persons)


def pictures(path: Path) -> list[Picture]:
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]


# --- where a person is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "x", "p_fake"),
    [
        (10, 100, 0.1),  # examined
        (12, 120, 0.1),  # between two, nearer to the first
        (17, 170, 0.9),
        (20, 200, 0.9),
        (25, 200, 0.9),  # held for half a spacing
        (5, 100, 0.1),
        (30, None, None),  # nobody is known to be here: two frames that were examined showed nobody
        (60, 500, 0.4),
        (2, None, None),
        (99, None, None),
    ],
)
def test_boxes_move_evenly_and_end(frame: int, x: float | None, p_fake: float | None) -> None:
    label = label_at([face(10, 100, 0.1), face(20, 200, 0.9), face(60, 500, 0.4)], frame, spacing=10)
    assert (label and (label.box[0], label.face.p_fake["one"])) == (None if x is None else (pytest.approx(x), p_fake))
    assert label is None or label.examined == (frame in (10, 20, 60))


def test_boxes_are_drawn_where_the_face_is(tmp_path: Path) -> None:
    """Also when frames were reduced before they were examined, and the shown ones are not."""
    clip = answer(write_clip(tmp_path / "a.mp4", size=(320, 240)), [face(0, 40)])
    grey = np.full((240, 320, 3), 90, np.uint8)
    for most, scale in ((None, 1), (160, 2)):
        page = drawn(grey, 0, clip, FRAMES.model_copy(update={"max_side": most}))
        yellow = np.argwhere(np.abs(page.astype(int) - BOX).sum(axis=2) < 30)
        (top, left), (bottom, right) = yellow.min(axis=0), yellow.max(axis=0)
        assert abs(left - 40 * scale) <= 2 and abs(right - 60 * scale) <= 2 and abs(bottom - 40 * scale) <= 2
        assert top <= 10 * scale + 2
        assert (page[120:, 200:230] == 90).all() and (grey == 90).all()


# --- the video -------------------------------------------------------------------------------------------------------


def test_every_frame_is_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the borders of the stretches, which are all that is on the disk at a time."""
    monkeypatch.setattr(annotated, "STRETCH", 20)
    stored: list[int] = []

    def extract(source: Path, settings: FrameSettings, limits: Any, folder: Path, *part: float) -> None:
        original(source, settings, limits, folder, *part)
        stored.append(len(list(folder.glob("*.jpg"))))

    original = decode.extract
    monkeypatch.setattr(decode, "extract", extract)
    clip = write_clip(tmp_path / "a.mp4", count=90)
    assert write_video(clip, answer(clip), FRAMES, LIMITS, tmp_path / "b.mp4") == ""
    found = pictures(tmp_path / "b.mp4")
    assert [number_of(picture) for picture in found] == list(range(90)) and found[0].shape == (48, 64, 3)
    assert len(stored) >= 4 and max(stored) <= 21
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_times_stay(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", count=40)
    write_video(clip, answer(clip), FRAMES, LIMITS, tmp_path / "b.mp4")
    assert decode.probe(tmp_path / "b.mp4", LIMITS).duration_s == pytest.approx(4.0, abs=0.01)


def test_a_long_clip_keeps_fewer_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotated, "MAX_FRAMES", 30)
    monkeypatch.setattr(annotated, "STRETCH", 10)
    clip = write_clip(tmp_path / "a.mp4", count=90)
    write_video(clip, answer(clip), FRAMES, LIMITS, tmp_path / "b.mp4")
    numbers = [number_of(picture) for picture in pictures(tmp_path / "b.mp4")]
    assert len(numbers) <= 33 and numbers == sorted(set(numbers)) and max(np.diff(numbers)) <= 3
    assert decode.probe(tmp_path / "b.mp4", LIMITS).duration_s == pytest.approx(9.0, abs=0.5)


@pytest.mark.parametrize("side", [64, 65])
def test_large_frames_are_reduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    """To an even width and height, which H.264 needs."""
    monkeypatch.setattr(annotated, "MAX_SIDE", side)
    clip = write_clip(tmp_path / "a.mp4", size=(320, 240))
    write_video(clip, answer(clip), FRAMES, LIMITS, tmp_path / "b.mp4")
    assert pictures(tmp_path / "b.mp4")[0].shape == (48, 64, 3)


@pytest.mark.parametrize("good", [0, 1])
def test_a_clip_that_stops_ends_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: int) -> None:
    calls = []

    def extract(*given: Any) -> None:
        calls.append(given)
        if len(calls) > good:
            raise MediaError("not decoded within 300 s")
        original(*given)

    clip = write_clip(tmp_path / "a.mp4", count=90)
    known, original = answer(clip), decode.extract
    monkeypatch.setattr(annotated, "STRETCH", 20)
    monkeypatch.setattr(decode, "extract", extract)
    assert write_video(clip, known, FRAMES, LIMITS, tmp_path / "b.mp4") == "not decoded within 300 s"
    assert (tmp_path / "b.mp4").exists() == bool(good)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"][: good + 1]
    assert not good or len(pictures(tmp_path / "b.mp4")) >= 20
