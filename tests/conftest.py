"""What tests share through pytest itself."""

from __future__ import annotations

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


LONGEST = (
    "test_pipeline",
    "test_remotes",
    "test_models",
    "test_cluster",
    "test_youtube_study",
    "test_calibration",
    "test_youtube",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that all workers end at about the same time."""
    items.sort(key=lambda item: [*LONGEST, item.path.stem].index(item.path.stem))


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
