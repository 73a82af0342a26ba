"""The charts of the report, as Vega-Lite: a variant has the same colour and dash in every chart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import altair as alt
import pandas as pd

from facestudy.alterations.settings import label
from facestudy.evaluation.metrics import THRESHOLD

alt.data_transformers.disable_max_rows()  # the losses of many trainings have more than altair's 5,000
WIDTH, HEIGHT = 420, 260
"""Of a drawn picture, pixels; on the page a chart is as wide as its column."""
ROW, MARK = 20, 9
"""The least height of a labelled row and of a mark in it, pixels: a chart with many rows is higher than HEIGHT."""
COLOURS = ("#3b78b5", "#d8731a", "#2f9d74", "#b04fa3", "#8c7a00", "#d1495b", "#5f6b7a", "#008ea8")
"""Of the variants, in their order; readable on white and on black."""
DASHES = ((1, 0), (8, 3), (2, 2), (8, 3, 2, 3), (4, 4))
"""Of their lines. No two of the first forty variants have the same colour and dash, and dashes help where colours look
alike to a reader."""
NO_RESULT = ("broken", "chance")
"""Outcomes of a contrast whose difference is not shown."""
CLASS_COLOURS = {"real": "#3b78b5", "fake": "#d1495b"}
LABELS = 190
"""The longest label of a row, pixels: it leaves room for the marks on a telephone."""
MAX_LOSS = 1.2
"""The end of the axis of the losses."""
SHARE = alt.Scale(domain=[0, 1])


@dataclass(frozen=True)
class Chart:
    """A chart of the report and the numbers in it.

    Attributes
    ----------
    name : str
        Of its files, such as roc_mesonet: letters, digits, `_` and `-`.
    title : str
    text : str
        What it shows, in a sentence, for people who do not see it.
    chart : altair.TopLevelMixin
    table : DataFrame
        What is drawn.
    shown : DataFrame, optional
        The rows of it that stand on the page; by default all.
    warning : str, optional
        A note under the title: what must not be read as a result.
    height : int
        Of the drawing without title and axis, pixels.
    """

    name: str
    title: str
    text: str
    chart: Any
    table: pd.DataFrame
    shown: pd.DataFrame | None = None
    warning: str = ""
    height: int = HEIGHT

    def spec(self, width: int | str = "container", subtitle: str = "") -> dict[str, Any]:
        """Write the chart as Vega-Lite.

        Parameters
        ----------
        width : int or str
            Pixels, or "container" for the width of the page's column.
        subtitle : str
            A note under the title, above the warning.

        Returns
        -------
        dict
            JSON values only.
        """
        spec = self._written | {"width": width}
        notes = [note for note in (subtitle, self.warning) if note]
        spec["title"] = {"text": self.title} | ({"subtitle": notes if notes[1:] else notes[0]} if notes else {})
        spec["description"] = self.description
        return spec

    @cached_property
    def _written(self) -> dict[str, Any]:
        """The chart without its title: it takes Altair 30 ms, and every chart is written twice."""
        return dict(self.chart.properties(width=WIDTH, height=self.height).to_dict())

    @property
    def description(self) -> str:
        """The text, with the warning if there is one."""
        return f"{self.text} {self.warning}".strip()


@dataclass(frozen=True)
class StudyTables:
    """The tables of a study that the charts draw, as text cells unless noted.

    Attributes
    ----------
    models, variants : sequence of str
        Their order is that of the page and of the colours.
    confidence : float
        Of all intervals and bands, 0 to 1.
    curves : mapping of str to DataFrame
        metrics/curves/: roc, precision_recall, histogram, confusion, training.
    reliability, contrasts, robustness, faces : DataFrame
        metrics/<name>.csv.
    shortcuts, clips : DataFrame
        metrics/shortcuts.csv and data/clips.csv, with numbers.
    broken : mapping of str to sequence of str
        By model: the variants on which a training has a constant output.
    """

    models: Sequence[str]
    variants: Sequence[str]
    confidence: float
    curves: Mapping[str, pd.DataFrame]
    reliability: pd.DataFrame
    contrasts: pd.DataFrame
    robustness: pd.DataFrame
    faces: pd.DataFrame
    shortcuts: pd.DataFrame
    clips: pd.DataFrame
    broken: Mapping[str, Sequence[str]]

    @property
    def level(self) -> str:
        """The confidence in words, as "95 %"."""
        return f"{100 * self.confidence:g} %"


def all_charts(results: StudyTables) -> dict[str, list[Chart]]:
    """Make the charts of a study.

    Parameters
    ----------
    results : StudyTables

    Returns
    -------
    dict of str to list of Chart
        By the title of the section of the page that they belong to.
    """
    models, variants = results.models, results.variants
    altered = (results.robustness["kind"] != "none").any()

    def marked(chart: Chart, model: str, shown: Sequence[str] = variants) -> Chart:
        broken = [variant for variant in shown if variant in results.broken.get(model, ())]
        warning = f"Broken: a training of {model} gives all faces the same score on {', '.join(broken)}."
        return replace(chart, warning=warning) if broken else chart

    def by_model(chart: Callable[[StudyTables, str], Chart]) -> list[Chart]:
        return [marked(chart(results, model), model) for model in models]

    def by_cell(chart: Callable[[StudyTables, str, str], Chart], shown: Sequence[str]) -> list[Chart]:
        return [marked(chart(results, model, one), model, [one]) for model in models for one in shown]

    return {
        "Planned contrasts": [_contrasts(results)],
        "ROC": by_model(_roc),
        "Precision and recall": by_model(_precision_recall),
        "Scores": by_cell(_histogram, variants),
        "Scores of each clip": by_cell(_clips, variants[:2]),
        "Confusion": by_model(_confusion),
        "Thresholds and calibration": by_model(_calibration),
        "Training and validation": by_model(_training),
        "Robustness": by_model(_robustness) if altered else [],
        "Without seeing the face": [_shortcuts(results)],
        "Excluded frames": [_exclusions(results)],
    }


def _of_model(table: pd.DataFrame, model: str, texts: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of one model, with numbers in all columns but `variant` and `texts`; an empty cell is NaN."""
    rows = table[table["model"] == model].drop(columns="model").reset_index(drop=True)
    numbers = [name for name in rows.columns if name not in ("variant", *texts)]
    return rows.assign(**{name: pd.to_numeric(rows[name]) for name in numbers})


