"""The private copy of the project in which a study runs, so that nothing in the work tree changes.

studies/NAME.unfinished/ is a clone with the files of the work tree as they are now. DVC's cache and the work cache are
the project's own. A study that has succeeded becomes the DVC experiment NAME, and its folder studies/NAME/.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager, suppress
from pathlib import Path

import yaml

from facestudy.core.errors import StudyError
from facestudy.core.settings import quoted
from stages.stage import PARAMS, WORK_CACHE

LOCK = Path("dvc.lock")
STUDIES = Path("studies")
UNFINISHED = ".unfinished"
NAME_PATTERN = r"[a-z0-9][a-z0-9_.-]*"
MAX_UNTRACKED_MB = 10
"""Larger files that git does not track are data, not code or settings, and are not copied."""


def call(*command: str, folder: Path = Path(), given: str | None = None) -> str:
    """Run a command and return what it prints; StudyError with its last words when it fails."""
    done = subprocess.run(
        command, cwd=folder, input=given, capture_output=True, encoding="utf-8", errors="surrogateescape"
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise StudyError(f"`{' '.join(command)}` failed: {said[-1]}")
    return done.stdout


def check_name(name: str) -> None:
    """Raise StudyError for a name that cannot be that of a folder and of an experiment."""
    if not re.fullmatch(NAME_PATTERN, name) or ".." in name or name.endswith((".", ".lock", UNFINISHED)):
        raise StudyError(f"NAME = {quoted(name)}: give letters a-z, digits, `_`, `.` and `-`, as in NAME=first-try.")
    if _git_finds(name):
        raise StudyError(f"NAME = {name} is a branch, tag or commit of this repository; give the study another name.")


def _git_finds(name: str) -> bool:
    command = ["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
    return subprocess.run(command, capture_output=True).returncode == 0


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Keep a second study of this name from running at the same time; StudyError while one runs."""
    STUDIES.mkdir(exist_ok=True)
    with (STUDIES / f".{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(f"a study {name} is running; wait for it to end, or give another NAME.") from None
        yield


def earlier(name: str) -> str:
    """Describe the existing study of a name, by its source and date; "" if there is none."""
    for line in reversed(_experiments(name, "%(committerdate:iso) ")):
        made, ref = line.rsplit(" ", 1)
        params = yaml.safe_load(call("git", "show", f"{ref}:{PARAMS}"))
        source = params["source"]
        place = f", folder.path {params['folder']['path']}" if source in ("folder", "pseudo_fakes") else ""
        return f"source {source}{place}, made {made[:16]}"
    return "without results" if (STUDIES / name).exists() else ""


def _experiments(name: str, fields: str = "") -> list[str]:
    """List the refs of the DVC experiments of a name on any commit, oldest first, each after its `fields`."""
    pattern = f"refs/exps/*/*/{name}"
    command = ["git", "for-each-ref", "--sort=committerdate", f"--format={fields}%(refname)", pattern]
    return call(*command).splitlines()


def make_copy(name: str, cache: Path | None, skip: Path | None) -> Path:
    """Make the folder in which the study runs. It replaces the folder of an interrupted run.

    Parameters
    ----------
    name
        Of the study.
    cache
        The project's DVC cache, which the copy shares, like its work cache. None: the copy has empty ones.
    skip
        A folder whose untracked files the study does not need in the copy: the user's videos.
    """
    for leftover in STUDIES.glob(".removed-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = STUDIES / f"{name}{UNFINISHED}"
    remove(folder)
    call("git", "clone", "--quiet", "--local", str(Path.cwd()), str(folder))
    _copy_changes(folder, skip)
    WORK_CACHE.mkdir(exist_ok=True)
    for shared in (Path(".venv"), *([WORK_CACHE] if cache else [])):
        if shared.exists() and not os.path.lexists(folder / shared):
            (folder / shared).symlink_to(shared.absolute())
    _configure_dvc(folder, cache or folder.absolute() / ".dvc/cache")
    return folder


def remove(folder: Path) -> None:
    """Remove a folder at once, also while a process that is ending still writes into it."""
    if folder.exists():
        aside = Path(tempfile.mkdtemp(prefix=".removed-", dir=STUDIES))
        folder.rename(aside / folder.name)
        shutil.rmtree(aside, ignore_errors=True)


def _copy_changes(folder: Path, skip: Path | None) -> None:
    """Bring the files of a clone to the state of the work tree, and its index to what git tracks there."""
    changed = _names("git", "diff-index", "--name-only", "--no-renames", "-z", "HEAD")
    untracked = _names("git", "ls-files", "--others", "--exclude-standard", "-z")
    if skip is not None:
        untracked = [name for name in untracked if not Path(name).absolute().is_relative_to(skip.absolute())]
    large = [name for name in untracked if Path(name).lstat().st_size > MAX_UNTRACKED_MB * 1e6]
    if large:
        more = f" and {len(large) - 3} more" if len(large) > 3 else ""
        print(
            f"Untracked files of more than {MAX_UNTRACKED_MB} MB are not copied into the study's folder: "
            f"{', '.join(map(quoted, large[:3]))}{more}."
        )
    for name in changed:
        target = folder / name
        if target.is_symlink() or target.is_file():
            target.unlink()
    files = [name for name in changed + untracked if Path(name).is_symlink() or Path(name).is_file()]
    for name in set(files).difference(large):
        target = folder / name
        if target.is_dir():
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, target, follow_symlinks=False)
    _add(folder, [name for name in files if name in changed])


def _names(*command: str) -> list[str]:
    return [name for name in call(*command).split("\0") if name]


def _add(folder: Path, names: list[str]) -> None:
    """Run `git add` for the paths that exist, and for changed files that git tracks."""
    there = [name for name in names if os.path.lexists(folder / name)]
    call("git", "add", "--update", folder=folder)
    command = ["git", "--literal-pathspecs", "add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul"]
    if there:
        call(*command, folder=folder, given="\0".join(there))


def _configure_dvc(folder: Path, cache: Path) -> None:
    """Give the copy the user's own DVC settings and the project's cache, from which files are linked."""
    from dvc.config import Config

    own = Path(".dvc/config.local")
    if own.is_file():
        shutil.copy2(own, folder / own)
    with Config(dvc_dir=str(folder / ".dvc"), validate=False).edit("local", validate=False) as local:
        local.setdefault("cache", {}).update(dir=str(cache), type="reflink,hardlink,copy")
        local.setdefault("core", {})["autostage"] = True


def run_pipeline(folder: Path) -> bool:
    """Run `dvc repro` in the copy and return whether it succeeded. Outputs in DVC's cache are reused."""
    from dvc.cli import main as dvc

    _remove_stale(folder)
    with chdir(folder):
        os.environ["PYTHONPATH"] = str(Path.cwd())
        dvc(["checkout", "--quiet", "--allow-missing"])
        return dvc(["repro"]) == 0


def _outputs(folder: Path) -> dict[str, bool]:
    """Map each output of the copy's pipeline to whether DVC caches it."""
    from dvc.repo import Repo

    with Repo(str(folder)) as repo:
        return {os.path.relpath(out.fs_path, repo.root_dir): out.use_cache for out in repo.index.outs}


def _remove_stale(folder: Path) -> None:
    """Remove results of stages that the study does not have, such as those of other models."""
    lock = folder / LOCK
    stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"].values() if lock.exists() else []
    locked = {out["path"] for stage in stages for out in stage.get("outs", [])}
    for path in locked - _outputs(folder).keys():
        place = folder / path
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        with suppress(OSError):  # where something else is left
            os.removedirs(place.parent)


def publish(folder: Path, name: str) -> None:
    """Store the folder's results as the DVC experiment `name`, replacing earlier ones, and rename the folder."""
    base = call("git", "rev-parse", "HEAD", folder=folder).strip()
    _add(folder, [path for path, cached in _outputs(folder).items() if not cached] + [str(LOCK)])
    author = [word for key in ("name", "email") for word in ("-c", f"user.{key}={_identity(key)}")]
    commit = ["commit", "--quiet", "--allow-empty", "--no-gpg-sign", "-m", f"study {name}"]
    call("git", *author, "-c", "core.hooksPath=/dev/null", *commit, folder=folder)
    revision = call("git", "rev-parse", "HEAD", folder=folder).strip()
    call("git", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(folder.absolute()), "HEAD")
    ref = f"refs/exps/{base[:2]}/{base[2:]}/{name}"
    deleted = [f"delete {other}\n" for other in _experiments(name) if other != ref]
    call("git", "update-ref", "--stdin", given=f"update {ref} {revision}\n{''.join(deleted)}")  # all or none
    remove(STUDIES / name)
    folder.rename(STUDIES / name)


def _identity(key: str) -> str:
    """Get the user's name or email from git. A commit needs both, so the project's name is the default."""
    found = subprocess.run(["git", "config", f"user.{key}"], capture_output=True, text=True).stdout.strip()
    return found or "facestudy"
