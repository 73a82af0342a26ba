"""Videos that are the same although their names differ: data/duplicates.csv."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path

import numpy as np

from facestudy.core import tables
from facestudy.dataset.duplicates import BITS, Bits, DuplicateSettings, find, hash_of, summary
from facestudy.runtime.parallel import ComputeSettings, map_items
from stages.stage import output_file, read_params, run, section

FACES = Path("data/faces")


def hashes_of(stored: list[tuple[str, str]]) -> Bits:
    """(faces, BITS) the hashes of the cut-outs of one video: path and sha256 of each."""
    return np.array([hash_of(FACES / path, sha256) for path, sha256 in stored], bool).reshape(len(stored), BITS)


def main() -> str:
    params = read_params()
    settings = section(params, "duplicates", DuplicateSettings)
    videos = tables.read(Path("data/videos/index.csv"), tables.VIDEOS)
    faces = tables.read(FACES / "index.csv", tables.FACES).sort_values("video_id", kind="stable")
    per_video = [list(zip(rows["path"], rows["sha256"], strict=True)) for _, rows in faces.groupby("video_id")]
    if settings.max_distance is None:
        hashes = np.zeros((len(faces), BITS), bool)
    else:
        found = map_items(hashes_of, per_video, section(params, "compute", ComputeSettings), "duplicates")
        hashes = np.concatenate(list(found))
    pairs = find(videos[videos["status"] == "ok"], faces, hashes, settings)
    with output_file(Path("data/duplicates.csv")) as path:
        tables.write(path, pairs, tables.DUPLICATES)
    return f"{len(per_video)} videos in, {summary(pairs)} (data/duplicates.csv)"


if __name__ == "__main__":
    run("duplicates", main)
