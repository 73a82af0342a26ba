"""What the figures of a study take, from predictions that are read to all results.

    python -m benchmarks.evaluation [--faces N] [--variants N] [--seeds N]

Drawn predictions: half of the faces fake, five faces a group, two models. One process; imports and reading files apart.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from facestudy.core import tables
from facestudy.core.settings import check
from facestudy.evaluation.comparisons import cell_metrics
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.evaluation.results import study_results
from facestudy.evaluation.scores import scores_of
from stages.stage import read_params

FACES_PER_GROUP = 5
MODELS = 2


def predictions(faces: int, noise: np.random.Generator, strength: float) -> pd.DataFrame:
    """Rows of tables.PREDICTIONS: as many validation faces as a quarter of those tested."""
    rows = np.arange(faces + faces // 4)
    group = rows // FACES_PER_GROUP
    fake = group % 2 == 1
    p_fake = 1 / (1 + np.exp(-noise.normal(strength * (2 * fake - 1), 1)))
    table = pd.DataFrame(
        {
            "repeat": 1,
            "face_id": [f"f{row}" for row in rows],
            "video_id": [f"v{one}" for one in group],
            "track_id": [f"v{one}_t0" for one in group],
            "group": [f"g{one // 2}" for one in group],
            "method": np.where(fake, "drawn", ""),
            "label": np.where(fake, "fake", "real"),
            "subset": np.where(rows < faces, "test", "validation"),
            "p_fake": p_fake,
        }
    )
    return table[tables.PREDICTIONS.names()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=4000)
    parser.add_argument("--variants", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    given, noise = parser.parse_args(), np.random.default_rng(1)
    settings = check(EvaluateSettings, read_params()["evaluate"], "evaluate")
    parts = {
        (model, variant): {
            Path(str(seed)): predictions(given.faces, noise, noise.uniform(0.3, 0.7)) for seed in range(given.seeds)
        }
        for model in range(MODELS)
        for variant in range(given.variants)
    }
    start = time.perf_counter()
    cells = {
        f"model{model}": {f"variant{variant}": [scores_of(parts[model, variant])] for variant in range(given.variants)}
        for model in range(MODELS)
    }
    scored = time.perf_counter()
    for variants in cells.values():
        for faces in variants.values():
            cell_metrics(faces, settings, 0.2)
    evaluated = time.perf_counter()
    study_results(cells, settings, 0.2)
    done = time.perf_counter()
    print(f"{given.faces} faces, {MODELS * given.variants} cells, {given.seeds} seeds")
    for what, seconds in {
        "arrays": scored - start,
        "evaluate, all cells": evaluated - scored,
        "compare": done - evaluated,
        "in all": done - start,
    }.items():
        print(f"{what}: {seconds:.1f} s")


if __name__ == "__main__":
    main()
