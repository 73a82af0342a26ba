"""What the study reports: the metrics of a cell, the comparison of variants, the results table.

A cell is one model on one variant, all seeds. Cells of one study are about the same test faces.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pandas as pd

from facestudy.errors import StudyError
from facestudy.intervals import (
    FEW_GROUPS,
    POWER,
    Difference,
    Estimate,
    EvaluateSettings,
    differences,
    estimates,
    holm,
    repeated_differences,
    repeated_estimates,
)
from facestudy.metrics import NAMES, Scores, by_video, groups_in, of_method, same_faces
from facestudy.model_settings import ModelSettings
from facestudy.settings import shown

COMPARED = ("accuracy", "auc")
SCALES = {"accuracy": (100, 1, "Accuracy, %", "points"), "auc": (1, 3, "AUC", "of AUC")}
"""How a metric is written: factor, decimals, title, unit of a difference."""

Splits = Sequence[Scores]
"""Scores on the test faces of one model on one variant, one for each split (`split.repeats`)."""
Cells = Mapping[str, Mapping[str, Splits]]
"""Scores on faces by model and variant; the first variant is the reference, which the others are compared with."""


@dataclass(frozen=True)
class Counts:
    """What results are about: groups tested in one or more splits; sums of videos and faces; seeds per split."""

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


def _estimates(
    cell: Splits, settings: EvaluateSettings, test_share: float, names: Sequence[str] = NAMES
) -> dict[str, Estimate]:
    if len(cell) == 1:
        return estimates(cell[0], settings, names)
    return repeated_estimates(cell, settings, test_share, names)


def _differences(first: Splits, second: Splits, settings: EvaluateSettings, test_share: float) -> dict[str, Difference]:
    if len(first) == 1:
        return differences(first[0], second[0], settings, COMPARED)
    return repeated_differences(first, second, settings, test_share, COMPARED)


def cell_metrics(faces: Splits, settings: EvaluateSettings, test_share: float) -> dict[str, float]:
    """Every metric of one cell, on faces and, with the prefix video_, on videos; and the counts.

    Flat, numbers only, 6 decimals: <metric>, <metric>_low, <metric>_high (new trainings on new groups;
    absent where there is one training), <metric>_groups_low, <metric>_groups_high (these trained models
    on new groups; absent with several splits), <metric>_seed_sd.
    """
    videos = [by_video(scores) for scores in faces]
    flat: dict[str, float] = {}
    for prefix, cell in (("", faces), ("video_", videos)):
        for name, found in _estimates(cell, settings, test_share).items():
            numbers = {
                "": found.value,
                "_low": found.low,
                "_high": found.high,
                "_groups_low": found.groups_low,
                "_groups_high": found.groups_high,
                "_seed_sd": found.seed_sd,
            }
            flat |= {f"{prefix}{name}{end}": round(x, 6) for end, x in numbers.items() if not math.isnan(x)}
    counts = asdict(count(faces))
    flat |= {f"test_{name}": counts.pop(name) for name in list(counts) if name not in ("seeds", "splits")}
    return flat | counts


@dataclass(frozen=True)
class Comparison:
    """One metric of one model on one variant against the reference.

    Attributes
    ----------
    model, variant, metric : str
    difference : Difference
    p_holm : float
        Corrected over the family; NaN where there is no p-value (one seed).
    detectable : float
        The smallest true difference that the study finds with a power of 80 %, at the level that is
        significant whatever the other comparisons of the family show.
    verdict : {"better", "worse", "no_difference", "not_tested"}
        Of the variant against the reference, by `p_holm`; `not_tested` where there is one seed.
    """

    model: str
    variant: str
    metric: str
    difference: Difference
    p_holm: float = math.nan
    detectable: float = math.nan
    verdict: str = "not_tested"


def check_cells(cells: Cells) -> Splits:
    """The scores of the first cell, after making sure that all cells are about the same test faces.

    Raises StudyError when they are not.
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
    """Each variant against the reference, for every model and metric of COMPARED.

    p-values are Holm-corrected over the models: one family for each variant and metric, so that
    looking at one more control variant does not change the verdict on the others.
    """
    check_cells(cells)
    rows = []
    for model, variants in cells.items():
        reference = next(iter(variants.values()))
        for variant, scores in list(variants.items())[1:]:
            found = _differences(reference, scores, settings, test_share)
            rows += [Comparison(model, variant, metric, found[metric]) for metric in COMPARED]
    level = 1 - settings.confidence
    for family in {(row.variant, row.metric) for row in rows}:
        members = [i for i, row in enumerate(rows) if (row.variant, row.metric) == family]
        p = [rows[i].difference.p for i in members]
        if any(map(math.isnan, p)):
            continue
        for i, corrected in zip(members, holm(p), strict=True):
            detectable = rows[i].difference.detectable(level / len(members))
            rows[i] = replace(rows[i], p_holm=corrected, detectable=detectable)
            rows[i] = replace(rows[i], verdict=_verdict(rows[i], level))
    return rows


