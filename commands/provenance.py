"""The page of a run: reports/index.html with the revision, the settings, the machine and the seconds of each stage.

reports/index.html is the same on every machine, so it cannot contain them. `make run` and `make study` write the other
page when the stages are done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from commands.machine import machine
from commands.private_copy import call
from facestudy.core.errors import StudyError
from facestudy.core.settings import read_yaml
from facestudy.report.page import with_run
from stages.stage import PARAMS, RUNS, output_file

PAGE = Path("reports/index.html")
RUN_PAGE = Path("reports/run.html")
ABSENT = object()


def write_run_page(folder: Path = Path(), base: str = "HEAD") -> Path | None:
    """Write the page of the run in the project or in a study's copy of it.

    Parameters
    ----------
    folder
        The project or the copy.
    base
        The commit that the run began from: that of the project, or in a copy the one before the experiment's.

    Returns
    -------
    Path or None
        The page; None when reports/index.html is missing.

    Raises
    ------
    StudyError
        When reports/index.html is damaged, or git has no such commit.
    """
    try:
        html = (folder / PAGE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    run, stages = about(folder, base), seconds_by_stage(folder)
    try:
        written = with_run(html, run, stages)
    except ValueError:
        remedy = "`dvc repro --force --single-item page` writes it again"
        raise StudyError(f"{folder / PAGE} is damaged; {remedy}.") from None
    with output_file(folder / RUN_PAGE) as path:
        path.write_text(written, encoding="utf-8")
    return folder / RUN_PAGE


def about(folder: Path, base: str = "HEAD") -> pd.DataFrame:
    """The revision, the settings that differ from it, and the machine; see `write_run_page`."""
    revision = call("git", "rev-parse", base, folder=folder).strip()
    if call("git", "status", "--porcelain", "--", ".", folder=folder):
        revision += ", with uncommitted changes"
    rows = [("git revision", revision)]
    if base != "HEAD":
        experiment = call("git", "rev-parse", "HEAD", folder=folder).strip()
        rows.append(("DVC experiment", f"{folder.name}, {experiment}"))
    committed = call("git", "show", f"{base}:./{PARAMS}", folder=folder).encode(errors="surrogateescape")
    default = read_yaml(committed, f"the committed {PARAMS}")
    own = read_yaml((folder / PARAMS).read_bytes(), str(folder / PARAMS))
    changed = [(f"{PARAMS}: {key}", value) for key, value in differences(default, own).items()]
    rows += changed or [(str(PARAMS), "as committed")]
    rows.append(("machine that wrote this page", machine(())))
    return pd.DataFrame(rows, columns=["what", "value"])


def differences(default: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, str]:
    """Map the keys that differ, joined by dots, to their own values, which do not tell where files are.

    >>> differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": ["/my/clips"]}})
    {'a.c': '["clips"]', 'd': 'removed'}
    """
    found: dict[str, str] = {}
    for key in dict.fromkeys([*default, *own]):
        one, other = default.get(key, ABSENT), own.get(key, ABSENT)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found |= {f"{key}.{name}": value for name, value in differences(one, other).items()}
        elif one != other:
            named = "removed" if other is ABSENT else json.dumps(_names(other), ensure_ascii=False, default=str)
            found[str(key)] = named
    return found


def _names(value: Any) -> Any:
    """The same value with the names of files in place of their absolute paths."""
    if isinstance(value, Mapping):
        return {str(key): _names(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_names(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def seconds_by_stage(folder: Path) -> pd.DataFrame:
    """What each stage took when it last ran here, in the order of their ends, with one row for all cells of a stage.

    A stage whose outputs came from git or from DVC has not run here; such stages come last.
    """
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

    runs = last_runs(folder / RUNS)
    stages: dict[str, list[dict[str, Any] | None]] = {}
    with Repo(str(folder)) as repo:
        for stage in repo.index.stages:
            if isinstance(stage, PipelineStage):  # not a file that the user has added to DVC
                stages.setdefault(stage.name.partition("@")[0], []).append(runs.get(stage.cmd))
    rows = []
    for name, cells in stages.items():
        here = [cell for cell in cells if cell]
        seconds = f"{sum(cell['seconds'] for cell in here):.0f}" if here else "not run here"
        rows.append((name, f"{len(here)} of {len(cells)}", seconds, max((cell["ended"] for cell in here), default="")))
    rows.sort(key=lambda row: (not row[-1], row[-1]))
    return pd.DataFrame(rows, columns=["stage", "cells that ran here", "seconds of their last runs", "last ended"])


def last_runs(path: Path) -> dict[str, dict[str, Any]]:
    """The last row of each command in a file of stages.stage; rows that were cut short are left out."""
    found = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
            found[str(row["command"])] = {"seconds": float(row["seconds"]), "ended": str(row["ended"])}
        except (ValueError, TypeError, KeyError):
            continue
    return found
