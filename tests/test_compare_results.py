"""The comparison of new results with the committed ones, on a small repository."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.committed import committed, committed_files
from tests.compare_results import COMPARISON, changed, disagreements, gives_committed_bytes
from tests.project import call

AMD = "vendor_id\t: AuthenticAMD\n"
ROWS = [
    ("mesonet", "nose", "auc", 0.10, "better"),
    ("mesonet", "eyes", "auc", -0.10, "worse"),
    ("vgg19", "nose", "auc", 0.10, "no_difference"),
    ("vgg19", "eyes", "auc", 0.20, "not_tested"),
]


def comparison(rows: list[tuple[str, str, str, float, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["model", "variant", "metric", "difference", "verdict"])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    files = {
        "params.yaml": "seed: 1\n",
        "dvc.lock": "a\n",
        "data/split.csv": "a\n",
        "predictions/full/mesonet/1.csv": "a\n",
        COMPARISON: comparison(ROWS).to_csv(index=False),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for command in (["git", "init", "-q"], ["git", "add", "-A"], ["git", "commit", "-qm", "x"]):
        assert call(tmp_path, *command).returncode == 0
    return tmp_path


def test_committed_files_are_not_the_work_trees(repository: Path) -> None:
    (repository / "dvc.lock").write_text("other\n")
    (repository / "new.txt").write_text("new\n")
    assert committed("dvc.lock", repository) == "a\n"
    assert len(committed_files(repository)) == 5 and "new.txt" not in committed_files(repository)


def test_the_committed_results_are_unchanged(repository: Path) -> None:
    (repository / "params.yaml").write_text("seed: 2\n")  # a setting, not a result
    assert changed(repository) == disagreements(repository) == []


@pytest.mark.parametrize("name", ["dvc.lock", "data/split.csv", "predictions/full/mesonet/1.csv"])
def test_changed_missing_and_new_results_are_listed(repository: Path, name: str) -> None:
    (repository / name).write_text("other\n")
    assert changed(repository) == [f" M {name}"]
    (repository / name).unlink()
    (repository / "metrics/new.json").write_text("{}\n")
    assert changed(repository) == [f" D {name}", "?? metrics/new.json"]


def test_moved_figures_with_the_same_conclusions_agree(repository: Path) -> None:
    comparison([(*row[:3], 1.5 * row[3], row[4]) for row in ROWS]).to_csv(repository / COMPARISON, index=False)
    assert changed(repository) == [f" M {COMPARISON}"] and disagreements(repository) == []


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (
            [("mesonet", "nose", "auc", 0.1, "no_difference"), *ROWS[1:]],
            "mesonet nose auc: better .*, no_difference here",
        ),
        ([("mesonet", "nose", "auc", -0.1, "worse"), *ROWS[1:]], "mesonet nose auc: better .*, worse here"),
        (ROWS[1:], "mesonet nose auc: better .*, no row here"),
        ([*ROWS, ("new", "nose", "auc", 0.1, "better")], "new nose auc: no row .*, better here"),
    ],
)
def test_other_conclusions_are_listed(
    repository: Path, rows: list[tuple[str, str, str, float, str]], line: str
) -> None:
    comparison(rows).to_csv(repository / COMPARISON, index=False)
    (found,) = disagreements(repository)
    assert re.fullmatch(line, found)


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "exact"),
    [
        ("x86_64", f"processor: 0\n{AMD}flags\t\t: fpu avx avx2 fma\n\nprocessor: 1\n{AMD}flags\t\t: fpu avx2\n", True),
        ("x86_64", f"{AMD}flags\t\t: fpu avx2 avx512f\n", True),
        ("x86_64", f"{AMD}model name\t: avx2\nflags\t\t: fpu avx avx2x\n", False),
        ("x86_64", "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx2 avx512f\n", True),
        ("x86_64", "", False),
        ("aarch64", f"{AMD}flags\t\t: avx2\n", False),
        ("aarch64", "Features\t: fp asimd\n", False),
    ],
)
def test_which_cpus_give_the_committed_bytes(machine: str, cpuinfo: str, exact: bool) -> None:
    assert gives_committed_bytes(machine, cpuinfo) == exact
