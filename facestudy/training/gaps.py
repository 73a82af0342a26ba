"""The gap between training and validation: how much better the models do on their training faces."""

from __future__ import annotations

import math

import pandas as pd


def gaps(trainings: pd.DataFrame) -> dict[str, float]:
    """Average the losses of trainings at the epoch whose weights are kept, and at the last one.

    Parameters
    ----------
    trainings : DataFrame
        tables.TRAININGS of a cell.

    Returns
    -------
    dict of str to float
        Flat: `trainings`, and for `kept` and `last` <which>_epoch, <which>_loss, <which>_validation_loss, <which>_gap
        (validation - training) and <which>_validation_auc, means over the trainings with six decimals. A number that
        is not finite in a training, such as the loss of one that diverged, is left out.

    Notes
    -----
    `loss` is the mean over the batches of an epoch, with dropout and with the weights of each step. Before a model
    overfits, it can be the greater one.
    """
    histories = [rows for _, rows in trainings.groupby("training")]
    flat: dict[str, float] = {"trainings": len(histories)}
    for which in ("kept", "last"):
        rows = pd.DataFrame([_epoch(history, which) for history in histories])
        rows["gap"] = rows["validation_loss"] - rows["loss"]
        means = rows[["epoch", "loss", "validation_loss", "gap", "validation_auc"]].mean(skipna=False)
        flat |= {f"{which}_{name}": round(float(mean), 6) for name, mean in means.items() if math.isfinite(mean)}
    return flat


def _epoch(history: pd.DataFrame, which: str) -> pd.Series:
    return history.iloc[-1] if which == "last" else history[history["selected"] == 1].iloc[0]
