"""The results as a page: metrics/results.md. It computes nothing."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import json
from pathlib import Path
from typing import Any

import pandas as pd

from facestudy.attribution.findings import ATTRIBUTION
from facestudy.controls.shortcuts import SHORTCUTS
from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.evaluation.results import read_results
from facestudy.models.settings import ModelSettings
from facestudy.report.markdown import results_markdown
from stages.stage import output_file, read_params, run, section

RESULTS = Path("metrics/results.json")
GAPS = Path("metrics/training-gaps")


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
    source = section(params, "source", str)
    results = read_results(RESULTS)
    clips = tables.read(Path("data/clips.csv"), tables.clips_table(models, results.variants))
    trial = section(params, "evaluate", EvaluateSettings).trial
    shortcuts = tables.read(Path("metrics/shortcuts.csv"), SHORTCUTS)
    attribution = tables.read(Path("metrics/attribution.csv"), ATTRIBUTION)
    gaps = {model: {name: read_gaps(GAPS / name / f"{model}.json") for name in results.variants} for model in models}
    contrasts, hypotheses, robustness = (
        read_csv(Path("metrics") / f"{name}.csv") for name in ("contrasts", "hypotheses", "robustness")
    )
    page = results_markdown(
        results, models, seeds, source, clips, shortcuts, gaps, contrasts, hypotheses, robustness, attribution, trial
    )
    with output_file(Path("metrics/results.md")) as path:
        path.write_text(page, encoding="utf-8")
    return f"metrics/results.md, {len(page.splitlines())} lines"


def read_gaps(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        raise StudyError(f"{path} is missing or damaged; `dvc repro -f` makes it again.") from None


if __name__ == "__main__":
    run("report", main)
