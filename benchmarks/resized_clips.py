"""The same videos at another size, to measure what a run costs at that size: H.264, a key frame every five seconds.

    python -m benchmarks.resized_clips FOLDER OUT HEIGHT

FOLDER has real/ and fake/. A video keeps its proportions and its first 150 frames, and gets about as many pixels as one
of 16:9 of this height.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import av

KEY_FRAME_S = 5
FRAMES = 150


def resize(source: Path, target: Path, height: int) -> None:
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        video = read.streams.video[0]
        rate = video.average_rate or 25
        scale = (height**2 * 16 / 9 / (video.width * video.height)) ** 0.5
        out: Any = written.add_stream("libx264", rate=rate, options={"crf": "23", "g": str(round(KEY_FRAME_S * rate))})
        out.width, out.height = (2 * round(side * scale / 2) for side in (video.width, video.height))
        out.pix_fmt = "yuv420p"
        out.codec_context.time_base = 1 / rate
        for number, frame in enumerate(itertools.islice(read.decode(video), FRAMES)):
            resized: Any = frame.reformat(out.width, out.height, "yuv420p", interpolation="BICUBIC")
            resized.pts, resized.time_base = number, 1 / rate
            written.mux(out.encode(resized))
        written.mux(out.encode())


def main() -> None:
    folder, out, height = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    for source in sorted(folder.glob("*/*.mp4")):
        target = out / source.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        resize(source, target, height)


if __name__ == "__main__":
    main()
