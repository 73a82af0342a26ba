"""The private copy in which a study runs: the files of the work tree as they are, and nothing changed in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from commands import study
from commands.private_copy import alone, check_name, earlier, make_copy, publish
from facestudy.core.errors import StudyError
from tests.project import call, copy_project

EDITED = {"README.md": "mine\n", "stages/split.py": "# mine\n", "params.yaml": "# mine\n"}
NEW = {"a name, é\n.txt": "new\n", "presets/mine.yaml": "seeds: [1]\n", "LICENSE/inner.txt": "a folder now\n"}
STAGED = {"docs/staged.md": "staged, then edited\n"}


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("committed"))


@pytest.fixture(params=["clone", "shallow", "worktree"])
def project(request: pytest.FixtureRequest, committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in one of its forms, with edits of every kind, as the working directory."""
    folder = tmp_path / "my project"
    if request.param == "worktree":
        done = call(committed, "git", "worktree", "add", "-q", "--detach", str(folder))
    else:
        depth = ["--depth", "1"] if request.param == "shallow" else []
        done = call(tmp_path, "git", "clone", "-q", *depth, f"file://{committed}", str(folder))
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(folder)
    Path("LICENSE").unlink()
    for name, text in (EDITED | NEW | STAGED).items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(Path(name).read_text() + text if name in EDITED else text)
    Path("docs/link.md").symlink_to("crops.md")
    call(folder, "git", "add", "stages/split.py", *STAGED, "docs/link.md")
    Path("docs/staged.md").write_text("edited again\n")
    Path("docs/faces.md").write_bytes(b"")
    call(folder, "git", "rm", "-q", "--cached", "docs/sample.md")
    Path("CITATION.cff").unlink()
    Path("Makefile").chmod(0o755)
    return folder


def state(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    """Mode and content of every file that git tracks or would add, and what git says of it."""
    names = call(folder, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout.split("\0")
    places = {name: folder / name for name in names if name and os.path.lexists(folder / name)}
    places = {name: place for name, place in places.items() if place.is_symlink() or not place.is_dir()}
    return {
        name: (place.lstat().st_mode, str(place.readlink()) if place.is_symlink() else place.read_bytes())
        for name, place in places.items()
    } | {"": (0, call(folder, "git", "status", "--porcelain=v2", "--untracked-files=all").stdout)}


def test_a_copy_has_the_work_tree_and_a_study_leaves_it(project: Path) -> None:
    before = state(project)
    copy = make_copy("mine", project / ".dvc/cache", None)
    expected, found = state(project), state(copy)
    assert expected == before
    del expected[""], found[""]
    assert found == expected
    assert (copy / ".cache").resolve() == project / ".cache"

    focus = copy / "metrics/focus.json"
    focus.parent.mkdir(exist_ok=True)
    focus.write_text("{}\n")
    publish(copy, "mine")
    assert state(project) == before
    assert (project / "studies/mine/metrics/focus.json").exists() and not copy.exists()
    head = call(project, "git", "rev-parse", "HEAD").stdout.strip()
    ref = f"refs/exps/{head[:2]}/{head[2:]}/mine"
    assert call(project, "git", "show", f"{ref}:metrics/focus.json").stdout == "{}\n"
    assert call(project, "git", "rev-parse", f"{ref}^").stdout.strip() == head
    changed = set(call(project, "git", "diff", "-z", "--no-renames", "--name-only", head, ref).stdout.split("\0"))
    tracked = {*EDITED, *STAGED, "docs/link.md", "CITATION.cff", "LICENSE", "Makefile", "metrics/focus.json"}
    assert changed - {""} == tracked  # nothing that git does not track
    assert earlier("mine").startswith("source sample, made 20")


def test_a_study_replaces_all_of_its_name(project: Path) -> None:
    """Also one of an earlier commit; a reader never finds none or two."""
    publish(make_copy("mine", project / ".dvc/cache", None), "mine")
    publish(make_copy("other", project / ".dvc/cache", None), "other")
    call(project, "git", "commit", "-qam", "goes on")
    publish(make_copy("mine", project / ".dvc/cache", None), "mine")
    refs = call(project, "git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    assert sorted(ref.rpartition("/")[2] for ref in refs) == ["mine", "other"]
    assert sorted(path.name for path in Path("studies").iterdir()) == ["mine", "other"]


def test_data_are_not_copied(
    committed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(committed)
    for name, size in (("clips/real/a.mp4", 10), ("large.bin", 11_000_000), ("small.csv", 10)):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(bytes(size))
    copy = make_copy("mine", committed / ".dvc/cache", Path("clips"))
    assert not (copy / "clips").exists() and not (copy / "large.bin").exists() and (copy / "small.csv").exists()
    assert "not copied into the study's folder: 'large.bin'.\n" in capsys.readouterr().out
    call(committed, "git", "clean", "-fdq")


def test_a_copy_has_the_own_settings_of_dvc(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(committed)
    own = Path(".dvc/config.local")
    own.write_text("['remote \"team\"']\n    password = secret\n    url = webdavs://host/path\n")
    own.chmod(0o600)
    before = own.read_text()
    copy = make_copy("mine", Path("/some where/cache"), None)
    text = (copy / own).read_text()
    assert "password = secret" in text and "dir = /some where/cache" in text
    assert (copy / own).stat().st_mode & 0o777 == 0o600
    assert call(copy, "git", "status", "--porcelain").stdout == ""
    assert own.read_text() == before


def test_paths_of_the_user_stay_valid_in_a_copy(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(committed)
    for name in ("clips/real/a.mp4", "clips/fake/a.mp4", "data/input/w.h5", "data/lists/l.csv", "cookies.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    given = ["folder.path=clips", "models.resnet50.width=1.0", "models.resnet50.weights=data/input/w.h5"]
    given += ["models.vgg19.weights=imagenet", "models.vgg19.width=1.0", f"models.resnet50.weights_sha256={'a' * 64}"]
    given += [
        "models.vgg19.batch_norm=false",
        "youtube.lists=[{path: data/lists/l.csv}]",
        "youtube.cookies=cookies.txt",
    ]
    merged, _ = study.preset_settings("videos", given)
    copy = make_copy("mine", committed / ".dvc/cache", Path("clips"))
    study.write_settings(merged, copy)
    values = yaml.safe_load((copy / "params.yaml").read_text())
    assert values["folder"]["path"] == str(committed / "clips")
    assert values["models"]["resnet50"]["weights"] == str(committed / "data/input/w.h5")
    assert values["models"]["vgg19"]["weights"] == "imagenet"
    assert values["youtube"]["cookies"] == str(committed / "cookies.txt")
    assert values["youtube"]["lists"] == [{"path": "data/lists/l.csv"}]  # the copy has it too
    call(committed, "git", "clean", "-fdq")


@pytest.mark.parametrize(
    "name", ["Main", "a b", "../x", "a..b", "-x", ".x", "x.lock", "x.unfinished", "é", "x/y", "x."]
)
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(StudyError, match="give letters a-z, digits"):
        check_name(name)


def test_a_name_that_git_knows_is_refused(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(committed)
    check_name("first-try_2.0")
    with pytest.raises(StudyError, match="NAME = main is a branch, tag or commit"):
        check_name("main")


def test_two_studies_of_one_name_do_not_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with alone("mine"), alone("other"), pytest.raises(StudyError, match="a study mine is running"), alone("mine"):
        pass
    with alone("mine"):
        pass
