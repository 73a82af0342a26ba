"""How much perceptual hashes of faces differ, for re-encoded copies of a picture and for other people.

    python -m benchmarks.duplicate_faces

reads the faces of the last run (data/faces). Prints the least and some quantiles of the distances, the
share within `duplicates.max_distance`, and the time of hashing and of the search against their floors.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from facestudy.core import tables
from facestudy.dataset.duplicates import BITS, DuplicateSettings, find, hash_of
from stages.stage import read_params, section

FACES = Path("data/faces")
MANY = 20_000


def stored_again(path: Path, scale: float, quality: int, folder: Path) -> Path:
    """The picture made smaller and saved as JPEG."""
    picture = cv2.imread(str(path))
    target = folder / f"{path.stem}_{scale}_{quality}.jpg"
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(target), small, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return target


def line(name: str, distances: np.ndarray, limit: int) -> str:
    low, one, half = np.percentile(distances, [0, 1, 50])
    within = (distances <= limit).mean()
    return f"{name:34} {len(distances):8} {low:6.0f} {one:6.0f} {half:6.0f} {distances.max():6.0f} {within:10.4%}"


def main() -> None:
    settings = section(read_params(), "duplicates", DuplicateSettings)
    limit = settings.max_distance or 0
    faces = tables.read(FACES / "index.csv", tables.FACES)
    videos = tables.read(Path("data/videos/index.csv"), tables.VIDEOS)
    start = time.perf_counter()
    hashes = np.array([hash_of(FACES / path) for path in faces["path"]])
    hashing = time.perf_counter() - start
    start = time.perf_counter()
    for path in faces["path"]:
        cv2.imread(str(FACES / path))
    floor = time.perf_counter() - start
    print(f"hashing: {1000 * hashing / len(faces):.1f} ms a face, {hashing / floor:.1f} times decoding it")

    head = " ".join(f"{name:>6}" for name in ("least", "1 %", "half", "most"))
    print(f"{f'distance in bits of {BITS}':34} {'pairs':>8} {head} {f'<= {limit}':>10}")
    signs = np.where(hashes, 1, -1).astype(np.float32)
    distance = (BITS - signs @ signs.T) / 2
    upper = np.triu_indices(len(faces), 1)
    person = faces["video_id"].map(videos.set_index("video_id")["identity"]).to_numpy()
    video = faces["video_id"].to_numpy()
    same_video = video[upper[0]] == video[upper[1]]
    same_person = (person[upper[0]] == person[upper[1]]) & (person[upper[0]] != "")
    for name, rows in (
        ("frames of one video", same_video),
        ("other video of the same person", same_person & ~same_video),
        ("other or unknown people", ~same_person & ~same_video),
    ):
        if rows.any():
            print(line(name, distance[upper][rows], limit))
    with tempfile.TemporaryDirectory() as folder:
        some = faces["path"].iloc[:: max(1, len(faces) // 200)]
        for scale, quality in ((1.0, 30), (0.5, 90), (0.5, 20)):
            again = [hash_of(stored_again(FACES / path, scale, quality, Path(folder))) for path in some]
            apart = (np.array(again) != hashes[some.index]).sum(axis=1)
            print(line(f"the same, {scale:g} of its size, JPEG {quality}", apart, limit))

    rng = np.random.default_rng(1)
    many = rng.random((MANY, BITS)) < 0.5
    ids = [f"v{number // 10:05d}" for number in range(MANY)]
    about = pd.DataFrame({"video_id": sorted(set(ids)), "label": "real", "identity": "", "donor": ""})
    about["sha256"] = about["video_id"]
    start = time.perf_counter()
    find(about, pd.DataFrame({"video_id": ids}), many, settings)
    search = time.perf_counter() - start
    signs = np.where(many, 1, -1).astype(np.float32)
    start = time.perf_counter()
    for block in range(0, MANY, 1000):
        signs[block : block + 1000] @ signs[block:].T
    floor = time.perf_counter() - start
    print(f"search of {MANY} faces: {search:.1f} s, {search / floor:.1f} times the bare product")


if __name__ == "__main__":
    main()
