"""The results as text: metrics/results.md. It computes nothing."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path

from facestudy.attribution.findings import ATTRIBUTION
from facestudy.controls.shortcuts import SHORTCUTS
from facestudy.core import tables
from facestudy.dataset.split import SplitSettings
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.evaluation.results import read_results
from facestudy.models.settings import ModelSettings
from facestudy.report.markdown import results_markdown
from facestudy.training.gaps import gaps
from stages.stage import output_file, read_params, run, section

RESULTS = Path("metrics/results.json")
TRAINING = Path("metrics/training")


def main() -> str:
    params = read_params()
    models = section(params, "models", dict[str, ModelSettings])
    seeds = section(params, "seeds", list[int])
    source = section(params, "source", str)
    results = read_results(RESULTS)
    clips = tables.read(Path("data/clips.csv"), tables.clips_table(models, results.variants))
    trial = section(params, "evaluate", EvaluateSettings).trial
    shortcuts = tables.read(Path("metrics/shortcuts.csv"), SHORTCUTS)
    attribution = tables.read(Path("metrics/attribution.csv"), ATTRIBUTION)
    losses = {
        model: {
            name: gaps(tables.read(TRAINING / name / f"{model}.csv", tables.TRAININGS)) for name in results.variants
        }
        for model in models
    }
    contrasts, hypotheses, robustness = (
        tables.read_text(Path("metrics") / f"{name}.csv") for name in ("contrasts", "hypotheses", "robustness")
    )
    about = (results, models, seeds, source, clips, shortcuts, losses)
    found = (contrasts, hypotheses, robustness, attribution)
    text = results_markdown(*about, *found, trial, section(params, "split", SplitSettings).control())
    with output_file(Path("metrics/results.md")) as path:
        path.write_text(text, encoding="utf-8")
    return f"metrics/results.md, {len(text.splitlines())} lines"


if __name__ == "__main__":
    run("report", main)
