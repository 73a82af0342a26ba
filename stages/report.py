"""The results as a page: metrics/results.md. It computes nothing."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path

from facestudy.core import tables
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.evaluation.results import read_results
from facestudy.models.settings import ModelSettings
from facestudy.report.markdown import results_markdown
from stages.stage import output_file, read_params, run, section

RESULTS = Path("metrics/results.json")


def main() -> str:
    params = read_params()
    models = section(params, "models", dict[str, ModelSettings])
    seeds = section(params, "seeds", list[int])
    source = section(params, "source", str)
    results = read_results(RESULTS)
    clips = tables.read(Path("data/clips.csv"), tables.clips_table(models, results.variants))
    trial = section(params, "evaluate", EvaluateSettings).trial
    page = results_markdown(results, models, seeds, source, clips, trial)
    with output_file(Path("metrics/results.md")) as path:
        path.write_text(page, encoding="utf-8")
    return f"metrics/results.md, {len(page.splitlines())} lines"


if __name__ == "__main__":
    run("report", main)
