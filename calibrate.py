"""Known answers: the whole study on samples of other seeds, where the truth is known.

`make calibrate` runs the stages, each as its own script, in private folders, and writes every run
to metrics/calibration.csv: with an artefact in eyes and lower face a detector must find it on
`full` and `eyes_lower` and must not on `complement`; with no artefact its intervals must contain .5.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import yaml
from pydantic import Field

from facestudy.errors import StudyError
from facestudy.parallel import ComputeSettings, map_items
from facestudy.settings import Section, check, merge
from stages.stage import output_file, read_params

ROOT = Path(__file__).resolve().parent
OUT = Path("metrics/calibration.csv")


class Case(Section):
    """One kind of run: an artefact, the seeds, and what differs from params.yaml."""

    artefact: str
    seeds: Annotated[list[int], Field(min_length=1)]
    variants: list[str]
    override: dict[str, Any]


class CalibrationSettings(Section):
    """Section `calibrate` of params.yaml."""

    model: str
    cases: dict[str, Case]


def case_params(params: dict[str, Any], model: str, case: Case, seed: int) -> dict[str, Any]:
    """The settings of one run: params.yaml with the case's seed, artefact, variants and overrides."""
    values = copy.deepcopy(params)
    merge(values, case.override, "params.yaml: calibrate")
    values["source"] = "sample"
    values["sample"] |= {"seed": seed, "artefact": case.artefact}
    values["models"] = {model: values["models"][model]}
    values["variants"] = case.variants
    values["seeds"] = values["seeds"][:1]
    values["focus"] = case.variants[0]
    values["compute"] = {"backend": "loky", "workers": 1, "scheduler": None}
    return values


def run_study(values: dict[str, Any], folder: Path) -> dict[str, dict[str, float]]:
    """Run the stages up to `evaluate` in `folder`; the metrics of each variant.

    Raises StudyError with a stage's own words when it fails.
    """
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    (model,) = values["models"]
    cells = [["--variant", variant] for variant in values["variants"]]
    commands = [["videos"], ["frames"], ["faces"], ["duplicates"], ["split"]]
    commands += [["crops", *cell] for cell in cells]
    commands += [["train", *cell, "--model", model] for cell in cells]
    commands += [["evaluate", *cell, "--model", model] for cell in cells]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for stage, *options in commands:
        command = [sys.executable, "-m", f"stages.{stage}", *options]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise StudyError(f"{stage} failed: {done.stderr.strip().splitlines()[-1]}")
    return {
        variant: json.loads((folder / "metrics" / variant / f"{model}.json").read_text())
        for variant in values["variants"]
    }


def one_run(item: tuple[str, int], params: dict[str, Any], settings: CalibrationSettings) -> list[dict[str, object]]:
    """The rows of one run: a case's name and a seed -> one row a variant."""
    name, seed = item
    case = settings.cases[name]
    folder = Path(tempfile.mkdtemp(prefix="calibrate-"))
    try:
        metrics = run_study(case_params(params, settings.model, case, seed), folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [
        {
            "case": name,
            "artefact": case.artefact,
            "sample_seed": seed,
            "model": settings.model,
            "variant": variant,
            **{key: found[key] for key in ("auc", "auc_low", "auc_high", "accuracy", "accuracy_low", "accuracy_high")},
            "test_groups": int(found["test_groups"]),
            "test_faces": int(found["test_faces"]),
        }
        for variant, found in metrics.items()
    ]


def summary(table: pd.DataFrame) -> str:
    """For each case and variant: mean AUC, its range, how many intervals contain .5."""
    lines = []
    for (case, variant), rows in table.groupby(["case", "variant"]):
        inside = ((rows["auc_low"] <= 0.5) & (rows["auc_high"] >= 0.5)).sum()
        lines.append(
            f"{case} {variant}: {len(rows)} runs, AUC mean {rows['auc'].mean():.3f}, "
            f"{rows['auc'].min():.3f} to {rows['auc'].max():.3f}; >= .9 in {(rows['auc'] >= 0.9).sum()}; "
            f"interval contains .5 in {inside} ({inside / len(rows):.0%})"
        )
    return "\n".join(lines)


def main() -> None:
    params = read_params()
    settings = check(CalibrationSettings, params["calibrate"], "calibrate")
    items = [(name, seed) for name, case in settings.cases.items() for seed in case.seeds]
    work = functools.partial(one_run, params=params, settings=settings)
    compute = ComputeSettings(workers=0)
    rows = [row for found in map_items(work, items, compute, "calibrate") for row in found]
    table = pd.DataFrame(rows).round(6)
    with output_file(OUT) as path:
        table.to_csv(path, index=False, lineterminator="\n")
    print(summary(table))


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(f"calibrate: {error}")
