"""What tests share through pytest itself."""

from __future__ import annotations

import ast
import functools
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hypothesis
import pytest

from facestudy.runtime import environment
from facestudy.runtime.work_cache import closure_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# How long an example takes depends on the machine. `pytest --hypothesis-profile=thorough` tries many more examples.
hypothesis.settings.register_profile("usual", deadline=None, max_examples=25)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=500)
hypothesis.settings.load_profile("usual")

# Before a test imports TensorFlow, alone or through mtcnn.
environment.prepare()

if threading.current_thread() is threading.main_thread():
    # A job in the background ignores Ctrl-C, and so would the stages that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


SLOW_MODULES = {"subprocess", "multiprocessing", "concurrent.futures", "nbclient"}
SLOW_HELPERS = {"call", "stage", "dvc", "copy_project", "MediaServer", "cpu_features", "in_child", "tiny_params"}
"""Of the modules in tests/: what starts processes or servers."""
LONGEST = (
    "test_pipeline",
    "test_remotes",
    "test_models",
    "test_cluster",
    "test_youtube_study",
    "test_calibration",
    "test_youtube",
)
TENSORFLOW = Path(__file__).resolve().parents[1] / "facestudy/runtime/backend.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only files that start no process, server or TensorFlow")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --fast, leave out files that start processes or servers, or import TensorFlow."""
    if not config.getoption("--fast") or collection_path.suffix != ".py":
        return None
    return starts_something(collection_path) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that all workers end at about the same time."""
    items.sort(key=lambda item: [*LONGEST, item.path.stem].index(item.path.stem))


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


def absent(reason: str) -> NoReturn:
    """Skip a test that needs what `make test` cannot install. `.ci/run` has all of it, so there the test fails."""
    (pytest.fail if "FACESTUDY_NO_SKIP" in os.environ else pytest.skip)(reason)


@pytest.fixture(scope="session")
def outside_data() -> Path:
    """The folder with data that is not part of the project: published weights, reference data, real clips.

    Other people's data cannot be committed here.
    """
    if "FACESTUDY_TEST_DATA" not in os.environ:
        absent("FACESTUDY_TEST_DATA is not set; see Reference data for the tests in CONTRIBUTING.md")
    folder = Path(os.environ["FACESTUDY_TEST_DATA"])
    assert folder.is_dir(), f"FACESTUDY_TEST_DATA = {folder} is not a folder"
    return folder


@pytest.fixture(scope="module")  # playwright's event loop must not run while other files are tested
def browser() -> Iterator[Browser]:
    """Chromium without a window. PyPI has no browser that playwright could start."""
    chromium = shutil.which("chromium")
    if chromium is None:
        absent("chromium is not installed (Debian: apt install chromium); in it the tests open the report")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
