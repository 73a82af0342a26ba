"""The report as a page: every section and chart, hostile names stay text, the figures as files."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from facestudy.attribution.findings import MISTAKES
from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.dataset.split import SplitSettings
from facestudy.media.archive import write_picture
from facestudy.media.inline import inline
from facestudy.report import page
from facestudy.report.charts import Chart, StudyTables, all_charts
from facestudy.report.labels import label
from stages import page as stage
from tests.conftest import absent
from tests.pipeline_files import ROOT
from tests.project import environment_for, params

HOSTILE = "</script><img src=x onerror=alert(1)>"
MODELS, VARIANTS = ["meso", "vgg"], ["full", "eyes_lower"]


CONTRASTS = pd.DataFrame(
    [(model, "crop", "full", "eyes_lower", "0.1", "0.02", "0.18", "greater") for model in MODELS],
    columns=["model", "contrast", "first", "second", "difference", "low", "high", "outcome"],
)
HYPOTHESES = pd.DataFrame(
    [("meso", "cropped_is_worse", "contradicted"), ("vgg", "cropped_is_worse", "not_tested")],
    columns=["model", "hypothesis", "verdict"],
)


def results(clip: str = "a.mp4", confidence: float = 0.95) -> StudyTables:
    """Made-up tables of two models and two variants."""
    cells = [(model, variant) for model in MODELS for variant in VARIANTS]

    def table(columns: str, *rows: tuple[str, ...]) -> pd.DataFrame:
        """The rows for each cell, behind the columns model and variant."""
        return pd.DataFrame(
            [(*cell, *row) for cell in cells for row in rows], columns=f"model variant {columns}".split()
        )

    grid = [f"{x / 10:.4f}" for x in range(11)]
    classes = ("real", "fake")
    clips = {"video_id": ["a"], "path": [clip], "label": ["fake"], "subset": ["test"]}
    return StudyTables(
        MODELS,
        VARIANTS,
        confidence,
        {
            "roc": table("fpr tpr low high", *((x, "0.5", "0.4", "0.6") for x in grid)),
            "precision_recall": table("recall precision low high", *((x, "0.5", "0.4", "0.6") for x in grid)),
            "histogram": table("label low high share", *((name, "0.00", "0.50", "0.25") for name in classes)),
            "confusion": table(
                "label predicted faces share", *((a, b, "5.0", "0.5") for a in classes for b in classes)
            ),
            "training": table("training epoch loss validation_loss", *(("1", epoch, "0.5", "") for epoch in "12")),
        },
        table("low high scores mean_p_fake fake_share", ("0.0", "0.1", "9", "0.05", "0.1")),
        CONTRASTS,
        table(
            "kind severity auc auc_low auc_high",
            *((*one, "0.9", "0.8", "") for one in (("none", ""), ("shift", "4"), ("composite", "other_frame"))),
        ),
        pd.DataFrame(
            [("no_face", "1", "9", "0", "0")],
            columns=["reason", "real_dropped", "real_examined", "fake_dropped", "fake_examined"],
        ),
        pd.DataFrame({"control": ["with_face"], "measure": ["auc"], "value": [0.6], "low": [0.5], "high": [0.7]}),
        pd.DataFrame(clips | {f"{model}.{variant}": [0.25] for model, variant in cells}),
        {"meso": ["eyes_lower"], "vgg": []},
    )


def found(clip: str = "a.mp4") -> dict[str, list[Chart]]:
    return all_charts(results(clip))


def written(clip: str = "a.mp4", text: str = "# Results\n\nintro\n\n## AUC\n\n| a |\n|---|\n| 1 |\n") -> str:
    return page.page(
        text,
        note=label("sample", trial=False),
        charts=found(clip),
        sentences=page.answer(CONTRASTS, HYPOTHESES),
        pictures=[inline("Faces.", np.zeros((8, 6, 3), np.uint8), page.JPEG_QUALITY)],
        wrong=page.most_wrong(MODELS, VARIANTS, results(clip).clips),
        mistakes=[inline(f"A face of {clip}.", np.zeros((8, 6, 3), np.uint8))],
        settings=f"a: {clip}\n",
        provenance=pd.DataFrame({"what": [clip], "value": ["1"]}),
        scripts=page.vega_scripts(),
    )


class Elements(HTMLParser):
    """The start tags of a page, and the ids they have."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.sources += [value for name, value in attrs if name in ("src", "href") and value]


@pytest.fixture(scope="module")
def html() -> str:
    return written()


def test_every_chart_has_a_place_and_a_specification(html: str) -> None:
    parsed = Elements(html)
    text = re.search(r'<script type="application/json" id="specs">(.*?)</script>', html, re.DOTALL)
    assert text
    specs = json.loads(text[1])
    names = [chart.name for part in found().values() for chart in part]
    assert list(specs) != []
    assert set(specs) == set(names)
    assert len(names) == len(set(names))
    assert {f"chart-{name}" for name in names} <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))


def test_the_page_loads_nothing(html: str) -> None:
    inside = ("#", "data:image/jpeg;base64,", "data:image/png;base64,")
    assert all(source.startswith(inside) for source in Elements(html).sources)
    assert len(html) < 5_000_000


