"""What training each cell of a study takes, in seconds.

    KERAS_BACKEND=jax python -m benchmarks.cells [--out FILE]

Run it in a copy of the project whose data/ has the split, and the crops (or the faces, of which it cuts them). It needs
neither DVC nor TensorFlow, so it also runs on a machine that has a GPU and JAX: docs/gpu.md lists what to copy. Each
cell is one run of the stage `train`, imports and compilation included; a training that the work cache has takes no
time, so empty .cache/train first.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a file for the table as well")
    out = parser.parse_args().out
    params = read_params()
    library = subprocess.run([sys.executable, "-c", DEVICE], check=True, capture_output=True, text=True).stdout.strip()
    split = pd.read_csv("data/split.csv")
    fitted = int((split["subset"] == "train").sum()) // split["repeat"].nunique()
    lines = [
        f"{library}; {platform.machine()}, {os.cpu_count()} cores; {fitted} faces to train on.",
        "",
        "| model | variant | trainings | epochs | seconds | seconds a training | ms a step | validation AUC |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for variant in params["variants"]:
        if not Path("data/crops", variant).is_dir():
            print(f"crops {variant}: {stage('crops', '--variant', variant):.1f} s", flush=True)
        for model, settings in params["models"].items():
            seconds = stage("train", "--model", model, "--variant", variant)
            history = pd.read_csv(Path("metrics/training", variant, f"{model}.csv"))
            trainings = history["training"].nunique()
            kept = history.loc[history["selected"] == 1, "validation_auc"]
            steps = trainings * settings["epochs"] * -(-fitted // settings["batch_size"])
            auc = f"{kept.min():.3f}" + (f" to {kept.max():.3f}" if trainings > 1 else "")
            lines.append(
                f"| {model} | {variant} | {trainings} | {settings['epochs']} | {seconds:.0f} | "
                f"{seconds / trainings:.0f} | {1000 * seconds / steps:.1f} | {auc} |"
            )
            print(lines[-1], flush=True)
            if out:
                out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
