"""What the limited decoding process costs: its time over that of decoding in this process.

Clips as the sample renders them, and the videos below $FACESTUDY_TEST_DATA where it is set; what the
stages do with each: look into it, take the frames of params.yaml as PNG.

    python -m benchmarks.decode_cost [--quick]
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import measure
from benchmarks.study import ROOT
from facestudy.core.regions import Box
from facestudy.core.settings import check
from facestudy.media import decode, frames, video
from facestudy.media.frames import FrameSettings
from facestudy.media.settings import DecodingSettings
from facestudy.sample.clips import SampleSettings, list_clips, render
from stages.stage import read_params

WAYS = HERE, LIMITED = ("here", "limited")


def take(files: Sequence[Path], settings: FrameSettings, limits: video.Limits, way: str) -> None:
    """Look into all files and take their frames."""
    for file in files:
        with tempfile.TemporaryDirectory() as folder:
            if way == LIMITED:
                decode.probe(file, limits)
                decode.extract(file, settings, limits, Path(folder))
            else:
                video.probe(file, limits)
                frames.extract(file, settings, limits, Path(folder))


def row(
    name: str, files: Sequence[Path], settings: FrameSettings, limits: video.Limits, rounds: int
) -> Sequence[object]:
    """Measure with some files; the cells of their row."""
    decode.probe(files[0], limits)  # the process is there then
    costs = measure.alternate({way: functools.partial(take, files, settings, limits, way) for way in WAYS}, rounds)
    each = [f"{1000 * measure.median(costs[way]) / len(files):.1f}" for way in WAYS]
    return [name, len(files), *each, f"{measure.ratio(costs[LIMITED], costs[HERE]):.2f}"]


def main() -> None:
    given = measure.arguments(__doc__)
    values = read_params(ROOT / "params.yaml")
    settings = check(FrameSettings, values["frames"], "frames")
    limits = check(DecodingSettings, values["decoding"], "decoding").limits
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        people = check(SampleSettings, {**values["sample"], "people": 2 if given.quick else 10}, "sample")
        boxes = check(dict[str, Box], values["regions"], "regions")
        for clip in list_clips(people):
            render(clip, people, boxes, Path(folder))
        rows.append(row("the sample's clips", sorted(Path(folder).glob("*.mp4")), settings, limits, given.rounds))
    outside = os.environ.get(measure.TEST_DATA)
    if outside and not given.quick:
        files = sorted(Path(outside, "videos").rglob("*.mp4"))
        rows.append(row("talking heads", files, settings, limits, given.rounds))
    header = ["files", "number", "in this process, ms each", "in the limited one, ms each", "ratio"]
    measure.report("decode_cost", measure.table(header, rows), given.quick)


if __name__ == "__main__":
    main()
