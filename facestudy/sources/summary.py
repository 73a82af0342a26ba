"""How many videos the study found, and how many of them can be used."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from facestudy.core.errors import StudyError
from facestudy.core.tables import LABELS


def summary(index: pd.DataFrame) -> str:
    """Describe how many videos of each class can be used, and why the others cannot.

    Parameters
    ----------
    index : DataFrame
        As tables.VIDEOS.

    Returns
    -------
    str
        One line for the log.

    Raises
    ------
    StudyError
        When a class has no usable video.
    """
    ok = index[index["status"] == "ok"]
    reasons = Counter(index.loc[index["status"] == "rejected", "reason"])
    listed = "; ".join(f"{count} rejected: {reason}" for reason, count in reasons.most_common(5))
    for label in LABELS:
        if not (ok["label"] == label).any():
            raise StudyError(f"none of the {(index['label'] == label).sum()} {label} videos can be used ({listed}).")
    counts = " + ".join(f"{(ok['label'] == label).sum()} {label}" for label in LABELS)
    return f"{len(index)} videos in, {counts} usable" + (f"; {listed}" if listed else "")
