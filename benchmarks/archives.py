"""What DVC takes for a hundred thousand pictures as loose files, and as one archive for each video.

A git repository of its own with a DVC remote in a local folder, pictures of random bytes. Each step's
seconds, and their ratio to a plain copy of the same bytes as loose files, the floor for add, push and pull.
Needs free disk of six times the pictures.

    python -m benchmarks.archives [--pictures 100000] [--per-video 50] [--kilobytes 25]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from facestudy.media.archive import SUFFIX, pack, read_bytes

COPIES = 6
"""Work tree, cache and remote; cache and work tree of the clone; and the plain copy before or the margin after."""


def make(folder: Path, pictures: int, per_video: int, size: int, archived: bool) -> list[Path]:
    """Write the pictures, pack each video's where wanted; their paths as the stages' tables have them."""
    paths = []
    for first in range(0, pictures, per_video):
        video = folder / f"v{first // per_video:06d}"
        video.mkdir(parents=True)
        written = [video / f"{number:06d}.png" for number in range(min(per_video, pictures - first))]
        for path in written:
            path.write_bytes(os.urandom(size))
        if archived:
            archive = video.with_suffix(SUFFIX)
            pack(written, archive)
            video.rmdir()
            written = [archive / path.name for path in written]
        paths += written
    return paths


def read(paths: list[Path]) -> None:
    for path in paths:
        read_bytes(path)


def measure(pictures: int, per_video: int, size: int, archived: bool, room: Path) -> dict[str, float]:
    """Seconds of each step, and how many objects DVC's cache holds then."""
    project, clone, remote, copy = (room / name for name in ("project", "clone", "remote", "copy"))
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(room / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(room / "config"),
        "DVC_SYSTEM_CONFIG_DIR": str(room / "config"),
    }  # fmt: skip

    def call(folder: Path, *command: str) -> None:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"`{' '.join(command)}` failed: {done.stderr.strip()[-500:]}")

    seconds: dict[str, float] = {}

    def timed(step: str, work: Callable[[], object]) -> None:
        os.sync()  # what the step before left to be written is not this one's
        started = time.perf_counter()
        work()
        seconds[step] = time.perf_counter() - started
        print(f"  {step}: {seconds[step]:.1f} s", file=sys.stderr, flush=True)

    project.mkdir()
    call(project, "git", "init", "-q", "-b", "main")
    call(project, "dvc", "init", "-q")
    call(project, "dvc", "config", "core.check_update", "false")
    call(project, "dvc", "remote", "add", "-q", "--default", "folder", str(remote))
    paths: list[Path] = []
    timed("write", lambda: paths.extend(make(project / "data", pictures, per_video, size, archived)))
    timed("read", lambda: read(paths))
    timed("plain copy", lambda: shutil.copytree(project / "data", copy))
    shutil.rmtree(copy)
    timed("dvc add", lambda: call(project, "dvc", "add", "-q", "data"))
    timed("dvc status", lambda: call(project, "dvc", "status", "-q"))
    timed("dvc push", lambda: call(project, "dvc", "push", "-q"))
    timed("dvc status --cloud", lambda: call(project, "dvc", "status", "-q", "--cloud"))
    call(project, "git", "add", "-A")
    call(project, "git", "-c", "user.name=b", "-c", "user.email=b@example.org", "commit", "-qm", "pictures")
    call(room, "git", "clone", "-q", str(project), str(clone))
    timed("dvc pull", lambda: call(clone, "dvc", "pull", "-q"))
    pulled = sum(path.stat().st_size for path in (clone / "data").rglob("*") if path.is_file())
    assert pulled >= pictures * size, "the clone should hold every picture"
    objects = sum(path.is_file() for path in (project / ".dvc/cache").rglob("*"))
    return {**seconds, "objects": objects}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--per-video", type=int, default=50)
    parser.add_argument("--kilobytes", type=int, default=25, help="of a picture")
    wanted = parser.parse_args()
    size = 1000 * wanted.kilobytes
    free, need = shutil.disk_usage(tempfile.gettempdir()).free, COPIES * size * wanted.pictures
    if free < need:
        sys.exit(
            f"{need / 1e9:.0f} GB are needed in {tempfile.gettempdir()}, {free / 1e9:.0f} are free; lower --kilobytes"
        )
    found = []
    for archived in (False, True):
        print("archives" if archived else "files", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as room:
            found.append(measure(wanted.pictures, wanted.per_video, size, archived, Path(room)))
    files = found[0]
    floor = files["plain copy"]
    print(
        f"{wanted.pictures} pictures of {wanted.kilobytes} kB, {wanted.per_video} a video: seconds, and times the copy"
    )
    print(f"{'':20}{'files':>10}{'':>8}{'archives':>10}{'':>8}")
    objects = [way.pop("objects") for way in found]
    for step in files:
        cells = "".join(f"{way[step]:10.1f}{way[step] / floor:7.2f}x" for way in found)
        print(f"{step:20}{cells}")
    print(f"{'objects':20}{objects[0]:10.0f}{'':>8}{objects[1]:10.0f}")


if __name__ == "__main__":
    main()
