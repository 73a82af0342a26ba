"""Packages of facestudy import only what comes before them in the order of the data."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fast import starts_something
from tests.pipeline_files import ROOT

ORDER = [
    "core",
    "runtime",
    "media",
    "sources",
    "sample",
    "faces",
    "pseudo_fakes",
    "dataset",
    "crops",
    "alterations",
    "models",
    "training",
    "evaluation",
    "controls",
    "robustness",
    "hypotheses",
    "attribution",
    "report",
    "prediction",
    "app",
]
MODULES = sorted((ROOT / "facestudy").glob("*/*.py"))


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def test_every_package_has_its_place() -> None:
    assert {path.parent.name for path in MODULES} == set(ORDER)
    assert [path.name for path in (ROOT / "facestudy").glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_imports_go_one_way(path: Path) -> None:
    allowed = ORDER[: ORDER.index(path.parent.name) + 1]
    for module in imported(path):
        top, _, rest = module.partition(".")
        assert top not in ("stages", "commands", "tests", "benchmarks"), module
        if top == "facestudy":
            assert rest.split(".")[0] in allowed, f"{path.parent.name} imports {module}"


def test_test_names_fit_a_line() -> None:
    names = [
        node.name
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert not [name for name in names if len(name) > 60]


@pytest.mark.parametrize(
    ("name", "slow"),
    [
        ("tests/test_metrics.py", False),  # functions
        ("tests/test_decode.py", True),  # starts processes
        ("tests/test_cpu_slow.py", True),  # through another module
        ("tests/test_models.py", True),  # TensorFlow
        ("tests/test_youtube.py", True),  # a server
        ("facestudy/training/loop.py", True),  # its doctests need TensorFlow
    ],
)
def test_fast_tests_start_nothing(name: str, slow: bool) -> None:
    assert starts_something(ROOT / name) == slow
