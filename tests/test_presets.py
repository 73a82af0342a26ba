"""Every preset can override params.yaml and gives a valid pipeline."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from commands import study
from commands.estimate import Pictures, Timing, duration, estimate, time_model, training_seconds
from facestudy.core.errors import StudyError
from facestudy.core.settings import merge
from facestudy.core.tables import LABELS
from facestudy.crops.cutting import resolve
from facestudy.models.mesonet_weights import PUBLISHED
from facestudy.prediction.published import authors_crop
from facestudy.runtime.work_cache import file_sha256
from facestudy.sources.links import parse, without_repeats
from tests.media import write_clip
from tests.pipeline_files import ROOT
from tests.project import call, copy_project, environment_for, params

TIMING = Timing(start=1.0, train=0.002, predict=0.0005)
NAMES = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_project(tmp_path_factory.mktemp("presets"))
    for label in ("real", "fake"):
        write_clip(folder / "videos" / label / "a.mp4")
    (folder / "videos/list.csv").write_text(
        "https://youtu.be/_iiOEQOtBlQ, [REAL]\nhttps://youtu.be/qHrN5Mf5sgo, [FAKE]\n"
    )
    (folder / ".git/info/exclude").write_text("/videos\n")
    return folder


@pytest.fixture
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project as the working directory, with its commands on PATH."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("PATH", environment_for(project)["PATH"])
    return project


@pytest.mark.parametrize("name", NAMES)
def test_applies_and_resolves(inside: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    lists = [{"path": "videos/list.csv", "sha256": file_sha256(inside / "videos/list.csv")}]
    monkeypatch.setattr(study, "timed", lambda params: dict.fromkeys(params.models, TIMING))  # takes a minute
    given = ["folder.path=videos", f"youtube.lists={json.dumps(lists)}"]
    merged, settings = study.preset_settings(name, given)
    study.write_settings(merged, inside)
    assert "# Every knob of the study" in Path("params.yaml").read_text()  # comments are kept
    listed = subprocess.run(["dvc", "stage", "list", "--name-only"], capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    cells = [line for line in listed.stdout.split() if line.startswith("train@")]
    assert len(cells) == len(settings.models) * len(settings.variants)
    text = study.expected(settings)
    assert "training in all" in text and re.search(r"disk: .*: \d+\.\d GB, 2 copies", text)
    call(inside, "git", "checkout", "-q", ".")


@pytest.mark.parametrize("name", NAMES)
def test_a_trial_of_a_preset_is_short(inside: Path, name: str) -> None:
    _, settings = study.preset_settings(name, ["folder.path=videos"], quick=True)
    (model,) = settings.models.values()
    assert model.network == "meso4" and model.epochs <= study.TRIAL_EPOCHS
    assert settings.seeds == [1] and settings.split.repeats == 1 and settings.evaluate.trial
    assert settings.frames.per_video == 2 and settings.frames.every is None
    assert settings.folder.max_per_class == settings.sample.people == 30
    assert Path("params.yaml").read_text() == call(inside, "git", "show", "HEAD:params.yaml").stdout


def test_a_trial_keeps_the_first_model_without_a_small_one() -> None:
    models = {"large": {"network": "vgg19", "epochs": 50}, "other": {"network": "resnet50", "epochs": 3}}
    study._shorten(models)
    assert models == {"large": {"network": "vgg19", "epochs": study.TRIAL_EPOCHS}}


def test_a_preset_changes_only_the_lines_that_it_sets(inside: Path) -> None:
    before = Path("params.yaml").read_text().splitlines()
    merged, _ = study.preset_settings("videos", ["folder.path=videos", "seeds=[1, 2]"])
    study.write_settings(merged, inside)
    after = Path("params.yaml").read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    values = [new.split("#")[0].strip() for _, new in changed]
    assert values[:3] == ["source: folder", f"path: {inside / 'videos'}", "per_video: 16"] and "seeds: [1, 2]" in values
    assert all(old.split(":")[0] == new.split(":")[0] for old, new in changed) and len(changed) < 15
    call(inside, "git", "checkout", "-q", ".")


def test_disk_estimate_of_the_youtube_preset(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """390 links: every 200th frame of 1080p as PNG would be 90 GB."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(study, "wanted", lambda *_: ([None] * 390, 0))
    monkeypatch.setattr(study, "timed", lambda params: dict.fromkeys(params.models, TIMING))
    values = params()
    merge(values, yaml.safe_load((ROOT / "presets/youtube.yaml").read_text()), "youtube.yaml")
    kept = study.expected(study.check_params(values))
    values["youtube"]["max_height"] = 1080
    values["frames"] |= {"per_video": None, "every": 200, "format": "png", "max_side": None}
    whole = study.expected(study.check_params(values))
    small, large = (float(re.search(r"([\d.]+) GB, 2 copies", text)[1]) for text in (kept, whole))  # type: ignore[index]
    assert small < 10 and large > 90


