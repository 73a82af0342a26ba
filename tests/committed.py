"""What git has of the project, whatever lies in the work tree.

Results, documents and settings in the work tree are those of the last study that was run here, or are being edited.
Tests therefore compare committed files with each other.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.pipeline_files import ROOT

RESULTS = ("dvc.lock", "data/duplicates.csv", "data/split.csv", "metrics/", "predictions/", "reports/")
"""What `make run` writes and git tracks."""


def git(*arguments: str, folder: Path = ROOT) -> str:
    """Run git in the project.

    Parameters
    ----------
    *arguments : str
        Of git.
    folder : Path
        The root of another repository.

    Returns
    -------
    str
        What git prints. The calling test is skipped where the folder is not a repository, as in a source archive.

    Raises
    ------
    subprocess.CalledProcessError
        When git fails.
    """
    if not (folder / ".git").exists():
        pytest.skip(f"{folder} is not a git repository, so there are no committed files", allow_module_level=True)
    return subprocess.run(["git", *arguments], cwd=folder, stdout=subprocess.PIPE, check=True).stdout.decode()


def committed(path: str, folder: Path = ROOT) -> str:
    """Read a text file of the current commit.

    Parameters
    ----------
    path : str
        Relative to the root of the repository.
    folder : Path
        The root of another repository.

    Returns
    -------
    str
        The file's text.

    Raises
    ------
    subprocess.CalledProcessError
        When the commit does not have the file.
    """
    return git("show", f"HEAD:{path}", folder=folder)


def committed_files(folder: Path = ROOT) -> list[str]:
    """List the files of the current commit.

    Parameters
    ----------
    folder : Path
        The root of another repository.

    Returns
    -------
    list of str
        Paths relative to the root of the repository.
    """
    return git("ls-tree", "-r", "-z", "--name-only", "HEAD", folder=folder).split("\0")[:-1]