def test_links_lead_to_sections(html: str) -> None:
    parsed = Elements(html)
    assert {source[1:] for source in parsed.sources if source.startswith("#")} <= set(parsed.ids)


def test_all_text_of_the_markdown_is_there() -> None:
    html = written(text="# Results\n\nintro words\n\n## AUC\n\nauc words\n\n## A new section\n\nnew words\n")
    for words in ("intro words", "auc words", "A new section", "new words"):
        assert words in html


def test_names_from_outside_stay_text() -> None:
    html = written(HOSTILE, text=f"# Results\n\n{HOSTILE}\n\n## Clips\n\n    {HOSTILE}\n")
    assert HOSTILE not in html
    assert Elements(html).tags.count("img") == 2  # the contact sheet, a wrong face
    assert Elements(html).tags.count("script") == 3


def test_the_label_is_on_every_chart_and_picture(html: str) -> None:
    words = label("sample", trial=False)
    charts_and_pictures = sum(map(len, found().values())) + 2
    assert html.count(words) >= charts_and_pictures + 1


@pytest.mark.parametrize(
    ("source", "trial", "words"), [("folder", False, ""), ("folder", True, "Trial"), ("sample", True, "Trial")]
)
def test_labels(source: str, trial: bool, words: str) -> None:
    assert words in label(source, trial)
    assert bool(label(source, trial)) == bool(words)
    split = SplitSettings(**params()["split"] | {"unit": "face", "labels": "shuffled"})
    assert split.control() == "Control: faces of one person are on both sides of the split and the labels are shuffled."
    assert split.control() in label(source, trial, split.control())


def test_a_study_without_seeds_or_alterations_has_a_page() -> None:
    made = results()
    contrasts = CONTRASTS.assign(low="", high="")
    unaltered = made.robustness[made.robustness["kind"] == "none"]
    found = all_charts(replace(made, contrasts=contrasts, robustness=unaltered))
    assert found["Robustness"] == []
    assert page.answer(contrasts, HYPOTHESES)[1].endswith("+0.100 for meso, +0.100 for vgg.")


@pytest.mark.parametrize(("outcome", "words"), [("broken", "gets? the same score"), ("chance", "both are at chance")])
def test_a_contrast_that_is_no_result_has_no_number(outcome: str, words: str) -> None:
    contrasts = CONTRASTS.assign(outcome=[outcome, "greater"])
    sentence = page.answer(contrasts, HYPOTHESES)[1]
    assert re.search(rf"no result \(.*?{words.replace('s?', '')}\) for meso, \+0\.100", sentence)
    (chart,) = all_charts(replace(results(), contrasts=contrasts))["Planned contrasts"]
    assert chart.table["row"].tolist() == ["vgg: crop"] and "Not shown: 1 " in chart.text


def test_a_broken_cell_is_marked_in_its_charts(html: str) -> None:
    for title in ("ROC", "Precision and recall", "Scores", "Scores of each clip", "Confusion", "Robustness"):
        warned = [chart for chart in found()[title] if chart.warning]
        assert warned and all("eyes_lower" in chart.warning and "meso" in chart.name for chart in warned), title
        assert not any(chart.name.endswith("full") for chart in warned)
        for chart in warned:
            spec = chart.spec(subtitle="A note.")
            assert spec["title"]["subtitle"] == ["A note.", chart.warning] and chart.warning in spec["description"]
            assert html.count(chart.warning) >= 2
    assert not any(chart.warning for chart in all_charts(replace(results(), broken={}))["ROC"])


def test_without_the_crop_the_page_says_so() -> None:
    assert page.answer(CONTRASTS[:0], HYPOTHESES[:0]) == ["This study does not compare a crop with the whole face."]


FIGURES = """
import pathlib, sys
from tests.test_page import found
from facestudy.report import page
page.write_figures(pathlib.Path(sys.argv[1]), {"x": found()["Planned contrasts"]}, "A note.")
"""


def test_figures_do_not_depend_on_the_fonts_of_the_machine(tmp_path: Path) -> None:
    """Another machine has a font with other letters that calls itself Liberation Sans."""
    mono = next(Path("/usr/share/fonts").rglob("LiberationMono-Regular.ttf"), None)
    if mono is None:
        absent("the font Liberation Mono (Debian's fonts-liberation)")
    decoy = mono.read_bytes()
    for code in ("ascii", "utf-16-be"):
        decoy = decoy.replace("Liberation Mono".encode(code), "Liberation Sans".encode(code))
    written = []
    for name in ("none", "decoy"):
        out, fonts = tmp_path / name / "out", tmp_path / name / "fonts"
        out.mkdir(parents=True)
        fonts.mkdir()
        if name == "decoy":
            (fonts / "sans.ttf").write_bytes(decoy)
        (tmp_path / "fonts.conf").write_text(f"<fontconfig><dir>{fonts}</dir></fontconfig>")
        environment = environment_for(ROOT) | {"FONTCONFIG_FILE": str(tmp_path / "fonts.conf")}
        subprocess.run([sys.executable, "-c", FIGURES, str(out)], cwd=ROOT, env=environment, check=True)
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert len(written[0]) == 4 and written[0] == written[1]


