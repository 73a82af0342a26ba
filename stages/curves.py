"""Curves for plots: ROC, precision-recall, histograms of the scores, confusion matrices: metrics/curves/."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path
from typing import Any

from facestudy.dataset.split import SplitSettings
from facestudy.evaluation.curves import confusion_table, curve_tables, histogram_table
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.evaluation.scores import read_predictions, scores_of
from stages.stage import not_empty, output_folder, read_params, run, section


def main() -> str:
    params = read_params()
    models = not_empty(section(params, "models", dict[str, Any]), "models")
    variants = not_empty(section(params, "variants", list[str]), "variants")
    seeds = not_empty(section(params, "seeds", list[int]), "seeds")
    repeats = section(params, "split", SplitSettings).repeats
    folders = {model: {variant: Path("predictions") / variant / model for variant in variants} for model in models}
    cells = {
        model: {name: [scores_of(part) for part in read_predictions(path, seeds, repeats)] for name, path in of.items()}
        for model, of in folders.items()
    }
    tables = curve_tables(cells, section(params, "evaluate", EvaluateSettings).confidence)
    tables |= {"histogram": histogram_table(cells), "confusion": confusion_table(cells)}
    with output_folder(Path("metrics/curves")) as folder:
        for name, table in tables.items():
            table.to_csv(folder / f"{name}.csv", index=False, encoding="utf-8", lineterminator="\n")
    return f"{len(models)} models on {len(variants)} variants: {', '.join(tables)}"


if __name__ == "__main__":
    run("curves", main)