def test_paper_is_what_the_paper_says() -> None:
    values = params()
    merge(values, yaml.safe_load((ROOT / "presets/paper.yaml").read_text()), "paper.yaml")
    mesonet = values["models"]["mesonet"]
    assert {key: mesonet[key] for key in ("epochs", "batch_size", "learning_rate", "input_size", "schedule")} == {
        "epochs": 50,
        "batch_size": 16,
        "learning_rate": 0.002,
        "input_size": 256,
        "schedule": "constant",
    }
    for name in ("vgg19", "resnet50"):
        model = values["models"][name]
        assert (model["input_size"], model["epochs"], model["width"]) == (150, 50, 1.0) and not model.get("weights")
    assert values["models"]["vgg19"]["batch_norm"] is False
    assert values["frames"]["every"] == 200 and values["split"]["faces_per_class"] == 2000
    boxes = values["crop_variants"][values["variants"][1]]
    assert boxes["boxes"] == [[30, 72, 180, 121], [30, 162, 180, 232]] and boxes["box_size"] == [196, 235]


def test_the_studys_lists_are_the_pinned_ones(outside_data: Path) -> None:
    data = outside_data / "seed_urls"
    lists = yaml.safe_load((ROOT / "presets/youtube.yaml").read_text())["youtube"]["lists"]
    found = [link for item in lists for link in parse((data / Path(item["url"]).name).read_bytes(), "list", None)]
    assert [item["sha256"] for item in lists] == [file_sha256(data / Path(item["url"]).name) for item in lists]
    kept, repeats = without_repeats(found)
    assert (len(kept), repeats) == (390, 1)
    assert {label: sum(link.label == label for link in kept) for label in LABELS} == {"real": 168, "fake": 222}


def test_the_estimate_counts_trainings_side_by_side() -> None:
    """Five seeds: one after the other, in three rounds of two, at once."""
    settings = study.check_params(params() | {"models": {"mesonet": params()["models"]["mesonet"]}})
    pictures = Pictures(0.0, 960, 240, "png", (128, 128), 2)
    one = training_seconds(40, TIMING, 960, settings.split)
    shares = settings.split.shares()
    assert one == pytest.approx(1 + 40 * 960 * (shares["train"] * 0.002 + shares["validation"] * 0.0005))
    mesonet = {"mesonet": settings.models["mesonet"].model_copy(update={"epochs": 40})}
    for workers, rounds in ((1, 5), (2, 3), (16, 1)):
        text = estimate(
            mesonet, {"mesonet": TIMING}, ("full", "nose"), range(5), settings.split, 960, pictures, workers
        )
        assert f"training in all: {duration(2 * rounds * one)}" in text and "10 trainings" in text


@pytest.mark.usefixtures("inside")
def test_published_detectors_get_the_crop_of_their_authors() -> None:
    _, settings = study.preset_settings("published", ["source=sample"])
    square = resolve("square", settings.crop_variants, settings.regions, settings.crops)
    assert (square.parts, square.size) == (authors_crop().parts, authors_crop().size)
    assert {model.network for model in settings.models.values() if not model.epochs} == set(PUBLISHED)


@pytest.mark.usefixtures("inside")
def test_a_model_that_is_not_trained_takes_no_time_and_no_trial() -> None:
    _, settings = study.preset_settings("published", ["source=sample"])
    pictures = Pictures(0.0, 960, 240, "png", (256, 256), 3)
    timings = dict.fromkeys(settings.models, TIMING)
    text = estimate(settings.models, timings, settings.variants, range(5), settings.split, 960, pictures, 2)
    (one,) = (model for model in settings.models.values() if model.epochs)
    seconds = training_seconds(one.epochs, TIMING, 960, settings.split)
    assert f"training in all: {duration(3 * 3 * seconds)}" in text and "meso4_df: not trained" in text
    models = {"given": {"network": "meso4", "epochs": 0}, "mine": {"network": "meso4", "epochs": 40}}
    study._shorten(models)
    assert models == {"mine": {"network": "meso4", "epochs": study.TRIAL_EPOCHS}}


@pytest.mark.parametrize("batch_size", [2, 16])
def test_a_model_is_timed_whatever_its_weights_and_learning_rate(batch_size: int) -> None:
    """Settings that would need a download or diverge must not stop an estimate."""
    settings = study.check_params(params()).models["vgg19"]
    odd = settings.model_copy(update={"weights": "missing.h5", "learning_rate": 1e9, "batch_size": batch_size})
    timing = time_model(odd, (40, 60))
    assert timing.predict > 0 and 0 < timing.train < timing.start  # milliseconds; building and tracing takes seconds


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        ({"models": {"mesonet": {"epoch": 3}}}, "models.mesonet.epoch is not a known setting"),
        ({"frames": {"x": {}}}, "frames.x is not a known setting"),
    ],
)
def test_merge_refuses_unknown_keys(over: dict[str, object], sentence: str) -> None:
    with pytest.raises(StudyError, match=sentence):
        merge(params(), over, "preset")


def test_merge_adds_removes_and_replaces() -> None:
    values = params()
    over = {
        "models": {"mesonet": {"epochs": 3}, "other": {"network": "meso4"}, "vgg19": None},
        "crop_variants": {"full": {"regions": ["nose"], "layout": "mask"}},
        "seeds": [7],
    }
    merge(values, over, "preset")
    assert values["models"]["mesonet"]["epochs"] == 3 and values["models"]["mesonet"]["network"] == "meso4"
    assert "vgg19" not in values["models"] and values["models"]["other"] == {"network": "meso4"}
    assert values["crop_variants"]["full"] == {"regions": ["nose"], "layout": "mask"}
    assert values["seeds"] == [7]
