"""The charts of the report, as Vega-Lite: one colour per variant, in every chart the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

alt.data_transformers.disable_max_rows()  # the losses of many trainings have more than altair's 5,000
WIDTH, HEIGHT = 420, 260
"""Of a drawn picture, pixels; on the page a chart is as wide as its column."""
COLOURS = ("#3b78b5", "#d8731a", "#2f9d74", "#b04fa3", "#8c7a00", "#d1495b", "#5f6b7a", "#008ea8")
"""Of the variants, in their order; readable on white and on black, told apart by colour-blind readers."""
CLASS_COLOURS = {"real": "#3b78b5", "fake": "#d1495b"}


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
        What is drawn, for the table beside it.
    """

    name: str
    title: str
    text: str
    chart: Any
    table: pd.DataFrame

    def spec(self, width: int | str = "container", subtitle: str = "") -> dict[str, Any]:
        """Write the chart as Vega-Lite.

        Parameters
        ----------
        width : int or str
            Pixels, or "container" for the width of the page's column.
        subtitle : str
            A note under the title.

        Returns
        -------
        dict
            JSON values only.
        """
        spec = self.chart.properties(width=width, height=HEIGHT).to_dict()
        spec["title"] = {"text": self.title} | ({"subtitle": subtitle} if subtitle else {})
        spec["description"] = self.text
        return dict(spec)


def _numbers(table: pd.DataFrame, texts: Sequence[str]) -> pd.DataFrame:
    """Turn the text cells of all other columns into numbers; an empty cell is NaN."""
    return table.assign(**{name: pd.to_numeric(table[name]) for name in table.columns if name not in texts})


def _by_variant(variants: Sequence[str]) -> alt.Color:
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(variants))]
    colour = alt.Color("variant:N", title="variant", sort=list(variants))
    return colour.scale(domain=list(variants), range=colours).legend(symbolOpacity=1)


def _legend_choice() -> alt.Parameter:
    """A click on a name in the legend leaves only its marks."""
    return alt.selection_point(fields=["variant"], bind="legend")


def _curve(table: pd.DataFrame, variants: Sequence[str], x: alt.X, y: str, title: str) -> Any:
    """Lines with bands, one for each variant."""
    chosen = _legend_choice()
    shown = alt.condition(chosen, alt.value(1.0), alt.value(0.08))
    base = alt.Chart(table).encode(x=x, color=_by_variant(variants))
    share = alt.Scale(domain=[0, 1])
    ends = base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", title=title, scale=share), y2="high:Q")
    line = base.mark_line(clip=True).encode(y=alt.Y(f"{y}:Q", title=title, scale=share), opacity=shown)
    line = line.encode(tooltip=list(table.columns)).add_params(chosen)
    return ends, line


def roc(model: str, table: pd.DataFrame, variants: Sequence[str]) -> Chart:
    """Draw the ROC curves of a model.

    Parameters
    ----------
    model : str
    table : DataFrame
        metrics/curves/roc.csv as text cells.
    variants : sequence of str
        In the order of their colours.

    Returns
    -------
    Chart
    """
    rows = _numbers(table[table["model"] == model].drop(columns="model"), ["variant"])
    share = alt.Scale(domain=[0, 1])
    x = alt.X("fpr:Q", title="real faces called fake (false positive rate)", scale=share)
    ends, line = _curve(rows, variants, x, "tpr", "fakes found (true positive rate)")
    chance = alt.Chart(pd.DataFrame({"fpr": [0, 1], "tpr": [0, 1]})).mark_line(strokeDash=[4, 4], color="#888")
    text = f"ROC curves of {model} for each variant, with 95 % bands; the dashed diagonal is guessing."
    return Chart(
        f"roc_{model}",
        f"ROC of {model}",
        text,
        alt.layer(chance.encode(x="fpr:Q", y="tpr:Q"), ends, line),
        _tenths(rows, "fpr"),
    )


