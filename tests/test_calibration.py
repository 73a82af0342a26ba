"""Known answers: the committed calibration says what it must, and a small run of it still does."""

from __future__ import annotations

import io
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cloudpickle
import pandas as pd
import pytest
import yaml

from commands import calibrate
from commands.calibrate import CalibrationSettings, Case, case_params, run_study
from facestudy.core.errors import StudyError
from tests import forked
from tests.committed import committed
from tests.pipeline_files import ROOT
from tests.project import ENVIRONMENT, deep_update, params


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(io.StringIO(committed("metrics/calibration.csv")))


def test_every_run_of_the_settings_is_listed(table: pd.DataFrame) -> None:
    settings = CalibrationSettings(**yaml.safe_load(committed("params.yaml"))["calibrate"])
    wanted = {
        (name, seed, variant)
        for name, case in settings.all_cases().items()
        for seed in case.seeds
        for variant in case.variants
    }
    assert set(table[["case", "seed", "variant"]].itertuples(index=False, name=None)) == wanted


def test_no_two_runs_of_a_case_train_with_the_same_seeds() -> None:
    settings = CalibrationSettings(**params()["calibrate"])
    for name, case in settings.all_cases().items():
        trainings = [training for seed in case.seeds for training in case.training_seeds(seed)]
        assert len(set(trainings)) == case.runs * case.trainings, name
        assert case_params(params(), settings.model, case, case.first_seed)["seeds"] == trainings[: case.trainings]


def test_a_place_can_have_settings_of_its_own() -> None:
    values = params()["calibrate"]
    values["places"]["changes"] = {"eyes": {"trainings": 4, "override": {"frames": {"per_video": 3}}}}
    cases = CalibrationSettings(**values).all_cases()
    eyes, none = cases[f"{calibrate.PLACE}eyes"], cases[f"{calibrate.PLACE}none"]
    assert (eyes.trainings, eyes.override["frames"]) == (4, {"per_video": 3})
    assert (none.trainings, none.override["frames"]) == (3, {"per_video": 4})
    same = {"trainings", "override", "artefact"}
    assert eyes.model_dump(exclude=same) == none.model_dump(exclude=same)
    for changes, told in (
        ({"nose": {}}, "'nose'; the places are everywhere, eyes,"),
        ({"eyes": {"variants": []}}, "`variants`; all places have those of calibrate.places.variants"),
    ):
        values["places"]["changes"] = changes
        with pytest.raises(StudyError, match=f"changes has {told}"):
            CalibrationSettings(**values).all_cases()


def test_workers_can_read_the_settings() -> None:
    """`python -m commands.calibrate` is the module `__main__`, whose classes reach the workers by value."""
    cloudpickle.register_pickle_by_value(calibrate)
    try:
        sent = cloudpickle.dumps(CalibrationSettings(**params()["calibrate"]))
    finally:
        cloudpickle.unregister_pickle_by_value(calibrate)
    script = "import pickle, sys; print(*pickle.load(sys.stdin.buffer).all_cases())"
    done = subprocess.run([sys.executable, "-c", script], input=sent, capture_output=True, env=ENVIRONMENT, check=False)
    assert f"{calibrate.PLACE}eyes" in done.stdout.decode().split(), done.stderr.decode()


def test_an_artefact_in_the_crop_is_found(table: pd.DataFrame) -> None:
    known = table[table["case"] == "known"]
    assert known["seed"].nunique() >= 5
    for variant in ("full", "eyes_lower"):
        aucs = known.loc[known["variant"] == variant, "auc"]
        assert (aucs >= 0.9).sum() >= len(aucs) - 1, variant


def test_an_artefact_outside_the_crop_is_not(table: pd.DataFrame) -> None:
    hidden = table[(table["case"] == "known") & (table["variant"] == "complement")]
    inside = (hidden["auc_low"] <= 0.5) & (hidden["auc_high"] >= 0.5)
    assert inside.sum() >= len(hidden) - 1


def differences(table: pd.DataFrame, case: str) -> pd.DataFrame:
    """The cropped variant's rows of a case with many samples, several trainings each."""
    rows = table[(table["case"] == case) & (table["variant"] == "eyes_lower")]
    assert len(rows) >= 40 and (rows["seeds"] >= 3).all() and rows["seed"].is_unique
    return rows


def test_nothing_to_find_is_not_found(table: pd.DataFrame) -> None:
    none = table[table["case"] == "none"]
    inside = (none["auc_low"] <= 0.5) & (none["auc_high"] >= 0.5)
    assert inside.mean() >= 0.9
    assert abs(none["auc"].mean() - 0.5) <= 0.02


@pytest.mark.parametrize("metric", calibrate.METRICS)
def test_the_interval_contains_the_mean_over_samples(table: pd.DataFrame, metric: str) -> None:
    rows = differences(table, "repeat")
    mean = rows[f"difference_{metric}"].mean()
    held = (rows[f"difference_{metric}_low"] <= mean) & (rows[f"difference_{metric}_high"] >= mean)
    assert held.mean() >= 0.9


@pytest.mark.parametrize("metric", calibrate.METRICS)
def test_no_artefact_gives_few_differences(table: pd.DataFrame, metric: str) -> None:
    rows = differences(table, "none")
    assert (rows[f"p_{metric}"] < 0.05).mean() <= 0.1


