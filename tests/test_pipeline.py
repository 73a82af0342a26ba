"""The whole study on a tiny sample, with real TensorFlow and real DVC: what runs, when, and what it says."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from commands.provenance import seconds_by_stage
from facestudy.alterations.settings import ALTERED_SCORES
from facestudy.core import tables
from tests.project import SMALL, call, copy_project, deep_update, environment_for, params, write_params

TINY = {
    "sample": {"people": 12, "seconds": 0.4, "fps": 5},
    "frames": {"per_video": 2},
    "split": {"test": 0.34, "validation": 0.3},
    "crops": {"size": [64, 64], "sheet_faces": 2},
    "models": {"mesonet": SMALL, "vgg19": SMALL | {"width": 0.0625}, "resnet50": SMALL | {"width": 0.0625}},
    "seeds": [1],
    "variants": ["full", "eyes_lower"],
}


def dvc(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["dvc", *options], cwd=folder, env=environment_for(folder), capture_output=True, text=True, timeout=590
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def ran(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The stages that a `dvc repro` ran, in order."""
    return re.findall(r"Running stage '([^']+)'", done.stdout)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project that has run the tiny study once and committed it."""
    folder = copy_project(tmp_path_factory.mktemp("study"), deep_update(params(), TINY))
    done = dvc(folder, "repro")
    assert len(ran(done)) == 6 + 2 + 2 + 6 + 6 + 9
    call(folder, "git", "add", "-A")
    assert call(folder, "git", "commit", "-qm", "results").returncode == 0
    return folder


@pytest.mark.timeout(650)
def test_every_contract_holds(project: Path) -> None:
    videos = tables.read(project / "data/videos/index.csv", tables.VIDEOS)
    frames = tables.read(project / "data/frames/index.csv", tables.FRAMES)
    faces = tables.read(project / "data/faces/index.csv", tables.FACES)
    dropped = tables.read(project / "data/faces/dropped.csv", tables.DROPPED)
    split = tables.read(project / "data/split.csv", tables.SPLIT)
    assert len(videos) == 24 and (videos["status"] == "ok").all()
    assert len(frames) == 48
    assert len(faces) + len(dropped) == len(frames)
    assert len(faces) >= 0.85 * len(frames)  # of so few people
    for table, root in ((videos, "data/videos"), (frames, "data/frames"), (faces, "data/faces")):
        assert all((project / root / path).is_file() for path in table["path"])
    assert split.groupby("group")["video_id"].nunique().max() == 2  # a person's two clips
    scored = split[split["subset"].isin(["validation", "test"])]
    tested = split.loc[split["subset"] == "test", "face_id"].tolist()
    alterations = ["shift_4", "rotate_5", "scale_5"]
    for variant in ("full", "eyes_lower"):
        crops = tables.read(project / f"data/crops/{variant}/index.csv", tables.CROPS)
        assert set(crops["face_id"]) == set(faces["face_id"])
        assert (project / f"reports/crops/{variant}.png").is_file()
        assert json.loads((project / f"data/altered/{variant}/alterations.json").read_text()) == alterations
        for model in ("mesonet", "vgg19", "resnet50"):
            predictions = tables.read(project / f"predictions/{variant}/{model}/1.csv", tables.PREDICTIONS)
            assert predictions.drop(columns="p_fake").equals(scored.drop(columns="repeat").reset_index(drop=True))
            altered = tables.read(project / f"predictions/{variant}/{model}/1.altered.csv", ALTERED_SCORES)
            assert altered.groupby("alteration")["face_id"].agg(list).to_dict() == dict.fromkeys(alterations, tested)
            assert predictions["p_fake"].between(0, 1).all() and altered["p_fake"].between(0, 1).all()
            metrics = json.loads((project / f"metrics/{variant}/{model}.json").read_text())
            assert all(isinstance(value, int | float) for value in metrics.values())
            assert metrics["test_faces"] == (split["subset"] == "test").sum()
    results = (project / "metrics/results.md").read_text()
    assert all(model in results for model in ("mesonet", "vgg19", "resnet50"))
    assert "sample" in results
    taken = seconds_by_stage(project)
    assert {"videos", "train", "page"} < set(taken["stage"])
    assert all(len(set(cells.split(" of "))) == 1 for cells in taken["cells that ran here"]), taken


@pytest.mark.timeout(650)
def test_a_second_run_runs_nothing(project: Path) -> None:
    assert ran(dvc(project, "repro")) == []
    assert call(project, "git", "status", "--porcelain").stdout == ""


@pytest.mark.timeout(650)
def test_a_learning_rate_reruns_only_its_models_cells(project: Path) -> None:
    values = deep_update(params(), TINY)
    values["models"]["mesonet"]["learning_rate"] = 0.0005
    write_params(project, values)
    stages = ran(dvc(project, "repro"))
    trained = {name for name in stages if name.startswith("train")}
    assert trained == {"train@mesonet-full", "train@mesonet-eyes_lower"}
    rest = {re.sub("@.*", "", name) for name in stages if name not in trained}
    assert rest >= {"evaluate", "compare", "curves", "robustness", "hypotheses"}  # they read the predictions
    assert rest <= {
        "evaluate",
        "compare",
        "curves",
        "robustness",
        "hypotheses",
        "attribution",
        "focus",
        "report",
        "page",
    }
    assert not any("vgg19" in name or "resnet50" in name for name in stages)
    call(project, "git", "checkout", "-q", ".")
    dvc(project, "checkout")


@pytest.mark.timeout(650)
def test_focus_compares_variants_in_a_clone_without_data(project: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    assert call(tmp_path, "git", "clone", "-q", str(project), str(clone)).returncode == 0
    done = dvc(clone, "exp", "run", "--allow-missing", "-n", "cropped", "-S", "focus=eyes_lower")
    assert ran(done) == ["focus"]
    shown = json.loads(dvc(clone, "metrics", "diff", "main", "cropped", "--json").stdout)
    # Where both variants give a model the same figures there is no difference to show.
    changes = shown.get("metrics/focus.json", {})
    assert set(shown) <= {"metrics/focus.json"}
    for model in ("mesonet", "vgg19", "resnet50"):
        full = json.loads((clone / f"metrics/full/{model}.json").read_text())
        cropped = json.loads((clone / f"metrics/eyes_lower/{model}.json").read_text())
        for key in ("accuracy", "auc"):
            change = changes.get(f"{model}.{key}", {"old": full[key], "new": full[key]})
            assert change["old"] == full[key] and change["new"] == cropped[key]
    assert not (clone / "data/videos").exists()
    assert not list((clone / "models").rglob("*.h5"))


@pytest.fixture
def folder_study(project: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy whose source is a folder with clips of the tiny sample, run up to the faces."""
    for clip in sorted((project / "data/videos").glob("p000[0-2]_*.mp4")):
        label = clip.stem.rpartition("_")[2]
        (tmp_path / "input" / label).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clip, tmp_path / "input" / label / clip.name)
    (tmp_path / "input/real/new.mp4").write_bytes(b"not yet")
    (tmp_path / "input/real/new.mp4").unlink()
    changes = {"source": "folder", "folder": {"path": str(tmp_path / "input")}, "compute": {"workers": 1}}
    values = deep_update(params(), TINY | changes)
    folder = copy_project(tmp_path / "copy", values)
    dvc(folder, "repro", "faces")
    yield folder


