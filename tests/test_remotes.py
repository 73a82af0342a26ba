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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from dvc.config import Config
from dvc.config_schema import REMOTE_SCHEMAS

from commands import remote
from facestudy.core import tables
from facestudy.core.errors import StudyError
from tests import servers
from tests.pipeline_files import ROOT
from tests.project import SMALL, call, copy_project, deep_update, environment_for, params, write_params

pytestmark = pytest.mark.timeout(300)

TINY = {
    "sample": {"people": 8, "seconds": 0.2, "fps": 5},
    "frames": {"per_video": 1},
    "split": {"test": 0.34, "validation": 0.3},
    "crops": {"size": [64, 64], "sheet_faces": 1},
    "variants": ["full"],
    "seeds": [1],
    "compute": {"workers": 1},
}
PINS = [ROOT / "requirements.txt", *(ROOT / "remotes").glob("*.txt")]
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
        done = subprocess.run(
            command, cwd=self.folder, env=environment | self.environment, capture_output=True, text=True, timeout=200
        )
        said = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, f"{' '.join(command)}: {said[-4000:]}"
        return said

    def dvc(self, *options: str, fails: bool = False) -> str:
        return self.run("dvc", *options, fails=fails)

    def git(self, *options: str, fails: bool = False) -> str:
        return self.run("git", *options, fails=fails)

    def remote(self, *options: str, fails: bool = False) -> str:
        """`make remote`, `make push`, `make pull`."""
        return self.run("python", "commands/remote.py", *options, fails=fails)

    def cached(self) -> dict[str, bytes]:
        """The objects in this clone's cache, by checksum."""
        found = (self.folder / ".dvc/cache/files/md5").glob("??/*")
        return {path.parent.name + path.name: path.read_bytes() for path in found}

    def outputs(self) -> dict[str, str]:
        """The folders of the lock that DVC shares, and the checksums of their listings."""
        shared = ("data/", "models/", "reports/figures")
        return {out["path"]: out["md5"] for out in self.outs() if out["path"].startswith(shared) and "nfiles" in out}

    def outs(self) -> list[dict[str, str]]:
        """The outputs of the lock."""
        stages = yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"].values()
        return [out for stage in stages for out in stage["outs"]]

    def objects(self) -> dict[str, bytes]:
        """What of the cache belongs to the lock (the run cache is not shared)."""
        cached = self.cached()
        listings = [listing for listing in self.outputs().values() if listing in cached]
        names = {checksum for listing in listings for checksum in self.files(listing)}
        names |= {out["md5"] for out in self.outs() if out["path"] == "reports/index.html"}
        return {name: cached[name] for name in {*listings, *names} & set(cached)}

    def files(self, listing: str) -> dict[str, str]:
        """Checksums and names of the files of a listing in the cache."""
        return {entry["md5"]: entry["relpath"] for entry in json.loads(self.cached()[listing])}

    def weights(self, model: str) -> str:
        """The checksum of a model's weights."""
        files = self.files(self.outputs()[f"models/full/{model}"])
        return next(checksum for checksum, name in files.items() if name == "1/model.weights.h5")


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
    made = Clone(copy_project(tmp_path_factory.mktemp("study"), study_params()))
    assert len(ran(made.dvc("repro"))) == 6 + 2 + 2 + 2 + 9
    made.git("add", "-A")
    made.git("commit", "-qm", "results")
    return made


@dataclass
class Team:
    """A remote, the clone that has pushed to it, and what became of the push that was cut."""

    server: servers.Remote
    study: Clone
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
        team = Team(server, study, first, folder)
        if cut and server.wire:
            server.wire.cut_after(600_000, "up")
            team.cut = first.remote("push", fails=True)
            assert server.wire.dead
            team.after_the_cut = server.objects()
            server.wire.restore()
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
    held = team.server.objects()
    assert held == team.first.objects() and intact(held)
    if team.server.wire:
        assert 0 < len(team.after_the_cut) < len(held)
        assert "make push" in team.cut and "Traceback" not in team.cut


