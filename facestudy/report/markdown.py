"""The results of a study as a Markdown page."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import pandas as pd

from facestudy.alterations.settings import label
from facestudy.attribution.findings import FIGURES
from facestudy.controls.shortcuts import drop_summary, one_class_warning
from facestudy.controls.shortcuts import summary as shortcut_summary
from facestudy.controls.shortcuts import warning as shortcut_warning
from facestudy.core.settings import key_name, quoted
from facestudy.dataset.clips import ENTERED, WORDS, counted
from facestudy.evaluation.comparisons import ByMethod, Comparison, Counts, ends
from facestudy.evaluation.intervals import FEW_GROUPS, POWER, Difference, Estimate
from facestudy.evaluation.results import Results
from facestudy.evaluation.scores import MIN_SPREAD
from facestudy.models.settings import ModelSettings

SCALES = {"accuracy": (100, 1, "Accuracy, %", "points"), "auc": (1, 3, "AUC", "of AUC")}
"""The format of each metric: factor, decimals, title, unit of a difference."""


BROKEN = "broken"
"""The text that replaces a figure of a cell with a constant output."""
MAX_CLIPS = 20
"""The greatest number of clips without a face in the split that are named."""


ABOUT = {
    "sample": "These are results about the built-in sample: drawn people, one kind of fake.",
    "pseudo_fakes": "These are results about pseudo-fakes: blends of real faces, no output of a deepfake generator.",
}
"""The sentence about the videos of a source."""


def results_markdown(
    results: Results,
    models: Mapping[str, ModelSettings],
    seeds: Sequence[int],
    source: str,
    clips: pd.DataFrame,
    shortcuts: pd.DataFrame,
    gaps: Mapping[str, Mapping[str, Mapping[str, float]]],
    contrasts: pd.DataFrame,
    hypotheses: pd.DataFrame,
    robustness: pd.DataFrame,
    attribution: pd.DataFrame,
    trial: bool = False,
    control: str = "",
) -> str:
    """Write the page: metrics by model and variant, differences, verdicts, controls, robustness, clips.

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
    shortcuts
        What the shortcut audit found, as facestudy.controls.shortcuts.SHORTCUTS.
    gaps
        Losses in training and validation, by model and variant, as facestudy.training.gaps.gaps.
    contrasts, hypotheses, robustness
        What `facestudy.hypotheses` and `facestudy.robustness` compute, as text cells.
    attribution
        What the models rely on, as facestudy.attribution.findings.ATTRIBUTION; without rows there is no section.
    trial
        Whether the study only tries out whether everything works; the page then says so.
    control
        What makes the study a control, see `facestudy.dataset.split.SplitSettings.control`.

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
            "**Trial: few videos and short training. It shows that the study runs; its figures are not results.**",
            "",
        ]
    if control:
        lines += [f"**{control} Its figures are not results.**", ""]
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
    lines += [shortcut_summary(shortcuts), drop_summary(shortcuts), ""]
    variants, broken = results.variants, results.constant_trainings
    lines += _broken_warning(broken, test)
    for told in filter(None, (shortcut_warning(shortcuts), one_class_warning(shortcuts))):
        lines += [f"**{told}**", ""]
    for metric, (scale, digits, title, _) in SCALES.items():
        head = ["model", f"normal ({variants[0]})", *(f"cropped ({variant})" for variant in variants[1:])]
        body = [
            [
                model,
                *(
                    BROKEN if broken[model][variant] else _cell(found[model][variant][metric], scale, digits)
                    for variant in variants
                ),
            ]
            for model in found
        ]
        lines += [f"## {title}", "", *_markdown_table(head, body), ""]
    if len(results.method_names) > 1:
        lines += _method_section(results.methods, broken)
    if results.comparisons:
        lines += _difference_section(results.comparisons, variants[0], level, test)
    lines += hypotheses_section(contrasts, hypotheses, level)
    if len(attribution):
        lines += _attribution_section(attribution)
    lines += _score_section(results)
    lines += _robustness_section(robustness, variants[:2], broken, level)
    lines += ["## Models", ""]
    lines += [f"- {describe_model(name, model, seeds)}" for name, model in models.items()]
    lines += ["", "## Training and validation", "", *_gap_section(gaps)]
    lines += ["", "## Clips", "", *_clips_section(clips)]
    intervals = 2 * sum(not broken[model][variant] for model in found for variant in variants)
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