def _by_variant(results: StudyTables) -> alt.Color:
    variants = list(results.variants)
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(variants))]
    colour = alt.Color("variant:N", title="variant", sort=variants).scale(domain=variants, range=colours)
    return colour.legend(symbolOpacity=1)


def _dashes(results: StudyTables) -> alt.StrokeDash:
    variants = list(results.variants)
    dashes = [list(DASHES[number % len(DASHES)]) for number in range(len(variants))]
    return alt.StrokeDash("variant:N", title="variant", sort=variants).scale(domain=variants, range=dashes)


def _by_class() -> alt.Color:
    return alt.Color("label:N", title="class").scale(domain=list(CLASS_COLOURS), range=list(CLASS_COLOURS.values()))


def _one_at_a_time(results: StudyTables, chart: Any, opacity: float = 1.0, bands: Any = None) -> Any:
    """Let a menu below the chart leave only the lines of one variant, and its band if there are any.

    The opacity is that of the stroke: the opacity of a whole element makes a PNG take ten times as long to draw.
    """
    variants = list(results.variants)
    menu = alt.binding_select(options=[None, *variants], labels=["all variants", *variants], name="Show ")
    chosen = alt.selection_point(fields=["variant"], bind=menu)
    lines = chart.encode(strokeOpacity=alt.condition(chosen, alt.value(opacity), alt.value(0.08))).add_params(chosen)
    if bands is None:
        return lines
    return alt.layer(bands.encode(opacity=alt.condition(chosen, alt.value(0.15), alt.value(0))), lines)


def _dashed(x: Sequence[float], y: Sequence[float]) -> Any:
    """A dashed line from corner to corner, in the axes of the chart that it is layered with."""
    line = alt.Chart(pd.DataFrame({"x": x, "y": y})).mark_line(strokeDash=[4, 4], color="#888")
    return line.encode(x="x:Q", y="y:Q")


