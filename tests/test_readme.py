"""The README quotes results; they must be the committed ones, and its files and presets must exist."""

from __future__ import annotations

import io
import json
import re
from pathlib import PurePosixPath

import pandas as pd
import yaml

import calibrate
from tests.committed import committed, committed_files

README = committed("README.md")


def between(start: str, end: str, text: str = README) -> str:
    match = re.search(f"<!-- {start}.*?-->\n(.*?)<!-- {end} -->", text, re.DOTALL)
    assert match, f"there is no part marked {start}"
    return match.group(1)


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_the_result_tables_are_the_committed_ones() -> None:
    quoted = rows(between("results", "/results"))
    assert quoted and quoted == rows(committed("metrics/results.md"))


def test_every_model_beats_chance_on_the_whole_faces_of_the_sample() -> None:
    models = yaml.safe_load(committed("params.yaml"))["models"]
    found = {name: json.loads(committed(f"metrics/full/{name}.json")) for name in models}
    assert all(figures["auc_low"] > 0.5 and figures["test_groups"] >= 20 for figures in found.values()), found


def test_the_calibration_is_the_committed_one() -> None:
    found = calibrate.summary(pd.read_csv(io.StringIO(committed("metrics/calibration.csv"))))
    assert between("calibration", "/calibration").strip().strip("`").strip() == found.strip()


def test_the_faults_are_the_committed_ones_and_none_was_lost() -> None:
    table = pd.read_csv(io.StringIO(committed("metrics/faults.csv")))
    quoted = between("faults", "/faults", committed("docs/reproducibility.md")).strip().strip("`").strip("\n")
    assert quoted == table.to_string(index=False)
    assert table.loc[table["case"].str.startswith("SIG"), "tries"].sum() >= 50
    assert (table["lost"] == 0).all()


def test_what_it_links_to_exists() -> None:
    assert set(re.findall(r"\]\(([^)h#][^)]*)\)", README)) <= set(committed_files())


def test_every_preset_is_listed() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \| .* \| .* \|$", README.split("## Presets")[1].split("##")[0], re.MULTILINE))
    assert listed == {PurePosixPath(name).stem for name in committed_files() if name.startswith("presets/")}
