"""The results as a page: metrics/results.md. It computes nothing."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path

import pandas as pd

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.evaluation.results import read_results
from facestudy.models.settings import ModelSettings
from facestudy.report.markdown import results_markdown
from stages.stage import output_file, read_params, run, section

RESULTS = Path("metrics/results.json")


def read_csv(path: Path) -> pd.DataFrame:
    """A table of texts that another stage wrote."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read ({error}); `dvc repro` makes it.") from None


def main() -> str:
    params = read_params()
    models = section(params, "models", dict[str, ModelSettings])
    seeds = section(params, "seeds", list[int])
    sample = section(params, "source", str) == "sample"
    results = read_results(RESULTS)
    clips = tables.read(Path("data/clips.csv"), tables.clips_table(models, results.variants))
    trial = section(params, "evaluate", EvaluateSettings).trial
    tables_of = {name: read_csv(Path("metrics") / f"{name}.csv") for name in ("contrasts", "hypotheses")}
    robustness = {
        model: {
            variant: read_csv(Path("metrics/robustness") / variant / f"{model}.csv") for variant in results.variants
        }
        for model in models
    }
    page = results_markdown(results, models, seeds, sample, clips, trial, robustness=robustness, **tables_of)
    with output_file(Path("metrics/results.md")) as path:
        path.write_text(page, encoding="utf-8")
    return f"metrics/results.md, {len(page.splitlines())} lines"


if __name__ == "__main__":
    run("report", main)
