"""A private copy of the project for tests that run its stages, with settings of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.pipeline_files import ROOT

ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(ROOT),
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "DVC_NO_ANALYTICS": "1",
}


SMALL = {"input_size": 64, "epochs": 1, "warmup_epochs": 0, "schedule": "constant"}
"""Of a model: the least that trains."""


def params() -> dict[str, Any]:
    """The project's own settings as plain values."""
    values: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    return values


def deep_update(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """base with changes put over it, key by key, in place."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            deep_update(base[key], value)
        else:
            base[key] = value
    return base


def write_params(folder: Path, values: Mapping[str, Any]) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True))


def call(folder: Path, *command: str, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder with the project's environment; never raises."""
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout)


def stage(folder: Path, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run one stage's script in a folder that holds params.yaml."""
    return call(folder, sys.executable, "-m", f"stages.{name}", *options)


def copy_project(target: Path, values: Mapping[str, Any] | None = None) -> Path:
    """The project's files as git has them (and new ones), in a repository of its own on branch main.

    What it holds of results and locks is left behind: a fresh start with the given settings.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in listed:
        generated = name.startswith(("metrics/", "predictions/", "reports/")) or name in ("dvc.lock", "data/split.csv")
        if name and not (generated and not name.endswith(".gitignore")) and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    if values is not None:
        write_params(target, values)
    for command in (["git", "init", "-q", "-b", "main"], ["git", "add", "-A"], ["git", "commit", "-qm", "start"]):
        done = call(target, *command)
        assert done.returncode == 0, done.stderr
    return target


def environment_for(folder: Path) -> dict[str, str]:
    """The environment in which a copy's own code runs, not the original's."""
    return ENVIRONMENT | {"PYTHONPATH": str(folder)}
