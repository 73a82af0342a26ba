"""Accuracy and AUC of each model on the variant named by `focus`, for `dvc metrics diff`: metrics/focus.json."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import json
from pathlib import Path
from typing import Any

from facestudy.core.errors import StudyError
from stages.stage import output_file, read_params, run, section

NAMES = ("accuracy", "auc")
COUNTS = ("test_faces", "test_groups")


def main() -> str:
    params = read_params()
    models = section(params, "models", dict[str, Any])
    variants = section(params, "variants", list[str])
    focus = section(params, "focus", str)
    if focus not in variants:
        raise StudyError(f"params.yaml: focus = {focus!r} is not among the variants ({', '.join(variants)}).")
    found = {model: read_metrics(Path("metrics") / focus / f"{model}.json") for model in models}
    shown: dict[str, Any] = {model: {name: metrics[name] for name in NAMES} for model, metrics in found.items()}
    for metrics in found.values():  # the same in all
        shown |= {name: metrics[name] for name in COUNTS}
    with output_file(Path("metrics/focus.json")) as path:
        path.write_text(json.dumps(shown, indent=2) + "\n", encoding="utf-8")
    return f"{focus}, {len(models)} models"


def read_metrics(path: Path) -> dict[str, float]:
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path} is missing; `dvc repro` makes it.") from None
    except ValueError as error:
        raise StudyError(f"{path} is not valid JSON ({error}); `dvc repro -f` makes it again.") from None
    names = [*NAMES, *COUNTS]
    missing = [name for name in names if name not in metrics] if isinstance(metrics, dict) else names
    if missing:
        raise StudyError(f"{path} has no {missing[0]}; `dvc repro -f` makes it again.")
    return dict(metrics)


if __name__ == "__main__":
    run("focus", main)
