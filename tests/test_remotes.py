"""Sharing through real remotes: two clones and a server each, real DVC, a tiny study that ran once.

What is asserted of the kinds of remote in turn is in the tests that take `team`; the others need one kind only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests import servers
from tests.project import call, copy_project, deep_update, environment_for, params

pytestmark = pytest.mark.timeout(300)

SMALL = {"input_size": 64, "epochs": 1, "warmup_epochs": 0, "schedule": "constant"}
TINY = {
    "sample": {"people": 8, "seconds": 0.2, "fps": 5},
    "frames": {"per_video": 1},
    "split": {"test": 0.34, "validation": 0.3},
    "crops": {"size": [64, 64], "sheet_faces": 1},
    "variants": ["full"],
    "seeds": [1],
    "evaluate": {"resamples": 100},
    "compute": {"workers": 1},
}
MODELS = ("mesonet", "second")  # the second differs in its learning rate


def study_params() -> dict[str, object]:
    values = deep_update(params(), TINY)
    mesonet = values["models"]["mesonet"] | SMALL
    values["models"] = {"mesonet": mesonet, "second": mesonet | {"learning_rate": 0.001}}
    return values


@dataclass
class Clone:
    """A clone of the study, as one member of a team has it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, fails: bool = False) -> str:
        """What a command prints; asserts that it succeeds, or fails."""
        environment = environment_for(self.folder) | {"DVC_SITE_CACHE_DIR": str(self.folder / ".dvc/tmp/site")}
        import time; t0 = time.time()
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment | self.environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        said = done.stdout + done.stderr
        import time; print(f"{time.time() - t0:.1f} s", command[-3:])
        assert (done.returncode != 0) == fails, f"{' '.join(command)}: {said[-4000:]}"
        return said

    def dvc(self, *options: str, fails: bool = False) -> str:
        return self.run("dvc", *options, fails=fails)

    def git(self, *options: str, fails: bool = False) -> str:
        return self.run("git", *options, fails=fails)

    def remote(self, *options: str, fails: bool = False) -> str:
        """`make remote`, `make push`, `make pull`."""
        return self.run(sys.executable, "remote.py", *options, fails=fails)

    def cached(self) -> dict[str, bytes]:
        """The objects in this clone's cache, by checksum."""
        found = (self.folder / ".dvc/cache/files/md5").glob("??/*")
        return {path.parent.name + path.name: path.read_bytes() for path in found}

    def outputs(self) -> dict[str, str]:
        """The folders of the lock that DVC shares, and the checksums of their listings; git has metrics/focus."""
        stages = yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"].values()
        outs = [out for stage in stages for out in stage["outs"]]
        return {
            out["path"]: out["md5"] for out in outs if out["path"].startswith(("data/", "models/")) and "nfiles" in out
        }

    def objects(self) -> dict[str, bytes]:
        """What of the cache belongs to the lock (the run cache is not shared)."""
        cached = self.cached()
        listings = [listing for listing in self.outputs().values() if listing in cached]
        names = {entry["md5"] for listing in listings for entry in json.loads(cached[listing])}
        return {name: cached[name] for name in {*listings, *names} & set(cached)}

    def weights(self, model: str) -> str:
        """The checksum of a model's weights."""
        files = json.loads(self.cached()[self.outputs()[f"models/full/{model}/1"]])
        return next(str(file["md5"]) for file in files if file["relpath"] == "model.weights.h5")


def clone(source: Path, folder: Path, environment: dict[str, str]) -> Clone:
    assert call(folder.parent, "git", "clone", "-q", str(source), str(folder)).returncode == 0
    return Clone(folder, environment)


def intact(objects: dict[str, bytes]) -> bool:
    return all(hashlib.md5(data).hexdigest() == name.removesuffix(".dir") for name, data in objects.items())


