"""Accuracy and AUC of the variant named by `focus`, for `dvc metrics diff`: metrics/focus/<model>.json."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

import json
from pathlib import Path
from typing import Any

from facestudy.core.errors import StudyError
from stages.stage import output_folder, read_params, run, section

NAMES = ("accuracy", "auc")


def focus_keys(metrics: dict[str, float]) -> list[str]:
    """Keys of a metrics file that are shown; with one training, the interval is the one for new groups."""
    ends = ("_low", "_high") if "auc_low" in metrics else ("_groups_low", "_groups_high")
    return [f"{name}{end}" for name in NAMES for end in ("", *ends)]


def main() -> str:
    params = read_params()
    models = section(params, "models", dict[str, Any])
    variants = section(params, "variants", list[str])
    focus = section(params, "focus", str)
    if "focus" in variants:
        raise StudyError("params.yaml: variants: a variant cannot be called focus, metrics/focus/ is taken; rename it.")
    if focus not in variants:
        raise StudyError(f"params.yaml: focus = {focus!r} is not among the variants ({', '.join(variants)}).")
    with output_folder(Path("metrics/focus")) as folder:
        for model in models:
            metrics = read_metrics(Path("metrics") / focus / f"{model}.json")
            text = json.dumps({key: metrics[key] for key in focus_keys(metrics)}, indent=2) + "\n"
            (folder / f"{model}.json").write_text(text, encoding="utf-8")
    return f"{focus}, {len(models)} models"


def read_metrics(path: Path) -> dict[str, float]:
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path} is missing; `dvc repro` makes it.") from None
    except ValueError as error:
        raise StudyError(f"{path} is not valid JSON ({error}); `dvc repro -f` makes it again.") from None
    missing = [key for key in focus_keys(metrics) if key not in metrics] if isinstance(metrics, dict) else list(NAMES)
    if missing:
        raise StudyError(f"{path} has no {missing[0]}; `dvc repro -f` makes it again.")
    return dict(metrics)


if __name__ == "__main__":
    run("focus", main)
