"""Contrasts and verdicts on made-up scores whose truth is known."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from facestudy.alterations.settings import Alteration
from facestudy.core.arrays import FloatArray
from facestudy.core.errors import StudyError
from facestudy.evaluation.intervals import EvaluateSettings, differences, holm, mean_differences
from facestudy.evaluation.scores import Change, Scores
from facestudy.hypotheses.contrasts import (
    CONTRASTS,
    MARGIN,
    RANDOM_AREAS,
    Outcome,
    additive,
    contrasts_table,
    outcomes,
)
from facestudy.hypotheses.verdicts import HYPOTHESES, verdicts, verdicts_table
from facestudy.report.markdown import hypotheses_section
from facestudy.robustness.results import Changes
from tests.committed import committed

SETTINGS = EvaluateSettings()
SHIFT = Alteration("shift", 4)
SEEDS, GROUPS = 5, 60
FAKE = np.tile([False, True], GROUPS)
VARIANTS = tuple(dict.fromkeys(variant for contrast in CONTRASTS for variant in contrast.variants))
RULES = {hypothesis.name: hypothesis.rule for hypothesis in HYPOTHESES}


def scores(latent: FloatArray, validation: FloatArray | None = None) -> Scores:
    """Twins: a real and a fake face per group; `latent` is (seeds, faces)."""
    numbers, group = np.arange(2 * GROUPS), np.repeat(np.arange(GROUPS), 2)
    held_out = latent if validation is None else validation
    return Scores(FAKE, expit(latent), numbers, group, validation=Scores(FAKE, expit(held_out), numbers, group))


def study(strengths: dict[str, float], rest: float, seed: int = 1) -> dict[str, Scores]:
    """Detectors that share most of their noise; each sees the fakes with a strength of its own."""
    rng = np.random.default_rng(seed)
    common = {subset: rng.normal(size=2 * GROUPS) for subset in ("test", "validation")}
    return {
        variant: scores(*(
            strengths.get(variant, rest) * FAKE + common[subset] + rng.normal(0, 0.2, (SEEDS, 2 * GROUPS))
            for subset in common
        ))
        for variant in VARIANTS
    }  # fmt: skip


def shifted(before: Scores, cost: float, seed: int) -> Change:
    """A shift that weakens every fake by `cost`, in each training a little differently."""
    noise = np.random.default_rng(seed).normal(0, 0.05, before.p_fake.shape)
    return Change(before, replace(before, p_fake=expit(logit(before.p_fake) - cost * FAKE + noise)))


def altered(cells: dict[str, Scores], extra: float = 0.0, shift: Alteration = SHIFT) -> dict[str, Changes]:
    """A shift costs the detector on eyes_lower by `extra` more than those on other variants."""
    costs = {variant: 0.2 + extra * (variant == "eyes_lower") for variant in cells}
    return {
        variant: {shift: [shifted(cells[variant], cost, number)]}
        for number, (variant, cost) in enumerate(costs.items())
    }


def outcomes_of(cells: dict[str, Scores], changes: dict[str, Changes]) -> list[Outcome]:
    return outcomes({"mesonet": {variant: [one] for variant, one in cells.items()}}, {"mesonet": changes}, SETTINGS)


def decided(cells: dict[str, Scores], extra: float = 0.0) -> tuple[dict[str, Outcome], dict[str, str]]:
    found = outcomes_of(cells, altered(cells, extra))
    verdict = verdicts(["mesonet"], list(cells), found, SEEDS)
    return {one.contrast.name: one for one in found}, {one.hypothesis.name: one.verdict for one in verdict}


def test_better_crops_of_the_right_regions() -> None:
    found, verdict = decided(study({"eyes_lower": 4.0, "full": 1.5}, rest=1.5))
    assert found["crop"].outcome == found["parts"].outcome == found["zoom"].outcome == "greater"
    assert found["order"].outcome == "less" and found["place"].outcome == "equal"
    assert verdict["cropped_is_worse"] == verdict["wrong_regions"] == "contradicted"


def test_worse_crops_of_the_wrong_regions() -> None:
    found, verdict = decided(study({"eyes_lower": 0.3}, rest=2.5))
    assert found["crop"].outcome == found["parts"].outcome == "less"
    assert verdict["cropped_is_worse"] == verdict["wrong_regions"] == "supported"


def test_equal_detectors_are_equal() -> None:
    found, verdict = decided(study({}, rest=3.0))
    assert {found[name].outcome for name in ("crop", "zoom", "order", "area", "parts", "place")} == {"equal"}
    assert verdict["cropped_is_worse"] == "contradicted"
    assert verdict["wrong_regions"] == "supported"  # other regions of the same size do as well


def test_detectors_at_chance_decide_nothing() -> None:
    found, verdict = decided(study({}, rest=0.0), 2.0)
    assert {one.outcome for one in found.values()} == {"chance"}
    assert set(verdict.values()) == {"undecided"}


def test_what_only_the_parts_together_show_is_joint() -> None:
    """Fake is where two signs agree: each region alone is at chance, and so is any sum of them."""
    rng = np.random.default_rng(3)
    cells = study({}, rest=1.0)

    def regions() -> list[FloatArray]:
        sign = rng.choice([-1.0, 1.0], 2 * GROUPS)
        return [2 * sign + rng.normal(0, 0.3, (SEEDS, 2 * GROUPS)), 2 * sign * np.where(FAKE, 1, -1) + rng.normal(
            0, 0.3, (SEEDS, 2 * GROUPS)
        )]  # fmt: skip

    test, validation = regions(), regions()
    for number, name in enumerate(("eyes_mask", "lower_face_mask")):
        cells[name] = scores(test[number], validation[number])
    cells["eyes_lower_mask"] = scores(test[0] * test[1], validation[0] * validation[1])
    found, verdict = decided(cells)
    assert found["joint"].difference.first < 0.7 and found["joint"].difference.second > 0.9
    assert found["joint"].outcome == "greater" and verdict["lost_correlations"] == "supported"


def test_independent_evidence_is_not_joint() -> None:
    rng = np.random.default_rng(4)
    cells = study({}, rest=2.0)
    sides = {}
    for subset in ("test", "validation"):
        eyes, lower = (1.5 * FAKE - 0.75 + rng.normal(size=(SEEDS, 2 * GROUPS)) for _ in range(2))
        sides[subset] = (eyes, lower, eyes + lower)
    for number, name in enumerate(("eyes_mask", "lower_face_mask", "eyes_lower_mask")):
        cells[name] = scores(sides["test"][number], sides["validation"][number])
    joint = decided(cells)[0]["joint"]
    assert joint.outcome in ("equal", "unclear") and abs(joint.difference.value) < 0.02
    alone = np.mean([roc_auc_score(FAKE, p_fake) for p_fake in cells["eyes_mask"].p_fake])
    assert joint.difference.first > alone + 0.03


def test_a_detector_combined_with_itself_keeps_its_auc() -> None:
    one = study({}, rest=1.0)["full"]
    twice = additive([one, one])
    for p_fake, combined in zip(one.p_fake, twice.p_fake, strict=True):
        assert roc_auc_score(FAKE, combined) == pytest.approx(roc_auc_score(FAKE, p_fake))
    assert twice.validation is not None and twice.validation.p_fake.shape == (SEEDS, 2 * GROUPS)


def test_a_mean_over_several_draws() -> None:
    cells = study({"random_area": 3.0, "random_area_2": 0.5}, rest=1.0)
    draws = [cells[name] for name in RANDOM_AREAS]
    of_each = [differences(draw, cells["eyes_lower"], SETTINGS, ["auc"])["auc"] for draw in draws]
    mean = mean_differences(draws, [cells["eyes_lower"]], SETTINGS, ["auc"])["auc"]
    assert mean.value == pytest.approx(np.mean([one.value for one in of_each]))
    alone = mean_differences([draws[0]], [cells["eyes_lower"]], SETTINGS, ["auc"])["auc"]
    assert alone == of_each[0]


def test_a_constant_output_is_broken() -> None:
    cells = study({"eyes_lower": 4.0}, rest=1.5)
    broken = cells["eyes_lower"].p_fake.copy()
    broken[2] = 0.7
    found, verdict = decided(cells | {"eyes_lower": replace(cells["eyes_lower"], p_fake=broken)})
    assert found["crop"].outcome == "broken" and found["rest"].outcome != "broken"
    assert verdict["cropped_is_worse"] == "undecided"


def test_a_sensitive_crop_that_jitter_makes_up_for() -> None:
    cells = study({"eyes_lower_jitter": 3.0}, rest=1.5)
    found, verdict = decided(cells, 1.0)
    assert found["sensitivity"].outcome == "less" and found["jitter"].outcome == "greater"
    changes = {}
    for variant in ("full", "eyes_lower"):
        (change,) = altered(cells, 1.0)[variant][SHIFT]
        aucs = [[roc_auc_score(FAKE, p_fake) for p_fake in side.p_fake] for side in (change.before, change.after)]
        changes[variant] = np.mean(np.diff(aucs, axis=0))
    difference = found["sensitivity"].difference
    assert (difference.first, difference.second) == pytest.approx((changes["full"], changes["eyes_lower"]))
    assert difference.value < -0.1 < difference.first < 0
    assert verdict["overfitting"] == "supported"
    assert decided(cells)[1]["overfitting"] == "contradicted"  # not more sensitive than the whole face
    assert decided(study({}, rest=1.5), 1.0)[1]["overfitting"] == "contradicted"  # costs nothing


def test_sensitivity_needs_the_planned_shift() -> None:
    cells = study({}, rest=1.5)
    with_one = altered(cells) | {"full": {}}
    for changes in (
        altered(cells, shift=Alteration("shift", 2)),
        altered(cells, shift=Alteration("rotate", 4)),
        with_one,
    ):
        found = outcomes_of(cells, changes)
        assert "sensitivity" not in {one.contrast.name for one in found}
        rows = {one.hypothesis.name: one for one in verdicts(["mesonet"], list(cells), found, SEEDS)}
        assert rows["overfitting"].verdict == "not_tested"
        assert rows["overfitting"].reason == "needs 4 in robustness.shift"


def test_the_question_and_the_other_contrasts_are_two_families() -> None:
    scores = {"mesonet": study({}, rest=1.0), "vgg19": study({"eyes_lower": 2.0}, rest=1.0, seed=2)}
    cells = {model: {variant: [one] for variant, one in of_model.items()} for model, of_model in scores.items()}
    found = outcomes(cells, {model: altered(of_model) for model, of_model in scores.items()}, SETTINGS)
    assert len(found) == 2 * len(CONTRASTS)
    for question in (True, False):
        family = [one for one in found if (one.contrast.name == "crop") == question]
        assert len(family) == 2 * (1 if question else len(CONTRASTS) - 1)
        assert [one.p_holm for one in family] == holm([one.difference.p for one in family])
    for one in found:
        held = max(-one.difference.low, one.difference.high) < MARGIN
        assert (one.outcome == "equal") == (held and one.p_holm >= 0.05)


def test_broken_contrasts_are_in_no_family() -> None:
    scores = {"mesonet": study({}, rest=1.0), "vgg19": study({"eyes_lower": 2.0}, rest=1.0, seed=2)}
    constant = np.full_like(scores["vgg19"]["eyes_lower"].p_fake, 0.5)
    dead = {**scores["vgg19"], "eyes_lower": replace(scores["vgg19"]["eyes_lower"], p_fake=constant)}

    def found(of_models: dict[str, dict[str, Scores]]) -> dict[tuple[str, str], Outcome]:
        cells = {model: {variant: [one] for variant, one in of_model.items()} for model, of_model in of_models.items()}
        changes = {model: altered(of_model) for model, of_model in of_models.items()}
        return {(one.model, one.contrast.name): one for one in outcomes(cells, changes, SETTINGS)}

    alone, both = found({"mesonet": scores["mesonet"]}), found({"mesonet": scores["mesonet"], "vgg19": dead})
    assert both["mesonet", "crop"] == alone["mesonet", "crop"]
    for (model, name), one in both.items():
        shown = model == "vgg19" and "eyes_lower" in one.contrast.variants
        assert (one.outcome == "broken", math.isnan(one.p_holm)) == (shown, shown), name
    decided = verdicts(["mesonet", "vgg19"], list(dead), list(both.values()), SEEDS)
    lines = hypotheses_section(contrasts_table(list(both.values())), verdicts_table(decided), "95 %")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| vgg19")]
    (crop,) = (row for row in cells if row[1] == "crop")
    assert crop[-3:] == ["broken", "", "broken"]
    once = {
        name: replace(one, p_fake=one.p_fake[:1], validation=replace(one, p_fake=one.p_fake[:1]))
        for name, one in dead.items()
        if name in ("full", "eyes_lower")
    }
    assert found({"vgg19": once})["vgg19", "crop"].outcome == "broken"


def test_variants_on_different_validation_faces_are_not_combined() -> None:
    cells = study({}, rest=1.0)
    first, second = cells["eyes_mask"], cells["lower_face_mask"]
    assert first.validation is not None
    other = replace(second, validation=replace(first.validation, ids=("another face",)))
    with pytest.raises(StudyError, match="not about the same validation faces"):
        additive([first, other])


def test_what_is_missing_is_named() -> None:
    cells = study({}, rest=1.0)
    few = {name: cells[name] for name in ("full", "eyes_lower")}
    nothing: dict[str, Changes] = {name: {} for name in few}
    found = outcomes_of(few, nothing)
    assert [one.contrast.name for one in found] == ["crop"]
    rows = {one.hypothesis.name: one for one in verdicts(["mesonet"], list(few), found, SEEDS)}
    assert rows["cropped_is_worse"].verdict != "not_tested"
    assert rows["wrong_regions"].verdict == "not_tested"
    assert rows["wrong_regions"].reason == "needs the variants random_area, random_area_2, random_area_3"
    assert rows["overfitting"].reason == "needs the variant eyes_lower_jitter"
    single = {
        name: replace(one, p_fake=one.p_fake[:1], validation=replace(one, p_fake=one.p_fake[:1]))
        for name, one in few.items()
    }
    found = outcomes_of(single, nothing)
    assert found[0].outcome == "unclear" and contrasts_table(found).loc[0, "p_holm"] == ""
    assert {one.verdict for one in verdicts(["mesonet"], list(few), found, 1)} == {"not_tested"}
    assert {one.verdict for one in verdicts(["mesonet"], list(cells), [], SEEDS, splits=3)} == {"not_tested"}
    assert list(verdicts_table(list(rows.values()))["model"]) == ["mesonet"] * len(HYPOTHESES)


@pytest.mark.parametrize(
    ("name", "outcome", "verdict"),
    [
        ("cropped_is_worse", ["unclear"], "undecided"),
        ("wrong_regions", ["chance"], "undecided"),
        ("overfitting", ["less", "unclear"], "undecided"),
        ("overfitting", ["less", "greater"], "supported"),
        ("overfitting", ["unclear", "equal"], "contradicted"),
        ("overfitting", ["broken", "greater"], "undecided"),
        ("lost_correlations", ["equal", "less", "equal"], "contradicted"),
        ("lost_correlations", ["equal", "unclear", "equal"], "undecided"),
        ("lost_correlations", ["equal", "chance", "greater"], "supported"),
    ],
)
def test_the_rules(name: str, outcome: list[str], verdict: str) -> None:
    assert RULES[name](outcome) == verdict


@pytest.mark.parametrize("folder", ["metrics", "metrics/reasons"])
def test_the_committed_verdicts_follow_from_the_contrasts(folder: str) -> None:
    contrasts, verdict = (
        pd.read_csv(io.StringIO(committed(f"{folder}/{name}.csv"))) for name in ("contrasts", "hypotheses")
    )
    outcome = contrasts.set_index(["model", "contrast"])["outcome"]
    tested = verdict[verdict["verdict"] != "not_tested"]
    assert set(tested["model"]) == set(contrasts["model"])
    if folder == "metrics/reasons":
        assert len(contrasts) == len(CONTRASTS) and len(tested) == len(HYPOTHESES)
    for row in tested.itertuples():
        names = next(one.contrasts for one in HYPOTHESES if one.name == row.hypothesis)
        assert row.verdict == RULES[row.hypothesis]([outcome[row.model, name] for name in names])
