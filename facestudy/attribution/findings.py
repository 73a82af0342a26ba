"""The tables of the stage `attribution`, and what they say in words."""

from __future__ import annotations

import pandas as pd

from facestudy.attribution.settings import ALTERED
from facestudy.core.tables import Table

LEVEL = 0.05
"""A finding needs a Holm-corrected p below it; intervals are 95 % intervals, whatever `evaluate.confidence` says:
another confidence of the results must not need the crops and models again."""
FIGURES = ("value", "random", "difference")

ATTRIBUTION = Table(
    {
        "model": "text",
        "variant": "text",
        "method": "text",
        "region": "text",
        "area": 4,
        "faces": "int",
        "trainings": "int",
        **{name + end: 4 for name in FIGURES for end in ("", "_low", "_high")},
        "p": 4,
        "p_holm": 4,
        "change": 4,
        "finding": "text",
    },
    key=("model", "variant", "method", "region"),
)
"""metrics/attribution.csv; docs/attribution.md explains the columns."""
MISTAKES = Table(
    {
        "model": "text",
        "variant": "text",
        "face_id": "text",
        "video_id": "text",
        "label": "text",
        "p_fake": 4,
        "path": "text",
        "sha256": "text",
    },
    key=("model", "variant", "face_id"),
)
"""reports/mistakes/index.csv; docs/attribution.md explains the columns."""


def finding(difference: float, p_holm: float, low: float, high: float) -> str:
    """Say what a figure shows, by the rule of docs/protocol.md.

    Parameters
    ----------
    difference
        The value of the trained models minus that of random weights.
    p_holm
        Its corrected p-value.
    low, high
        The interval of the value.

    Returns
    -------
    str
        "preferred", "avoided" or "none".

    Examples
    --------
    >>> finding(0.4, 0.001, 1.1, 1.5), finding(0.4, 0.001, 0.9, 1.5), finding(-0.4, 0.001, 0.2, 0.6)
    ('preferred', 'none', 'avoided')
    """
    if p_holm < LEVEL and difference > 0 and low > 1:
        return "preferred"
    if p_holm < LEVEL and difference < 0 and high < 1:
        return "avoided"
    return "none"


def summary(attribution: pd.DataFrame) -> str:
    """Say in one line what was found.

    Parameters
    ----------
    attribution : DataFrame
        Rows of ATTRIBUTION.
    """
    if attribution.empty:
        return "no face examined (attribution.faces: 0)"
    cells = len(attribution[["model", "variant"]].drop_duplicates())
    preferred = attribution[(attribution["finding"] == "preferred") & (attribution["region"] != ALTERED)]
    names = [f"{row.model} on {row.variant}: {row.region} ({row.method})" for row in preferred.itertuples()]
    return f"{cells} cells, {len(attribution)} figures; preferred: {', '.join(names) or 'no region'}"
