"""The README quotes results; they must be the committed ones, and its files and presets must exist."""

from __future__ import annotations

import json
import re

import pandas as pd

import calibrate
from tests.pipeline_files import ROOT
from tests.project import params

README = (ROOT / "README.md").read_text()


def between(start: str, end: str, text: str = README) -> str:
    match = re.search(f"<!-- {start}.*?-->\n(.*?)<!-- {end} -->", text, re.DOTALL)
    assert match, f"there is no part marked {start}"
    return match.group(1)


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_the_result_tables_are_the_committed_ones() -> None:
    quoted = rows(between("results", "/results"))
    assert quoted and quoted == rows((ROOT / "metrics/results.md").read_text())


def test_every_model_beats_chance_on_the_whole_faces_of_the_sample() -> None:
    found = {path.stem: json.loads(path.read_text()) for path in (ROOT / "metrics/full").glob("*.json")}
    assert set(found) == set(params()["models"])
    assert all(figures["auc_low"] > 0.5 and figures["test_groups"] >= 20 for figures in found.values()), found


def test_the_calibration_is_the_committed_one() -> None:
    found = calibrate.summary(pd.read_csv(ROOT / "metrics/calibration.csv"))
    assert between("calibration", "/calibration").strip().strip("`").strip() == found.strip()


def test_the_faults_are_the_committed_ones_and_none_was_lost() -> None:
    table = pd.read_csv(ROOT / "metrics/faults.csv")
    text = (ROOT / "docs/reproducibility.md").read_text()
    quoted = between("faults", "/faults", text).strip().strip("`").strip("\n")
    assert quoted == table.to_string(index=False)
    assert table.loc[table["case"].str.startswith("SIG"), "tries"].sum() >= 50
    assert (table["lost"] == 0).all()


def test_what_it_links_to_exists() -> None:
    for target in re.findall(r"\]\(([^)h#][^)]*)\)", README):
        assert (ROOT / target).exists(), target


def test_every_preset_is_listed() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \| .* \| .* \|$", README.split("## Presets")[1].split("##")[0], re.MULTILINE))
    assert listed == {path.stem for path in (ROOT / "presets").glob("*.yaml")}
