"""Which Python makes the environment, and which wheels there are for the supported ones."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import wheels
from tests.pipeline_files import ROOT

MAKE = shutil.which("make") or "make"
SUPPORTED = ["3.11", "3.12", "3.13"]
BROKEN = "echo 'command not found' >&2; exit 127"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the Makefile, an empty lock and no interpreter."""
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "bin").mkdir()
    for tool in ("cp", "mkdir", "rm", "touch"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    return tmp_path


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
    return path


def interpreter(folder: Path, name: str, version: str) -> Path:
    """A stand-in for Python that knows its version, makes environments and installs nothing."""
    venv = '[ "$3" = --clear ] && rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python'
    return script(folder / "bin" / name, f'case "$1 $2" in "-c "*) echo {version};; "-m venv") {venv};; esac')


def make(folder: Path, *words: str, **variables: str) -> tuple[int, str]:
    environment = {"PATH": str(folder / "bin"), "LC_ALL": "C"} | variables
    done = subprocess.run([MAKE, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def made_by(folder: Path) -> str:
    return subprocess.run([folder / ".venv/bin/python", "-c", ""], capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("there", [SUPPORTED, SUPPORTED[:2], SUPPORTED[:1]])
def test_the_newest_supported_python_is_taken(project: Path, there: list[str]) -> None:
    for version in ["3.10", *there, "3.14"]:
        interpreter(project, f"python{version}", version)
    assert make(project, "python") == (0, f"Python {there[-1]} (python{there[-1]})\n")


def test_commands_that_do_not_work_are_passed_over(project: Path) -> None:
    script(project / "bin/python3.13", BROKEN)
    interpreter(project, "python3.12", "3.10")
    interpreter(project, "python3.11", "3.11")
    assert make(project, "python") == (0, "Python 3.11 (python3.11)\n")


def test_without_a_python_it_says_which_are_supported(project: Path) -> None:
    interpreter(project, "python3.14", "3.14")
    code, said = make(project, "env")
    assert code and not (project / ".venv").exists()
    assert all(version in said for version in SUPPORTED) and "make run PYTHON=" in said


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_an_unsupported_python_is_refused(project: Path, version: str) -> None:
    interpreter(project, "python3.13", "3.13")
    given = str(interpreter(project, "other", version))
    for code, said in (make(project, "env", f"PYTHON={given}"), make(project, "env", PYTHON=given)):
        assert code and given in said and all(name in said for name in SUPPORTED)
    assert not (project / ".venv").exists()


def test_the_given_python_makes_the_environment(project: Path) -> None:
    interpreter(project, "python3.13", "3.13")
    interpreter(project, "my python", "3.12")
    code, said = make(project, "env", "PYTHON=bin/my python")
    assert code == 0 and "Python 3.12 (bin/my python)" in said and made_by(project) == "3.12"


def test_an_environment_is_kept(project: Path) -> None:
    interpreter(project, "python3.11", "3.11")
    code, said = make(project, "env")
    assert code == 0 and "Python 3.11" in said and made_by(project) == "3.11"
    given = interpreter(project, "python3.13", "3.13")
    (project / ".venv/bin/.installed").unlink()
    code, said = make(project, "env")
    assert code == 0 and "3.13" not in said and made_by(project) == "3.11"
    code, said = make(project, "env", f"PYTHON={given}")
    assert code == 0 and "kept" in said and made_by(project) == "3.11"


def test_an_environment_without_its_python_is_replaced(project: Path) -> None:
    interpreter(project, "python3.12", "3.12")
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/python").symlink_to("removed")
    assert make(project, "env")[0] == 0 and made_by(project) == "3.12"


def test_an_environment_that_failed_is_made_again(project: Path) -> None:
    venv = "mkdir -p .venv/bin; touch .venv/bin/python; exit 1"
    script(project / "bin/python3.12", f'[ "$1" = -c ] && echo 3.12 || {{ {venv}; }}')
    assert make(project, "env")[0] and not (project / ".venv/bin/.installed").exists()
    interpreter(project, "python3.12", "3.12")
    assert make(project, "env")[0] == 0 and made_by(project) == "3.12"


def test_make_and_pyproject_support_the_same_pythons() -> None:
    listed = re.search(r"^SUPPORTED := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed and listed[1].split() == SUPPORTED[::-1]
    assert ["{}.{}".format(*version) for version in wheels.pythons()] == SUPPORTED


def test_locks_name_no_index_and_no_local_file() -> None:
    known = re.compile(r"#.*|[a-z0-9.-]+==\S+( ; .*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    for name in wheels.LOCKS:
        assert not [line for line in (ROOT / name).read_text().splitlines() if not known.fullmatch(line)], name


def package(*names: str, **more: Any) -> dict[str, Any]:
    """A package whose wheels have the hash "known"."""
    files = [{"url": f"https://host/{name}.whl", "hashes": {"sha256": "known"}} for name in names]
    return {"name": "thing", "wheels": files, **more}


LINUX = "thing-1-cp39-abi3-manylinux2014_{}.manylinux_2_17_{}"
EVERYWHERE = (
    LINUX.format("x86_64", "x86_64"),
    LINUX.format("aarch64", "aarch64"),
    "thing-1-cp39-abi3-macosx_11_0_universal2",
)


@pytest.mark.parametrize(
    ("found", "missing"),
    [
        (package("thing-1-py3-none-any"), 0),
        (package(*EVERYWHERE), 0),
        (package(*EVERYWHERE[:2]), 3),
        (package("thing-1-cp312-cp312-manylinux_2_28_x86_64"), 8),
        (package("thing-1-cp312-cp312-manylinux_2_31_x86_64"), 9),
        (package("thing-1-cp312-cp312-macosx_15_0_arm64", "thing-1-cp312-cp312-win_amd64"), 9),
        (package(marker="sys_platform == 'win32'"), 0),
        (package(marker="python_full_version < '3.12'"), 3),
        (package(marker="platform_machine == 'arm64'"), 3),
    ],
)
def test_missing_wheels_are_counted(found: dict[str, Any], missing: int) -> None:
    wrong, _ = wheels.gaps([found], {"known"}, {})
    assert len(wrong) == missing and all("thing" in line for line in wrong)


def test_a_wheel_counts_only_when_the_lock_has_its_hash() -> None:
    assert len(wheels.gaps([package("thing-1-py3-none-any")], {"other"}, {})[0]) == 9


def test_a_known_gap_is_reported_when_it_has_closed() -> None:
    assert not wheels.gaps([package()], {"known"}, {"thing": "a reason"})[0]
    for found in ([package("thing-1-cp312-cp312-macosx_14_0_arm64")], []):
        wrong, _ = wheels.gaps(found, {"known"}, {"thing": "a reason"})
        assert len(wrong) == 1 and "SOURCE_ONLY" in wrong[0]


def test_the_documents_say_what_is_supported() -> None:
    page = (ROOT / "docs/reproducibility.md").read_text()
    assert re.findall(r"^\| Python (\S+) \|", page, re.MULTILINE) == SUPPORTED
    assert all(f"`{name}`" in page for name in wheels.SOURCE_ONLY)
    (heading,) = re.findall(r"^\| (\|.*)\n\|---.*\n\| Python ", page, re.MULTILINE)
    assert heading.count("|") - 1 == len(wheels.PLATFORMS)
