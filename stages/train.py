"""Fit one model to one crop variant with every seed, score the validation and test faces: models/, predictions/."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import functools
import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.settings import NAME_PATTERN, check
from facestudy.models.settings import ModelSettings, TrainSettings, training_seed
from facestudy.runtime import environment
from facestudy.runtime.disk import weights_bytes
from facestudy.runtime.parallel import ComputeSettings, has_gpu, map_items
from facestudy.runtime.work_cache import WorkCache, code_below, file_sha256, key_of, link_or_copy
from facestudy.training.data import check_classes, store_pictures
from stages.stage import WORK_CACHE, check_disk_space, output_folder, read_params, run, section

SPLIT = Path("data/split.csv")
CACHE = WORK_CACHE / "train"


class Training(NamedTuple):
    """One training of the cell: its name, seed and split, the seed of its generators, its work-cache key."""

    name: str
    repeat: int
    seed: int
    key: str


def plan(
    seeds: list[int], variant: str, splits: dict[int, pd.DataFrame], settings: ModelSettings, common: list[object]
) -> list[Training]:
    """The trainings of a cell: every seed on every split.

    The key is a hash of all that decides the bytes of a training. splits: by number, faces in the same order;
    common: what else decides them.
    """
    variables = environment.decisive()
    library = variables["KERAS_BACKEND"]
    weights = Path(settings.weights or "")
    common = [
        common,
        settings.model_dump(),
        file_sha256(weights) if weights.is_file() else None,
        [library, version(library), version("keras"), has_gpu()],
        variables,
        code_below("facestudy.training.loop"),
    ]
    found = []
    for repeat, split in splits.items():
        subsets = [split["subset"].tolist(), split["label"].tolist()]
        for seed in seeds:
            number = training_seed(seed, variant, repeat)
            name = tables.training_name(seed, repeat, len(splits))
            found.append(Training(name, repeat, number, key_of(common, subsets, number)))
    return found


def train_one(
    training: Training,
    splits: dict[int, pd.DataFrame],
    pictures: Path,
    settings: ModelSettings,
    select_on: str,
    cell: str,
    quiet: bool,
) -> Path:
    """Run a training into its work-cache entry. cell: how errors name the model and the variant."""
    from facestudy.training.loop import train_seed  # imports TensorFlow, which takes seconds: only where it is used

    build = functools.partial(
        train_seed,
        split=splits[training.repeat],
        pictures=pictures,
        settings=settings,
        select_on=select_on,
        seed=training.seed,
        quiet=quiet,
    )
    try:
        return WorkCache(CACHE).entry(training.key, build)
    except StudyError as error:
        raise StudyError(f"{cell}, seed {training.name}: {error}") from None


def main(model: str, variant: str) -> str:
    params = read_params()
    declared = section(params, "models", dict[str, Any])
    if model not in declared:
        raise StudyError(f"params.yaml: models has no {model} (it has: {', '.join(declared)}).")
    for name in (model, variant):
        if not re.match(NAME_PATTERN, name):
            raise StudyError(f"{name!r} is not a valid name of a model or variant (letters a-z, digits, _ and -).")
    settings = check(ModelSettings, declared[model], f"models.{model}")
    common = section(params, "train", TrainSettings)
    compute = section(params, "compute", ComputeSettings)
    seeds = section(params, "seeds", list[int])
    if not seeds:
        raise StudyError("params.yaml: seeds is empty; give at least one.")
    place = f"{variant}/{model}"
    cell = f"{model} on {variant}"

    crops = Path("data/crops") / variant
    table = tables.read(SPLIT, tables.SPLIT).query("subset != 'unused'")
    splits = {int(number): part.reset_index(drop=True) for number, part in table.groupby("repeat")}
    for part in splits.values():
        check_classes(part, str(SPLIT))
    split = splits[1]
    index = tables.read(crops / "index.csv", tables.CROPS).set_index("face_id")
    for face_id in split["face_id"]:
        if face_id not in index.index:
            raise StudyError(f"{crops / 'index.csv'} has no crop of the face {face_id} of {SPLIT}; run `dvc repro`.")
    index = index.loc[split["face_id"]]

    trainings = plan(seeds, variant, splits, settings, [index["sha256"].tolist(), common.model_dump()])
    cache = WorkCache(CACHE)
    entries = {one.name: found for one in trainings if (found := cache.find(one.key)) is not None}
    missing = [one for one in trainings if one.name not in entries]
    check_disk_space(len(trainings) * weights_bytes(settings.network, settings.width))
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=CACHE) as scratch:
        pictures = Path(scratch) / "pictures.npy"
        store_pictures(crops, index, pictures)  # refuses altered crops, also where no training is missing
        work = functools.partial(
            train_one,
            splits={number: part[["subset", "label"]] for number, part in splits.items()},
            pictures=pictures,
            settings=settings,
            select_on=common.select_on,
            cell=cell,
            quiet=len(missing) > 1,
        )
        if has_gpu():  # one training fills it
            compute = compute.model_copy(update={"workers": 1})
        for one, entry in zip(missing, map_items(work, missing, compute, cell), strict=True):
            entries[one.name] = entry

    kept = []
    with output_folder(Path("models") / place) as models, output_folder(Path("predictions") / place) as predictions:
        for one in trainings:
            scored = splits[one.repeat].query("subset != 'train'").copy()
            for name in ("model.weights.h5", "history.csv"):
                link_or_copy(entries[one.name] / name, models / one.name / name)
            scored["p_fake"] = np.load(entries[one.name] / "p_fake.npy")
            tables.write(predictions / f"{one.name}.csv", scored[tables.PREDICTIONS.names()], tables.PREDICTIONS)
            kept.append(pd.read_csv(entries[one.name] / "history.csv").query("selected == 1").iloc[0])
    epochs = ", ".join(f"{row['epoch']:.0f}" for row in kept)
    aucs = [row["validation_auc"] for row in kept]
    fitted = int((split["subset"] == "train").sum())
    return (
        f"{cell}: {len(trainings)} training{'s' if len(trainings) > 1 else ''} ({len(missing)} run now), "
        f"{settings.epochs} epochs on "
        f"{fitted} faces; epochs kept: {epochs} "
        f"(validation AUC {min(aucs):.3f} to {max(aucs):.3f}); {len(split) - fitted} faces scored."
    )


if __name__ == "__main__":
    run("train", main, model="a key of `models` in params.yaml", variant="a variant whose crops are made")
