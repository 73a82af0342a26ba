"""The figures of a study: metrics of each cell, comparisons of variants, figures by method of the fakes.

A cell is one model on one variant, all seeds. Cells of one study are about the same test faces.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from facestudy.core.errors import StudyError
from facestudy.evaluation.calibration import calibration
from facestudy.evaluation.classical_tests import delong, mcnemar
from facestudy.evaluation.intervals import (
    Difference,
    Estimate,
    EvaluateSettings,
    Result,
    differences,
    estimates,
    holm,
    repeated_differences,
    repeated_estimates,
)
from facestudy.evaluation.metrics import NAMES, THRESHOLD
from facestudy.evaluation.obuchowski_rockette import Design
from facestudy.evaluation.scores import (
    Scores,
    by_video,
    constant_trainings,
    groups_in,
    read_predictions,
    same_faces,
    scores_of,
    select_method,
)

COMPARED = ("accuracy", "auc")
Splits = Sequence[Scores]
"""Scores on the test faces of one model on one variant, one for each split (`split.repeats`)."""
Cells = Mapping[str, Mapping[str, Splits]]
"""Scores on faces by model and variant; the first variant is the reference, which the others are compared with."""


def read_cells(
    folder: Path, models: Iterable[str], variants: Iterable[str], seeds: Sequence[int], repeats: int
) -> dict[str, dict[str, Splits]]:
    """Read the predictions of models on variants.

    Parameters
    ----------
    folder : Path
        The folder of all predictions.
    models, variants : iterable of str
        Their names.
    seeds : sequence of int
        The seeds of the trainings on each split.
    repeats : int
        The number of splits.

    Returns
    -------
    dict of model and variant to list of Scores

    Raises
    ------
    StudyError
        As `read_predictions` and `scores_of`.
    """
    return {
        model: {
            variant: [scores_of(one) for one in read_predictions(folder / variant / model, seeds, repeats)]
            for variant in variants
        }
        for model in models
    }


@dataclass(frozen=True)
class Counts:
    """What results are about.

    Attributes
    ----------
    groups : int
        Groups that are tested in one or more splits.
    videos, real_videos, fake_videos : int
        Test videos, summed over splits.
    faces, real_faces, fake_faces : int
        Test faces, summed over splits.
    seeds : int
        Trainings per split.
    splits : int
    """

    groups: int
    videos: int
    real_videos: int
    fake_videos: int
    faces: int
    real_faces: int
    fake_faces: int
    seeds: int
    splits: int


def count(cell: Splits) -> Counts:
    """Count what a cell was tested on."""
    videos = [by_video(scores) for scores in cell]
    real_videos, fake_videos = _of_each_class(videos)
    real_faces, fake_faces = _of_each_class(cell)
    return Counts(
        groups=groups_in(cell),
        videos=real_videos + fake_videos,
        real_videos=real_videos,
        fake_videos=fake_videos,
        faces=real_faces + fake_faces,
        real_faces=real_faces,
        fake_faces=fake_faces,
        seeds=len(cell[0].p_fake),
        splits=len(cell),
    )


def _of_each_class(cell: Splits) -> tuple[int, int]:
    fake = sum(int(scores.fake.sum()) for scores in cell)
    return sum(len(scores.fake) for scores in cell) - fake, fake


def cell_estimates(
    cell: Splits, settings: EvaluateSettings, test_share: float, names: Sequence[str] = NAMES
) -> dict[str, Estimate]:
    """Compute metrics of one cell with their intervals, over one or more splits.

    Parameters
    ----------
    cell
        The scores, one item for each split.
    settings
        Section `evaluate` of the settings.
    test_share
        The share of the groups in a test subset, 0 to 1; it matters with several splits only.
    names
        Metrics of `facestudy.evaluation.metrics.NAMES`.
    """
    if len(cell) == 1:
        return estimates(cell[0], settings, names)
    return repeated_estimates(cell, settings, test_share, names)


def cell_differences(
    first: Sequence[Result],
    second: Sequence[Result],
    settings: EvaluateSettings,
    test_share: float,
    names: Sequence[str] = COMPARED,
    design: Design = "nested",
) -> dict[str, Difference]:
    """Compare metrics, or their changes, of two cells on the same test faces, over one or more splits.

    Parameters
    ----------
    first, second
        Scores or changes of one model, one item for each split.
    settings
        Section `evaluate` of the settings.
    test_share
        The share of the groups in a test subset, 0 to 1; it matters with several splits only.
    names
        Metrics of `facestudy.evaluation.metrics.NAMES`.
    design : {"nested", "crossed"}
        Whether each side has trainings of its own, or both are results of the same trained models; it matters with one
        split only.

    Returns
    -------
    dict of str to Difference
        By metric: second - first.
    """
    if len(first) == 1:
        return differences(first[0], second[0], settings, names, design)
    return repeated_differences(first, second, settings, test_share, names)


def cell_metrics(faces: Splits, settings: EvaluateSettings, test_share: float) -> dict[str, float]:
    """Every metric of one cell, on faces and on videos, and its counts.

    Parameters
    ----------
    faces
        The scores of the cell.
    settings
        Section `evaluate` of the settings.
    test_share
        The share of the groups in a test subset, 0 to 1; it matters with several splits only.

    Returns
    -------
    dict of str to float
        Flat, numbers only, 6 decimals: <metric>, <metric>_low, <metric>_high (new trainings on new groups; absent where
        there is one training), <metric>_groups_low, <metric>_groups_high (these trained models on new groups; absent
        with several splits), <metric>_seed_sd; calibration_error, calibration_error_if_calibrated, threshold (tuned on
        validation), threshold_seed_sd; the same on videos with the prefix video_; test_groups and other counts;
        constant_trainings, how many trainings are broken.
    """
    videos = [by_video(scores) for scores in faces]
    flat: dict[str, float] = {}
    for prefix, cell in (("", faces), ("video_", videos)):
        for name, found in cell_estimates(cell, settings, test_share).items():
            numbers = {
                "": found.value,
                "_low": found.low,
                "_high": found.high,
                "_groups_low": found.groups_low,
                "_groups_high": found.groups_high,
                "_seed_sd": found.seed_sd,
            }
            flat |= {f"{prefix}{name}{end}": round(x, 6) for end, x in numbers.items() if not math.isnan(x)}
        scores = calibration(cell)
        flat |= {
            f"{prefix}calibration_error": round(scores.error, 6),
            f"{prefix}calibration_error_if_calibrated": round(scores.error_if_calibrated, 6),
            f"{prefix}threshold": round(scores.threshold, 6),
            f"{prefix}threshold_seed_sd": round(scores.threshold_sd, 6),
        }
    counts = asdict(count(faces))
    flat |= {f"test_{name}": counts.pop(name) for name in list(counts) if name not in ("seeds", "splits")}
    return flat | counts | {"constant_trainings": constant_trainings(faces)}


def ends(found: Estimate | Difference) -> tuple[float, float]:
    """The interval for new trainings on new groups; with one seed, the one for new groups.

    Examples
    --------
    >>> ends(Estimate(0.9, math.nan, math.nan, 0.8, 0.95, 0.0))
    (0.8, 0.95)
    """
    return (found.groups_low, found.groups_high) if math.isnan(found.low) else (found.low, found.high)


@dataclass(frozen=True)
class Comparison:
    """One metric of one model on one variant against the reference.

    Attributes
    ----------
    model, variant, metric : str
    difference : Difference
    p_holm : float
        The p-value corrected over the family; NaN where there is none (one seed, or broken).
    detectable : float
        The smallest true difference that the study finds with a power of 80 %, at the level that is
        significant whatever the other comparisons of the family show.
    verdict : {"better", "worse", "no_difference", "not_tested", "broken"}
        Of the variant against the reference, by `p_holm`; `not_tested` where there is one seed, `broken` where a
        training on one of the two has a constant output.
    classical_p : float
        McNemar's exact test (accuracy) or DeLong's test (AUC) on the videos, see `classical_p_values`; NaN with several
        splits.
    """

    model: str
    variant: str
    metric: str
    difference: Difference
    p_holm: float = math.nan
    detectable: float = math.nan
    verdict: str = "not_tested"
    classical_p: float = math.nan


def check_cells(cells: Cells) -> Splits:
    """Make sure that all cells are about the same test faces.

    Parameters
    ----------
    cells
        The scores.

    Returns
    -------
    sequence of Scores
        The first cell.

    Raises
    ------
    StudyError
        When there is no cell, or two are about different faces.
    """
    first_name, first = "", None
    for model, variants in cells.items():
        for variant, scores in variants.items():
            if first is None:
                first_name, first = f"{variant}/{model}", scores
            elif not all(same_faces(*pair) for pair in zip(first, scores, strict=True)):
                raise StudyError(
                    f"predictions/{variant}/{model} and predictions/{first_name} are not about the same test faces, "
                    "so they cannot be compared; `dvc repro` brings them up to date."
                )
    if first is None:
        raise StudyError("params.yaml: models is empty; declare at least one model.")
    return first


def compare_variants(cells: Cells, settings: EvaluateSettings, test_share: float) -> list[Comparison]:
    """Compare each variant with the reference, for every model and metric of COMPARED.

    p-values are Holm-corrected over the models, one family for each variant and metric, so that looking at one more
    control variant does not change the verdict on the others. Broken comparisons are not members of a family.

    Parameters
    ----------
    cells
        The scores.
    settings
        Section `evaluate` of the settings.
    test_share
        The share of the groups in a test subset, 0 to 1; it matters with several splits only.

    Returns
    -------
    list of Comparison
        In the order of models, variants and metrics.

    Raises
    ------
    StudyError
        When there is no cell, or two are about different faces.
    """
    check_cells(cells)
    rows = []
    for model, variants in cells.items():
        reference = next(iter(variants.values()))
        for variant, scores in list(variants.items())[1:]:
            found = cell_differences(reference, scores, settings, test_share)
            classical = classical_p_values(reference, scores)
            verdict = "broken" if constant_trainings([*reference, *scores]) else "not_tested"
            rows += [
                Comparison(model, variant, metric, found[metric], verdict=verdict, classical_p=classical[metric])
                for metric in COMPARED
            ]
    level = 1 - settings.confidence
    for family in {(row.variant, row.metric) for row in rows}:
        members = [i for i, row in enumerate(rows) if (row.variant, row.metric) == family and row.verdict != "broken"]
        p = [rows[i].difference.p for i in members]
        if any(map(math.isnan, p)):
            continue
        for i, corrected in zip(members, holm(p), strict=True):
            detectable = rows[i].difference.detectable(level / len(members))
            rows[i] = replace(rows[i], p_holm=corrected, detectable=detectable)
            rows[i] = replace(rows[i], verdict=_verdict(rows[i], level))
    return rows


def classical_p_values(first: Splits, second: Splits) -> dict[str, float]:
    """The p-values that papers report for two models: McNemar's exact test and DeLong's test, on videos.

    The score of a video is the mean over the trainings.

    Parameters
    ----------
    first, second
        Scores on the same test faces.

    Returns
    -------
    dict of str to float
        By metric of COMPARED. NaN with several splits, in which a video is tested more than once.
    """
    if len(first) > 1:
        return dict.fromkeys(COMPARED, math.nan)
    videos = [by_video(side[0]) for side in (first, second)]
    fake, means = videos[0].fake, [side.p_fake.mean(axis=0) for side in videos]
    right = [(mean > THRESHOLD) == fake for mean in means]
    return {"accuracy": mcnemar(*right), "auc": delong(fake, *means)}


def _verdict(row: Comparison, level: float) -> str:
    if row.p_holm >= level:
        return "no_difference"
    return "better" if row.difference.value > 0 else "worse"


def comparison_table(rows: Iterable[Comparison], test: Counts) -> pd.DataFrame:
    """The content of metrics/comparison.csv as text cells.

    Parameters
    ----------
    rows
        The comparisons, in the order of the table.
    test
        What they are about.

    Returns
    -------
    DataFrame
        One row per comparison; a cell is empty where there is no number.
    """
    counts = {"test_groups": test.groups, "test_videos": test.videos, "test_faces": test.faces}
    counts |= {"seeds": test.seeds, "splits": test.splits}
    columns = ["model", "variant", "metric", "reference", "value", "difference", "low", "high", "p", "p_holm"]
    columns += ["verdict", "detectable", "groups_low", "groups_high", "groups_p", "classical_p", *counts]
    records = []
    for row in rows:
        found = row.difference
        numbers = (found.first, found.second, found.value, found.low, found.high)
        record = [row.model, row.variant, row.metric, *map(_decimals, numbers), _digits(found.p), _digits(row.p_holm)]
        record += [row.verdict, *map(_decimals, (row.detectable, found.groups_low, found.groups_high))]
        records.append([*record, _digits(found.groups_p), _digits(row.classical_p), *map(str, counts.values())])
    return pd.DataFrame(records, columns=columns)


def _decimals(number: float) -> str:
    return "" if math.isnan(number) else f"{number + 0.0:.6f}"


def _digits(p: float) -> str:
    return "" if math.isnan(p) else f"{p:.4g}"


def fake_methods(cell: Splits) -> list[str]:
    """The manipulation methods of the fakes, in alphabetical order."""
    return sorted({method for scores in cell for method, fake in zip(scores.methods, scores.fake, strict=True) if fake})


@dataclass(frozen=True)
class MethodResult:
    """Metrics of a cell on the fakes of one manipulation method against all real faces."""

    fake_groups: int
    fake_faces: int
    estimates: Mapping[str, Estimate]


def method_results(cell: Splits, settings: EvaluateSettings, test_share: float) -> dict[str, MethodResult]:
    """For each manipulation method, how well its fakes are distinguished from all real faces.

    Parameters
    ----------
    cell
        The scores.
    settings
        Section `evaluate` of the settings.
    test_share
        The share of the groups in a test subset, 0 to 1; it matters with several splits only.

    Returns
    -------
    dict of str to MethodResult
        By method, with the estimates of balanced_accuracy and auc.
    """
    results: dict[str, MethodResult] = {}
    names = ("balanced_accuracy", "auc")  # plain accuracy would say more of the reals than of a small method
    for method in fake_methods(cell):
        part = [select_method(scores, method) for scores in cell if method in fake_methods([scores])]
        found = cell_estimates(part, settings, test_share, names)
        if len(part) < len(cell) and len(part) == 1:  # one split cannot tell how much another would differ
            nothing = dict.fromkeys(("low", "high", "groups_low", "groups_high"), math.nan)
            found = {name: replace(estimate, **nothing) for name, estimate in found.items()}
        results[method] = MethodResult(groups_in(part, fake=True), count(part).fake_faces, found)
    return results


ByMethod = Mapping[str, Mapping[str, Mapping[str, MethodResult]]]
"""`method_results` by model and variant."""


def methods_table(by_method: ByMethod) -> pd.DataFrame:
    """The content of metrics/methods.csv as text cells: the figures of each cell by method of the fakes."""
    records = []
    for model, variants in by_method.items():
        for variant, methods in variants.items():
            for method, found in methods.items():
                record = {"model": model, "variant": variant, "method": method}
                for name, estimate in found.estimates.items():
                    low, high = ends(estimate)
                    for column, number in (("", estimate.value), ("_low", low), ("_high", high)):
                        record[name + column] = _decimals(number)
                counts = {"fake_groups": found.fake_groups, "fake_faces": found.fake_faces}
                records.append(record | {name: str(count) for name, count in counts.items()})
    return pd.DataFrame(records)
