"""How sure the metrics are: intervals and paired comparisons by a bootstrap over groups.

Faces of one video, and videos of one person, are not independent; groups are. A resample draws as
many groups as there are, with replacement, and keeps everything in them, for all seeds and for both
sides of a comparison alike. What is resampled is the mean of a metric over the seeds, so the
intervals hold for the mean of the trained models at hand on new groups; how much another seed
matters is told by the standard deviation between seeds.

The interval is a t interval on the logit scale of the metric's range, with

- the bootstrap's standard error, times sqrt(G / (G - 1)) as it divides by G, brought to the logit
  scale by the derivative there (delta method);
- degrees of freedom 2 (G - 1) / (k - 1), k the kurtosis of the groups' influences (Satterthwaite's
  approximation: the variance of a variance of G values is about (k - 1) / G times its square), from
  1 to G - 1. Where one or two groups hold all the errors, there is little to estimate a variance
  from, whatever G is.

It was chosen by simulated coverage among percentile, BCa, studentised and other intervals; the
figures, and `python -m benchmarks.interval_coverage` that prints them, are in docs/statistics.md.

Where resampling shows no variation at all (a perfect classifier; one that says the same of
everything), or a class lies in one group only, certainty must not be pretended. There the interval
reaches from (1 - q) value + q worst to (1 - q) value + q best, q = 1 - (alpha / 2)^(1 / n): as many
unlike groups as n groups may fail to show, at their worst and best (Clopper & Pearson 1934 with no
failure among n; close to the "rule of three", 3 / n). n counts the groups of the class that has fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.special import expit, logit, stdtr, stdtrit

from facestudy.metrics import NAMES, RANGES, FloatArray, Scores, resampled_metrics
from facestudy.settings import Section

CountArray = npt.NDArray[np.uint16]

FEW_GROUPS = 20
"""With fewer test groups than this, tables carry a warning."""
NO_VARIATION = 1e-10


class EvaluateSettings(Section):
    """The section `evaluate` of the settings."""

    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 2000
    confidence: Annotated[float, Field(ge=0.5, le=0.9999)] = 0.95
    seed: Annotated[int, Field(ge=0)] = 1


@dataclass(frozen=True)
class Estimate:
    """A metric, mean over seeds, with its interval; seed_sd is 0 where there is one seed only."""

    value: float
    low: float
    high: float
    seed_sd: float


@dataclass(frozen=True)
class Difference:
    """A metric of one result less that of another on the same test faces, each a mean over seeds.

    p belongs to the interval: it is below 1 - confidence exactly when the interval leaves out 0.
    """

    first: float
    second: float
    value: float
    low: float
    high: float
    p: float


def draw_groups(scores: Scores, settings: EvaluateSettings) -> CountArray:
    """(resamples, groups): how often each group stands in each resample.

    Depends on the groups and the settings only, so results on the same faces get the same resamples.
    A resample without a fake or without a real (possible where groups have one class) is drawn again:
    the bootstrap is conditional on both classes being there.
    """
    rng = np.random.default_rng(settings.seed)
    has_fake, has_real = scores.groups_with(fake=True), scores.groups_with(fake=False)
    counts = np.empty((settings.resamples, scores.groups), np.uint16)
    missing = np.arange(settings.resamples)
    while len(missing):
        for row in missing:
            drawn = rng.integers(scores.groups, size=scores.groups)
            counts[row] = np.bincount(drawn, minlength=scores.groups)
        ok = counts[missing][:, has_fake].any(axis=1) & counts[missing][:, has_real].any(axis=1)
        missing = missing[~ok]
    return counts


def estimates(
    scores: Scores, drawn: CountArray, settings: EvaluateSettings, names: Sequence[str] = NAMES
) -> dict[str, Estimate]:
    """Each metric's mean over seeds with its interval; `drawn` from draw_groups of the same groups."""
    once = np.ones((1, scores.groups), np.uint16)
    per_seed = [
        resampled_metrics(Scores(scores.fake, p[None], scores.video, scores.group), once, names) for p in scores.p_fake
    ]
    resamples = resampled_metrics(scores, drawn, names)
    left_out = _leave_one_out(scores, names)
    found = {}
    for name in names:
        seeds = np.array([values[name][0] for values in per_seed])
        value = float(seeds.mean())
        spread = _spread(scores, resamples[name], left_out[name])
        low, high = spread.interval(value, RANGES[name], settings.confidence)
        found[name] = Estimate(value, low, high, float(seeds.std(ddof=1)) if len(seeds) > 1 else 0.0)
    return found


