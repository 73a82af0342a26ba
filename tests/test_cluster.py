"""Items run on a Dask cluster of real processes: same results as here, and what the death of each costs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from facestudy.core.errors import StudyError
from facestudy.core.settings import check
from facestudy.runtime import cluster
from facestudy.runtime.parallel import ComputeSettings, map_items
from tests.cluster_items import die_at_3, die_once, double, fail_at_3, process_of, variable
from tests.pipeline_files import ROOT
from tests.project import ENVIRONMENT, copy_project, deep_update, environment_for, params, stage, write_params
from tests.test_pipeline import TINY, dvc, ran

WORKER = ("--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--host", "127.0.0.1")
ONE = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}


class Cluster:
    """A scheduler and its workers, on loopback, started in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, (folder / "log").open("wb")
        self.processes: list[subprocess.Popen[bytes]] = []
        found = folder / "scheduler.json"
        options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(found))
        self.scheduler = self.start(ENVIRONMENT | ONE, "scheduler", *options)
        while not found.is_file() or not found.read_text():
            assert self.scheduler.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        self.address: str = json.loads(found.read_text())["address"]
        self.settings = ComputeSettings(backend="dask", scheduler=self.address)

    def add(self, *options: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a worker; without a nanny and variables, it is a fork that has TensorFlow loaded."""
        values = ENVIRONMENT if variables or "--no-nanny" not in options else environment_for(ROOT)
        return self.start(values | variables, "worker", self.address, *WORKER, *options)

    def start(self, values: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
        program = shutil.which("python", path=values["PATH"])
        self.processes.append(
            subprocess.Popen(
                [str(program), "-m", "dask", *words],
                cwd=self.folder, env=values | {"DASK_TEMPORARY_DIRECTORY": str(self.folder)},
                stdout=self.log, stderr=self.log, start_new_session=True,
            )
        )  # fmt: skip
        return self.processes[-1]

    def end(self) -> None:
        for process in self.processes:
            end(process)
        self.log.close()


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two workers, which a nanny starts again when they die."""
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    found.add("--nworkers", "2", ONEDNN_MAX_CPU_ISA="AVX512_CORE")
    yield found
    found.end()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster for one test, without workers."""
    found = Cluster(tmp_path)
    yield found
    found.end()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run in a folder that is not that of the workers."""
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")


class Numbers(Sequence[int]):
    """0 to 29; `ahead` says how many were read at most beyond those that were done."""

    ahead = 0

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: Any) -> Any:
        self.ahead = max(self.ahead, index + 1 - len(list(Path().glob("did-*"))))
        return index


def test_as_many_items_run_as_there_are_workers(shared: Cluster) -> None:
    numbers = Numbers()
    list(map_items(process_of, range(8), shared.settings, "start"))
    assert list(map_items(double, numbers, shared.settings, "double")) == [*range(0, 60, 2)]
    assert 1 <= numbers.ahead <= 2
    assert list(Path(".cache/cluster").iterdir()) == []


def test_a_worker_that_dies_costs_a_retry(shared: Cluster) -> None:
    assert list(map_items(die_once, range(8), shared.settings, "die")) == [*range(0, 16, 2)]
    assert Path("died").exists()
    assert [Path(f"did-{number}").read_text() for number in range(8)] == ["x"] * 8


def test_an_item_that_kills_workers_is_named(shared: Cluster) -> None:
    with pytest.raises(StudyError, match=r"^die: 3: 2 workers died at this item .* what was finished is kept\.$"):
        list(map_items(die_at_3, range(40), shared.settings, "die"))


def test_workers_get_the_variables_of_the_run(shared: Cluster) -> None:
    assert list(map_items(variable, ["ONEDNN_MAX_CPU_ISA"], shared.settings, "variables")) == ["AVX2"]


def test_an_error_of_an_item_ends_the_run(shared: Cluster) -> None:
    with pytest.raises(StudyError, match=r"^number 3 is bad\.$"):
        list(map_items(fail_at_3, range(40), shared.settings, "fail"))


