"""Scores of altered test faces by every model on every variant: metrics/robustness.csv."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path
from typing import Any

import pandas as pd

from facestudy.core import tables
from facestudy.core.regions import Box
from facestudy.core.settings import check
from facestudy.crops.cutting import CropSettings, Variant, faces_from_table, read_colour, resolve
from facestudy.dataset.split import SplitSettings
from facestudy.evaluation.comparisons import check_cells
from facestudy.evaluation.scores import read_predictions, scores_of
from facestudy.media.frames import FrameSettings
from facestudy.media.settings import DecodingSettings
from facestudy.models.settings import ModelSettings
from facestudy.robustness.recoding import Footage, places
from facestudy.robustness.results import altered_cells, largest_fall, robustness_table
from facestudy.robustness.scoring import Scoring, Tested, altered_scores, select_faces
from facestudy.robustness.settings import RECODED, RobustnessSettings
from facestudy.runtime.parallel import ComputeSettings, has_gpu
from stages.stage import check_name, not_empty, output_file, read_params, run, section

DATA = Path("data")


def main() -> str:
    params = read_params()
    networks = not_empty(section(params, "models", dict[str, ModelSettings]), "models")
    variants = not_empty(section(params, "variants", list[str]), "variants")
    seeds = not_empty(section(params, "seeds", list[int]), "seeds")
    split = section(params, "split", SplitSettings)
    for name in (*networks, *variants):
        check_name(name)
    stored = {
        model: {
            variant: [
                scores_of(one) for one in read_predictions(Path("predictions") / variant / model, seeds, split.repeats)
            ]
            for variant in variants
        }
        for model in networks
    }
    tested = check_cells(stored)
    table = tables.read(DATA / "faces/index.csv", tables.FACES)
    faces = faces_from_table(table)
    repeats = range(1, split.repeats + 1)
    splits = [
        Tested(select_faces(faces, scores.ids), [tables.training_name(seed, repeat, split.repeats) for seed in seeds])
        for repeat, scores in zip(repeats, tested, strict=True)
    ]
    alterations, note, footage = section(params, "robustness", RobustnessSettings).alterations(), "", None
    if any(one.kind == RECODED for one in alterations):
        footage = clips_of(params, table[table["face_id"].isin([face for scores in tested for face in scores.ids])])
        if stills := footage.stills():
            alterations = [one for one in alterations if one.kind != RECODED]
            note = f"; {RECODED} is left out, as {stills} test faces are from pictures, which have no clip to encode"

    boxes = section(params, "regions", dict[str, Box])
    known, crops = section(params, "crop_variants", dict[str, Variant]), section(params, "crops", CropSettings)
    feather = check(float, section(params, "sample", dict[str, Any]).get("feather"), "sample.feather")
    views = {
        name: (resolve(name, known, boxes, crops, feather), read_colour(DATA / "crops" / name / "variant.json"))
        for name in variants
    }
    scoring = Scoring(DATA / "faces", boxes["face"], alterations, views, networks, Path("models"), footage)
    compute = section(params, "compute", ComputeSettings)
    if has_gpu():  # one process fills it
        compute = compute.model_copy(update={"workers": 1})
    found = altered_scores(splits, scoring, compute) if alterations else []
    cells = altered_cells(stored, found, alterations, [one.trainings for one in splits])
    written = robustness_table(cells, split.test_share())
    with output_file(Path("metrics/robustness.csv")) as path:
        written.to_csv(path, index=False, encoding="utf-8", lineterminator="\n")
    return (
        f"{written['faces'][0]} test faces with {len(alterations)} alterations, {len(networks)} models on "
        f"{len(variants)} variants, {len(seeds) * split.repeats} trainings each; {largest_fall(written)}{note}"
    )


def clips_of(params: dict[str, Any], faces: pd.DataFrame) -> Footage:
    """The clips that the faces were cut out of."""
    folder = section(params, "folder", dict[str, Any])
    sources = Path(folder["path"]) if section(params, "source", str) == "folder" else DATA / "videos"
    frames, videos = (
        tables.read(DATA / name / "index.csv", table)
        for name, table in (("frames", tables.FRAMES), ("videos", tables.VIDEOS))
    )
    limits = section(params, "decoding", DecodingSettings).limits
    return Footage(places(faces, frames, videos, sources), section(params, "frames", FrameSettings), limits)


if __name__ == "__main__":
    run("robustness", main)
