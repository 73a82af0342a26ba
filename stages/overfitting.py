"""Losses in training and validation of one model on one variant: metrics/training-gaps/<variant>/<model>.json."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import json
from pathlib import Path

import pandas as pd

from facestudy.controls.overfitting import gaps
from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.dataset.split import SplitSettings
from stages.stage import check_name, output_file, read_params, run, section

OUT = Path("metrics/training-gaps")
"""No variant has this name: names have no hyphen."""


def main(model: str, variant: str) -> str:
    check_name(model)
    check_name(variant)
    params = read_params()
    seeds, repeats = section(params, "seeds", list[int]), section(params, "split", SplitSettings).repeats
    names = [tables.training_name(seed, repeat, repeats) for seed in seeds for repeat in range(1, repeats + 1)]
    found = gaps([read_history(Path("models") / variant / model / name / "history.csv") for name in names])
    with output_file(OUT / variant / f"{model}.json") as path:
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    said = [f"{found.get(f'{which}_gap', float('nan')):+.3f} at the {which} epoch" for which in ("kept", "last")]
    return f"{model} on {variant}: validation loss minus training loss {', '.join(said)}"


def read_history(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise StudyError(f"{path} is missing; `dvc repro` makes it.") from None


if __name__ == "__main__":
    run("overfitting", main, model="a key of `models` in params.yaml", variant="one of `variants`")
