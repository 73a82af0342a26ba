"""The results as pages: metrics/results.md, and reports/index.html with charts. It computes no result."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from facestudy.attribution.findings import ATTRIBUTION
from facestudy.controls.shortcuts import SHORTCUTS
from facestudy.core import tables
from facestudy.core.arrays import Picture
from facestudy.core.errors import StudyError
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.evaluation.results import read_results
from facestudy.media.archive import read_picture
from facestudy.models.settings import ModelSettings
from facestudy.report import page
from facestudy.report.markdown import results_markdown
from facestudy.robustness.settings import label
from facestudy.runtime.work_cache import file_sha256
from stages.stage import PARAMS, output_file, output_folder, read_params, run, section

RESULTS = Path("metrics/results.json")
GAPS = Path("metrics/training-gaps")
CURVES = ("roc", "precision_recall", "histogram", "confusion")


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
    text = results_markdown(
        results, models, seeds, source, clips, shortcuts, gaps, contrasts, hypotheses, robustness, attribution, trial
    )
    with output_file(Path("metrics/results.md")) as path:
        path.write_text(text, encoding="utf-8")
    shown = page.Tables(
        {name: read_csv(Path("metrics/curves") / f"{name}.csv") for name in CURVES},
        read_csv(Path("metrics/reliability.csv")),
        contrasts,
        hypotheses,
        robustness,
        [label(row.kind, row.severity) for row in robustness.itertuples()],
        shortcuts,
        pd.read_csv("metrics/faces.csv"),
        clips,
    )
    found = page.all_charts(list(models), results.variants, shown)
    html = page.page(
        text,
        source,
        trial,
        found,
        page.answer(contrasts, hypotheses),
        [
            page.picture_of(f"Real and fake faces, variant {name}.", read_sheet(Path("reports/crops") / f"{name}.png"))
            for name in results.variants
        ],
        PARAMS.read_text(encoding="utf-8"),
        provenance(),
    )
    with output_file(Path("reports/index.html")) as path:
        path.write_text(html, encoding="utf-8")
    with output_folder(Path("reports/figures")) as folder:
        count = page.write_figures(folder, found, page.label(source, trial))
    return f"metrics/results.md; reports/index.html with {count} charts, which reports/figures/ has as files"


def read_sheet(path: Path) -> Picture:
    """The contact sheet of a variant."""
    sheet = read_picture(path) if path.is_file() else None
    if sheet is None:
        raise StudyError(f"{path} is missing or damaged; `dvc repro -f crops` makes it again.")
    return sheet


def provenance() -> pd.DataFrame:
    """The data and the packages that the page goes back to."""
    rows = [("sha256 of " + name, file_sha256(Path(name))) for name in ("data/split.csv", "metrics/results.json")]
    packages = ("tensorflow", "keras", "mtcnn", "opencv-python-headless", "numpy", "scipy", "dvc")
    return pd.DataFrame([*rows, *((name, version(name)) for name in packages)], columns=["what", "value"])


def read_gaps(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        raise StudyError(f"{path} is missing or damaged; `dvc repro -f` makes it again.") from None


if __name__ == "__main__":
    run("report", main)
