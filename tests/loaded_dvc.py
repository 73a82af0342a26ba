"""`dvc …` and `commands/remote.py …` in processes forked with DVC loaded, which saves a second each."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

# What the commands load, as far as it is installed.
_LOADED = ("dvc.cli", "dvc.repo", "dvc.repo.index", "dvc_ssh.spec", "dvc_ssh.client", "dvc_s3", "s3fs", "dvc_webdav",
           "webdav4.fsspec", "tests.loaded_dvc")  # fmt: skip
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(_LOADED))


def run(
    folder: Path, environment: Mapping[str, str], command: tuple[str, ...], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; stdout has both streams. Never raises for what the command does."""
    with tempfile.NamedTemporaryFile() as said:
        process = _CONTEXT.Process(target=_become, args=(str(folder), dict(environment), command, said.name))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, process.exitcode, Path(said.name).read_text(), "")


def _become(folder: str, environment: dict[str, str], command: tuple[str, ...], said: str) -> None:
    """In the new process: be the command."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, folder)
    sys.argv = list(command)
    output = os.open(said, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    if command[0] == "dvc":
        from dvc.cli import main

        sys.exit(main(list(command[1:])))
    runpy.run_path(command[0], run_name="__main__")
