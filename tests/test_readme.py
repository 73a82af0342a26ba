"""The README quotes results; they must be the committed ones, and its files and presets must exist."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import PurePosixPath

import pandas as pd
import pytest
import yaml

from tests.committed import committed, committed_files
from tests.quoted import QUOTES, Reader, pattern

README = committed("README.md")


@pytest.mark.parametrize(("file", "name", "quote"), QUOTES, ids=[name for _, name, _ in QUOTES])
def test_quoted_results_are_the_committed_ones(file: str, name: str, quote: Callable[[Reader], str]) -> None:
    found = pattern(name).search(committed(file))
    assert found, f"{file} has no part called {name}"
    assert found[2].strip() == quote(committed).strip()


def test_every_model_beats_chance_on_the_whole_faces_of_the_sample() -> None:
    models = yaml.safe_load(committed("params.yaml"))["models"]
    found = {name: json.loads(committed(f"metrics/full/{name}.json")) for name in models}
    assert all(figures["auc_low"] > 0.5 and figures["test_groups"] >= 20 for figures in found.values()), found


def test_no_fault_lost_anything() -> None:
    table = pd.read_csv(io.StringIO(committed("metrics/faults.csv")))
    assert table.loc[table["case"].str.startswith("SIG"), "tries"].sum() >= 50
    assert (table["lost"] == 0).all()


def test_what_it_links_to_exists() -> None:
    assert set(re.findall(r"\]\(([^)h#][^)]*)\)", README)) <= set(committed_files())


def test_every_preset_is_listed() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \| .* \|$", README.split("## Presets")[1].split("##")[0], re.MULTILINE))
    assert listed == {PurePosixPath(name).stem for name in committed_files() if name.startswith("presets/")}
