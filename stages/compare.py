"""All figures of the study, every variant against the first: metrics/, and the scores of each clip: data/clips.csv."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path
from typing import Any

from facestudy.core import tables
from facestudy.dataset.clips import clip_scores, with_scores
from facestudy.dataset.split import SplitSettings
from facestudy.evaluation.calibration import reliability_table
from facestudy.evaluation.comparisons import comparison_table, methods_table
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.evaluation.results import study_results, to_json
from facestudy.evaluation.scores import read_predictions, scores_of
from stages.stage import not_empty, output_file, read_params, run, section


def main() -> str:
    params = read_params()
    models = not_empty(section(params, "models", dict[str, Any]), "models")
    variants = not_empty(section(params, "variants", list[str]), "variants")
    seeds = not_empty(section(params, "seeds", list[int]), "seeds")
    settings = section(params, "evaluate", EvaluateSettings)
    split = section(params, "split", SplitSettings)
    predictions = {
        (model, variant): read_predictions(Path("predictions") / variant / model, seeds, split.repeats)
        for model in models
        for variant in variants
    }
    cells = {
        model: {variant: [scores_of(part) for part in predictions[model, variant]] for variant in variants}
        for model in models
    }
    scores = {
        f"{model}.{variant}": clip_scores([table for part in parts for table in part.values()])
        for (model, variant), parts in predictions.items()
    }
    clips = with_scores(tables.read(Path("data/clip_counts.csv"), tables.CLIPS), scores)
    results = study_results(cells, settings, split.test_share())
    test, rows = results.test, results.comparisons
    for name, table in {
        "comparison": comparison_table(rows, test),
        "methods": methods_table(results.methods),
        "reliability": reliability_table(results.calibrations),
    }.items():
        with output_file(Path("metrics") / f"{name}.csv") as path:
            table.to_csv(path, index=False, encoding="utf-8", lineterminator="\n")
    with output_file(Path("data/clips.csv")) as path:
        tables.write(path, clips, tables.clips_table(models, variants))
    with output_file(Path("metrics/results.json")) as path:
        path.write_text(to_json(results), encoding="utf-8")
    trial = "trial, no result: " if settings.trial else ""
    said = f"{trial}{len(models)} models on {len(variants)} variants, {test.faces} test faces in {test.groups} groups"
    broken = sum(count > 0 for cell in results.constant_trainings.values() for count in cell.values())
    if broken:
        said += f"; {broken} cell{'s' if broken > 1 else ''} BROKEN: constant output"
    judged = [row for row in rows if row.verdict not in ("not_tested", "broken")]
    if not judged:
        return said
    different = sum(row.p_holm < 1 - settings.confidence for row in judged)
    return (
        f"{said}; {different} of {len(judged)} differences from {variants[0]} have p (Holm) below "
        f"{1 - settings.confidence:.2g}"
    )


if __name__ == "__main__":
    run("compare", main)
