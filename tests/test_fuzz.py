"""The fuzzing command, briefly; and that it sees what it looks for."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

from tests.fuzz.rules import Target, run
from tests.fuzz.targets import TARGETS
from tests.project import ENVIRONMENT, call


def test_a_few_hundred_inputs_break_no_rule(tmp_path: Path) -> None:
    done = call(tmp_path, sys.executable, "-m", "tests.fuzz", "--inputs", "200", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in TARGETS:
        assert f"\n{name} " in done.stdout
    assert " inputs in " in done.stdout and "seed 7: 0 violations" in done.stdout
    assert not list(tmp_path.iterdir())


def traceback(value: int) -> str:
    return str(1 // (value - value))


def hang(value: int) -> str:
    time.sleep(5)
    return ""


def stray(value: int) -> str:
    Path("stray.txt").write_text("x")
    return ""


def stray_folder(value: int) -> str:
    Path("stray").mkdir()
    return ""


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (traceback, "ZeroDivisionError"),
        (hang, "not done in 0.2 s"),
        (stray, "open of 'stray.txt', outside"),
        (stray_folder, "os.mkdir of 'stray', outside"),
    ],
)
def test_a_broken_rule_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Callable[[int], str], said: str
) -> None:
    (tmp_path / "stage").mkdir()
    monkeypatch.chdir(tmp_path)
    report = run("broken", Target(st.integers(), broken), 5, 1, tmp_path / "stage", slow_s=0.2)
    assert said in report.violation and "input: 0" in report.violation
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]


BROKEN = """
import os, signal
from hypothesis import strategies as st
from tests.fuzz import __main__ as command, targets
from tests.fuzz.rules import Target
ways = {
    "crash": lambda _: os.kill(os.getpid(), signal.SIGSEGV),
    "memory": lambda _: str(len(bytes(b"x" * (1100 * 2**20)))),
    "child's file": lambda _: str(os.system("touch stray.txt")),
}
targets.TARGETS.clear()
targets.TARGETS["broken"] = (lambda folder: Target(st.integers(), ways[sys.argv.pop()]), 1)
command.main()
"""


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("crash", "the interpreter ended with code -11"),
        ("memory", " MB of memory"),
        ("child's file", "files outside the stage's folder: elsewhere/stray.txt"),
    ],
)
def test_a_broken_process_is_seen(tmp_path: Path, way: str, said: str) -> None:
    script = BROKEN.replace("sys.argv.pop()", repr(way))
    command = [sys.executable, "-c", script, "--inputs", "2"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert said in done.stdout and "1 violations" in done.stdout
    assert not list(tmp_path.iterdir())
