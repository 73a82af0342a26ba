"""The commands behind `make run` and `make study`: check the settings, run a preset.

python -m commands.study check                     are all settings known and sound?
python -m commands.study results                   print the results table; share what lies in two caches
python -m commands.study run PRESET [KEY=VALUE ...] [--name NAME] [--quick]
    presets/PRESET.yaml over params.yaml, run in a private copy of the project, as the DVC experiment NAME

Without a PRESET `run` takes the environment's PRESET, SET, NAME and QUICK, as make gives them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import yaml
from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from commands.arguments import status_of, switched_on, words
from commands.calibrate import CalibrationSettings
from commands.estimate import Pictures, Timing, estimate, time_model
from commands.private_copy import LOCK, STUDIES, alone, call, check_name, earlier, make_copy, publish, run_pipeline
from facestudy.alterations.settings import RobustnessSettings
from facestudy.attribution.settings import AttributionSettings, chosen_regions
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import Name, Section, check, merge, quoted, read_yaml
from facestudy.core.tables import LABELS
from facestudy.crops.cutting import CropSettings, Variant, check_variants
from facestudy.dataset.duplicates import DuplicateSettings
from facestudy.dataset.split import SplitSettings
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.faces.detection import FaceSettings
from facestudy.media.archive import StorageSettings
from facestudy.media.frames import FrameSettings
from facestudy.media.settings import DecodingSettings
from facestudy.models.settings import ModelSettings, TrainSettings
from facestudy.pseudo_fakes import videos as pseudo_fakes
from facestudy.pseudo_fakes.settings import PseudoFakeSettings
from facestudy.runtime.parallel import ComputeSettings
from facestudy.runtime.work_cache import WorkCache, share
from facestudy.sample.clips import SampleSettings
from facestudy.sources.folder import FolderSettings, list_items
from facestudy.sources.youtube import YoutubeSettings, expected_video_gb, wanted
from stages.stage import PARAMS, WORK_CACHE, read_params

QUICK = "quick"
"""The preset of a trial, merged over any other with QUICK=1."""
TRIAL_EPOCHS = 8
OF_FOLDER = {"folder": LABELS, "pseudo_fakes": pseudo_fakes.LABEL}
"""Sources that read folder.path, and the classes that they need there."""
FILES = ("path", "weights")
"""Keys of lists of links and of models that name a file."""
SOURCE_HEIGHT = 720
"""Pixels; assumed of the videos in a folder, before they are examined."""


class Params(Section):
    """All of params.yaml."""

    source: Literal["sample", "folder", "youtube", "pseudo_fakes"]
    folder: FolderSettings
    youtube: YoutubeSettings
    pseudo_fakes: PseudoFakeSettings
    decoding: DecodingSettings
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
    robustness: RobustnessSettings
    focus: str
    attribution: AttributionSettings
    storage: StorageSettings
    compute: ComputeSettings
    calibrate: CalibrationSettings


def check_params(values: Mapping[str, Any], file: str = str(PARAMS)) -> Params:
    """Check every setting and how they fit together.

    Raises StudyError naming the file, the key, the value and what is allowed.
    """
    params = check(Params, dict(values), "", file)
    check_variants(params.crop_variants, params.regions)
    chosen_regions(params.attribution, params.regions)
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
    return params


def restore_lock(folder: Path = Path()) -> None:
    """Restore the dvc.lock of the project, or of a copy in a folder, when a killed run left it incomplete.

    DVC writes it in place, and cannot read it then.
    """
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        content = (folder / LOCK).read_bytes()
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
        (folder / LOCK).unlink()
    if LOCK.name in call("git", "ls-files", LOCK.name, folder=folder).split():
        call("git", "restore", "--source=HEAD", LOCK.name, folder=folder)
    print(f"{LOCK} is incomplete after an interrupted run; missing stages run again", flush=True)


def preset_settings(name: str | None, settings: list[str], quick: bool = False) -> tuple[Any, Params]:
    """Merge presets/NAME.yaml, the preset of a trial if `quick`, and KEY=VALUE settings into those of params.yaml.

    Without a name there is no preset.
    Returns the merged settings in the form of params.yaml, and as checked values. Raises StudyError that names the
    preset's file, or SET, and the key.
    """
    merged = _writer().load(PARAMS.read_text(encoding="utf-8"))
    layers = [(str(PARAMS), _plain(merged))]
    presets = [] if name is None else [name]
    for preset in [*presets, QUICK] if quick and name != QUICK else presets:
        path = _preset(preset)
        over = read_yaml(path.read_bytes(), str(path)) or {}
        if not isinstance(over, dict):
            raise StudyError(f"{path} should hold sections of params.yaml.")
        merge(merged, _flow(over), str(path))
        if preset == QUICK:
            _shorten(merged["models"])
        layers.append((str(path), _plain(merged)))
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise StudyError(f"SET: {setting!r} is not of the form KEY=VALUE, as in folder.path=/my/videos.")
        nested: Any = _flow(read_yaml(value.encode(), f"SET: {key}"))
        for part in reversed(key.split(".")):
            nested = {part: nested}
        merge(merged, nested, "SET")
        layers.append(("SET", _plain(merged)))
    params = _check_layers(layers)
    check_folder(params)
    return merged, params


def _preset(name: str) -> Path:
    known = sorted(preset.stem for preset in Path("presets").glob("*.yaml"))
    if not name:
        raise StudyError(f"give a preset, as in `make study PRESET=videos`; presets/ has {', '.join(known)}.")
    if name not in known:
        raise StudyError(f"PRESET = {quoted(name)}: presets/ has no such file; it has {', '.join(known)}.")
    return Path("presets") / f"{name}.yaml"


def _shorten(models: Any) -> None:
    """Keep one model, a MesoNet that is trained if there is one, and train it for a few epochs."""
    meso = {name: model for name, model in models.items() if str(model.get("network")).startswith("meso")}
    small = (name for name, model in meso.items() if model.get("epochs"))
    kept = next(small, next(iter(models)))
    for name in list(models):
        if name != kept:
            del models[name]
    models[kept]["epochs"] = min(models[kept]["epochs"], TRIAL_EPOCHS)


def _check_layers(layers: list[tuple[str, dict[str, Any]]]) -> Params:
    """Check the settings after each layer and return those of the last.

    A later layer may correct an earlier one. A problem that remains is a StudyError that names the first layer with it.
    """
    errors: list[tuple[str, StudyError]] = []
    for label, values in layers:
        try:
            params = check_params(values, label)
            errors.clear()
        except StudyError as error:
            errors.append((str(error).removeprefix(label), error))
    if errors:
        raise next(error for text, error in errors if text == errors[-1][0])
    return params


def check_folder(params: Params) -> None:
    """Raise StudyError when the study is about a folder that is missing or lacks a class."""
    if params.source in OF_FOLDER:
        list_items(params.folder, OF_FOLDER[params.source])


def write_settings(merged: Any, folder: Path) -> None:
    """Write settings to the params.yaml of a copy of the project, in which paths to the user's files stay valid."""
    if merged["source"] in OF_FOLDER:
        merged["folder"]["path"] = str(Path(merged["folder"]["path"]).absolute())
    places = [*merged["youtube"]["lists"], *merged["models"].values()]
    for section, key in [(merged["youtube"], "cookies"), *((place, key) for place in places for key in FILES)]:
        path = section.get(key)
        if path and Path(path).exists() and (key == "cookies" or not (folder / path).exists()):
            section[key] = str(Path(path).absolute())
    with (folder / PARAMS).open("w", encoding="utf-8") as file:
        _writer().dump(merged, file)


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


