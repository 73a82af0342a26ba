"""Groups, balance, train / validation / test: data/split.csv."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path

from facestudy.core import tables
from facestudy.dataset.split import SplitSettings, make_split, summary
from stages.stage import check_disk_space, output_file, read_params, run, section

ROW_BYTES = 150
"""About what a face takes in the table."""


def main() -> str:
    settings = section(read_params(), "split", SplitSettings)
    faces = tables.read(Path("data/faces/index.csv"), tables.FACES)
    videos = tables.read(Path("data/videos/index.csv"), tables.VIDEOS)
    duplicates = tables.read(Path("data/duplicates.csv"), tables.DUPLICATES)
    check_disk_space(len(faces) * ROW_BYTES)
    split = make_split(faces, videos, settings, duplicates)
    with output_file(Path("data/split.csv")) as path:
        tables.write(path, split, tables.SPLIT)
    text = summary(split, videos)
    wanted = settings.faces_per_class
    if wanted is not None and (split["subset"] != "unused").sum() < 2 * wanted * settings.repeats:
        text += f"; fewer than the {wanted} faces per class that split.faces_per_class asks for: that is all there are"
    return text


if __name__ == "__main__":
    run("split", main)
