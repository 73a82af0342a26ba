"""What the shortcut audit found: its table, and what it says in words.

The rules are in docs/protocol.md; `facestudy.controls.audit` computes the table.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from facestudy.core.tables import Table

WITHOUT_FACE = "without_face"
"""All cues that are not about the picture of the face. Only this control raises the warning."""
WITH_FACE = "with_face"
"""The same, and sharpness, brightness and blockiness of the face."""
DROP_RATE = "drop_rate"
WARN_ABOVE = 0.6
"""A warning is raised when the lower end of the interval of WITHOUT_FACE is above this AUC."""

SHORTCUTS = Table(
    {
        "control": "text",
        "measure": "text",
        "value": 6,
        "low": 6,
        "high": 6,
        "real": 6,
        "fake": 6,
        "p": 4,
        "cues": "text",
        "constant": "text",
    },
    key="control",
)
"""metrics/shortcuts.csv. `auc` rows have value, low, high; `drop_rate` has the rates of both classes and p."""


def summary(shortcuts: pd.DataFrame, confidence: float) -> str:
    """Say in one line how far the classes are told apart without seeing the face.

    Parameters
    ----------
    shortcuts : DataFrame
        As SHORTCUTS.
    confidence : float
        Of the intervals, 0 to 1.

    Returns
    -------
    str
    """
    row = _row(shortcuts, WITHOUT_FACE)
    groups = shortcuts[(shortcuts["measure"] == "auc") & ~shortcuts["control"].isin([WITHOUT_FACE, WITH_FACE, "face"])]
    varying = groups["cues"] != ""
    used, constant = (_listed(groups.loc[mask, "control"]) for mask in (varying, ~varying))
    return (
        f"Without seeing the face: AUC {_auc(row)} (logistic regression on {used or 'nothing, as no cue varies'}"
        f"{f'; the same for all: {constant}' if constant else ''}; {100 * confidence:g} % interval)."
    )


def drop_summary(shortcuts: pd.DataFrame) -> str:
    """Say in one line how many frames of each class gave no face.

    Parameters
    ----------
    shortcuts : DataFrame
        As SHORTCUTS.
    """
    row = _row(shortcuts, DROP_RATE)
    p = f"{row['p']:.3f}" if row["p"] >= 0.001 else "< .001"
    return f"Frames without a usable face: {row['real']:.1%} of the real, {row['fake']:.1%} of the fake (p {p})."


def warning(shortcuts: pd.DataFrame) -> str:
    """Write the warning that every result carries when the classes differ in more than the face.

    Parameters
    ----------
    shortcuts : DataFrame
        As SHORTCUTS.

    Returns
    -------
    str
        A sentence or two; empty where the lower end of the interval is not above WARN_ABOVE.
    """
    row = _row(shortcuts, WITHOUT_FACE)
    if not row["low"] > WARN_ABOVE:
        return ""
    alone = shortcuts[(shortcuts["measure"] == "auc") & (shortcuts["low"] > WARN_ABOVE)]
    alone = alone[~alone["control"].isin([WITHOUT_FACE, WITH_FACE, "face"])]
    told = ", ".join(f"{_word(one['control'])} {one['value']:.3f}" for one in alone.to_dict("records"))
    return (
        f"Warning: real and fake can be told apart without seeing the face, AUC {_auc(row)}"
        f"{f' (alone: {told})' if told else ''}. A model may have learnt this instead of the manipulation, "
        "so no result on this page shows that a manipulation was found."
    )


def _row(shortcuts: pd.DataFrame, control: str) -> pd.Series:
    return shortcuts.set_index("control").loc[control]


def _auc(row: pd.Series) -> str:
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _word(control: str) -> str:
    return {"jpeg": "JPEG tables"}.get(control, control.replace("_", " "))


def _listed(controls: Sequence[str]) -> str:
    return ", ".join(_word(control) for control in controls)
