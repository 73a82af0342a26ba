"""Compare the results in the work tree with the committed ones; `.ci/run` does so after `make run`.

    python tests/compare_results.py

On an x86-64 CPU with AVX2 every result must have the committed bytes. Other CPUs may round differently, see "CPUs"
in docs/reproducibility.md: there the differences are listed, and the conclusions must agree.
"""

from __future__ import annotations

import io
import platform
import sys
from pathlib import Path

import pandas as pd

from tests.committed import RESULTS, committed, git
from tests.pipeline_files import ROOT

COMPARISON = "metrics/comparison.csv"


def gives_committed_bytes(machine: str, cpuinfo: str) -> bool:
    """Whether a CPU gives the committed bytes: x86-64 with AVX2.

    machine: as `platform.machine()` names it. cpuinfo: the text of /proc/cpuinfo.
    """
    flags = {flag for line in cpuinfo.splitlines() if line.startswith("flags") for flag in line.split()}
    return machine == "x86_64" and "avx2" in flags


def conclusions(table: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    """The verdict of each row (model, variant, metric) of metrics/comparison.csv."""
    return {(row.model, row.variant, row.metric): row.verdict for row in table.itertuples()}


def changed(folder: Path = ROOT) -> list[str]:
    """The results in the work tree that differ from the commit, as `git status --short` prints them."""
    return git("status", "--porcelain", "--untracked-files=all", "--", *RESULTS, folder=folder).splitlines()


def disagreements(folder: Path = ROOT) -> list[str]:
    """The conclusions in the work tree that differ from those in the commit, one line each."""
    old = conclusions(pd.read_csv(io.StringIO(committed(COMPARISON, folder))))
    new = conclusions(pd.read_csv(folder / COMPARISON))
    return [
        f"{' '.join(row)}: {old.get(row, 'no row')} in the commit, {new.get(row, 'no row')} here"
        for row in {**old, **new}
        if old.get(row) != new.get(row)
    ]


def main() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    exact = gives_committed_bytes(platform.machine(), cpuinfo.read_text() if cpuinfo.exists() else "")
    files = changed()
    if not files:
        print("All results have the committed bytes.")
        return
    print("These results differ from the commit:", *files, sep="\n")
    print(git("diff", "--unified=0", "HEAD", "--", COMPARISON))
    if exact:
        sys.exit("FAILED: this is an x86-64 CPU with AVX2, which gives the committed bytes.")
    rows = disagreements()
    if rows:
        print(*rows, sep="\n")
        sys.exit("FAILED: the results lead to other conclusions than the committed ones.")
    print("This is not an x86-64 CPU with AVX2: other bytes are possible, and the conclusions agree.")


if __name__ == "__main__":
    main()
