"""Labels of results that are not about deepfakes, of trials and of controls."""

from __future__ import annotations

TRIAL = "Trial: few videos and short training, no result."
LABELS = {"sample": "Built-in sample: drawn people.", "pseudo_fakes": "Pseudo-fakes: blends of real faces."}
"""By `source` in params.yaml."""


def label(source: str, trial: bool, control: str = "") -> str:
    """What must stand on every picture of a study.

    Parameters
    ----------
    source : str
        Where the videos come from, as `source` in params.yaml.
    trial : bool
        Whether the study only tries out whether everything works.
    control : str
        What makes the study a control, see `facestudy.dataset.split.SplitSettings.control`.

    Returns
    -------
    str
        Nothing for a study of deepfakes.

    Examples
    --------
    >>> label("sample", trial=False)
    'Built-in sample: drawn people.'
    """
    return " ".join([*([TRIAL] if trial else []), *([control] if control else []), LABELS.get(source, "")]).rstrip()
