"""dvc.yaml must say what the stages really read: their code and their settings, no more, no less."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands.study import Params
from tests.pipeline_files import ROOT, import_closure
from tests.project import params
from tests.project import stage as run_stage

STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
NO_RESULT = {"compute"}  # where work is done changes no result, so a change must not run a stage again


def sections_read(file: str) -> set[str]:
    """The sections of params.yaml that a script names: section(params, "x", …) and params["x"]."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "section":
            name = node.args[1]
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "params":
            name = node.slice
        else:
            continue
        assert isinstance(name, ast.Constant) and isinstance(name.value, str), f"{file}: name sections literally"
        found.add(name.value)
    return found


def test_one_stage_one_script() -> None:
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__", "stage"}
    assert scripts == set(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_deps_cover_the_import_closure_and_nothing_else(name: str) -> None:
    listed = {dep for dep in STAGES[name]["deps"] if dep.startswith(("stages/", "facestudy/"))}
    assert all((ROOT / dep).exists() for dep in listed)
    loaded = import_closure(f"stages.{name}")
    covered = {dep: {file for file in loaded if file == dep or file.startswith(f"{dep}/")} for dep in listed}
    assert set().union(*covered.values()) == loaded
    assert all(covered.values()), f"spare: {[dep for dep, files in covered.items() if not files]}"


def test_no_stage_depends_on_a_command() -> None:
    for name, stage in STAGES.items():
        assert not any(dep.startswith(("commands", "tests", "benchmarks")) for dep in stage["deps"]), name
        assert not any(file.startswith("commands/") for file in import_closure(f"stages.{name}")), name


@pytest.mark.parametrize("name", STAGES)
def test_params_are_the_sections_read(name: str) -> None:
    listed = {entry.split(".")[0] for entry in STAGES[name].get("params", [])}
    # A matrix takes names from a section; that alone makes its cells appear and vanish.
    matrix = {value.strip("${}") for value in STAGES[name].get("matrix", {}).values()}
    read = sections_read(f"stages/{name}.py") - NO_RESULT
    assert listed - matrix <= read
    assert read <= listed | matrix


@pytest.mark.parametrize("name", STAGES)
def test_runs_its_own_script(name: str) -> None:
    assert STAGES[name]["cmd"].startswith(f"python -m stages.{name}")


@pytest.mark.parametrize("name", STAGES)
def test_help_runs_nothing(name: str, tmp_path: Path) -> None:
    done = run_stage(tmp_path, name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: python -m stages.{name} ")
    assert not list(tmp_path.iterdir())


def test_params_hold_the_known_sections() -> None:
    assert list(params()) == list(Params.model_fields)


def test_no_stage_depends_on_a_folder_of_others_outputs() -> None:
    """In a clone such a folder exists and is empty, and DVC would run the stage on nothing."""
    cached = [out for stage in STAGES.values() for out in stage.get("outs", []) if isinstance(out, str)]
    for name, stage in STAGES.items():
        for dep in stage["deps"]:
            assert not any(out.startswith(dep + "/") for out in cached), f"{name} depends on {dep}"
