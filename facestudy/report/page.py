"""The results of a study as one HTML page that needs no network: the text of `markdown`, with charts."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from facestudy.evaluation.scores import furthest_wrong
from facestudy.media.inline import Inline
from facestudy.report.charts import NO_RESULT, WIDTH, Chart

VEGALITE = "6.4"
"""The version of Vega-Lite that draws the charts."""
EXPORTED = "window.vegaEmbed = vegaEmbed;"
QUESTION = (
    "Do CNN detectors of deepfakes do better when a face is cropped to the eyes and the lower face (mouth to chin) "
    "than on the whole face?"
)
FONT = "Liberation Sans, Arial, sans-serif"
"""Of the figures in files. vl-convert carries the first one."""
JPEG_QUALITY = 88
MAX_WIDTH = 800
RUN = "<!-- run -->"
"""The mark that `with_run` replaces."""


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes
    ----------
    title : str
    html : Markup
        Its text.
    charts : sequence of Chart
    pictures : sequence of Inline
    """

    title: str
    html: Markup
    charts: Sequence[Chart] = ()
    pictures: Sequence[Inline] = ()

    @property
    def key(self) -> str:
        """The anchor of the section."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


WRONG = "Most confidently wrong clips"
ORDER = (
    "Summary",
    "Accuracy, %",
    "AUC",
    "Planned contrasts",
    "What the models see",
    "ROC",
    "Precision and recall",
    "Scores",
    "Scores of each clip",
    WRONG,
    "Training and validation",
    "Confusion",
    "Thresholds and calibration",
    "Without seeing the face",
    "The earlier study's claim and its reasons",
    "Which parts the models rely on",
    "Robustness",
    "Clips",
    "Excluded frames",
    "Models",
    "How to read the tables",
)
"""The titles of the sections in the order of the page."""
FIRST_TWO = Markup("<p>On the first two variants.</p>")
AFTER_AUC = "Planned contrasts"
"""Sections of the text that ORDER does not list, such as "Difference from full", stand before this one."""


def answer(contrasts: pd.DataFrame, hypotheses: pd.DataFrame, level: str = "95 %") -> list[str]:
    """Answer the study's question in two sentences, from the verdicts and the contrast `crop`.

    Parameters
    ----------
    contrasts, hypotheses : DataFrame of str
        metrics/contrasts.csv and metrics/hypotheses.csv.
    level : str
        Of the intervals.

    Returns
    -------
    list of str

    Examples
    --------
    >>> contrasts = pd.DataFrame([["meso", "crop", "full", "eyes_lower", "0.07", "0.01", "0.13", "greater"]],
    ...     columns=["model", "contrast", "first", "second", "difference", "low", "high", "outcome"])
    >>> hypotheses = pd.DataFrame([["meso", "cropped_is_worse", "contradicted"]],
    ...     columns=["model", "hypothesis", "verdict"])
    >>> answer(contrasts, hypotheses)[0]
    'The claim that detectors do worse on cropped faces is contradicted for meso.'
    >>> answer(contrasts, hypotheses)[1]
    'AUC on eyes_lower minus AUC on full, with its 95 % interval: +0.070 [+0.010, +0.130] for meso.'
    """
    claim = hypotheses[hypotheses["hypothesis"] == "cropped_is_worse"]
    by_verdict = [
        f"{verdict.replace('_', ' ')} for {', '.join(rows['model'])}"
        for verdict, rows in claim.groupby("verdict", sort=False)
    ]
    sentences = (
        [f"The claim that detectors do worse on cropped faces is {'; '.join(by_verdict)}."] if by_verdict else []
    )
    rows = contrasts[contrasts["contrast"] == "crop"]
    if len(rows):
        parts = []
        for row in rows.itertuples():
            interval = f" [{float(row.low):+.3f}, {float(row.high):+.3f}]" if row.low else ""
            number = f"{float(row.difference):+.3f}{interval}" if row.outcome not in NO_RESULT else WORDS[row.outcome]
            parts.append(f"{number} for {row.model}")
        first, among = rows.iloc[0], f", with its {level} interval" if (rows["low"] != "").any() else ""
        sentences.append(f"AUC on {first['second']} minus AUC on {first['first']}{among}: {', '.join(parts)}.")
    return sentences or ["This study does not compare a crop with the whole face."]


WORDS = {"broken": "no result (all faces get the same score)", "chance": "no result (both are at chance)"}
"""The text that replaces a number in the answer, by the outcome of the contrast."""


def most_wrong(models: Sequence[str], variants: Sequence[str], clips: pd.DataFrame, count: int = 3) -> pd.DataFrame:
    """List the test clips whose mean p_fake is furthest on the wrong side.

    Parameters
    ----------
    models, variants : sequence of str
    clips : DataFrame
        data/clips.csv.
    count : int
        How many for each model, variant and class, at most.

    Returns
    -------
    DataFrame of str
        Columns model, variant, clip, file, label, p_fake; the furthest first.

    Examples
    --------
    >>> clips = pd.DataFrame({"video_id": ["a", "b"], "path": ["a.mp4", "b.mp4"], "label": ["real", "fake"],
    ...     "subset": "test", "meso.full": [0.75, 0.75]})
    >>> most_wrong(["meso"], ["full"], clips).to_numpy().tolist()
    [['meso', 'full', 'a', 'a.mp4', 'real', '0.750']]
    """
    rows = []
    tested = clips[clips["subset"] == "test"]
    for model in models:
        for variant in variants:
            scored = tested.assign(p_fake=tested[f"{model}.{variant}"])
            for row in furthest_wrong(scored).groupby("label", sort=False).head(count).itertuples():
                rows.append((model, variant, row.video_id, row.path, row.label, f"{row.p_fake:.3f}"))
    return pd.DataFrame(rows, columns=["model", "variant", "clip", "file", "label", "p_fake"])


def page(
    text: str,
    *,
    note: str,
    charts: Mapping[str, Sequence[Chart]],
    sentences: Sequence[str],
    pictures: Sequence[Inline],
    wrong: pd.DataFrame,
    mistakes: Sequence[Inline],
    settings: str,
    provenance: pd.DataFrame,
    scripts: str,
) -> str:
    """Write the page.

    Parameters
    ----------
    text : str
        What `facestudy.report.markdown.results_markdown` wrote.
    note : str
        What must stand on every chart, see `facestudy.report.labels.label`.
    charts : mapping of str to sequence of Chart
        As `facestudy.report.charts.all_charts` returns them.
    sentences : sequence of str
        The answer.
    pictures : sequence of Inline
        Crops of each variant.
    wrong : DataFrame of str
        As `most_wrong` returns it.
    mistakes : sequence of Inline
        Faces that are most wrong, with their attribution.
    settings : str
        Sections of params.yaml.
    provenance : DataFrame of str
        What the page was made from.
    scripts : str
        As `vega_scripts` returns them; collecting them takes seconds.

    Returns
    -------
    str
        HTML that loads nothing.
    """
    written = {title: Markup(_html(title, lines)) for title, lines in _sections(text).items()}
    written["Scores of each clip"] = FIRST_TWO
    if len(wrong):
        written[WRONG] = FIRST_TWO + Markup(_table(wrong, WRONG))
    place = ORDER.index(AFTER_AUC)
    titles = [*ORDER[:place], *(title for title in written if title not in ORDER), *ORDER[place:]]
    sections = [
        Section(
            title,
            written.get(title, Markup()),
            charts.get(title, ()),
            {"What the models see": pictures, WRONG: mistakes}.get(title, ()),
        )
        for title in titles
    ]
    origin = Markup("{}" + RUN + "<details><summary>Settings</summary><pre tabindex='0'>{}</pre></details>").format(
        Markup(_table(provenance, "Provenance")), settings
    )
    sections = [one for one in sections if one.html or one.charts or one.pictures] + [Section("Provenance", origin)]
    specs = {chart.name: chart.spec(subtitle=note) for one in sections for chart in one.charts}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html").render(
        title="Whole face or eyes and lower face",
        question=QUESTION,
        label=note,
        answer=sentences,
        sections=[
            {
                "key": one.key,
                "title": one.title,
                "html": one.html,
                "pictures": one.pictures,
                "charts": [_shown_table(chart) for chart in one.charts],
            }
            for one in sections
        ],
        scripts=Markup(scripts),
        specs=Markup(json.dumps(specs, ensure_ascii=True).replace("<", "\\u003c")),
        footer="Charts of lines: the menu below shows one variant alone. The menu in the corner saves a chart.",
    )


def with_run(html: str, run: pd.DataFrame, stages: pd.DataFrame) -> str:
    """Add the revision, settings, machine and times of a run to the last section of the page.

    Parameters
    ----------
    html : str
        As `page` returns it.
    run : DataFrame of str
        The revision, the machine, the settings.
    stages : DataFrame of str
        What each stage took.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the page was not written by `page`.
    """
    before, mark, after = html.rpartition(RUN)
    if not mark:
        raise ValueError("the page has no place for a run")
    heading = Markup("<h3>{}</h3>")
    parts = [heading.format("Revision and settings"), _table(run, "Run"), heading.format("Seconds by stage")]
    return "".join([before, *parts, _table(stages, "Seconds by stage"), after])


def vega_scripts() -> str:
    """The scripts of Vega, Vega-Lite and Vega-Embed, safe inside a script element; they define `vegaEmbed`."""
    return str(vl_convert.javascript_bundle(EXPORTED, vl_version=VEGALITE)).replace("</script", "<\\/script")


def _sections(text: str) -> dict[str, str]:
    """Split a Markdown page at its headings; what stands before the first one is the summary."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    summary = re.sub(r"^# .+\n", "", parts[0])
    return {"Summary": summary} | dict(zip(parts[1::2], parts[2::2], strict=True))


