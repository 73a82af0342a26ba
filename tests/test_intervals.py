"""Intervals against scipy, known answers and, for their coverage, simulation with a known truth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.interval_coverage import (
    COMPARED,
    Study,
    coverage,
    power_at_detectable,
    shift_of,
    simulate,
    training_effect,
)
from facestudy.evaluation.intervals import (
    Difference,
    Estimate,
    EvaluateSettings,
    Spread,
    differences,
    estimates,
    holm,
    repeated_differences,
)
from facestudy.evaluation.metrics import NAMES, RANGES
from facestudy.evaluation.obuchowski_rockette import Part
from facestudy.evaluation.scores import Change, Scores

SETTINGS = EvaluateSettings(confidence=0.95)
METRICS = ("accuracy", "balanced_accuracy", "auc", "average_precision")


def twins(p_fake_of_real: np.ndarray, p_fake_of_fake: np.ndarray) -> Scores:
    """One real and one fake face in each group; (groups,) or (seeds, groups)."""
    pairs = np.stack(np.broadcast_arrays(p_fake_of_real, p_fake_of_fake), axis=-1)
    groups = pairs.shape[-2]
    p_fake = pairs.reshape(-1, 2 * groups)
    return Scores(np.tile([False, True], groups), p_fake, np.arange(2 * groups), np.repeat(np.arange(groups), 2))


def estimate(scores: Scores, name: str) -> Estimate:
    return estimates(scores, SETTINGS, [name])[name]


def difference(first: Scores, second: Scores, name: str) -> Difference:
    return differences(first, second, SETTINGS, [name])[name]


def test_group_interval_of_a_mean_is_the_t_interval_on_logits() -> None:
    rng = np.random.default_rng(6)
    p_real, p_fake = rng.random(30), rng.random(30)
    loss = (p_real**2 + (1 - p_fake) ** 2) / 2  # the Brier score is the mean of this over groups
    found = estimate(twins(p_real, p_fake), "brier")
    mean, error = loss.mean(), loss.std(ddof=1) / np.sqrt(30)
    freedom = min(29, 2 * 29 / (scipy.stats.kurtosis(loss, fisher=False) - 1))
    step = scipy.stats.t.ppf(0.975, freedom) * error / (mean * (1 - mean))
    logit = np.log(mean / (1 - mean))
    assert found.value == pytest.approx(mean)
    assert found.groups_low == pytest.approx(scipy.special.expit(logit - step))
    assert found.groups_high == pytest.approx(scipy.special.expit(logit + step))


def test_one_seed_has_no_interval_for_new_trainings() -> None:
    first, second = simulate(np.random.default_rng(2), Study(seeds=1, groups=20))
    alone = estimate(first, "auc")
    assert math.isnan(alone.low) and math.isnan(alone.high)
    assert alone.groups_low < alone.value < alone.groups_high
    assert alone.seed_sd == 0
    compared = difference(first, second, "auc")
    assert math.isnan(compared.p) and math.isnan(compared.low)
    assert 0 < compared.groups_p <= 1


def test_trainings_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    p_real, p_fake = rng.random((1, 40)) * 0.8, 0.2 + rng.random((1, 40)) * 0.8
    same = twins(np.repeat(p_real, 5, axis=0), np.repeat(p_fake, 5, axis=0))
    p_fake = np.repeat(p_fake, 5, axis=0)
    p_fake[0] = p_fake[0] / 2  # one training that finds fewer fakes
    other = twins(np.repeat(p_real, 5, axis=0), p_fake)
    a, b = estimate(same, "auc"), estimate(other, "auc")
    assert a.seed_sd == 0 < b.seed_sd
    assert (a.low, a.high) == pytest.approx((a.groups_low, a.groups_high))
    assert b.low < b.groups_low and b.high > b.groups_high


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_classifier_has_the_exact_binomial_end(name: str) -> None:
    for seeds in (1, 5):
        found = estimate(twins(np.full((seeds, 24), 0.1), np.full((seeds, 24), 0.9)), name)
        exact = scipy.stats.binomtest(24, 24).proportion_ci(0.95, method="exact")
        assert (found.value, found.groups_high) == (1, 1)
        assert found.groups_low == pytest.approx(exact.low)
        if seeds > 1:
            assert (found.low, found.high) == pytest.approx((exact.low, 1))


def test_no_variation_is_not_certainty() -> None:
    for p in (0.3, 0.5, 0.9):
        found = estimates(twins(np.full((3, 24), p), np.full((3, 24), p)), SETTINGS)
        for name in NAMES:
            low, high = RANGES[name]
            assert low <= found[name].low < found[name].high <= high, name
            assert found[name].low <= found[name].value <= found[name].high
            assert found[name].high - found[name].low > 0.1, name
        assert found["auc"].value == 0.5


def test_trainings_vary_and_groups_do_not() -> None:
    """One of five trainings has a constant output, the others are perfect."""
    p_real, p_fake = np.full((5, 24), 0.1), np.full((5, 24), 0.9)
    p_real[0] = p_fake[0] = 0.5
    found = estimate(twins(p_real, p_fake), "auc")
    perfect = estimate(twins(p_real[1:], p_fake[1:]), "auc")
    assert found.value == pytest.approx(0.9)
    assert found.low < 0.8 and found.low < perfect.low
    assert found.high > 0.9


def test_one_erring_group_leaves_no_more_certainty_than_none() -> None:
    p_real = np.full(24, 0.1)
    perfect = estimate(twins(p_real, np.full(24, 0.9)), "accuracy")
    p_real[3] = 0.8
    assert estimate(twins(p_real, np.full(24, 0.9)), "accuracy").groups_low < perfect.groups_low


@given(
    st.integers(0, 10_000),
    st.sampled_from(["twins", "apart", "uneven"]),
    st.sampled_from([2, 3, 5, 12]),
    st.sampled_from([1, 2, 5]),
)
def test_intervals_hold_the_value_and_stay_in_range(seed: int, design: str, groups: int, seeds: int) -> None:
    scores, _ = simulate(np.random.default_rng(seed), Study(design, groups, 0.9, seeds, 0.0))
    for name, found in estimates(scores, SETTINGS).items():
        low, high = RANGES[name]
        ends = [(found.groups_low, found.groups_high)] + ([(found.low, found.high)] if seeds > 1 else [])
        assert min(ends)[0] == ends[-1][0] and max(upper for _, upper in ends) == ends[-1][1], name
        for lower, upper in ends:
            assert low <= lower <= found.value <= upper <= high + 1e-12, name
            assert upper - lower > 1e-6, name


def test_a_class_in_one_group_gives_the_widest_interval() -> None:
    scores, _ = simulate(np.random.default_rng(1), Study("apart", 3, 0.9, 3, 0.0))
    found = estimate(scores, "auc")
    assert found.low < 0.05
    assert found.high > 0.95


@given(st.integers(5, 400), st.data())
def test_wilson_intervals_of_a_plain_share_are_scipys(count: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(1, count - 1))
    share = successes / count
    spread = Spread((Part(share * (1 - share) / count, 1e12),), count, (0.0, 1.0), groups_vary=True)
    expected = scipy.stats.binomtest(successes, count).proportion_ci(0.95, method="wilson")
    assert spread.interval(share, 0.95, "wilson") == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_mean_and_standard_deviation_over_seeds() -> None:
    scores, _ = simulate(np.random.default_rng(2), Study(groups=24, seeds=3))
    each = [estimate(Scores(scores.fake, p[None], scores.video, scores.group), "auc").value for p in scores.p_fake]
    found = estimate(scores, "auc")
    assert found.value == pytest.approx(np.mean(each))
    assert found.seed_sd == pytest.approx(np.std(each, ddof=1))


def test_a_model_that_is_not_trained_varies_with_the_groups_only() -> None:
    """The scores of every seed are the same."""
    trained, other = simulate(np.random.default_rng(3), Study(groups=24, seeds=3))
    first, second = (Scores(s.fake, np.repeat(s.p_fake[:1], 5, axis=0), s.video, s.group) for s in (trained, other))
    for name in METRICS:
        found, pair = estimate(first, name), difference(first, second, name)
        assert (found.low, found.high) == pytest.approx((found.groups_low, found.groups_high), rel=1e-9)
        assert (pair.low, pair.high, pair.p) == pytest.approx((pair.groups_low, pair.groups_high, pair.groups_p))


def test_paired_interval_is_narrower_than_unpaired() -> None:
    rng = np.random.default_rng(4)
    p_real, p_fake = rng.random(40) * 0.7, 0.3 + rng.random(40) * 0.7
    noise = rng.normal(0, 0.02, (2, 5, 40))
    first, second = (twins(np.clip(p_real + n, 0, 1), np.clip(p_fake - n, 0, 1)) for n in noise)
    paired = difference(first, second, "accuracy")
    single = [estimate(scores, "accuracy") for scores in (first, second)]
    assert paired.value == pytest.approx(single[1].value - single[0].value)
    unpaired = np.hypot(single[0].high - single[0].low, single[1].high - single[1].low)
    assert paired.high - paired.low < 0.8 * unpaired


def test_paired_group_test_of_a_mean_is_near_the_t_test() -> None:
    rng = np.random.default_rng(7)
    losses, sides = [], []
    for better in (0.0, 0.08):
        p_real, p_fake = rng.random(30) * (1 - better), better + rng.random(30) * (1 - better)
        sides.append(twins(p_real, p_fake))
        losses.append((p_real**2 + (1 - p_fake) ** 2) / 2)
    found = difference(sides[0], sides[1], "brier")
    assert found.groups_p == pytest.approx(scipy.stats.ttest_rel(losses[1], losses[0]).pvalue, abs=0.02)


def test_test_of_trainings_alone_is_near_welch_t_test() -> None:
    """Groups that all do the same leave the trainings as the only source of variation."""
    rng = np.random.default_rng(8)
    areas = rng.uniform(0.5, 0.9, (2, 6))
    spread = Spread(tuple(Part(float(row.var(ddof=1)) / 6, 5) for row in areas), 40, (-1.0, 1.0), groups_vary=True)
    ours = spread.p_of_zero(float(areas[1].mean() - areas[0].mean()))
    assert ours == pytest.approx(scipy.stats.ttest_ind(*areas, equal_var=False).pvalue, abs=0.01)


@given(st.integers(0, 10_000), st.sampled_from([0.8, 0.9, 0.95]), st.sampled_from([0.5, 0.8, 0.999]))
def test_p_and_interval_agree(seed: int, confidence: float, second_area: float) -> None:
    study = Study("twins", 10, 0.6, 3, 0.0, second_area=second_area)
    first, second = simulate(np.random.default_rng(seed), study)
    for found in differences(first, second, EvaluateSettings(confidence=confidence), NAMES).values():
        assert (found.p < 1 - confidence) == (found.low > 0 or found.high < 0)
        assert found.p >= found.groups_p
        assert (found.groups_p < 1 - confidence) == (found.groups_low > 0 or found.groups_high < 0)


def test_equal_results_do_not_differ_and_constant_ones_do() -> None:
    sure = twins(np.full((3, 24), 0.1), np.full((3, 24), 0.9))
    blind = twins(np.full((3, 24), 0.5), np.full((3, 24), 0.5))
    same = difference(sure, sure, "auc")
    assert (same.value, same.p) == (0, 1)
    assert same.low < -0.1 < 0.1 < same.high
    worse = difference(sure, blind, "auc")
    assert worse.value == -0.5
    assert worse.p == worse.groups_p == pytest.approx(2 * 1.5**-24)
    assert worse.high < 0
    few = [Scores(s.fake[:6], s.p_fake[:, :6], s.video[:6], s.group[:6]) for s in (sure, blind)]
    unsure = difference(few[0], few[1], "auc")
    assert unsure.p > 0.05
    assert unsure.high > 0


def test_smallest_detectable_difference() -> None:
    spread = Spread((Part(0.02**2, np.inf),), 40, (-1.0, 1.0), groups_vary=True)
    assert spread.detectable(0.05) == pytest.approx(0.02 * (1.959964 + 0.841621), rel=1e-4)
    assert spread.detectable(0.05 / 3) > spread.detectable(0.05)
    for freedom in (2, 4.5, 30):
        few = replace(spread, parts=(Part(0.02**2, freedom),))
        shift, critical = few.detectable(0.05) / 0.02, scipy.stats.t.ppf(0.975, freedom)
        power = scipy.stats.nct.sf(critical, freedom, shift) + scipy.stats.nct.cdf(-critical, freedom, shift)
        assert power == pytest.approx(0.8, abs=1e-3)
    nothing = replace(spread, parts=(Part(0.0, 1.0),), groups_vary=False)
    at = nothing.detectable(0.05)
    assert nothing.p_of_zero(at * 1.001) < 0.05 < nothing.p_of_zero(at * 0.999)
    assert replace(nothing, groups=1).detectable(0.05) == 1


def test_holm_known_answers() -> None:
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    # R: p.adjust(c(.02, .001, .5, .9), "holm")
    assert holm([0.02, 0.001, 0.5, 0.9]) == pytest.approx([0.06, 0.004, 1.0, 1.0])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_between_the_raw_and_the_bonferroni_values(p: list[float]) -> None:
    for raw, corrected in zip(p, holm(p), strict=True):
        assert raw <= corrected <= min(1, len(p) * raw) + 1e-12


@pytest.mark.parametrize(
    "study",
    [
        Study("twins", 24, 0.75, 3, 0.5),
        Study("twins", 24, 0.98, 3, 2.0),
        Study("apart", 20, 0.9, 3, 0.0),
        Study("apart", 40, 0.98, 5, 2.0),
    ],
    ids=str,
)
def test_coverage_for_new_trainings_on_new_groups(study: Study) -> None:
    # Of 200 intervals that hold the truth 95 % of the time, fewer than 180 do in 1 of 600 tests.
    for name, share in coverage(study, 200).items():
        assert share >= 0.9, (name, share)


@pytest.mark.parametrize("study", [Study("twins", 24, 0.75, 3, 2.0), Study("apart", 24, 0.9, 5, 0.5)], ids=str)
def test_equal_variants_are_seldom_reported_as_different(study: Study) -> None:
    # Of 200 tests at the level of 5 %, more than 20 reject in 1 of 800 tests.
    rng = np.random.default_rng(2)
    found = [differences(*simulate(rng, study), SETTINGS, COMPARED) for _ in range(200)]
    for name in COMPARED:
        called = np.mean([one[name].p < 0.05 for one in found])
        assert called <= 0.1, (name, called)


def test_the_detectable_difference_is_detected() -> None:
    found = power_at_detectable(Study("twins", 40, 0.9, 5, 0.5), 150)
    assert 0.7 <= found["power"] <= 0.95, found


# --- the difference of two changes -------------------------------------------------------------


def disturbed(rng: np.random.Generator, scores: Scores, sd: float, common: np.ndarray) -> Scores:
    """The same trainings on altered faces: noise on the logits, half of its variance the same for all trainings."""
    noise = np.sqrt(0.5) * common + np.sqrt(0.5) * rng.normal(size=scores.p_fake.shape)
    return replace(scores, p_fake=scipy.special.expit(scipy.special.logit(scores.p_fake) + sd * noise))


def changed(rng: np.random.Generator, study: Study, sds: tuple[float, float]) -> tuple[Change, Change]:
    """Before and after an alteration that disturbs the first variant by sds[0] and the second by sds[1]."""
    first, second = simulate(rng, study)
    common = rng.normal(size=first.p_fake[0].shape)
    return Change(first, disturbed(rng, first, sds[0], common)), Change(second, disturbed(rng, second, sds[1], common))


def difference_of_changes(first: Change, second: Change) -> Difference:
    return differences(first, second, SETTINGS, ["auc"])["auc"]


def test_against_no_change_it_is_the_plain_change() -> None:
    """The reference adds nothing to its variance, and the trainings of the change are those of the crossed design."""
    still, moving = changed(np.random.default_rng(3), Study("twins", 24, 0.9, 5, 0.5), (0.5, 1.0))
    found = difference_of_changes(Change(still.before, still.before), moving)
    plain = differences(moving.before, moving.after, SETTINGS, ["auc"], design="crossed")["auc"]
    assert (found.first, found.second, found.value) == (0, *[pytest.approx(plain.value)] * 2)
    none, moved, groups = found.spreads[0].parts
    assert none.variance == 0
    for part, expected in zip((moved, groups), plain.spreads[0].parts, strict=True):
        assert (part.variance, part.freedom) == pytest.approx((expected.variance, expected.freedom))
    assert found.spreads[1].parts[0].variance == pytest.approx(plain.spreads[1].parts[0].variance)
    assert found.spreads[0].limits == (-2, 2) and plain.spreads[0].limits == (-1, 1)


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 5]))
def test_swapped_changes_have_the_other_sign(seed: int, seeds: int) -> None:
    first, second = changed(np.random.default_rng(seed), Study("twins", 12, 0.8, seeds, 0.5), (0.5, 1.0))
    found, swapped = difference_of_changes(first, second), difference_of_changes(second, first)
    assert swapped.value == pytest.approx(-found.value) and swapped.first == found.second
    pairs = [("groups_low", "groups_high"), ("groups_high", "groups_low"), *([("low", "high")] if seeds > 1 else [])]
    for one, other in pairs:
        assert getattr(swapped, one) == pytest.approx(-getattr(found, other))
    assert swapped.groups_p == pytest.approx(found.groups_p)
    assert math.isnan(found.p) if seeds == 1 else swapped.p == pytest.approx(found.p)
    assert difference_of_changes(first, first).value == 0


def test_splits_are_paired_in_a_difference_of_changes() -> None:
    rng, study = np.random.default_rng(5), Study("twins", 20, 0.85, 2, 0.5)
    names = tuple(f"g{number}" for number in range(20))
    splits = [
        [
            Change(replace(side.before, group_names=names), replace(side.after, group_names=names))
            for side in changed(rng, study, (0.5, 1.0))
        ]
        for _ in range(4)
    ]
    first, second = ([split[side] for split in splits] for side in (0, 1))
    found = repeated_differences(first, second, SETTINGS, 0.25, ["auc"])["auc"]
    each = np.array([difference_of_changes(*split).value for split in splits])
    assert found.value == pytest.approx(each.mean())
    (part,) = found.spreads[0].parts
    assert part.variance == pytest.approx((1 / 4 + 0.25 / 0.75) * each.var(ddof=1)) and part.freedom == 3
    assert found.spreads[0].limits == (-2, 2) and math.isnan(found.groups_low)


def mean_area(study: Study, variance: float, sd: float) -> float:
    """The AUC, mean over trainings, when noise of this standard deviation is added to every logit."""
    effect = training_effect(study.design, study.groups, study.area, variance) if variance else 0.0
    return float(scipy.stats.norm.cdf(shift_of(study.area, effect) / np.sqrt(2 + 2 * sd**2 + effect**2)))


@pytest.mark.parametrize("sds", [(0.7, 0.7), (0.4, 1.2)], ids=str)
def test_coverage_of_the_difference_of_changes(sds: tuple[float, float]) -> None:
    # Of 200 intervals that hold the truth 95 % of the time, fewer than 180 do in 1 of 600 tests.
    study, rng = Study("twins", 24, 0.9, 5, 0.5), np.random.default_rng(11)
    areas = [mean_area(study, study.training_variance, sd) for sd in sds]
    truth = areas[1] - areas[0]
    found = [difference_of_changes(*changed(rng, study, sds)) for _ in range(200)]
    assert np.mean([one.value for one in found]) == pytest.approx(truth, abs=0.005)
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.9
    called = np.mean([one.p < 0.05 for one in found])
    assert called <= 0.1 if truth == 0 else called >= 0.9
