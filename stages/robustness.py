"""How the scores of the test faces change when the faces are altered: metrics/robustness.csv."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path
from typing import Any

from facestudy.alterations.settings import RobustnessSettings
from facestudy.dataset.split import SplitSettings
from facestudy.evaluation.comparisons import check_cells, read_cells
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.robustness.results import altered_scores, largest_fall, left_out, robustness_table, why_left_out
from stages.stage import not_empty, output_file, read_params, run, section

PREDICTIONS = Path("predictions")


def main() -> str:
    params = read_params()
    models = not_empty(section(params, "models", dict[str, Any]), "models")
    variants = not_empty(section(params, "variants", list[str]), "variants")
    seeds = not_empty(section(params, "seeds", list[int]), "seeds")
    split = section(params, "split", SplitSettings)
    alterations = section(params, "robustness", RobustnessSettings).alterations()
    cells = read_cells(PREDICTIONS, models, variants, seeds, split.repeats)
    check_cells(cells)
    altered = altered_scores(PREDICTIONS, cells, seeds, alterations)
    absent = left_out(altered, alterations)
    table = robustness_table(cells, altered, section(params, "evaluate", EvaluateSettings), split.test_share())
    with output_file(Path("metrics/robustness.csv")) as path:
        table.to_csv(path, index=False, encoding="utf-8", lineterminator="\n")
    said = (
        f"{table['faces'][0]} test faces with {len(alterations) - len(absent)} alterations, {len(models)} models on "
        f"{len(variants)} variants, {len(seeds) * split.repeats} trainings each; {largest_fall(table)}"
    )
    return "; ".join([said, *why_left_out(absent)])


if __name__ == "__main__":
    run("robustness", main)
