"""Verdicts on the earlier study's claim and on its reasons, by the rules of docs/protocol.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from facestudy.hypotheses.contrasts import CONTRASTS, Contrast, Outcome

BY_NAME = {contrast.name: contrast for contrast in CONTRASTS}


@dataclass(frozen=True)
class Hypothesis:
    """A claim of the study, and the rule that decides it.

    Attributes
    ----------
    name : str
    claim : str
        In words.
    contrasts : tuple of str
        The names of the contrasts that decide.
    rule : callable
        From their outcomes, in this order, to `supported`, `contradicted` or `undecided`.
    """

    name: str
    claim: str
    contrasts: tuple[str, ...]
    rule: Callable[[Sequence[str]], str]


def _worse(outcomes: Sequence[str]) -> str:
    return {"less": "supported", "greater": "contradicted", "equal": "contradicted"}.get(outcomes[0], "undecided")


def _not_better(outcomes: Sequence[str]) -> str:
    return {"less": "supported", "equal": "supported", "greater": "contradicted"}.get(outcomes[0], "undecided")


def _sensitive(outcomes: Sequence[str]) -> str:
    sensitivity, jitter = outcomes
    if sensitivity == "less" and jitter == "greater":
        return "supported"
    return "contradicted" if sensitivity in ("greater", "equal") or jitter in ("less", "equal") else "undecided"


def _any_greater(outcomes: Sequence[str]) -> str:
    if "greater" in outcomes:
        return "supported"
    return "contradicted" if set(outcomes) <= {"less", "equal"} else "undecided"


HYPOTHESES = (
    Hypothesis(
        "cropped_is_worse", "Detectors do worse on eyes and lower face than on the whole face.", ("crop",), _worse
    ),
    Hypothesis(
        "overfitting",
        "A model of few features overfits, so a small shift of the eyes or the mouth changes its mind.",
        ("sensitivity", "jitter"),
        _sensitive,
    ),
    Hypothesis(
        "lost_correlations",
        "Cropping loses the correlations between these parts and the rest of the face.",
        ("place", "joint", "rest"),
        _any_greater,
    ),
    Hypothesis(
        "wrong_regions", "Eyes and lower face are not where the fakes differ.", ("parts",), _not_better
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """The verdict on one hypothesis for one model.

    Attributes
    ----------
    model : str
    hypothesis : Hypothesis
    verdict : {"supported", "contradicted", "undecided", "not_tested"}
        `not_tested`: the study lacks variants that a contrast needs, or has one training.
    reason : str
        The outcomes that decide, or what is missing.
    """

    model: str
    hypothesis: Hypothesis
    verdict: str
    reason: str


def verdicts(
    models: Sequence[str], variants: Sequence[str], found: Sequence[Outcome], trainings: int, splits: int = 1
) -> list[Verdict]:
    """Decide every hypothesis for every model.

    Parameters
    ----------
    models, variants : sequence of str
        Of the study.
    found : sequence of Outcome
        The contrasts that it could compute.
    trainings : int
        Trainings of each model on each variant.
    splits : int
        The contrasts are defined for one split.

    Returns
    -------
    list of Verdict
        In the order of models and of HYPOTHESES.
    """
    by_name: Mapping[tuple[str, str], Outcome] = {(one.model, one.contrast.name): one for one in found}
    rows = []
    for model in models:
        for hypothesis in HYPOTHESES:
            lacking = _lacking([BY_NAME[name] for name in hypothesis.contrasts], variants, trainings, splits)
            absent = [name for name in hypothesis.contrasts if (model, name) not in by_name]
            if not lacking and absent:
                lacking = _needed_alteration(BY_NAME[absent[0]])
            if lacking:
                rows.append(Verdict(model, hypothesis, "not_tested", f"needs {lacking}"))
                continue
            outcomes = [by_name[model, name].outcome for name in hypothesis.contrasts]
            reason = ", ".join(
                f"{name}: {outcome}" for name, outcome in zip(hypothesis.contrasts, outcomes, strict=True)
            )
            rows.append(Verdict(model, hypothesis, hypothesis.rule(outcomes), reason))
    return rows


def _lacking(contrasts: Sequence[Contrast], variants: Sequence[str], trainings: int, splits: int) -> str:
    """What a study lacks for these contrasts, alterations apart."""
    used = dict.fromkeys(variant for contrast in contrasts for variant in contrast.variants)
    if missing := [variant for variant in used if variant not in variants]:
        return f"the variant{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
    if splits > 1:
        return "one split (split.repeats: 1)"
    return "several seeds" if trainings < 2 else ""


def _needed_alteration(contrast: Contrast) -> str:
    assert contrast.alteration is not None, "without an alteration, the variants are all that a contrast needs"
    return f"{contrast.alteration.written} in robustness.{contrast.alteration.kind}"


def verdicts_table(found: Sequence[Verdict]) -> pd.DataFrame:
    """The content of metrics/hypotheses.csv as text cells."""
    return pd.DataFrame(
        [
            {
                "model": one.model,
                "hypothesis": one.hypothesis.name,
                "claim": one.hypothesis.claim,
                "verdict": one.verdict,
                "reason": one.reason,
            }
            for one in found
        ]
    )
