"""Fit one model to one crop variant with every seed, score its validation and test faces: models/, predictions/."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from facestudy.core import tables
from facestudy.models.settings import TrainSettings, named_model
from facestudy.runtime.disk import weights_bytes
from facestudy.runtime.parallel import ComputeSettings, has_gpu, map_items
from facestudy.runtime.work_cache import WorkCache, link_or_copy
from facestudy.training.cell import plan, summary, train_one
from facestudy.training.data import crops_and_copies, read_split, store_pictures
from facestudy.training.gaps import gaps
from stages.stage import (
    PARAMS,
    WORK_CACHE,
    check_disk_space,
    check_name,
    not_empty,
    output_file,
    output_folder,
    read_params,
    run,
    section,
)

SPLIT = Path("data/split.csv")
CACHE = WORK_CACHE / "train"


def main(model: str, variant: str) -> str:
    params = read_params()
    check_name(variant)
    settings = named_model(section(params, "models", dict[str, Any]), model, str(PARAMS))
    common = section(params, "train", TrainSettings)
    compute = section(params, "compute", ComputeSettings)
    cell = f"{model} on {variant}"
    splits = read_split(SPLIT)
    folder = Path("data/crops") / variant
    crops = crops_and_copies(folder, splits[1])

    seeds = not_empty(section(params, "seeds", list[int]), "seeds")
    trainings = plan(seeds, variant, splits, settings, [crops["sha256"].tolist(), common.model_dump()])
    cache = WorkCache(CACHE)
    entries = {one.name: found for one in trainings if (found := cache.find(one.key)) is not None}
    missing = [one for one in trainings if one.name not in entries]
    check_disk_space(len(trainings) * weights_bytes(settings.network, settings.width))
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=CACHE) as scratch:
        pictures = Path(scratch) / "pictures.npy"
        store_pictures(folder, crops, pictures)  # refuses altered crops, also where no training is missing
        work = functools.partial(
            train_one,
            splits={number: split[["subset", "label"]] for number, split in splits.items()},
            pictures=pictures,
            settings=settings,
            select_on=common.select_on,
            cache=CACHE,
            cell=cell,
            quiet=len(missing) > 1,
        )
        if has_gpu():  # one training fills it
            compute = compute.model_copy(update={"workers": 1})
        for one, entry in zip(missing, map_items(work, missing, compute, cell), strict=True):
            entries[one.name] = entry

    models, predictions = (Path(name) / variant / model for name in ("models", "predictions"))
    with output_folder(models) as for_models, output_folder(predictions) as for_predictions:
        for one in trainings:
            scored = splits[one.repeat].query("subset != 'train'").copy()
            for name in ("model.weights.h5", "history.csv"):
                link_or_copy(entries[one.name] / name, for_models / one.name / name)
            scored["p_fake"] = np.load(entries[one.name] / "p_fake.npy")
            tables.write(for_predictions / f"{one.name}.csv", scored[tables.PREDICTIONS.names()], tables.PREDICTIONS)
    histories = [pd.read_csv(entries[one.name] / "history.csv") for one in trainings]
    with output_file(Path("metrics/training-gaps") / variant / f"{model}.json") as path:
        path.write_text(json.dumps(gaps(histories), indent=2) + "\n", encoding="utf-8")
    fitted = int((splits[1]["subset"] == "train").sum())
    faces = f"trained on {fitted} faces, {len(splits[1]) - fitted} faces scored"
    return f"{summary(cell, histories, len(missing))}; {faces}."


if __name__ == "__main__":
    run("train", main, model="a key of `models` in params.yaml", variant="a variant whose crops are made")
