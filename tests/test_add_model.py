"""The steps of "Add a model" in CONTRIBUTING.md: one file, one entry, and no other model is trained again."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pipeline_files import ROOT
from tests.project import environment_for
from tests.test_training import CELL, study

TINY = """
from facestudy.models.layers import p_fake_out, pictures_in
from facestudy.runtime.backend import keras


def tiny(input_size: int, *, batch_norm_momentum: float = 0.99) -> keras.Model:
    pictures, x = pictures_in(input_size, "unit")
    x = keras.layers.Conv2D(2, 3, strides=4)(x)
    return keras.Model(pictures, p_fake_out(keras.layers.GlobalAveragePooling2D()(x)), name="tiny")
"""
KEY = """
from facestudy.models.catalogue import builders
from facestudy.runtime.work_cache import code_below, key_of
print(key_of(code_below("facestudy.training.loop", builders()["meso4"].module)))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the code without results."""
    for name in ("facestudy", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_one_file_and_one_entry_add_a_model(copy: Path) -> None:
    def run(*command: str) -> str:
        done = subprocess.run(["python", *command], cwd=copy, env=environment_for(copy), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    before = run("-c", KEY)
    (copy / "facestudy/models/tiny.py").write_text(TINY)
    assert run("-c", KEY) == before
    study(copy)
    params = (copy / "params.yaml").read_text()
    (copy / "params.yaml").write_text(params.replace("network: meso4", "network: tiny"))
    assert "tiny on full: 1 training (1 run now)" in run("-m", "stages.train", *CELL)
    assert (copy / "predictions/full/tiny/1.csv").is_file()
