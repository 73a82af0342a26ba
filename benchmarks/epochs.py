"""Whether training longer would help: the study with its epochs and with twice as many.

    python -m benchmarks.epochs [--sample SEED] [--trainings N] [--models NAME ...]

Runs the stages of dvc.yaml on another sample than the study's (`sample.seed`), in a temporary folder,
and prints the AUC on the faces that no model was trained on (validation and test). Another sample,
because epochs must not be chosen on the faces that the study reports.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from commands.calibrate import ROOT, run_stages
from facestudy.evaluation.metrics import point_metrics
from stages.stage import read_params

FACTORS = (1, 2)


def aucs(folder: Path, variant: str, model: str, trainings: list[int]) -> np.ndarray:
    """AUC of each training on all faces that were not trained on."""
    found = []
    for training in trainings:
        scored = pd.read_csv(folder / f"predictions/{variant}/{model}/{training}.csv")
        fake, p_fake = (scored["label"] == "fake").to_numpy(), scored["p_fake"].to_numpy()
        found.append(point_metrics(fake, p_fake)["auc"])
    return np.array(found)


def settings(params: dict[str, Any], arguments: argparse.Namespace, factor: int) -> dict[str, Any]:
    """The settings of params.yaml with another sample and `factor` times the epochs."""
    values = copy.deepcopy(params)
    values["source"] = "sample"
    values["sample"]["seed"] = arguments.sample
    values["seeds"] = list(range(1, arguments.trainings + 1))
    values["models"] = {name: values["models"][name] for name in arguments.models or values["models"]}
    for model in values["models"].values():
        model["epochs"] *= factor
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=401, help="seed of the sample")
    parser.add_argument("--trainings", type=int, default=4)
    parser.add_argument("--models", nargs="+")
    arguments = parser.parse_args()
    params = read_params()
    os.environ["PYTHONPATH"] = str(ROOT)  # for the processes that a stage starts in another folder
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    epochs: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as name:
        for factor in FACTORS:
            values = settings(params, arguments, factor)
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                run_stages(values, Path(name))
            for model, chosen in values["models"].items():
                epochs.setdefault(model, []).append(chosen["epochs"])
                for variant in values["variants"]:
                    rows = aucs(Path(name), variant, model, values["seeds"])
                    found.setdefault((model, variant), []).append(rows)
    print("| model | variant | AUC | AUC with twice the epochs | difference | its standard error |")
    print("|---|---|---|---|---|---|")
    for (model, variant), (short, long) in found.items():
        error = math.sqrt((short.var(ddof=1) + long.var(ddof=1)) / len(short))  # over trainings
        once, twice = epochs[model]
        print(
            f"| {model} | {variant} | {short.mean():.3f} ({once}) | {long.mean():.3f} ({twice}) | "
            f"{long.mean() - short.mean():+.3f} | {error:.3f} |"
        )


if __name__ == "__main__":
    main()