def test_no_secret_is_in_git(team: Team) -> None:
    config = (team.first.folder / ".dvc/config").read_text()
    assert "verify = True" in config and "remote = team" in config and str(team.server.url) in config
    assert team.first.git("status", "--porcelain") == ""
    tracked = team.first.git("grep", "-lE", f"{servers.PASSWORD}|keyfile =", "--", ":!tests", fails=True)
    assert tracked == ""
    assert (team.first.folder / ".dvc/config.local").stat().st_mode & 0o077 == 0


def test_interrupted_sharing_still_completes(team: Team) -> None:
    other = own_settings(team, "other")
    listing, weights = team.first.outputs()["models/full/second"], team.first.weights("second")
    whole = team.first.objects()

    # a listing that names another file: DVC alone would put it there
    team.server.write(listing, whole[listing].replace(b"model.weights.h5", b"../weights.h5"))
    said = other.remote("pull", fails=True)
    assert f"models/full/second ({listing}) is damaged on the remote; nothing was pulled" in said
    assert not (other.folder / "models/full").is_dir()
    team.server.write(listing, whole[listing])

    if team.server.wire:
        team.server.wire.cut_after(600_000, "down")
        assert "make pull" in other.remote("pull", fails=True)
        assert team.server.wire.dead and 0 < len(other.cached()) < len(team.first.objects())
        team.server.wire.restore()

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
    for output in other.outputs():
        for path in (other.folder / output).rglob("*"):
            assert path.is_dir() or hashlib.md5(path.read_bytes()).hexdigest() in other.cached()
    assert ran(other.dvc("repro")) == []
    assert "up to date" in other.dvc("status")
    assert other.git("status", "--porcelain") == ""


@pytest.mark.parametrize("team", ["webdav"], indirect=True)
def test_pull_fetches_only_what_one_setting_touches(team: Team) -> None:
    assert team.server.wire is not None
    other = own_settings(team, "changed")
    values = yaml.safe_load((other.folder / "params.yaml").read_text())
    values["models"]["second"]["learning_rate"] = 0.003
    write_params(other.folder, values)
    before, sent = len(team.server.wire.requests("GET")), len(team.server.wire.sent)
    other.remote("check")
    listings = set(other.outputs().values())
    assert set(other.cached()) == listings
    said = other.dvc("repro", "--pull", "--allow-missing", "--no-run-cache")
    assert sorted(ran(said)) == [
        "attribution",
        "compare",
        "curves",
        "evaluate@second-full",
        "focus",
        "hypotheses",
        "page",
        "report",
        "robustness",
        "train@second-full",
    ]
    paths = team.server.wire.requests("GET")[before:]
    fetched = {"".join(path.split("/")[-2:]) for path in paths if "/files/md5/" in path}
    crops = [team.first.outputs()[f"data/{name}/full"] for name in ("crops", "altered")]
    assert fetched == {*listings, *team.first.files(crops[0]), *team.first.files(crops[1])}
    assert b"/runs" not in team.server.wire.sent[sent:], "no list that only the remote names is believed"
    assert not {team.first.weights(model) for model in MODELS} & set(other.cached())

    # back to the team: the new weights and nothing else
    held = set(team.server.objects())
    other.git("commit", "-qam", "faster")
    other.remote("push")
    new, figures = (other.outputs()[name] for name in ("models/full/second", "reports/figures"))
    page = {out["md5"] for out in other.outs() if out["path"] == "reports/index.html"}
    assert set(team.server.objects()) - held == {new, *other.files(new), figures, *other.files(figures), *page} - held
    third = clone(other.folder, team.folder / "third", other.environment)
    shutil.copyfile(other.folder / ".dvc/config.local", third.folder / ".dvc/config.local")
    third.remote("pull", "models/full/second/1")
    assert third.weights("second") == other.weights("second") != team.first.weights("second")
    assert [path.name for path in (third.folder / "models/full").iterdir()] == ["second"]


