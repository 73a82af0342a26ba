"""A dvc.lock that a killed run left half-written is taken back."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA

from commands import study
from facestudy.core.errors import StudyError
from tests.committed import RESULTS, committed, committed_files
from tests.project import call


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that has the project's lock and nothing else."""
    (tmp_path / "dvc.lock").write_text(committed("dvc.lock"))
    for command in (["git", "init", "-q"], ["git", "add", "-A"], ["git", "commit", "-qm", "lock"]):
        assert call(tmp_path, *command).returncode == 0
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kept", [0, 20, 500, 5000])
def test_a_cut_lock_is_the_last_commits_again(project: Path, capsys: pytest.CaptureFixture[str], kept: int) -> None:
    whole = (project / "dvc.lock").read_bytes()
    (project / "dvc.lock").write_bytes(whole[:kept])
    study.restore_lock()
    found = (project / "dvc.lock").read_bytes()
    COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(found))  # DVC reads it
    # A cut between two entries leaves a lock that DVC reads as it is: it lacks stages, which then run.
    assert found == (whole if "incomplete" in capsys.readouterr().out else whole[:kept])


def test_sound_lock_stays_and_truncated_new_one_goes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = (project / "dvc.lock").read_bytes().replace(b"schema: '2.0'", b"schema: '2.0'\n# mine")
    (project / "dvc.lock").write_bytes(changed)
    study.restore_lock()
    assert (project / "dvc.lock").read_bytes() == changed and not capsys.readouterr().out
    assert call(project, "git", "rm", "-q", "--cached", "dvc.lock").returncode == 0
    (project / "dvc.lock").write_bytes(b"schema: '2.0'\nstages:\n  videos:\n    cm")
    study.restore_lock()
    assert not (project / "dvc.lock").exists() and "incomplete" in capsys.readouterr().out
    study.restore_lock()


def test_a_lock_with_both_sides_of_a_merge_is_left_alone(project: Path) -> None:
    both = b"<<<<<<< HEAD\n" + (project / "dvc.lock").read_bytes() + b"=======\n>>>>>>> other\n"
    (project / "dvc.lock").write_bytes(both)
    with pytest.raises(StudyError, match="both sides of a merge"):
        study.restore_lock()
    assert (project / "dvc.lock").read_bytes() == both


def test_the_lock_holds_the_stages_of_the_pipeline_only() -> None:
    """DVC parses and writes it at every stage, which entries of stages that are gone would make slower."""
    pipeline, values = (yaml.safe_load(committed(name)) for name in ("dvc.yaml", "params.yaml"))
    wanted = set()
    for name, stage in pipeline["stages"].items():
        matrix = [list(values[source.strip("${}")]) for source in stage.get("matrix", {}).values()]
        wanted |= {f"{name}@{'-'.join(cell)}" if cell else name for cell in itertools.product(*matrix)}
    assert set(yaml.safe_load(committed("dvc.lock"))["stages"]) == wanted


BY_COMMANDS = (
    "metrics/calibration.csv",
    "metrics/known_verdicts.csv",
    "metrics/planted.csv",
    "metrics/faults.csv",
    "metrics/reasons/",
    "metrics/findings/",
)
"""What `make calibrate`, `make faults`, `make reasons` and the studies of docs/findings.md write."""


def test_no_result_of_a_stage_that_is_gone_stays_committed() -> None:
    stages = yaml.safe_load(committed("dvc.lock"))["stages"].values()
    written = {out["path"] for stage in stages for out in stage.get("outs", [])}
    results = [name for name in committed_files() if name.startswith(RESULTS) and name != "dvc.lock"]
    gone = [
        name
        for name in results
        if not name.startswith(BY_COMMANDS) and not {name, *map(str, Path(name).parents)} & written
    ]
    assert len(results) > 50 and not gone