def _curves(results: StudyTables, rows: pd.DataFrame, x: alt.X, y: str, title: str) -> Any:
    """Lines with bands, one for each variant."""
    base = alt.Chart(rows).encode(x=x, color=_by_variant(results))
    bands = base.mark_area().encode(y=alt.Y("low:Q", title=title, scale=SHARE), y2="high:Q")
    lines = base.mark_line(clip=True).encode(y=alt.Y(f"{y}:Q", title=title, scale=SHARE), tooltip=list(rows.columns))
    return _one_at_a_time(results, lines.encode(strokeDash=_dashes(results)), bands=bands)


def _roc(results: StudyTables, model: str) -> Chart:
    rows = _of_model(results.curves["roc"], model)
    x = alt.X("fpr:Q", title="real faces called fake (false positive rate)", scale=SHARE)
    chart = alt.layer(_dashed([0, 1], [0, 1]), _curves(results, rows, x, "tpr", "fakes found (true positive rate)"))
    text = f"ROC curves of {model} for each variant, with {results.level} bands; the dashed diagonal is guessing."
    return Chart(f"roc_{model}", f"ROC of {model}", text, chart, rows, _tenths(rows, "fpr"))


def _precision_recall(results: StudyTables, model: str) -> Chart:
    rows = _of_model(results.curves["precision_recall"], model)
    x = alt.X("recall:Q", title="fakes found (recall)", scale=SHARE)
    chart = _curves(results, rows, x, "precision", "fakes among the faces called fake (precision)")
    text = f"Precision–recall curves of {model} for each variant, with {results.level} bands."
    name, title = f"precision_recall_{model}", f"Precision and recall of {model}"
    return Chart(name, title, text, chart, rows, _tenths(rows, "recall"))


