"""The comparison of new results with the committed ones, on a small repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import compare_results
from tests.compare_results import cpu_kind, differences, this_cpu
from tests.pipeline_files import ROOT
from tests.project import call

METRICS = "metrics/full/mesonet.json"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {"params.yaml": "seed: 1\n", "data/split.csv": "a\n", METRICS: json.dumps({"auc": 0.8, "test_faces": 9})}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for command in (["git", "init", "-q"], ["git", "add", "-A"], ["git", "commit", "-qm", "x"]):
        assert call(tmp_path, *command).returncode == 0
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_committed_results_are_fine_on_any_cpu(repository: Path) -> None:
    assert differences(True) == differences(False) == []


@pytest.mark.parametrize(
    ("figures", "elsewhere"),
    [
        ({"auc": 0.801, "test_faces": 9}, 0),  # rounding, amplified
        ({"auc": 0.95, "test_faces": 9}, 1),
        ({"auc": 0.8, "test_faces": 8}, 1),
        ({"auc": 0.8}, 1),
    ],
)
def test_the_same_cpu_allows_nothing_another_a_little(
    repository: Path, figures: dict[str, float], elsewhere: int
) -> None:
    (repository / METRICS).write_text(json.dumps(figures))
    assert len(differences(False)) == elsewhere
    assert f"{METRICS}: changed, and must not" in differences(True)


@pytest.mark.parametrize("name", compare_results.EXACT)
def test_settings_and_the_split_never_change(repository: Path, name: str) -> None:
    (repository / name).write_text("other\n")
    assert differences(False) == [f"{name}: changed, and must not"]


def test_the_kind_of_a_cpu() -> None:
    text = "processor: 0\nmodel name: X\nflags: b a\n\nprocessor: 1\nmodel name: Y\n"
    assert cpu_kind(text) == cpu_kind(text.replace("b a", "a b").replace("processor: 0", "processor: 7"))
    assert cpu_kind(text) != cpu_kind(text.replace("b a", "a"))
    assert cpu_kind(text) != cpu_kind(text.replace("name: X", "name: Z"))
    assert "\n" not in this_cpu() and this_cpu()


def test_the_cpu_of_the_committed_results_is_recorded() -> None:
    assert (ROOT / compare_results.CPU).read_text().strip()
