"""Scores of altered test faces of one model on one variant: metrics/robustness/<variant>/<model>.csv."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from dataclasses import replace
from pathlib import Path
from typing import Any

from facestudy.core import tables
from facestudy.core.regions import Box
from facestudy.core.settings import check
from facestudy.crops.cutting import CropSettings, Variant, faces_from_table, read_colour, resolve
from facestudy.dataset.split import SplitSettings
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.evaluation.scores import read_predictions, scores_of
from facestudy.models.settings import named_model
from facestudy.robustness.results import check_same, largest_fall, robustness_table
from facestudy.robustness.scoring import Cropping, altered_scores, select_faces
from facestudy.robustness.settings import RobustnessSettings
from facestudy.runtime.parallel import ComputeSettings, has_gpu
from stages.stage import PARAMS, check_name, not_empty, output_file, read_params, run, section

FACES = Path("data/faces/index.csv")


def main(model: str, variant: str) -> str:
    params = read_params()
    check_name(variant)
    settings = named_model(section(params, "models", dict[str, Any]), model, str(PARAMS))
    boxes = section(params, "regions", dict[str, Box])
    variants = section(params, "crop_variants", dict[str, Variant])
    feather = check(float, section(params, "sample", dict[str, Any]).get("feather"), "sample.feather")
    plan = resolve(variant, variants, boxes, section(params, "crops", CropSettings), feather)
    colour = read_colour(Path("data/crops") / variant / "variant.json")
    cropping = Cropping(FACES.parent, plan, colour, boxes["face"])
    alterations = section(params, "robustness", RobustnessSettings).alterations()
    seeds = not_empty(section(params, "seeds", list[int]), "seeds")
    split = section(params, "split", SplitSettings)
    evaluate = section(params, "evaluate", EvaluateSettings)
    compute = section(params, "compute", ComputeSettings)
    if has_gpu():  # one process fills it
        compute = compute.model_copy(update={"workers": 1})

    faces = faces_from_table(tables.read(FACES, tables.FACES))
    splits = read_predictions(Path("predictions") / variant / model, seeds, split.repeats)
    unaltered, altered = [], []
    for repeat, predictions in enumerate(splits, start=1):
        stored = replace(scores_of(predictions), validation=None)
        names = [tables.training_name(seed, repeat, split.repeats) for seed in seeds]
        weights = [Path("models") / variant / model / name / "model.weights.h5" for name in names]
        tested, cell = select_faces(faces, stored.ids), f"{model} on {variant}"
        first, *others = altered_scores(tested, alterations, cropping, settings, weights, compute, cell)
        check_same(stored, first, [f"{variant}/{model}/{name}" for name in names])
        unaltered.append(stored)
        altered.append([replace(stored, p_fake=p_fake) for p_fake in others])
    by_alteration = dict(zip(alterations, zip(*altered, strict=True), strict=True))
    table = robustness_table(unaltered, by_alteration, evaluate, split.test_share())
    with output_file(Path("metrics/robustness") / variant / f"{model}.csv") as path:
        table.to_csv(path, index=False, encoding="utf-8", lineterminator="\n")
    return (
        f"{model} on {variant}: {table['faces'][0]} test faces unaltered and with {len(alterations)} alterations, "
        f"{len(seeds) * split.repeats} trainings; {largest_fall(table)}"
    )


if __name__ == "__main__":
    run("robustness", main, model="a key of `models` in params.yaml", variant="a variant whose crops are made")
