"""What the limited decoding process costs: its time over that of decoding in this process.

Clips as the sample renders them, and the videos below $FACESTUDY_TEST_DATA where it is set; what the
stages do with each: look into it, take four frames as PNG. Alternating rounds, the best of each.

    python benchmarks/decode_cost.py
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from facestudy.core.regions import Box
from facestudy.core.settings import check
from facestudy.media import decode, frames, video
from facestudy.media.frames import FrameSettings
from facestudy.media.settings import DecodingSettings
from facestudy.sample.clips import SampleSettings, list_clips, render

ROUNDS = 5
ROOT = Path(__file__).resolve().parent.parent


def seconds(files: Sequence[Path], settings: FrameSettings, limits: video.Limits, limited: bool) -> float:
    """Of probing all files and taking their frames."""
    started = time.perf_counter()
    for file in files:
        with tempfile.TemporaryDirectory() as folder:
            if limited:
                decode.probe(file, limits)
                decode.extract(file, settings, limits, Path(folder))
            else:
                video.probe(file, limits)
                frames.extract(file, settings, limits, Path(folder))
    return time.perf_counter() - started


def compare(name: str, files: Sequence[Path], settings: FrameSettings, limits: video.Limits) -> None:
    decode.probe(files[0], limits)  # the process is there then
    best = {limited: float("inf") for limited in (False, True)}
    for _ in range(ROUNDS):
        for limited in best:
            best[limited] = min(best[limited], seconds(files, settings, limits, limited))
    print(
        f"{name}: {len(files)} files, {1000 * best[False] / len(files):.1f} ms each in this process, "
        f"{1000 * best[True] / len(files):.1f} ms in the limited one, ratio {best[True] / best[False]:.2f}"
    )


def main() -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings = check(FrameSettings, values["frames"], "frames")
    limits = check(DecodingSettings, values["decoding"], "decoding").limits
    with tempfile.TemporaryDirectory() as folder:
        people = check(SampleSettings, {**values["sample"], "people": 10}, "sample")
        boxes = check(dict[str, Box], values["regions"], "regions")
        for clip in list_clips(people):
            render(clip, people, boxes, Path(folder))
        compare("the sample's clips", sorted(Path(folder).glob("*.mp4")), settings, limits)
    outside = os.environ.get("FACESTUDY_TEST_DATA")
    if outside:
        compare("talking heads", sorted(Path(outside, "videos").rglob("*.mp4")), settings, limits)


if __name__ == "__main__":
    main()
