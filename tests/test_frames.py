"""Which frames, and how they are stored."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facestudy.core.errors import StudyError
from facestudy.core.settings import check
from facestudy.media import video
from facestudy.media.frames import FrameSettings, choose, extract, reduce
from tests.media import LIMITS, number_of, write_clip, write_picture

PLAIN = {"per_video": 4, "every": None, "max_per_video": 100, "format": "png", "jpg_quality": 95, "max_side": None}


def settings(**changes: object) -> FrameSettings:
    return check(FrameSettings, PLAIN | changes, "frames")


@given(st.integers(0, 5000), st.integers(1, 60))
def test_evenly_spaced_over_the_whole_clip(count: int, per_video: int) -> None:
    numbers = choose(count, settings(per_video=per_video))
    assert len(numbers) == min(count, per_video)
    assert numbers == sorted(set(numbers))
    assert all(0 <= number < count for number in numbers)
    if count > per_video:  # the same gap, rounded, everywhere, and half of it at both ends
        gaps = np.diff(numbers)
        assert gaps.size == 0 or gaps.max() - gaps.min() <= 1
        assert abs(numbers[0] - (count - 1 - numbers[-1])) <= 1


@given(st.integers(0, 50_000), st.integers(1, 400), st.integers(1, 100))
def test_every_nth_up_to_a_maximum(count: int, every: int, most: int) -> None:
    numbers = choose(count, settings(per_video=None, every=every, max_per_video=most))
    assert len(numbers) == min(most, -(-count // every))
    assert all(number % every == 0 and number < count for number in numbers)


def test_the_papers_every_200th() -> None:
    assert choose(1000, settings(per_video=None, every=200)) == [0, 200, 400, 600, 800]


@pytest.mark.parametrize("changes", [{"per_video": None}, {"every": 5}])
def test_one_way_of_choosing(changes: dict[str, object]) -> None:
    with pytest.raises(StudyError, match="set one of per_video and every"):
        settings(**changes)


def test_extract_writes_pictures_and_what_they_are(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 20)
    extract(clip, settings(), LIMITS, tmp_path)
    found = json.loads((tmp_path / "frames.json").read_text())
    assert found["dropped"] == ""
    assert [row["frame_number"] for row in found["frames"]] == [2, 7, 12, 17]
    for row in found["frames"]:
        picture = cv2.cvtColor(cv2.imread(str(tmp_path / row["path"])), cv2.COLOR_BGR2RGB)
        assert picture.shape == (row["height"], row["width"], 3) == (48, 64, 3)
        assert number_of(picture) == row["frame_number"]


def test_a_picture_is_a_video_of_one_frame(tmp_path: Path) -> None:
    extract(write_picture(tmp_path / "a.png"), settings(max_side=32), LIMITS, tmp_path)
    (row,) = json.loads((tmp_path / "frames.json").read_text())["frames"]
    assert (row["frame_number"], row["width"], row["height"]) == (0, 32, 24)


def test_what_cannot_be_decoded_is_counted(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    extract(tmp_path / "bad.mp4", settings(), LIMITS, tmp_path)
    found = json.loads((tmp_path / "frames.json").read_text())
    assert found["frames"] == [] and "not decodable" in found["dropped"]


def test_jpeg_quality_is_used(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    source = write_picture(tmp_path / "a.png", noise)
    sizes = []
    for quality in (95, 30):
        extract(source, settings(format="jpg", jpg_quality=quality), LIMITS, tmp_path)
        sizes.append((tmp_path / "000000.jpg").stat().st_size)
    assert sizes[1] < sizes[0] / 2


@given(st.integers(1, 300), st.integers(1, 300), st.integers(32, 200))
def test_reduce_keeps_the_aspect(width: int, height: int, most: int) -> None:
    small = reduce(np.zeros((height, width, 3), np.uint8), most)
    assert max(small.shape[:2]) == min(max(width, height), most)
    assert min(small.shape[:2]) >= 1


def test_only_the_wanted_part_of_a_clip(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 40)  # 10 frames a second
    extract(clip, settings(per_video=3), LIMITS, tmp_path, start_s=1.0, end_s=1.9)
    found = json.loads((tmp_path / "frames.json").read_text())
    assert [(row["frame_number"], row["time_s"]) for row in found["frames"]] == [(11, 1.1), (15, 1.5), (18, 1.8)]
    assert [number_of(video.read_picture(tmp_path / row["path"], 10**8)) for row in found["frames"]] == [11, 15, 18]


def test_a_part_beyond_the_end_gives_no_frame_and_a_reason(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 20)
    extract(clip, settings(), LIMITS, tmp_path, start_s=60.0)
    found = json.loads((tmp_path / "frames.json").read_text())
    assert found["frames"] == [] and found["dropped"] == "no frame from 60 s on"
