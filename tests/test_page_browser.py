"""The report in Chromium: charts, tables, widths, light and dark, screen readers; a hostile name runs nothing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from facestudy.report.page import with_run
from tests.committed import RESULTS
from tests.pipeline_files import ROOT
from tests.project import stage

WIDTHS = (360, 1440)
SCHEMES = ("light", "dark")
HOSTILE = "<img src=x onerror=alert(1)>"
KINDS = ("line path[d]", "rect path", "symbol path", "rule line", "rule path")
MARKS = ", ".join(f"svg .role-mark.mark-{kind}" for kind in KINDS)
"""What the data of a chart draws: not its axes, grid and legends."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with the committed results; a clip, a setting and a stage have hostile names."""
    folder = tmp_path_factory.mktemp("report")
    archive = subprocess.run(
        ["git", "archive", "HEAD", "params.yaml", ".dvc/plots", *RESULTS], cwd=ROOT, capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    clips = folder / "data/clips.csv"
    text, count = re.subn(
        r"(?m)^(\w+_fake,fake,sample,)[\w.]+(,used,.*,test,)", rf"\1{HOSTILE}\2", clips.read_text(), count=1
    )
    assert count == 1
    clips.write_text(text)
    done = stage(folder, "page")
    assert done.returncode == 0, done.stderr
    path = folder / "reports/index.html"
    run = pd.DataFrame({"what": ["settings", "revision"], "value": [HOSTILE, "0" * 40]})
    path.write_text(with_run(path.read_text(), run, pd.DataFrame({"stage": [HOSTILE], "seconds": ["1"]})))
    return path


@pytest.fixture
def opened(browser: Browser, report: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page without a network; a message on the console, an error or a dialog fails the test."""
    scheme: Literal["light", "dark"]
    scheme, width = getattr(request, "param", ("light", 1440))
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True)
    page, messages = context.new_page(), []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.on("request", lambda call: messages.append(call.url) if not call.url.startswith(("file:", "data:")) else None)
    page.goto(report.as_uri())
    page.wait_for_selector("body[data-drawn]", timeout=60_000)
    yield page
    context.close()
    assert messages == []


def test_every_chart_has_marks(opened: Page) -> None:
    charts = opened.locator(".chart")
    assert charts.count() >= 20
    for number in range(charts.count()):
        chart = charts.nth(number)
        assert chart.locator(MARKS).count(), chart.get_attribute("id")


def test_a_chart_without_data_has_no_marks(opened: Page) -> None:
    """Its grid and legend do not count."""
    empty = """async () => {
      const spec = structuredClone(specs.roc_mesonet);
      for (const name of Object.keys(spec.datasets)) spec.datasets[name] = [];
      await vegaEmbed("#chart-roc_mesonet", spec, {renderer: "svg"});
    }"""
    opened.evaluate(empty)
    chart = opened.locator("#chart-roc_mesonet")
    assert chart.locator("svg").count()
    assert not chart.locator(MARKS).count()


@pytest.mark.parametrize("opened", [(scheme, width) for scheme in SCHEMES for width in WIDTHS], indirect=True)
def test_nothing_is_clipped_or_inaccessible(opened: Page) -> None:
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    wide = (
        "[...document.querySelectorAll('.chart svg')].filter(e => e.getBoundingClientRect().right > innerWidth).length"
    )
    assert opened.evaluate(wide) == 0
    cut = """[...document.querySelectorAll('.chart svg.marks text')].filter(e => {
      const text = e.getBoundingClientRect(), svg = e.closest('svg').getBoundingClientRect();
      return text.width && (text.left < svg.left - 1 || text.right > svg.right + 1);
    }).map(e => e.closest('.chart').id + ': ' + e.textContent)"""
    assert opened.evaluate(cut) == []
    found = Axe().run(opened)
    assert [(one["id"], one["nodes"][0]["html"]) for one in found.response["violations"]] == []


def test_charts_follow_the_colour_scheme(opened: Page) -> None:
    title = opened.locator(".chart svg .role-title-text text").first
    before = title.get_attribute("fill")
    opened.emulate_media(color_scheme="dark")
    opened.wait_for_function(
        "old => document.querySelector('.role-title-text text').getAttribute('fill') !== old", arg=before
    )


def test_tables_sort(opened: Page) -> None:
    table = opened.locator("#auc table")
    header = table.locator("th").nth(1)
    first = "row => row.cells[1].textContent.split(' ')[0]"
    values = [float(opened.evaluate(first, row)) for row in table.locator("tbody tr").element_handles()]
    for order in ("ascending", "descending"):
        header.locator("button").press("Enter")
        assert header.get_attribute("aria-sort") == order
        shown = [float(opened.evaluate(first, row)) for row in table.locator("tbody tr").element_handles()]
        assert shown == sorted(values, reverse=order == "descending")


def test_links_lead_to_visible_sections(opened: Page) -> None:
    for link in opened.locator("nav a").all():
        target = link.get_attribute("href")
        assert target
        assert opened.locator(target).is_visible()


def test_a_chart_can_be_saved(opened: Page) -> None:
    opened.locator(".chart summary").first.click()
    with opened.expect_download() as download:
        opened.locator(".chart .vega-actions a", has_text="SVG").first.click()
    assert Path(download.value.path()).read_text(encoding="utf-8").startswith("<svg")


def test_a_menu_leaves_one_variant_without_a_mouse(opened: Page) -> None:
    chart = opened.locator("#chart-roc_mesonet")
    faint = "svg .mark-line path[stroke-opacity='0.08'], svg .mark-line path[opacity='0.08']"
    assert chart.locator(faint).count() == 0
    menu = chart.get_by_label("Show")
    menu.focus()
    for keys, count in (("ArrowDown", 1), ("ArrowUp", 0)):  # the first variant, all variants
        opened.keyboard.press(keys)
        opened.wait_for_timeout(300)
        assert chart.locator(faint).count() == count
