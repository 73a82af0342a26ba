"""The program `facestudy`, as `make env` installs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from commands.__main__ import COMMANDS
from tests.media import write_clip
from tests.pipeline_files import ROOT
from tests.project import ENVIRONMENT, call
from tests.test_predict import write_study

PROGRAM = Path(sys.executable).parent / "facestudy"


def test_it_runs_from_any_folder_without_pythonpath(tmp_path: Path) -> None:
    own = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}
    done = subprocess.run([PROGRAM, "--help"], cwd=tmp_path, env=own, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in COMMANDS)
    if not (ROOT / ".venv").is_symlink():  # not the environment of another clone
        where = [sys.executable, "-P", "-c", "import commands; print(commands.__file__)"]
        done = subprocess.run(where, cwd=tmp_path, env=own, capture_output=True, text=True, check=True)
        assert Path(done.stdout.strip()) == ROOT / "commands/__init__.py"


def test_no_module_of_the_current_folder_is_loaded(tmp_path: Path) -> None:
    """A folder of clips may hold anything, and the program and the processes that it starts may run there."""
    clip = write_clip(tmp_path / "nobody.mp4", count=3)
    study = write_study(tmp_path / "study")
    for name in ("inspect", "random", "json", "sitecustomize", "facestudy", "commands", "cv2", "av", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"open('loaded_{name}', 'w').close()\n")
    words = ["predict", clip.name, "--model", "tiny", "--variant", "full", "--study", str(study)]
    done = subprocess.run([PROGRAM, *words], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert "no usable face in 3 frames" in done.stdout, done.stdout + done.stderr
    assert not list(tmp_path.glob("loaded_*"))


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(tmp_path: Path, name: str) -> None:
    done = call(tmp_path, "facestudy", name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: facestudy {name} ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "facestudy: give a command: predict, export, app; see `facestudy --help`."),
        (["guess"], "facestudy: argument COMMAND: invalid choice: 'guess'"),
        (["predict", "--frames", "0", "a.mp4"], "predict: --frames 0: give 1 to 1000; see `facestudy predict --help`."),
    ],
)
def test_wrong_use_is_one_sentence(tmp_path: Path, words: list[str], sentence: str) -> None:
    done = call(tmp_path, "facestudy", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(sentence) and done.stderr.count("\n") == 1


def test_the_settings_are_those_of_the_project(tmp_path: Path) -> None:
    """A params.yaml in the folder where the program runs belongs to something else."""
    (tmp_path / "params.yaml").write_text("lr: 0.1\n")
    (tmp_path / "a.mp4").write_text("not a video")
    (tmp_path / "weights").mkdir()
    done = call(tmp_path, "facestudy", "predict", "a.mp4", "--weights", "weights")
    assert done.returncode == 1 and "weights/Meso4_DF.h5 is missing" in done.stderr
