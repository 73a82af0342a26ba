"""The results as a page with charts: reports/index.html and reports/figures/. It computes no result."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from facestudy.attribution.findings import MISTAKES
from facestudy.controls.shortcuts import SHORTCUTS
from facestudy.core import tables
from facestudy.core.arrays import Picture
from facestudy.core.errors import StudyError
from facestudy.dataset.split import SplitSettings
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.evaluation.results import read_results
from facestudy.media.archive import read_picture
from facestudy.media.inline import Inline, inline
from facestudy.report import page
from facestudy.report.charts import StudyTables, all_charts
from facestudy.report.labels import label
from facestudy.runtime.work_cache import file_sha256
from stages.stage import not_empty, output_file, output_folder, read_params, run, section

METRICS = Path("metrics")
MISTAKES_FOLDER = Path("reports/mistakes")
PLOTS_PAGE = Path(".dvc/plots/page.html")
TEXT = METRICS / "results.md"
RESULTS = METRICS / "results.json"
CURVES = ("roc", "precision_recall", "histogram", "confusion", "training")
PACKAGES = ("tensorflow", "keras", "mtcnn", "opencv-python-headless", "numpy", "scipy", "dvc")


def main() -> str:
    params = read_params()
    models = list(not_empty(section(params, "models", dict[str, Any]), "models"))
    variants = not_empty(section(params, "variants", list[str]), "variants")
    source, evaluation = section(params, "source", str), section(params, "evaluate", EvaluateSettings)
    names = ("contrasts", "hypotheses", "reliability", "robustness", "faces")
    contrasts, hypotheses, reliability, robustness, faces = (
        tables.read_text(METRICS / f"{name}.csv") for name in names
    )
    clips = tables.read(Path("data/clips.csv"), tables.clips_table(models, variants))
    constant = read_results(RESULTS).constant_trainings
    results = StudyTables(
        models,
        variants,
        evaluation.confidence,
        {name: tables.read_text(METRICS / "curves" / f"{name}.csv") for name in CURVES},
        reliability,
        contrasts,
        robustness,
        faces,
        tables.read(METRICS / "shortcuts.csv", SHORTCUTS),
        clips,
        {model: [variant for variant, count in row.items() if count] for model, row in constant.items()},
    )
    charts = all_charts(results)
    note = label(source, evaluation.trial, section(params, "split", SplitSettings).control())
    html = page.page(
        TEXT.read_text(encoding="utf-8"),
        note=note,
        charts=charts,
        sentences=page.answer(contrasts, hypotheses, results.level),
        pictures=[
            inline(f"Real and fake faces, variant {name}.", read_sheet(name), page.JPEG_QUALITY, page.MAX_WIDTH)
            for name in variants
        ],
        wrong=page.most_wrong(models, variants[:2], clips),
        mistakes=read_mistakes(variants[:2]),
        settings=settings(params),
        provenance=provenance(),
        scripts=scripts(),
    )
    with output_file(Path("reports/index.html")) as path:
        path.write_text(html, encoding="utf-8")
    with output_folder(Path("reports/figures")) as folder:
        count = page.write_figures(folder, charts, note)
    return f"reports/index.html with {count} charts, which reports/figures/ has as files"


def settings(params: dict[str, Any]) -> str:
    """The settings that decide what was trained, on what, and how it was judged."""
    shown = {
        "source": params["source"],
        "variants": params["variants"],
        "models": params["models"],
        "seeds": params["seeds"],
        "split": params["split"],
        "evaluate": params["evaluate"],
    }
    return str(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True))


def read_sheet(variant: str) -> Picture:
    """The contact sheet of a variant."""
    path = Path("reports/crops") / f"{variant}.png"
    sheet = read_picture(path) if path.is_file() else None
    if sheet is None:
        raise StudyError(f"{path} is missing or damaged; `dvc repro -f crops` makes it again.")
    return sheet


def read_mistakes(variants: list[str]) -> list[Inline]:
    """The faces that the models get most wrong, beside what speaks for the wrong class."""
    shown = []
    table = tables.read(MISTAKES_FOLDER / "index.csv", MISTAKES).query("variant in @variants")
    in_order = table.sort_values("variant", key=lambda names: names.map(variants.index), kind="stable")
    for row in in_order.sort_values("model", kind="stable").itertuples():
        path = MISTAKES_FOLDER / row.path
        picture = read_picture(path, row.sha256)
        if picture is None:
            raise StudyError(
                f"{path} is missing or damaged; `dvc repro --force --single-item attribution` makes it again."
            )
        other = "real" if row.label == "fake" else "fake"
        text = f"{row.model} on {row.variant}: {row.face_id}, a {row.label} face, mean p_fake {row.p_fake:.2f}"
        shown.append(inline(f"{text}. On the right, what speaks for {other}.", picture))
    return shown


def scripts() -> str:
    """The scripts that draw charts, from the page of `dvc plots`."""
    found = re.search(r"<script>(.*?)</script>", PLOTS_PAGE.read_text(encoding="utf-8"), re.DOTALL)
    if found is None:
        raise StudyError(f"{PLOTS_PAGE} is damaged; `git checkout {PLOTS_PAGE}` restores it.")
    return found[1]


def provenance() -> pd.DataFrame:
    """The data that the page goes back to, and the packages that were installed when it was written."""
    rows = [("sha256 of " + name, file_sha256(Path(name))) for name in ("data/split.csv", str(RESULTS))]
    installed = [(f"{name}, when the page was written", version(name)) for name in PACKAGES]
    return pd.DataFrame([*rows, *installed], columns=["what", "value"])


if __name__ == "__main__":
    run("page", main)
