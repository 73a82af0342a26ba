"""Attributions of many cells: means over trainings and faces, their intervals, the corrected p-values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from facestudy.attribution.cell import Cell, Measured
from facestudy.attribution.findings import ATTRIBUTION, LEVEL, finding
from facestudy.core.arrays import FloatArray, IntArray
from facestudy.core.tables import to_dataframe
from facestudy.evaluation.intervals import NO_VARIATION, Spread, holm, part_of_groups
from facestudy.evaluation.obuchowski_rockette import jackknife_covariance, parts_of_mean


@dataclass(frozen=True)
class Figure:
    """A mean over trainings and faces, with its interval.

    Attributes
    ----------
    value : float
        NaN where there is nothing to average.
    low, high : float
        For new trainings on new groups; with one training, for new groups alone. NaN with fewer than two groups.
    p : float
        Two-sided p of the hypothesis that the mean is 0; NaN with one training.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan


def figure(values: FloatArray, group: IntArray, limits: tuple[float, float]) -> Figure:
    """Compute the mean of values of faces with its interval, as `facestudy.evaluation.intervals` does for metrics.

    Parameters
    ----------
    values : ndarray of shape (trainings, n)
        NaN where a face has no value.
    group : ndarray of int, shape (n,)
        Number of the group of each face, from 0.
    limits
        The least and the greatest possible value; the p-value needs 0 in their middle.

    Returns
    -------
    Figure

    Examples
    --------
    >>> figure(np.array([[1.0, 2.0, 3.0], [1.5, 2.5, 3.5]]), np.arange(3), (0.0, 4.0)).value
    2.25
    """
    groups = int(group.max()) + 1
    valid = ~np.isnan(values)
    counts = np.stack([np.bincount(group, row, groups) for row in valid.astype(float)])
    sums = np.stack([np.bincount(group, row, groups) for row in np.where(valid, values, 0.0)])
    filled = counts.any(axis=0)  # a group without a value says nothing about the variation between groups
    counts, sums = counts[:, filled], sums[:, filled]
    count = counts.sum(axis=1, keepdims=True)
    if not filled.any() or (count == counts).any():  # a training has no value without one of the groups
        return Figure(float(values[valid].mean()) if valid.any() else math.nan)
    without = (sums.sum(axis=1, keepdims=True) - sums) / (count - counts)
    trainings = sums.sum(axis=1) / count[:, 0]
    covariance = jackknife_covariance(without)
    of_groups = part_of_groups(without.mean(axis=0), counts.shape[1] - 1)
    parts = [[of_groups]]
    if len(values) > 1:
        parts.append(parts_of_mean(trainings, covariance, of_groups.freedom))
    varies = of_groups.variance >= NO_VARIATION**2
    spreads = [Spread(tuple(part), counts.shape[1], limits, varies) for part in parts]
    value = float(trainings.mean())
    lows, highs = zip(*(spread.interval(value, 1 - LEVEL) for spread in spreads), strict=True)
    p = max(spread.p_of_zero(value) for spread in spreads) if len(values) > 1 else math.nan
    return Figure(value, min(lows), max(highs), p)


def attribution_table(cells: Sequence[tuple[Cell, Measured]]) -> pd.DataFrame:
    """Compute the content of metrics/attribution.csv.

    Parameters
    ----------
    cells
        Each cell, with what was measured of it.

    Returns
    -------
    DataFrame
        Rows of ATTRIBUTION. p-values are Holm-corrected over the areas of a cell and method; a cell with a constant
        output has none. An area without a value in some training has no p, but remains in the family.
    """
    rows = []
    for cell, measured in cells:
        for method in measured.trained:
            family = [_row(cell, measured, method, number) for number in range(len(cell.regions))]
            tested = [row for row in family if row and len(cell.seeds) > 1 and not cell.broken]
            p = [1.0 if math.isnan(row["p"]) else row["p"] for row in tested]  # no p: a training has no value
            for row, p_holm in zip(tested, holm(p), strict=True):
                row["p_holm"] = math.nan if math.isnan(row["p"]) else p_holm
                row["finding"] = finding(row["difference"], p_holm, row["value_low"], row["value_high"])
            rows += [row for row in family if row]
    return to_dataframe(rows, ATTRIBUTION)


def _row(cell: Cell, measured: Measured, method: str, number: int) -> dict[str, Any]:
    """The figures of one area; empty where it has no value."""
    trained, random = (side[method][:, number] for side in (measured.trained, measured.random))
    used = ~np.isnan(trained).all(axis=0)
    if not used.any():
        return {}
    share = cell.areas[number].sum(axis=(1, 2))[used] / cell.shown.sum()
    greatest = float((1 / share).mean())  # where all of the attribution lies in the area
    difference = figure(trained - random, cell.group, (-greatest, greatest))
    figures = {name: figure(side, cell.group, (0, greatest)) for name, side in (("value", trained), ("random", random))}
    row: dict[str, Any] = {
        "model": cell.model,
        "variant": cell.variant,
        "method": method,
        "region": cell.regions[number],
        "area": float(share.mean()),
        "faces": int(used.sum()),
        "trainings": int((~np.isnan(trained)).any(axis=1).sum()),
        "p": math.nan if cell.broken else difference.p,
        "change": float(np.nanmean(measured.change[:, number])) if method == "occlusion" else math.nan,
        "finding": "broken" if cell.broken else "",
    }
    for name, found in {**figures, "difference": difference}.items():
        row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return row
