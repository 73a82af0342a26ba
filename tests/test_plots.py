"""`dvc plots show` and `dvc plots diff`: pages with every chart, which open without a network."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser

from commands import plots_page
from facestudy.evaluation.metrics import THRESHOLD
from facestudy.report import charts
from tests.committed import committed, git
from tests.pipeline_files import ROOT
from tests.project import call

PLOTS = {
    title: plot for entry in yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"] for title, plot in entry.items()
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone without data, with a second commit in which one curve differs."""
    folder = tmp_path_factory.mktemp("plots") / "clone"
    subprocess.run(["git", "clone", "-q", "--no-local", ROOT, folder], check=True)
    curves = folder / "metrics/curves/roc.csv"
    curves.write_text(curves.read_text().replace(",1.0000,1.0000,", ",1.0000,0.9990,"), encoding="utf-8")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qam", "other curve", folder=folder)
    return folder


def test_the_page_has_the_scripts_of_the_pinned_package() -> None:
    assert plots_page.text() == (ROOT / plots_page.PAGE).read_text(encoding="utf-8")


def test_every_plot_has_a_template_and_titles_with_words() -> None:
    for plot in PLOTS.values():
        json.loads((ROOT / f".dvc/plots/{plot['template']}.json").read_text(encoding="utf-8"))
        assert plot["x_label"]
        assert plot["y_label"]


def values_of(thing: Any, key: str) -> Iterator[Any]:
    """Every value of a key, however deep."""
    for name, value in thing.items() if isinstance(thing, dict) else enumerate(thing):
        if name == key:
            yield value
        if isinstance(value, dict | list):
            yield from values_of(value, key)


def test_the_templates_have_the_colours_and_limits_of_the_report() -> None:
    templates = {
        plot["template"]: json.loads((ROOT / f".dvc/plots/{plot['template']}.json").read_text(encoding="utf-8"))
        for plot in PLOTS.values()
    }
    for name in ("curve_roc", "curve_precision_recall", "calibration", "histogram", "training"):
        ranges = [found for found in values_of(templates[name], "range") if isinstance(found[0], str)]
        assert ranges and all(found == list(charts.COLOURS) for found in ranges), name
    assert [0, charts.MAX_LOSS] in list(values_of(templates["training"], "domain"))
    assert f"threshold {THRESHOLD:g}" in PLOTS["Confusion"]["x_label"].replace("threshold .", "threshold 0.")


def test_every_trained_model_has_a_name() -> None:
    artifacts = yaml.safe_load(committed("dvc.yaml"))["artifacts"]
    params = yaml.safe_load(committed("params.yaml"))
    cells = {f"models/{variant}/{model}" for model in params["models"] for variant in params["variants"]}
    assert {artifact["path"] for artifact in artifacts.values()} == cells
    for name, artifact in artifacts.items():
        assert name == "-".join(artifact["path"].split("/")[:0:-1]).replace("_", "-")


@pytest.mark.parametrize("command", [("show",), ("diff", "HEAD~1", "HEAD")], ids=lambda words: words[0])
def test_plots_open_without_a_network(command: tuple[str, ...], clone: Path, browser: Browser) -> None:
    page = browser.new_context(offline=True).new_page()
    shutil.rmtree(clone / "dvc_plots", ignore_errors=True)
    done = call(clone, "dvc", "plots", *command)
    assert done.returncode == 0, done.stderr
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto((clone / "dvc_plots/index.html").as_uri())
    drawn = "n => document.querySelectorAll('.vega-embed :is(svg, canvas).marks').length >= n"
    page.wait_for_function(drawn, arg=len(PLOTS))
    assert messages == []
    text = (clone / "dvc_plots/index.html").read_text(encoding="utf-8")
    for title in PLOTS:
        assert f'"title": "{title}"' in text
