"""All figures of a study: computed once, stored as JSON, rendered by facestudy.report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from facestudy.core.errors import StudyError
from facestudy.evaluation.calibration import Calibration, calibration
from facestudy.evaluation.comparisons import (
    COMPARED,
    ByMethod,
    Cells,
    Comparison,
    Counts,
    Splits,
    cell_estimates,
    check_cells,
    compare_variants,
    count,
    method_results,
)
from facestudy.evaluation.intervals import Estimate, EvaluateSettings
from facestudy.evaluation.scores import constant_trainings

T = TypeVar("T")


@dataclass(frozen=True)
class Results:
    """All figures of a study, computed once; facestudy.report renders them.

    Attributes
    ----------
    test : Counts
        What the figures are about.
    estimates : mapping of model, variant and metric to Estimate
        The metrics of COMPARED and accuracy_tuned.
    comparisons : list of Comparison
        Every variant but the first against the first.
    methods : mapping of model, variant and method
        See `method_results`.
    calibrations : mapping of model and variant to Calibration
    confidence : float
        Of all intervals, 0 to 1.
    constant_trainings : mapping of model and variant to int
        How many trainings of a cell have a constant output. A cell with such a training is broken: its figures are no
        result.
    """

    test: Counts
    estimates: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
    comparisons: list[Comparison]
    methods: ByMethod
    calibrations: Mapping[str, Mapping[str, Calibration]]
    confidence: float
    constant_trainings: Mapping[str, Mapping[str, int]]

    @property
    def variants(self) -> list[str]:
        """The names of the variants, the reference first."""
        return list(next(iter(self.estimates.values())))

    @property
    def method_names(self) -> list[str]:
        """The manipulation methods of the fakes, in alphabetical order."""
        first_model = next(iter(self.methods.values()))
        return list(first_model[self.variants[0]])


def study_results(cells: Cells, settings: EvaluateSettings, test_share: float) -> Results:
    """Compute all figures of a study.

    Parameters
    ----------
    cells
        The scores; every cell is about the same test faces.
    settings
        Section `evaluate` of the settings.
    test_share
        The share of the groups in a test subset, 0 to 1; it counts with several splits only.

    Raises
    ------
    StudyError
        When there is no cell, or cells are about different faces.
    """
    first = check_cells(cells)
    return Results(
        count(first),
        _of_cells(cells, lambda cell: cell_estimates(cell, settings, test_share, (*COMPARED, "accuracy_tuned"))),
        compare_variants(cells, settings, test_share),
        _of_cells(cells, lambda cell: method_results(cell, settings, test_share)),
        _of_cells(cells, calibration),
        settings.confidence,
        _of_cells(cells, constant_trainings),
    )


def _of_cells(cells: Cells, compute: Callable[[Splits], T]) -> dict[str, dict[str, T]]:
    return {model: {variant: compute(cell) for variant, cell in variants.items()} for model, variants in cells.items()}


def to_json(results: Results) -> str:
    """Write results as JSON, with NaN for what is not defined.

    Numbers have nine digits, the same on every CPU. `Difference.spreads`, which no page shows, are left out.
    """
    return json.dumps(_rounded(asdict(results)), indent=1) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items() if key != "spreads"}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def read_results(path: Path) -> Results:
    """Read what `to_json` wrote.

    Raises
    ------
    StudyError
        When the file is missing, not JSON, or not of this form.
    """
    try:
        return TypeAdapter(Results).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it does not hold the figures of a study"
        raise StudyError(f"{path} cannot be read ({why}).") from None
