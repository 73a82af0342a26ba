"""Fit one model to one crop variant with every seed, score its validation and test faces: models/, predictions/."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path
from typing import Any

import pandas as pd

from facestudy.core import tables
from facestudy.models.settings import TrainSettings, named_model
from facestudy.runtime.disk import weights_bytes
from facestudy.runtime.parallel import ComputeSettings
from facestudy.training.cell import plan, read_crops, summary, train_all, write_results
from facestudy.training.data import read_split
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

DATA = Path("data")
CACHE = WORK_CACHE / "train"


def main(model: str, variant: str) -> str:
    params = read_params()
    check_name(variant)
    settings = named_model(section(params, "models", dict[str, Any]), model, str(PARAMS))
    common = section(params, "train", TrainSettings)
    compute = section(params, "compute", ComputeSettings)
    seeds = not_empty(section(params, "seeds", list[int]), "seeds")
    splits = read_split(DATA / "split.csv")
    crops = read_crops(DATA / "crops" / variant, DATA / "altered" / variant, splits[1])

    trainings, cell = plan(seeds, variant, splits, crops, settings, common), f"{model} on {variant}"
    check_disk_space(len(trainings) * weights_bytes(settings.network, settings.width))
    entries, run_now = train_all(trainings, splits, crops, settings, common, compute, CACHE, cell)
    models, predictions = (Path(name) / variant / model for name in ("models", "predictions"))
    with output_folder(models) as for_models, output_folder(predictions) as for_predictions:
        write_results(trainings, entries, splits, crops, for_models, for_predictions)
    histories = [pd.read_csv(entries[one.key] / "history.csv") for one in trainings]
    with output_file(Path("metrics/training") / variant / f"{model}.csv") as path:
        named = [table.assign(training=one.name) for one, table in zip(trainings, histories, strict=True)]
        tables.write(path, pd.concat(named)[tables.TRAININGS.names()], tables.TRAININGS)
    fitted = int((splits[1]["subset"] == "train").sum())
    faces = f"trained on {fitted} faces, {len(splits[1]) - fitted} faces scored"
    return f"{summary(cell, histories, run_now)}; {faces}."


if __name__ == "__main__":
    run("train", main, model="a key of `models` in params.yaml", variant="a variant whose crops are made")
