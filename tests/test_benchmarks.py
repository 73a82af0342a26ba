"""The programs of benchmarks/: what they print in their quick form, and what stays in results.md. No time counts."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

from benchmarks import measure
from benchmarks.__main__ import PROGRAMS
from tests.pipeline_files import ROOT
from tests.project import call

QUICK = ("frames", "decode_cost", "crops", "training", "train_start", "evaluation")
"""Programs that need no data of other people and take seconds."""


def tables(text: str) -> list[list[dict[str, str]]]:
    """The Markdown tables in a text: rows by the names of their columns."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE):
        header, rule, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        assert set(rule) == {"---"} and len(rule) == len(header)
        found.append([dict(zip(header, row, strict=True)) for row in rows])
    return found


@pytest.mark.parametrize("name", QUICK)
def test_quick_form_prints_machine_and_tables(name: str) -> None:
    before = measure.RESULTS.read_bytes()
    done = call(ROOT, "python", "-m", f"benchmarks.{name}", "--quick")
    assert done.returncode == 0, done.stderr
    assert f"Python {platform.python_version()}" in done.stdout.splitlines()[0]
    found = tables(done.stdout)
    assert found
    for rows in found:
        assert rows
        for row in rows:
            numbers = [float(cell.rstrip("%")) for cell in row.values() if re.fullmatch(r"-?[\d.]+%?", cell)]
            assert numbers, row
            assert all(cell for cell in row.values()), row
    assert measure.RESULTS.read_bytes() == before


@pytest.mark.parametrize("name", sorted(set(PROGRAMS) - set(QUICK)))
def test_other_programs_say_what_they_measure(name: str) -> None:
    done = call(ROOT, "python", "-m", f"benchmarks.{name}", "--help")
    assert done.returncode == 0, done.stderr
    assert f"python -m benchmarks.{name}" in done.stdout
    assert "--quick" in done.stdout


def test_nothing_to_do_needs_a_finished_study(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {copy: {cmd: cp in out, deps: [in], outs: [out]}}")
    (tmp_path / "in").write_text("1")
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    assert call(tmp_path, "dvc", "init", "--no-scm", "--quiet").returncode == 0
    done = call(tmp_path, "python", "-m", "benchmarks.nothing_to_do", "--quick")
    assert done.returncode == 1
    assert "The study in this folder is not finished" in done.stderr
    assert call(tmp_path, "dvc", "repro").returncode == 0
    done = call(tmp_path, "python", "-m", "benchmarks.nothing_to_do", "--quick")
    assert done.returncode == 0, done.stderr
    ((row,),) = tables(done.stdout)
    assert float(row["ratio"]) > 0


def test_all_runs_programs_by_name() -> None:
    done = call(ROOT, "python", "-m", "benchmarks", "nothing")
    assert done.returncode == 2
    assert "unknown program nothing" in done.stderr
    for name in PROGRAMS:
        assert (ROOT / "benchmarks" / f"{name}.py").is_file(), name


def test_results_come_from_programs() -> None:
    text = measure.RESULTS.read_text(encoding="utf-8")
    for name in re.findall(r"<!-- (\w+): written by", text):
        assert f"<!-- {name}: written by python -m benchmarks.{name} -->" in text
        assert len(measure.pattern(name).findall(text)) == 1
        assert (ROOT / "benchmarks" / f"{name}.py").is_file(), name


def test_a_section_is_replaced_and_others_stay() -> None:
    page = "# Title\n\n## A\n\nWords.\n\n<!-- a: written by x -->\nold\n<!-- /a -->\n\nMore.\n"
    page = measure.with_section(page, "b", "one")
    assert page.startswith("# Title\n\n## A\n\nWords.\n\n<!-- a: written by x -->\nold\n<!-- /a -->\n\nMore.\n\n")
    assert page.endswith("<!-- b: written by python -m benchmarks.b -->\none\n<!-- /b -->\n")
    again = measure.with_section(page, "a", r"new \1")
    assert again == page.replace("old", r"new \1")
    assert measure.with_section(again, "b", "two") == again.replace("one", "two")


def test_ratios_are_of_the_same_round() -> None:
    ours, theirs = ([measure.Cost(wall, 1.0) for wall in walls] for walls in ((1, 10, 3), (2, 5, 3)))
    assert measure.ratio(ours, theirs) == 1.0
    assert measure.median(ours) == 3
    assert measure.ratio(ours, theirs, "cpu") == 1.0


def test_ways_take_turns() -> None:
    order: list[str] = []
    ways = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    costs = measure.alternate(ways, 2, before=lambda name: order.append(f"before {name}"))
    assert order == ["before a", "a", "before b", "b"] * 2
    assert {name: len(rounds) for name, rounds in costs.items()} == {"a": 2, "b": 2}
