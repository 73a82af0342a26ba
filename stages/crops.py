"""Cut one crop variant of every face: data/crops/<variant>/ and its contact sheet."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import check
from facestudy.crops.contact_sheet import crop_sheet
from facestudy.crops.cutting import (
    Colour,
    CropSettings,
    Variant,
    describe,
    faces_from_table,
    jittered,
    mean_colour,
    read_colour,
    resolve,
    write_crops,
)
from facestudy.crops.jitter import copies_folder
from facestudy.faces.face import Face
from facestudy.media.archive import StorageSettings, write_picture
from facestudy.runtime.disk import crop_bytes
from facestudy.runtime.parallel import ComputeSettings
from facestudy.runtime.work_cache import WorkCache, code_below, file_sha256, key_of
from stages.stage import WORK_CACHE, check_disk_space, output_file, output_folder, read_params, run, section

FACES = Path("data/faces/index.csv")
CROPS = Path("data/crops")
REPORTS = Path("reports/crops")


def main(variant: str) -> str:
    params = read_params()
    settings = section(params, "crops", CropSettings)
    variants = section(params, "crop_variants", dict[str, Variant])
    boxes = section(params, "regions", dict[str, Box])
    compute = section(params, "compute", ComputeSettings)
    feather = check(float, section(params, "sample", dict[str, Any]).get("feather"), "sample.feather")
    storage = section(params, "storage", StorageSettings)
    plan = resolve(variant, variants, boxes, settings, feather)

    faces = faces_from_table(tables.read(FACES, tables.FACES))
    if not faces:
        raise StudyError(f"{FACES} lists no face, so there is nothing to crop; data/faces/dropped.csv says why.")
    copies = plan.jitter.copies if plan.jitter else 0
    check_disk_space((1 + copies) * len(faces) * crop_bytes(settings.size))
    archived = storage.archived(len(faces), len({face.video_id for face in faces}))
    colour = stored_colour(faces, boxes["face"], compute)
    with output_folder(CROPS / variant) as target:
        write_crops(faces, FACES.parent, target, plan, colour, compute, archived)
        for copy in range(1, copies + 1):
            folder = copies_folder(target, copy)
            write_crops(faces, FACES.parent, folder, plan, colour, compute, archived, jittered(plan, copy))
        (target / "variant.json").write_text(describe(plan, colour, len(faces)), encoding="utf-8")
    with output_file(REPORTS / f"{variant}.png") as path:
        write_picture(path, crop_sheet(faces, FACES.parent, plan, colour, settings.sheet_faces))

    real = sum(face.label == "real" for face in faces)
    width, height = plan.size
    placed = (
        f"; placed at random, {plan.overlap:.0%} of it overlaps the original boxes or itself"
        if plan.placement == "random"
        else ""
    )
    copied = f"; {copies} misplaced copies of each, for training" if copies else ""
    return (
        f"{variant}: {len(faces)} faces in, {len(faces)} crops of {width}x{height} out "
        f"({real} real, {len(faces) - real} fake), mean colour {colour[0]} {colour[1]} {colour[2]}{placed}{copied}."
    )


def stored_colour(faces: Sequence[Face], whole: Box, compute: ComputeSettings) -> Colour:
    """The mean colour of the faces, which the first of all variants computes."""

    def build(entry: Path) -> None:
        colour = mean_colour(faces, FACES.parent, whole, compute)
        (entry / "colour.json").write_text(json.dumps({"mean_colour": colour}))

    key = key_of(file_sha256(FACES), whole, code_below("facestudy.crops.cutting"))
    return read_colour(WorkCache(WORK_CACHE / "colour").entry(key, build) / "colour.json")


if __name__ == "__main__":
    run("crops", main, variant="a key of `crop_variants` in params.yaml")