def test_alterations_have_their_order_and_words() -> None:
    for chart in found()["Robustness"]:
        assert chart.table["altered"].unique().tolist() == ["unaltered", "shift 4 %", "rest from another frame"]


@pytest.mark.parametrize("alterations", [3, 37])
def test_each_row_of_a_chart_has_room_for_its_label(alterations: int) -> None:
    severities = [("none", "")] + [("shift", str(number)) for number in range(1, alterations)]
    rows = [("meso", v, *one, "0.9", "0.8", "") for v in VARIANTS for one in severities]
    table = pd.DataFrame(rows, columns=["model", "variant", "kind", "severity", "auc", "auc_low", "auc_high"])
    (chart,) = all_charts(replace(results(), models=["meso"], robustness=table))["Robustness"]
    assert chart.table["altered"].nunique() == alterations
    assert chart.spec()["height"] >= max(260, 20 * alterations)


def test_charts_name_the_confidence_of_the_study() -> None:
    texts = [chart.text for part in all_charts(results(confidence=0.9)).values() for chart in part]
    assert any("90 % intervals" in text for text in texts) and any("90 % bands" in text for text in texts)
    assert not any("95" in text for text in texts)


def test_figures_are_files(tmp_path: Path) -> None:
    few = {"x": found()["Planned contrasts"]}
    assert page.write_figures(tmp_path, few, "Drawn people.") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"contrasts.{end}" for end in ("csv", "png", "svg", "tex")
    ]
    svg = (tmp_path / "contrasts.svg").read_text(encoding="utf-8")
    assert "Drawn people." in svg
    assert (tmp_path / "contrasts.png").read_bytes().startswith(b"\x89PNG")
    assert r"eyes\_lower" in (tmp_path / "contrasts.tex").read_text(encoding="utf-8")


def test_a_study_of_many_trainings_can_be_drawn() -> None:
    """Thirteen variants, five seeds, 60 epochs."""
    variants = [f"variant_{number}" for number in range(13)]
    rows = [("meso", v, str(n), str(e), "0.5", "0.6") for v in variants for n in range(5) for e in range(60)]
    table = pd.DataFrame(rows, columns=["model", "variant", "training", "epoch", "loss", "validation_loss"])
    made = results()
    many = replace(made, models=["meso"], curves={**made.curves, "training": table})
    (chart,) = all_charts(many)["Training and validation"]
    assert len(next(iter(chart.spec()["datasets"].values()))) == 13 * 5 * 60 * 2


def decoded(source: str) -> np.ndarray:
    content = np.frombuffer(base64.b64decode(source.partition(",")[2]), np.uint8)
    return cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_wrong_faces_stand_beside_their_attribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder, picture = tmp_path / "reports/mistakes", np.full((8, 20, 3), 90, np.uint8)
    folder.mkdir(parents=True)
    rows = [
        {"model": "meso", "variant": variant, "face_id": "f1", "video_id": "v", "label": label, "p_fake": p_fake,
         "path": f"{variant}.png", "sha256": write_picture(folder / f"{variant}.png", picture)}
        for variant, label, p_fake in (("eyes_lower", "real", 0.75), ("nose", "real", 0.9), ("full", "fake", 0.125))
    ]  # fmt: skip
    tables.write(folder / "index.csv", tables.to_dataframe(rows, MISTAKES), MISTAKES)
    shown, second = stage.read_mistakes(["full", "eyes_lower"])
    assert second.text.startswith("meso on eyes_lower: f1, a real face")
    assert shown.text == "meso on full: f1, a fake face, mean p_fake 0.12. On the right, what speaks for real."
    np.testing.assert_array_equal(decoded(shown.source), picture)
    write_picture(folder / "full.png", picture + 1)
    with pytest.raises(StudyError, match=r"full\.png is not the picture that was stored"):
        stage.read_mistakes(["full"])
    (folder / "full.png").write_bytes(b"")
    with pytest.raises(StudyError, match=r"full\.png"):
        stage.read_mistakes(["full"])
    (folder / "full.png").unlink()
    with pytest.raises(StudyError, match=r"full\.png is missing or damaged; .* attribution"):
        stage.read_mistakes(["full"])


def test_a_wrong_face_is_in_its_section(html: str) -> None:
    section = html.split(f"<h2>{page.WRONG}</h2>")[1].split("<section")[0]
    assert "<img" in section and "A face of a.mp4." in section


def test_pictures_inside_a_page() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    exact, smooth = inline("Noise.", picture), inline("Red.", np.full((30, 40, 3), (200, 10, 10), np.uint8), 90, 20)
    assert exact.source.startswith("data:image/png;base64,") and np.array_equal(decoded(exact.source), picture)
    assert (exact.text, exact.width, exact.height) == ("Noise.", 40, 30)
    assert smooth.source.startswith("data:image/jpeg;base64,") and (smooth.width, smooth.height) == (20, 15)
    assert decoded(smooth.source).shape == (15, 20, 3)
    assert np.abs(decoded(smooth.source).astype(int) - (200, 10, 10)).max() < 5