def _html(title: str, text: str) -> str:
    """Render the Markdown of a section, in which HTML stays text; its tables scroll sideways."""
    html = str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))
    html = re.sub(r"<pre>", '<pre tabindex="0">', html)
    number = iter(range(1, 1000))

    def scrolling(found: re.Match[str]) -> str:
        name = escape(f"{title}: table {next(number)}")
        return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{found[0]}</div>'

    return re.sub(r"<table>(.*?)</table>", scrolling, html, flags=re.DOTALL)


def _table(table: pd.DataFrame, name: str) -> str:
    head = Markup("").join(Markup("<th scope='col'>{}</th>").format(name) for name in table.columns)
    rows = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row))
        for row in table.to_numpy()
    )
    inner = Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, rows)
    scrolling = Markup("<div class='scroll' tabindex='0' role='region' aria-label='{}: table'>{}</div>")
    return str(scrolling.format(name, inner))


def _shown_table(chart: Chart) -> dict[str, Any]:
    table = chart.table if chart.shown is None else chart.shown
    rows = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in _cells(table)]
    shown = {"name": chart.name, "title": chart.title, "text": chart.description}
    return shown | {"columns": list(table.columns), "rows": rows}


def _cells(table: pd.DataFrame) -> list[list[Any]]:
    return [
        ["" if isinstance(cell, float) and np.isnan(cell) else cell for cell in row] for row in table.to_numpy(object)
    ]