def _verdict(row: Comparison, level: float) -> str:
    if row.p_holm >= level:
        return "no_difference"
    return "better" if row.difference.value > 0 else "worse"


def comparison_table(rows: Iterable[Comparison], test: Counts) -> pd.DataFrame:
    """The comparisons as text cells, in the order of models, variants and metrics in the settings."""
    counts = {"test_groups": test.groups, "test_videos": test.videos, "test_faces": test.faces}
    counts |= {"seeds": test.seeds, "splits": test.splits}
    columns = ["model", "variant", "metric", "reference", "value", "difference", "low", "high", "p", "p_holm"]
    columns += ["verdict", "detectable", "groups_low", "groups_high", "groups_p", *counts]
    records = []
    for row in rows:
        found = row.difference
        numbers = (found.first, found.second, found.value, found.low, found.high)
        record = [row.model, row.variant, row.metric, *map(_decimals, numbers), _digits(found.p), _digits(row.p_holm)]
        record += [row.verdict, *map(_decimals, (row.detectable, found.groups_low, found.groups_high))]
        records.append([*record, _digits(found.groups_p), *map(str, counts.values())])
    return pd.DataFrame(records, columns=columns)


def _decimals(number: float) -> str:
    return "" if math.isnan(number) else f"{number + 0.0:.6f}"


def _digits(p: float) -> str:
    return "" if math.isnan(p) else f"{p:.4g}"


def fake_methods(cell: Splits) -> list[str]:
    """The manipulation methods of the fakes, in alphabetical order."""
    return sorted({method for scores in cell for method, fake in zip(scores.methods, scores.fake, strict=True) if fake})


def method_estimates(
    cell: Splits, settings: EvaluateSettings, test_share: float
) -> dict[str, tuple[Splits, dict[str, Estimate]]]:
    """For each manipulation method, how well its fakes are distinguished from all real faces."""
    found: dict[str, tuple[Splits, dict[str, Estimate]]] = {}
    names = ("balanced_accuracy", "auc")  # plain accuracy would say more of the reals than of a small method
    for method in fake_methods(cell):
        part = [of_method(scores, method) for scores in cell if method in fake_methods([scores])]
        of_method_found = _estimates(part, settings, test_share, names)
        if len(part) < len(cell) and len(part) == 1:  # one split cannot tell how much another would differ
            nothing = dict.fromkeys(("low", "high", "groups_low", "groups_high"), math.nan)
            of_method_found = {name: replace(estimate, **nothing) for name, estimate in of_method_found.items()}
        found[method] = part, of_method_found
    return found


ByMethod = Mapping[str, Mapping[str, Mapping[str, tuple[Splits, dict[str, Estimate]]]]]
"""`method_estimates` by model and variant."""


def by_method(cells: Cells, settings: EvaluateSettings, test_share: float) -> ByMethod:
    """`method_estimates` of every cell."""
    return {
        model: {variant: method_estimates(cell, settings, test_share) for variant, cell in variants.items()}
        for model, variants in cells.items()
    }


def methods_table(found_by_method: ByMethod) -> pd.DataFrame:
    """metrics/methods.csv: each cell's figures on the fakes of one method against all real faces, as text cells."""
    records = []
    for model, variants in found_by_method.items():
        for variant, methods in variants.items():
            for method, (part, found) in methods.items():
                record = {"model": model, "variant": variant, "method": method}
                for name, estimate in found.items():
                    low, high = _ends(estimate)
                    for column, number in (("", estimate.value), ("_low", low), ("_high", high)):
                        record[name + column] = _decimals(number)
                counts = {"fake_groups": groups_in(part, fake=True), "fake_faces": count(part).fake_faces}
                records.append(record | {name: str(count) for name, count in counts.items()})
    return pd.DataFrame(records)


