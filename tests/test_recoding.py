"""Clips that are encoded again: which frame is seen, how much the quantizer changes, where the cut-out lies."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from facestudy.alterations import recoding
from facestudy.alterations.recoding import Footage, Origin, origins, recoded, recoded_frame
from facestudy.core import tables
from facestudy.core.arrays import Picture
from facestudy.core.errors import StudyError
from facestudy.core.settings import check
from facestudy.faces.detection import cut_out
from facestudy.faces.face import Face
from facestudy.media.encoding import GROUP_OF_PICTURES, encode
from facestudy.media.frames import FrameSettings
from facestudy.media.video import OWN_FILES, read_video
from tests.media import LIMITS, number_of, write_clip
from tests.project import params

FRAMES = check(FrameSettings, params()["frames"], "frames")


def moving(number: int, width: int = 96, height: int = 64) -> Picture:
    """Detail that moves by two pixels a frame."""
    noise = np.random.default_rng(7).integers(0, 256, (height // 4, width, 3)).astype(np.uint8)
    return np.roll(np.repeat(np.repeat(noise, 4, axis=0), 4, axis=1)[:, :width], 2 * number, axis=1)


def moving_clip(path: Path, count: int = 25) -> Path:
    encode((moving(number) for number in range(count)), Fraction(10), 10, path)
    return path


def psnr(first: Picture, second: Picture) -> float:
    """Peak signal-to-noise ratio, dB."""
    square = ((first.astype(float) - second) ** 2).mean()
    return math.inf if square == 0 else 10 * math.log10(255**2 / square)


@pytest.mark.parametrize("number", [0, 1, GROUP_OF_PICTURES - 1, GROUP_OF_PICTURES, GROUP_OF_PICTURES + 4, 24])
def test_the_frame_is_the_one_asked_for(tmp_path: Path, number: int) -> None:
    """Each frame of the clip shows its number; the frame rate varies."""
    times = [10 * n + 3 * (n % 3) for n in range(25)]
    clip = write_clip(tmp_path / "clip.mp4", 25, times=times, gop=7)
    for quantizer in (10, 30, 45):
        assert number_of(recoded_frame(clip, number, quantizer, LIMITS)) == number


def test_a_stronger_quantizer_leaves_less_of_the_frame(tmp_path: Path) -> None:
    clip = moving_clip(tmp_path / "clip.mp4")
    (before,) = (one.picture for one in read_video(clip, [14], OWN_FILES))
    frames = [recoded_frame(clip, 14, quantizer, LIMITS) for quantizer in (0, 10, 23, 28, 34, 40, 51)]
    found = [psnr(before, frame) for frame in frames]
    assert all(first > second + 0.5 for first, second in pairwise(found)), found
    assert found[0] > 35 and found[-1] < 25  # colours are halved even where nothing else is lost


def test_it_is_as_if_the_whole_clip_was_encoded(tmp_path: Path) -> None:
    """Inter-frame compression included: the 15th frame refers to those since the 11th."""
    clip = moving_clip(tmp_path / "clip.mp4")
    whole = tmp_path / "whole.mp4"
    encode((one.picture for one in read_video(clip, range(25), OWN_FILES)), Fraction(10), 34, whole)
    for expected in read_video(whole, [0, 3, 14, 19, 24], OWN_FILES):
        assert np.array_equal(recoded_frame(clip, expected.number, 34, LIMITS), expected.picture)
    alone = tmp_path / "alone.mp4"
    (source,) = (one.picture for one in read_video(clip, [14], OWN_FILES))
    encode(iter([source]), Fraction(10), 34, alone)
    (still,) = (one.picture for one in read_video(alone, [0], OWN_FILES))
    assert not np.array_equal(recoded_frame(clip, 14, 34, LIMITS), still), "the frames before it do not matter"


def test_odd_sides_and_changes_of_size_are_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [replace(one) for one in read_video(moving_clip(tmp_path / "clip.mp4"), range(3), OWN_FILES)]
    odd = [replace(frame, picture=frame.picture[:63, :95]) for frame in frames]
    odd[1] = frames[1]
    original = recoding.read_video

    def read(path: Path, *rest: object) -> object:
        return iter(odd) if path.name == "odd.mp4" else original(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(recoding, "read_video", read)
    found = recoded_frame(Path("odd.mp4"), 2, 5, LIMITS)
    assert found.shape == (63, 95, 3) and psnr(found, odd[2].picture) > 30


def face_at(x: float, y: float, w: float, h: float) -> Face:
    points = np.array([[x + 5, y + 8], [x + 15, y + 8], [x + 10, y + 13], [x + 6, y + 18], [x + 14, y + 18]])
    return Face(x, y, w, h, 0.99, points, face_id="f1", path="f1.png")


@pytest.mark.parametrize("rotation", [0, 90])
@pytest.mark.parametrize("box", [(30, 20, 20, 24), (-3, 45, 22, 25), (80.4, 1.2, 20.3, 20.7)])
def test_the_cut_out_lies_where_it_was(tmp_path: Path, rotation: int, box: tuple[float, float, float, float]) -> None:
    """Also beyond the frame, in a turned clip, and with frames that were reduced or stored as JPEG."""
    clip = moving_clip(tmp_path / "clip.mp4")
    (source,) = (one.picture for one in read_video(clip, [14], OWN_FILES))
    for changes in ({}, {"max_side": 60}, {"format": "jpg"}):
        settings = FRAMES.model_copy(update=changes)
        shown = np.rot90(recoding.stored(source, settings), -rotation // 90)
        face = cut_out(np.ascontiguousarray(shown), face_at(*box))
        assert face.picture is not None
        footage = Footage({"f1": Origin(clip, 14, rotation)}, settings, LIMITS)
        fine, coarse = (recoded(face.picture, face, footage, quantizer) for quantizer in (1, 40))
        assert fine.shape == face.picture.shape
        assert psnr(fine, face.picture) > 33 > psnr(coarse, face.picture)


def test_origins_come_from_the_tables() -> None:
    face = {"face_id": "c_000014_f0", "frame_id": "c_000014", "video_id": "c", "rotation": 90}
    frame = {"frame_id": "c_000014", "video_id": "c", "frame_number": 14}
    video = {"video_id": "c", "path": "real/c.mp4"}
    found = origins(
        tables.to_dataframe([face], tables.FACES),
        tables.to_dataframe([frame], tables.FRAMES),
        tables.to_dataframe([video], tables.VIDEOS),
        Path("data/videos"),
    )
    assert found == {"c_000014_f0": Origin(Path("data/videos/real/c.mp4"), 14, 90)}
    assert Footage(found, FRAMES, LIMITS).stills() == 0
    assert Footage({"a": Origin(Path("a.jpg"), 0, 0)}, FRAMES, LIMITS).stills() == 1


def test_a_clip_that_is_gone_or_shorter_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"gone\.mp4 cannot be read"):
        recoded_frame(tmp_path / "gone.mp4", 3, 30, LIMITS)
    with pytest.raises(StudyError, match=r"clip\.mp4 has no frame 30 any more"):
        recoded_frame(moving_clip(tmp_path / "clip.mp4"), 30, 30, LIMITS)
