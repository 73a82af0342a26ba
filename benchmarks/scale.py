"""What a run costs at other sizes, from the figures of `make profile` in benchmarks/profiles/.

    python -m benchmarks.scale

It writes the tables of docs/scale.md. A stage takes CPU time to start and CPU time for each item. Both come from two
runs on the sample of different sizes, are checked against a third, larger one, and are applied to known data sets with
the cost of an item measured on real clips (`footage_<height>.json`, from `benchmarks.resized_clips`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import measure
from commands.profile import Cost, Profile
from commands.study import preset_settings
from facestudy.core import tables
from facestudy.dataset import duplicates

PROFILES = Path(__file__).parent / "profiles"
DOCUMENT = Path(__file__).parents[1] / "docs/scale.md"
SMALL, LARGE, CHECKED = "sample_40", "sample_400", "sample_2000"
HEIGHTS = (360, 720, 1080)
COMPARED = 20_000
"""Faces that are compared with one another to measure what a pair costs."""
# With `source: folder` there would have to be videos.
FRAMES = preset_settings("videos", ["source=sample"])[1].frames.per_video or 0
"""Of a video."""
PAPER = preset_settings("paper", ["source=sample"])[1]
"""What is trained."""
VARIANTS, SEEDS = len(PAPER.variants), len(PAPER.seeds)
(EPOCHS,) = {model.epochs for model in PAPER.models.values()}
USED = len(tables.LABELS) * (PAPER.split.faces_per_class or 0)
"""Faces."""
TRAINED = (1 - PAPER.split.test) * (1 - PAPER.split.validation)
"""The share of these faces that is trained on."""
KEY_FRAME_S = 5
"""Assumed seconds from one key frame to the next."""


@dataclass(frozen=True)
class Line:
    """What a stage takes of something: to start, and for each item."""

    start: float
    each: float

    def at(self, items: float) -> float:
        return self.start + self.each * items


def line(small: tuple[float, float], large: tuple[float, float]) -> Line:
    """Through two points (items, amount), not falling.

    >>> line((10, 3.0), (30, 5.0))
    Line(start=2.0, each=0.1)
    """
    each = max(0.0, (large[1] - small[1]) / (large[0] - small[0])) if large[0] != small[0] else 0.0
    return Line(max(0.0, small[1] - each * small[0]), each)


@dataclass(frozen=True)
class Dataset:
    """Videos of a length and size."""

    name: str
    videos: int
    seconds: float
    fps: float
    height: int

    @property
    def decoded(self) -> float:
        """Megapixels that are decoded: all, or from the key frame before each wanted frame."""
        frames = min(self.seconds * self.fps, FRAMES * KEY_FRAME_S * self.fps / 2)
        return self.videos * frames * self.height**2 * 16 / 9 / 1e6


DATASETS = (
    Dataset("400 YouTube videos", 400, 300, 30, 720),
    Dataset("FaceForensics++", 5_000, 17, 30, 720),
    Dataset("DFDC", 124_000, 10, 30, 1080),
)


@dataclass(frozen=True)
class Machine:
    """Where a run takes place; `gpu`: trainings one after another on an H100."""

    name: str
    nodes: int
    cores: int
    gpu: bool = False


MACHINES = (
    Machine("laptop, 8 cores", 1, 8),
    Machine("16 cores and an H100", 1, 16, gpu=True),
    Machine("32 nodes of 16 cores", 32, 16),
)


def gpu_seconds() -> dict[str, float]:
    """The seconds of a training on a GPU by model, from the section of `benchmarks.cells` in results.md."""
    found = measure.pattern("cells").search(measure.RESULTS.read_text(encoding="utf-8"))
    assert found is not None
    rows = [line.strip("| ").split(" | ") for line in found[2].splitlines() if line.startswith("| ")]
    times: dict[str, list[float]] = {}
    for model, _, *cells in rows[1:]:
        if cells[0].isdigit():  # trainings, seconds
            times.setdefault(model, []).append(float(cells[1]) / int(cells[0]))
    return {model: sum(seconds) / len(seconds) for model, seconds in times.items()}


def read(name: str) -> Profile:
    """A profile of benchmarks/profiles/."""
    values = json.loads((PROFILES / f"{name}.json").read_text())
    return Profile(**values | {"costs": [Cost(**cost) for cost in values["costs"]]})


def grouped(profile: Profile) -> dict[str, Cost]:
    """The costs by stage; the stages whose items are scores are one row."""
    found: dict[str, Cost] = {}
    for cost in profile.costs:
        name = "evaluate to page" if cost.unit == "scores" else cost.stage
        if name not in found:
            found[name] = Cost(name, cost.unit, cost.items)
        found[name].add(cost)
        found[name].out_bytes += cost.out_bytes
        found[name].floor_s = cost.floor_s
    return found


def lines(small: Profile, large: Profile, what: str) -> dict[str, Line]:
    """By stage, of cpu_s or out_bytes."""
    first, second = grouped(small), grouped(large)
    return {
        name: line((first[name].items, getattr(first[name], what)), (second[name].items, getattr(second[name], what)))
        for name in first
    }


def check(small: Profile, large: Profile, measured: Profile) -> list[str]:
    """What the fitted lines say of a larger run, beside what it took."""
    cpu, out = lines(small, large, "cpu_s"), lines(small, large, "out_bytes")
    rows, totals = [], np.zeros(4)
    for name, cost in grouped(measured).items():
        told = np.array([cpu[name].at(cost.items), cost.cpu_s, out[name].at(cost.items), cost.out_bytes])
        totals += told
        rows.append(_checked(name, f"{cost.items:.0f} {cost.unit}", told))
    rows.append(_checked("all", "", totals))
    return measure.table(
        ["stage", "items", "CPU predicted, s", "measured", "ratio", "MB predicted", "measured", "ratio"], rows
    )


def _checked(name: str, items: str, told: np.ndarray) -> list[str]:
    cpu, cpu_s, out, out_bytes = told
    mb = [f"{out / 1e6:.1f}", f"{out_bytes / 1e6:.1f}", f"{out / out_bytes:.2f}"] if out_bytes else ["", "", ""]
    return [name, items, f"{cpu:.0f}", f"{cpu_s:.0f}", f"{cpu / cpu_s:.2f}", *mb]


def memory(profiles: Mapping[str, Profile]) -> list[str]:
    """The peak of each stage in each run, MB."""
    rows = [
        [name, *(f"{grouped(one)[name].peak_bytes / 1e6:.0f}" for one in profiles.values())]
        for name in grouped(next(iter(profiles.values())))
    ]
    return measure.table(["stage", *profiles], rows)


@dataclass(frozen=True)
class Footage:
    """What real video of one height costs, start-up apart: CPU seconds, and bytes."""

    decoding: float
    """Of a decoded megapixel in `frames`, where about one frame of nine is stored."""
    cpu: dict[str, float]
    """Of an item of a stage."""
    out: dict[str, float]
    """Of an item of a stage."""


def footage(profile: Profile, sample: Mapping[str, Line]) -> Footage:
    """The costs of a run on real video; sample: the lines of the sample, of which the start is taken away."""
    costs = {name: cost for name, cost in grouped(profile).items() if cost.items}
    start = {name: one.start for name, one in sample.items()}
    start["videos"] = start["frames"]  # which starts the same processes; those of the sample are drawn
    spent = {name: max(0.0, cost.cpu_s - start[name]) for name, cost in costs.items() if name in start}
    return Footage(
        spent["frames"] / profile.counts["megapixels of video"],
        {name: seconds / costs[name].items for name, seconds in spent.items()},
        {name: cost.out_bytes / cost.items for name, cost in costs.items()},
    )


def pair_s() -> float:
    """CPU seconds to compare two faces."""
    hashes = np.random.default_rng(0).random((COMPARED, duplicates.BITS)) < 0.5
    videos = pd.Series([f"v{number}" for number in range(COMPARED)])
    started = time.process_time()
    duplicates._alike(videos, hashes, 32)
    return (time.process_time() - started) / (COMPARED**2 / 2)


@dataclass(frozen=True)
class Estimate:
    """CPU seconds of a run by stage: spread over all cores, or on one; trainings; bytes that it stores."""

    spread: dict[str, float]
    single: dict[str, float]
    training: dict[str, float]
    stored: float

    def seconds(self, machine: Machine) -> float:
        """From begin to end, all cores being used perfectly."""
        if machine.gpu:
            seconds = gpu_seconds()
            trained = sum(seconds[name] for name in self.training) * VARIANTS * SEEDS
        elif machine.nodes > 1:  # all trainings at once (docs/cluster.md)
            trainings = len(self.training) * VARIANTS * SEEDS
            trained = max(self.training.values()) * math.ceil(trainings / (machine.nodes * machine.cores))
        else:  # the seeds of a cell at once, cells one after another
            trained = sum(self.training.values()) * VARIANTS * math.ceil(SEEDS / machine.cores)
        return sum(self.spread.values()) / (machine.nodes * machine.cores) + sum(self.single.values()) + trained


def estimate(
    dataset: Dataset, real: Footage, sample: Mapping[str, Line], image: Mapping[str, Line], pair: float, md5: float
) -> Estimate:
    """The costs of a data set, every frame with one face.

    Parameters
    ----------
    dataset
    real
        For its height.
    sample
        The lines of the sample.
    image
        Of the trainings, by model.
    pair
        CPU seconds to compare two faces.
    md5
        CPU seconds of a stored byte in `dvc commit`.
    """
    videos, frames = dataset.videos, dataset.videos * FRAMES
    crops = frames * VARIANTS
    stored = frames * (real.out["frames"] + real.out["faces"]) + crops * real.out["crops"]
    files = frames * (2 + VARIANTS) if frames <= 50_000 else videos * (2 + VARIANTS)  # storage.archive_above
    return Estimate(
        spread={
            "videos": sample["frames"].start + videos * real.cpu["videos"],
            "frames": sample["frames"].start + dataset.decoded * real.decoding,
            "faces": sample["faces"].start + frames * real.cpu["faces"],
            "duplicates: hashes": sample["duplicates"].start + frames * real.cpu["duplicates"],
            "crops": VARIANTS * sample["crops"].start + crops * real.cpu["crops"],
        },
        single={
            "duplicates: pairs": pair * frames**2 / 2,
            "split, clips": sample["split"].at(frames) + sample["clips"].at(videos),
            "shortcuts": sample["shortcuts"].start + USED * real.cpu["shortcuts"],
            "evaluate to page": sample["evaluate to page"].at(USED * (1 - TRAINED) * VARIANTS * SEEDS * len(image)),
            "dvc": sample["dvc commit"].at(files) + stored * md5 + sample["dvc repro"].at(files),
        },
        training={name: one.at(USED * TRAINED * EPOCHS) for name, one in image.items()},
        stored=stored,
    )


def written() -> str:
    """The tables of docs/scale.md, as Markdown."""
    out: list[str] = []
    small, large, measured = read(SMALL), read(LARGE), read(CHECKED)
    sample = lines(small, large, "cpu_s")
    out.append(f"{measured.machine}\n\n### A run of 2,000 clips, predicted from runs of 40 and 400\n")
    out.extend(check(small, large, measured))
    out.append("\n### Peak memory, MB\n")
    out.extend(memory({name: read(name) for name in (SMALL, LARGE, CHECKED)}))

    runs = {height: read(f"footage_{height}") for height in HEIGHTS}
    real = {height: footage(run, sample) for height, run in runs.items()}
    rows = [["frames, per decoded megapixel", *(f"{1000 * one.decoding:.1f}" for one in real.values())]]
    bare = [(grouped(run)["frames"].floor_s or 0.0) / run.counts["megapixels of video"] for run in runs.values()]
    rows.append(["bare decoding, per megapixel", *(f"{1000 * one:.1f}" for one in bare)])
    for name in ("videos", "faces", "duplicates", "crops", "shortcuts"):
        cells = [f"{1000 * one.cpu[name]:.1f}" for one in real.values()]
        rows.append([f"{name}, per {grouped(runs[720])[name].unit.rstrip('s')}", *cells])
    out.append("\n### Real video: CPU ms per item\n")
    out.extend(measure.table(["", *(f"{height} lines" for height in HEIGHTS)], rows))
    rows = [[name, *(f"{one.out[name] / 1e3:.0f}" for one in real.values())] for name in ("frames", "faces", "crops")]
    out.append("\n### Real video: kB per item\n")
    out.extend(measure.table(["", *(f"{height} lines" for height in HEIGHTS)], rows))

    trained = lines(runs[360], runs[720], "cpu_s")
    image = {name.split("(")[1].rstrip(")"): one for name, one in trained.items() if name.startswith("train")}
    rows = []
    for name, one in image.items():
        cost = grouped(runs[720])[f"train ({name})"]
        floor = (cost.floor_s or 0.0) / cost.items
        rows.append([name, f"{1000 * one.each:.1f}", f"{1000 * floor:.1f}", f"{one.start / VARIANTS:.0f}"])
    out.append("\n### Training with the networks of the preset `paper`\n")
    out.extend(measure.table(["network", "CPU ms per picture", "floor, ms", "CPU s to start"], rows))

    stored = sum(cost.out_bytes for cost in runs[720].costs)
    md5 = (grouped(runs[720])["dvc commit"].floor_s or 0) / stored
    pair = pair_s()
    found = {one.name: estimate(one, real[one.height], sample, image, pair, md5) for one in DATASETS}
    parts = [*next(iter(found.values())).spread, *next(iter(found.values())).single]
    rows = [[part, *(f"{(one.spread | one.single)[part] / 3600:.2f}" for one in found.values())] for part in parts]
    rows.append(
        ["training", *(f"{sum(one.training.values()) * VARIANTS * SEEDS / 3600:.0f}" for one in found.values())]
    )
    out.append(f"\n### CPU hours (comparing two faces takes {pair * 1e9:.1f} ns)\n")
    out.extend(measure.table(["", *found], rows))
    rows = [[one.name, *(f"{told.seconds(one) / 3600:.1f} h" for told in found.values())] for one in MACHINES]
    rows.append(["stored", *(f"{told.stored / 1e9:.0f} GB" for told in found.values())])
    out.append("\n### From begin to end\n")
    out.extend(measure.table(["", *found], rows))
    return "\n".join(out)


def main() -> None:
    text = written()
    print(text)
    DOCUMENT.write_text(measure.with_section(DOCUMENT.read_text(encoding="utf-8"), "scale", text), encoding="utf-8")


if __name__ == "__main__":
    main()
