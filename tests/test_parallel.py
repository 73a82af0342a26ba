"""Stages and workers end with whoever started them, and a worker that dies is reported in a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from facestudy.core.errors import StudyError
from facestudy.crops import cutting
from facestudy.crops.cutting import CropSettings
from facestudy.runtime.parallel import ComputeSettings, has_gpu, map_items
from stages import crops
from tests import test_crops
from tests.pipeline_files import ROOT
from tests.project import ENVIRONMENT

TWO = ComputeSettings(workers=2)
SCRIPT = """
import time
from facestudy.crops import cutting
from facestudy.crops.cutting import CropSettings
from facestudy.runtime.parallel import ComputeSettings, map_items
for _ in map_items(time.sleep, [0.01, 0.01, 60, 60], ComputeSettings(workers=2), "sleep"):
    print("one", flush=True)
"""


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_come_in_order() -> None:
    assert list(map_items(abs, [-3, 2, -1, 0], TWO, "abs")) == [3, 2, 1, 0]


def test_a_worker_that_dies_is_a_sentence() -> None:
    with pytest.raises(StudyError, match="a worker process died .* lower compute.workers"):
        list(map_items(die, range(8), TWO, "die"))


def test_mean_colour_ignores_order_and_workers(tmp_path: Path) -> None:
    faces = test_crops.make_faces(tmp_path) * 12
    folder = tmp_path / "data/faces"
    mean = cutting.mean_colour(faces, folder, test_crops.BOXES["face"], ComputeSettings(workers=1))
    assert mean == cutting.mean_colour(faces[::-1], folder, test_crops.BOXES["face"], TWO)
    plan = test_crops.plan_of("full", CropSettings(size=(64, 64)))
    shown = [cutting.crop(cutting.read_cut_out(folder, face), face, plan, test_crops.GREY) for face in faces]
    np.testing.assert_allclose(mean, np.mean(shown, axis=(0, 1, 2)), atol=0.5)


def test_mean_colour_is_computed_once_for_all_variants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    faces, index, whole = test_crops.make_faces(tmp_path), crops.FACES, test_crops.BOXES["face"]
    one = ComputeSettings(workers=1)
    mean = cutting.mean_colour(faces, index.parent, whole, one)
    assert crops.stored_colour(faces, whole, one) == mean
    for face in faces:
        (index.parent / face.path).unlink()
    assert crops.stored_colour(faces, whole, one) == mean
    with pytest.raises(StudyError, match="cannot be read"):
        crops.stored_colour(faces, (0.2, 0.2, 0.5, 0.5), one)
    index.write_text(index.read_text() + "\n")  # other faces
    with pytest.raises(StudyError, match="cannot be read"):
        crops.stored_colour(faces, whole, one)


def test_a_gpu_is_seen_unless_it_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "nvidiactl").touch()
    assert not has_gpu(tmp_path)
    (tmp_path / "nvidia1").touch()
    assert has_gpu(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert not has_gpu(tmp_path)


def test_workers_end_with_the_process_that_was_killed() -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "one\n"
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.kill()
    process.wait()
    end = time.monotonic() + 30
    while any(worker.is_running() for worker in workers) and time.monotonic() < end:
        time.sleep(0.1)
    assert [worker for worker in workers if worker.is_running()] == []
    process.stdout.close()


@pytest.fixture
def slow_imports(tmp_path: Path) -> dict[str, str]:
    """An environment in which no stage gets past its imports."""
    (tmp_path / "pandas.py").write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n")
    return ENVIRONMENT | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}


def test_a_stage_ends_with_dvc_also_while_it_imports(slow_imports: dict[str, str]) -> None:
    script = "import subprocess, sys; subprocess.Popen([sys.executable, '-m', 'stages.compare']).wait()"
    parent = subprocess.Popen([sys.executable, "-c", script], env=slow_imports, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    stage = psutil.Process(int(parent.stdout.readline()))
    assert stage.ppid() == parent.pid
    parent.kill()
    assert psutil.wait_procs([stage], timeout=10)[1] == []


def test_ctrl_c_shows_no_traceback_while_a_stage_imports(slow_imports: dict[str, str]) -> None:
    command = [sys.executable, "-m", "stages.compare"]
    stage = subprocess.Popen(command, env=slow_imports, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert stage.stdout is not None and stage.stdout.readline()
    stage.send_signal(signal.SIGINT)
    assert stage.communicate(timeout=10)[1] == "" and stage.returncode == -signal.SIGINT
