"""The page of a run: reports/index.html with the revision, the machine and the seconds of each stage.

reports/index.html is the same on every machine, so it cannot have them. `make run` and `make study` write the other
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


def write_run_page(folder: Path = Path()) -> Path | None:
    """Write the page of the run in the project or in a copy of it.

    Returns its path, or None where there is no page. Raises StudyError when the page is damaged.
    """
    try:
        html = (folder / PAGE).read_text(encoding="utf-8")
        written = with_run(html, about(folder), seconds_by_stage(folder))
    except FileNotFoundError:
        return None
    except ValueError:
        raise StudyError(
            f"{folder / PAGE} is damaged; `dvc repro --force --single-item page` writes it again."
        ) from None
    with output_file(folder / RUN_PAGE) as path:
        path.write_text(written, encoding="utf-8")
    return folder / RUN_PAGE


def about(folder: Path) -> pd.DataFrame:
    """The revision, the settings that are not the project's committed ones, and the machine."""
    revision = call("git", "rev-parse", "HEAD", folder=folder).strip()
    if call("git", "status", "--porcelain", folder=folder):
        revision += ", with uncommitted changes"
    committed = read_yaml(call("git", "show", f"HEAD:./{PARAMS}").encode(), f"the committed {PARAMS}")
    own = read_yaml((folder / PARAMS).read_bytes(), str(folder / PARAMS))
    changed = [(f"{PARAMS}: {key}", value) for key, value in differences(committed, own).items()]
    rows = [("git revision", revision), *(changed or [(str(PARAMS), "as committed")]), ("machine", machine(()))]
    return pd.DataFrame(rows, columns=["what", "value"])


def differences(default: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, str]:
    """Map the keys that differ, joined by dots, to their own values.

    >>> differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": [4]}})
    {'a.c': '[4]', 'd': 'removed'}
    """
    found = {}
    for key in dict.fromkeys([*default, *own]):
        one, other = default.get(key), own.get(key)
        if key not in own:
            found[key] = "removed"
        elif isinstance(one, Mapping) and isinstance(other, Mapping):
            found |= {f"{key}.{name}": value for name, value in differences(one, other).items()}
        elif key not in default or one != other:
            found[key] = json.dumps(other, ensure_ascii=False, default=str)
    return found


def seconds_by_stage(folder: Path) -> pd.DataFrame:
    """What each stage took when it last ran here, in the order of time; a stage with several cells has one row."""
    from dvc.repo import Repo

    runs = last_runs(folder / RUNS)
    stages: dict[str, list[dict[str, Any] | None]] = {}
    with Repo(str(folder)) as repo:
        for stage in repo.index.stages:
            stages.setdefault(stage.name.partition("@")[0], []).append(runs.get(stage.cmd))
    rows = []
    for name, cells in stages.items():
        here = [cell for cell in cells if cell]
        seconds = f"{sum(cell['seconds'] for cell in here):.0f}" if here else "from DVC's cache"
        rows.append((name, f"{len(here)} of {len(cells)}", seconds, max((cell["ended"] for cell in here), default="")))
    rows.sort(key=lambda row: row[-1])
    return pd.DataFrame(rows, columns=["stage", "cells that ran here", "seconds, when they last ran", "last ended"])


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
