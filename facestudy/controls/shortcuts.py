"""The result of the shortcut audit: its table, and the sentences about it.

The rules are in docs/protocol.md; `facestudy.controls.audit` computes the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from facestudy.core.tables import Table

WITHOUT_FACE = "without_face"
"""All cues that are not about the picture of the face. Only this control raises the warning."""
WITH_FACE = "with_face"
"""The same, and sharpness, brightness and blockiness of the face."""
DROP_RATE = "drop_rate"
CHANCE, WARN_FROM = 0.5, 0.6
"""AUC: a warning is raised when WITHOUT_FACE has at least WARN_FROM. It says that the classes can be told apart where
the interval is above CHANCE, and otherwise that the study is too small to decide."""
ONE_CLASS = "one_class"
"""The largest group whose faces are all of one class."""
LARGE = 0.2
"""A warning is raised when the group of ONE_CLASS has at least this share of the faces of its class."""

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
"""metrics/shortcuts.csv. `auc` rows have value, low, high; `drop_rate` has the rates of both classes and p; `one_class`
has the largest share in each class, and its group in `cues`."""


def summary(shortcuts: pd.DataFrame) -> str:
    """Say in one line how far the classes are told apart without seeing the face.

    Parameters
    ----------
    shortcuts : DataFrame
        As SHORTCUTS.

    Returns
    -------
    str
    """
    groups = _groups(shortcuts)
    varying = groups["cues"] != ""
    used, constant = (", ".join(map(_word, groups.loc[mask, "control"])) for mask in (varying, ~varying))
    told = [f"logistic regression on {used}"] if used else []
    told += [f"constant: {constant}"] if constant else []
    return f"Without seeing the face: AUC {_auc(_row(shortcuts, WITHOUT_FACE))} ({'; '.join(told)})."


def drop_summary(shortcuts: pd.DataFrame) -> str:
    """Say in one line how many frames of each class gave no face.

    Parameters
    ----------
    shortcuts : DataFrame
        As SHORTCUTS.
    """
    row = _row(shortcuts, DROP_RATE)
    p = f"p {row['p']:.3f}" if row["p"] >= 0.001 else "p < .001"
    told = "not tested: fewer than two videos of a class" if math.isnan(row["p"]) else p
    return f"Frames without a usable face: {row['real']:.1%} of the real, {row['fake']:.1%} of the fake ({told})."


def told_apart(shortcuts: pd.DataFrame) -> list[str]:
    """List what tells the classes apart, by the rule of WARN_FROM and CHANCE.

    Parameters
    ----------
    shortcuts : DataFrame
        As SHORTCUTS.

    Returns
    -------
    list of str
        WITHOUT_FACE and the single groups of cues that do so alone; empty where WITHOUT_FACE does not.
    """
    if not _told_apart(_row(shortcuts, WITHOUT_FACE)):
        return []
    return [WITHOUT_FACE, *(str(one["control"]) for one in _groups(shortcuts).to_dict("records") if _told_apart(one))]


def warning(shortcuts: pd.DataFrame) -> str:
    """Write the warning that every result carries when the classes differ in more than the face.

    Parameters
    ----------
    shortcuts : DataFrame
        As SHORTCUTS.

    Returns
    -------
    str
        Two sentences; empty where WITHOUT_FACE is below WARN_FROM.
    """
    row = _row(shortcuts, WITHOUT_FACE)
    if row["value"] < WARN_FROM:
        return ""
    found = told_apart(shortcuts)
    if not found:
        return (
            f"Warning: real and fake may be told apart without seeing the face, AUC {_auc(row)}. The test groups are "
            "too few to show this or to rule it out, and a model may have learnt it instead of the manipulation."
        )
    told = ", ".join(f"{_word(group)} {_row(shortcuts, group)['value']:.3f}" for group in found[1:])
    return (
        f"Warning: real and fake can be told apart without seeing the face, AUC {_auc(row)}"
        f"{f' (alone: {told})' if told else ''}. A model may have learnt this instead of the manipulation, "
        "so no result on this page shows that a manipulation was found."
    )


def one_class_warning(shortcuts: pd.DataFrame) -> str:
    """Write the warning that results carry when one group makes up much of a class and is absent from the other.

    Parameters
    ----------
    shortcuts : DataFrame
        As SHORTCUTS.

    Returns
    -------
    str
        Two sentences; empty where the rule of LARGE raises no warning.
    """
    row = _row(shortcuts, ONE_CLASS)
    if row["value"] < LARGE:
        return ""
    label, other = ("real", "fake") if row["real"] >= row["fake"] else ("fake", "real")
    return (
        f"Warning: {row['value']:.0%} of the {label} faces belong to one group ({row['cues']} in data/split.csv), "
        f"which has no {other} face. A model may have learnt this person or clip instead of the manipulation."
    )


def _told_apart(row: Mapping[str, Any] | pd.Series) -> bool:
    return bool(row["value"] >= WARN_FROM and row["low"] > CHANCE)


def _groups(shortcuts: pd.DataFrame) -> pd.DataFrame:
    """The rows of single groups of cues that are not about the face."""
    several = shortcuts["control"].isin([WITHOUT_FACE, WITH_FACE, "face"])
    return shortcuts[(shortcuts["measure"] == "auc") & ~several].sort_values("control")


def _row(shortcuts: pd.DataFrame, control: str) -> pd.Series:
    return shortcuts.set_index("control").loc[control]


def _auc(row: pd.Series) -> str:
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _word(control: str) -> str:
    return {"jpeg": "JPEG tables"}.get(control, control.replace("_", " "))
