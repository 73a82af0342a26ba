"""What the study reports: the metrics of a cell, the comparison of variants, the results table.

A cell is one model on one variant, all seeds. Cells of one study are about the same test faces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from facestudy.errors import StudyError
from facestudy.intervals import (
    FEW_GROUPS,
    Difference,
    Estimate,
    EvaluateSettings,
    differences,
    draw_groups,
    estimates,
    holm,
)
from facestudy.metrics import Scores, by_video, of_method, same_faces
from facestudy.model_settings import ModelSettings
from facestudy.settings import shown

COMPARED = ("accuracy", "auc")

Cells = Mapping[str, Mapping[str, Scores]]
"""Scores on faces by model and variant; the first variant is the reference, which the others are compared with."""


def cell_metrics(faces: Scores, settings: EvaluateSettings) -> dict[str, float]:
    """Every metric of one cell, on faces and, with the prefix video_, on videos; and the counts.

    Flat, numbers only: <metric>, <metric>_low, <metric>_high, <metric>_seed_sd. Floats have 6 decimals.
    """
    drawn = draw_groups(faces, settings)
    videos = by_video(faces)
    flat: dict[str, float] = {}
    for prefix, scores in (("", faces), ("video_", videos)):
        for name, found in estimates(scores, drawn, settings).items():
            flat[f"{prefix}{name}"] = round(found.value, 6)
            flat[f"{prefix}{name}_low"] = round(found.low, 6)
            flat[f"{prefix}{name}_high"] = round(found.high, 6)
            flat[f"{prefix}{name}_seed_sd"] = round(found.seed_sd, 6)
    flat["test_groups"] = faces.groups
    for things, scores in (("videos", videos), ("faces", faces)):
        flat[f"test_{things}"] = len(scores.fake)
        flat[f"test_real_{things}"] = int((~scores.fake).sum())
        flat[f"test_fake_{things}"] = int(scores.fake.sum())
    flat["seeds"] = len(faces.p_fake)
    return flat


@dataclass(frozen=True)
class Comparison:
    """One metric of one model on one variant against the reference."""

    model: str
    variant: str
    metric: str
    difference: Difference
    p_holm: float = 1.0


def check_cells(cells: Cells) -> Scores:
    """The scores of the first cell, after making sure that all cells are about the same test faces.

    Raises StudyError when they are not.
    """
    first_name, first = "", None
    for model, variants in cells.items():
        for variant, scores in variants.items():
            if first is None:
                first_name, first = f"{variant}/{model}", scores
            elif not same_faces(first, scores):
                raise StudyError(
                    f"predictions/{variant}/{model} and predictions/{first_name} are not about the same test faces, "
                    "so they cannot be compared; `dvc repro` brings them up to date."
                )
    if first is None:
        raise StudyError("params.yaml: models is empty; declare at least one model.")
    return first


def compare_variants(cells: Cells, settings: EvaluateSettings) -> list[Comparison]:
    """Each variant against the reference, for every model and metric of COMPARED.

    p-values are Holm-corrected over the models: one family for each variant and metric, so that
    looking at one more control variant does not change what is said of the others.
    """
    drawn = draw_groups(check_cells(cells), settings)
    rows = []
    for model, variants in cells.items():
        reference = next(iter(variants.values()))
        for variant, scores in list(variants.items())[1:]:
            found = differences(reference, scores, drawn, settings, COMPARED)
            rows += [Comparison(model, variant, metric, found[metric]) for metric in COMPARED]
    for family in {(row.variant, row.metric) for row in rows}:
        members = [i for i, row in enumerate(rows) if (row.variant, row.metric) == family]
        for i, corrected in zip(members, holm([rows[i].difference.p for i in members]), strict=True):
            rows[i] = replace(rows[i], p_holm=corrected)
    return rows


def comparison_table(rows: Iterable[Comparison], test: Scores) -> pd.DataFrame:
    """The comparisons as text cells, in the order of models, variants and metrics in the settings."""
    columns = ["model", "variant", "metric", "reference", "value", "difference", "low", "high", "p", "p_holm"]
    counts = {"test_groups": test.groups, "test_videos": test.videos, "test_faces": len(test.fake)}
    counts["seeds"] = len(test.p_fake)
    records = []
    for row in rows:
        found = row.difference
        numbers = (found.first, found.second, found.value, found.low, found.high)
        texts = [f"{number + 0.0:.6f}" for number in numbers] + [f"{p:.4g}" for p in (found.p, row.p_holm)]
        records.append([row.model, row.variant, row.metric, *texts, *map(str, counts.values())])
    return pd.DataFrame(records, columns=[*columns, *counts])


def fake_methods(scores: Scores) -> list[str]:
    """The manipulation methods of the fakes, in alphabetical order."""
    return sorted({method for method, fake in zip(scores.methods, scores.fake, strict=True) if fake})


def method_estimates(scores: Scores, settings: EvaluateSettings) -> dict[str, tuple[Scores, dict[str, Estimate]]]:
    """For each manipulation method, how well its fakes are told from all real faces."""
    found = {}
    for method in fake_methods(scores):
        part = of_method(scores, method)
        names = ("balanced_accuracy", "auc")  # plain accuracy would say more of the reals than of a small method
        found[method] = part, estimates(part, draw_groups(part, settings), settings, names)
    return found


ByMethod = Mapping[str, Mapping[str, Mapping[str, tuple[Scores, dict[str, Estimate]]]]]
"""`method_estimates` by model and variant."""


def by_method(cells: Cells, settings: EvaluateSettings) -> ByMethod:
    """`method_estimates` of every cell."""
    return {
        model: {variant: method_estimates(scores, settings) for variant, scores in variants.items()}
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
                    for column, number in (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high)):
                        record[name + column] = f"{number:.6f}"
                counts = {"fake_groups": part.groups_with(fake=True).sum(), "fake_faces": part.fake.sum()}
                records.append(record | {name: str(count) for name, count in counts.items()})
    return pd.DataFrame(records)


def results_markdown(
    cells: Cells,
    rows: Sequence[Comparison],
    models: Mapping[str, ModelSettings],
    seeds: Sequence[int],
    settings: EvaluateSettings,
    sample: bool,
    methods: ByMethod,
) -> str:
    """The results as a Markdown page: accuracy and AUC by model and variant, differences, what cells are.

    sample: whether the videos are the built-in sample, which the page then says.
    """
    test = check_cells(cells)
    drawn = draw_groups(test, settings)
    found = {
        model: {variant: estimates(scores, drawn, settings, COMPARED) for variant, scores in variants.items()}
        for model, variants in cells.items()
    }
    level = f"{100 * settings.confidence:g} %"
    lines = ["# Results", ""]
    if sample:
        lines += ["These are results about the built-in sample: drawn people, one kind of fake.", ""]
    seed_text = f"Mean over {len(seeds)} seeds" if len(seeds) > 1 else f"One seed ({seeds[0]})"
    lines += [
        f"Test subset: {test.groups} groups, {test.videos} videos, {len(test.fake)} faces "
        f"({int(test.fake.sum())} fake). {seed_text}, on faces; in brackets the {level} interval over groups.",
        "",
    ]
    if test.groups < FEW_GROUPS:
        lines += [
            f"**Warning: only {test.groups} test groups. Below {FEW_GROUPS}, intervals are wide, one unusual group can "
            "turn a result, and so few may be unlike the rest in ways that no interval shows.**",
            "",
        ]
    variants = list(next(iter(cells.values())))
    for metric, title, scale, digits in (("accuracy", "Accuracy, %", 100, 1), ("auc", "AUC", 1, 3)):
        head = ["model", f"normal ({variants[0]})", *(f"cropped ({variant})" for variant in variants[1:])]
        body = [
            [model, *(_cell(found[model][variant][metric], scale, digits) for variant in variants)] for model in found
        ]
        lines += [f"## {title}", "", *_markdown_table(head, body), ""]
    if len(fake_methods(test)) > 1:
        lines += _method_section(methods)
    if rows:
        lines += _difference_section(rows, variants[0], level)
    lines += ["## What a cell is", ""]
    lines += [f"- {describe_model(name, model, seeds)}" for name, model in models.items()]
    return "\n".join([*lines, "", "## Reading it", "", *_reading(len(models) * len(variants) * 2, settings)]) + "\n"


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


def _difference_section(rows: Sequence[Comparison], reference: str, level: str) -> list[str]:
    head = ["model", "variant", "accuracy, points", "p", "p Holm", "AUC", "p", "p Holm"]
    by_key = {(row.model, row.variant, row.metric): row for row in rows}
    body = []
    for model, variant in dict.fromkeys((row.model, row.variant) for row in rows):
        cells = [model, variant]
        for metric, scale, digits in (("accuracy", 100, 1), ("auc", 1, 3)):
            row = by_key[model, variant, metric]
            found = row.difference
            cells += [_cell(found, scale, digits, "+"), _p_text(found.p), _p_text(row.p_holm)]
        body.append(cells)
    title = f"## Difference from {reference}"
    text = f"Variant less {reference}, the same resamples for both; in brackets the {level} interval."
    return [title, "", text, "", *_markdown_table(head, body), ""]


def _method_section(methods: ByMethod) -> list[str]:
    head = ["model", "method", *next(iter(methods.values()))]
    body = []
    for model, variants in methods.items():
        for method in next(iter(variants.values())):
            body.append([model, method, *(_cell(found[method][1]["auc"], 1, 3) for found in variants.values())])
    text = "The fakes of each method against all real faces; more in metrics/methods.csv."
    return ["## AUC by method", "", text, "", *_markdown_table(head, body), ""]


def _reading(intervals: int, settings: EvaluateSettings) -> list[str]:
    missed = 100 * (1 - settings.confidence**intervals)
    return [
        f"- Intervals: logit t from {settings.resamples} bootstrap resamples of whole test groups, see "
        "docs/statistics.md. They hold for these trained models on new groups of the same kind, not for another "
        "training or other videos; how much another seed matters is `..._seed_sd` in the JSON files.",
        f"- The two tables hold {intervals} intervals. Were they independent, a perfect method would miss at least "
        f"one of {intervals} truths {missed:.0f} % of the time.",
        "- p: two-sided, of the interval's t statistic. p Holm: corrected over the models, separately for each "
        "variant and metric.",
    ]


def _cell(found: Estimate | Difference, scale: float, digits: int, sign: str = "") -> str:
    value, low, high = (
        f"{round(scale * number, digits) + 0.0:{sign}.{digits}f}" for number in (found.value, found.low, found.high)
    )
    return f"{value} [{low}, {high}]"


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
