"""What each stage of a run costs: `make profile`.

python -m commands.profile [--file costs.json]

PRESET, SET and QUICK override settings of params.yaml, as in `make study`. All stages run in a private copy of the
project with empty caches, which is removed at the end; the work tree does not change. The command prints a Markdown
table and writes the same figures to FILE (or --file) as JSON, for `python -m benchmarks.scale`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from commands import floors
from commands.arguments import Parser, status_of, switched_on, words
from commands.machine import machine
from commands.private_copy import alone, make_copy, remove
from commands.study import OF_FOLDER, Params, preset_settings, write_settings
from facestudy.core import tables
from facestudy.core.errors import StudyError

NAME = ".profile"
"""Of the private copy; no study can have it."""
SAMPLE_S = 0.2
UNITS = {
    "videos": "videos",
    "frames": "frames",
    "faces": "frames",
    "duplicates": "faces",
    "split": "faces",
    "clips": "videos",
    "crops": "crops",
    "altered": "altered crops",
    "train": "pictures trained on",
    "shortcuts": "faces",
    "dvc commit": "files",
    "dvc repro": "files",
}
"""What a stage's items are; of the stages not named here, scores."""
DVC = {"dvc commit": ["--force", "--quiet"], "dvc repro": ["--quiet"]}
"""What DVC does after the stages, and its options: it stores all outputs, then finds that there is nothing to do."""
FOLDER = "folder.path="
PACKAGES = ("tensorflow", "keras", "numpy", "opencv-python-headless", "av", "dvc")


@dataclass
class Cost:
    """What one stage took, all its cells together.

    Attributes
    ----------
    stage : str
        With the model, for trainings.
    unit : str
        What its items are.
    items : float
    wall_s, cpu_s : float
        Seconds; CPU with that of all processes that it started.
    peak_bytes : int
        The largest sum, over its processes, of anonymous memory (where the system tells only resident memory, of that).
        Pages that a process shares with the one it was forked from count for both.
    read_bytes : int or None
        What its processes read from files and from each other, program files included, memory-mapped files not; None
        where the system does not tell.
    out_bytes : int
        Its outputs.
    floor_s : float or None
        CPU seconds of the same work in the bare library.
    """

    stage: str
    unit: str
    items: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    read_bytes: int | None = 0
    out_bytes: int = 0
    floor_s: float | None = None

    def add(self, other: Cost) -> None:
        """Count another cell of the stage."""
        self.wall_s += other.wall_s
        self.cpu_s += other.cpu_s
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)
        self.read_bytes = None if None in (self.read_bytes, other.read_bytes) else self.read_bytes + other.read_bytes  # type: ignore[operator]


