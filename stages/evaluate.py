"""Metrics of one model on one variant, over all seeds: metrics/<variant>/<model>.json."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import json
from pathlib import Path
from typing import Any

from facestudy.core.errors import StudyError
from facestudy.dataset.split import SplitSettings
from facestudy.evaluation.comparisons import cell_metrics, count
from facestudy.evaluation.intervals import FEW_GROUPS, EvaluateSettings
from facestudy.evaluation.scores import read_predictions, scores_of
from stages.stage import not_empty, output_file, read_params, run, section


def main(model: str, variant: str) -> str:
    params = read_params()
    models = section(params, "models", dict[str, Any])
    variants = section(params, "variants", list[str])
    for kind, name, known in (("models", model, models), ("variants", variant, variants)):
        if name not in known:
            raise StudyError(f"params.yaml: {kind} has no {name!r} (it has {', '.join(known)}).")
    seeds = not_empty(section(params, "seeds", list[int]), "seeds")
    folder = Path("predictions") / variant / model
    split = section(params, "split", SplitSettings)
    faces = [scores_of(part) for part in read_predictions(folder, seeds, split.repeats)]
    metrics = cell_metrics(faces, section(params, "evaluate", EvaluateSettings), split.test_share())
    with output_file(Path("metrics") / variant / f"{model}.json") as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    test, constant = count(faces), metrics["constant_trainings"]
    broken = f"; BROKEN: {constant:.0f} with a constant output" if constant else ""
    few = f"; fewer than {FEW_GROUPS} groups: read the intervals with care" if test.groups < FEW_GROUPS else ""
    end = "" if "auc_low" in metrics else "_groups"
    accuracy, auc = (
        f"{metrics[name]:.3f} [{metrics[f'{name}{end}_low']:.3f}, {metrics[f'{name}{end}_high']:.3f}]"
        for name in ("accuracy", "auc")
    )
    return (
        f"{model} on {variant}: accuracy {accuracy}, AUC {auc}; {test.faces} test faces of "
        f"{test.videos} videos in {test.groups} groups, {test.seeds} seed{'s' if test.seeds > 1 else ''}"
        f"{f', {test.splits} splits' if test.splits > 1 else ''}{few}{broken}"
    )


if __name__ == "__main__":
    run("evaluate", main, model="a key of `models` in params.yaml", variant="one of `variants`")
