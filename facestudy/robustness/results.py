"""How much the scores of altered faces differ from those of the unaltered ones: metrics/robustness.csv."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from facestudy.core.arrays import FloatArray
from facestudy.core.errors import StudyError
from facestudy.evaluation.comparisons import Cells, Splits, cell_estimates, ends
from facestudy.evaluation.intervals import (
    Difference,
    EvaluateSettings,
    differences,
    differences_of_changes,
    repeated_differences,
    repeated_differences_of_changes,
)
from facestudy.evaluation.metrics import THRESHOLD
from facestudy.evaluation.scores import Scores
from facestudy.robustness.settings import Alteration, label

METRIC = "auc"
TOLERANCE = 1e-4
"""Of p_fake. Another kind of processor may give other last digits; other weights differ by far more."""
SETTINGS = EvaluateSettings()
"""95 % intervals: another confidence of the results must not need the faces and models again."""
COLUMNS = [
    "model", "variant", "kind", "severity", "auc", "auc_low", "auc_high",
    "change", "change_low", "change_high", "change_p", "extra", "extra_low", "extra_high", "extra_p",
    "flip_rate", "faces",
]  # fmt: skip

Change = tuple[Splits, Splits]
"""Scores of one model on one variant before and after an alteration, one item for each split."""
Cell = Mapping[Alteration | None, Splits]
"""Scores of one model on one variant by alteration; None for the unaltered faces."""


def check_same(stored: Scores, found: FloatArray, names: Sequence[str]) -> None:
    """Make sure that models give unaltered faces the scores that are stored.

    Parameters
    ----------
    stored
        The predictions of the trainings.
    found : ndarray of float64, shape (trainings, faces)
        p_fake of the same faces now.
    names
        <variant>/<model>/<training>, below models/ and predictions/.

    Raises
    ------
    StudyError
        When they differ by more than TOLERANCE; the message names the training and the face.
    """
    difference = np.abs(stored.p_fake - found)
    training, face = divmod(int(difference.argmax()), difference.shape[1])
    if difference[training, face] > TOLERANCE:
        raise StudyError(
            f"models/{names[training]} gives the face {stored.ids[face]} the score {found[training, face]:.6f}, "
            f"predictions/{names[training]}.csv says {stored.p_fake[training, face]:.6f}: they are not of the same "
            "training or not of these crops; `dvc repro` brings them up to date, `dvc repro -f` makes them again."
        )


def altered_cells(
    stored: Cells, found: Sequence[FloatArray], alterations: Sequence[Alteration], trainings: Sequence[Sequence[str]]
) -> dict[str, dict[str, Cell]]:
    """Put scores of altered faces beside the stored ones, which the models must give to the unaltered faces.

    Parameters
    ----------
    stored
        Scores by model and variant.
    found : sequence of ndarray of float64, shape (models, variants, 1 + alterations, trainings, faces)
        What `facestudy.robustness.scoring.altered_scores` returned, one for each split; not needed without alterations.
    alterations
        In the order of the third axis.
    trainings
        The names of the trainings of each split.

    Returns
    -------
    dict of model and variant to Cell
        Without validation scores.

    Raises
    ------
    StudyError
        As `check_same`.
    """
    cells: dict[str, dict[str, Cell]] = {}
    for of_model, (model, variants) in enumerate(stored.items()):
        cells[model] = {}
        for of_variant, (variant, splits) in enumerate(variants.items()):
            unaltered = [replace(scores, validation=None) for scores in splits]
            p_fake = [split[of_model, of_variant] for split in found]
            for scores, again, names in zip(unaltered, p_fake, trainings, strict=bool(alterations)):
                check_same(scores, again[0], [f"{variant}/{model}/{name}" for name in names])
            cells[model][variant] = {None: unaltered} | {
                alteration: [replace(scores, p_fake=p[row]) for scores, p in zip(unaltered, p_fake, strict=True)]
                for row, alteration in enumerate(alterations, start=1)
            }
    return cells


def change(cell: Change, test_share: float) -> Difference:
    """The AUC of altered faces minus that of the same faces unaltered.

    Both sides are scores of the same trained models, so trainings are crossed with the alteration: only what another
    training would change of the difference counts.

    Parameters
    ----------
    cell
        The scores before and after.
    test_share
        The share of the groups in a test subset, 0 to 1; it matters with several splits only.

    Returns
    -------
    Difference
    """
    before, after = cell
    if len(before) == 1:
        return differences(before[0], after[0], SETTINGS, [METRIC], design="crossed")[METRIC]
    return repeated_differences(before, after, SETTINGS, test_share, [METRIC])[METRIC]


def extra_change(reference: Change, variant: Change, test_share: float) -> Difference:
    """The change of AUC on one variant minus the change on another.

    Parameters
    ----------
    reference, variant
        The scores before and after the same alteration of the same faces.
    test_share
        The share of the groups in a test subset, 0 to 1; it matters with several splits only.

    Returns
    -------
    Difference
        `first` is the change on the reference, `second` that on the variant.
    """
    if len(reference[0]) == 1:
        (before, after), (other_before, other_after) = reference, variant
        pairs = (before[0], after[0]), (other_before[0], other_after[0])
        return differences_of_changes(*pairs, SETTINGS, [METRIC])[METRIC]
    return repeated_differences_of_changes(reference, variant, SETTINGS, test_share, [METRIC])[METRIC]


def flip_rate(cell: Change) -> float:
    """The share of answers that change: a face is called fake above .5, each training answers once for each face.

    Parameters
    ----------
    cell
        The scores before and after.

    Returns
    -------
    float
        0 to 1, mean over trainings.
    """
    flips = [(before.p_fake > THRESHOLD) != (after.p_fake > THRESHOLD) for before, after in zip(*cell, strict=True)]
    return float(np.concatenate(flips, axis=1).mean())


def robustness_table(cells: Mapping[str, Mapping[str, Cell]], test_share: float) -> pd.DataFrame:
    """The content of metrics/robustness.csv as text cells.

    Parameters
    ----------
    cells
        The scores by model and variant; the first variant is the reference.
    test_share
        The share of the groups in a test subset, 0 to 1; it matters with several splits only.

    Returns
    -------
    DataFrame
        One row per model, variant and alteration, first the unaltered faces (`none`); a cell is empty where there is no
        number.
    """
    rows = []
    for model, variants in cells.items():
        reference = next(iter(variants.values()))
        for variant, cell in variants.items():
            for alteration in cell:
                row = {"model": model, "variant": variant, **_row(cell, alteration, test_share)}
                if alteration and cell is not reference:
                    first, second = ((one[None], one[alteration]) for one in (reference, cell))
                    row |= _written("extra", extra_change(first, second, test_share))
                rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS).fillna("")


def _row(cell: Cell, alteration: Alteration | None, test_share: float) -> dict[str, str]:
    scores = cell[alteration]
    found = cell_estimates(scores, SETTINGS, test_share, [METRIC])[METRIC]
    low, high = ends(found)
    row = {"kind": "none", "auc": _decimals(found.value), "auc_low": _decimals(low), "auc_high": _decimals(high)}
    row["faces"] = str(sum(len(split.fake) for split in scores))
    if alteration is None:
        return row
    both = (cell[None], scores)
    row |= {"kind": alteration.kind, "severity": f"{alteration.severity:g}", "flip_rate": _decimals(flip_rate(both))}
    return row | _written("change", change(both, test_share))


def _written(name: str, found: Difference) -> dict[str, str]:
    low, high = ends(found)
    numbers = {name: found.value, f"{name}_low": low, f"{name}_high": high}
    p = "" if math.isnan(found.p) else f"{found.p:.4g}"
    return {key: _decimals(number) for key, number in numbers.items()} | {f"{name}_p": p}


def _decimals(number: float) -> str:
    return "" if math.isnan(number) else f"{number + 0.0:.6f}"


def stored_extra_change(table: pd.DataFrame, model: str, variant: str, alteration: Alteration) -> Difference | None:
    """Read how much more the AUC changes on a variant than on the reference.

    Parameters
    ----------
    table
        As `robustness_table` made it: text cells.
    model, variant
        Which cell.
    alteration
        Which alteration.

    Returns
    -------
    Difference or None
        `first` and `second` are the changes on the reference and on the variant. With one training `low`, `high` and
        `p` are NaN, else those of the groups. None where the table has no such row, or `variant` is the reference.
    """
    rows = table[(table["kind"] == alteration.kind) & (table["severity"] == f"{alteration.severity:g}")]
    rows = rows[(rows["model"] == model) & (rows["variant"] == variant) & (rows["extra"] != "")]
    if rows.empty:
        return None
    row = rows.iloc[0]
    second, value, low, high = (float(row[name]) for name in ("change", "extra", "extra_low", "extra_high"))
    nothing = (math.nan,) * 3
    tested = (low, high, float(row["extra_p"])) if row["extra_p"] else nothing
    of_groups = nothing if row["extra_p"] else (low, high, math.nan)
    return Difference(second - value, second, value, *tested, *of_groups)


def largest_fall(table: pd.DataFrame) -> str:
    """Say where an alteration costs most AUC.

    Parameters
    ----------
    table
        As `robustness_table` made it.

    Returns
    -------
    str
    """
    rows = table[table["kind"] != "none"]
    if rows.empty:
        return "nothing is altered"
    worst = rows.loc[rows["change"].astype(float).idxmin()]
    return (
        f"AUC falls most for {worst['model']} on {worst['variant']} with {label(worst['kind'], worst['severity'])}: "
        f"by {-float(worst['change']):.3f} to {float(worst['auc']):.3f}"
    )
