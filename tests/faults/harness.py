"""A tiny study in a folder of its own: start it, hurt it, run it again, compare every byte."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from facestudy.runtime.work_cache import file_sha256
from stages.stage import RUNS
from tests.project import ENVIRONMENT, copy_project, deep_update, params

OUTPUTS = ("data", "models", "predictions", "metrics", "reports")
STAGES = (
    "videos", "frames", "faces", "duplicates", "split", "clips", "crops", "altered", "train", "evaluate", "compare",
    "curves", "robustness", "shortcuts", "hypotheses", "attribution", "focus", "report", "page",
)  # fmt: skip
LIMIT_S = 240


def tiny_params() -> dict[str, object]:
    """The project's settings at their smallest: one model, one variant, two seeds."""
    values = deep_update(
        params(),
        {
            "sample": {"people": 10, "seconds": 0.4, "fps": 5},
            "frames": {"per_video": 2},
            "split": {"test": 0.34, "validation": 0.3},
            "crops": {"size": [64, 64], "sheet_faces": 2},
            "seeds": [1, 2],
            "variants": ["eyes_lower"],
            "focus": "eyes_lower",
            "compute": {"workers": 2},
        },
    )
    values["models"] = {"mesonet": {**values["models"]["mesonet"], "input_size": 64, "epochs": 2}}
    return values


def pristine(folder: Path) -> Path:
    """The project with tiny settings, nothing run; every try begins as a copy of it."""
    return copy_project(folder, tiny_params())


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it said (both streams)."""

    code: int
    text: str


class Study:
    """A copy of the pristine project and the `dvc repro` that runs in it."""

    def __init__(self, source: Path, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        shutil.copytree(source, folder, symlinks=True)
        self.environment = {**ENVIRONMENT, "PYTHONPATH": str(folder), **environment}
        self.process: subprocess.Popen[str] | None = None

    def start(self, *command: str) -> None:
        """Begin a command (`dvc repro` unless another is given) in a process group of its own."""
        self.process = subprocess.Popen(
            command or ("dvc", "repro"),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, timeout: float = LIMIT_S) -> Finished:
        """Wait for the command that was begun."""
        assert self.process is not None
        text, _ = self.process.communicate(timeout=timeout)
        return Finished(self.process.returncode, text)

    def run(self, *command: str) -> Finished:
        self.start(*command)
        return self.finish()

    def processes(self) -> list[psutil.Process]:
        """Every process at work in the project's folder, or below the command that was begun."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(self.folder):
                    found.append(process)
        return found

    def stage(self) -> tuple[str, psutil.Process | None]:
        """The running stage's name and process."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                names = [word.removeprefix("stages.") for word in words if word.startswith("stages.")]
                if "-m" in words and names:
                    return names[0], process
        return "no stage", None

    def workers(self) -> list[psutil.Process]:
        """The running stage's worker processes."""
        _, stage = self.stage()
        with contextlib.suppress(psutil.Error):
            return [] if stage is None else stage.children(recursive=True)
        return []

    def wait_for(self, stage: str, workers: bool) -> None:
        """Wait until a stage runs, and has workers where that is asked, or the command ends."""
        assert self.process is not None
        while self.process.poll() is None and (self.stage()[0] != stage or (workers and not self.workers())):
            time.sleep(0.02)

    def hurt(self, target: str, sign: signal.Signals) -> tuple[str, str]:
        """Send a signal to dvc, to the stage, to one worker, or (all) to the whole group as Ctrl-C does.

        Returns whom it reached, and the stage that was running; a stage stands in for a worker, dvc for a stage,
        where there is none.
        """
        assert self.process is not None
        name, stage = self.stage()
        if target == "all":
            os.killpg(self.process.pid, sign)
            return "all", name
        with contextlib.suppress(psutil.Error):
            workers = self.workers() if target == "worker" else []
            if workers:
                workers[-1].send_signal(sign)
                return "worker", name
            if target in ("worker", "stage") and stage is not None:
                stage.send_signal(sign)
                return "stage", name
        self.process.send_signal(sign)
        return "dvc", name

    def outputs(self) -> dict[str, str]:
        """sha256 of everything that a run leaves, outputs and the lock; not the seconds that its stages took."""
        files = [path for name in OUTPUTS for path in (self.folder / name).rglob("*") if path.is_file()]
        files = [path for path in files if path.name != ".gitignore" and path != self.folder / RUNS]
        return {str(path.relative_to(self.folder)): file_sha256(path) for path in (*files, self.folder / "dvc.lock")}


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The names of the files that only one has, or that differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def gone_within(study: Study, seconds: float) -> list[str]:
    """Wait until no process of the study is left; the command lines of those that still are."""
    end = time.monotonic() + seconds
    left = study.processes()
    while left and time.monotonic() < end:
        time.sleep(0.2)
        left = study.processes()
    lines = []
    for process in left:
        with contextlib.suppress(psutil.Error):
            lines.append(" ".join(process.cmdline()))
    return lines


@contextlib.contextmanager
def tmpfs(folder: Path, megabytes: int) -> Iterator[Path]:
    """A small file system of its own, for disks that fill up; needs root."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave_kb: int) -> Path:
    """Write a file that leaves only so much of the folder's disk."""
    balloon = folder / "balloon"
    free = shutil.disk_usage(folder).free
    with balloon.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free - leave_kb * 1024))
    return balloon
