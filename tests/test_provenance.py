"""reports/run.html: the page with the revision, the settings and the seconds of a run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from commands.provenance import about, last_runs, seconds_by_stage, write_run_page
from commands.study import print_results
from facestudy.core.errors import StudyError
from facestudy.report.page import RUN, with_run
from stages.stage import RUNS
from tests.project import call, stage

PAGE = f"<p>Provenance</p>{RUN}<p>Settings</p>"
STAGES = """stages:
  page: {cmd: python -m stages.page}
  split: {cmd: python -m stages.split}
  train:
    matrix: {model: [meso], variant: [full, eyes]}
    cmd: python -m stages.train --model ${item.model} --variant ${item.variant}
"""


def row(command: str, seconds: float, ended: str = "2026-01-02T03:04:05+00:00") -> str:
    return json.dumps({"command": f"python -m stages.{command}", "seconds": seconds, "ended": ended}) + "\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the files of a run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports").mkdir()
    for name, text in {
        "params.yaml": "split: {seed: 1, test: 0.25}\nvariants: [full]\nold: 1\n",
        "dvc.yaml": STAGES,
        "reports/index.html": PAGE,
        ".gitignore": "/reports\n",
    }.items():
        (tmp_path / name).write_text(text)
    for command in ("git init -q", "dvc init -q", "git add .", "git commit -q -m one"):
        done = call(tmp_path, *command.split())
        assert done.returncode == 0, done.stderr
    return tmp_path


def test_a_page_with_the_run_beside_the_first_one(project: Path) -> None:
    assert write_run_page() == Path("reports/run.html")
    before, after = PAGE.split(RUN)
    html = Path("reports/run.html").read_text()
    revision = call(project, "git", "rev-parse", "HEAD").stdout.strip()
    assert html.startswith(before) and html.endswith(after)
    assert f"<td>{revision}</td>" in html
    assert "Seconds by stage" in html and "not run here" in html
    assert Path("reports/index.html").read_text() == PAGE
    assert sorted(path.name for path in Path("reports").iterdir()) == ["index.html", "run.html"]


def test_the_run_names_what_is_not_committed(project: Path) -> None:
    value = about(Path()).set_index("what")["value"]
    assert re.fullmatch("[0-9a-f]{40}", value["git revision"])
    assert value["params.yaml"] == "as committed"
    Path("params.yaml").write_text("split: {seed: 1, test: 0.5}\nvariants: [full, eyes]\nnew: null\n")
    value = about(Path()).set_index("what")["value"]
    assert re.fullmatch("[0-9a-f]{40}, with uncommitted changes", value["git revision"])
    assert list(value[1:-1].items()) == [
        ("params.yaml: split.test", "0.5"),
        ("params.yaml: variants", '["full", "eyes"]'),
        ("params.yaml: old", "removed"),
        ("params.yaml: new", "null"),
    ]


def test_a_study_is_compared_with_the_commit_that_it_began_from(project: Path) -> None:
    """Its own repository has the settings committed; the project may have gone on."""
    base = call(project, "git", "rev-parse", "HEAD").stdout.strip()
    copy = project / "studies/mine"
    call(project, "git", "clone", "-q", str(project), str(copy))
    (copy / "params.yaml").write_text("split: {seed: 2, test: 0.25}\nvariants: [/my/clips]\nold: 1\n")
    call(copy, "git", "commit", "-q", "-a", "-m", "study")
    (project / "params.yaml").write_text("later: 1\n")
    call(project, "git", "commit", "-q", "-a", "-m", "later")
    value = about(copy, "HEAD^").set_index("what")["value"]
    assert value["git revision"] == base
    assert value["DVC experiment"] == f"mine, {call(copy, 'git', 'rev-parse', 'HEAD').stdout.strip()}"
    assert value["params.yaml: split.seed"] == "2"
    assert value["params.yaml: variants"] == '["clips"]'
    assert len(value) == 5


def test_a_problem_with_the_page_of_a_run_is_not_one_of_the_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("metrics").mkdir()
    Path("metrics/results.md").write_text("the results\n")
    Path("reports/index.html").write_text("<p>cut")
    print_results()
    printed = capsys.readouterr()
    assert "the results" in printed.out and "run.html" not in printed.out
    assert "run.html was not written" in printed.err and "index.html is damaged" in printed.err
    Path("reports/index.html").write_text(PAGE)
    print_results()
    assert "reports/run.html" in capsys.readouterr().out


def test_seconds_are_those_of_the_last_run_of_each_cell(project: Path) -> None:
    late = "2026-01-02T05:00:00+00:00"
    Path(RUNS).write_text(
        row("split", 9.0)
        + row("split", 2.0)
        + row("train --model meso --variant full", 30.4, late)
        + row("train --model meso --variant eyes", 31.4)
        + row("train --model gone --variant full", 99.0)
        + 'null\n{"command": "python -m stages.page"}\n{"command": "python -m sta'
    )
    Path("clip.mp4").write_bytes(b"a clip")
    assert call(project, "dvc", "add", "-q", "clip.mp4").returncode == 0  # which is no stage
    table = seconds_by_stage(Path())
    assert [tuple(cells) for cells in table.to_numpy()] == [
        ("split", "1 of 1", "2", "2026-01-02T03:04:05+00:00"),
        ("train", "2 of 2", "62", late),
        ("page", "0 of 1", "not run here", ""),
    ]


def test_without_a_page_or_with_a_damaged_one(project: Path) -> None:
    Path("reports/index.html").write_text("<p>cut")
    with pytest.raises(StudyError, match=r"index\.html is damaged"):
        write_run_page()
    Path("reports/index.html").unlink()
    assert write_run_page() is None
    assert not list(Path("reports").iterdir())


def test_text_of_the_run_stays_text() -> None:
    hostile = pd.DataFrame({"<b>": ["<script>alert(1)</script>"]})
    html = with_run(PAGE, hostile, hostile)
    assert "<script" not in html and "<b>" not in html
    assert html.count("&lt;script&gt;") == 2


def test_a_stage_notes_how_long_it_took(tmp_path: Path) -> None:
    """Only one that succeeds."""
    assert stage(tmp_path, "duplicates").returncode != 0
    assert not (tmp_path / RUNS).exists()
    code = (
        "import sys, time; from stages.stage import run; sys.argv[1:] = ['--model', 'meso'];"
        "run('train', lambda model: 'done', model='of a model')"
    )
    done = call(tmp_path, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    (command, found), *rest = last_runs(tmp_path / RUNS).items()
    assert command == "python -m stages.train --model meso"
    assert 0 < found["seconds"] < 60
    assert not rest
