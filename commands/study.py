"""The commands behind `make run` and `make study`: check the settings, run a preset, go back.

python -m commands.study check                     are all settings known and sound?
python -m commands.study results                   print the results table; share what lies in two caches
python -m commands.study run NAME [KEY=VALUE ...]  presets/NAME.yaml over params.yaml, run as DVC experiment NAME
python -m commands.study back                      undo what `run` wrote: parameters, outputs, results

Without a NAME `run` takes the environment's PRESET and SET, as make gives them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from fnmatch import fnmatchcase
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from commands.arguments import words
from commands.calibrate import CalibrationSettings
from commands.estimate import Pictures, Timing, estimate, time_model
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import Name, Section, check, merge, quoted, read_yaml
from facestudy.crops.cutting import CropSettings, Variant, check_variants
from facestudy.dataset.duplicates import DuplicateSettings
from facestudy.dataset.split import SplitSettings
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.faces.detection import FaceSettings
from facestudy.media.archive import StorageSettings
from facestudy.media.frames import FrameSettings
from facestudy.models.settings import ModelSettings, TrainSettings
from facestudy.runtime.parallel import ComputeSettings
from facestudy.runtime.work_cache import WorkCache, share
from facestudy.sample.clips import SampleSettings
from facestudy.sources.folder import FolderSettings, list_items
from facestudy.sources.user_files import called
from facestudy.sources.youtube import YoutubeSettings, expected_video_gb, wanted
from stages.stage import PARAMS, WORK_CACHE, read_params

LOCK = Path("dvc.lock")
WRITTEN = WORK_CACHE / "params.yaml"
"""What `make study` last made of params.yaml."""
ALL_FILES = ("--no-renames", "--untracked-files=all")
SOURCE_HEIGHT = 720
"""Pixels; assumed of the videos in a folder, before they are examined."""


class Params(Section):
    """All of params.yaml."""

    source: Literal["sample", "folder", "youtube"]
    folder: FolderSettings
    youtube: YoutubeSettings
    sample: SampleSettings
    frames: FrameSettings
    faces: FaceSettings
    duplicates: DuplicateSettings
    split: SplitSettings
    regions: dict[Name, Box]
    variants: list[Name]
    crop_variants: dict[Name, Variant]
    crops: CropSettings
    models: dict[Name, ModelSettings]
    seeds: list[Annotated[int, Field(lt=2**32)]]
    train: TrainSettings
    evaluate: EvaluateSettings
    focus: str
    storage: StorageSettings
    compute: ComputeSettings
    calibrate: CalibrationSettings


def check_params(values: Mapping[str, Any], file: str = str(PARAMS)) -> Params:
    """Check every setting and how they fit together.

    Raises StudyError naming the file, the key, the value and what is allowed.
    """
    params = check(Params, dict(values), "", file)
    check_variants(params.crop_variants, params.regions)
    for name in params.variants:
        if name not in params.crop_variants:
            known = ", ".join(params.crop_variants)
            raise StudyError(f"{file}: variants names {name!r}, which crop_variants does not hold (known: {known}).")
    if not params.variants or len(set(params.variants)) < len(params.variants):
        raise StudyError(f"{file}: variants = {quoted(params.variants)}: name one or more different crop_variants.")
    if not params.models:
        raise StudyError(f"{file}: models is empty; name at least one.")
    if not params.seeds or len(set(params.seeds)) < len(params.seeds) or min(params.seeds) < 0:
        raise StudyError(f"{file}: seeds = {quoted(params.seeds)}: give one or more different whole numbers from 0 on.")
    if params.focus not in params.variants:
        known = ", ".join(params.variants)
        raise StudyError(f"{file}: focus = {quoted(params.focus)} is not one of the variants ({known}).")
    if params.source == "folder":
        list_items(params.folder)
    return params


def restore_lock() -> None:
    """Restore dvc.lock when a killed run left it incomplete: DVC writes it in place, and cannot read it then."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        content = LOCK.read_bytes()
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(content.decode()))
        return
    except FileNotFoundError:
        return
    except (Invalid, yaml.YAMLError, UnicodeDecodeError):
        if b"\n<<<<<<< " in b"\n" + content:
            raise StudyError(
                f"{LOCK} holds both sides of a merge; take one (`git checkout --ours {LOCK}` or `--theirs`), "
                f"`git add {LOCK}`, and run again: stages that do not match run again."
            ) from None
        LOCK.unlink()
    if LOCK.name in call("git", "ls-files", LOCK.name).split():
        call("git", "restore", LOCK.name)
    print(f"{LOCK} is incomplete after an interrupted run; missing stages run again", flush=True)


