"""What the figures of a study take, from predictions that are read to all results.

    python -m benchmarks.evaluation [--quick] [--faces N] [--variants N] [--seeds N]

Drawn predictions: half of the faces fake, ten faces a group, two models. One process; imports and reading files apart.
Metrics without each group are computed as in use, and once from the weights of all faces.
"""

from __future__ import annotations

import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

from benchmarks import measure
from facestudy.core import tables
from facestudy.core.settings import check
from facestudy.evaluation import intervals
from facestudy.evaluation.comparisons import cell_metrics
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.evaluation.results import study_results
from facestudy.evaluation.scores import scores_of
from stages.stage import read_params

FACES_PER_VIDEO = 5
MODELS = 2
TEST_SHARE = 0.2  # unused with one split


def predictions(faces: int, noise: np.random.Generator, strength: float) -> pd.DataFrame:
    """Rows of tables.PREDICTIONS: as many validation faces as a quarter of those tested."""
    rows = np.arange(faces + faces // 4)
    video = rows // FACES_PER_VIDEO
    fake = video % 2 == 1
    p_fake = 1 / (1 + np.exp(-noise.normal(strength * (2 * fake - 1), 1)))
    table = pd.DataFrame(
        {
            "repeat": 1,
            "face_id": [f"f{row}" for row in rows],
            "video_id": [f"v{one}" for one in video],
            "track_id": [f"v{one}_t0" for one in video],
            "group": [f"g{one // 2}" for one in video],
            "method": np.where(fake, "drawn", ""),
            "label": np.where(fake, "fake", "real"),
            "subset": np.where(rows < faces, "test", "validation"),
            "p_fake": p_fake,
        }
    )
    return table[tables.PREDICTIONS.names()]


def main() -> None:
    options = (("faces", 4000, "tested faces"), ("variants", 5, "variants of two models"), ("seeds", 5, "trainings"))
    given, noise = measure.arguments(__doc__, *options), np.random.default_rng(1)
    if given.quick:
        given.faces, given.variants, given.seeds = 200, 2, 2
    settings = check(EvaluateSettings, read_params()["evaluate"], "evaluate")
    tables_of = {
        f"model{model}": {
            f"variant{variant}": {
                Path(str(seed)): predictions(given.faces, noise, noise.uniform(0.3, 0.7)) for seed in range(given.seeds)
            }
            for variant in range(given.variants)
        }
        for model in range(MODELS)
    }
    ways = {
        "in use": np.median([run(tables_of, settings) for _ in range(given.rounds)], axis=0).tolist(),
        "from weights": from_weights(tables_of, settings),
    }
    rows = [[way, *(f"{part:.1f}" for part in [*parts, sum(parts)])] for way, parts in ways.items()]
    header = ["way", "arrays, s", "evaluate, all cells, s", "compare, s", "in all, s"]
    lines = [f"{given.faces} faces, {MODELS * given.variants} cells, {given.seeds} seeds.", ""]
    measure.report("evaluation", [*lines, *measure.table(header, rows)], given.quick)


def from_weights(tables_of: dict[str, dict[str, dict[Path, pd.DataFrame]]], settings: EvaluateSettings) -> list[float]:
    """Compute all figures without the counts of pairs; as `run`."""
    with patch.object(intervals, "COUNTED", ()):
        return run(tables_of, settings)


def run(tables_of: dict[str, dict[str, dict[Path, pd.DataFrame]]], settings: EvaluateSettings) -> list[float]:
    """All figures; the seconds that the arrays, `evaluate` and `compare` take."""
    start = time.perf_counter()
    cells = {
        model: {variant: [scores_of(part)] for variant, part in variants.items()}
        for model, variants in tables_of.items()
    }
    scored = time.perf_counter()
    for variants in cells.values():
        for faces in variants.values():
            cell_metrics(faces, settings, TEST_SHARE)
    evaluated = time.perf_counter()
    study_results(cells, settings, TEST_SHARE)
    return [scored - start, evaluated - scored, time.perf_counter() - evaluated]


if __name__ == "__main__":
    main()