def _tenths(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Every tenth point of a curve, for its table on the page."""
    return rows[(rows[column] * 10).round(6) % 1 == 0].reset_index(drop=True)


def _histogram(results: StudyTables, model: str, variant: str) -> Chart:
    rows = _of_model(results.curves["histogram"], model, ["label"])
    rows = rows[rows["variant"] == variant].drop(columns="variant").reset_index(drop=True)
    chart = (
        alt.Chart(rows)
        .mark_bar(opacity=0.6)
        .encode(
            x=alt.X("low:Q", title="p_fake", scale=SHARE, bin="binned"),
            x2="high:Q",
            y=alt.Y("share:Q", title="share of the faces of a class", stack=None, axis=alt.Axis(format="%")),
            color=_by_class(),
            tooltip=["label", "low", "high", alt.Tooltip("share", format=".1%")],
        )
    )
    text = f"Histogram of p_fake that {model} gives real and fake test faces on {variant}."
    return Chart(f"scores_{model}_{variant}", f"Scores of {model} on {variant}", text, chart, rows)


def _clips(results: StudyTables, model: str, variant: str) -> Chart:
    columns = ["video_id", "path", "label", "subset", "p_fake"]
    rows = results.clips.rename(columns={f"{model}.{variant}": "p_fake"})[columns]
    rows = rows[rows["p_fake"].notna() & (rows["subset"] == "test")].drop(columns="subset")
    rows = rows.sort_values("p_fake", kind="stable").reset_index(drop=True)
    chart = (
        alt.Chart(rows)
        .mark_tick(thickness=2)
        .encode(
            x=alt.X("p_fake:Q", title="mean p_fake of a clip", scale=SHARE),
            y=alt.Y("label:N", title=None, sort=list(CLASS_COLOURS)),
            color=_by_class(),
            tooltip=["video_id", "path", "label", alt.Tooltip("p_fake", format=".3f")],
        )
    )
    text = f"One mark per test clip at the mean p_fake that {model} gives its faces on {variant}; of several persons, "
    text += "the one with the highest mean counts."
    return Chart(f"clips_{model}_{variant}", f"Test clips, {model} on {variant}", text, chart, rows)


def _calibration(results: StudyTables, model: str) -> Chart:
    rows = _of_model(results.reliability, model)
    lines = (
        alt.Chart(rows)
        .mark_line(point=True)
        .encode(
            x=alt.X("mean_p_fake:Q", title="mean p_fake of a bin", scale=SHARE),
            y=alt.Y("fake_share:Q", title="share of fakes in the bin", scale=SHARE),
            color=_by_variant(results),
            strokeDash=_dashes(results),
            tooltip=list(rows.columns),
        )
    )
    text = f"Share of fakes against mean p_fake, in bins, for {model} on each variant; on the dashed diagonal, p_fake "
    text += "equals the share of fakes."
    chart = alt.layer(_dashed([0, 1], [0, 1]), _one_at_a_time(results, lines))
    return Chart(f"calibration_{model}", f"Calibration of {model}", text, chart, rows)


def _confusion(results: StudyTables, model: str) -> Chart:
    rows = _of_model(results.curves["confusion"], model, ["label", "predicted"])
    order = [f"{variant}, {name}" for variant in results.variants for name in CLASS_COLOURS]
    base = alt.Chart(rows.assign(row=rows["variant"] + ", " + rows["label"])).encode(
        x=alt.X("predicted:N", title="called", sort=list(CLASS_COLOURS), axis=alt.Axis(labelAngle=0)),
        y=alt.Y("row:N", title=None, sort=order),
    )
    shade = alt.Color("share:Q", title="share", scale=alt.Scale(domain=[0, 1], range=["#eef2f7", "#3b78b5"]))
    marks = base.mark_rect().encode(color=shade.legend(None), tooltip=list(rows.columns))
    ink = alt.condition(alt.datum.share > 0.6, alt.value("white"), alt.value("black"))
    words = base.mark_text().encode(text=alt.Text("share:Q", format=".0%"), color=ink)
    text = f"For {model}, how many of the real and of the fake faces are called real and fake, on each variant."
    return Chart(
        f"confusion_{model}", f"Confusion of {model} (threshold {THRESHOLD:g})", text, alt.layer(marks, words), rows
    )


def _training(results: StudyTables, model: str) -> Chart:
    rows = _of_model(results.curves["training"], model, ["training"])
    long = rows.melt(["variant", "training", "epoch"], ["loss", "validation_loss"], "subset", "cross-entropy")
    long = long.assign(subset=long["subset"].map({"loss": "training", "validation_loss": "validation"}))
    chart = (
        alt.Chart(long)
        .mark_line(strokeWidth=1)
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("cross-entropy:Q", title="cross-entropy", scale=alt.Scale(domain=[0, MAX_LOSS], clamp=True)),
            color=_by_variant(results),
            strokeDash=alt.StrokeDash("subset:N", title="faces").scale(range=[[1, 0], [4, 3]]),
            detail="training:N",
            tooltip=["variant", "training", "epoch", "subset", alt.Tooltip("cross-entropy", format=".3f")],
        )
    )
    text = f"Cross-entropy of every training of {model} by epoch, on training and validation faces, for each variant; "
    text += f"above {MAX_LOSS} it is drawn at {MAX_LOSS}."
    last = long[long["epoch"] == long.groupby(["variant", "training"])["epoch"].transform("max")]
    last = last.reset_index(drop=True)
    return Chart(f"training_{model}", f"Training of {model}", text, _one_at_a_time(results, chart, 0.8), long, last)


def _robustness(results: StudyTables, model: str) -> Chart:
    table = results.robustness
    table = table.assign(altered=[label(row.kind, row.severity) for row in table.itertuples()])
    rows = _of_model(table[["model", "variant", "altered", "auc", "auc_low", "auc_high"]], model, ["altered"])
    base = alt.Chart(rows).encode(
        y=alt.Y("altered:N", title=None, sort=None, axis=alt.Axis(labelLimit=LABELS)),
        yOffset=alt.YOffset("variant:N", sort=list(results.variants)),
        color=_by_variant(results),
        tooltip=list(rows.columns),
    )
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("auc_low:Q", title="AUC"), x2="auc_high:Q")
    points = base.mark_point(filled=True, size=60, opacity=1)
    points = points.encode(x=alt.X("auc:Q", title="AUC", scale=alt.Scale(zero=False)))
    text = f"AUC of {model} on altered test faces, with {results.level} intervals, for each variant."
    height = _height(rows["altered"].nunique(), len(results.variants))
    return Chart(f"robustness_{model}", f"Robustness of {model}", text, alt.layer(bars, points), rows, height=height)


def _height(rows: int, marks: int = 1) -> int:
    """Compute the height of a chart with `rows` labelled rows, each of which has `marks` marks, one above the other."""
    return max(HEIGHT, rows * max(ROW, marks * MARK))


def _contrasts(results: StudyTables) -> Chart:
    contrasts = results.contrasts[~results.contrasts["outcome"].isin(NO_RESULT)]
    rows = [
        f"{row.model}: {row.contrast}" + (" (under a shift)" if row.contrast == "sensitivity" else "")
        for row in contrasts.itertuples()
    ]
    about = [f"{row.second} − {row.first}" for row in contrasts.itertuples()]
    numbers = {name: pd.to_numeric(contrasts[name]) for name in ("difference", "low", "high")}
    table = pd.DataFrame({"row": rows, "difference of": about} | numbers).rename(columns={"difference": "value"})
    text = f"Planned contrasts: the difference of AUC between two variants with its {results.level} interval; "
    text += "for sensitivity, the difference of what a shift of the crop does to the AUC."
    if left := len(results.contrasts) - len(contrasts):
        text += f" Not shown: {left} where a model gives all faces the same score or is at chance."
    return _intervals("contrasts", "Planned contrasts", text, table, "difference of AUC", 0.0)


WITH_FACE = {"face": "the face itself", "with_face": "all, with the face"}
"""Regressions that see the face, and how the chart calls them."""


def _shortcuts(results: StudyTables) -> Chart:
    rows = results.shortcuts[results.shortcuts["measure"] == "auc"]
    first, last = rows["control"] == "without_face", rows["control"].isin(WITH_FACE)
    rows = pd.concat([rows[first], rows[~first & ~last], rows[last]]).reset_index(drop=True)
    names = rows["control"].replace({"without_face": "all, without the face"} | WITH_FACE).str.replace("_", " ")
    table = rows[["value", "low", "high"]]
    table.insert(0, "row", names)
    text = f"AUC of regressions on groups of cues, each with its {results.level} interval; .5 is guessing. The first "
    text += "one is the control; for comparison, the last ones see the face."
    return _intervals("shortcuts", "Without seeing the face", text, table, "AUC", 0.5)


def _intervals(name: str, title: str, text: str, table: pd.DataFrame, axis: str, zero: float) -> Chart:
    """A point and its interval for each row of the table (row, value, low, high), and a line at `zero`."""
    base = alt.Chart(table).encode(
        y=alt.Y("row:N", title=None, sort=None, axis=alt.Axis(labelLimit=LABELS)), tooltip=list(table.columns)
    )
    line = alt.Chart(pd.DataFrame({"value": [zero]})).mark_rule(strokeDash=[4, 4], color="#888").encode(x="value:Q")
    bars = base.mark_rule(strokeWidth=2, color=COLOURS[0]).encode(x=alt.X("low:Q", title=axis), x2="high:Q")
    points = base.mark_point(filled=True, size=70, opacity=1, color=COLOURS[0])
    points = points.encode(x=alt.X("value:Q", title=axis, scale=alt.Scale(zero=False)))
    return Chart(name, title, text, alt.layer(line, bars, points), table, height=_height(len(table)))


def _exclusions(results: StudyTables) -> Chart:
    table, parts = results.faces, []
    for label_ in CLASS_COLOURS:
        dropped, examined = (pd.to_numeric(table[f"{label_}_{name}"]) for name in ("dropped", "examined"))
        share = dropped / examined.clip(lower=1)
        parts.append(table[["reason"]].assign(label=label_, share=share))
    rows = pd.concat(parts, ignore_index=True)
    chart = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of the frames of a class", axis=alt.Axis(format="%")),
            y=alt.Y("reason:N", title=None),
            yOffset=alt.YOffset("label:N", sort=list(CLASS_COLOURS)),
            color=_by_class(),
            tooltip=["reason", "label", alt.Tooltip("share", format=".1%")],
        )
    )
    text = "Share of frames without a usable face, by reason and class."
    return Chart("exclusions", "Frames without a usable face", text, chart, rows)
