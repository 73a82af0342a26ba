"""How often 95 % intervals hold the truth, on made-up clustered faces whose truth is known.

    python -m benchmarks.interval_coverage [--repeats 1000] [--resamples 500]

Four tables: rival intervals for accuracy and AUC; the interval in use for every metric; the same with
few and with unequal groups; how often the paired comparison calls a difference where there is none.
What came out is in docs/statistics.md.

A face's score is normal: a shift for its class that gives the wanted AUC, plus effects of its group
and its video, which make up the intraclass correlation, plus its own noise; p_fake is its logistic.
The designs are `twins` (each group holds a real and a fake video, as the sample does), `apart` (each
group is one video, every second one fake), `uneven` (1 to 9 such pairs of videos a group, most have
few) and `lopsided` (the first group holds as much as all others together).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.special import expit
from scipy.stats import norm, t

from facestudy.intervals import EvaluateSettings, differences, draw_groups, estimates
from facestudy.metrics import NAMES, FloatArray, Scores, point_metrics, resampled_metrics

LEVEL = 0.95
CORRELATION = 0.6
FACES_PER_GROUP = 8
AREAS = (0.5, 0.75, 0.9, 0.98, 0.995)
DESIGNS = ("twins", "apart")


def made_up_scores(
    rng: np.random.Generator, design: str, groups: int, area: float, detectors: int = 1, shared: float = 0.5
) -> list[Scores]:
    """Results of equally good detectors on the same clustered faces.

    area: the AUC of each in the population. shared: how much of the variance of group and video
    effects the detectors have in common.
    """
    if design == "apart":
        group = video = np.repeat(np.arange(groups), FACES_PER_GROUP)
        fake = group % 2 == 1
    else:
        pairs = np.ones(groups, dtype=int)
        if design == "uneven":
            pairs = np.minimum(9, rng.geometric(0.4, groups))
        elif design == "lopsided":
            pairs[0] = groups - 1
        video = np.repeat(np.arange(2 * pairs.sum()), FACES_PER_GROUP // 2)
        group = np.repeat(np.arange(groups), FACES_PER_GROUP * pairs)
        fake = video % 2 == 1
    shift = np.sqrt(2) * norm.ppf(area) * (fake - 0.5)

    def cluster_effect() -> FloatArray:
        effects = rng.normal(size=groups)[group] + rng.normal(size=int(video.max()) + 1)[video]
        return effects * np.sqrt(CORRELATION / 2)

    common = cluster_effect()
    found = []
    for _ in range(detectors):
        own = rng.normal(size=len(group)) * np.sqrt(1 - CORRELATION)
        effect = np.sqrt(shared) * common + np.sqrt(1 - shared) * cluster_effect()
        found.append(Scores(fake, expit(shift + effect + own)[None], video, group))
    return found


def truth(area: float, faces: int = 400_000) -> dict[str, float]:
    """Metrics of such a detector on the whole population: a very large sample of unrelated faces."""
    rng = np.random.default_rng(0)
    fake = np.arange(faces) % 2 == 1
    p_fake = expit(rng.normal(size=faces) + np.sqrt(2) * norm.ppf(area) * (fake - 0.5))
    exact = {"accuracy": norm.cdf(norm.ppf(area) / np.sqrt(2)), "auc": area}
    return point_metrics(fake, p_fake) | {name: float(value) for name, value in exact.items()}


def rival_intervals(scores: Scores, resamples: int, seed: int) -> dict[tuple[str, str], tuple[float, float]]:
    """(metric, method) -> 95 % interval for accuracy and AUC, from the same resamples."""
    names = ("accuracy", "auc")
    settings = EvaluateSettings(resamples=resamples, confidence=LEVEL, seed=seed)
    drawn = draw_groups(scores, settings)
    groups = scores.groups
    once = np.ones((1, groups), np.uint16)
    value = {name: v[0] for name, v in resampled_metrics(scores, once, names).items()}
    values = resampled_metrics(scores, drawn, names)
    left_out = resampled_metrics(scores, 1 - np.eye(groups, dtype=np.int8), names)
    errors, errors_drawn = standard_errors(scores, once), standard_errors(scores, drawn)
    in_use = estimates(scores, drawn, settings, names)
    tails = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    found: dict[tuple[str, str], FloatArray] = {}
    for name in names:
        v, spread = value[name], values[name].std(ddof=1) * np.sqrt(groups / (groups - 1))
        found[name, "percentile"] = np.quantile(values[name], tails)
        found[name, "bca"] = _bca(v, values[name], left_out[name], tails)
        found[name, "studentised"] = _studentised(v, errors[name][0], values[name], errors_drawn[name], tails)
        found[name, "t"] = v + t.ppf(tails, groups - 1) * spread
        found[name, "logit t"] = _logit_t(v, spread, groups, tails)
        found[name, "in use"] = np.array([in_use[name].low, in_use[name].high])
    return {key: (float(ends[0]), float(ends[1])) for key, ends in found.items()}


def _bca(value: float, drawn: FloatArray, left_out: FloatArray, tails: FloatArray) -> FloatArray:
    """Bias-corrected and accelerated (Efron 1987), ties counted half."""
    below = (drawn < value).mean() + (drawn == value).mean() / 2
    bias = norm.ppf(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn)))
    pull = left_out.mean() - left_out
    scale = (pull**2).sum() ** 1.5
    acceleration = (pull**3).sum() / (6 * scale) if scale > 0 else 0.0
    z = bias + norm.ppf(tails)
    return np.quantile(drawn, norm.cdf(bias + z / (1 - acceleration * z)))


def _studentised(value: float, error: float, drawn: FloatArray, errors: FloatArray, tails: FloatArray) -> FloatArray:
    usable = errors > 1e-12
    if error < 1e-12 or not usable.any():
        return np.array([value, value])
    return value - np.quantile((drawn[usable] - value) / errors[usable], tails[::-1]) * error


def _logit_t(value: float, error: float, groups: int, tails: FloatArray) -> FloatArray:
    if not 0 < value < 1:
        return np.array([value, value])
    step = t.ppf(tails, groups - 1) * error / (value * (1 - value))
    return expit(np.log(value / (1 - value)) + step)


def standard_errors(scores: Scores, drawn: np.ndarray) -> dict[str, FloatArray]:
    """Linearised standard errors in each resample; for the AUC Obuchowski 1997 (clustered DeLong)."""
    m, group, groups = drawn.astype(float), scores.group, scores.groups
    fake, p_fake = scores.fake, scores.p_fake[0]
    right = np.bincount(group, weights=(p_fake > 0.5) == fake, minlength=groups)
    faces = np.bincount(group, minlength=groups)
    accuracy = (m @ right) / (m @ faces)
    influence = (right - accuracy[:, None] * faces) / (m @ faces)[:, None]
    errors = {"accuracy": np.sqrt((m * influence**2).sum(axis=1))}
    above = np.sign(p_fake[fake][:, None] - p_fake[~fake]) / 2 + 0.5
    of_fake = np.eye(groups)[group[fake]]
    of_real = np.eye(groups)[group[~fake]]
    wins = of_fake.T @ above @ of_real
    fakes, reals = m @ of_fake.sum(axis=0), m @ of_real.sum(axis=0)
    area = ((m @ wins) * m).sum(axis=1) / (fakes * reals)
    influence = (m @ wins.T + m @ wins) / (fakes * reals)[:, None] - area[:, None] * (
        of_fake.sum(axis=0) / fakes[:, None] + of_real.sum(axis=0) / reals[:, None]
    )
    errors["auc"] = np.sqrt((m * influence**2).sum(axis=1))
    return errors


def rival_coverage(design: str, groups: int, area: float, repeats: int, resamples: int) -> dict[tuple[str, str], float]:
    """(metric, method) -> share of the intervals that hold the truth."""
    rng = np.random.default_rng([groups, round(1000 * area)])
    true = truth(area)
    held: dict[tuple[str, str], int] = {}
    for repeat in range(repeats):
        (scores,) = made_up_scores(rng, design, groups, area)
        for key, (low, high) in rival_intervals(scores, resamples, repeat).items():
            held[key] = held.get(key, 0) + (low <= true[key[0]] <= high)
    return {key: count / repeats for key, count in held.items()}


def coverage(
    design: str,
    groups: int,
    area: float,
    repeats: int,
    resamples: int,
    names: Sequence[str] = NAMES,
) -> dict[str, float]:
    """Share of the intervals in use that hold the truth, for each metric."""
    rng = np.random.default_rng([groups, round(1000 * area), 1])
    true = truth(area)
    held = dict.fromkeys(names, 0)
    for repeat in range(repeats):
        (scores,) = made_up_scores(rng, design, groups, area)
        settings = EvaluateSettings(resamples=resamples, confidence=LEVEL, seed=repeat)
        for name, found in estimates(scores, draw_groups(scores, settings), settings, names).items():
            held[name] += found.low <= true[name] <= found.high
    return {name: count / repeats for name, count in held.items()}


def false_alarms(
    design: str, groups: int, area: float, shared: float, repeats: int, resamples: int
) -> dict[str, float]:
    """How often two equally good detectors are said to differ (p < .05), for accuracy and AUC."""
    rng = np.random.default_rng([groups, round(1000 * area), 2])
    called = {"accuracy": 0, "auc": 0}
    for repeat in range(repeats):
        first, second = made_up_scores(rng, design, groups, area, detectors=2, shared=shared)
        settings = EvaluateSettings(resamples=resamples, confidence=LEVEL, seed=repeat)
        found = differences(first, second, draw_groups(first, settings), settings, list(called))
        for name in called:
            called[name] += found[name].p < 1 - LEVEL
    return {name: count / repeats for name, count in called.items()}


def _row(cells: Iterable[object]) -> None:
    text = [f"{100 * cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells]
    print("| " + " | ".join(text) + " |", flush=True)


def _head(cells: Sequence[object]) -> None:
    _row(cells)
    _row(["---"] * len(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description="coverage of intervals on made-up clustered faces")
    parser.add_argument("--repeats", type=int, default=1000, help="made-up studies per row")
    parser.add_argument("--resamples", type=int, default=500, help="bootstrap resamples per interval")
    arguments = parser.parse_args()
    repeats, resamples = arguments.repeats, arguments.resamples
    begin = time.perf_counter()

    methods = ("percentile", "bca", "studentised", "t", "logit t", "in use")
    print(f"Coverage of nominal 95 % intervals, %, {repeats} made-up studies a row\n")
    _head(["metric", "design", "groups", "population AUC", *methods])
    for design in DESIGNS:
        for groups in (20, 40):
            for area in AREAS:
                held = rival_coverage(design, groups, area, repeats, resamples)
                for name in ("accuracy", "auc"):
                    _row([name, design, groups, f"{area:g}", *(held[name, method] for method in methods)])

    print("\nCoverage of the interval in use, every metric, %\n")
    _head(["design", "groups", "population AUC", *NAMES])
    for design in DESIGNS:
        for area in (0.75, 0.9, 0.98):
            held_now = coverage(design, 24, area, repeats, resamples)
            _row([design, 24, f"{area:g}", *(held_now[name] for name in NAMES)])

    print("\nThe same with few groups and with unequal groups, %\n")
    _head(["design", "groups", "population AUC", "accuracy", "auc"])
    for design, groups in (
        *((design, groups) for groups in (4, 8, 12) for design in DESIGNS),
        *((design, groups) for design in ("uneven", "lopsided") for groups in (12, 24)),
    ):
        for area in (0.75, 0.9, 0.98):
            held_now = coverage(design, groups, area, repeats, resamples, ("accuracy", "auc"))
            _row([design, groups, f"{area:g}", held_now["accuracy"], held_now["auc"]])

    print("\nDifferences called at 5 % where there is none, %\n")
    _head(["design", "groups", "population AUC", "effects shared", "accuracy", "auc"])
    for design in DESIGNS:
        for area in (0.5, 0.75, 0.9, 0.98):
            for shared in (0.0, 0.5):
                called = false_alarms(design, 24, area, shared, repeats, resamples)
                _row([design, 24, f"{area:g}", f"{shared:g}", called["accuracy"], called["auc"]])
    print(f"\n{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