def differences(
    first: Scores, second: Scores, drawn: CountArray, settings: EvaluateSettings, names: Sequence[str]
) -> dict[str, Difference]:
    """second - first for each metric, resampled jointly; both must be about the same things.

    The two-sided p is that of the t statistic on the scale of the interval, with its degrees of
    freedom, for the hypothesis that the metric is equal in the population of groups.
    """
    once = np.ones((1, first.groups), np.uint16)
    values = [resampled_metrics(scores, once, names) for scores in (first, second)]
    resamples = [resampled_metrics(scores, drawn, names) for scores in (first, second)]
    left_out = [_leave_one_out(scores, names) for scores in (first, second)]
    found = {}
    for name in names:
        a, b = float(values[0][name][0]), float(values[1][name][0])
        spread = _spread(first, resamples[1][name] - resamples[0][name], left_out[1][name] - left_out[0][name])
        width = RANGES[name][1] - RANGES[name][0]
        low, high = spread.interval(b - a, (-width, width), settings.confidence)
        found[name] = Difference(a, b, b - a, low, high, spread.p_of_no_difference(b - a, width))
    return found


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm 1979), in the order given; at most 1.

    >>> [round(value, 3) for value in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]


@dataclass(frozen=True)
class _Spread:
    """What the resamples say about a statistic: standard error, degrees of freedom, groups to go on.

    standard_error is 0 where the resamples cannot tell (no variation, or a class in one group only).
    """

    standard_error: float
    freedom: float
    groups: int

    def interval(self, value: float, limits: tuple[float, float], confidence: float) -> tuple[float, float]:
        """Lower and upper end for a statistic that can range over `limits`."""
        tail = (1 - confidence) / 2
        least, greatest = limits
        share = (value - least) / (greatest - least)
        if self.standard_error == 0 or not 0 < share < 1:
            unseen = 1 - tail ** (1 / self.groups)
            return (1 - unseen) * value + unseen * least, (1 - unseen) * value + unseen * greatest
        step = -stdtrit(self.freedom, tail) * self._logit_error(share, limits)
        low, high = expit(logit(share) + np.array([-step, step]))
        return float(least + low * (greatest - least)), float(least + high * (greatest - least))

    def p_of_no_difference(self, value: float, width: float) -> float:
        """Two-sided p of a difference, which can range over -width to width, being 0."""
        share = (value + width) / (2 * width)
        if self.standard_error == 0 or not 0 < share < 1:
            # The interval above leaves out 0 when tail < (1 + |value| / width)^-groups.
            return float(min(1.0, 2 * (1 + abs(value) / width) ** -self.groups))
        return float(2 * stdtr(self.freedom, -abs(logit(share)) / self._logit_error(share, (-width, width))))

    def _logit_error(self, share: float, limits: tuple[float, float]) -> float:
        return self.standard_error / (limits[1] - limits[0]) / (share * (1 - share))


def _spread(scores: Scores, resamples: FloatArray, left_out: FloatArray) -> _Spread:
    groups, fewest = scores.groups, _fewest_groups(scores)
    if fewest < 2:
        return _Spread(0.0, 1.0, fewest)
    error = float(resamples.std(ddof=1)) * float(np.sqrt(groups / (groups - 1)))
    if error < NO_VARIATION:
        return _Spread(0.0, 1.0, fewest)
    most = min(groups - 1, 2 * (fewest - 1))
    influence = left_out - left_out.mean()
    square = float((influence**2).mean())
    kurtosis = float((influence**4).mean()) / square**2 if square > NO_VARIATION**2 else 1.0
    freedom = 2 * (groups - 1) / (kurtosis - 1) if kurtosis > 1 else most
    return _Spread(error, float(np.clip(freedom, 1, most)), fewest)


def _fewest_groups(scores: Scores) -> int:
    """The groups that hold the class which lies in fewer groups."""
    return int(min(scores.groups_with(fake=True).sum(), scores.groups_with(fake=False).sum()))


def _leave_one_out(scores: Scores, names: Sequence[str]) -> dict[str, FloatArray]:
    """(groups,) values of each metric without one group; empty where a class has one group only."""
    if _fewest_groups(scores) < 2:
        return {name: np.empty(0) for name in names}
    return resampled_metrics(scores, 1 - np.eye(scores.groups, dtype=np.int8), names)
