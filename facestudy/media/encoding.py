"""Encode pictures as video in the same way for both classes, with the same bytes every time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2

from facestudy.core.arrays import Picture

GROUP_OF_PICTURES = 10
"""Frames from one key frame to the next."""


def encode(pictures: Iterator[Picture], fps: Fraction, quantizer: int, path: Path) -> None:
    """Write pictures as H.264 with a constant quantizer, one thread, fixed key frames and no B-frames.

    With rate control the codec would take bits from the background of one twin for the face of the other, and its
    files would differ from run to run; so nothing here adapts to the pictures.

    Parameters
    ----------
    pictures : iterator of ndarray of shape (height, width, 3), uint8
        RGB; at least one, all of the same even height and even width.
    fps
        Frames a second.
    quantizer
        0 (lossless) to 51.
    path
        The video to write.
    """
    options = {
        "preset": "superfast",
        "qp": str(quantizer),
        "bf": "0",
        "g": str(GROUP_OF_PICTURES),
        "keyint_min": str(GROUP_OF_PICTURES),
        "sc_threshold": "0",
        "x264-params": "threads=1:aq-mode=0:mbtree=0:rc-lookahead=0",
    }
    first = next(pictures)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = *first.shape[:2], "yuv420p"
        stream.codec_context.thread_count = 1
        stream.time_base = 1 / fps
        for number, picture in enumerate(itertools.chain([first], pictures)):
            frame: Any = av.VideoFrame.from_ndarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), "yuv420p")
            frame.pts, frame.time_base = number, 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV on one thread: how it cuts a picture into strips must not decide its last bits."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