def test_a_worker_elsewhere_is_refused(shared: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unseen = contextlib.nullcontext(tmp_path / "on another machine.json")
    monkeypatch.setattr(cluster, "_announced", lambda: unseen)
    with pytest.raises(StudyError, match=r"worker \(tcp://.*\) is refused: it cannot read .*on another machine.json"):
        list(map_items(double, range(8), shared.settings, "double"))


def test_late_workers_are_used_or_refused(own: Cluster) -> None:
    own.add("--no-nanny")
    results = map_items(process_of, range(10_000), own.settings, "sleep")
    first = next(results)
    own.add("--no-nanny")
    assert any(process != first for process in results)
    del results
    results = map_items(process_of, range(10_000), own.settings, "sleep")
    next(results)
    own.add("--no-nanny", "--nthreads", "2")
    with pytest.raises(StudyError, match=r"worker \(tcp://.*\) is refused: items at a time is 2, not 1; restart it"):
        list(results)


def test_workers_with_other_code_are_refused(own: Cluster) -> None:
    code = own.folder / "code"
    shutil.copytree(ROOT / "facestudy", code / "facestudy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", code)
    (code / "facestudy/core/__init__.py").write_text('"""Other code."""\n')
    other = own.add("--no-nanny", PYTHONPATH=str(code))
    refused = r"worker \(tcp://.*\) is refused: the code is \w{12}, not \w{12}; restart it with this folder"
    with pytest.raises(StudyError, match=refused):
        list(map_items(double, range(2), own.settings, "double"))
    end(other)
    (own.folder / "none/facestudy").mkdir(parents=True)
    (own.folder / "none/facestudy/__init__.py").touch()  # hides the project that the environment has
    own.add("--no-nanny", PYTHONPATH=str(own.folder / "none"))
    with pytest.raises(StudyError, match=r"worker \(tcp.*refused: .*No module named 'facestudy\..*; restart it"):
        list(map_items(double, range(2), own.settings, "double"))


def test_no_scheduler_no_workers_bad_address(own: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WAIT_S", 1)
    with pytest.raises(StudyError, match=r"tcp://127.* had no worker for 1 s; start workers \(docs/cluster.md\)"):
        list(map_items(double, range(2), own.settings, "double"))
    end(own.scheduler)
    with pytest.raises(StudyError, match=r"no Dask scheduler answers at tcp://127.0.0.1:\d+; start it"):
        list(map_items(double, range(2), own.settings, "double"))
    with pytest.raises(StudyError, match="compute.scheduler"):
        check(ComputeSettings, {"backend": "dask", "scheduler": "node1"}, "compute", "params.yaml")


def test_the_scheduler_dies_and_the_next_run_resumes(own: Cluster, tmp_path: Path) -> None:
    own.add("--no-nanny")
    values = deep_update(params(), TINY | {"compute": own.settings.model_dump()})
    values["sample"]["people"] = 20
    write_params(Path(), values)
    command = [sys.executable, "-m", "stages.videos"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    while len(entries := list(Path(".cache").glob("videos/*/*/manifest.json"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    end(own.scheduler)
    error = process.communicate(timeout=60)[1].splitlines()[-1]
    assert process.returncode == 1
    assert re.fullmatch(r"videos: the Dask scheduler at tcp://\S+ died or cannot .* what was finished is kept\.", error)
    before = {entry: entry.stat().st_mtime_ns for entry in entries}
    write_params(Path(), values | {"compute": {"backend": "loky", "workers": 1, "scheduler": None}})
    assert stage(Path(), "videos").returncode == 0
    assert before == {entry: entry.stat().st_mtime_ns for entry in entries}


@pytest.mark.timeout(650)
def test_a_cluster_gives_the_same_bytes(own: Cluster, tmp_path: Path) -> None:
    """The study up to the trainings, here and on a cluster where the trainings of all cells run side by side."""
    values = deep_update(params(), TINY | {"seeds": [1, 2], "variants": ["full"]})
    mesonet = values["models"]["mesonet"]
    values["models"] = {"slow": mesonet, "fast": mesonet | {"learning_rate": 0.01}}
    here = copy_project(tmp_path / "here", values)
    dvc(here, "repro", "train")
    there = copy_project(tmp_path / "there", values | {"compute": own.settings.model_dump()})
    for _ in range(2):
        own.add("--no-nanny")
    dvc(there, "repro", "altered")
    cells = [f"train@{model}-full" for model in values["models"]]
    command = ["dvc", "--wait-for-lock", "repro", "--single-item"]
    running = [
        subprocess.Popen([*command, cell], cwd=there, env=environment_for(there), stdout=own.log, stderr=own.log)
        for cell in cells
    ]
    assert [process.wait() for process in running] == [0, 0]
    assert ran(dvc(there, "repro", "train")) == []
    locked = [yaml.safe_load((folder / "dvc.lock").read_text())["stages"] for folder in (here, there)]
    assert {name: entry["outs"] for name, entry in locked[0].items()} == {
        name: entry["outs"] for name, entry in locked[1].items()
    }
