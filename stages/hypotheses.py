"""Planned contrasts between variants and the verdicts on the study's reasons: metrics/contrasts.csv, hypotheses.csv."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from collections import Counter
from pathlib import Path
from typing import Any

from facestudy.dataset.split import SplitSettings
from facestudy.evaluation.comparisons import check_cells, read_cells
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.hypotheses.contrasts import ALTERATIONS, CONTRASTS, contrasts_table, outcomes
from facestudy.hypotheses.verdicts import verdicts, verdicts_table
from facestudy.robustness.results import altered_scores
from stages.stage import not_empty, output_file, read_params, run, section

PREDICTIONS = Path("predictions")


def main() -> str:
    params = read_params()
    models = not_empty(section(params, "models", dict[str, Any]), "models")
    variants = not_empty(section(params, "variants", list[str]), "variants")
    seeds = not_empty(section(params, "seeds", list[int]), "seeds")
    split = section(params, "split", SplitSettings)
    planned = {variant for contrast in CONTRASTS for variant in contrast.variants}
    used = [variant for variant in variants if variant in planned]
    cells = read_cells(PREDICTIONS, models, used, seeds, 1) if split.repeats == 1 else {}
    if cells:
        check_cells(cells)
    altered = altered_scores(PREDICTIONS, cells, seeds, ALTERATIONS)
    found = outcomes(cells, altered, section(params, "evaluate", EvaluateSettings))
    decided = verdicts(list(models), variants, found, len(seeds), split.repeats)
    for name, table in {"contrasts": contrasts_table(found), "hypotheses": verdicts_table(decided)}.items():
        with output_file(Path("metrics") / f"{name}.csv") as path:
            table.to_csv(path, index=False, encoding="utf-8", lineterminator="\n")
    counts = Counter(one.verdict for one in decided)
    return f"{len(found)} contrasts; " + ", ".join(
        f"{counts[verdict]} {verdict.replace('_', ' ')}"
        for verdict in ("supported", "contradicted", "undecided", "not_tested")
        if counts[verdict]
    )


if __name__ == "__main__":
    run("hypotheses", main)
