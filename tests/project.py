"""A private copy of the project for tests that run its stages, with settings of their own."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from commands.study import Params
from facestudy.core.errors import StudyError
from facestudy.core.settings import check
from facestudy.runtime import environment
from tests import forked
from tests.committed import RESULTS, committed, git
from tests.pipeline_files import ROOT

ENVIRONMENT = (
    os.environ
    | environment.prepare()
    | {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.org",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "DVC_NO_ANALYTICS": "1",
    }
)
"""Of commands that are started as a user starts them; `environment_for` saves most of the seconds."""


SMALL = {"input_size": 64, "epochs": 1, "warmup_epochs": 0, "schedule": "constant"}
"""Of a model: the least that trains."""


@functools.cache
def params_text() -> str:
    """The text of the project's own params.yaml, as committed: the work tree's may be set for another study.

    While settings are being added or renamed, the code refuses the committed file, and the work tree's is used.
    """
    try:
        text = committed("params.yaml")
        check(Params, yaml.safe_load(text), "")
    except StudyError:
        text = (ROOT / "params.yaml").read_text()
    return text


def params() -> dict[str, Any]:
    """The project's own settings as plain values."""
    values: dict[str, Any] = yaml.safe_load(params_text())
    return values


def deep_update(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge changes into base, key by key, in place."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            deep_update(base[key], value)
        else:
            base[key] = value
    return base


def write_params(folder: Path, values: Mapping[str, Any]) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True))


def environment_for(folder: Path) -> dict[str, str]:
    """The environment in which a copy's own code runs, not the original's; `python` and `dvc` are forks there."""
    path = f"{forked.programs()}{os.pathsep}{ENVIRONMENT['PATH']}"
    return ENVIRONMENT | {"PYTHONPATH": str(folder), "PATH": path}


def call(folder: Path, *command: str, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder with the project's environment, `python` and `dvc` as forks; never raises."""
    values = environment_for(ROOT) if command[0] in ("python", "dvc") else ENVIRONMENT
    return subprocess.run(command, cwd=folder, env=values, capture_output=True, text=True, timeout=timeout)


def stage(folder: Path, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run one stage's script in a folder that holds params.yaml."""
    return call(folder, "python", "-m", f"stages.{name}", *options)


def copy_files(target: Path) -> None:
    """The work tree's files that git has or would add, without results."""
    for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and not name.startswith(RESULTS) and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)


def copy_project(target: Path, values: Mapping[str, Any] | None = None) -> Path:
    """The project in a repository of its own on branch main: a fresh start with the given settings, or its own."""
    copy_files(target)
    if values is None:
        (target / "params.yaml").write_text(params_text())
    else:
        write_params(target, values)
    for command in (["git", "init", "-q", "-b", "main"], ["git", "add", "-A"], ["git", "commit", "-qm", "start"]):
        done = call(target, *command)
        assert done.returncode == 0, done.stderr
    return target
