"""What still pictures cost from their list to crops, over searching them with the package mtcnn in batches of 8.

    python -m benchmarks.stills [--quick] [--pictures N]

N pictures (2000) of 250 pixels below $FACESTUDY_TEST_DATA/lfw_faceswap. The stages `videos`, `frames`, `faces` and
`crops` (variant full) run one after the other in new processes with an empty work cache; mtcnn reads and searches the
same pictures. Both use all cores, and both are charged with their start-up, which counts for less the more pictures
there are (`--pictures 4000` takes ten minutes).
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import measure
from benchmarks.mtcnn_alone import BATCHES, Alone
from benchmarks.study import forget, prepare, stage

BATCH = 8
STAGES = {"videos": (), "frames": (), "faces": (), "crops": ("--variant", "full")}


def main() -> None:
    given = measure.arguments(__doc__, ("pictures", 2000, "pictures"))
    data = measure.test_data("lfw_faceswap")
    count = 8 if given.quick else given.pictures
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, {"source": "folder", "folder": {"path": str(data), "max_per_class": count // 2}})
        stage(folder, "videos")
        paths = [data / path for path in pd.read_csv(folder / "data/videos/index.csv")["path"]]
        alone = Alone(paths[0])
        batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
        found = []
        for _ in range(given.rounds):
            forget(folder, *STAGES)
            seconds = [measure.cost(functools.partial(stage, folder, *one)).wall for one in commands()]
            theirs = measure.cost(functools.partial(alone.search, BATCHES, batches)).wall + alone.start_s
            found.append([*seconds, sum(seconds), theirs, sum(seconds) / theirs])
        alone.child.end()
    *parts, whole, theirs, share = np.median(found, axis=0)
    row = [str(len(paths)), *(f"{part:.1f}" for part in parts), f"{whole:.1f}", f"{theirs:.1f}", f"{share:.2f}"]
    header = ["pictures", *(f"{one}, s" for one in STAGES), "stages, s", f"mtcnn in batches of {BATCH}, s", "ratio"]
    measure.report("stills", measure.table(header, [row]), given.quick)


def commands() -> list[tuple[str, ...]]:
    return [(name, *options) for name, options in STAGES.items()]


if __name__ == "__main__":
    main()
