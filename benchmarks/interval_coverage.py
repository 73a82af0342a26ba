"""How often 95 % intervals hold the truth, on simulated studies whose truth is known.

    python -m benchmarks.interval_coverage [--repeats 1000]

Tables: candidate intervals for new trainings on new groups; the interval in use for every metric;
few and unequal groups; how often the comparison reports a difference where there is none; what the
seeds of two variants have in common (nested or crossed); how often a difference as large as the
smallest detectable one is found. docs/statistics.md quotes them.

A face's score is normal: a shift for its class, plus an effect of the training on that shift, plus
effects of its group and its video, which make up the intraclass correlation, plus noise; p_fake is
its logistic. A part of every effect is shared by all trainings and variants. The groups are `twins`
(each holds a real and a fake video, as the sample does), `apart` (each is one video, every second one
fake), `uneven` (1 to 9 such pairs of videos a group, most have few) and `lopsided` (the first group
holds as much as all others together). The variance of the metric between trainings is given as a
multiple of its variance over groups (`training variance`).
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, stdtrit
from scipy.stats import norm

from facestudy.core.arrays import FloatArray
from facestudy.evaluation.intervals import EvaluateSettings, Spread, differences, estimates
from facestudy.evaluation.metrics import NAMES, point_metrics
from facestudy.evaluation.obuchowski_rockette import jackknife_covariance, parts_of_difference, parts_of_mean, total
from facestudy.evaluation.scores import Scores, group_metrics

LEVEL = 0.95
CORRELATION = 0.6
FACES_PER_GROUP = 8
SHARED = 0.5
"""Part of the variance of group, video and face effects that all trainings have in common."""
COMPARED = ("accuracy", "auc")
SETTINGS = EvaluateSettings(confidence=LEVEL)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(81)


@dataclass(frozen=True)
class Study:
    """What is simulated.

    area: AUC, mean over trainings. training_variance: of the AUC between trainings, as a multiple of
    its variance over groups. in_common: correlation of the effects of trainings with the same seed on
    two variants. skewed: the effects of trainings are those of an exponential distribution, so that
    few trainings are much worse than the others. second_variance: training_variance of the second
    variant, where it differs.
    """

    design: str = "twins"
    groups: int = 40
    area: float = 0.9
    seeds: int = 5
    training_variance: float = 0.5
    in_common: float = 0.0
    skewed: bool = False
    second_area: float | None = None
    second_variance: float | None = None

    def sides(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """(AUC, training variance) of the two variants."""
        first = (self.area, self.training_variance)
        return first, (
            first[0] if self.second_area is None else self.second_area,
            first[1] if self.second_variance is None else self.second_variance,
        )


def shift_of(area: float, effect: float) -> float:
    """The shift between the classes for which AUC, mean over normal training effects of this sd, is `area`."""
    return float(norm.ppf(area) * np.sqrt(2 + effect**2))


def sd_over_trainings(area: float, effect: float) -> float:
    """Standard deviation of the AUC over normal training effects on the shift, by quadrature."""
    areas = norm.cdf((shift_of(area, effect) + effect * NODES) / np.sqrt(2))
    weights = WEIGHTS / WEIGHTS.sum()
    return float(np.sqrt(weights @ areas**2 - (weights @ areas) ** 2))


@functools.cache
def group_variance(design: str, groups: int, area: float) -> float:
    """Variance of the AUC over groups that all trainings share (cov2), from simulated studies without other effects."""
    rng = np.random.default_rng([groups, round(1000 * area), 9])
    study = Study(design, groups, area, seeds=2, training_variance=0)
    found = []
    for _ in range(60):
        scores = simulate(rng, study)[0]
        jackknife = group_metrics(scores, ["auc"], 1 - np.eye(groups, dtype=np.int8))["auc"]
        found.append(jackknife_covariance(jackknife)[0, 1])
    return float(np.mean(found))


@functools.cache
def training_effect(design: str, groups: int, area: float, multiple: float) -> float:
    """Standard deviation of the effects of trainings on the shift."""
    if multiple == 0:
        return 0.0
    wanted = np.sqrt(multiple * group_variance(design, groups, area))
    return float(brentq(lambda effect: sd_over_trainings(area, effect) - wanted, 1e-6, 20))


def simulate(rng: np.random.Generator, study: Study) -> tuple[Scores, Scores]:
    """Results of one study: two variants on the same faces, `seeds` trainings each."""
    if study.design == "apart":
        group = video = np.repeat(np.arange(study.groups), FACES_PER_GROUP)
        fake = group % 2 == 1
    else:
        pairs = np.ones(study.groups, dtype=int)
        if study.design == "uneven":
            pairs = np.minimum(9, rng.geometric(0.4, study.groups))
        elif study.design == "lopsided":
            pairs[0] = study.groups - 1
        video = np.repeat(np.arange(2 * pairs.sum()), FACES_PER_GROUP // 2)
        group = np.repeat(np.arange(study.groups), FACES_PER_GROUP * pairs)
        fake = video % 2 == 1
    videos = int(video.max()) + 1

    def effects(rows: int) -> FloatArray:
        of_clusters = rng.normal(size=(rows, study.groups))[:, group] + rng.normal(size=(rows, videos))[:, video]
        of_faces = rng.normal(size=(rows, len(group)))
        return of_clusters * np.sqrt(CORRELATION / 2) + of_faces * np.sqrt(1 - CORRELATION)

    common = effects(1)
    drawn = _training_effects(rng, (2, study.seeds), study.skewed)
    same = _training_effects(rng, (1, study.seeds), study.skewed)
    drawn = np.sqrt(study.in_common) * same + np.sqrt(1 - study.in_common) * drawn
    found = []
    for (area, variance), of_seeds in zip(study.sides(), drawn, strict=True):
        effect = training_effect(study.design, study.groups, area, variance) if variance else 0.0
        shift = shift_of(area, effect) + effect * of_seeds[:, None]
        latent = shift * (fake - 0.5) + np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * effects(study.seeds)
        found.append(Scores(fake, expit(latent), video, group))
    return found[0], found[1]


def _training_effects(rng: np.random.Generator, shape: tuple[int, int], skewed: bool) -> FloatArray:
    return 1 - rng.exponential(size=shape) if skewed else rng.normal(size=shape)


@functools.cache
def truth(study: Study, side: int = 0) -> dict[str, float]:
    """Accuracy and AUC of the training procedure on the whole population."""
    area, variance = study.sides()[side]
    effect = training_effect(study.design, study.groups, area, variance) if variance else 0.0
    if study.skewed:
        rng = np.random.default_rng(3)
        shifts = shift_of(area, effect) + effect * _training_effects(rng, (1, 400_000), True)[0]
        return {"accuracy": float(norm.cdf(shifts / 2).mean()), "auc": float(norm.cdf(shifts / np.sqrt(2)).mean())}
    return {"accuracy": float(norm.cdf(shift_of(area, effect) / np.sqrt(4 + effect**2))), "auc": area}


@functools.cache
def truth_of_all(area: float, faces: int = 400_000) -> dict[str, float]:
    """Every metric without effects of trainings: a very large sample of unrelated faces."""
    rng = np.random.default_rng(0)
    fake = np.arange(faces) % 2 == 1
    p_fake = expit(rng.normal(size=faces) + shift_of(area, 0) * (fake - 0.5))
    exact = {"accuracy": float(norm.cdf(norm.ppf(area) / np.sqrt(2))), "auc": area}
    return point_metrics(fake, p_fake) | exact


CANDIDATES = ("groups only", "hillis", "hillis, logit", "in use")


def candidate_intervals(scores: Scores) -> dict[tuple[str, str], tuple[float, float]]:
    """(metric, candidate) -> 95 % interval, for accuracy and AUC."""
    values = group_metrics(scores, COMPARED)
    jackknife = group_metrics(scores, COMPARED, 1 - np.eye(scores.groups, dtype=np.int8))
    in_use = estimates(scores, SETTINGS, COMPARED)
    found = {}
    for name in COMPARED:
        seeds = values[name][:, 0]
        parts = parts_of_mean(seeds, jackknife_covariance(jackknife[name]))
        error, freedom = total(parts)
        step = -stdtrit(freedom, (1 - LEVEL) / 2) * error
        now = in_use[name]
        found[name, "groups only"] = (now.groups_low, now.groups_high)
        found[name, "hillis"] = (now.value - step, now.value + step)
        found[name, "hillis, logit"] = Spread(tuple(parts), scores.groups, (0, 1), True).interval(now.value, LEVEL)
        found[name, "in use"] = (now.low, now.high)
    return found


def candidate_coverage(study: Study, repeats: int) -> dict[tuple[str, str], float]:
    """(metric, candidate) -> share of the intervals that hold the truth."""
    rng = _generator(study, 0)
    true = truth(study)
    held: dict[tuple[str, str], int] = {}
    for _ in range(repeats):
        for key, (low, high) in candidate_intervals(simulate(rng, study)[0]).items():
            held[key] = held.get(key, 0) + (low <= true[key[0]] <= high)
    return {key: count / repeats for key, count in held.items()}


def coverage(study: Study, repeats: int, names: Sequence[str] = COMPARED) -> dict[str, float]:
    """Share of the intervals in use that hold the truth; of those by groups where there is one seed."""
    rng = _generator(study, 1)
    true = truth(study) if set(names) <= set(COMPARED) else truth_of_all(study.area)
    held = dict.fromkeys(names, 0)
    for _ in range(repeats):
        for name, found in estimates(simulate(rng, study)[0], SETTINGS, names).items():
            low, high = (found.low, found.high) if study.seeds > 1 else (found.groups_low, found.groups_high)
            held[name] += low <= true[name] <= high
    return {name: count / repeats for name, count in held.items()}


def comparisons(study: Study, repeats: int) -> dict[str, dict[str, float]]:
    """Of the comparison in use, for accuracy and AUC: how often p < .05, and how often the interval holds the truth.

    `crossed` is how often p < .05 if trainings with the same seed are taken for the same reader.
    """
    rng = _generator(study, 2)
    true = [truth(study, side) for side in (0, 1)]
    counts = {name: {"called": 0.0, "crossed": 0.0, "held": 0.0, "groups only": 0.0} for name in COMPARED}
    for _ in range(repeats):
        first, second = simulate(rng, study)
        for name, found in differences(first, second, SETTINGS, COMPARED).items():
            counts[name]["called"] += found.p < 1 - LEVEL
            counts[name]["groups only"] += found.groups_p < 1 - LEVEL
            counts[name]["held"] += found.low <= true[1][name] - true[0][name] <= found.high
            counts[name]["crossed"] += _crossed(first, second, found.spreads, name) < 1 - LEVEL
    return {name: {key: count / repeats for key, count in of.items()} for name, of in counts.items()}


def _crossed(first: Scores, second: Scores, spreads: Sequence[Spread], name: str) -> float:
    """p if the trainings were crossed with the variants."""
    sides = (first, second)
    without = 1 - np.eye(first.groups, dtype=np.int8)
    values = np.stack([group_metrics(scores, [name])[name][:, 0] for scores in sides])
    jackknife = np.stack([group_metrics(scores, [name], without)[name] for scores in sides])
    freedom = spreads[0].parts[-1].freedom
    parts = parts_of_difference(values, jackknife_covariance(jackknife), freedom, "crossed")
    crossed = (replace(spreads[0], parts=tuple(parts)), *spreads[1:])
    return max(spread.p_of_zero(float(values[1].mean() - values[0].mean())) for spread in crossed)


def power_at_detectable(study: Study, repeats: int) -> dict[str, float]:
    """How often p < .05 where the true difference of AUC is the smallest detectable one, the median over studies."""
    rng = _generator(study, 3)
    null = replace(study, second_area=study.area)
    smallest = float(
        np.median(
            [
                differences(*simulate(rng, null), SETTINGS, ["auc"])["auc"].detectable(1 - LEVEL)
                for _ in range(max(20, repeats // 10))
            ]
        )
    )
    half = smallest / 2  # around the AUC of the null, where the standard error is the same
    shifted = replace(study, area=study.area + half, second_area=study.area - half)
    called = sum(differences(*simulate(rng, shifted), SETTINGS, ["auc"])["auc"].p < 1 - LEVEL for _ in range(repeats))
    return {"detectable": smallest, "power": called / repeats}


def _generator(study: Study, use: int) -> np.random.Generator:
    numbers = [study.groups, round(1000 * study.area), study.seeds, round(100 * study.training_variance), use]
    return np.random.default_rng(numbers)


def _row(cells: Iterable[object]) -> None:
    text = [f"{100 * cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells]
    print("| " + " | ".join(text) + " |", flush=True)


def _head(cells: Sequence[object]) -> None:
    _row(cells)
    _row(["---"] * len(cells))


def _candidate_tables(repeats: int) -> None:
    print(f"Coverage of nominal 95 % intervals for new trainings on new groups, %, {repeats} studies a row\n")
    _head(["metric", "design", "groups", "seeds", "training variance", "AUC", *CANDIDATES])
    grid = [
        Study(design, groups, area, seeds, variance)
        for design in ("twins", "apart")
        for groups, seeds in ((20, 3), (40, 5))
        for variance in (0.0, 0.5, 2.0)
        for area in (0.5, 0.9, 0.98)
    ]
    grid += [Study("twins", 20, 0.9, 10, 2.0), Study("twins", 100, 0.9, 3, 2.0), Study("twins", 100, 0.98, 10, 0.5)]
    lowest, highest = dict.fromkeys(CANDIDATES, 1.0), dict.fromkeys(CANDIDATES, 0.0)
    for study in grid:
        held = candidate_coverage(study, repeats)
        for name in COMPARED:
            cells = [name, study.design, study.groups, study.seeds, f"{study.training_variance:g}", f"{study.area:g}"]
            _row([*cells, *(held[name, candidate] for candidate in CANDIDATES)])
        for (_, candidate), share in held.items():
            lowest[candidate] = min(lowest[candidate], share)
            highest[candidate] = max(highest[candidate], share)
    _row(["range", *[""] * 5, *(f"{100 * lowest[c]:.1f} to {100 * highest[c]:.1f}" for c in CANDIDATES)])

    print("\nFew groups, few seeds, unequal groups, and trainings of which few are much worse (skewed), %\n")
    _head(["design", "groups", "seeds", "training variance", "AUC", *COMPARED])
    for study in (
        *(Study(d, g, a, 2, v) for d in ("twins", "apart") for g in (8, 20) for v in (0.5, 2.0) for a in (0.75, 0.98)),
        *(Study("twins", 8, a, 5, 0.5) for a in (0.75, 0.98)),
        *(Study(d, 24, a, 5, 0.5) for d in ("uneven", "lopsided") for a in (0.75, 0.98)),
        *(Study("twins", 40, a, s, 2.0, skewed=True) for s in (3, 5, 10) for a in (0.75, 0.9)),
    ):
        held_now = coverage(study, repeats)
        variance = f"{study.training_variance:g}{', skewed' if study.skewed else ''}"
        cells = [study.design, study.groups, study.seeds, variance, f"{study.area:g}"]
        _row([*cells, *(held_now[name] for name in COMPARED)])

    print("\nThese trained models on new groups (one seed, secondary interval), every metric, %\n")
    _head(["design", "groups", "AUC", *NAMES])
    for design in ("twins", "apart"):
        for area in (0.75, 0.9, 0.98):
            held_now = coverage(Study(design, 24, area, 1, 0.0), repeats, NAMES)
            _row([design, 24, f"{area:g}", *(held_now[name] for name in NAMES)])


def _comparison_tables(repeats: int) -> None:
    print("\nTwo equally good variants: p < .05, %; by the nested analysis in use, the crossed one, groups only\n")
    heads = [f"{name}, {kind}" for name in COMPARED for kind in ("nested", "crossed", "groups only")]
    _head(["design", "groups", "seeds", "training variance", "in common", "AUC", *heads])
    for study in (
        *(
            Study(d, g, a, s, v)
            for d in ("twins", "apart")
            for g, s in ((20, 3), (40, 5))
            for v in (0.0, 0.5, 2.0)
            for a in (0.75, 0.9, 0.98)
        ),
        *(Study("twins", g, 0.9, s, v) for g, s in ((8, 5), (20, 2), (40, 10)) for v in (0.5, 2.0)),
        *(Study("twins", 40, 0.9, s, v, in_common=0.5) for s in (3, 5) for v in (0.5, 2.0)),
        *(Study("twins", 40, 0.9, s, 2.0, second_variance=0.0) for s in (3, 5)),
        *(Study("twins", 40, 0.9, s, 2.0, skewed=True) for s in (3, 5)),
    ):
        found = comparisons(study, repeats)
        variance = f"{study.training_variance:g}"
        variance += "" if study.second_variance is None else f" and {study.second_variance:g}"
        variance += ", skewed" if study.skewed else ""
        cells = [study.design, study.groups, study.seeds, variance, f"{study.in_common:g}", f"{study.area:g}"]
        _row([*cells, *(found[name][kind] for name in COMPARED for kind in ("called", "crossed", "groups only"))])

    print("\nDifferent variants: coverage of the interval of the difference, power at the smallest detectable one, %\n")
    _head(["groups", "seeds", "training variance", "AUC", "coverage", "detectable", "power there"])
    for study in (Study("twins", g, 0.9, s, v) for g, s in ((20, 3), (40, 5)) for v in (0.0, 0.5, 2.0)):
        held = comparisons(replace(study, second_area=0.8), repeats)["auc"]["held"]
        found_power = power_at_detectable(study, repeats)
        cells = [study.groups, study.seeds, f"{study.training_variance:g}", f"{study.area:g} and .8"]
        _row([*cells, held, f"{found_power['detectable']:.3f}", found_power["power"]])


def main() -> None:
    parser = argparse.ArgumentParser(description="coverage of intervals on simulated studies")
    parser.add_argument("--repeats", type=int, default=1000, help="simulated studies per row")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    _candidate_tables(arguments.repeats)
    _comparison_tables(arguments.repeats)
    print(f"\n{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
