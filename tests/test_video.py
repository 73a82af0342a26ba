"""Decoding: the right frames, from every codec, turned the right way; and clean reasons when not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from facestudy.media import video
from facestudy.media.video import MediaError, frame_times, probe, read_picture, read_video
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


SKIPPED = [
    ("libx264", "mp4", {"x264-params": "bframes=3:b-pyramid=2"}),
    ("libx264", "mkv", {"x264-params": "bframes=3:open-gop=1:tff=1"}),
    ("libx265", "mp4", {"x265-params": "bframes=4:log-level=none"}),
]


@pytest.mark.parametrize(("codec", "suffix", "options"), SKIPPED)
def test_skipped_frames_leave_the_wanted_ones_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, suffix: str, options: dict[str, str]
) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", 60, codec, (128, 96), gop=30, options=options)
    every = [frame.picture for frame in read_video(path, range(60), LIMITS)]
    decoded = []
    whole = video._decoded

    def counted(*arguments: Any) -> Iterator[av.VideoFrame]:
        for frame in whole(*arguments):
            decoded.append(frame)
            yield frame

    monkeypatch.setattr(video, "_decoded", counted)
    for wanted in ([7, 25, 44], [12], [59], [0, 1, 2, 31]):
        decoded.clear()
        found = list(read_video(path, wanted, LIMITS))
        assert [frame.number for frame in found] == wanted
        assert all(np.array_equal(frame.picture, every[frame.number]) for frame in found)
    decoded.clear()
    list(read_video(path, [29], LIMITS))
    assert len(decoded) < 25  # of the 30 frames up to it


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


DISPLAY_MATRICES = {
    90: (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30),
    180: (-65536, 0, 0, 0, -65536, 0, 64 << 16, 48 << 16, 1 << 30),
    270: (0, -65536, 0, 65536, 0, 0, 0, 64 << 16, 1 << 30),
}
"""Of a track of 64 x 48 pixels that is to be shown turned clockwise by so many degrees (ISO/IEC 14496-12, 8.3.2)."""


@pytest.mark.parametrize("degrees", DISPLAY_MATRICES)
def test_rotation_flag_of_a_phone_video(tmp_path: Path, degrees: int) -> None:
    def written(matrix: tuple[int, ...]) -> bytes:
        return b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)

    flat = write_clip(tmp_path / "flat.mp4", 6)
    data = bytearray(flat.read_bytes())
    place = data.index(written((65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)), data.index(b"tkhd"))
    data[place : place + 36] = written(DISPLAY_MATRICES[degrees])
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    found = probe(turned, LIMITS)
    assert (found.width, found.height) == ((64, 48) if degrees == 180 else (48, 64))
    before = next(iter(read_video(flat, [2], LIMITS))).picture
    after = next(iter(read_video(turned, [2], LIMITS))).picture
    assert np.array_equal(after, np.rot90(before, -degrees // 90))


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


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"max_duration_s": 1.0}, r"1 s are more than 1 \(decoding.max_duration_s\)"),
        ({"max_frames": 11}, r"it has more than 11 frames \(decoding.max_frames\)"),
        ({"max_bytes": 500}, r"0.0 GB are more than 5e-07 \(decoding.max_file_gb\)"),
        ({"max_streams": 1}, r"2 streams are more than 1 \(decoding.max_streams\)"),
    ],
)
def test_limits(tmp_path: Path, limit: dict[str, Any], reason: str) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        for stream in (container.add_stream("libx264", rate=10), container.add_stream("libx264", rate=10)):
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(12):
            for stream in container.streams.video:
                frame = av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24")
                container.mux(stream.encode(frame))
        for stream in container.streams.video:
            container.mux(stream.encode())
    assert probe(path, LIMITS).frames == 12
    with pytest.raises(MediaError, match=reason):
        probe(path, replace(LIMITS, **limit))


def test_frames_that_grow_on_the_way_are_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "grows.avi"
    noise = list(np.random.default_rng(0).integers(0, 255, (100, 256, 256, 3), dtype=np.uint8))
    parts = [noise, [numbered_picture(1, 640, 480)] * 4]  # FFmpeg looks no further than 5 MB ahead
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        count = 0
        for pictures in parts:
            encoder = stream.codec_context if count == 0 else av.CodecContext.create("libx264", "w")
            encoder.height, encoder.width = pictures[0].shape[:2]
            encoder.pix_fmt, encoder.time_base, encoder.max_b_frames = "yuv420p", Fraction(1, 10), 0
            encoder.options = {"qp": "0", "preset": "ultrafast", "g": "10"}
            for picture in [*pictures, None]:
                frame = None if picture is None else av.VideoFrame.from_ndarray(picture, format="rgb24")
                for packet in encoder.encode(frame):
                    packet.pts = packet.dts = count
                    packet.time_base, packet.stream = Fraction(1, 10), stream
                    container.mux(packet)
                    count += 1
    assert path.stat().st_size > 5_000_000
    assert [frame.picture.shape for frame in read_video(path, [0, 103], LIMITS)] == [(256, 256, 3), (480, 640, 3)]
    narrow = replace(LIMITS, max_pixels=256 * 256)
    assert probe(path, narrow).frames == 104
    shapes = []
    with pytest.raises(MediaError, match="decoding stopped"):
        for frame in read_video(path, [0, 103], narrow):
            shapes.append(frame.picture.shape)
    assert shapes == [(256, 256, 3)]


def test_no_script_makes_ffmpeg_open_other_files(tmp_path: Path) -> None:
    write_clip(tmp_path / "secret.mp4")
    script = tmp_path / "script.mp4"
    for text in (
        "ffconcat version 1.0\nfile secret.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    ):
        script.write_text(text)
        with pytest.raises(MediaError, match="not decodable as a video"):
            probe(script, LIMITS)


@pytest.mark.parametrize("name", ["concat:secret.mp4", "http:x.mp4", "%03d.mp4", "-i.mp4"])
def test_a_name_is_nothing_but_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(Path("plain.mp4")).rename(name)
    assert probe(Path(name), LIMITS).frames == 12


def test_probe_refuses_damaged_picture_with_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)).save(path, exif=exif)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(MediaError, match="not decodable as a picture"):
        probe(path, LIMITS)