@pytest.fixture(scope="module")
def places(table: pd.DataFrame) -> pd.DataFrame:
    """Mean AUC over the samples: places in the rows, variants in the columns."""
    rows = table[table["case"].str.startswith(calibrate.PLACE)]
    assert (rows.groupby(["artefact", "variant"])["seed"].nunique() >= 5).all()
    return rows.pivot_table("auc", "artefact", "variant")


def test_few_verdicts_are_wrong_wherever_the_artefact_is() -> None:
    verdicts = pd.read_csv(io.StringIO(committed("metrics/known_verdicts.csv")))
    counts = verdicts.groupby(["artefact", "hypothesis"])["seed"].nunique()
    wanted = {(place, name) for place in ("everywhere", *calibrate.WRONG) for name in calibrate.WRONG["none"]}
    assert set(counts.index) == wanted and (counts >= 5).all()
    assert calibrate.judged(verdicts, calibrate.WRONG).mean() <= 0.05  # the level of the tests
    for (place, hypothesis), rows in verdicts.groupby(["artefact", "hypothesis"]):
        right = calibrate.judged(rows, calibrate.RIGHT)
        assert right.empty or right.mean() >= 0.8, (place, hypothesis)


def test_the_variants_rank_as_the_artefact_says(places: pd.DataFrame) -> None:
    show_and_hide = {
        "everywhere": (["full", "eyes_lower", "complement"], []),
        "eyes": (["full", "eyes_lower"], ["complement"]),
        "lower_face": (["full", "eyes_lower"], ["complement"]),
        "eyes_lower": (["full", "eyes_lower"], ["complement"]),
        "outside_eyes_lower": (["full", "complement"], ["eyes_lower"]),
        "none": ([], list(places.columns)),
    }
    assert set(places.index) == set(show_and_hide)
    chance = 0.08  # about what an AUC of .5 may come to
    for place, (shown, hidden) in show_and_hide.items():
        aucs = places.loc[place]
        assert (abs(aucs[hidden] - 0.5) < chance).all(), place
        least = aucs[hidden].max() + 0.1 if hidden else 0.5 + chance
        assert (aucs[shown] > least).all(), place


def test_shuffled_labels_are_not_found(table: pd.DataFrame) -> None:
    rows = table[table["case"] == "shuffled"]
    inside = (rows["auc_low"] <= 0.5) & (rows["auc_high"] >= 0.5)
    assert len(rows) >= 10 and inside.mean() >= 0.9


def small() -> dict[str, object]:
    """The project's settings with 60 clips of 30 persons; little noise and fine compression make up for the few."""
    values = {
        "sample": {"people": 30, "seconds": 0.2, "noise": 0.5, "quantizer": 10},
        "frames": {"per_video": 2},
        "split": {"test": 0.4, "validation": 0.15},
        "crops": {"size": [96, 96]},
        "models": {"mesonet": {"input_size": 96, "epochs": 40}},
    }
    return deep_update(params(), values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both small runs: the real clips are the same, and so are their faces in the work cache."""
    return tmp_path_factory.mktemp("small")


def run_small(case: Case, folder: Path) -> dict[str, float]:
    """The first variant's row of one run, in a process of its own: all stages share it, in one thread."""
    run_params = case_params(small(), "mesonet", case, case.seeds[0]) | {"seeds": [1]}  # one that learns from few faces
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("multiprocessing.spawn._python_exe", os.fsencode(forked.programs() / "python"))
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return dict(pool.submit(run_study, run_params, folder).result().iloc[0].to_dict())


@pytest.mark.timeout(400)
def test_a_small_run_finds_nothing_where_there_is_nothing(folder: Path) -> None:
    case = Case(artefact="none", first_seed=7, runs=1, trainings=1, variants=["full"], override={})
    found = run_small(case, folder)
    assert found["auc_low"] <= 0.5 <= found["auc_high"], found
    rows = pd.DataFrame([{"case": "none", **found}])
    assert "interval contains .5 in 1" in calibrate.summary(rows)


@pytest.mark.timeout(400)
def test_a_small_run_finds_what_is_there(folder: Path) -> None:
    case = Case(artefact="eyes_lower", first_seed=7, runs=1, trainings=1, variants=["eyes_lower"], override={})
    found = run_small(case, folder)
    assert found["auc_low"] > 0.5


def test_the_commands_are_those_of_the_pipeline() -> None:
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    values = {"models": {"a": {}}, "variants": ["full", "nose"]}
    found = list(calibrate.commands(pipeline, values))
    assert found[:5] == [["videos"], ["frames"], ["faces"], ["duplicates"], ["split"]]
    assert ["train", "--model", "a", "--variant", "nose"] in found
    assert found[-1] == ["hypotheses"]
    assert len(found) == 5 + 4 * 2 + 4


def test_verdicts_without_a_rule_are_not_judged() -> None:
    verdicts = pd.DataFrame(
        [
            ("none", "cropped_is_worse", "supported"),
            ("none", "overfitting", "supported"),
            ("everywhere", "wrong_regions", "supported"),
            ("eyes", "wrong_regions", "contradicted"),
        ],
        columns=["artefact", "hypothesis", "verdict"],
    )
    assert calibrate.judged(verdicts, calibrate.WRONG).tolist() == [True, False]
    assert calibrate.judged(verdicts, calibrate.RIGHT).tolist() == [False, True]
    assert calibrate.judged(verdicts[:0], calibrate.WRONG).sum() == 0