def entries(folder: Path, stage: str) -> set[str]:
    return {path.parent.name for path in (folder / ".cache" / stage).rglob("manifest.json")}


@pytest.mark.timeout(650)
def test_adding_or_removing_a_clip_costs_one_clip(project: Path, folder_study: Path) -> None:
    before = {stage: entries(folder_study, stage) for stage in ("frames", "faces")}
    assert {stage: len(found) for stage, found in before.items()} == {"frames": 6, "faces": 6}
    new = folder_study.parent / "input/real/new.mp4"
    shutil.copyfile(project / "data/videos/p0007_real.mp4", new)
    assert ran(dvc(folder_study, "repro", "faces")) == ["videos", "frames", "faces"]
    for stage, found in before.items():
        assert len(entries(folder_study, stage) - found) == 1

    new.unlink()
    dvc(folder_study, "repro", "faces")
    for table in ("videos", "frames", "faces"):
        assert "new" not in (folder_study / f"data/{table}/index.csv").read_text()
    assert not list((folder_study / "data").rglob("*new*"))
    assert pd.read_csv(folder_study / "data/videos/index.csv").shape[0] == 6


def study(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`make study` in a folder."""
    command = ["python", "-m", "commands.study", "run", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment_for(folder), capture_output=True, text=True)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    return done


def experiments(folder: Path) -> dict[str, str]:
    """Name and revision of each experiment."""
    refs = call(folder, "git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps/*/*/*").stdout
    return dict(line.rsplit("/", 1)[1].split() for line in refs.splitlines())


def files(folder: Path, *skipped: str) -> dict[str, tuple[int, bytes]]:
    """Mode and content of everything in a folder but what is below `skipped`, and of git's index."""
    places = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    places = [path for path in places if path.relative_to(folder).parts[0] not in (*skipped, ".git")]
    found = {str(path): (path.lstat().st_mode, path.read_bytes()) for path in places}
    index = call(folder, "git", "ls-files", "--stage").stdout + call(folder, "git", "status", "--porcelain").stdout
    return found | {"index": (0, index.encode())}


def whole(cache: Path) -> bool:
    """Does each file of DVC's cache have the bytes of its name?"""
    found = list(cache.glob("files/md5/??/*"))
    return len(found) > 0 and all(
        hashlib.md5(path.read_bytes()).hexdigest() == path.parent.name + path.name.removesuffix(".dir")
        for path in found
    )


@pytest.fixture
def edited(project: Path) -> Iterator[Path]:
    """The project with changes of every kind, which must be there afterwards as they were."""
    (project / "presets/small.yaml").write_text(
        "variants: [full, nose]\nmodels: {vgg19: null, resnet50: null}\nfocus: nose\nseeds: [1]\n"
    )
    for name in ("README.md", "stages/focus.py", "params.yaml", "metrics/results.md"):
        with (project / name).open("a") as file:
            file.write("# mine\n")
    (project / "LICENSE").unlink()
    (project / "notes, é.txt").write_text("mine\n")
    (project / ".dvc/config.local").write_text("[core]\n    remote = mine\n['remote \"mine\"']\n    url = /mine\n")
    call(project, "git", "add", "stages/focus.py")
    yield project
    call(project, "git", "reset", "-q", "--hard")
    call(project, "git", "clean", "-fdq")
    (project / ".dvc/config.local").unlink()


@pytest.mark.timeout(900)
def test_studies_leave_the_work_tree_and_each_other(edited: Path) -> None:
    """One new variant of one model is trained; a study of the same name replaces it only when it succeeds."""
    skipped = ("studies", ".cache", ".dvc")
    before, own = files(edited, *skipped), (edited / ".dvc/config.local").read_bytes()
    done = study(edited, "small")
    assert [name for name in ran(done) if name.startswith("train")] == ["train@mesonet-nose"]
    assert "training in all" in done.stdout and "cropped (nose)" in done.stdout and "exists" not in done.stdout
    small = edited / "studies/small"
    nose = json.loads((small / "metrics/nose/mesonet.json").read_text())
    shown = json.loads(dvc(edited, "metrics", "diff", "main", "small", "--json").stdout)["metrics/focus.json"]
    full = json.loads((edited / "metrics/full/mesonet.json").read_text())
    assert shown.get("mesonet.auc", {"new": full["auc"]})["new"] == nose["auc"]
    assert not (small / "metrics/full/vgg19.json").exists() and not (small / "predictions/eyes_lower").exists()
    assert all((small / name).read_text().endswith("# mine\n") for name in ("README.md", "stages/focus.py"))
    assert not (small / "LICENSE").exists() and (small / "notes, é.txt").exists()

    first, kept = experiments(edited), files(small)
    assert list(first) == ["small"]
    done = study(edited, "small", "split.test=0.98", code=1)
    assert "No real face is left for" in done.stderr or "No fake face is left for" in done.stderr
    assert "The study small exists (source sample, made 20" in done.stdout and "NAME=other" in done.stdout
    assert "its files are in studies/small.unfinished/" in done.stderr and "So is the earlier study." in done.stderr
    assert experiments(edited) == first and files(small) == kept

    # Crops are made again where files of the cache, which are linked there, were.
    assert "crops@full" in ran(study(edited, "small", "crops.sheet_faces=1", "--name", "other"))
    both = experiments(edited)
    assert sorted(both) == ["other", "small"] and both["small"] == first["small"] and files(small) == kept
    done = study(edited, "small", "evaluate.confidence=0.8")
    assert "train: mesonet on nose: 1 training (0 run now)" in done.stdout
    last = experiments(edited)
    assert sorted(last) == ["other", "small"] and last["small"] != first["small"] and last["other"] == both["other"]
    assert "80 % interval" in (small / "metrics/results.md").read_text()
    assert sorted(path.name for path in (edited / "studies").glob("[!.]*")) == ["other", "small"]

    assert files(edited, *skipped) == before and (edited / ".dvc/config.local").read_bytes() == own
    assert whole(edited / ".dvc/cache")


MOMENTS = ("Running in ", "Running stage 'evaluate@", "Running stage 'compare'", "Running stage 'focus'", "# Results")


@pytest.mark.timeout(650)
def test_a_killed_trial_hurts_nothing(edited: Path) -> None:
    """SIGKILL at five moments, the last one when all is done but the last words; then it runs."""
    skipped = ("studies", ".cache", ".dvc")
    before = files(edited, *skipped)
    arguments = ["--name", "tried", "quick", "sample.people=12"]
    command = ["python", "-u", "-m", "commands.study", "run", *arguments]
    for number, moment in enumerate(MOMENTS):
        setting = f"evaluate.confidence={0.9 - number / 100}"
        process = subprocess.Popen(
            [*command, setting], cwd=edited, env=environment_for(edited),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith(moment):
                break
        else:
            pytest.fail(f"{moment}: {said[-20:]}")
        process.kill()
        process.communicate()
        assert files(edited, *skipped) == before
        assert ("tried-trial" in experiments(edited)) == (edited / "studies/tried-trial").exists() == (number == 4)
    done = study(edited, *arguments)
    assert "This was a trial" in done.stdout and "trial, no result: 1 models" in done.stdout
    assert "**Trial: " in (edited / "studies/tried-trial/metrics/results.md").read_text()
    assert "<td>tried-trial, " in (edited / "studies/tried-trial/reports/run.html").read_text()
    assert files(edited, *skipped) == before and whole(edited / ".dvc/cache")
