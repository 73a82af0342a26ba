"""Which parts of the crops the trained models rely on: metrics/attribution.csv, reports/mistakes/.

In dvc.yaml this stage depends on the predictions alone: one stage cannot name the crops and models of every cell, and
with `attribution.faces: 0` it needs none. It refuses crops and models that do not reproduce these predictions.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from facestudy.attribution.cell import Cell, choose_faces, measure
from facestudy.attribution.findings import ATTRIBUTION, summary
from facestudy.attribution.inputs import crop_areas, sights
from facestudy.attribution.mistakes import most_wrong_faces, write_mistakes
from facestudy.attribution.results import attribution_table
from facestudy.attribution.settings import AttributionSettings, chosen_regions
from facestudy.core import tables
from facestudy.core.arrays import Picture
from facestudy.core.regions import Box
from facestudy.core.settings import check
from facestudy.crops.cutting import CropSettings, Plan, Variant, resolve
from facestudy.dataset.split import SplitSettings
from facestudy.evaluation.scores import constant_trainings, read_predictions, subset_scores
from facestudy.models.settings import ModelSettings, training_seed
from facestudy.runtime.parallel import ComputeSettings, has_gpu, map_items
from facestudy.training.data import crops_of_split, read_crop
from stages.stage import not_empty, output_file, output_folder, read_params, run, section

DATA = Path("data")


def main() -> str:
    params = read_params()
    settings = section(params, "attribution", AttributionSettings)
    boxes = section(params, "regions", dict[str, Box])
    models = section(params, "models", dict[str, ModelSettings])
    crops = section(params, "crops", CropSettings)
    known = section(params, "crop_variants", dict[str, Variant])
    feather = check(float, section(params, "sample", dict[str, Any]).get("feather"), "sample.feather")
    plans = [resolve(name, known, boxes, crops, feather) for name in section(params, "variants", list[str])]
    aligned = [plan for plan in plans if plan.plane == "aligned"]
    seeds = not_empty(section(params, "seeds", list[int]), "seeds")
    repeats = section(params, "split", SplitSettings).repeats
    compute = section(params, "compute", ComputeSettings)
    if has_gpu():  # one process fills it
        compute = compute.model_copy(update={"workers": 1})

    regions = chosen_regions(settings, boxes)
    cells = list(read_cells(models, aligned, regions, seeds, repeats, settings.faces)) if settings.faces else []
    measured = map_items(partial(measure, fill=settings.fill), cells, compute, "attribution")
    found = list(zip(cells, measured, strict=True))
    table = attribution_table(found)
    with output_folder(Path("reports/mistakes")) as folder:
        write_mistakes(folder, found)
    with output_file(Path("metrics/attribution.csv")) as path:
        tables.write(path, table, ATTRIBUTION)
    return summary(table)


def read_cells(
    models: Mapping[str, ModelSettings], plans: Sequence[Plan], regions: Mapping[str, Box], seeds: Sequence[int],
    repeats: int, count: int,
) -> Iterator[Cell]:  # fmt: skip
    """Each model on each variant, in the first split: its trainings, some test faces and the areas of their crops."""
    kinds = {"faces": tables.FACES, "frames": tables.FRAMES, "videos": tables.VIDEOS}
    faces, frames, videos = (tables.read(DATA / name / "index.csv", table) for name, table in kinds.items())
    for plan in plans:
        variant, folder = plan.name, DATA / "crops" / plan.name
        for model, settings in models.items():
            predictions = read_predictions(Path("predictions") / variant / model, seeds, repeats)[0]
            chosen = choose_faces(next(iter(predictions.values())), count)
            ids = chosen["face_id"].tolist()
            names, areas, shown = crop_areas(plan, regions, sights(ids, faces, frames, videos, DATA / "videos"))
            wrong = most_wrong_faces(list(predictions.values()))
            trainings = [tables.training_name(seed, 1, repeats) for seed in seeds]
            yield Cell(
                model=model,
                variant=variant,
                settings=settings,
                weights=tuple(Path("models") / variant / model / name / "model.weights.h5" for name in trainings),
                seeds=tuple(training_seed(seed, variant) for seed in seeds),
                stored=np.stack([table.set_index("face_id").loc[ids, "p_fake"] for table in predictions.values()]),
                pictures=read_pictures(folder, chosen, plan),
                fake=(chosen["label"] == "fake").to_numpy(),
                group=pd.factorize(chosen["group"], sort=True)[0],
                shown=shown,
                regions=names,
                areas=areas,
                wrong=wrong,
                wrong_pictures=read_pictures(folder, wrong, plan),
                broken=constant_trainings([subset_scores(predictions, "test")]) > 0,
            )


def read_pictures(folder: Path, faces: pd.DataFrame, plan: Plan) -> Picture:
    """The crops of some faces, of shape (faces, height, width, 3)."""
    crops, (width, height) = crops_of_split(folder / "index.csv", faces), plan.size
    found = [read_crop(folder / path, sha256) for path, sha256 in zip(crops.path, crops.sha256, strict=True)]
    return np.array(found, np.uint8).reshape(-1, height, width, 3)


if __name__ == "__main__":
    run("attribution", main)
