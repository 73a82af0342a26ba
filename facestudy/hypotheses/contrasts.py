"""Planned comparisons between crop variants: each isolates one way in which they differ.

docs/protocol.md states them, and the verdicts that follow from them, in words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from facestudy.alterations.settings import Alteration
from facestudy.core.arrays import FloatArray
from facestudy.core.errors import StudyError
from facestudy.evaluation.comparisons import Cells, ends
from facestudy.evaluation.intervals import Difference, EvaluateSettings, Result, estimates, holm, mean_differences
from facestudy.evaluation.scores import Scores, constant_trainings, same_faces
from facestudy.robustness.results import Changes

METRIC = "auc"
MARGIN = 0.05
"""AUCs whose difference certainly lies within this margin count as equal."""
CHANCE = 0.5
CLIP = 5e-7
"""Half of the last decimal of a stored p_fake, which keeps logits finite."""


@dataclass(frozen=True)
class Side:
    """One side of a contrast.

    Attributes
    ----------
    variants : tuple of str
        The crop variants that it needs.
    combined : bool
        False: the mean of their AUCs. True: the AUC of their scores combined additively, see `additive`.
    """

    variants: tuple[str, ...]
    combined: bool = False

    def __str__(self) -> str:
        if self.combined:
            return " + ".join(self.variants)
        return self.variants[0] if len(self.variants) == 1 else f"mean({', '.join(self.variants)})"


@dataclass(frozen=True)
class Contrast:
    """A planned comparison.

    Attributes
    ----------
    name : str
    question : str
        What it isolates, in words.
    first, second : Side
        The difference is second - first.
    alteration : Alteration, optional
        Of the test faces: the difference is then between the changes of the AUC that it causes.
    """

    name: str
    question: str
    first: Side
    second: Side
    alteration: Alteration | None = None

    @property
    def variants(self) -> tuple[str, ...]:
        """The crop variants that it needs."""
        return tuple(dict.fromkeys((*self.first.variants, *self.second.variants)))


RANDOM_AREAS = ("random_area", "random_area_2", "random_area_3")

CONTRASTS = (
    Contrast("crop", "the study's question", Side(("full",)), Side(("eyes_lower",))),
    Contrast("zoom", "the same regions, larger", Side(("eyes_lower_small",)), Side(("eyes_lower",))),
    Contrast("order", "the same regions, swapped", Side(("eyes_lower",)), Side(("lower_eyes",))),
    Contrast("area", "the whole face with fewer pixels", Side(("full",)), Side(("full_reduced",))),
    Contrast(
        "jitter", "the same regions, trained on misplaced crops", Side(("eyes_lower",)), Side(("eyes_lower_jitter",))
    ),
    Contrast(
        "sensitivity", "what a shift costs", Side(("full",)), Side(("eyes_lower",)), alteration=Alteration("shift", 4.0)
    ),
    Contrast("parts", "these regions, not others of the same size", Side(RANDOM_AREAS), Side(("eyes_lower",))),
    Contrast("place", "the same pixels, in place", Side(("eyes_lower_small",)), Side(("eyes_lower_mask",))),
    Contrast(
        "joint", "both regions at once, not one by one",
        Side(("eyes_mask", "lower_face_mask"), combined=True), Side(("eyes_lower_mask",)),
    ),
    Contrast(
        "rest", "regions and rest at once, not one by one",
        Side(("eyes_lower_mask", "complement"), combined=True), Side(("full",)),
    ),
)  # fmt: skip
"""Decided before any result was seen."""
ALTERATIONS = tuple(contrast.alteration for contrast in CONTRASTS if contrast.alteration is not None)
"""The alterations of the test faces that contrasts need."""
PRIMARY = "crop"
"""The study's question. Its family for the Holm correction is the models, as in the table of differences; all other
contrasts of all models are a second family. Contrasts with a constant output are in no family."""


@dataclass(frozen=True)
class Outcome:
    """The result of one contrast for one model.

    Attributes
    ----------
    model : str
    contrast : Contrast
    difference : Difference
        Of the AUC.
    above_chance : bool
        Whether a detector of either side is better than chance: the lower end of its interval is above .5.
    broken : bool
        Whether a training on one of the variants has a constant output.
    p_holm : float
        The p-value corrected over its family, see PRIMARY; NaN where there is one training or a constant output.
    outcome : {"greater", "less", "equal", "unclear", "chance", "broken"}
        `greater`, `less`: by `p_holm`. `equal`: the interval lies within ±MARGIN. `chance`: no detector is better than
        chance, so the contrast says nothing. `broken`: a training has a constant output.
    """

    model: str
    contrast: Contrast
    difference: Difference
    above_chance: bool
    broken: bool
    p_holm: float = math.nan
    outcome: str = "unclear"


def additive(parts: Sequence[Scores]) -> Scores:
    """Combine the scores of several detectors additively, as if each saw evidence of its own.

    Parameters
    ----------
    parts : sequence of Scores
        Of one model on several variants: the same faces and number of trainings, with validation scores.

    Returns
    -------
    Scores
        For each training, p_fake of a logistic regression (L2, C = 1) on the logits of the detectors, fitted on the
        validation faces. A joint detector is better than this only where the parts depend on each other.

    Raises
    ------
    StudyError
        When the parts are about different validation faces.
    """
    from sklearn.linear_model import LogisticRegression

    validation = [part.validation for part in parts if part.validation is not None]
    if not all(same_faces(validation[0], part) for part in validation):
        raise StudyError(
            "predictions/: the variants of a model are not about the same validation faces, so their scores cannot be "
            "combined; `dvc repro` brings them up to date."
        )
    combined = []
    for seed in range(len(parts[0].p_fake)):
        model = LogisticRegression(C=1.0).fit(_logits(validation, seed), validation[0].fake)
        combined.append([model.decision_function(_logits(side, seed)) for side in (parts, validation)])
    test, held_out = (expit(np.stack(side)) for side in zip(*combined, strict=True))
    return replace(parts[0], p_fake=test, validation=replace(validation[0], p_fake=held_out))


def _logits(parts: Sequence[Scores], seed: int) -> FloatArray:
    """(faces, detectors)"""
    return np.asarray(logit(np.clip(np.stack([part.p_fake[seed] for part in parts], axis=1), CLIP, 1 - CLIP)))


def outcomes(cells: Cells, altered: Mapping[str, Mapping[str, Changes]], settings: EvaluateSettings) -> list[Outcome]:
    """Compute every contrast whose variants and alterations a study has.

    Parameters
    ----------
    cells : mapping of model and variant to Scores
        Test scores on one split, with validation scores.
    altered : mapping of model and variant to Changes
        What alterations of the test faces do to these scores.
    settings : EvaluateSettings
        Section `evaluate` of the settings.

    Returns
    -------
    list of Outcome
        In the order of models and of CONTRASTS.
    """
    found = []
    for model, variants in cells.items():
        scores = {variant: splits[0] for variant, splits in variants.items()}
        for contrast in CONTRASTS:
            if set(contrast.variants) <= set(scores):
                difference = _difference(contrast, scores, altered[model], settings)
                if difference is not None:
                    found.append(_outcome(model, contrast, scores, difference, settings))
    corrected = [math.nan] * len(found)
    tested = [number for number, one in enumerate(found) if not (one.broken or math.isnan(one.difference.p))]
    for primary in (True, False):
        family = [number for number in tested if (found[number].contrast.name == PRIMARY) == primary]
        for number, p_holm in zip(family, holm([found[number].difference.p for number in family]), strict=True):
            corrected[number] = p_holm
    return [
        replace(outcome, p_holm=p_holm, outcome=_judged(outcome, p_holm, 1 - settings.confidence))
        for outcome, p_holm in zip(found, corrected, strict=True)
    ]


def _difference(
    contrast: Contrast, cells: Mapping[str, Scores], altered: Mapping[str, Changes], settings: EvaluateSettings
) -> Difference | None:
    """None where the faces were not altered in this way."""
    alteration, sides = contrast.alteration, (contrast.first, contrast.second)
    results: list[Sequence[Result]]
    if alteration is None:
        results = [_members(side, cells) for side in sides]
    elif all(alteration in altered[variant] for variant in contrast.variants):
        results = [[altered[variant][alteration][0] for variant in side.variants] for side in sides]
    else:
        return None
    first, second = results
    return mean_differences(first, second, settings, [METRIC])[METRIC]


def _outcome(
    model: str, contrast: Contrast, cells: Mapping[str, Scores], difference: Difference, settings: EvaluateSettings
) -> Outcome:
    detectors = [
        estimates(scores, settings, [METRIC])[METRIC]
        for side in (contrast.first, contrast.second)
        for scores in _members(side, cells)
    ]
    broken = constant_trainings([cells[variant] for variant in contrast.variants]) > 0
    return Outcome(model, contrast, difference, any(ends(detector)[0] > CHANCE for detector in detectors), broken)


def _members(side: Side, cells: Mapping[str, Scores]) -> list[Scores]:
    scores = [cells[variant] for variant in side.variants]
    return [additive(scores)] if side.combined else scores


def _judged(found: Outcome, p_holm: float, level: float) -> str:
    if found.broken:
        return "broken"
    if not found.above_chance:
        return "chance"
    if p_holm < level:
        return "greater" if found.difference.value > 0 else "less"
    return "equal" if max(-found.difference.low, found.difference.high) < MARGIN else "unclear"


def contrasts_table(found: Sequence[Outcome]) -> pd.DataFrame:
    """The content of metrics/contrasts.csv as text cells."""
    columns = ["model", "contrast", "first", "second", "auc_first", "auc_second"]
    columns += ["difference", "low", "high", "p", "p_holm", "outcome"]
    rows = []
    for one in found:
        auc = one.difference
        numbers = (auc.first, auc.second, auc.value, auc.low, auc.high)
        written = ["" if math.isnan(number) else f"{number + 0.0:.6f}" for number in numbers]
        written += ["" if math.isnan(p) else f"{p:.4g}" for p in (auc.p, one.p_holm)]
        contrast = one.contrast
        rows.append([one.model, contrast.name, str(contrast.first), str(contrast.second), *written, one.outcome])
    return pd.DataFrame(rows, columns=columns)
