"""What must stand on the results of studies whose videos are not deepfakes, and of trials."""

from __future__ import annotations

TRIAL = "Trial: few videos and short training, no result."
LABELS = {"sample": "Built-in sample: drawn people.", "pseudo_fakes": "Pseudo-fakes: blends of real faces."}
"""By `source` in params.yaml."""


def label(source: str, trial: bool) -> str:
    """What must stand on every picture of a study.

    Parameters
    ----------
    source : str
        Where the videos come from, as `source` in params.yaml.
    trial : bool
        Whether the study only tries out whether everything works.

    Returns
    -------
    str
        Nothing for a study of deepfakes.

    Examples
    --------
    >>> label("sample", trial=False)
    'Built-in sample: drawn people.'
    """
    return " ".join([*([TRIAL] if trial else []), *([LABELS[source]] if source in LABELS else [])])
