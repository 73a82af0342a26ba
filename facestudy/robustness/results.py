"""How much the scores of altered faces differ from those of the unaltered ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from facestudy.core.arrays import FloatArray
from facestudy.core.errors import StudyError
from facestudy.evaluation.comparisons import Splits, cell_estimates, ends
from facestudy.evaluation.intervals import Difference, EvaluateSettings, differences, repeated_differences
from facestudy.evaluation.metrics import THRESHOLD
from facestudy.evaluation.scores import Scores
from facestudy.robustness.settings import Alteration, label

METRIC = "auc"
TOLERANCE = 1e-4
"""Of p_fake. Another kind of processor may give other last digits; other weights differ by far more."""


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


def change(unaltered: Splits, altered: Splits, settings: EvaluateSettings, test_share: float) -> Difference:
    """The AUC of altered faces minus that of the same faces unaltered.

    Both sides are scores of the same trained models, so trainings are crossed with the alteration: only what another
    training would change of the difference counts.

    Parameters
    ----------
    unaltered, altered
        Scores of one model on one variant, one item for each split.
    settings
        Section `evaluate` of the settings.
    test_share
        The share of the groups in a test subset, 0 to 1; it matters with several splits only.

    Returns
    -------
    Difference
    """
    if len(unaltered) == 1:
        return differences(unaltered[0], altered[0], settings, [METRIC], design="crossed")[METRIC]
    return repeated_differences(unaltered, altered, settings, test_share, [METRIC])[METRIC]


def flip_rate(unaltered: Splits, altered: Splits) -> float:
    """The share of answers that change: a face is called fake above .5, each training answers once for each face.

    Parameters
    ----------
    unaltered, altered
        Scores of one model on one variant, one item for each split.

    Returns
    -------
    float
        0 to 1, mean over trainings.
    """
    flips = [
        (before.p_fake > THRESHOLD) != (after.p_fake > THRESHOLD)
        for before, after in zip(unaltered, altered, strict=True)
    ]
    return float(np.concatenate(flips, axis=1).mean())


def robustness_table(
    unaltered: Splits, altered: Mapping[Alteration, Splits], settings: EvaluateSettings, test_share: float
) -> pd.DataFrame:
    """The content of metrics/robustness/<variant>/<model>.csv as text cells.

    Parameters
    ----------
    unaltered
        Scores of one model on one variant, one item for each split.
    altered
        The scores of the same faces with each alteration.
    settings
        Section `evaluate` of the settings.
    test_share
        The share of the groups in a test subset, 0 to 1; it matters with several splits only.

    Returns
    -------
    DataFrame
        One row per alteration, first the unaltered faces (`none`); a cell is empty where there is no number.
    """
    faces = str(sum(len(scores.fake) for scores in unaltered))
    columns = ["kind", "severity", "auc", "auc_low", "auc_high"]
    columns += ["change", "change_low", "change_high", "p", "flip_rate", "faces"]
    rows = [["none", "", *_auc(unaltered, settings, test_share), "", "", "", "", "", faces]]
    for alteration, scores in altered.items():
        found = change(unaltered, scores, settings, test_share)
        numbers = [_decimals(number) for number in (found.value, *ends(found))]
        p = "" if math.isnan(found.p) else f"{found.p:.4g}"
        rates = [p, _decimals(flip_rate(unaltered, scores)), faces]
        auc = _auc(scores, settings, test_share)
        rows.append([alteration.kind, f"{alteration.severity:g}", *auc, *numbers, *rates])
    return pd.DataFrame(rows, columns=columns)


def _auc(cell: Splits, settings: EvaluateSettings, test_share: float) -> list[str]:
    found = cell_estimates(cell, settings, test_share, [METRIC])[METRIC]
    return [_decimals(number) for number in (found.value, *ends(found))]


def _decimals(number: float) -> str:
    return "" if math.isnan(number) else f"{number + 0.0:.6f}"


def largest_fall(table: pd.DataFrame) -> str:
    """Say which alteration costs most AUC.

    Parameters
    ----------
    table
        As `robustness_table` made it.

    Returns
    -------
    str
    """
    rows = table[table["kind"] != "none"]
    start = f"AUC {float(table['auc'][0]):.3f}"
    if rows.empty:
        return start
    worst = rows.loc[rows["change"].astype(float).idxmin()]
    return f"{start}, lowest {float(worst['auc']):.3f} ({label(worst['kind'], worst['severity'])})"
