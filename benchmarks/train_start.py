"""What importing Keras and tracing the training step take in `train`, over the training itself.

    python -m benchmarks.train_start [--quick]

The models, seeds and faces of the study (params.yaml, data/split.csv), with random crops. A process as the stage's
workers imports what it needs and trains twice; the second training traces nothing, so the difference is tracing. A
cell has as many processes as params.yaml says, and its seeds train in turns. Each training here has a tenth of the
model's epochs, and its seconds are scaled to all of them.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from benchmarks.study import ROOT
from facestudy.core.settings import check
from facestudy.models.settings import ModelSettings, TrainSettings
from facestudy.runtime.parallel import ComputeSettings
from facestudy.training.data import read_split
from stages.stage import read_params


def worker(values: dict[str, Any], pictures: Path) -> tuple[float, float, float]:
    """Train twice in a new process; seconds of the imports, the first and the second training."""
    start = time.perf_counter()
    from facestudy.training.loop import train_seed

    seconds = [time.perf_counter() - start]
    settings, split = check(ModelSettings, values, "models"), read_split(ROOT / "data/split.csv")[1]
    for seed in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            train_seed(Path(folder), split, pictures, settings, TrainSettings(), seed, quiet=True)
            seconds.append(time.perf_counter() - start)
    imports, first, second = seconds
    return imports, first, second


def main() -> None:
    given = measure.arguments(__doc__)
    params = read_params(ROOT / "params.yaml")
    compute, seeds = check(ComputeSettings, params["compute"], "compute"), len(params["seeds"])
    processes = min(compute.count(), seeds)
    models = dict(list(params["models"].items())[:1]) if given.quick else params["models"]
    width, height = params["crops"]["size"]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        pictures = Path(name) / "pictures.npy"
        count = len(read_split(ROOT / "data/split.csv")[1])
        np.save(pictures, np.random.default_rng(1).integers(0, 256, (count, height, width, 3), np.uint8))
        for model, values in models.items():
            epochs = 1 if given.quick else max(1, round(values["epochs"] / 10))
            fewer = values | {"epochs": epochs, "warmup_epochs": 0}
            found = []
            for _ in range(given.rounds):
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    imports, first, second = pool.submit(worker, fewer, pictures).result()
                tracing, training = max(0.0, first - second), seeds * second * values["epochs"] / epochs
                found.append([imports, tracing, training, processes * (imports + tracing) / training])
            imports, tracing, training, share = np.median(found, axis=0)
            rows.append([model, f"{imports:.1f}", f"{tracing:.1f}", f"{training:.1f}", f"{share:.0%}"])
    header = ["model", "imports, s a process", "tracing, s a process", f"training, {seeds} seeds, s", "share"]
    lines = [f"{processes} processes a cell.", "", *measure.table(header, rows)]
    measure.report("train_start", lines, given.quick)


if __name__ == "__main__":
    main()