def ran(said: str) -> list[str]:
    return re.findall(r"Running stage '([^']+)'", said)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The tiny study, run once and committed; no remote."""
    if os.path.exists("/tmp/exp/tiny"):
        return Clone(Path("/tmp/exp/tiny"))
    made = Clone(copy_project(tmp_path_factory.mktemp("study"), study_params()))
    assert len(ran(made.dvc("repro"))) == 4 + 1 + 2 + 2 + 2
    made.git("add", "-A")
    made.git("commit", "-qm", "results")
    return made


@dataclass
class Team:
    """A remote, the clone that has pushed to it, and what became of the push that was cut."""

    server: servers.Remote
    first: Clone
    folder: Path
    cut: str = ""
    after_the_cut: dict[str, bytes] = field(default_factory=dict)

    def second(self, name: str) -> Clone:
        return clone(self.first.folder, self.folder / name, self.first.environment)


def gathered(kind: str, study: Clone, folder: Path, cut: bool) -> Iterator[Team]:
    with servers.opened(kind, folder) as server:
        first = clone(study.folder, folder / "first", server.environment)
        shutil.copytree(study.folder / ".dvc/cache", first.folder / ".dvc/cache", copy_function=os.link)
        first.remote("set", server.url, *server.settings)
        first.git("commit", "-qam", "a remote")
        team = Team(server, first, folder)
        if cut and server.wire:
            server.wire.cut_after(600_000, "up")
            team.cut = first.remote("push", fails=True)
            assert server.wire.dead
            team.after_the_cut = server.objects()
            server.wire.mend()
        first.remote("push")
        yield team


@pytest.fixture(scope="module", params=servers.KINDS)
def team(request: pytest.FixtureRequest, study: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """A team at each kind of remote; where it is a server, it died in the first push."""
    yield from gathered(request.param, study, tmp_path_factory.mktemp(request.param), cut=True)


def own_settings(team: Team, name: str) -> Clone:
    """Another clone, with what its owner must set for himself: nothing of that is in git."""
    other = team.second(name)
    if (local := team.first.folder / ".dvc/config.local").read_text():
        shutil.copyfile(local, other.folder / ".dvc/config.local")
    return other


def test_what_is_pushed_is_whole_even_after_a_push_that_was_cut(team: Team) -> None:
    assert team.server.objects() == team.first.objects()
    assert intact(team.server.objects())
    if team.server.wire:
        assert 0 < len(team.after_the_cut) < len(team.server.objects())
        assert "make push" in team.cut and "Traceback" not in team.cut


def test_no_secret_is_in_git(team: Team) -> None:
    config = (team.first.folder / ".dvc/config").read_text()
    assert "verify = True" in config and "remote = team" in config and str(team.server.url) in config
    assert team.first.git("status", "--porcelain") == ""
    tracked = team.first.git("grep", "-lE", f"{servers.PASSWORD}|keyfile =", "--", ":!tests", fails=True)
    assert tracked == ""
    assert (team.first.folder / ".dvc/config.local").stat().st_mode & 0o077 == 0


def test_damage_and_death_on_the_way_and_in_the_end_a_clone_has_all_and_runs_nothing(team: Team) -> None:
    other = own_settings(team, "other")
    listing, weights = team.first.outputs()["models/full/second/1"], team.first.weights("second")
    whole = {name: team.server.objects()[name] for name in (listing, weights)}

    # a listing that names another file: DVC alone would put it there
    team.server.write(listing, whole[listing].replace(b"model.weights.h5", b"../weights.h5"))
    said = other.remote("pull", fails=True)
    assert f"models/full/second/1 ({listing}) is damaged on the remote; nothing was pulled" in said
    assert not (other.folder / "models/full").is_dir()
    team.server.write(listing, whole[listing])

    if team.server.wire:
        team.server.wire.cut_after(600_000, "down")
        assert "make pull" in other.remote("pull", fails=True)
        assert team.server.wire.dead and 0 < len(other.cached()) < len(team.first.objects())
        team.server.wire.mend()

    # one bit
    if weights in other.cached():
        (other.folder / ".dvc/cache/files/md5" / weights[:2] / weights[2:]).unlink()
    team.server.write(weights, whole[weights][:-1] + bytes([whole[weights][-1] ^ 1]))
    said = other.remote("pull", fails=True)
    assert f"models/full/second/1/model.weights.h5 ({weights}) is damaged on the remote and was not taken" in said
    assert weights not in other.cached() and not (other.folder / "models/full/second/1/model.weights.h5").exists()
    team.server.write(weights, whole[weights])

    other.remote("pull")
    assert other.cached() == team.first.objects()
    for output in ("data/videos", "data/frames", "data/faces", "data/crops", "models"):
        for path in (other.folder / output).rglob("*"):
            assert path.is_dir() or hashlib.md5(path.read_bytes()).hexdigest() in other.cached()
    assert ran(other.dvc("repro")) == []
    assert "up to date" in other.dvc("status")
    assert other.git("status", "--porcelain") == ""