def _broken_warning(constant: Mapping[str, Mapping[str, int]], test: Counts) -> list[str]:
    """Name the cells whose output is constant, so that their figures are not a result."""
    of = test.seeds * test.splits
    cells = [
        f"{model} on {variant} ({count} of {of} training{'s' if of > 1 else ''})"
        for model, variants in constant.items()
        for variant, count in variants.items()
        if count
    ]
    if not cells:
        return []
    return [
        f"**Warning: broken: constant output of {', '.join(cells)}. The highest and the lowest p_fake of the test "
        f"faces differ by less than {MIN_SPREAD:g}, so the output does not depend on the picture. Such a cell has no "
        "result, and its comparisons have no verdict.**",
        "",
    ]


def _gap_section(gaps: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    head = ["model", "variant"]
    head += [f"{which}: {what}" for which in ("kept", "last") for what in ("epoch", "training", "validation", "gap")]
    body = []
    for model, variants in gaps.items():
        for variant, found in variants.items():
            numbers = []
            for which in ("kept", "last"):
                epoch = found[f"{which}_epoch"]
                numbers.append(f"{epoch:.1f}")
                losses = (found.get(f"{which}_{name}", math.nan) for name in ("loss", "validation_loss", "gap"))
                numbers += [f"{loss:.3f}" for loss in losses]
            body.append([model, variant, *numbers])
    text = (
        "Loss at the epoch whose weights are kept and at the last one, mean over the trainings. Gap: validation minus "
        "training; it grows as a model overfits."
    )
    return [text, "", *_markdown_table(head, body)]


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
    what = f"{name}: {model.network}, width {model.width:g}, {model.input_size} × {model.input_size} pixels"
    if not model.epochs:
        return (
            f"{what}, weights {_code(str(model.weights))}, not trained here: its scores are the same with every seed, "
            "and its intervals are for new groups"
        )
    start = "trained from scratch" if model.weights is None else f"starting from the weights {_code(model.weights)}"
    numbers = ", ".join(map(str, seeds))
    return f"{what}, {start}, {model.epochs} epochs, seed{'s' if len(seeds) > 1 else ''} {numbers}"


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
    tested = test.seeds * test.splits > 1
    columns = ["accuracy, points", *(["p", "p Holm"] if tested else []), "AUC", *(["p", "p Holm"] if tested else [])]
    body = []
    for model, variant in pairs:
        cells = [model, variant]
        for metric, (scale, digits, _, _) in SCALES.items():
            row = by_key[model, variant, metric]
            broken = row.verdict == "broken"
            cells.append(BROKEN if broken else _cell(row.difference, scale, digits, "+"))
            p = ["", ""] if broken else [_p_text(row.difference.p), _p_text(row.p_holm)]
            cells += p if tested else []
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
            row = by_key[model, variant, metric]
            found = row.difference
            cells += (
                [BROKEN, "", ""]
                if row.verdict == "broken"
                else [
                    _written(found.value, found.groups_low, found.groups_high, scale, digits, "+"),
                    _p_text(found.groups_p),
                    _p_text(row.classical_p),
                ]
            )
        body.append(cells)
    text = (
        f"The same differences with the {level} interval for these trained models on new groups: no new training. "
        "McNemar's exact test and DeLong's test are on videos, for comparison with the literature; they take videos as "
        "independent and decide nothing here."
    )
    head = ["model", "variant", "accuracy, points", "p", "p McNemar", "AUC", "p", "p DeLong"]
    return [*lines, text, "", *_markdown_table(head, body), ""]


def verdict_text(row: Comparison, reference: str) -> str:
    """The verdict on one comparison in words.

    Parameters
    ----------
    row : Comparison
        With a p-value, or broken.
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
    if row.verdict == "broken":
        return f"{of}: broken: constant output on {row.variant} or {reference}, no verdict"
    if row.verdict == "no_difference":
        able = f"could detect {detectable} or more" if row.detectable < 1 else "could not detect any difference"
        return (
            f"{of}: no difference found between {row.variant} and {reference} "
            f"(the study {able} with {100 * POWER:.0f} % power)"
        )
    amount = f"{scale * abs(row.difference.value):.{digits}f} {unit}"
    return (
        f"{of}: {row.variant} is {row.verdict} than {reference} by {amount} (p Holm {_p_text(row.p_holm)}; "
        f"smallest detectable difference {detectable})"
    )


def _method_section(methods: ByMethod, broken: Mapping[str, Mapping[str, int]]) -> list[str]:
    head = ["model", "method", *next(iter(methods.values()))]
    body = []
    for model, variants in methods.items():
        for method in next(iter(variants.values())):
            cells = [
                BROKEN if broken[model][variant] else _cell(found[method].estimates["auc"], 1, 3)
                for variant, found in variants.items()
            ]
            body.append([model, method, *cells])
    text = "The fakes of each method against all real faces; more in metrics/methods.csv."
    return ["## AUC by method", "", text, "", *_markdown_table(head, body), ""]


def hypotheses_section(contrasts: pd.DataFrame, hypotheses: pd.DataFrame, level: str) -> list[str]:
    """The verdicts on the earlier study's claim and reasons, and the contrasts that decide them.

    Parameters
    ----------
    contrasts, hypotheses
        metrics/contrasts.csv and metrics/hypotheses.csv as text cells.
    level
        The confidence of the intervals, as "95 %".

    Returns
    -------
    list of str
        Lines of Markdown with a heading.
    """
    tested = hypotheses[hypotheses["verdict"] != "not_tested"]
    missing = hypotheses[hypotheses["verdict"] == "not_tested"].drop_duplicates("hypothesis")
    lines = ["## The earlier study's claim and its reasons", ""]
    lines += [
        "Verdicts by the rules of docs/protocol.md. p is Holm-corrected: that of `crop` over the models, those of the "
        "other contrasts over all of them and all models.",
        "",
        *_markdown_table(
            ["model", "claim", "verdict", "by"], tested[["model", "claim", "verdict", "reason"]].to_numpy()
        ),
        "",
    ]
    for row in missing.itertuples():
        lines += [f"Not tested: {row.claim.rstrip('.')} ({row.reason}).", ""]
    if set(contrasts["contrast"]) <= {"crop"}:  # the table of differences has it
        return lines
    tested_by_p = (contrasts["p_holm"] != "").any()  # not with one training
    body = []
    for row in contrasts.itertuples():
        auc = BROKEN if row.outcome == BROKEN else f"{float(row.difference):+.3f}"
        if row.low and row.outcome != BROKEN:
            auc += f" [{float(row.low):+.3f}, {float(row.high):+.3f}]"
        p = [_p_text(float(row.p_holm)) if row.p_holm else ""] if tested_by_p else []
        of = "change of {} under a shift" if row.contrast == "sensitivity" else "{}"
        body.append([row.model, row.contrast, of.format(row.second), of.format(row.first), auc, *p, row.outcome])
    head = ["model", "contrast", "AUC of", "minus AUC of", f"difference, {level} interval"]
    head += [*(["p Holm"] if tested_by_p else []), "outcome"]
    return [*lines, *_markdown_table(head, body), ""]


def _attribution_section(attribution: pd.DataFrame) -> list[str]:
    """For each region, the attribution of the trained models and of random weights."""
    faces, methods = attribution["faces"].max(), list(dict.fromkeys(attribution["method"]))
    head = ["model", "variant", "region", "area, %"]
    head += [f"{method}: {name}" for method in methods for name in ("trained", "random", "finding")]
    body = []
    for (model, variant, region), rows in attribution.groupby(["model", "variant", "region"], sort=False):
        by_method = rows.set_index("method")
        cells = [model, variant, region, f"{100 * rows['area'].iloc[0]:.0f}"]
        for method in methods:
            if method not in by_method.index:
                cells += ["–"] * 3
                continue
            row = by_method.loc[method]
            if row["finding"] == BROKEN:
                cells += [BROKEN, "", ""]
                continue
            cells += [_written(row[name], row[f"{name}_low"], row[f"{name}_high"], 1, 2) for name in FIGURES[:2]]
            cells.append(row["finding"] or "–")
        body.append(cells)
    text = (
        "The share of a model's evidence that lies in a region, divided by the region's share of the crop; 1: no "
        "preference. "
        f"At most {faces} test faces; in brackets the 95 % interval. Random: the same networks with random weights. "
        "`altered` is what differs between a fake and its real twin. docs/attribution.md explains the methods, "
        "docs/protocol.md the findings; they decide no verdict."
    )
    return ["## Which parts the models rely on", "", text, "", *_markdown_table(head, body), ""]


def _score_section(results: Results) -> list[str]:
    head = ["model", "variant", "accuracy, %", "tuned threshold", "accuracy with it, %", "ECE", "ECE if calibrated"]
    body = []
    for model, variants in results.estimates.items():
        for variant, found in variants.items():
            if results.constant_trainings[model][variant]:
                body.append([model, variant, BROKEN, "", "", "", ""])
                continue
            scores = results.calibrations[model][variant]
            body.append(
                [
                    model,
                    variant,
                    _cell(found["accuracy"], 100, 1),
                    f"{scores.threshold:.2f} (sd {scores.threshold_sd:.2f})",
                    _cell(found["accuracy_tuned"], 100, 1),
                    f"{scores.error:.3f}",
                    f"{scores.error_if_calibrated:.3f}",
                ]
            )
    text = (
        "All other tables call a face fake above the threshold .5. Here each training also gets the threshold that is "
        "best on its validation faces. ECE, the expected calibration error, is the mean distance of p_fake from the "
        "share of fakes; the last column is the ECE that a calibrated p_fake would have on as many faces. "
        "metrics/reliability.csv has the curves."
    )
    return ["## Thresholds and calibration", "", text, "", *_markdown_table(head, body), ""]


def _robustness_section(
    table: pd.DataFrame, variants: Sequence[str], broken: Mapping[str, Mapping[str, int]], level: str
) -> list[str]:
    """Changes of AUC on altered test faces, on the first two variants."""
    altered = table[table["kind"] != "none"]
    rows = {(row.model, row.variant, row.kind, row.severity): row for row in altered.itertuples()}
    if not rows:
        return []
    tested = (altered["extra_p"] != "").any()  # not with one training
    body = []
    for model, kind, severity in dict.fromkeys((model, kind, severity) for model, _, kind, severity in rows):
        cells = [rows[model, variant, kind, severity] for variant in variants]
        written = [
            BROKEN if broken[model][row.variant] else _of_row(row.change, row.change_low, row.change_high)
            for row in cells
        ]
        for row in cells[1:]:
            has_result = not (broken[model][variants[0]] or broken[model][row.variant])
            written.append(_of_row(row.extra, row.extra_low, row.extra_high) if has_result else BROKEN)
            written += [_p_text(float(row.extra_p)) if has_result else "–"] if tested else []
        body.append([model, label(kind, severity), *written])
    head = ["model", "altered", *(f"change, {variant}" for variant in variants)]
    for variant in variants[1:]:
        head += [f"{variant} minus {variants[0]}", *(["p"] if tested else [])]
    text = (
        "AUC on altered test faces minus AUC on the same faces unaltered, scored by the same trained models; in "
        f"brackets the {level} interval. {'p is not corrected. ' if tested else ''}docs/robustness.md explains the "
        "alterations, metrics/robustness.csv has all variants and how many answers change."
    )
    return ["## Robustness", "", text, "", *_markdown_table(head, body), ""]


def _of_row(*cells: str) -> str:
    """Format a change of AUC and its interval, from text cells; an empty cell means that there is no number."""
    value, low, high = (float(cell or "nan") for cell in cells)
    return _written(value, low, high, 1, 3, "+")


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
    judged = "; its interval is for this regression on new groups" if test.splits == 1 else ""
    notes.append(
        "- Without seeing the face: a regression on cues of the file, the frame and the place of the face, fitted and "
        f"judged on the same faces as the models{judged}. docs/protocol.md has the rules, metrics/shortcuts.csv the "
        "groups of cues."
    )
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
    if math.isnan(p):
        return "–"
    return "< .001" if p < 0.001 else f"{p:.3f}"


def _markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Columns padded, so that the table reads well in a terminal too."""
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (head, *body)
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
