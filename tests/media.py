"""Small clips and pictures made on the spot, for tests of what reads them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from facestudy.core.arrays import Picture
from facestudy.media.video import Limits

BITS = 8
LIMITS = Limits(
    max_pixels=10**8,
    max_duration_s=3600,
    max_bytes=10**9,
    max_frames=10**5,
    max_streams=20,
    decode_s=60,
    decode_mb=1024,
)
"""Wider than any file of the tests needs."""


def numbered_picture(number: int, width: int = 64, height: int = 48) -> Picture:
    """A picture that tells its number in black and white bars above, green left and blue right below."""
    picture = np.zeros((height, width, 3), np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            picture[: height // 2, bit * width // BITS : (bit + 1) * width // BITS] = 255
    picture[height // 2 :, : width // 2, 1] = 200
    picture[height // 2 :, width // 2 :, 2] = 200
    return picture


def number_of(picture: Picture) -> int:
    """The number that `numbered_picture` wrote."""
    height, width = picture.shape[:2]
    centres = [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)]
    return sum(1 << bit for bit, x in enumerate(centres) if picture[height // 4, x].mean() > 127)


def write_clip(
    path: Path,
    count: int = 12,
    codec: str = "libx264",
    size: tuple[int, int] = (64, 48),
    times: list[int] | None = None,
    gop: int = 5,
    options: dict[str, str] | None = None,
) -> Path:
    """A clip of numbered pictures at 10 frames a second, or at the given times in hundredths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.gop_size = gop
        stream.codec_context.time_base = Fraction(1, 100)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number, *size), format="rgb24")
            frame.pts = times[number] if times else number * 10
            frame.time_base = Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_picture(path: Path, picture: Picture | None = None) -> Path:
    """A still picture in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = numbered_picture(3) if picture is None else picture
    path.write_bytes(cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())
    return path