@pytest.mark.parametrize("team", ["directory"], indirect=True)
def test_forged_list_is_refused_and_missing_one_not_needed(team: Team) -> None:
    other = own_settings(team, "careful")
    listing, missing = (team.first.outputs()[path] for path in ("data/crops/full", "models/full/second"))
    whole = team.first.objects()
    entries = json.loads(whole[listing])
    entries[0]["relpath"] = "../../../evil.txt"
    forged = json.dumps(entries).encode()
    team.server.write(listing, forged)
    absent = team.server.store / "files/md5" / missing[:2] / missing[2:]
    absent.unlink()
    said = other.remote("check", fails=True)
    assert f"data/crops/full ({listing}) is damaged on the remote; nothing was pulled" in said
    team.server.write(listing, whole[listing])
    assert "1 are neither here nor on the remote" in other.remote("check")
    assert "0 are neither here nor on the remote" in other.remote("check", "data/crops/full")
    absent.write_bytes(whole[missing])
    assert set(other.cached()) == set(other.outputs().values()) - {missing}

    # one that dvc.lock names
    lock, name = other.folder / "dvc.lock", hashlib.md5(forged).hexdigest() + ".dir"
    lock.write_text(lock.read_text().replace(listing, name))
    place = team.server.store / "files/md5" / name[:2] / name[2:]
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(forged)
    said = other.remote("check", fails=True)
    place.unlink()
    assert "'../../../evil.txt' is not a file below it" in said and "Traceback" not in said
    assert not list(team.folder.parent.rglob("evil.txt"))


@pytest.mark.parametrize("team", ["directory"], indirect=True)
def test_damaged_local_object_is_not_pushed(team: Team) -> None:
    other = own_settings(team, "rotten")
    other.remote("pull")
    weights, listing = other.weights("second"), other.outputs()["models/full/second"]
    local = other.folder / ".dvc/cache/files/md5" / weights[:2] / weights[2:]
    held = team.server.objects()
    local.chmod(0o644)
    local.write_bytes(held[weights][:-1])
    local.chmod(0o444)
    there = {name: team.server.store / "files/md5" / name[:2] / name[2:] for name in (weights, listing)}
    for _ in ("shorter than there", "not there at all"):
        said = other.remote("push", fails=True)
        path = local.relative_to(other.folder)
        assert f"models/full/second/1/model.weights.h5 ({path}) is damaged in this clone's cache" in said
        assert "Traceback" not in said
        assert team.server.objects() == {name: held[name] for name in held if there.get(name, local).exists()}
        for file in there.values():
            file.unlink(missing_ok=True)
    for name, file in there.items():
        file.write_bytes(held[name])
    local.unlink()
    other.remote("pull")
    other.remote("push")
    assert team.server.objects() == held and other.cached()[weights] == held[weights]


@pytest.mark.parametrize("team", ["directory"], indirect=True)
def test_pull_says_what_is_misspelt_and_what_is_nowhere(team: Team) -> None:
    other = own_settings(team, "nowhere")
    said = other.remote("pull", "modls", fails=True)
    assert (
        "WHAT: 'modls' is not a stage" in said
        and "give one of videos, frames, faces, crops, altered, train, page, or" in said
    )
    assert "Traceback" not in said and "Traceback" not in other.remote("check", "../x", fails=True)
    weights, listing = team.first.weights("second"), team.first.outputs()["models/full/second"]
    for checksum, name in ((weights, "models/full/second/1/model.weights.h5"), (listing, "models/full/second")):
        place = team.server.store / "files/md5" / checksum[:2] / checksum[2:]
        place.rename(place.with_suffix(".aside"))
        said = other.remote("pull", "train", fails=True)
        assert f"{name} ({checksum}) is not on the remote. `make push` in the clone" in said
        place.with_suffix(".aside").rename(place)
        for held in (weights, listing):
            (other.folder / ".dvc/cache/files/md5" / held[:2] / held[2:]).unlink(missing_ok=True)
    other.remote("pull", "models/full/second")


@pytest.mark.parametrize("team", ["directory"], indirect=True)
def test_an_experiment_and_its_data_go_from_one_to_another(team: Team) -> None:
    one, two, wary = (own_settings(team, name) for name in ("one", "two", "wary"))
    said = one.dvc("exp", "run", "--pull", "--allow-missing", "-n", "slow", "-S", "models.second.learning_rate=0.0005")
    assert "train@second-full" in ran(said)
    one.dvc("exp", "push", "origin", "slow")
    two.dvc("exp", "pull", "origin", "slow")
    two.dvc("exp", "apply", "slow")
    wary.dvc("exp", "pull", "--no-cache", "origin", "slow")
    assert "models/full/second" in wary.dvc("exp", "apply", "slow", fails=True)
    wary.remote("pull")
    for other in (two, wary):
        assert other.weights("second") == one.weights("second") != team.first.weights("second")
        assert intact({name: other.cached()[name] for name in (other.weights("second"), *other.outputs().values())})
        assert (other.folder / "models/full/second/1/model.weights.h5").is_file()
        assert "up to date" in other.dvc("status")