@dataclass(frozen=True)
class Profile:
    """The costs of a run, how many things of each kind it had, and the machine."""

    costs: list[Cost]
    counts: dict[str, float]
    machine: str
    settings: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table."""
        head = "stage | wall, s | CPU, s | peak, MB | read, MB | out, MB | items | CPU per item, ms | floor, s | ratio"
        lines = [f"| {head} |", "|" + "---|" * len(head.split("|"))]
        for one in self.costs:
            read = "" if one.read_bytes is None else f"{one.read_bytes / 1e6:.0f}"
            each = f"{1000 * one.cpu_s / one.items:.2f}" if one.items else ""
            floor = ("", "") if not one.floor_s else (f"{one.floor_s:.1f}", f"{one.cpu_s / one.floor_s:.2f}")
            cells = (
                f"{one.wall_s:.1f}",
                f"{one.cpu_s:.1f}",
                f"{one.peak_bytes / 1e6:.0f}",
                read,
                f"{one.out_bytes / 1e6:.1f}",
                f"{one.items:.0f} {one.unit}",
                each,
                *floor,
            )
            lines.append(f"| {one.stage} | {' | '.join(cells)} |")
        told = ", ".join(f"{value:.4g} {name}" for name, value in self.counts.items())
        return "\n".join([*lines, "", f"{self.machine}.", f"The run had {told}."])


def measured(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Cost:
    """Run a command and measure it with the processes that it starts.

    Raises StudyError with its last words when it fails.
    """
    started, used = time.monotonic(), {}
    peak = 0
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=subprocess.STDOUT)
        root = psutil.Process(process.pid)
        while root.status() != psutil.STATUS_ZOMBIE:  # ended, and not yet waited for
            memory = 0
            for one, cpu_s, anonymous in samples(root):
                used[one] = cpu_s
                memory += anonymous
            peak = max(peak, memory)
            time.sleep(SAMPLE_S)
        wall_s = time.monotonic() - started
        read = root.io_counters().read_chars if hasattr(root, "io_counters") else None
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            last = (said.read().strip().splitlines() or ["no message"])[-1]
            raise StudyError(f"`{shlex.join(command[1:])}` failed: {last}")
    # The kernel adds up only children that were waited for, samples miss the last moments of each process.
    cpu_s = max(usage.ru_utime + usage.ru_stime, sum(used.values()))
    return Cost("", "", wall_s=wall_s, cpu_s=cpu_s, peak_bytes=peak, read_bytes=read)


def samples(root: psutil.Process) -> Iterator[tuple[psutil.Process, float, int]]:
    """The CPU seconds and bytes of anonymous memory of a process and its descendants; some may end meanwhile."""
    with suppress(psutil.Error):
        for one in (root, *root.children(recursive=True)):
            with suppress(psutil.Error), one.oneshot():
                cpu, memory = one.cpu_times(), one.memory_info()
                yield one, cpu.user + cpu.system, memory.rss - getattr(memory, "shared", 0)


def size_of(paths: Sequence[Path]) -> int:
    """The bytes of files, and of the files below folders."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return sum(file.stat().st_size for file in files)


def run_stages(folder: Path) -> tuple[list[Cost], dict[str, list[Path]]]:
    """Run all stages of the copy in `folder`, then let DVC store the outputs, then run `dvc repro` with nothing to do.

    Returns the costs, and the outputs of each.
    """
    from dvc.repo import Repo

    environment = os.environ | {"PYTHONPATH": str(folder.absolute())}
    with Repo(str(folder)) as repo:
        cells = [(shlex.split(stage.cmd)[1:], [Path(out.fs_path) for out in stage.outs]) for stage in repo.index.stages]
    commands = [(label(command), command, outs) for command, outs in cells]
    commands += [(name, ["-m", *name.split(), *options], []) for name, options in DVC.items()]
    costs: dict[str, Cost] = {}
    outputs: dict[str, list[Path]] = {}
    for name, command, outs in commands:
        found = measured([sys.executable, *command], folder, environment)
        print(f"profile: {shlex.join(command[1:])}: {found.wall_s:.0f} s", file=sys.stderr, flush=True)
        costs.setdefault(name, Cost(name, UNITS.get(name.split(" (")[0], "scores"))).add(found)
        outputs.setdefault(name, []).extend(outs)
        costs[name].out_bytes += size_of(outs)
    return list(costs.values()), outputs


def label(command: Sequence[str]) -> str:
    """What a stage's row is called; command: the arguments of python.

    >>> label(["-m", "stages.train", "--model", "vgg19", "--variant", "full"]), label(["-m", "stages.frames"])
    ('train (vgg19)', 'frames')
    """
    stage = command[1].removeprefix("stages.")
    return f"{stage} ({command[command.index('--model') + 1]})" if stage == "train" else stage


def rows_of(path: Path) -> int:
    """The number of rows of a table."""
    return len(pd.read_csv(path, usecols=[0]))


