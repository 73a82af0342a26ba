"""What `make profile` measures, and what `python -m benchmarks.scale` makes of it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import scale
from commands import floors
from commands.profile import Cost, Profile, measured
from facestudy.core import tables
from facestudy.core.errors import StudyError
from tests.project import ENVIRONMENT, call, copy_project, params

BUSY = """
import subprocess, sys, time
held = bytearray(100_000_000)
until = time.process_time() + 0.6
while time.process_time() < until:
    pass
if "again" not in sys.argv:
    subprocess.run([sys.executable, __file__, "again"], check=True)
"""


def test_a_command_is_measured_with_its_children(tmp_path: Path) -> None:
    script = tmp_path / "busy.py"
    script.write_text(BUSY)
    found = measured([sys.executable, str(script)], tmp_path, os.environ)
    assert 1.2 <= found.cpu_s < 2.4
    assert found.wall_s >= 1.2
    assert 200e6 < found.peak_bytes < 320e6  # both at once
    assert found.read_bytes is None or found.read_bytes > 1000


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="`-c .*failed: too late"):
        measured([sys.executable, "-c", "raise SystemExit('too late')"], tmp_path, os.environ)


def test_cells_are_summed_and_the_peak_is_the_largest() -> None:
    cost = Cost("crops", "crops")
    cost.add(Cost("", "", wall_s=1.0, cpu_s=2.0, peak_bytes=5, read_bytes=7))
    cost.add(Cost("", "", wall_s=1.5, cpu_s=0.5, peak_bytes=3, read_bytes=None))
    assert (cost.wall_s, cost.cpu_s, cost.peak_bytes, cost.read_bytes) == (2.5, 2.5, 5, None)


def test_the_table_has_costs_per_item_and_floors() -> None:
    costs = [
        Cost("frames", "frames", 50, 1.0, 2.0, 3_000_000, 4_000_000, 5_000_000, 1.6),
        Cost("focus", "scores", 0, 1.0, 0.5, 1_000_000, None),
    ]
    lines = Profile(costs, {"frames": 50}, "a machine").markdown().splitlines()
    assert lines[2] == "| frames | 1.0 | 2.0 | 3 | 4 | 5.0 | 50 frames | 40.00 | 1.6 | 1.25 |"
    assert lines[3] == "| focus | 1.0 | 0.5 | 1 |  | 0.0 | 0 scores |  |  |  |"
    assert {line.count("|") for line in lines[:4]} == {11}


def test_two_runs_predict_a_third() -> None:
    def run(items: int) -> Profile:
        return Profile([Cost("frames", "frames", items, cpu_s=3 + 0.1 * items, out_bytes=1000 * items)], {}, "")

    line = scale.lines(run(10), run(30), "cpu_s")["frames"]
    assert math.isclose(line.start, 3) and math.isclose(line.at(200), 23)
    row = scale.check(run(10), run(30), run(200))[2]
    assert row == "| frames | 200 frames | 23 | 23 | 1.00 | 0.2 | 0.2 | 1.00 |"


def test_sparse_frames_of_long_videos_do_not_decode_all() -> None:
    short, long = scale.Dataset("", 1, 10, 30, 720), scale.Dataset("", 1, 3600, 30, 720)
    assert math.isclose(short.decoded, 300 * 720 * 1280 / 1e6)
    assert math.isclose(long.decoded, scale.FRAMES * 75 * 720 * 1280 / 1e6)


def test_more_cores_and_nodes_take_less_time() -> None:
    told = scale.Estimate({"faces": 3600.0}, {"dvc": 60.0}, {"mesonet": 100.0}, 0.0)
    assert told.seconds(scale.Machine("", 1, 4)) == 900 + 60 + 2 * 2 * 100  # five seeds on four cores
    assert told.seconds(scale.Machine("", 2, 4)) == 450 + 60 + 2 * 100
    assert told.seconds(scale.Machine("", 1, 4, gpu=True)) == 900 + 60 + 2 * 5 * scale.gpu_seconds()["mesonet"]
    assert set(scale.gpu_seconds()) == set(scale.PAPER.models)


def test_profiles_do_not_name_folders_of_a_machine() -> None:
    for name in ("sample_40", *(f"footage_{height}" for height in scale.HEIGHTS)):
        assert not any("/" in setting for setting in scale.read(name).settings)


@pytest.mark.timeout(900)
def test_a_run_is_profiled_and_leaves_the_work_tree(tmp_path: Path) -> None:
    values = params()
    values["sample"] |= {"people": 8, "seconds": 0.3}
    values["models"] = {"mesonet": values["models"]["mesonet"] | {"epochs": 1, "warmup_epochs": 0}}
    values |= {"variants": ["full"], "seeds": [1], "robustness": {name: [] for name in values["robustness"]}}
    project = copy_project(tmp_path / "project", values)
    state = call(project, "git", "status", "--porcelain").stdout
    environment = ENVIRONMENT | {"PYTHONPATH": str(project), "FILE": "costs.json", "SET": "frames.per_video=1"}
    done = subprocess.run(
        [sys.executable, "-m", "commands.profile"], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = Profile(**json.loads((project / "costs.json").read_text()))
    (project / "costs.json").unlink()
    assert call(project, "git", "status", "--porcelain").stdout == state
    assert not (project / "data/videos").exists() and not list((project / "studies").glob("[!.]*"))
    costs = {cost.stage: cost for cost in (Cost(**cost) for cost in found.costs)}  # type: ignore[arg-type]
    assert found.counts["videos"] == costs["videos"].items == costs["frames"].items == 16
    assert costs["train (mesonet)"].items == found.counts["pictures trained on: train (mesonet)"] > 0
    for name in ("frames", "crops", "train (mesonet)", "dvc commit"):
        assert 0 < (costs[name].floor_s or 0) < costs[name].cpu_s, name
    assert all(cost.cpu_s > 0.1 and cost.peak_bytes > 10e6 for cost in costs.values())
    assert costs["crops"].out_bytes > 16 * 1000


def test_decoding_needs_the_files(tmp_path: Path) -> None:
    row = {"video_id": "a", "label": "real", "path": "a.mp4", "status": "ok"}
    tables.write(tmp_path / "index.csv", tables.to_dataframe([row], tables.VIDEOS), tables.VIDEOS)
    with pytest.raises(FileNotFoundError, match=r"a\.mp4"):
        floors.decoding(tmp_path / "index.csv", tmp_path)
