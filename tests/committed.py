"""What git has of the project, whatever is in the work tree.

Results, documents and settings in the work tree are those of the last study that was run here, or are being edited.
Tests therefore compare committed files with each other.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.pipeline_files import ROOT

RESULTS = (
    "dvc.lock",
    "data/clip_counts.csv",
    "data/clips.csv",
    "data/duplicates.csv",
    "data/split.csv",
    "metrics/",
    "predictions/",
    "reports/",
)
"""What `make run` writes and git tracks."""


def git(*arguments: str, folder: Path = ROOT) -> str:
    """What a git command prints in a repository, by default the project's; CalledProcessError when it fails."""
    return subprocess.run(["git", *arguments], cwd=folder, stdout=subprocess.PIPE, check=True).stdout.decode()


def committed(path: str, folder: Path = ROOT) -> str:
    """The text of a file of the current commit."""
    return git("show", f"HEAD:{path}", folder=folder)


def committed_files(folder: Path = ROOT) -> list[str]:
    """The files of the current commit."""
    return git("ls-tree", "-r", "-z", "--name-only", "HEAD", folder=folder).split("\0")[:-1]
