"""What tests share through pytest itself."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import hypothesis
import pytest

from facestudy.runtime import environment

hypothesis.settings.register_profile("any machine", deadline=None)  # how long an example takes depends on the machine
hypothesis.settings.load_profile("any machine")

# Before a test imports TensorFlow, alone or through mtcnn.
environment.prepare()

if threading.current_thread() is threading.main_thread():
    # A job in the background ignores Ctrl-C, and so would the stages that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def outside_data() -> Path:
    """The folder of material that is not part of the project: published weights, reference data, real clips.

    Other people's data cannot be committed here, so who has none skips these tests; `.ci/run` demands the data.
    """
    if "FACESTUDY_TEST_DATA" not in os.environ:
        pytest.skip("FACESTUDY_TEST_DATA is not set; see Reference data for the tests in CONTRIBUTING.md")
    folder = Path(os.environ["FACESTUDY_TEST_DATA"])
    assert folder.is_dir(), f"FACESTUDY_TEST_DATA = {folder} is not a folder"
    return folder
