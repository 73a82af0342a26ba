"""What cutting crops costs, over warping and writing the same pixels with OpenCV, in one process and one thread.

    python -m benchmarks.crops [--quick] [--people N]

The faces of a sample of N people (60), found by the stages. "Bare" reads each cut-out, warps each part of the crop with
a matrix that is computed before, and writes the PNG. The stage also looks at all faces once for their mean colour,
checks and computes hashes, and draws the contact sheet; each is reported apart.
"""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks import measure
from benchmarks.study import prepare, stage
from facestudy.core import tables
from facestudy.core.arrays import FloatArray
from facestudy.core.regions import Box
from facestudy.core.settings import check
from facestudy.crops.contact_sheet import crop_sheet
from facestudy.crops.cutting import (
    CropSettings,
    Plan,
    Variant,
    faces_from_table,
    mean_colour,
    plane_to_cut,
    resolve,
    write_crops,
)
from facestudy.faces.face import Face
from facestudy.media.archive import read_picture
from facestudy.runtime.parallel import ComputeSettings

ONE = ComputeSettings(workers=1)
Warp = tuple[FloatArray, int, tuple[int, int, int, int]]
"""Of a part: matrix for cv2.warpAffine, samples for each pixel and axis, and its place in the crop."""


def warps(face: Face, plan: Plan) -> list[Warp]:
    """Compute what OpenCV needs for each part of a crop, as facestudy.crops.cutting.warp does."""
    matrix = plane_to_cut(face, plan)
    found = []
    for part in plan.parts:
        x0, y0, x1, y1 = part.rect
        step = np.array([(part.box[2] - part.box[0]) / (x1 - x0), (part.box[3] - part.box[1]) / (y1 - y0)])
        samples = max(1, math.ceil(float(np.max(np.linalg.norm(matrix[:, :2] * step, axis=0))) - 1e-6))
        shift = matrix[:, :2] @ (np.array(part.box[:2]) + step / samples / 2) + matrix[:, 2]
        found.append((np.hstack([matrix[:, :2] * (step / samples), shift[:, None]]), samples, part.rect))
    return found


def bare(cut_outs: Sequence[tuple[Path, list[Warp]]], size: tuple[int, int], target: Path) -> None:
    """Read, warp and write with OpenCV alone."""
    for number, (path, parts) in enumerate(cut_outs):
        picture = cv2.imread(str(path))
        shown = np.zeros((size[1], size[0], 3), np.uint8)
        for matrix, samples, (x0, y0, x1, y1) in parts:
            fine = cv2.warpAffine(
                picture,
                matrix,
                ((x1 - x0) * samples, (y1 - y0) * samples),
                flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            shown[y0:y1, x0:x1] = (
                fine if samples == 1 else cv2.resize(fine, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
            )
        cv2.imwrite(str(target / f"{number}.png"), shown)


def main() -> None:
    given = measure.arguments(__doc__, ("people", 60, "people of the sample"))
    cv2.setNumThreads(1)
    people = 2 if given.quick else given.people
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values = prepare(folder, {"source": "sample", "sample": {"people": people}})
        for one in ("videos", "frames", "faces"):
            stage(folder, one)
        stored = folder / "data/faces"
        faces = faces_from_table(tables.read(stored / "index.csv", tables.FACES))
        boxes = check(dict[str, Box], values["regions"], "regions")
        variants = check(dict[str, Variant], values["crop_variants"], "crop_variants")
        settings = check(CropSettings, values["crops"], "crops")
        for variant in ("full", "eyes_lower"):
            plan = resolve(variant, variants, boxes, settings, values["sample"]["feather"])
            colour = mean_colour(faces, stored, boxes["face"], ONE)
            cut_outs = [(stored / face.path, warps(face, plan)) for face in faces]
            ours, theirs = folder / "ours" / variant, folder / "theirs" / variant
            theirs.mkdir(parents=True)
            costs = measure.alternate(
                {
                    "crops": functools.partial(write_crops, faces, stored, ours, plan, colour, ONE),
                    "bare": functools.partial(bare, cut_outs, plan.size, theirs),
                    "colour": functools.partial(mean_colour, faces, stored, boxes["face"], ONE),
                    "sheet": functools.partial(crop_sheet, faces, stored, plan, colour, settings.sheet_faces),
                },
                given.rounds,
            )
            for number, face in enumerate(faces):
                crop, other = read_picture(ours / f"{face.face_id}.png"), read_picture(theirs / f"{number}.png")
                assert crop is not None and other is not None and np.array_equal(crop, other), face.face_id
            rows.append(
                [
                    variant,
                    str(len(faces)),
                    f"{1000 * measure.median(costs['bare'], 'cpu') / len(faces):.2f}",
                    *(f"{measure.ratio(costs[part], costs['bare'], 'cpu'):.2f}" for part in ("crops", "colour")),
                    f"{measure.median(costs['sheet'], 'cpu'):.2f}",
                ]
            )
    header = [
        "variant", "faces", "bare, CPU ms a face", "crops over bare", "mean colour over bare", "contact sheet, CPU s"
    ]  # fmt: skip
    measure.report("crops", measure.table(header, rows), given.quick)


if __name__ == "__main__":
    main()
