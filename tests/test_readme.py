"""The README and docs/ quote the committed results, and their links, files and presets exist."""

from __future__ import annotations

import io
import json
import posixpath
import re
from collections.abc import Callable
from pathlib import PurePosixPath

import pandas as pd
import pytest
import yaml

from tests.committed import committed, committed_files
from tests.quoted import QUOTES, Reader, pattern

README = committed("README.md")
PAGES = [name for name in committed_files() if name.endswith(".md") and not name.startswith("metrics/")]


@pytest.mark.parametrize(("file", "name", "quote"), QUOTES, ids=[name for _, name, _ in QUOTES])
def test_quoted_results_are_the_committed_ones(file: str, name: str, quote: Callable[[Reader], str]) -> None:
    found = pattern(name).search(committed(file))
    assert found, f"{file} has no part called {name}"
    assert found[2].strip() == quote(committed).strip()


def test_every_model_beats_chance_on_whole_faces() -> None:
    models = yaml.safe_load(committed("params.yaml"))["models"]
    found = {name: json.loads(committed(f"metrics/full/{name}.json")) for name in models}
    assert all(figures["auc_low"] > 0.5 and figures["test_groups"] >= 20 for figures in found.values()), found


def test_no_fault_lost_anything() -> None:
    table = pd.read_csv(io.StringIO(committed("metrics/faults.csv")))
    assert table.loc[table["case"].str.startswith("SIG"), "tries"].sum() >= 50
    assert (table["lost"] == 0).all()


def test_it_stays_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", committed(page)):
        if not target.startswith(("http:", "https:")):
            file, _, heading = target.partition("#")
            path = posixpath.normpath(posixpath.join(posixpath.dirname(page), file)) if file else page
            assert path in committed_files(), target
            assert not heading or heading in headings(path), target


def headings(page: str) -> set[str]:
    """The anchors of a page, as GitHub forms them."""
    titles = re.findall(r"^#+ (.*)$", committed(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_in_the_index() -> None:
    assert {page for page in PAGES if page.startswith("docs/")} <= set(re.findall(r"\]\(([^)]+)\)", README))


def test_every_preset_is_listed() -> None:
    section = committed("docs/pipeline.md").split("## Presets")[1].split("##")[0]
    listed = set(re.findall(r"^\| `(\w+)` \| .* \|$", section, re.MULTILINE))
    assert listed == {PurePosixPath(name).stem for name in committed_files() if name.startswith("presets/")}
