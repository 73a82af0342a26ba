"""What the programs of this folder share: timing side by side, the machine in words, their sections of results.md.

arguments = measure.arguments(__doc__)
costs = measure.alternate({"ours": ours, "theirs": theirs}, arguments.rounds)
measure.report("name", measure.table(...), arguments.quick)
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from commands.machine import machine

ROUNDS = 5
RESULTS = Path(__file__).with_name("results.md")
PACKAGES = ("av", "opencv-python-headless", "numpy", "pandas", "tensorflow", "keras", "jax", "mtcnn", "dvc")
TEST_DATA = "FACESTUDY_TEST_DATA"
os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported
_load = os.getloadavg()[0]  # before this process adds to it


class Cost(NamedTuple):
    """Seconds.

    Attributes
    ----------
    wall : float
    cpu : float
        Of this process and its children.
    """

    wall: float
    cpu: float


def arguments(doc: str | None, *options: tuple[str, int, str]) -> argparse.Namespace:
    """Parse a program's options: `--quick`, one round that leaves results.md alone, and whole numbers.

    Parameters
    ----------
    doc : str
        The program's docstring, for --help.
    *options : tuple of str, int, str
        Names of further options, their defaults and what they are.

    Returns
    -------
    argparse.Namespace
        `quick`, `rounds` and the other options.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small round; results.md is left alone")
    for name, default, text in options:
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default {default})")
    found = parser.parse_args()
    found.rounds = 1 if found.quick else ROUNDS
    return found


def test_data(*parts: str) -> Path:
    """Return a folder of the test data (CONTRIBUTING.md), or end the program in one sentence without them."""
    if TEST_DATA not in os.environ:
        print(f"{TEST_DATA} is not set, so nothing is measured; CONTRIBUTING.md says what it should name.")
        sys.exit(0)
    return Path(os.environ[TEST_DATA], *parts)


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and its children so far, also of those that have ended."""
    import psutil  # here: a machine with a GPU may lack it (docs/gpu.md)

    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    total = sum(one.ru_utime + one.ru_stime for one in usages)
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def cost(work: Callable[[], object]) -> Cost:
    """Run a function and return what it took."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    work()
    return Cost(time.perf_counter() - wall, cpu_seconds() - cpu)


def alternate(
    ways: Mapping[str, Callable[[], object]], rounds: int, before: Callable[[str], object] = lambda name: None
) -> dict[str, list[Cost]]:
    """Run several ways of doing something in turns, and return what each took in each round.

    Parameters
    ----------
    ways : mapping of str to callable
    rounds : int
    before : callable
        Gets the name of a way before it runs; not counted.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            before(name)
            costs[name].append(cost(work))
    return costs


def median(costs: Sequence[Cost], kind: str = "wall") -> float:
    """Return the median over the rounds, in seconds; kind: "wall" or "cpu"."""
    return float(np.median([getattr(one, kind) for one in costs]))


def ratio(costs: Sequence[Cost], against: Sequence[Cost], kind: str = "wall") -> float:
    """Return the median over the rounds of one way's seconds over another's."""
    pairs = zip(costs, against, strict=True)
    return float(np.median([getattr(one, kind) / getattr(other, kind) for one, other in pairs]))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a Markdown table."""
    first, *others = [f"| {' | '.join(map(str, row))} |" for row in (header, *rows)]
    return [first, "|---" * len(header) + "|", *others]


def pattern(name: str) -> re.Pattern[str]:
    """Match a part of a Markdown file: its opening comment, its text, its closing comment."""
    return re.compile(rf"(<!-- {name}[: ].*?-->\n)(.*?)(<!-- /{name} -->)", re.DOTALL)


def report(name: str, lines: Sequence[str], quick: bool, device: str = "") -> None:
    """Print what a program found, and put it with the machine into the program's section of results.md.

    The text outside the comments `<!-- name … -->` and `<!-- /name -->` is left as it is; a new section goes to the
    end.

    Parameters
    ----------
    name : str
        Of the program.
    lines : sequence of str
        Markdown.
    quick : bool
        Write nothing.
    device : str
        What the processor does not say of the machine, such as its GPU.
    """
    about = f"{machine(PACKAGES, device)}. Load average of the minute before: {_load:.1f}."
    text = "\n".join([about, "", *lines])
    print(text, flush=True)
    if not quick:
        RESULTS.write_text(with_section(RESULTS.read_text(encoding="utf-8"), name, text), encoding="utf-8")


def with_section(document: str, name: str, text: str) -> str:
    """Return a document whose section of a program has another text."""
    found = pattern(name)
    if not found.search(document):
        command = f"python -m benchmarks.{name}"
        document = f"{document.rstrip()}\n\n## `{command}`\n\n<!-- {name}: written by {command} -->\n<!-- /{name} -->\n"
    return found.sub(lambda match: f"{match[1]}{text}\n{match[3]}", document)
