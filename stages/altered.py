"""Cut the test faces of one crop variant with each alteration of the settings: data/altered/<variant>/."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import json
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from facestudy.alterations.altering import altered
from facestudy.alterations.composites import Rest, kept_boxes, with_donors
from facestudy.alterations.donors import donors_for
from facestudy.alterations.recoding import Footage, origins
from facestudy.alterations.settings import ALTERATIONS_FILE, COMPOSITE, RECODED, RobustnessSettings
from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import check
from facestudy.crops.cutting import CropSettings, Variant, faces_from_table, read_colour, resolve, write_crops
from facestudy.media.archive import StorageSettings
from facestudy.media.frames import FrameSettings
from facestudy.media.settings import DecodingSettings
from facestudy.runtime.disk import crop_bytes
from facestudy.runtime.parallel import ComputeSettings
from stages.stage import check_disk_space, output_folder, read_params, run, section

DATA = Path("data")


def main(variant: str) -> str:
    params = read_params()
    settings = section(params, "crops", CropSettings)
    variants = section(params, "crop_variants", dict[str, Variant])
    boxes = section(params, "regions", dict[str, Box])
    feather = check(float, section(params, "sample", dict[str, Any]).get("feather"), "sample.feather")
    plan = resolve(variant, variants, boxes, settings, feather)
    colour = read_colour(DATA / "crops" / variant / "variant.json")

    table, tested = test_faces()
    alterations, footage = section(params, "robustness", RobustnessSettings).alterations(), None
    notes: list[str] = []
    if any(one.kind == RECODED for one in alterations):
        footage = clips_of(params, table)
        if stills := footage.stills():
            alterations = [one for one in alterations if one.kind != RECODED]
            notes += [f"{RECODED} is skipped, as {stills} test faces are from pictures, which have no clip to encode"]
    donors, lacking = donors_for(alterations, tested)
    alterations = [one for one in alterations if one.kind != COMPOSITE or one in donors]
    faces, rest = faces_from_table(table), Rest(DATA / "faces", kept_boxes(boxes), feather) if donors else None
    check_disk_space(len(alterations) * len(faces) * crop_bytes(settings.size))
    storage, compute = section(params, "storage", StorageSettings), section(params, "compute", ComputeSettings)
    archived = storage.archived(len(faces), table["video_id"].nunique())
    with output_folder(DATA / "altered" / variant) as target:
        for one in alterations:
            alter = partial(altered, alteration=one, region=boxes["face"], footage=footage, rest=rest)
            cut = with_donors(faces, donors[one]) if one in donors else faces
            write_crops(cut, DATA / "faces", target / one.name, plan, colour, compute, archived, alter)
        names = json.dumps([one.name for one in alterations]) + "\n"
        (target / ALTERATIONS_FILE).write_text(names, encoding="utf-8")
    count = f"{len(alterations)} alteration{'' if len(alterations) == 1 else 's'}"
    summary = f"{variant}: {len(faces)} test faces, cut with {count}"
    return "; ".join([summary, *notes, *lacking]) + "."


def test_faces() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The faces that are tested in any split, and the rows of the splits that say so."""
    split = tables.read(DATA / "split.csv", tables.SPLIT)
    tested = split[split["subset"] == "test"]
    table = tables.read(DATA / "faces/index.csv", tables.FACES)
    if missing := sorted(set(tested["face_id"]) - set(table["face_id"])):
        raise StudyError(f"data/split.csv has the face {missing[0]}, data/faces/index.csv has not; run `dvc repro`.")
    return table[table["face_id"].isin(tested["face_id"])], tested


def clips_of(params: dict[str, Any], faces: pd.DataFrame) -> Footage:
    """The clips that the faces were cut out of."""
    folder = section(params, "folder", dict[str, Any])
    sources = Path(folder["path"]) if section(params, "source", str) == "folder" else DATA / "videos"
    frames, videos = (
        tables.read(DATA / name / "index.csv", table)
        for name, table in (("frames", tables.FRAMES), ("videos", tables.VIDEOS))
    )
    limits = section(params, "decoding", DecodingSettings).limits
    return Footage(origins(faces, frames, videos, sources), section(params, "frames", FrameSettings), limits)


if __name__ == "__main__":
    run("altered", main, variant="a variant whose crops are made")