def results_markdown(
    cells: Cells,
    rows: Sequence[Comparison],
    models: Mapping[str, ModelSettings],
    seeds: Sequence[int],
    settings: EvaluateSettings,
    test_share: float,
    sample: bool,
    methods: ByMethod,
) -> str:
    """The results as a Markdown page: accuracy and AUC by model and variant, differences, verdicts.

    sample: whether the videos are the built-in sample, which the page then says.
    """
    cell = check_cells(cells)
    test = count(cell)
    found = {
        model: {variant: _estimates(scores, settings, test_share, COMPARED) for variant, scores in variants.items()}
        for model, variants in cells.items()
    }
    level = f"{100 * settings.confidence:g} %"
    lines = ["# Results", ""]
    if sample:
        lines += ["These are results about the built-in sample: drawn people, one kind of fake.", ""]
    interval = _interval_text(test)
    seed_text = f"Mean over {test.seeds} trainings (seeds)" if test.seeds > 1 else f"One training (seed {seeds[0]})"
    subset_text = "Test subset" if test.splits == 1 else f"Test subsets of {test.splits} splits together"
    seed_text += " of each split" if test.splits > 1 else ""
    lines += [
        f"{subset_text}: {test.groups} groups, {test.videos} videos, {test.faces} faces "
        f"({test.fake_faces} fake). {seed_text}, on faces; in brackets the {level} interval for {interval}.",
        "",
    ]
    if test.groups < FEW_GROUPS:
        lines += [
            f"**Warning: only {test.groups} test groups. Below {FEW_GROUPS}, intervals are wide, one unusual group can "
            "turn a result, and so few may differ from the rest in ways that no interval shows.**",
            "",
        ]
    if test.seeds == test.splits == 1:
        lines += [
            "**Warning: one seed. One training cannot show how much another training would differ, so there is no "
            "p-value and no verdict. Give at least three `seeds`.**",
            "",
        ]
    variants = list(next(iter(cells.values())))
    for metric, (scale, digits, title, _) in SCALES.items():
        head = ["model", f"normal ({variants[0]})", *(f"cropped ({variant})" for variant in variants[1:])]
        body = [
            [model, *(_cell(found[model][variant][metric], scale, digits) for variant in variants)] for model in found
        ]
        lines += [f"## {title}", "", *_markdown_table(head, body), ""]
    if len(fake_methods(cell)) > 1:
        lines += _method_section(methods)
    if rows:
        lines += _difference_section(rows, variants[0], level, test)
    lines += ["## What a cell is", ""]
    lines += [f"- {describe_model(name, model, seeds)}" for name, model in models.items()]
    intervals = len(models) * len(variants) * 2
    return "\n".join([*lines, "", "## How to read the tables", "", *_reading(intervals, test, settings)]) + "\n"


def _interval_text(test: Counts) -> str:
    """What the intervals and p-values are about."""
    if test.splits > 1:
        return "new splits, trainings and groups"
    return "new trainings on new groups" if test.seeds > 1 else "these trained models on new groups"


def describe_model(name: str, model: ModelSettings, seeds: Sequence[int]) -> str:
    """One line: network, width, input, weights, epochs, seeds."""
    start = "trained from scratch" if model.weights is None else f"starting from the weights {_code(model.weights)}"
    numbers = ", ".join(map(str, seeds))
    return (
        f"{name}: {model.network}, width {model.width:g}, {model.input_size} × {model.input_size} pixels, {start}, "
        f"{model.epochs} epochs, seed{'s' if len(seeds) > 1 else ''} {numbers}"
    )