def precision_recall(model: str, table: pd.DataFrame, variants: Sequence[str]) -> Chart:
    """Draw the precision-recall curves of a model.

    Parameters
    ----------
    model : str
    table : DataFrame
        metrics/curves/precision_recall.csv as text cells.
    variants : sequence of str
        In the order of their colours.

    Returns
    -------
    Chart
    """
    rows = _numbers(table[table["model"] == model].drop(columns="model"), ["variant"])
    share = alt.Scale(domain=[0, 1])
    x = alt.X("recall:Q", title="fakes found (recall)", scale=share)
    ends, line = _curve(rows, variants, x, "precision", "of the faces called fake, fakes (precision)")
    text = f"Precision-recall curves of {model} for each variant, with 95 % bands."
    return Chart(
        f"precision_recall_{model}",
        f"Precision and recall of {model}",
        text,
        alt.layer(ends, line),
        _tenths(rows, "recall"),
    )


def _tenths(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Every tenth point of a curve, for its table."""
    return rows[(rows[column] * 10).round(6) % 1 == 0].reset_index(drop=True)


def histogram(model: str, variant: str, table: pd.DataFrame) -> Chart:
    """Draw the distribution of p_fake by class.

    Parameters
    ----------
    model : str
    variant : str
    table : DataFrame
        metrics/curves/histogram.csv as text cells.

    Returns
    -------
    Chart
    """
    chosen = (table["model"] == model) & (table["variant"] == variant)
    rows = _numbers(table[chosen].drop(columns=["model", "variant"]), ["label"])
    chart = (
        alt.Chart(rows)
        .mark_bar(opacity=0.6)
        .encode(
            x=alt.X("low:Q", title="p_fake", scale=alt.Scale(domain=[0, 1]), bin="binned"),
            x2="high:Q",
            y=alt.Y("share:Q", title="share of the faces of a class", stack=None, axis=alt.Axis(format="%")),
            color=_by_class(),
            tooltip=["label", "low", "high", alt.Tooltip("share", format=".1%")],
        )
    )
    text = f"Histogram of p_fake that {model} gives real and fake test faces on {variant}."
    return Chart(f"scores_{model}_{variant}", f"Scores of {model} on {variant}", text, chart, rows)


def _by_class() -> alt.Color:
    return alt.Color("label:N", title="class").scale(domain=list(CLASS_COLOURS), range=list(CLASS_COLOURS.values()))


def clips(model: str, variant: str, table: pd.DataFrame) -> Chart:
    """Draw the mean p_fake of each test clip.

    Parameters
    ----------
    model : str
    variant : str
    table : DataFrame
        data/clips.csv.

    Returns
    -------
    Chart
    """
    rows = table.rename(columns={f"{model}.{variant}": "p_fake"})[["video_id", "path", "label", "subset", "p_fake"]]
    rows = rows[rows["p_fake"].notna() & (rows["subset"] == "test")]
    rows = rows.assign(p_fake=pd.to_numeric(rows["p_fake"])).sort_values("p_fake").reset_index(drop=True)
    chart = (
        alt.Chart(rows)
        .mark_tick(thickness=2)
        .encode(
            x=alt.X("p_fake:Q", title="mean p_fake of a clip", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("label:N", title=None, sort=["real", "fake"]),
            color=_by_class(),
            tooltip=["video_id", "path", "label", alt.Tooltip("p_fake", format=".3f")],
        )
    )
    text = f"One mark per test clip at the mean p_fake that {model} gives its faces on {variant}."
    return Chart(
        f"clips_{model}_{variant}", f"Test clips, {model} on {variant}", text, chart, rows.drop(columns="subset")
    )


def calibration(model: str, table: pd.DataFrame, variants: Sequence[str]) -> Chart:
    """Draw the reliability curves of a model.

    Parameters
    ----------
    model : str
    table : DataFrame
        metrics/reliability.csv as text cells.
    variants : sequence of str
        In the order of their colours.

    Returns
    -------
    Chart
    """
    rows = _numbers(table[table["model"] == model].drop(columns="model"), ["variant"])
    chosen, share = _legend_choice(), alt.Scale(domain=[0, 1])
    points = (
        alt.Chart(rows)
        .mark_line(point=True)
        .encode(
            x=alt.X("mean_p_fake:Q", title="mean p_fake of a bin", scale=share),
            y=alt.Y("fake_share:Q", title="share of fakes in the bin", scale=share),
            color=_by_variant(variants),
            opacity=alt.condition(chosen, alt.value(1.0), alt.value(0.08)),
            tooltip=list(rows.columns),
        )
        .add_params(chosen)
    )
    ideal = alt.Chart(pd.DataFrame({"mean_p_fake": [0, 1], "fake_share": [0, 1]}))
    ideal = ideal.mark_line(strokeDash=[4, 4], color="#888").encode(x="mean_p_fake:Q", y="fake_share:Q")
    text = f"Share of fakes against mean p_fake in ten bins, for {model} on each variant; on the diagonal, p_fake is a "
    return Chart(
        f"calibration_{model}", f"Calibration of {model}", text + "probability.", alt.layer(ideal, points), rows
    )


def confusion(model: str, table: pd.DataFrame, variants: Sequence[str]) -> Chart:
    """Draw the confusion matrices of a model.

    Parameters
    ----------
    model : str
    table : DataFrame
        metrics/curves/confusion.csv as text cells.
    variants : sequence of str
        In the order of their colours.

    Returns
    -------
    Chart
    """
    rows = _numbers(table[table["model"] == model].drop(columns="model"), ["variant", "label", "predicted"])
    rows = rows.assign(row=rows["variant"] + ", " + rows["label"])
    order = [f"{variant}, {label}" for variant in variants for label in CLASS_COLOURS]
    base = alt.Chart(rows).encode(
        x=alt.X("predicted:N", title="called", sort=list(CLASS_COLOURS), axis=alt.Axis(labelAngle=0)),
        y=alt.Y("row:N", title=None, sort=order),
    )
    shade = alt.Color("share:Q", title="share", scale=alt.Scale(domain=[0, 1], range=["#eef2f7", "#3b78b5"]))
    dark = alt.condition(alt.datum.share > 0.6, alt.value("white"), alt.value("black"))
    marks = base.mark_rect().encode(
        color=shade.legend(None), tooltip=["variant", "label", "predicted", "faces", "share"]
    )
    words = base.mark_text().encode(text=alt.Text("share:Q", format=".0%"), color=dark)
    text = f"For {model}, how many of the real and of the fake faces are called real and fake, on each variant."
    return Chart(
        f"confusion_{model}",
        f"Confusion of {model} (threshold .5)",
        text,
        alt.layer(marks, words),
        rows.drop(columns="row"),
    )


def intervals(name: str, title: str, text: str, table: pd.DataFrame, axis: str, zero: float = 0.0) -> Chart:
    """Draw values with their intervals, one row each, and a line at the value of no difference.

    Parameters
    ----------
    name, title, text : str
        As in `Chart`.
    table : DataFrame
        Columns row (text), value, low, high; NaN without an interval.
    axis : str
        Title of the axis, with the unit.
    zero : float
        Where the line is drawn.

    Returns
    -------
    Chart
    """
    base = alt.Chart(table).encode(
        y=alt.Y("row:N", title=None, sort=None, axis=alt.Axis(labelLimit=260)), tooltip=list(table.columns)
    )
    line = alt.Chart(pd.DataFrame({"value": [zero]})).mark_rule(strokeDash=[4, 4], color="#888").encode(x="value:Q")
    bars = base.mark_rule(strokeWidth=2, color=COLOURS[0]).encode(x=alt.X("low:Q", title=axis), x2="high:Q")
    points = base.mark_point(filled=True, size=70, opacity=1, color=COLOURS[0])
    points = points.encode(x=alt.X("value:Q", title=axis, scale=alt.Scale(zero=False)))
    return Chart(name, title, text, alt.layer(line, bars, points), table)


def differences(contrasts: pd.DataFrame) -> Chart:
    """Draw the planned contrasts.

    Parameters
    ----------
    contrasts : DataFrame
        metrics/contrasts.csv as text cells.

    Returns
    -------
    Chart
    """
    table = pd.DataFrame(
        {
            "row": [f"{row.model}: {row.second} − {row.first} ({row.contrast})" for row in contrasts.itertuples()],
            "value": pd.to_numeric(contrasts["difference"]),
            "low": pd.to_numeric(contrasts["low"]),
            "high": pd.to_numeric(contrasts["high"]),
        }
    )
    text = "Planned contrasts: the difference of AUC of each pair of variants with its 95 % interval."
    return intervals("contrasts", "Differences of AUC", text, table, "difference of AUC")


def shortcuts(table: pd.DataFrame) -> Chart:
    """Draw the AUCs of the shortcut audit.

    Parameters
    ----------
    table : DataFrame
        metrics/shortcuts.csv.

    Returns
    -------
    Chart
    """
    rows = table[table["measure"] == "auc"]
    found = pd.DataFrame(
        {"row": rows["control"].str.replace("_", " "), **{k: rows[k] for k in ("value", "low", "high")}}
    )
    text = "AUC with which cues other than the face tell the classes apart, with 95 % intervals; .5 is guessing."
    return intervals("shortcuts", "Without seeing the face", text, found.reset_index(drop=True), "AUC", zero=0.5)


def exclusions(table: pd.DataFrame) -> Chart:
    """Draw the share of frames without a usable face, by reason and class.

    Parameters
    ----------
    table : DataFrame
        metrics/faces.csv.

    Returns
    -------
    Chart
    """
    parts = [
        table[["reason"]].assign(
            label=label, share=table[f"{label}_dropped"] / table[f"{label}_examined"].clip(lower=1)
        )
        for label in CLASS_COLOURS
    ]
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
    return Chart(
        "exclusions",
        "Frames without a usable face",
        "Share of frames that gave no face, by reason and class.",
        chart,
        rows,
    )


def robustness(model: str, table: pd.DataFrame, variants: Sequence[str], labels: Sequence[str]) -> Chart:
    """Draw the AUC of a model on altered test faces.

    Parameters
    ----------
    model : str
    table : DataFrame
        metrics/robustness.csv as text cells.
    variants : sequence of str
        In the order of their colours.
    labels : sequence of str
        What each row of the table is, in words.

    Returns
    -------
    Chart
    """
    chosen = (table["model"] == model).to_numpy()
    rows = table[chosen].assign(altered=[label for label, keep in zip(labels, chosen, strict=True) if keep])
    rows = _numbers(rows[["variant", "altered", "auc", "auc_low", "auc_high"]], ["variant", "altered"])
    base = alt.Chart(rows).encode(
        y=alt.Y("altered:N", title=None, sort=None, axis=alt.Axis(labelLimit=220)),
        yOffset=alt.YOffset("variant:N", sort=list(variants)),
        color=_by_variant(variants),
        tooltip=list(rows.columns),
    )
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("auc_low:Q", title="AUC"), x2="auc_high:Q")
    points = base.mark_point(filled=True, size=60, opacity=1)
    points = points.encode(x=alt.X("auc:Q", title="AUC", scale=alt.Scale(zero=False)))
    text = f"AUC of {model} on altered test faces, with 95 % intervals, for each variant."
    return Chart(f"robustness_{model}", f"Robustness of {model}", text, alt.layer(bars, points), rows)


def training(model: str, table: pd.DataFrame, variants: Sequence[str]) -> Chart:
    """Draw the losses of all trainings of a model.

    Parameters
    ----------
    model : str
    table : DataFrame
        metrics/curves/training.csv as text cells.
    variants : sequence of str

    Returns
    -------
    Chart
    """
    rows = _numbers(table[table["model"] == model].drop(columns="model"), ["variant", "training"])
    long = rows.melt(["variant", "training", "epoch"], ["loss", "validation_loss"], "subset", "cross-entropy")
    long = long.assign(subset=long["subset"].map({"loss": "training", "validation_loss": "validation"}))
    chosen = _legend_choice()
    chart = (
        alt.Chart(long)
        .mark_line(strokeWidth=1, clip=True)
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("cross-entropy:Q", title="cross-entropy", scale=alt.Scale(domain=[0, 1.2])),
            color=_by_variant(variants),
            strokeDash=alt.StrokeDash("subset:N", title="faces").scale(range=[[1, 0], [4, 3]]),
            detail="training:N",
            opacity=alt.condition(chosen, alt.value(0.8), alt.value(0.05)),
            tooltip=["variant", "training", "epoch", "subset", alt.Tooltip("cross-entropy", format=".3f")],
        )
        .add_params(chosen)
    )
    text = f"Cross-entropy of every training of {model} by epoch, on training and validation faces, for each variant."
    last = long[long["epoch"] == long.groupby(["variant", "training"])["epoch"].transform("max")]
    return Chart(f"training_{model}", f"Training of {model}", text, chart, last.reset_index(drop=True))
