"""The models of a study as detectors, with the settings that they were trained with, from its dvc.lock."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import check, quoted
from facestudy.crops.cutting import Colour, CropSettings, Plan, Variant, read_colour, resolve
from facestudy.faces.detection import FaceSettings
from facestudy.media.frames import FrameSettings
from facestudy.models.settings import ModelSettings
from facestudy.prediction.detectors import Detector, Known, ScoreBin
from facestudy.runtime.work_cache import file_sha256

WEIGHTS = "model.weights.h5"
COMPARED = ("size", "sharpness", "blockiness")
"""Measures of a face that are compared with those of the study's faces."""


class Trained(NamedTuple):
    """A detector of a study, and how the study takes frames and finds faces.

    Attributes
    ----------
    detector : Detector
    frames : FrameSettings
    faces : FaceSettings
    """

    detector: Detector
    frames: FrameSettings
    faces: FaceSettings


def trained(study: Path, model: str, variant: str, training: str = "", sample: bool = False) -> Trained:
    """Read all trainings of a model on a variant, or the named one.

    Parameters
    ----------
    study : Path
        The study's folder, which holds dvc.lock and models/.
    model, variant : str
        Names in the study.
    training : str
        The name of its folder, a seed; "" for all trainings.
    sample : bool
        Allow models that have seen drawn people only.

    Returns
    -------
    Trained
        With the settings that the model was trained with; later edits of params.yaml do not count.

    Raises
    ------
    StudyError
        When there is no such model, or its files are not those of dvc.lock; the message says what is missing.
    """
    lock = _read_lock(study)
    where = f"models/{variant}/{model}"
    if where not in lock.outs:
        known = sorted(f"{quoted(found[2])} on {quoted(found[1])}" for path in lock.outs if (found := _cell(path)))
        raise StudyError(
            f"{lock.path} has no training of {quoted(model)} on {quoted(variant)}; it has {'; '.join(known) or 'none'}."
        )
    source = lock.param("videos", "source")
    if source == "sample" and not sample:
        raise StudyError(
            f"the models of {study} have seen drawn people only (source: sample), so their scores say nothing about "
            "real footage; use the published detectors, or allow it (--allow-sample; in Python allow_sample=True) to "
            "see scores anyway."
        )
    stage = f"train@{model}-{variant}"
    settings = check(ModelSettings, lock.param(stage, f"models.{model}"), f"models.{model}", str(lock.path))
    plan, colour = _crop(study, variant, lock)
    trial = ", a trial" if lock.param("compare", "evaluate").get("trial") else ""
    return Trained(
        Detector(
            f"{model}.{variant}",
            _weights(study, where, lock.outs[where], settings, training),
            plan,
            colour,
            f"the clips of {study.absolute().name} (source: {source}{trial})",
            _measured(study / "metrics" / variant / f"{model}.json"),
            _known(study),
            _bins(study / "metrics/reliability.csv", model, variant),
        ),
        check(FrameSettings, lock.param("frames", "frames"), "frames", str(lock.path)),
        check(FaceSettings, lock.param("faces", "faces"), "faces", str(lock.path)),
    )


def cells(study: Path) -> list[tuple[str, str]]:
    """List what a study has trained.

    Parameters
    ----------
    study : Path
        The study's folder, which holds dvc.lock.

    Returns
    -------
    list of (str, str)
        Model and variant of each cell, sorted by variant.

    Raises
    ------
    StudyError
        When the folder is not a study, or nothing has been trained in it.
    """
    lock = _read_lock(study)
    found = sorted({(match[1], match[2]) for path in lock.outs if (match := _cell(path))})
    if not found:
        raise StudyError(f"{lock.path} has no trained model; `make run` trains those of params.yaml.")
    return [(model, variant) for variant, model in found]


def _cell(path: str) -> re.Match[str] | None:
    return re.fullmatch(r"models/([a-z0-9_]+)/([a-z0-9_]+)", path)


class _Lock(NamedTuple):
    path: Path
    params: Mapping[str, Mapping[str, Any]]
    outs: Mapping[str, str]

    def param(self, stage: str, name: str) -> Any:
        """A section that a stage has read."""
        try:
            return self.params[stage][name]
        except KeyError:
            raise StudyError(f"{self.path} does not say with which {name} {stage} ran; run `dvc repro`.") from None


