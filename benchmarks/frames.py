"""What taking frames from a video costs, over bare decoding with PyAV of the same frames, in one thread.

    python -m benchmarks.frames [--quick]

Clips of four seconds, encoded here: a picture with texture that moves, a key frame every two seconds. "Decoding" reads
all frames as RGB. "24 frames" is what the stage does with a clip when `frames.per_video` is 24: the child process
decodes them and stores them as PNG. It is compared with PyAV decoding up to the last of these frames, and with the
same and the bare encoding and writing of the PNG files. Then a clip of ten minutes, H.264, 720p, a key frame every ten
seconds: 8 frames of it, against decoding all of it.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks import measure
from benchmarks.study import ROOT, repeat
from facestudy.core.arrays import Picture
from facestudy.core.settings import check
from facestudy.media import decode, video
from facestudy.media.archive import PNG
from facestudy.media.frames import FrameSettings, choose
from facestudy.media.settings import DecodingSettings
from stages.stage import read_params

CODECS = {
    "H.264": ("libx264", {"preset": "veryfast", "crf": "23"}),
    "VP9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "33", "b": "0", "row-mt": "1"}),
    "AV1": ("libsvtav1", {"preset": "12", "crf": "35"}),
}
"""FFmpeg's encoders and their options."""
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
FPS, SECONDS, KEY_S = 25, 4, 2
TAKEN = 24
LONG_S, LONG_KEY_S, LONG_TAKEN = 600, 10, 8


def pictures(size: tuple[int, int], count: int) -> Iterator[Picture]:
    """A textured picture that moves by three pixels a frame, with noise, as the sensor of a camera adds."""
    noise = np.random.default_rng(1)
    width, height = size
    large = noise.normal(128, 45, (height // 8, (width + 3 * count) // 8 + 1, 3))
    scene = np.clip(cv2.resize(large, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC), 0, 250).astype(np.uint8)
    grain = noise.integers(0, 6, (4, height, width, 3), np.uint8)
    for number in range(count):
        yield scene[:height, 3 * number : 3 * number + width] + grain[number % 4]


def encode(path: Path, codec: str, size: tuple[int, int], seconds: int, key_s: int) -> Path:
    """Write a clip."""
    name, options = CODECS[codec]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(name, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.gop_size = key_s * FPS
        for picture in pictures(size, seconds * FPS):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def bare(path: Path, wanted: frozenset[int], stored: Path | None = None, every: bool = False) -> None:
    """Decode with PyAV in one thread up to the last wanted frame; the wanted ones as RGB, to PNG where they go."""
    with av.open(str(path), options={"threads": "1"}) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.options = {"threads": "1"}
        for number, frame in enumerate(container.decode(stream)):
            if every or number in wanted:
                picture = frame.to_ndarray(format="rgb24")
                if stored is not None:
                    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
                    (stored / f"{number}.png").write_bytes(cv2.imencode(".png", bgr, PNG)[1].tobytes())
            if number == max(wanted):
                return


def read_all(path: Path, count: int, limits: video.Limits) -> None:
    for _ in video.read_video(path, range(count), limits):
        pass


def main() -> None:
    given = measure.arguments(__doc__)
    os.environ["SVT_LOG"] = "1"  # the encoder of AV1 prints errors only
    cv2.setNumThreads(1)
    values = read_params(ROOT / "params.yaml")
    limits = check(DecodingSettings, values["decoding"], "decoding").limits
    clip_frames = functools.partial(FrameSettings, every=None, max_per_video=100, format="png", jpg_quality=95)
    some = clip_frames(per_video=TAKEN, max_side=None)
    seconds = 1 if given.quick else SECONDS
    codecs = ["H.264"] if given.quick else [*CODECS]
    sizes = {"720p": SIZES["720p"]} if given.quick else SIZES
    rows, long_rows = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for codec in codecs:
            for title, size in sizes.items():
                clip = encode(folder / f"{codec}-{title}.mp4", codec, size, seconds, KEY_S)
                count = seconds * FPS
                wanted, everything = frozenset(choose(count, some)), frozenset([count - 1])
                ways = {
                    "all": functools.partial(read_all, clip, count, limits),
                    "bare all": functools.partial(bare, clip, everything, every=True),
                    "some": functools.partial(decode.extract, clip, some, limits, folder),
                    "bare some": functools.partial(bare, clip, wanted),
                    "bare stored": functools.partial(bare, clip, wanted, folder),
                }
                ways["some"]()  # the child process is there then
                costs = measure.alternate(ways, given.rounds)
                rows.append(
                    [
                        f"{codec}, {title}",
                        f"{1000 * measure.median(costs['bare all'], 'cpu') / count:.2f}",
                        f"{measure.ratio(costs['all'], costs['bare all'], 'cpu'):.2f}",
                        f"{1000 * measure.median(costs['some'], 'cpu'):.0f}",
                        f"{measure.ratio(costs['some'], costs['bare some'], 'cpu'):.2f}",
                        f"{measure.ratio(costs['some'], costs['bare stored'], 'cpu'):.2f}",
                    ]
                )
        long_s = LONG_KEY_S if given.quick else LONG_S
        short = encode(folder / "short.mp4", "H.264", SIZES["720p"], LONG_KEY_S, LONG_KEY_S)
        repeat(short, folder / "long.mp4", long_s // LONG_KEY_S)
        few, count = clip_frames(per_video=LONG_TAKEN, max_side=None), long_s * FPS
        costs = measure.alternate(
            {
                "few": functools.partial(decode.extract, folder / "long.mp4", few, limits, folder),
                "bare": functools.partial(bare, folder / "long.mp4", frozenset([count - 1])),
            },
            given.rounds,
        )
        long_rows.append(
            [
                f"{measure.median(costs['few'], 'cpu'):.2f}",
                f"{measure.median(costs['bare'], 'cpu'):.2f}",
                f"{measure.ratio(costs['few'], costs['bare'], 'cpu'):.1%}",
            ]
        )
    header = [
        "clip", "bare decoding, CPU ms a frame", "decoding over bare decoding", f"{TAKEN} frames, CPU ms",
        "over bare decoding", "over bare decoding and storing",
    ]  # fmt: skip
    lines = [f"Clips of {seconds} s, {FPS} frames a second.", "", *measure.table(header, rows)]
    long_header = [f"{LONG_TAKEN} frames, CPU s", "decoding all, CPU s", "share"]
    lines += ["", f"A clip of {long_s} s:", "", *measure.table(long_header, long_rows)]
    measure.report("frames", lines, given.quick)


if __name__ == "__main__":
    main()
