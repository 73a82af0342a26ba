"""Fit one model to one crop variant with every seed, score the validation and test faces: models/, predictions/."""

from __future__ import annotations

import argparse
import functools
import os
import re
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from facestudy import tables
from facestudy.disk import weights_bytes
from facestudy.errors import StudyError
from facestudy.labelled import check_classes, store_pictures
from facestudy.model_settings import ModelSettings, TrainSettings
from facestudy.parallel import ComputeSettings, has_gpu, map_items
from facestudy.settings import NAME_PATTERN, check
from facestudy.work_cache import WorkCache, code_below, file_sha256, key_of, link_or_copy
from stages.stage import WORK_CACHE, needs, output_folder, read_params, run, section

SPLIT = Path("data/split.csv")
CACHE = WORK_CACHE / "train"
ENVIRONMENT = ("ONEDNN_MAX_CPU_ISA", "TF_ENABLE_ONEDNN_OPTS")
"""Variables that change how TensorFlow computes."""


def entry_keys(
    seeds: list[int], sha256: list[str], split: pd.DataFrame, settings: ModelSettings, train: TrainSettings
) -> dict[int, str]:
    """The work-cache key of each seed: a hash of all that decides the bytes of a training.

    sha256: of the crops, in the order of `split`.
    """
    library = os.environ.get("KERAS_BACKEND", "tensorflow")
    weights = Path(settings.weights or "")
    common = [
        sha256,
        split["subset"].tolist(),
        split["label"].tolist(),
        settings.model_dump(),
        train.model_dump(),
        file_sha256(weights) if weights.is_file() else None,
        [library, version(library), version("keras"), has_gpu()],
        [os.environ.get(name) for name in ENVIRONMENT],
        code_below("facestudy.training"),
    ]
    return {seed: key_of(common, seed) for seed in seeds}


def one_seed(
    item: tuple[int, str],
    split: pd.DataFrame,
    pictures: Path,
    settings: ModelSettings,
    select_on: str,
    cell: str,
    quiet: bool,
) -> Path:
    """Train with one seed into its work-cache entry. item: the seed and the key; cell: how errors name the model."""
    from facestudy.training import train_seed  # imports TensorFlow, which takes seconds: only where it is used

    seed, key = item
    build = functools.partial(
        train_seed, split=split, pictures=pictures, settings=settings, select_on=select_on, seed=seed, quiet=quiet
    )
    try:
        return WorkCache(CACHE).entry(key, build)
    except StudyError as error:
        raise StudyError(f"{cell}, seed {seed}: {error}") from None


def main() -> str:
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("--model", required=True, help="a key of `models` in params.yaml")
    parser.add_argument("--variant", required=True, help="a variant whose crops are made")
    arguments = parser.parse_args()

    params = read_params()
    if arguments.model not in params["models"]:
        raise StudyError(f"params.yaml: models has no {arguments.model} (it has: {', '.join(params['models'])}).")
    for name in (arguments.model, arguments.variant):
        if not re.match(NAME_PATTERN, name):
            raise StudyError(f"{name!r} is no name of a model or variant (letters a-z, digits, _ and -).")
    settings = check(ModelSettings, params["models"][arguments.model], f"models.{arguments.model}")
    common = section(params, "train", TrainSettings)
    compute = section(params, "compute", ComputeSettings)
    seeds = section(params, "seeds", list[int])
    if not seeds:
        raise StudyError("params.yaml: seeds is empty; give at least one.")
    place = f"{arguments.variant}/{arguments.model}"
    cell = f"{arguments.model} on {arguments.variant}"

    crops = Path("data/crops") / arguments.variant
    split = tables.read(SPLIT, tables.SPLIT).query("subset != 'unused'").reset_index(drop=True)
    check_classes(split, str(SPLIT))
    index = tables.read(crops / "index.csv", tables.CROPS).set_index("face_id")
    for face_id in split["face_id"]:
        if face_id not in index.index:
            raise StudyError(f"{crops / 'index.csv'} has no crop of the face {face_id} of {SPLIT}; run `dvc repro`.")
    index = index.loc[split["face_id"]]

    keys = entry_keys(seeds, index["sha256"].tolist(), split, settings, common)
    entries = {seed: found for seed, key in keys.items() if (found := WorkCache(CACHE).find(key)) is not None}
    missing = [(seed, key) for seed, key in keys.items() if seed not in entries]
    needs(len(seeds) * weights_bytes(settings.network, settings.width))
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=CACHE) as scratch:
        pictures = Path(scratch) / "pictures.npy"
        store_pictures(crops, index, pictures)  # refuses altered crops, also where no seed is missing
        work = functools.partial(
            one_seed,
            split=split[["subset", "label"]],
            pictures=pictures,
            settings=settings,
            select_on=common.select_on,
            cell=cell,
            quiet=len(missing) > 1,
        )
        if has_gpu():  # one training fills it
            compute = compute.model_copy(update={"workers": 1})
        for (seed, _), entry in zip(missing, map_items(work, missing, compute, cell), strict=True):
            entries[seed] = entry

    scored = split[split["subset"] != "train"].copy()
    kept = []
    with output_folder(Path("models") / place) as models, output_folder(Path("predictions") / place) as predictions:
        for seed in keys:
            for name in ("model.weights.h5", "history.csv"):
                link_or_copy(entries[seed] / name, models / str(seed) / name)
            scored["p_fake"] = np.load(entries[seed] / "p_fake.npy")
            tables.write(predictions / f"{seed}.csv", scored[tables.PREDICTIONS.names()], tables.PREDICTIONS)
            kept.append(pd.read_csv(entries[seed] / "history.csv").query("selected == 1").iloc[0])
    epochs = ", ".join(f"{row['epoch']:.0f}" for row in kept)
    aucs = [row["validation_auc"] for row in kept]
    return (
        f"{cell}: {len(keys)} seed{'s' if len(keys) > 1 else ''} ({len(missing)} trained now), "
        f"{settings.epochs} epochs on {(split['subset'] == 'train').sum()} faces; epochs kept: {epochs} "
        f"(validation AUC {min(aucs):.3f} to {max(aucs):.3f}); {len(scored)} faces scored."
    )


if __name__ == "__main__":
    run("train", main)