@pytest.mark.parametrize(
    "entries",
    [
        [{"md5": "0" * 32, "relpath": "../evil.txt"}],
        [{"md5": "0" * 32, "relpath": "/evil.txt"}],
        [{"md5": "0" * 32, "relpath": "a/./b"}],
        [{"md5": "../../../evil", "relpath": "a"}],
        [{"md5": "0" * 32, "relpath": "a"}, {"md5": "1" * 32, "relpath": "a"}],
        [{"md5": "0" * 32}],
        ["a"],
        7,
    ],
)
def test_a_list_of_what_is_not_in_its_folder_is_none(entries: object) -> None:
    with pytest.raises(ValueError, match=r"it is not a list|not a file below it|appears twice"):
        remote.listed(json.dumps(entries).encode())


def test_results_are_made_and_compared_in_a_clone_without_data(study: Clone, tmp_path: Path) -> None:
    empty, other = (clone(study.folder, tmp_path / name, {}) for name in ("empty", "other"))
    said = empty.dvc("exp", "run", "--allow-missing", "-n", "wider", "-S", "evaluate.confidence=0.99")
    assert sorted(ran(said)) == [
        "compare", "curves", "evaluate@mesonet-full", "evaluate@second-full", "focus", "hypotheses", "page", "report",
        "robustness",
    ]  # fmt: skip
    assert not (empty.folder / "data/videos").exists() and not list((empty.folder / "models").rglob("*.h5"))
    empty.dvc("exp", "push", "--no-cache", "origin", "wider")
    other.dvc("exp", "pull", "--no-cache", "origin", "wider")
    (ref,) = other.git("for-each-ref", "--format=%(refname)", "refs/exps/*/*/wider").split()
    for model in MODELS:
        name = f"metrics/full/{model}.json"
        before, after = (json.loads(other.git("show", f"{revision}:{name}")) for revision in ("main", ref))
        assert after["accuracy_groups_low"] < before["accuracy_groups_low"]
        assert after["accuracy_groups_high"] > before["accuracy_groups_high"]


def test_documented_cleanup_keeps_experiments(study: Clone, tmp_path: Path) -> None:
    held = clone(study.folder, tmp_path / "held", {})
    shutil.copytree(study.folder / ".dvc/cache", held.folder / ".dvc/cache")
    held.dvc("checkout")
    kept = {held.weights("second")}
    for name, rate in (("slow", 0.0001), ("given_up", 0.01)):
        said = held.dvc("exp", "run", "-n", name, "-S", f"models.second.learning_rate={rate}")
        assert "train@second-full" in ran(said)
        kept.add(held.weights("second"))
    given_up = held.weights("second")
    held.git("checkout", "-q", "--", ".")
    held.dvc("exp", "remove", "given_up")
    assert len(kept) == 3 and kept <= set(held.cached())
    held.dvc("gc", "--all-commits", "--all-experiments", "--force")
    assert kept - set(held.cached()) == {given_up}
    assert set(study.objects()) <= set(held.cached()), "main's data are gone"
    held.dvc("gc", "--all-commits", "--force")
    assert kept & set(held.cached()) == {study.weights("second")}, "the document warns of a loss that does not happen"


SCORE = """
import sys, cv2, yaml
from pathlib import Path
from facestudy.models.settings import ModelSettings
from facestudy.models.networks import load
from facestudy.core.settings import check
settings = check(ModelSettings, yaml.safe_load(open("params.yaml"))["models"]["second"], "models.second")
model = load(settings, Path("weights/model.weights.h5"), sha256=sys.argv[2])
picture = cv2.cvtColor(cv2.imread(sys.argv[1]), cv2.COLOR_BGR2RGB)
print("p_fake", float(model.predict(picture[None], verbose=0)[0, 0]))
"""