def _code(text: str) -> str:
    """Text as a Markdown code span, in which nothing is HTML, a link or emphasis.

    >>> print(_code("imagenet"), _code("a`<b>`"))
    `imagenet` `` a`<b>` ``
    """
    text = text if text.isprintable() else shown(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    edge = " " if "`" in text else ""
    return f"{fence}{edge}{text}{edge}{fence}"


def _difference_section(rows: Sequence[Comparison], reference: str, level: str, test: Counts) -> list[str]:
    by_key = {(row.model, row.variant, row.metric): row for row in rows}
    pairs = list(dict.fromkeys((row.model, row.variant) for row in rows))
    tested = all(row.verdict != "not_tested" for row in rows)
    columns = ["accuracy, points", *(["p", "p Holm"] if tested else []), "AUC", *(["p", "p Holm"] if tested else [])]
    body = []
    for model, variant in pairs:
        cells = [model, variant]
        for metric, (scale, digits, _, _) in SCALES.items():
            row = by_key[model, variant, metric]
            cells.append(_cell(row.difference, scale, digits, "+"))
            cells += [_p_text(row.difference.p), _p_text(row.p_holm)] if tested else []
        body.append(cells)
    lines = [
        f"## Difference from {reference}",
        "",
        f"Variant minus {reference} on the same test faces; in brackets the {level} interval for "
        f"{_interval_text(test)}.",
        "",
        *_markdown_table(["model", "variant", *columns], body),
        "",
    ]
    if not tested:
        return lines
    lines += ["Verdicts, by p Holm:", "", *(f"- {verdict_text(row, reference)}" for row in rows), ""]
    if test.splits > 1:
        return lines
    body = []
    for model, variant in pairs:
        cells = [model, variant]
        for metric, (scale, digits, _, _) in SCALES.items():
            found = by_key[model, variant, metric].difference
            cells += [
                _written(found.value, found.groups_low, found.groups_high, scale, digits, "+"),
                _p_text(found.groups_p),
            ]
        body.append(cells)
    text = f"The same differences with the {level} interval for these trained models on new groups: no new training."
    return [*lines, text, "", *_markdown_table(["model", "variant", "accuracy, points", "p", "AUC", "p"], body), ""]


def verdict_text(row: Comparison, reference: str) -> str:
    """The verdict on one comparison in words.

    Parameters
    ----------
    row : Comparison
        With a p-value.
    reference : str
        Name of the variant that `row` is compared with.

    Returns
    -------
    str
        One line of Markdown without a full stop.
    """
    scale, digits, _, unit = SCALES[row.metric]
    detectable = f"{scale * row.detectable:.{digits}f} {unit}"
    of = f"{row.model}, {row.metric.replace('auc', 'AUC')}"
    if row.verdict == "no_difference":
        seen = f"could have seen {detectable} or more" if row.detectable < 1 else "could not have seen any difference"
        return (
            f"{of}: no difference seen between {row.variant} and {reference} "
            f"(the study {seen} with {100 * POWER:.0f} % power)"
        )
    amount = f"{scale * abs(row.difference.value):.{digits}f} {unit}"
    return (
        f"{of}: {row.variant} is {row.verdict} than {reference} by {amount} (p Holm {_p_text(row.p_holm)}; "
        f"smallest detectable difference {detectable})"
    )


def _method_section(methods: ByMethod) -> list[str]:
    head = ["model", "method", *next(iter(methods.values()))]
    body = []
    for model, variants in methods.items():
        for method in next(iter(variants.values())):
            body.append([model, method, *(_cell(found[method][1]["auc"], 1, 3) for found in variants.values())])
    text = "The fakes of each method against all real faces; more in metrics/methods.csv."
    return ["## AUC by method", "", text, "", *_markdown_table(head, body), ""]


def _reading(intervals: int, test: Counts, settings: EvaluateSettings) -> list[str]:
    missed = 100 * (1 - settings.confidence**intervals)
    if test.splits > 1:
        held = (
            "Intervals and p-values come from the variation between splits, corrected for the data that the splits "
            "share (Nadeau & Bengio 2003): they hold for other splits, trainings and groups of the same kind"
        )
    elif test.seeds > 1:
        held = (
            "Intervals and p-values take the trainings and the test groups as random (Obuchowski-Rockette analysis): "
            "they hold for other trainings of the same models and other groups of the same kind"
        )
    else:
        held = (
            "Intervals take the test groups as random: they hold for these trained models and other groups of the "
            "same kind, not for another training"
        )
    notes = [
        f"- {held}. They say nothing about videos of another kind. See docs/statistics.md.",
        f"- The tables of accuracy and AUC hold {intervals} intervals. If these were independent, a perfect method "
        f"would miss at least one of {intervals} true values {missed:.0f} % of the time.",
    ]
    if test.seeds == test.splits == 1:
        return notes
    return [
        *notes,
        "- p: two-sided, of the interval's t statistic. p Holm: corrected over the models, separately for each "
        "variant and metric.",
    ]


def _ends(found: Estimate | Difference) -> tuple[float, float]:
    """The interval for new trainings on new groups; with one seed, the one for new groups."""
    return (found.groups_low, found.groups_high) if math.isnan(found.low) else (found.low, found.high)


def _cell(found: Estimate | Difference, scale: float, digits: int, sign: str = "") -> str:
    return _written(found.value, *_ends(found), scale, digits, sign)


def _written(value: float, low: float, high: float, scale: float, digits: int, sign: str = "") -> str:
    if math.isnan(low):
        return f"{scale * value:{sign}.{digits}f}"
    text = [f"{round(scale * number, digits) + 0.0:{sign}.{digits}f}" for number in (value, low, high)]
    return f"{text[0]} [{text[1]}, {text[2]}]"


def _p_text(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}"


def _markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Columns padded, so that the table reads well in a terminal too."""
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (head, *body)
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