def write_figures(folder: Path, found: Mapping[str, Sequence[Chart]], note: str) -> int:
    """Write every chart as SVG and PNG, its numbers as CSV, and its table on the page as LaTeX.

    The files are the same whatever fonts the machine has.

    Parameters
    ----------
    folder : Path
    found : mapping of str to sequence of Chart
        As `facestudy.report.charts.all_charts` returns them.
    note : str
        A line under the titles.

    Returns
    -------
    int
        The number of charts.
    """
    listed = [chart for part in found.values() for chart in part]
    with _own_fonts():
        for chart in listed:
            spec = chart.spec(WIDTH, note)
            spec["config"] = {**spec.get("config", {}), "font": FONT}
            svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGALITE)
            (folder / f"{chart.name}.svg").write_text(svg, encoding="utf-8")
            (folder / f"{chart.name}.png").write_bytes(vl_convert.svg_to_png(svg, scale=2))
            chart.table.to_csv(folder / f"{chart.name}.csv", index=False, encoding="utf-8", lineterminator="\n")
            (folder / f"{chart.name}.tex").write_text(_latex(chart), encoding="utf-8")
    return len(listed)


@contextmanager
def _own_fonts() -> Iterator[None]:
    """Let vl-convert find the fonts that it carries, and none of the machine's.

    It looks for fonts once in a process, when it draws first, in the folders that this file names.
    """
    with tempfile.TemporaryDirectory() as empty:
        path, before = Path(empty) / "fonts.conf", os.environ.get("FONTCONFIG_FILE")
        path.write_text(f"<fontconfig><dir>{escape(empty)}</dir></fontconfig>", encoding="utf-8")
        os.environ["FONTCONFIG_FILE"] = str(path)
        try:
            yield
        finally:
            os.environ.pop("FONTCONFIG_FILE")
            if before is not None:
                os.environ["FONTCONFIG_FILE"] = before


def _latex(chart: Chart) -> str:
    """The table of a chart as a LaTeX tabular, with every special character escaped."""
    shown = _shown_table(chart)
    body = [" & ".join(map(_latex_text, row)) + r" \\" for row in (shown["columns"], *shown["rows"])]
    form = "".join("r" if pd.api.types.is_numeric_dtype(chart.table[name]) else "l" for name in shown["columns"])
    return "\n".join(
        [rf"\begin{{tabular}}{{{form}}}", r"\hline", body[0], r"\hline", *body[1:], r"\hline", r"\end{tabular}", ""]
    )


def _latex_text(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$"}
    special |= {character: "\\" + character for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)