def run_study(preset: str, settings: list[str], name: str = "", quick: bool = False) -> None:
    """Run a preset in a private copy of the project, as the DVC experiment `name`; the work tree stays as it is.

    A trial's name ends in "-trial", so that it never takes the place of a whole study.
    """
    merged, params = preset_settings(preset, settings, quick)
    trial = params.evaluate.trial
    name = name or preset
    if trial and not name.endswith("-trial"):
        name += "-trial"
    check_name(name)
    with alone(name):
        before = earlier(name)
        if before:
            print(f"The study {name} exists ({before}).")
            print("It is replaced when this one has succeeded; another NAME, as in NAME=other, keeps both.")
        if not trial:
            print(expected(params), flush=True)
        folder = make_copy(name, dvc_cache(), Path(params.folder.path) if params.source in OF_FOLDER else None)
        restore_lock(folder)
        write_settings(merged, folder)
        print(f"Running in {folder}/ ...", flush=True)
        if not run_pipeline(folder):
            raise StudyError(
                f"the study {name} did not finish; its files are in {folder}/. Fix the problem above and give the same "
                "command again: finished downloads, frames, faces and trainings are kept."
                f"{' So is the earlier study.' if before else ''}"
            )
        publish(folder, name)
    done = STUDIES / name
    print_results(done, base="HEAD^")
    share_caches()
    if trial:
        print("\nThis was a trial. It shows that the study runs; run it without QUICK=1 for results.")
    branch = call("git", "rev-parse", "--abbrev-ref", "HEAD").strip()
    print(f"\nYour work tree is unchanged. The study is the DVC experiment {name}. To compare it with {branch}:")
    print(f"    dvc metrics diff {branch} {name}")
    print("To bring its settings and results into the work tree (commit your own changes first, they are replaced):")
    print(f"    dvc exp apply {name}")