@pytest.mark.parametrize("team", ["directory"], indirect=True)
def test_a_model_fetched_into_another_project_scores_a_picture(team: Team, tmp_path: Path) -> None:
    project = Clone(tmp_path, {"PYTHONPATH": ""})
    source = team.first.folder.as_uri()
    for path, name in (("models/full/second/1", "weights"), ("facestudy", "facestudy"), ("params.yaml", "params.yaml")):
        project.dvc("get", source, path, "-o", name)
    predictions = tables.read(team.first.folder / "predictions/full/second/1.csv", tables.PREDICTIONS)
    crops = tables.read(team.study.folder / "data/crops/full/index.csv", tables.CROPS).set_index("face_id")["path"]
    row = predictions.iloc[0]
    (tmp_path / "score.py").write_text(SCORE)
    picture = team.study.folder / "data/crops/full" / crops[row["face_id"]]
    digest = hashlib.sha256((team.study.folder / "models/full/second/1/model.weights.h5").read_bytes()).hexdigest()
    said = project.run("python", "score.py", str(picture), digest)
    found = re.search(r"p_fake (\S+)", said)
    assert found and float(found[1]) == pytest.approx(row["p_fake"], abs=1e-5)


@pytest.mark.parametrize("team", ["directory"], indirect=True)
def test_a_model_is_fetched_by_its_name(team: Team, tmp_path: Path) -> None:
    source, weights = team.second("named"), "models/full/mesonet/1/model.weights.h5"
    source.git("tag", "-a", "-m", "first", "mesonet-full@v1.0.0")
    project = Clone(tmp_path, team.first.environment)
    project.dvc("artifacts", "get", str(source.folder), "mesonet-full")
    (found,) = tmp_path.rglob("model.weights.h5")
    assert found.read_bytes() == (team.study.folder / weights).read_bytes()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://me:hidden@bucket/study", "has a password"),
        ("webdavs://me:hidden@host/study", "has a password"),
        ("s3://hidden@bucket/study", "has a password, user"),
        ("azure://container/study?sig=hidden", "?query or #fragment in it"),
        ("webdavs://host/study#hidden", "?query or #fragment in it"),
        ("ssh://[hidden", "URL: the address cannot be read"),
        ("ssh://host:hidden/study", "URL: the address cannot be read"),
        ("https://host/study", "https:// is not a remote that this project sets up"),
        ("s3://", "names no place"),
        ("", "names no place"),
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str, says: str) -> None:
    with pytest.raises(StudyError) as error:
        remote.check_url(url)
    assert says in str(error.value) and "hidden" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("region", "is not of the form KEY=VALUE"),
        ("pasword=hidden", "pasword is not a setting of such a remote"),
        ("verify=false", "verify is not a setting"),
        ("version_aware=true", "version_aware is not a setting"),
        ("endpointurl=https://me:hidden@host", "the address of endpointurl has a password, user"),
        ("endpointurl=https://hidden@host", "the address of endpointurl has a password, user"),
        ("endpointurl=https://host/?token=hidden", "?query or #fragment in it"),
        ("endpointurl=https://host/#hidden", "?query or #fragment in it"),
        ("endpointurl=http://[hidden", "SET: endpointurl: the address cannot be read"),
        ("endpointurl=hidden:9000", "endpointurl is not an address"),
        ("credentialpath=~nosuchuser/hidden", "SET: credentialpath: ~nosuchuser names no user"),
    ],
)
def test_a_setting_that_is_none_is_refused(setting: str, says: str) -> None:
    with pytest.raises(StudyError) as error:
        remote.check_settings("s3", [setting])
    assert says in str(error.value) and "hidden" not in str(error.value)


def test_only_paths_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    found = remote.check_settings("ssh", ["keyfile=~/.ssh/id", "password=~/x", "passphrase=~nosuchuser/x"])
    assert found == {"keyfile": "/home/me/.ssh/id", "password": "~/x", "passphrase": "~nosuchuser/x"}
    with pytest.raises(StudyError, match="URL: ~nosuchuser names no user of this machine"):
        remote.set_remote("~nosuchuser/x", "team", [])
    assert {key for scheme in ("", *remote.PLUGINS) for key in REMOTE_SCHEMAS[scheme]} > remote.PATHS


