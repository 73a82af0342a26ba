"""A small study in a folder of its own, for programs that measure stages."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import yaml

from facestudy.core.regions import Box
from facestudy.core.settings import check, merge
from facestudy.sample.clips import SampleSettings, list_clips, render
from stages.stage import read_params

ROOT = Path(__file__).resolve().parents[1]
FPS = 10


def prepare(folder: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Write the settings of params.yaml with changes to a folder, and return them."""
    values = read_params(ROOT / "params.yaml")
    merge(values, changes, "benchmarks")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return values


def command(name: str, *options: str) -> list[str]:
    """Return the command of a stage, as dvc.yaml has it."""
    return [sys.executable, "-m", f"stages.{name}", *options]


def environment() -> dict[str, str]:
    """Return the environment of a stage that runs in another folder than the project's."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


def stage(folder: Path, name: str, *options: str) -> None:
    """Run a stage as DVC does, in a process of its own; end the program with its words when it fails."""
    done = subprocess.run(command(name, *options), cwd=folder, env=environment(), capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)


def stage_here(folder: Path, name: str, **options: str) -> None:
    """Run a stage in this process, whose workers are kept for the next one."""
    os.environ["PYTHONPATH"] = str(ROOT)  # of the processes that it starts
    with contextlib.chdir(folder), contextlib.redirect_stderr(io.StringIO()):
        importlib.import_module(f"stages.{name}").main(**options)


def forget(folder: Path, *names: str) -> None:
    """Remove what stages have made, and their work caches."""
    for name in names:
        shutil.rmtree(folder / "data" / name, ignore_errors=True)
        shutil.rmtree(folder / ".cache" / name, ignore_errors=True)


def drawn_clips(folder: Path, count: int, seconds: float, different: int = 20) -> None:
    """Write clips of 640x360 pixels to real/ and fake/: drawn people, each clip a take of one second over and over.

    Parameters
    ----------
    folder : Path
    count : int
        The number of clips, half of them fake.
    seconds : float
        The length of a clip.
    different : int
        How many are drawn; the others have the same pictures and other bytes.
    """
    people = {"people": different // 2, "seconds": 1.0, "fps": FPS, "width": 640, "height": 360}
    values = read_params(ROOT / "params.yaml")
    settings = check(SampleSettings, values["sample"] | people, "sample")
    boxes = check(dict[str, Box], values["regions"], "regions")
    clips, takes = list_clips(settings), folder / "takes"
    for name in ("takes", "real", "fake"):
        (folder / name).mkdir(parents=True)
    for clip in clips[: min(count, different)]:
        render(clip, settings, boxes, takes)
    for number in range(count):
        clip = clips[number % different]
        repeat(takes / f"{clip.video_id}.mp4", folder / clip.label / f"c{number:04d}.mp4", round(seconds), str(number))
    shutil.rmtree(takes)


def repeat(source: Path, target: Path, times: int, comment: str = "") -> None:
    """Write the packets of a video several times in a row, without decoding; another comment gives other bytes."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        written.metadata["comment"] = comment
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        packets = [packet for packet in read.demux(stream) if packet.size]
        length = sum(packet.duration for packet in packets)
        stamps = [(packet.pts, packet.dts) for packet in packets]
        for turn in range(times):
            for packet, (pts, dts) in zip(packets, stamps, strict=True):
                packet.pts, packet.dts, packet.stream = pts + turn * length, dts + turn * length, copy
                written.mux(packet)
