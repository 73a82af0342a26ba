"""The results of a study as a Markdown page."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import pandas as pd

from facestudy.core.settings import key_name, quoted
from facestudy.dataset.clips import ENTERED, WORDS, counted
from facestudy.evaluation.comparisons import ByMethod, Comparison, Counts, ends
from facestudy.evaluation.intervals import FEW_GROUPS, POWER, Difference, Estimate
from facestudy.evaluation.results import Results
from facestudy.models.settings import ModelSettings

SCALES = {"accuracy": (100, 1, "Accuracy, %", "points"), "auc": (1, 3, "AUC", "of AUC")}
"""How a metric is written: factor, decimals, title, unit of a difference."""


MAX_CLIPS = 20
"""The greatest number of clips without a face in the split that are named."""


ABOUT = {
    "sample": "These are results about the built-in sample: drawn people, one kind of fake.",
    "pseudo_fakes": "These are results about pseudo-fakes: blends of real faces, no output of a deepfake generator.",
}
"""What the page says about the videos of a source."""


def results_markdown(
    results: Results,
    models: Mapping[str, ModelSettings],
    seeds: Sequence[int],
    source: str,
    clips: pd.DataFrame,
    trial: bool = False,
) -> str:
    """Write the page: metrics by model and variant, differences, verdicts, what became of the clips.

    Parameters
    ----------
    results
        The figures.
    models, seeds
        The settings that they were computed with.
    source
        Where the videos come from, as `source` in params.yaml; the page says so for those in ABOUT.
    clips
        What became of each clip, as tables.CLIPS.
    trial
        Whether the study only tries out whether everything works; the page then says so.

    Returns
    -------
    str
        Markdown.
    """
    test, found = results.test, results.estimates
    level = f"{100 * results.confidence:g} %"
    lines = ["# Results", ""]
    if trial:
        lines += [
            "**Trial: few videos and short training. It shows that the study runs; its figures are no result.**",
            "",
        ]
    if source in ABOUT:
        lines += [ABOUT[source], ""]
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
    variants = results.variants
    for metric, (scale, digits, title, _) in SCALES.items():
        head = ["model", f"normal ({variants[0]})", *(f"cropped ({variant})" for variant in variants[1:])]
        body = [
            [model, *(_cell(found[model][variant][metric], scale, digits) for variant in variants)] for model in found
        ]
        lines += [f"## {title}", "", *_markdown_table(head, body), ""]
    if len(results.method_names) > 1:
        lines += _method_section(results.methods)
    if results.comparisons:
        lines += _difference_section(results.comparisons, variants[0], level, test)
    lines += ["## What a cell is", ""]
    lines += [f"- {describe_model(name, model, seeds)}" for name, model in models.items()]
    lines += ["", "## Clips", "", *_clips_section(clips)]
    intervals = len(models) * len(variants) * 2
    notes = _reading(intervals, test, results.confidence)
    return "\n".join([*lines, "", "## How to read the tables", "", *notes]) + "\n"


def _clips_section(clips: pd.DataFrame) -> list[str]:
    """How many clips came in and were used; those that gave no face to the split, each with its reason.

    Names and reasons come from outside: they stand in an indented block, in which nothing is HTML or a link.
    """
    lost = clips[~clips["status"].isin(ENTERED)].sort_values(["status", "path", "video_id"], kind="stable")
    lines = [f"{counted(clips)}; data/clips.csv has a row for each."]
    if len(lost):
        names = [key_name(path or video_id) for path, video_id in zip(lost["path"], lost["video_id"], strict=True)]
        reasons = [key_name(f"{WORDS[row.status]}: {row.reason}") for row in lost.itertuples()]
        width = max(map(len, names[:MAX_CLIPS]))
        listed = [f"    {name:{width}}  {reason}" for name, reason in zip(names, reasons, strict=True)]
        more = [f"    ... and {len(lost) - MAX_CLIPS} more in data/clips.csv"] if len(lost) > MAX_CLIPS else []
        lines += ["", *listed[:MAX_CLIPS], *more]
    return lines


def _interval_text(test: Counts) -> str:
    """What the intervals and p-values are about."""
    if test.splits > 1:
        return "new splits, trainings and groups"
    return "new trainings on new groups" if test.seeds > 1 else "these trained models on new groups"


def describe_model(name: str, model: ModelSettings, seeds: Sequence[int]) -> str:
    """Describe a model in one line: network, width, input, weights, epochs, seeds.

    Parameters
    ----------
    name
        The name of the model in the settings.
    model
        Its settings.
    seeds
        The seeds of its trainings.

    Returns
    -------
    str

    Examples
    --------
    >>> describe_model("meso", ModelSettings(network="meso4", input_size=64, epochs=9, learning_rate=1e-3), [1, 2])
    'meso: meso4, width 1, 64 × 64 pixels, trained from scratch, 9 epochs, seeds 1, 2'
    """
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
    text = text if text.isprintable() else quoted(text)
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
            body.append([model, method, *(_cell(found[method].estimates["auc"], 1, 3) for found in variants.values())])
    text = "The fakes of each method against all real faces; more in metrics/methods.csv."
    return ["## AUC by method", "", text, "", *_markdown_table(head, body), ""]


def _reading(intervals: int, test: Counts, confidence: float) -> list[str]:
    missed = 100 * (1 - confidence**intervals)
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


def _cell(found: Estimate | Difference, scale: float, digits: int, sign: str = "") -> str:
    return _written(found.value, *ends(found), scale, digits, sign)


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
