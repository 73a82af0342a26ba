"""The option --fast of pytest, also for the examples in docstrings: a plugin that pyproject.toml names."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

from facestudy.runtime.work_cache import closure_of

SLOW_MODULES = {"subprocess", "multiprocessing", "concurrent.futures", "nbclient"}
SLOW_HELPERS = {"call", "stage", "dvc", "copy_project", "MediaServer", "cpu_features", "in_child", "tiny_params"}
"""Of the modules in tests/: what starts processes or servers."""
TENSORFLOW = Path(__file__).resolve().parents[1] / "facestudy/runtime/backend.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only files that start no process, server or TensorFlow")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --fast, leave out files that start processes or servers, or import TensorFlow."""
    if not config.getoption("--fast") or collection_path.suffix != ".py":
        return None
    return starts_something(collection_path) or None


@functools.cache
def below(name: str) -> list[Path]:
    """List the files that a module loads; none for the name of a function or class."""
    try:
        return closure_of(name)
    except ValueError:
        return []


def starts_something(path: Path) -> bool:
    """Check whether a file imports something that starts a process or a server, or that imports TensorFlow."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            helpers = str(node.module).startswith("tests") and SLOW_HELPERS & set(names)
            if helpers or node.module in SLOW_MODULES:
                return True
            names = [str(node.module), *(f"{node.module}.{name}" for name in names)]
        if SLOW_MODULES & set(names):
            return True
        if any(name.startswith(("facestudy.", "stages.", "commands.")) and TENSORFLOW in below(name) for name in names):
            return True
    return path.resolve() == TENSORFLOW
