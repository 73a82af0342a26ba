"""Verdicts on the study's claim and on its reasons, by the rules of docs/protocol.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from facestudy.hypotheses.contrasts import CONTRASTS, Outcome


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


def _any_greater(outcomes: Sequence[str]) -> str:
    if "greater" in outcomes:
        return "supported"
    return "contradicted" if set(outcomes) <= {"less", "equal"} else "undecided"


HYPOTHESES = (
    Hypothesis(
        "cropped_is_worse", "Detectors do worse on eyes and lower face than on the whole face.", ("crop",), _worse
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
    needed = {contrast.name: contrast.variants for contrast in CONTRASTS}
    rows = []
    for model in models:
        for hypothesis in HYPOTHESES:
            missing = [variant for name in hypothesis.contrasts for variant in needed[name] if variant not in variants]
            if missing:
                names = ", ".join(dict.fromkeys(missing))
                rows.append(Verdict(model, hypothesis, "not_tested", f"needs the variants {names}"))
            elif splits > 1:
                rows.append(Verdict(model, hypothesis, "not_tested", "needs one split (split.repeats: 1)"))
            elif trainings < 2:
                rows.append(Verdict(model, hypothesis, "not_tested", "needs several seeds"))
            else:
                outcomes = [by_name[model, name].outcome for name in hypothesis.contrasts]
                reason = ", ".join(
                    f"{name}: {outcome}" for name, outcome in zip(hypothesis.contrasts, outcomes, strict=True)
                )
                rows.append(Verdict(model, hypothesis, hypothesis.rule(outcomes), reason))
    return rows


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