def test_what_is_secret_is_never_in_a_file_that_others_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote, "install", lambda plugin: None)
    monkeypatch.setattr(Path, "chmod", lambda *_, **__: None)  # a later fix comes too late
    remote.set_remote("s3://bucket/study", "team", ["secret_access_key=hidden"])
    assert "hidden" in Path(".dvc/config.local").read_text()
    assert Path(".dvc/config.local").stat().st_mode & 0o777 == 0o600


def test_nothing_that_make_is_given_is_run(tmp_path: Path) -> None:
    copy_project(tmp_path)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("python", ".installed"):
        (tmp_path / ".venv/bin" / name).touch()
    hostile = "p&touch injected; $(touch injected) `touch injected` $(shell touch injected) * $HOME"
    given = f"SET=region=eu secret_access_key='{hostile}'"

    def said(*command: str) -> str:
        done = call(tmp_path, "make", *command)
        assert "Traceback" not in done.stderr and not (tmp_path / "injected").exists()
        return done.stdout + done.stderr

    assert "there is no default remote" in said("pull", f"WHAT={hostile}")
    assert "presets" in said("study", f"PRESET={hostile}", given)
    assert "names no place" in said("remote")
    assert "is not a valid name of a remote" in said("remote", "URL=s3://bucket/study", f"NAME={hostile}")
    assert "SET: a quote is opened and not closed" in said("remote", "URL=s3://bucket/study", "SET=region='eu")
    assert "mine is the default remote" in said("remote", "URL=s3://bucket/study", "NAME=mine", given)
    found = Config(str(tmp_path / ".dvc"))["remote"]["mine"]
    assert (found["region"], found["secret_access_key"]) == ("eu", hostile)


def test_every_file_of_pins_is_audited_with_a_pinned_tool() -> None:
    said = call(ROOT, "make", "--dry-run", "audit", "lock").stdout
    assert all(f"--requirement {path.relative_to(ROOT)}" in said for path in PINS)
    assert said.count("install --quiet uv") == len(re.findall(r"install --quiet uv==[\d.]+\n", said)) == 2


def test_own_remote_settings_outlive_shared_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote, "install", lambda plugin: None)
    remote.set_remote("s3://bucket/study", "team", ["region=eu", "secret_access_key=hidden"])
    assert Config.from_cwd()["remote"]["team"]["secret_access_key"] == "hidden"
    assert "hidden" not in Path(".dvc/config").read_text()
    remote.set_remote("s3://bucket/moved", "team", [])
    found = Config.from_cwd()["remote"]["team"]
    assert (found["url"], found["secret_access_key"], "region" in found) == ("s3://bucket/moved", "hidden", False)
    Path(".dvc/config").write_text("")  # as on a branch from before the remote
    assert Config.from_cwd()["remote"]["team"]["url"] == "s3://bucket/moved"
    remote.set_remote("webdavs://host/study", "team", ["user=me"])
    found = Config.from_cwd()["remote"]["team"]
    assert (found["url"], found["user"], found["verify"]) == ("webdavs://host/study", "me", True)
    assert "hidden" not in Path(".dvc/config.local").read_text()


def test_git_keeps_no_setting_that_is_secret_or_personal() -> None:
    known = {str(key) for scheme in ("", *remote.PLUGINS) for key in REMOTE_SCHEMAS[scheme]}
    assert known > remote.SHARED
    personal = "pass|secret|token|key|credential|connection_string|user|profile|path|auth$|header|client|command"
    assert not [key for key in remote.SHARED if re.search(personal, key)]


def test_every_plug_in_is_pinned_once_and_fits() -> None:
    pins = {path.name: set(re.findall(r"^([a-z0-9-]+)==", path.read_text(), re.MULTILINE)) for path in PINS}
    for plugin in remote.PLUGINS.values():
        assert any(f"dvc-{plugin}" in found for found in pins.values()), plugin
    for name, found in pins.items():
        assert name == "requirements.txt" or not found & pins["requirements.txt"]


def test_without_a_remote_it_says_how_to_get_one(study: Clone) -> None:
    for command in ("push", "pull"):
        said = study.remote(command, fails=True)
        assert "there is no default remote; `make remote URL=…` sets one up." in said and "Traceback" not in said
    assert "Traceback" not in study.remote("set", "ftp://host/study", fails=True)