def expected(params: Params) -> str:
    """How long a run will train and what it will store, as far as the settings and the folder tell."""
    video_gb, height = 0.0, SOURCE_HEIGHT
    if params.source == "sample":
        videos, height = 2 * params.sample.people, params.sample.height
    elif params.source == "folder":
        videos = len(list_items(params.folder))
    elif params.source == "pseudo_fakes":
        videos = (1 + params.pseudo_fakes.per_clip) * len(list_items(params.folder, OF_FOLDER[params.source]))
        video_gb = pseudo_fakes.expected_bytes(params.folder, params.pseudo_fakes) / 1e9
    else:
        videos = len(wanted(params.youtube, WorkCache(WORK_CACHE / "videos"))[0])
        video_gb, height = expected_video_gb(videos, params.youtube), params.youtube.max_height
    frames = videos * (params.frames.per_video or params.frames.max_per_video)
    reduced = round((params.frames.max_side or 1e9) * 9 / 16)
    tested = min(1.0, params.split.repeats * params.split.test_share())  # in any split
    altered = tested * len(params.robustness.alterations())
    pictures = Pictures(
        video_gb, frames, min(height, reduced), params.frames.format, params.crops.size, len(params.variants), altered
    )
    faces = min(frames, 2 * (params.split.faces_per_class or frames))
    workers, timings = params.compute.count(), timed(params)
    return estimate(params.models, timings, params.variants, params.seeds, params.split, faces, pictures, workers)


def timed(params: Params) -> dict[str, Timing]:
    """What each model that is trained costs on this machine, measured in a process that gives its memory back."""
    print("Timing the models ...", flush=True)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        trained = {name: model for name, model in params.models.items() if model.epochs}
        return dict(zip(trained, pool.map(time_model, trained.values(), repeat(params.crops.size)), strict=True))


def dvc_cache() -> Path:
    """Return the folder of this project's DVC cache."""
    return Path(call("dvc", "cache", "dir").strip())


def share_caches() -> None:
    """Link files that are in both the work cache and DVC's cache, so that they take disk space once."""
    saved = share(WORK_CACHE, dvc_cache() / "files" / "md5")
    if saved:
        print(f"freed {saved / 1e9:.2f} GB by linking duplicate cache files")


def print_results(folder: Path = Path(), base: str = "HEAD") -> None:
    """The results table of the project or of a copy, and where the figures are; `base` as in `write_run_page`."""
    page = folder / "metrics/results.md"
    try:
        text = page.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(f"{page} is missing; `make run` makes it.") from None
    print(text)
    for line in text.splitlines():  # again: the top of a long page is out of sight
        if line.startswith("**Warning: "):
            print(line.strip("*"))
    from commands.provenance import PAGE, RUN_PAGE, write_run_page  # imports what draws charts, which takes a second

    print(f"This page: {page}; with charts: {folder / PAGE}. Contact sheets: {folder / 'reports/crops'}/")
    try:
        run_page = write_run_page(folder, base)
    except (StudyError, OSError) as error:
        print(f"study: {folder / RUN_PAGE} was not written: {error}", file=sys.stderr)
    else:
        if run_page:
            print(f"The same page with the revision, the settings, the machine and the seconds by stage: {run_page}")


def run(arguments: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    if arguments.command == "check":
        restore_lock()
        params = check_params(read_params())
        check_folder(params)
        if params.source != "sample":
            print(expected(params), flush=True)
    elif arguments.command == "results":
        print_results()
        share_caches()
    elif arguments.preset is None:
        run_study(os.environ.get("PRESET", ""), words("SET"), os.environ.get("NAME", ""), switched_on("QUICK"))
    else:
        run_study(arguments.preset, arguments.settings, arguments.name, arguments.quick)


def main() -> NoReturn:
    parser = argparse.ArgumentParser(
        "python -m commands.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("check", "results"):
        commands.add_parser(name)
    runner = commands.add_parser("run")
    runner.add_argument("preset", nargs="?")
    runner.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    runner.add_argument("--name", default="", help="of the experiment and the folder in studies/")
    runner.add_argument("--quick", action="store_true", help="a trial of a few minutes")
    arguments = parser.parse_args()
    sys.exit(status_of("study", lambda: run(arguments)))


if __name__ == "__main__":
    main()
