"""The tests pass whatever study was run last in the work tree, and while documents are being edited."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from facestudy.core.settings import merge
from tests.committed import RESULTS, committed_files
from tests.pipeline_files import ROOT
from tests.project import call, copy_files, environment_for, params, params_text, write_params

FAST = [
    "tests/test_bad_input.py::test_a_bad_preset_changes_nothing",
    "tests/test_bad_input.py::test_bad_settings_are_refused_by_name",
    "tests/test_calibration.py",
    "tests/test_compare_results.py",
    "tests/test_dvc_yaml.py",
    "tests/test_folder.py",
    "tests/test_lock.py",
    "tests/test_presets.py",
    "tests/test_readme.py",
    "tests/test_regions.py",
    "tests/test_results.py",
    "tests/test_settings.py",
]
SLOW = "small_run or applies_and_resolves or same_bytes_again or by_method or is_timed"
"""Tests in these files that train, start DVC, or compute many intervals."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A commit with the settings that the code accepts; in its work tree the code at hand and another study."""
    folder = tmp_path / "project"
    assert call(tmp_path, "git", "clone", "-q", str(ROOT), str(folder)).returncode == 0
    (folder / "params.yaml").write_text(params_text())
    done = call(folder, "git", "commit", "-q", "--allow-empty", "-m", "settings", "params.yaml")
    assert done.returncode == 0, done.stderr
    copy_files(folder)
    for name in committed_files():
        if name.startswith((*RESULTS, "README.md", "docs/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("other\n")
    values = params()
    merge(values, yaml.safe_load((ROOT / "presets/pictures.yaml").read_text()), "pictures.yaml")
    values |= {
        "regions": {"chin": [0.2, 0.8, 0.8, 1.0]},
        "crop_variants": {"chin": {"regions": ["chin"], "layout": "mask"}},
        "variants": ["chin"],
        "focus": "chin",
        "models": {"mine": values["models"]["mesonet"]},
    }
    write_params(folder, values)
    return folder


def test_other_results_and_settings_fail_no_test(project: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-k", f"not ({SLOW})", *FAST]
    done = subprocess.run(command, cwd=project, env=environment_for(project), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
