"""Decoding: the right frames, from every codec, turned the right way; and clean reasons when not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from facestudy.video import MediaError, frame_times, probe, read_picture, read_video
from tests.media import LIMITS, number_of, numbered_picture, write_clip, write_picture

MANY = LIMITS.max_pixels
CODECS = [
    ("libx264", "mp4", {"bf": "2"}),
    ("libx264", "mkv", {"bf": "2"}),
    ("libx265", "mp4", {"x265-params": "log-level=none"}),
    ("libvpx-vp9", "webm", {"cpu-used": "8", "deadline": "realtime"}),
    ("libsvtav1", "mp4", {"preset": "12"}),
    ("mpeg4", "avi", {"qscale": "2"}),
    ("mpeg4", "mov", {"qscale": "2"}),
]


@pytest.mark.parametrize(("codec", "suffix", "options"), CODECS)
def test_exactly_the_frames_asked_for(tmp_path: Path, codec: str, suffix: str, options: dict[str, str]) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", 20, codec, (128, 96), options=options)
    found = probe(path, LIMITS)
    assert (found.width, found.height, found.frames) == (128, 96, 20)
    assert found.fps == pytest.approx(10, rel=0.02)
    wanted = [0, 3, 4, 11, 19]
    frames = list(read_video(path, wanted, LIMITS))
    assert [frame.number for frame in frames] == wanted
    assert [number_of(frame.picture) for frame in frames] == wanted
    assert [frame.time_s for frame in frames] == pytest.approx([n / 10 for n in wanted], abs=0.02)
    # RGB, not BGR: the left half is green, the right half blue.
    assert frames[0].picture[80, 20, 1] > 120 > frames[0].picture[80, 20, 2]


def test_variable_frame_rate(tmp_path: Path) -> None:
    times = [0, 10, 15, 60, 200, 205, 300]
    path = write_clip(tmp_path / "vfr.mkv", len(times), times=times)
    assert frame_times(path, LIMITS) == pytest.approx([t / 100 for t in times], abs=0.01)
    assert [number_of(frame.picture) for frame in read_video(path, [1, 4, 6], LIMITS)] == [1, 4, 6]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_picture_orientation_is_honoured(tmp_path: Path, orientation: int) -> None:
    upright = numbered_picture(5, 64, 48)
    stored = Image.fromarray(np.rot90(upright, {1: 0, 3: 2, 6: 1, 8: 3}[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.jpg", quality=95, exif=exif)
    picture = read_picture(tmp_path / "turned.jpg", MANY)
    assert picture.shape == upright.shape
    assert np.abs(picture.astype(int) - upright).mean() < 4
    found = probe(tmp_path / "turned.jpg", LIMITS)
    assert (found.width, found.height, found.frames) == (64, 48, 1)


def test_rotation_flag_of_a_phone_video(tmp_path: Path) -> None:
    flat = write_clip(tmp_path / "flat.mp4", 6)
    data = bytearray(flat.read_bytes())
    identity = b"".join(value.to_bytes(4, "big", signed=True) for value in (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30))
    quarter = b"".join(
        value.to_bytes(4, "big", signed=True) for value in (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)
    )
    track = data.index(b"tkhd")
    place = data.index(identity, track)  # the track's display matrix: a clockwise quarter turn
    data[place : place + len(quarter)] = quarter
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    found = probe(turned, LIMITS)
    assert (found.width, found.height) == (48, 64)
    before = next(iter(read_video(flat, [2], LIMITS))).picture
    after = next(iter(read_video(turned, [2], LIMITS))).picture
    assert np.array_equal(after, np.rot90(before, -1))


def test_truncated_clip_gives_what_is_there_or_a_reason(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", 40, gop=4)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    found = probe(cut, LIMITS)
    assert 5 < found.frames < 40
    frames = list(read_video(cut, list(range(0, 40, 4)), LIMITS))
    assert [number_of(frame.picture) for frame in frames] == [frame.number for frame in frames]
    headless = tmp_path / "headless.mp4"  # an mp4's table of frames is at its end
    headless.write_bytes(write_clip(tmp_path / "whole.mp4", 40).read_bytes()[:900])
    with pytest.raises(MediaError, match="not decodable as a video"):
        probe(headless, LIMITS)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp4", b"", "empty"),
        ("text.mp4", b"this is no video\n" * 50, "not decodable as a video"),
        ("text.jpg", b"this is no picture\n" * 50, "not decodable as a picture"),
        ("zero.png", b"", "empty"),
    ],
)
def test_what_is_no_media_gives_a_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MediaError, match=reason):
        probe(path, LIMITS)


def test_too_many_pixels(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "big.png", np.zeros((1000, 1200, 3), np.uint8))
    with pytest.raises(MediaError, match="1200x1000 pixels are more than 1 megapixels"):
        probe(path, replace(LIMITS, max_pixels=10**6))
    clip = write_clip(tmp_path / "big.mp4", 2, size=(640, 480))
    with pytest.raises(MediaError, match="640x480"):
        probe(clip, replace(LIMITS, max_pixels=10**5))


def test_truncated_picture(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    path = write_picture(tmp_path / "noise.jpg", noise)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(MediaError, match="truncated"):
        read_picture(path, MANY)


def test_sound_only(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(MediaError, match="no video stream"):
        probe(path, LIMITS)