def apply_preset(name: str, settings: list[str]) -> Params:
    """Write presets/NAME.yaml and KEY=VALUE settings over params.yaml, keeping its comments."""
    path = Path("presets") / f"{name}.yaml"
    known = sorted(preset.stem for preset in Path("presets").glob("*.yaml"))
    if not name:
        raise StudyError(f"give a preset, as in `make study PRESET=videos`; presets/ has {', '.join(known)}.")
    if name not in known:
        raise StudyError(f"there is no preset {name!r}; presets/ has {', '.join(known)}.")
    try:
        over = read_yaml(path.read_bytes(), str(path)) or {}
    except OSError as error:
        raise StudyError(f"{path} cannot be read ({error.strerror}).") from None
    if not isinstance(over, dict):
        raise StudyError(f"{path} should hold sections of params.yaml.")
    writer = _writer()
    merged = writer.load(PARAMS.read_text(encoding="utf-8"))
    merge(merged, _flow(over), str(path))
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise StudyError(f"{setting!r} is not of the form KEY=VALUE, as in folder.path=/my/videos.")
        nested: Any = _flow(read_yaml(value.encode(), f"SET {setting}"))
        for part in reversed(key.split(".")):
            nested = {part: nested}
        merge(merged, nested, f"SET {setting}")
    params = check_params(_plain(merged), str(path))
    with PARAMS.open("w", encoding="utf-8") as file:
        writer.dump(merged, file)
    WRITTEN.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PARAMS, WRITTEN)
    return params


def _writer() -> YAML:
    """A reader and writer that keeps the form of params.yaml: comments, quotes, `null`, long lines."""
    writer = YAML()
    writer.width = 200
    writer.preserve_quotes = True
    writer.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return writer


