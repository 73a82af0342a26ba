"""One target over many inputs, and what must hold for each of them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given
from hypothesis.strategies import SearchStrategy

SLOW_S = 10.0
PEAK_MB = 1024.0
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Violation(Exception):
    """An input broke a rule without an error of its own."""


@dataclass(frozen=True)
class Target:
    """What is fed with `inputs`. `call` gives a word for what became of one, and raises where a user would see it."""

    inputs: SearchStrategy[Any]
    call: Callable[[Any], str]


@dataclass
class Report:
    """What a target did with its inputs; `violation` is empty when no rule was broken."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    peak_mb: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    violation: str = ""


@dataclass
class _Watch:
    """Where the process may write at the moment; None: anywhere."""

    only: str | None = None
    hooked: bool = False


_watch = _Watch()


def _hook(event: str, values: tuple[Any, ...]) -> None:
    if _watch.only is None or event not in ("open", "os.mkdir", "os.rename", "os.symlink", "os.link"):
        return
    if event == "open" and (isinstance(values[0], int) or not (values[2] or 0) & WRITING):
        return
    path = os.fsdecode(values[1] if event in ("os.rename", "os.symlink", "os.link") else values[0])
    if path != os.devnull and not os.path.realpath(path).startswith(_watch.only):  # noqa: PTH118, RUF100
        place, _watch.only = _watch.only, None
        raise Violation(f"{event} of {path!r}, outside {place}")


@contextmanager
def writes_only_below(folder: Path) -> Iterator[None]:
    """A Violation for whatever this process writes elsewhere. Files of FFmpeg's own making pass unseen."""
    if not _watch.hooked:
        sys.addaudithook(_hook)
        _watch.hooked = True
    _watch.only = str(folder.resolve()) + os.sep
    try:
        yield
    finally:
        _watch.only = None


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    """A Violation in the midst of Python code that takes longer."""

    def late(*_: object) -> None:
        raise Violation(f"not done in {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(name: str, target: Target, count: int, seed: int, folder: Path, slow_s: float = SLOW_S) -> Report:
    """Feed a target with at least `count` inputs; the first violation ends it, shrunk.

    folder: the only place that may be written to; it holds `input`, the last one tried, for crashes.
    """
    report = Report(name)
    started = time.monotonic()
    failing: list[str] = []
    errors: list[str] = []

    def one(value: Any) -> None:
        (folder / "input").write_bytes(repr(value).encode("utf-8", "backslashreplace"))
        report.inputs += 1
        before = time.monotonic()
        try:
            with ends_within(slow_s), writes_only_below(folder):
                outcome = target.call(value)
        except Exception as error:
            failing.append(repr(value))
            errors.append(f"{type(error).__name__}: {error}")
            raise
        report.slowest_s = max(report.slowest_s, time.monotonic() - before)
        report.outcomes[outcome] += 1

    hypothesis.configuration.set_hypothesis_home_dir(str(folder / ".hypothesis"))
    while report.inputs < count and not report.violation:
        settings = hypothesis.settings(
            max_examples=count - report.inputs,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        try:
            hypothesis.seed(seed + report.inputs)(settings(given(target.inputs)(one)))()
        except Exception as error:
            words = errors[-1] if errors else f"{type(error).__name__}: {error}"
            report.violation = f"{words[:500]}\n    input: {(failing or ['?'])[-1][:2000]}"
    report.seconds = time.monotonic() - started
    return report
