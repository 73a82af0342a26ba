"""The fuzzing command, briefly; and that it sees what it looks for."""

from __future__ import annotations

import re
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
    "file": lambda _: str(os.system("touch stray.txt")),
    "memory": lambda _: str(len(bytes(b"x" * (1100 * 2**20)))),
}
targets.TARGETS.clear()
targets.TARGETS.update({name: (lambda _, way=way: Target(st.integers(), way), 1) for name, way in ways.items()})
command.main()
"""


def test_a_broken_process_is_seen(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BROKEN, "--inputs", "6"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "6 inputs in" not in done.stdout and "seed 1: 3 violations" in done.stdout
    assert "  crash: the interpreter ended with code -11\n    input: b'0'" in done.stdout
    assert "  file: files outside the stage's folder: elsewhere/stray.txt" in done.stdout
    assert re.search(r"  memory: 1\d{3} MB of memory", done.stdout)
    assert not list(tmp_path.iterdir())
