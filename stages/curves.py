"""Curves for plots: ROC, precision-recall, histograms, confusion matrices, losses: metrics/curves/."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path
from typing import Any

import pandas as pd

from facestudy.core import tables
from facestudy.dataset.split import SplitSettings
from facestudy.evaluation.comparisons import read_cells
from facestudy.evaluation.curves import confusion_table, curve_tables, histogram_table
from facestudy.evaluation.intervals import EvaluateSettings
from stages.stage import not_empty, output_folder, read_params, run, section

TRAINING = Path("metrics/training")


def main() -> str:
    params = read_params()
    models = list(not_empty(section(params, "models", dict[str, Any]), "models"))
    variants = not_empty(section(params, "variants", list[str]), "variants")
    seeds = not_empty(section(params, "seeds", list[int]), "seeds")
    split = section(params, "split", SplitSettings)
    cells = read_cells(Path("predictions"), models, variants, seeds, split.repeats)
    found = curve_tables(cells, section(params, "evaluate", EvaluateSettings).confidence, split.test_share())
    found |= {"histogram": histogram_table(cells), "confusion": confusion_table(cells)}
    found["training"] = trainings(models, variants)
    with output_folder(Path("metrics/curves")) as folder:
        for name, table in found.items():
            table.to_csv(folder / f"{name}.csv", index=False, encoding="utf-8", lineterminator="\n")
    return f"{len(models)} models on {len(variants)} variants: {', '.join(found)}"


def trainings(models: list[str], variants: list[str]) -> pd.DataFrame:
    """The epochs of all trainings, as text cells."""
    parts = []
    for model in models:
        for variant in variants:
            path = TRAINING / variant / f"{model}.csv"
            tables.read(path, tables.TRAININGS)  # refuses another table
            table = tables.read_text(path)
            table.insert(0, "model", model)
            table.insert(1, "variant", variant)
            parts.append(table)
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    run("curves", main)