def _flow(value: Any) -> Any:
    """The same value with its lists of plain values marked to be written as in params.yaml, `[a, b]`."""
    if isinstance(value, Mapping):
        return {key: _flow(item) for key, item in value.items()}
    if isinstance(value, list):
        marked = CommentedSeq(map(_flow, value))
        if not any(isinstance(item, Mapping) for item in value):
            marked.fa.set_flow_style()
        return marked
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def call(*command: str) -> str:
    """Run a command and return what it prints; StudyError with its last words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise StudyError(f"`{' '.join(command)}` failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def run_preset(name: str, settings: list[str]) -> None:
    """Run a preset as the DVC experiment of its name; the results are in the work tree then."""
    restore_lock()
    changed = call("git", "status", "--porcelain", "--untracked-files=no").strip()
    if changed:
        raise StudyError(
            f"the work tree has changes ({changed.splitlines()[0].strip()}, …): commit or stash them, or undo an "
            "earlier study with `make back`, before a preset takes the place of params.yaml."
        )
    params = apply_preset(name, settings)
    print(expected(params), flush=True)
    run_experiment(name)
    print_results()
    share_caches()
    branch = call("git", "rev-parse", "--abbrev-ref", "HEAD").strip()
    print(f"\nThis is the experiment {name}: `dvc metrics diff {branch} {name}` compares it with {branch},")
    print(f"`make back` returns to {branch}.")


def run_experiment(name: str) -> None:
    """Run the experiment; an earlier one of the same name is replaced once the new one has succeeded."""
    existing = call("dvc", "exp", "list", "--name-only").split()
    running = f"{name}-running" if name in existing else name
    if running in existing:  # left by an interrupted run
        call("dvc", "exp", "remove", running)
    failed = subprocess.run(["dvc", "exp", "run", "--name", running]).returncode
    if failed:
        raise StudyError("the study stopped; fix the problem above and run it again, or undo it with `make back`.")
    if running != name:
        call("dvc", "exp", "remove", name)
        call("dvc", "exp", "rename", running, name)
        print(f"The earlier experiment {name} is replaced.")


def expected(params: Params) -> str:
    """How long a run will train and what it will store, as far as the settings and the folder tell."""
    video_gb, height = 0.0, SOURCE_HEIGHT
    if params.source == "sample":
        videos, height = 2 * params.sample.people, params.sample.height
    elif params.source == "folder":
        videos = len(list_items(params.folder))
    else:
        videos = len(wanted(params.youtube, WorkCache(WORK_CACHE / "videos"))[0])
        video_gb, height = expected_video_gb(videos, params.youtube), params.youtube.max_height
    frames = videos * (params.frames.per_video or params.frames.max_per_video)
    reduced = round((params.frames.max_side or 1e9) * 9 / 16)
    pictures = Pictures(
        video_gb, frames, min(height, reduced), params.frames.format, params.crops.size, len(params.variants)
    )
    faces = min(frames, 2 * (params.split.faces_per_class or frames))
    workers, timings = params.compute.count(), timed(params)
    return estimate(params.models, timings, params.variants, params.seeds, params.split, faces, pictures, workers)


def timed(params: Params) -> dict[str, Timing]:
    """What each model costs on this machine, measured in a process that gives its memory back."""
    print("Timing the models ...", flush=True)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return dict(
            zip(params.models, pool.map(time_model, params.models.values(), repeat(params.crops.size)), strict=True)
        )


def back() -> None:
    """Undo what `make study` wrote since the last commit: parameters, outputs, results. Other changes stay.

    Raises StudyError when params.yaml was edited after `make study` wrote it.
    """
    changed = {
        line[3:]: line[:2] for line in call("git", "status", "--porcelain", "-z", *ALL_FILES).split("\0") if line
    }
    if PARAMS.name in changed and not (WRITTEN.is_file() and WRITTEN.read_bytes() == PARAMS.read_bytes()):
        raise StudyError(
            f"{PARAMS} is not what `make study` last wrote; commit your changes or undo them "
            f"(`git restore {PARAMS}`), then run `make back` again."
        )
    patterns = [PARAMS.name, LOCK.name, *git_outputs()]
    ours = [path for path in changed if any(fnmatchcase(path, p) or fnmatchcase(path, f"{p}/*") for p in patterns)]
    tracked = [path for path in ours if changed[path] != "??"]
    if tracked:
        call("git", "restore", "--source=HEAD", "--staged", "--worktree", "--", *tracked)
    for path in set(ours) - set(tracked):
        Path(path).unlink()
    try:
        call("dvc", "checkout", "--allow-missing")
    except StudyError as error:
        raise StudyError(
            f"{error} These outputs are not in DVC's cache; `dvc checkout --force` replaces them with those of the "
            "last commit."
        ) from None
    print("back at", call("git", "log", "-1", "--format=%h %s").strip())
    others = sorted(changed.keys() - set(ours))
    if others:
        print("not changed by make study, and left as they are:", ", ".join(others))


def git_outputs() -> list[str]:
    """What the stages write and git tracks: paths in the committed dvc.yaml, with `*` for the values of a matrix."""
    stages = yaml.safe_load(call("git", "show", "HEAD:dvc.yaml"))["stages"].values()
    outputs = [out for stage in stages for out in [*stage.get("outs", []), *stage.get("metrics", [])]]
    return [
        re.sub(r"\$\{[^}]*\}", "*", path)
        for out in outputs
        if isinstance(out, dict)
        for path, options in out.items()
        if options.get("cache") is False
    ]


def share_caches() -> None:
    """Files that the work cache and DVC's cache both hold take their place once from here on."""
    saved = share(WORK_CACHE, Path(call("dvc", "cache", "dir").strip()) / "files" / "md5")
    if saved:
        print(f"freed {saved / 1e9:.2f} GB by linking duplicate cache files")


def print_results() -> None:
    """The results table, and where the figures are."""
    try:
        print(Path("metrics/results.md").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError("metrics/results.md is missing; `make run` makes it.") from None
    print("Metrics: metrics/<variant>/<model>.json, metrics/comparison.csv; contact sheets: reports/")


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m commands.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("check", "results", "back"):
        commands.add_parser(name)
    runner = commands.add_parser("run")
    runner.add_argument("preset", nargs="?")
    runner.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    try:
        if arguments.command == "check":
            restore_lock()
            params = check_params(read_params())
            if params.source != "sample":
                print(expected(params), flush=True)
        elif arguments.command == "results":
            print_results()
            share_caches()
        elif arguments.command == "run" and arguments.preset is None:
            run_preset(os.environ.get("PRESET", ""), words("SET"))
        elif arguments.command == "run":
            run_preset(arguments.preset, arguments.settings)
        else:
            back()
    except StudyError as error:
        sys.exit(f"study: {error}")
    except OSError as error:
        where = f"{called(error.filename)}: " if error.filename else ""
        sys.exit(f"study: {where}{error.strerror or error}; fix this and run again.")


if __name__ == "__main__":
    main()
