"""The differences between the scores of altered and unaltered faces: metrics/robustness.csv."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from facestudy.alterations.settings import ALTERED_SCORES, ALTERED_SUFFIX, COMPOSITE, RECODED, Alteration, label
from facestudy.core import tables
from facestudy.core.arrays import FloatArray
from facestudy.core.errors import StudyError
from facestudy.evaluation.comparisons import Cells, Splits, cell_differences, cell_estimates, ends
from facestudy.evaluation.intervals import Difference, EvaluateSettings
from facestudy.evaluation.metrics import THRESHOLD
from facestudy.evaluation.scores import Change, Scores

METRIC = "auc"
COLUMNS = [
    "model", "variant", "kind", "severity", "auc", "auc_low", "auc_high",
    "change", "change_low", "change_high", "change_p", "extra", "extra_low", "extra_high", "extra_p",
    "flip_rate", "faces",
]  # fmt: skip

Changes = Mapping[Alteration, Sequence[Change]]
"""The changes of the scores of one model on one variant: for each alteration, one item for each split."""


def altered_scores(
    folder: Path, cells: Cells, seeds: Sequence[int], alterations: Sequence[Alteration]
) -> dict[str, dict[str, dict[Alteration, list[Change]]]]:
    """Read the scores of altered test faces.

    Parameters
    ----------
    folder : Path
        The folder of all predictions.
    cells : mapping of model and variant to Scores
        The scores of the same faces unaltered.
    seeds : sequence of int
        The seeds of the trainings on each split.
    alterations : sequence of Alteration
        Those to look for.

    Returns
    -------
    dict of model and variant to Changes
        Alterations are in the given order, without those that the files do not have. Scores have no validation scores.

    Raises
    ------
    StudyError
        When a file is missing, is not such a table, or has other faces or alterations than the others of its cell.
    """
    return {
        model: {
            variant: _of_cell(folder / variant / model, splits, seeds, alterations)
            for variant, splits in variants.items()
        }
        for model, variants in cells.items()
    }


def _of_cell(
    folder: Path, unaltered: Splits, seeds: Sequence[int], alterations: Sequence[Alteration]
) -> dict[Alteration, list[Change]]:
    splits = [replace(scores, validation=None) for scores in unaltered]
    read: list[dict[Path, dict[str, FloatArray]]] = []
    for repeat, scores in enumerate(splits, start=1):
        names = [tables.training_name(seed, repeat, len(splits)) for seed in seeds]
        paths = [folder / f"{name}{ALTERED_SUFFIX}" for name in names]
        read.append({path: _read(path, scores) for path in paths})
    first, known = next(iter(read[0].items()))
    for path, found in (item for of_split in read for item in of_split.items()):
        if found.keys() != known.keys():
            raise StudyError(f"{first} and {path} have different alterations; `dvc repro -f` makes both again.")
    return {
        alteration: [
            Change(scores, replace(scores, p_fake=np.stack([found[alteration.name] for found in of_split.values()])))
            for scores, of_split in zip(splits, read, strict=True)
        ]
        for alteration in alterations
        if alteration.name in known
    }


def _read(path: Path, unaltered: Scores) -> dict[str, FloatArray]:
    """p_fake of the faces of `unaltered` by name of the alteration."""
    table = tables.read(path, ALTERED_SCORES)
    wrong = table[~table["p_fake"].between(0, 1)]
    if len(wrong):
        row = wrong.iloc[0]
        raise StudyError(
            f"{path}: face {row['face_id']} with {row['alteration']} has p_fake = {row['p_fake']}, not 0 to 1; "
            "`dvc repro -f` makes the table again."
        )
    found = {}
    for name, rows in table.groupby("alteration"):
        p_fake = rows.set_index("face_id")["p_fake"]
        if set(p_fake.index) != set(unaltered.ids):
            raise StudyError(
                f"{path}: the faces with {name} are not the test faces of the predictions; `dvc repro` brings both up "
                "to date."
            )
        found[str(name)] = p_fake[list(unaltered.ids)].to_numpy(dtype=np.float64)
    return found


def left_out(altered: Mapping[str, Mapping[str, Changes]], alterations: Sequence[Alteration]) -> list[Alteration]:
    """Find the alterations that were not made, as pictures have no clip to encode again or faces have no donor.

    Parameters
    ----------
    altered
        The changes by model and variant.
    alterations
        Those of the settings.

    Returns
    -------
    list of Alteration

    Raises
    ------
    StudyError
        When any other alteration is missing, or a cell has others than the first.
    """
    cells = {f"predictions/{variant}/{model}": of for model, cell in altered.items() for variant, of in cell.items()}
    first = next(iter(cells.values()))
    for folder, changes in cells.items():
        for alteration in alterations:
            if alteration not in changes and (alteration in first or alteration.kind not in (RECODED, COMPOSITE)):
                raise StudyError(f"{folder} has no scores of faces with {alteration}; `dvc repro` makes them.")
    return [alteration for alteration in alterations if alteration not in first]


def why_left_out(absent: Sequence[Alteration]) -> list[str]:
    """Say why alterations were not made.

    Parameters
    ----------
    absent
        As `left_out` returned them.

    Returns
    -------
    list of str
        One reason for all severities of RECODED, and one for each source of COMPOSITE.

    Examples
    --------
    >>> why_left_out([Alteration("composite", "other_frame")])
    ['rest from another frame is skipped, as too many test faces have no such face to take it from']
    """
    reasons = [
        f"{RECODED} is skipped, as pictures have no clip to encode"
        if one.kind == RECODED
        else f"{one} is skipped, as too many test faces have no such face to take it from"
        for one in absent
    ]
    return list(dict.fromkeys(reasons))


def change(cell: Sequence[Change], settings: EvaluateSettings, test_share: float) -> Difference:
    """The AUC of altered faces minus that of the same faces unaltered.

    Both sides are scores of the same trained models, so trainings are crossed with the alteration: only what another
    training would change of the difference counts.

    Parameters
    ----------
    cell
        The scores before and after, one item for each split.
    settings
        Section `evaluate` of the settings.
    test_share
        The share of the groups in a test subset, 0 to 1; it matters with several splits only.

    Returns
    -------
    Difference
    """
    before, after = [split.before for split in cell], [split.after for split in cell]
    return cell_differences(before, after, settings, test_share, [METRIC], "crossed")[METRIC]


def flip_rate(cell: Sequence[Change]) -> float:
    """The share of answers that change: a face is called fake above .5, each training answers once for each face.

    Parameters
    ----------
    cell
        The scores before and after, one item for each split.

    Returns
    -------
    float
        0 to 1, mean over trainings.
    """
    flips = [(split.before.p_fake > THRESHOLD) != (split.after.p_fake > THRESHOLD) for split in cell]
    return float(np.concatenate(flips, axis=1).mean())


def robustness_table(
    cells: Cells, altered: Mapping[str, Mapping[str, Changes]], settings: EvaluateSettings, test_share: float
) -> pd.DataFrame:
    """The content of metrics/robustness.csv as text cells.

    Parameters
    ----------
    cells
        The scores of the unaltered faces by model and variant; the first variant is the reference.
    altered
        The changes by model and variant: the same alterations for all.
    settings
        Section `evaluate` of the settings.
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
        reference = next(iter(altered[model].values()))
        for variant, unaltered in variants.items():
            cell = {"model": model, "variant": variant, "faces": str(sum(len(scores.fake) for scores in unaltered))}
            rows.append(cell | {"kind": "none", **_auc(unaltered, settings, test_share)})
            for alteration, changes in altered[model][variant].items():
                row = cell | {"kind": alteration.kind, "severity": alteration.written}
                row |= _auc([split.after for split in changes], settings, test_share)
                found = change(changes, settings, test_share)
                if alteration.kind == COMPOSITE and _same_scores(changes):  # the crops show nothing but what is kept
                    found = replace(found, low=0.0, high=0.0, groups_low=0.0, groups_high=0.0)
                row |= _written("change", found)
                row["flip_rate"] = _decimals(flip_rate(changes))
                if altered[model][variant] is not reference:
                    extra = cell_differences(reference[alteration], changes, settings, test_share, [METRIC])
                    row |= _written("extra", extra[METRIC])
                rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS).fillna("")


def _same_scores(cell: Sequence[Change]) -> bool:
    return all(np.array_equal(split.before.p_fake, split.after.p_fake) for split in cell)


def _auc(splits: Splits, settings: EvaluateSettings, test_share: float) -> dict[str, str]:
    found = cell_estimates(splits, settings, test_share, [METRIC])[METRIC]
    low, high = ends(found)
    return {"auc": _decimals(found.value), "auc_low": _decimals(low), "auc_high": _decimals(high)}


def _written(name: str, found: Difference) -> dict[str, str]:
    low, high = ends(found)
    numbers = {name: found.value, f"{name}_low": low, f"{name}_high": high}
    p = "" if math.isnan(found.p) else f"{found.p:.4g}"
    return {key: _decimals(number) for key, number in numbers.items()} | {f"{name}_p": p}


def _decimals(number: float) -> str:
    return "" if math.isnan(number) else f"{number + 0.0:.6f}"


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
    if float(worst["change"]) >= 0:
        return "no alteration lowers the AUC"
    return (
        f"AUC falls most for {worst['model']} on {worst['variant']} with {label(worst['kind'], worst['severity'])}: "
        f"by {-float(worst['change']):.3f} to {float(worst['auc']):.3f}"
    )
