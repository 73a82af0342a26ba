"""What training each cell of a study takes, in seconds.

    KERAS_BACKEND=jax python -m benchmarks.cells

Run it in a copy of the project whose data/ has the split, and the crops (or the faces, of which it cuts them). It needs
neither DVC nor TensorFlow, so it also runs on a machine that has a GPU and JAX: docs/gpu.md lists what to copy. Each
cell is one run of the stage `train`, imports and compilation included; a training that the work cache has takes no
time, so empty .cache/train first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import measure
from facestudy.evaluation.metrics import point_metrics
from stages.stage import read_params

DEVICE = """
from facestudy.runtime import backend
from importlib.metadata import version
name = backend.name()
if name == "jax":
    import jax
    device = jax.devices()[0].device_kind
else:
    device = "cpu"
print(f"{name} {version(name)}, Keras {version('keras')}, {device}")
"""


def stage(name: str, *options: str) -> float:
    """Run a stage; its seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", f"stages.{name}", *options], check=True)
    return time.perf_counter() - start


def tested(folder: Path, trainings: Iterable[object]) -> list[str]:
    """AUC and accuracy of the test faces, mean over trainings."""
    found = []
    for training in trainings:
        rows = pd.read_csv(folder / f"{training}.csv").query("subset == 'test'")
        values = point_metrics((rows["label"] == "fake").to_numpy(), rows["p_fake"].to_numpy())
        found.append([values["auc"], values["accuracy"]])
    return [f"{mean:.3f}" for mean in np.mean(found, axis=0)]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    params = read_params()
    library = subprocess.run([sys.executable, "-c", DEVICE], check=True, capture_output=True, text=True).stdout.strip()
    split = pd.read_csv("data/split.csv")
    fitted = int((split["subset"] == "train").sum()) // split["repeat"].nunique()
    header = [
        "model", "variant", "trainings", "seconds", "ms a step", "epoch kept", "validation AUC", "test AUC", "accuracy"
    ]  # fmt: skip
    rows: list[list[str]] = []
    for variant in params["variants"]:
        if not Path("data/crops", variant).is_dir():
            print(f"crops {variant}: {stage('crops', '--variant', variant):.1f} s", flush=True)
        for model, settings in params["models"].items():
            seconds = stage("train", "--model", model, "--variant", variant)
            history = pd.read_csv(Path("metrics/training", variant, f"{model}.csv"))
            kept, trainings = history[history["selected"] == 1], history["training"].nunique()
            steps = len(history) * -(-fitted // settings["batch_size"])
            rows.append(
                [
                    model,
                    variant,
                    str(trainings),
                    f"{seconds:.0f}",
                    f"{1000 * seconds / steps:.1f}",
                    ", ".join(map(str, kept["epoch"])),
                    f"{kept['validation_auc'].mean():.3f}",
                    *tested(Path("predictions", variant, model), kept["training"]),
                ]
            )
            lines = [f"{fitted} faces to train on.", "", *measure.table(header, rows)]
            measure.report("cells", lines, quick=False, device=library)  # after each cell: it may be the last


if __name__ == "__main__":
    main()
