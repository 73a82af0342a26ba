"""Uncertainty of the metrics: intervals and paired comparisons for new test groups and new trainings.

A study generalises over two sources of variation. Faces of one video, and videos of one person, are
not independent; groups are, so groups are the cases that are sampled. A training with
another seed gives another detector, so trainings are sampled too. Every metric is reported as its
mean over the trainings, with two intervals:

- `low`, `high`: new trainings on new groups. The variance is that of Obuchowski and Rockette, see
  `facestudy.evaluation.obuchowski_rockette`. It needs two trainings; with one, there is no such interval.
- `groups_low`, `groups_high`: these trained models on new groups.

The first interval contains the second. Where trainings hardly differ, the estimate of their variance
can be too small by chance, but a result cannot be more certain for new trainings than for the trained
models at hand.

Both are t intervals on the logit scale of the metric's range, brought there by the derivative (delta
method); the points of curves have Wilson's intervals. Variances over groups come from the jackknife
over whole groups. Their degrees of freedom are 2 (G - 1) / (k - 1), k the kurtosis of the groups'
influences (Satterthwaite's approximation: the variance of a variance of G values is about (k - 1) / G
times its square), limited to the range from 1 to min(G - 1, 2 (n - 1)), n the number of groups of the class
that has fewer. Where one or two groups hold all the errors, there is little to estimate a variance from,
whatever G is.

With several splits of the same data (`split.repeats`), the metric of a split is its mean over
trainings, and the variance between splits is corrected for the data that they share (Nadeau & Bengio
2003, Inference for the generalization error, Machine Learning 52, equation 8); see
`repeated_estimates`.

Where the groups show no variation at all (a perfect classifier, or one with a constant output), or a
class lies in one group only, the interval is at least the one from (1 - q) value + q worst to
(1 - q) value + q best, q = 1 - (alpha / 2)^(1 / n): as many unlike groups as n groups may fail to
show, at their worst and best (Clopper & Pearson 1934 with no failure among n; close to the "rule of
three", 3 / n).

Simulated coverage, and the candidates among which these intervals were chosen, are in
docs/statistics.md; `python -m benchmarks.interval_coverage` prints them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
from pydantic import Field
from scipy.special import expit, logit, nctdtrinc, stdtr, stdtrit

from facestudy.core.arrays import FloatArray, IntArray
from facestudy.core.settings import Section
from facestudy.evaluation.metrics import COUNTED, NAMES, RANGES, metrics_without_groups
from facestudy.evaluation.obuchowski_rockette import (
    Design,
    Part,
    jackknife_covariance,
    parts_of_difference,
    parts_of_mean,
    total,
)
from facestudy.evaluation.scores import Change, Scores, group_metrics, groups_in

FEW_GROUPS = 20
"""With fewer test groups than this, tables carry a warning."""
POWER = 0.8
"""The power with which a study finds its smallest detectable difference."""
Method: TypeAlias = Literal["logit", "wilson"]
"""How an interval is kept within the limits of its statistic."""
NO_VARIATION = 1e-10

Result = Scores | Change
"""What is compared. The statistic of a training is a metric of its scores, or, of a change, the metric after - before,
in which the spread between trainings that is common to both cancels."""


class EvaluateSettings(Section):
    """The section `evaluate` of the settings."""

    confidence: Annotated[float, Field(ge=0.5, le=0.9999)] = 0.95
    trial: bool = False


@dataclass(frozen=True)
class Estimate:
    """A metric, mean over trainings, with its intervals.

    Attributes
    ----------
    value : float
    low, high : float
        For new trainings on new groups; NaN where there is one training.
    groups_low, groups_high : float
        For these trained models on new groups.
    seed_sd : float
        Standard deviation between trainings; 0 where there is one.
    """

    value: float
    low: float
    high: float
    groups_low: float
    groups_high: float
    seed_sd: float


@dataclass(frozen=True)
class Difference:
    """A metric of one result minus that of another on the same test faces, each a mean over trainings.

    Attributes
    ----------
    first, second, value : float
        ``value = second - first``.
    low, high, p : float
        For new trainings on new groups; NaN where there is one training. `p` is below 1 - confidence
        exactly when the interval excludes 0.
    groups_low, groups_high, groups_p : float
        For these trained models on new groups.
    spreads : tuple of Spread
        What `low`, `high` and `p` were computed from.
    """

    first: float
    second: float
    value: float
    low: float
    high: float
    p: float
    groups_low: float
    groups_high: float
    groups_p: float
    spreads: tuple[Spread, ...] = ()

    def detectable(self, level: float) -> float:
        """The smallest true difference that a test at this level finds in the share POWER of the studies."""
        return max(spread.detectable(level) for spread in self.spreads)


@dataclass(frozen=True)
class Spread:
    """The uncertainty of a statistic.

    Attributes
    ----------
    parts : tuple of Part
        Additive parts of its variance: of the trainings, of the groups.
    groups : int
        Groups of the class that lies in fewer groups.
    limits : (float, float)
        Least and greatest value of the statistic.
    groups_vary : bool
        False where the jackknife cannot tell how the groups vary.
    """

    parts: tuple[Part, ...]
    groups: int
    limits: tuple[float, float]
    groups_vary: bool

    def interval(self, value: float, confidence: float, method: Method = "logit") -> tuple[float, float]:
        """The interval for the statistic.

        Parameters
        ----------
        value
            The value of the statistic.
        confidence
            0 to 1.
        method
            `logit`, or `wilson`: Wilson's score interval with the number of faces that would give this standard error.
            The latter suits the points of a curve: near 0 and 1, the derivative of the logit makes too much of a
            single group.

        Returns
        -------
        (float, float)
            Lower and upper end.

        References
        ----------
        Franco, Little, Louis & Slud, Comparative study of confidence intervals for proportions in complex sample
        surveys, Journal of Survey Statistics and Methodology 7, 2019.

        Examples
        --------
        >>> spread = Spread((Part(0.0004, 20.0),), groups=21, limits=(0.0, 1.0), groups_vary=True)
        >>> low, high = spread.interval(0.9, 0.95)
        >>> round(low, 3), round(high, 3)
        (0.85, 0.935)
        >>> spread = Spread((Part(0.0001, 42.0),), groups=43, limits=(0.0, 1.0), groups_vary=True)
        >>> [round(spread.interval(0.9975, 0.95, method)[0], 2) for method in ("logit", "wilson")]
        [0.11, 0.86]
        """
        tail = (1 - confidence) / 2
        least, greatest = self.limits
        share = (value - least) / (greatest - least)
        error, freedom = total(self.parts)
        ends = []
        if error >= NO_VARIATION and 0 < share < 1:
            quantile = -stdtrit(freedom, tail)
            if method == "logit":
                step = quantile * self._logit_error(share, error)
                low, high = expit(logit(share) + np.array([-step, step]))
            else:
                low, high = _wilson_ends(share, quantile * error / (greatest - least))
            ends.append((float(least + low * (greatest - least)), float(least + high * (greatest - least))))
        if not self.groups_vary or not ends:
            unseen = 1 - tail ** (1 / self.groups)
            ends.append(((1 - unseen) * value + unseen * least, (1 - unseen) * value + unseen * greatest))
        return min(low for low, _ in ends), max(high for _, high in ends)

    def p_of_zero(self, value: float) -> float:
        """Two-sided p-value of the hypothesis that the statistic is 0, which is in the middle of its limits.

        Examples
        --------
        >>> spread = Spread((Part(0.0004, 20.0),), groups=21, limits=(-1.0, 1.0), groups_vary=True)
        >>> round(spread.p_of_zero(0.0), 3), spread.p_of_zero(0.1) < 0.001
        (1.0, True)
        """
        least, greatest = self.limits
        share = (value - least) / (greatest - least)
        error, freedom = total(self.parts)
        found = []
        if error >= NO_VARIATION and 0 < share < 1:
            found.append(float(2 * stdtr(freedom, -abs(logit(share)) / self._logit_error(share, error))))
        if not self.groups_vary or not found:
            # The interval by unseen groups excludes 0 when tail < (1 + |value| / greatest)^-groups.
            found.append(min(1.0, 2 * (1 + abs(value) / greatest) ** -self.groups))
        return max(found)

    def detectable(self, level: float) -> float:
        """The smallest true difference that a test finds in the share POWER of the studies.

        This is the standard error times the non-centrality with which the t test has this power. Where nothing
        varies, it is the smallest observed difference that is significant.

        Parameters
        ----------
        level
            The significance level of the test, 0 to 1.

        Returns
        -------
        float
            At most the greatest possible difference.
        """
        error, freedom = total(self.parts)
        found = 0.0
        if error >= NO_VARIATION:
            freedom = min(freedom, 1e6)  # the non-central t distribution needs a finite number
            found = float(nctdtrinc(freedom, 1 - POWER, -stdtrit(freedom, level / 2))) * error
        if not self.groups_vary:
            found = max(found, ((level / 2) ** (-1 / self.groups) - 1) * self.limits[1])
        return float(min(found, self.limits[1]))

    def _logit_error(self, share: float, error: float) -> float:
        return error / (self.limits[1] - self.limits[0]) / (share * (1 - share))


def _wilson_ends(share: float, step: float) -> tuple[float, float]:
    """The shares whose own step, that of a share of as many faces, reaches the observed one."""
    ratio = step**2 / (share * (1 - share))
    middle, half = share + ratio / 2, math.sqrt(step**2 + ratio**2 / 4)
    return max(0.0, (middle - half) / (1 + ratio)), min(1.0, (middle + half) / (1 + ratio))


def estimates(scores: Scores, settings: EvaluateSettings, names: Sequence[str] = NAMES) -> dict[str, Estimate]:
    """Each metric's mean over trainings with its intervals.

    Parameters
    ----------
    scores : Scores
        Of one model on one variant.
    settings : EvaluateSettings
        Section `evaluate` of the settings.
    names : sequence of str
        Metrics of `facestudy.evaluation.metrics.NAMES`.

    Returns
    -------
    dict of str to Estimate
        By metric.
    """
    values, jackknife = group_metrics(scores, names), _leave_one_out(scores, names)
    found = {}
    for name in names:
        of_groups = _group_part(scores, jackknife[name].mean(axis=0))
        covariance = jackknife_covariance(jackknife[name])
        found[name] = _estimate(values[name][:, 0], covariance, of_groups, scores, RANGES[name], settings.confidence)
    return found


def _estimate(
    values: FloatArray,
    covariance: FloatArray,
    of_groups: Part,
    scores: Scores,
    limits: tuple[float, float],
    confidence: float,
    method: Method = "logit",
) -> Estimate:
    """The mean of a statistic over trainings; its covariance between trainings, and of their mean, over groups."""
    value = float(values.mean())
    groups = _spread([of_groups], scores, limits)
    ends, seed_sd = (math.nan, math.nan), 0.0
    if len(values) > 1:
        parts = parts_of_mean(values, covariance, of_groups.freedom)
        ends = _interval((_spread(parts, scores, limits, of_groups), groups), value, confidence, method)
        seed_sd = float(values.std(ddof=1))
    return Estimate(value, *ends, *groups.interval(value, confidence, method), seed_sd)


def resampled_estimate(values: FloatArray, resampled: FloatArray, scores: Scores, confidence: float) -> Estimate:
    """The mean of a share over trainings with its intervals, from resampled groups.

    For statistics such as the point of a curve, for which the jackknife is not consistent (Efron 1982, section 3.4).

    Parameters
    ----------
    values : ndarray of float64, shape (trainings,)
        In [0, 1].
    resampled : ndarray of float64, shape (trainings, resamples)
        The same where groups are drawn with replacement.
    scores : Scores
        What the statistic is of.
    confidence : float
        0 to 1.

    Returns
    -------
    Estimate
        As `estimates`.

    References
    ----------
    Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982.
    """
    fewest = _fewest_groups(scores)
    limits, none = (0.0, 1.0), np.zeros((len(values), len(values)))
    if fewest < 2:
        return _estimate(values, none, Part(0.0, 1.0), scores, limits, confidence, "wilson")
    of_mean = Part(float(resampled.mean(axis=0).var(ddof=1)), float(min(scores.groups - 1, 2 * (fewest - 1))))
    covariance = np.atleast_2d(np.cov(resampled))
    return _estimate(values, covariance, of_mean, scores, limits, confidence, "wilson")


def resampled_groups(scores: Scores, resamples: int, seed: int = 0) -> IntArray:
    """Draw groups with replacement, so that each class is there.

    Parameters
    ----------
    scores : Scores
    resamples : int
    seed : int

    Returns
    -------
    ndarray of int, shape (resamples, groups)
        How often each group counts. Where a class is in one group only, each group counts once.
    """
    random, found = np.random.default_rng(seed), np.ones((resamples, scores.groups), int)
    if _fewest_groups(scores) < 2:
        return found
    classes = [scores.groups_with(fake) for fake in (False, True)]
    for row in range(resamples):
        while True:
            drawn = np.bincount(random.integers(scores.groups, size=scores.groups), minlength=scores.groups)
            if all(drawn[one].any() for one in classes):
                break
        found[row] = drawn
    return found


def differences(
    first: Result, second: Result, settings: EvaluateSettings, names: Sequence[str], design: Design = "nested"
) -> dict[str, Difference]:
    """The difference of each metric, or of its change, between two results, with intervals and p-values.

    Parameters
    ----------
    first, second : Scores or Change
        Of one model on two variants: the same test faces and number of trainings.
    settings : EvaluateSettings
        Section `evaluate` of the settings.
    names : sequence of str
        Metrics of `facestudy.evaluation.metrics.NAMES`.
    design : {"nested", "crossed"}
        Whether each side has trainings of its own, or both are results of the same trained models.

    Returns
    -------
    dict of str to Difference
        By metric: second - first.
    """
    return mean_differences([first], [second], settings, names, design)


def mean_differences(
    first: Sequence[Result],
    second: Sequence[Result],
    settings: EvaluateSettings,
    names: Sequence[str],
    design: Design = "nested",
) -> dict[str, Difference]:
    """The difference of each metric between the means of several results, with intervals and p-values.

    Parameters
    ----------
    first, second : sequence of Scores or of Change
        Each side's results, whose metrics are averaged: the same test faces and number of trainings. The interval
        holds for these results, not for others of their kind: several random areas are not a sample of all areas.
    settings : EvaluateSettings
        Section `evaluate` of the settings.
    names : sequence of str
        Metrics of `facestudy.evaluation.metrics.NAMES`.
    design : {"nested", "crossed"}
        As in `differences`.

    Returns
    -------
    dict of str to Difference
        By metric.
    """
    sides = (first, second)
    values = [_mean_of([_values(result, names) for result in side]) for side in sides]
    jackknife = [_mean_of([_leave_one_out(result, names) for result in side]) for side in sides]
    found = {}
    for name in names:
        seeds = np.stack([side[name][:, 0] for side in values])
        without = np.stack([side[name] for side in jackknife])
        found[name] = _difference(seeds, without, _faces(first[0]), _greatest(first[0], name), settings, design)
    return found


def _mean_of(results: Sequence[dict[str, FloatArray]]) -> dict[str, FloatArray]:
    return {name: np.mean([of[name] for of in results], axis=0) for name in results[0]}


def _difference(
    seeds: FloatArray, without: FloatArray, scores: Scores, limit: float, settings: EvaluateSettings, design: Design
) -> Difference:
    """The difference of a statistic between two sides, from its values.

    `seeds` has the shape (2, trainings), `without`, the values without one group, (2, trainings, groups); `limit` is
    the greatest possible difference, and `scores` has the groups.
    """
    a, b = (float(mean) for mean in seeds.mean(axis=1))
    limits = (-limit, limit)
    of_groups = _group_part(scores, without[1].mean(axis=0) - without[0].mean(axis=0))
    groups = _spread([of_groups], scores, limits)
    spreads: tuple[Spread, ...] = (groups,)
    ends, p = (math.nan, math.nan), math.nan
    if seeds.shape[1] > 1:
        parts = parts_of_difference(seeds, jackknife_covariance(without), of_groups.freedom, design)
        spreads = (_spread(parts, scores, limits, of_groups), groups)
        ends, p = _interval(spreads, b - a, settings.confidence), _p_of_zero(spreads, b - a)
    groups_ends, groups_p = groups.interval(b - a, settings.confidence), groups.p_of_zero(b - a)
    return Difference(a, b, b - a, *ends, p, *groups_ends, groups_p, spreads)


def _values(result: Result, names: Sequence[str]) -> dict[str, FloatArray]:
    """As `group_metrics`; of a change, after - before."""
    if isinstance(result, Scores):
        return group_metrics(result, names)
    before, after = (group_metrics(scores, names) for scores in (result.before, result.after))
    return {name: after[name] - before[name] for name in names}


def _faces(result: Result) -> Scores:
    """Scores of the faces that a result is about."""
    return result if isinstance(result, Scores) else result.before


def _greatest(result: Result, name: str) -> float:
    """The greatest possible difference of a metric, or of its change, between two results."""
    width = RANGES[name][1] - RANGES[name][0]
    return width if isinstance(result, Scores) else 2 * width


def repeated_estimates(
    splits: Sequence[Scores], settings: EvaluateSettings, test_share: float, names: Sequence[str] = NAMES
) -> dict[str, Estimate]:
    """Each metric's mean over splits and trainings, with an interval for new splits, trainings and groups.

    Parameters
    ----------
    splits : sequence of Scores
        Of one model on one variant, one for each of at least two splits.
    settings : EvaluateSettings
        Section `evaluate` of the settings.
    test_share : float
        The share of the data in the test subset, 0 to 1; models are fitted and selected on the rest.
    names : sequence of str
        Metrics of `facestudy.evaluation.metrics.NAMES`.

    Returns
    -------
    dict of str to Estimate
        `groups_low` and `groups_high` are NaN, `seed_sd` is the mean over splits.

    References
    ----------
    Nadeau and Bengio 2003, Inference for the generalization error, Machine Learning 52, equation 8.
    """
    values = [group_metrics(scores, names) for scores in splits]
    return {
        name: repeated_estimate(
            [of[name][:, 0] for of in values], splits, RANGES[name], test_share, settings.confidence
        )
        for name in names
    }


def repeated_estimate(
    values: Sequence[FloatArray],
    splits: Sequence[Scores],
    limits: tuple[float, float],
    test_share: float,
    confidence: float,
    method: Method = "logit",
) -> Estimate:
    """The mean of a statistic over splits and trainings, as `repeated_estimates`.

    Parameters
    ----------
    values : sequence of ndarray of float64, shape (trainings,)
        One for each split.
    splits : sequence of Scores
    limits : (float, float)
        The least and the greatest value.
    test_share : float
        As in `repeated_estimates`.
    confidence : float
        0 to 1.
    method : {"logit", "wilson"}
        As in `Spread.interval`.

    Returns
    -------
    Estimate
    """
    of_splits = np.array([of.mean() for of in values])
    seed_sd = float(np.mean([of.std(ddof=1) for of in values])) if len(values[0]) > 1 else 0.0
    value, spread = float(of_splits.mean()), _spread_of_splits(of_splits, splits, limits, test_share)
    return Estimate(value, *spread.interval(value, confidence, method), math.nan, math.nan, seed_sd)


def repeated_differences(
    first: Sequence[Result],
    second: Sequence[Result],
    settings: EvaluateSettings,
    test_share: float,
    names: Sequence[str],
) -> dict[str, Difference]:
    """The difference of each metric, or of its change, between two results on several splits, paired by split.

    Parameters
    ----------
    first, second : sequence of Scores or of Change
        Of one model on two variants, one for each of at least two splits.
    settings : EvaluateSettings
        Section `evaluate` of the settings.
    test_share : float
        As in `repeated_estimates`.
    names : sequence of str
        Metrics of `facestudy.evaluation.metrics.NAMES`.

    Returns
    -------
    dict of str to Difference
        second - first; `groups_low`, `groups_high` and `groups_p` are NaN.

    References
    ----------
    As `repeated_estimates`.
    """
    values = [[_values(result, names) for result in side] for side in (first, second)]
    splits = [_faces(result) for result in first]
    found = {}
    for name in names:
        sides = np.array([[of[name][:, 0].mean() for of in side] for side in values])
        a, b = (float(mean) for mean in sides.mean(axis=1))
        limit = _greatest(first[0], name)
        spread = _spread_of_splits(sides[1] - sides[0], splits, (-limit, limit), test_share)
        ends, p = spread.interval(b - a, settings.confidence), spread.p_of_zero(b - a)
        found[name] = Difference(a, b, b - a, *ends, p, math.nan, math.nan, math.nan, (spread,))
    return found


def _spread_of_splits(
    values: FloatArray, splits: Sequence[Scores], limits: tuple[float, float], test_share: float
) -> Spread:
    factor = 1 / len(values) + test_share / (1 - test_share)
    part = Part(factor * float(values.var(ddof=1)), len(values) - 1)
    fewest = min(groups_in(splits, fake=True), groups_in(splits, fake=False))
    return Spread((part,), fewest, limits, part.variance >= NO_VARIATION**2)


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's step-down method.

    Parameters
    ----------
    p
        The p-values of one family.

    Returns
    -------
    list of float
        Adjusted, in the same order, at most 1.

    References
    ----------
    Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6.

    Examples
    --------
    >>> [round(value, 3) for value in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]


def _interval(
    spreads: Sequence[Spread], value: float, confidence: float, method: Method = "logit"
) -> tuple[float, float]:
    """The interval that contains those of all spreads."""
    lows, highs = zip(*(spread.interval(value, confidence, method) for spread in spreads), strict=True)
    return min(lows), max(highs)


def _p_of_zero(spreads: Sequence[Spread], value: float) -> float:
    """The p-value of that interval."""
    return max(spread.p_of_zero(value) for spread in spreads)


def _spread(
    parts: Sequence[Part], scores: Scores, limits: tuple[float, float], of_groups: Part | None = None
) -> Spread:
    of_groups = of_groups or parts[0]
    varies = of_groups.variance >= NO_VARIATION**2
    return Spread(tuple(parts), _fewest_groups(scores), limits, varies)


def _group_part(scores: Scores, jackknife: FloatArray) -> Part:
    """Variance over groups of a statistic, from its values without one group; (groups,) or empty."""
    groups, fewest = scores.groups, _fewest_groups(scores)
    if fewest < 2:
        return Part(0.0, 1.0)
    return part_of_groups(jackknife, min(groups - 1, 2 * (fewest - 1)))


def part_of_groups(jackknife: FloatArray, most: int) -> Part:
    """Estimate the variance over groups of a statistic, and its degrees of freedom from the kurtosis over groups.

    Parameters
    ----------
    jackknife : ndarray of float64, shape (groups,)
        The statistic without each group in turn.
    most : int
        The greatest number of degrees of freedom.

    Returns
    -------
    Part
        With 2 (groups - 1) / (kurtosis - 1) degrees of freedom, at least 1: few groups may make most of the variance.
    """
    groups = len(jackknife)
    influence = jackknife - jackknife.mean()
    square = float((influence**2).mean())
    kurtosis = float((influence**4).mean()) / square**2 if square > NO_VARIATION**2 else 1.0
    freedom = 2 * (groups - 1) / (kurtosis - 1) if kurtosis > 1 else most
    return Part((groups - 1) * square, float(np.clip(freedom, 1, most)))


def _fewest_groups(scores: Scores) -> int:
    """The groups that hold the class which lies in fewer groups."""
    return int(min(scores.groups_with(fake=True).sum(), scores.groups_with(fake=False).sum()))


def _leave_one_out(result: Result, names: Sequence[str]) -> dict[str, FloatArray]:
    """(trainings, groups) values of each metric without one group; all equal where a class has one group only."""
    if not isinstance(result, Scores):
        before, after = (_leave_one_out(scores, names) for scores in (result.before, result.after))
        return {name: after[name] - before[name] for name in names}
    if _fewest_groups(result) < 2:
        return {name: np.zeros((len(result.p_fake), result.groups)) for name in names}
    weighted = [name for name in names if name not in COUNTED]
    found = group_metrics(result, weighted, 1 - np.eye(result.groups, dtype=np.int8)) if weighted else {}
    counted = [name for name in names if name in COUNTED]
    trainings = [
        metrics_without_groups(result.fake, p_fake, result.group, counted, tuned)
        for p_fake, tuned in zip(result.p_fake, result.thresholds, strict=True)
    ]
    return found | {name: np.stack([training[name] for training in trainings]) for name in counted}