def count(folder: Path, params: Params, outputs: Mapping[str, Sequence[Path]]) -> dict[str, float]:
    """How many things of each kind the run in `folder` had."""
    videos = tables.read(folder / "data/videos/index.csv", tables.VIDEOS).query("status == 'ok'")
    frames = tables.read(folder / "data/frames/index.csv", tables.FRAMES)
    split = tables.read(folder / "data/split.csv", tables.SPLIT)
    predictions = [
        path
        for name, outs in outputs.items()
        for out in outs
        if name.startswith("train") and out.parts[-3] == "predictions"
        for path in out.glob("*[0-9].csv")
    ]
    trained = {
        f"train ({name})": (split["subset"] == "train").sum() * len(params.seeds) * len(params.variants) * model.epochs
        for name, model in params.models.items()
    }
    root = source_of_videos(folder, params)
    pixels = videos["width"] * videos["height"] * videos["fps"] * videos["duration_s"]
    return {
        "videos": len(videos),
        "seconds of video": float(videos["duration_s"].sum()),
        "megapixels of video": float(pixels.sum()) / 1e6,
        "bytes of video": size_of([root / path for path in videos["path"]]),
        "frames": len(frames),
        "megapixels of frames": float((frames["width"] * frames["height"]).sum()) / 1e6,
        "faces": rows_of(folder / "data/faces/index.csv"),
        "crops": sum(map(rows_of, (folder / "data/crops").rglob("index.csv"))),
        "altered crops": sum(map(rows_of, (folder / "data/altered").rglob("index.csv"))),
        "scores": sum(map(rows_of, predictions)),
        "files": sum(path.is_file() for path in (folder / ".dvc/cache").rglob("*")),
        **{f"pictures trained on: {name}": int(number) for name, number in trained.items()},
    }


def source_of_videos(folder: Path, params: Params) -> Path:
    """The folder that the paths of the videos are relative to."""
    return Path(params.folder.path) if params.source == "folder" else folder / "data/videos"


def with_floors(costs: Sequence[Cost], folder: Path, params: Params) -> None:
    """Measure the floors, each in a process without other work."""
    crops = list((folder / "data/crops").rglob("index.csv"))
    work: dict[str, tuple[Any, ...]] = {
        "frames": (floors.decoding, folder / "data/videos/index.csv", source_of_videos(folder, params)),
        "crops": (floors.pictures, folder / "data/faces/index.csv", crops),
        "dvc commit": (floors.hashing, folder / ".dvc/cache"),
    }
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        trained = {name: model for name, model in params.models.items() if model.epochs}
        work |= {f"train ({name})": (floors.training, model, params.crops.size) for name, model in trained.items()}
    for one in costs:
        if one.stage in work:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                seconds = pool.submit(*work[one.stage]).result()
            one.floor_s = seconds * (one.items if one.stage.startswith("train") else 1)


def profile(preset: str | None, settings: list[str], quick: bool = False) -> Profile:
    """Run the study with these settings in a private copy, and measure it."""
    merged, params = preset_settings(preset, settings, quick)
    with alone(NAME):
        folder = make_copy(NAME, None, Path(params.folder.path) if params.source in OF_FOLDER else None)
        try:
            write_settings(merged, folder)
            costs, outputs = run_stages(folder)
            counts = count(folder, params, outputs)
            for one in costs:
                one.items = counts.get(f"{one.unit}: {one.stage}", counts.get(one.unit, 0.0))
            with_floors(costs, folder, params)
        finally:
            remove(folder)
    return Profile(costs, counts, machine(PACKAGES), [*([preset] if preset else []), *map(portable, settings)])


def portable(setting: str) -> str:
    """Leave out where a folder is on this machine.

    >>> portable("folder.path=/my/videos"), portable("frames.per_video=4")
    ('folder.path=videos', 'frames.per_video=4')
    """
    return f"{FOLDER}{Path(setting).name}" if setting.startswith(FOLDER) else setting


def main() -> int:
    parser = Parser("profile", __doc__)
    parser.add_argument("--file", default=os.environ.get("FILE", ""), help="gets the figures as JSON")
    out = parser.parse_args().file

    def work() -> None:
        found = profile(os.environ.get("PRESET") or None, words("SET"), switched_on("QUICK"))
        print(found.markdown())
        if out:
            Path(out).write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")

    return status_of("profile", work)


if __name__ == "__main__":
    sys.exit(main())