def _read_lock(study: Path) -> _Lock:
    path = study / "dvc.lock"
    try:
        stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
        params = {name: dict(stage.get("params", {}).get("params.yaml", {})) for name, stage in stages.items()}
        outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    except FileNotFoundError:
        raise StudyError(
            f"{path} is missing, so {study} is not a study; give the project's folder or one in studies/."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        raise StudyError(f"{path} is not a lock file of DVC; `git checkout {path.name}` restores it.") from None
    return _Lock(path, params, outs)


def _crop(study: Path, variant: str, lock: _Lock) -> tuple[Plan, Colour]:
    stage, file = f"crops@{variant}", str(lock.path)
    settings = check(CropSettings, lock.param(stage, "crops"), "crops", file)
    own = check(Variant, lock.param(stage, f"crop_variants.{variant}"), f"crop_variants.{variant}", file)
    boxes = check(dict[str, Box], lock.param(stage, "regions"), "regions", file)
    plan = resolve(variant, {variant: own}, boxes, settings, lock.param(stage, "sample.feather"))
    shown = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (part.rect for part in plan.parts))
    if plan.layout == "stack" and shown == settings.size[0] * settings.size[1]:
        return plan, (0, 0, 0)
    return plan, read_colour(study / "data/crops" / variant / "variant.json")


def _weights(study: Path, where: str, md5: str, settings: ModelSettings, training: str) -> dict[str, Any]:
    """What loads each training; the files are those that dvc.lock names."""
    folder = study / where
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise StudyError(f"{folder} has no models; `make run` or `make pull WHAT=train` brings them.")
    if folder_md5(folder, files) != md5:
        raise StudyError(f"the models in {folder} are not those of dvc.lock; `dvc checkout {where}` restores them.")
    paths = {path.parent.name: path for path in files if path.name == WEIGHTS}
    if training and training not in paths:
        raise StudyError(f"{folder} has no training {quoted(training)}; it has {', '.join(paths)}.")
    chosen = {name: path for name, path in paths.items() if training in ("", name)}
    return {name: functools.cache(functools.partial(_load, settings, path)) for name, path in chosen.items()}


def _load(settings: ModelSettings, path: Path) -> Any:
    from facestudy.models.networks import load

    return load(settings, path, file_sha256(path))


def folder_md5(folder: Path, files: list[Path]) -> str:
    """Compute the checksum that DVC gives to a folder: that of a list of its files and their checksums.

    Parameters
    ----------
    folder : Path
    files : list of Path
        The files in it.

    Returns
    -------
    str
        An md5 in hexadecimal, and ".dir".
    """
    listed = []
    for path in sorted(files, key=lambda path: path.relative_to(folder).parts):
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        listed.append({"md5": md5, "relpath": path.relative_to(folder).as_posix()})
    text = json.dumps(listed, sort_keys=True).encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest() + ".dir"


def _measured(path: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        low, high = (f"{found[f'auc_{end}']:.2f}" for end in ("low", "high"))
        return f"AUC {found['auc']:.2f} [{low}, {high}] on its test faces"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _bins(path: Path, model: str, variant: str) -> list[ScoreBin]:
    try:
        table = pd.read_csv(path)
        own = table[(table["model"] == model) & (table["variant"] == variant)]
        return [
            ScoreBin(float(row["low"]), float(row["high"]), int(row["scores"]), float(row["fake_share"]))
            for row in own.to_dict("records")
        ]
    except (OSError, ValueError, KeyError):
        return []


def _known(study: Path) -> Known:
    """The codecs of the study's clips and the range of its faces, as far as its tables are here."""
    videos, faces, split = (study / "data" / name for name in ("videos/index.csv", "faces/index.csv", "split.csv"))
    if not (videos.is_file() and faces.is_file() and split.is_file()):
        return Known()
    used = tables.read(split, tables.SPLIT).query("subset != 'unused'")
    clips = tables.read(videos, tables.VIDEOS)
    own = tables.read(faces, tables.FACES)
    own = own[own["face_id"].isin(used["face_id"])]
    if own.empty:
        return Known()
    fitted = used.query("subset != 'test'")["video_id"]
    return Known(
        codecs=frozenset(clips.loc[clips["video_id"].isin(used["video_id"]), "codec"]),
        faces={name: tuple(own[name].quantile([0.01, 0.99])) for name in COMPARED},
        trained_on=frozenset(clips.loc[clips["video_id"].isin(fitted), "sha256"]),
    )
