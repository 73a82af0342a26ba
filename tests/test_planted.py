"""Planted faults: the committed table says that all were found, and a small sample shows it again."""

from __future__ import annotations

import io
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from commands import calibrate, planted
from commands.calibrate import run_planted
from commands.planted import AGAIN, COPIES, TRUTHS, Planted, findings, is_right, write_pictures
from facestudy.controls.jpeg import mean_quantisation
from facestudy.controls.shortcuts import ONE_CLASS, SHORTCUTS, WITHOUT_FACE
from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import check
from facestudy.runtime.parallel import ComputeSettings
from facestudy.sample import videos as sample
from facestudy.sample.clips import SampleSettings
from stages.stage import section
from tests import forked
from tests.committed import committed
from tests.project import deep_update, params

FRAMES = 6


def test_everything_planted_was_found() -> None:
    table = pd.read_csv(io.StringIO(committed("metrics/planted.csv")), keep_default_na=False)
    settings = Planted(**yaml.safe_load(committed("params.yaml"))["calibrate"]["planted"])
    assert set(settings.plants) == set(TRUTHS) and settings.runs >= 5
    wanted = [(plant, seed) for plant in settings.plants for seed in settings.seeds]
    assert list(table[["planted", "seed"]].itertuples(index=False, name=None)) == wanted
    assert (table["right"] == "yes").all()
    for row in table.itertuples():
        assert row.must_find.split() == list(TRUTHS[row.planted].must_find)
        assert is_right(row.must_find.split(), row.found.split())


# --- what was found --------------------------------------------------------------------------------


def found(auc: float = 0.5, share: float = 0.0, names: dict[str, str] | None = None) -> list[str]:
    """`findings` where `without_face` and `jpeg` have this AUC; `names` has the group of each name."""
    row = {"measure": "auc", "value": auc, "low": auc - 0.09, "high": 1.0, "cues": "log_luminance_table"}
    rows = [{**row, "control": control} for control in (WITHOUT_FACE, "jpeg")]
    rows.append({"control": ONE_CLASS, "measure": "share", "value": share, "real": 0.0, "fake": share, "cues": "a"})
    groups = names or {"p0": "a", "p1": "b"}
    split = pd.DataFrame({"video_id": list(groups), "group": list(groups.values())})
    return findings(tables.to_dataframe(rows, SHORTCUTS), split, {name: name for name in groups})


def test_findings_are_those_that_raise_a_warning() -> None:
    assert found() == []
    assert found(auc=0.9, share=0.5) == [WITHOUT_FACE, "jpeg", ONE_CLASS]


def test_every_second_name_has_to_be_found() -> None:
    both = {"p0": "a", "p0-again": "a", "p1": "b", "p1-again": "b"}
    assert found(names=both) == ["second_name"]
    assert found(names={**both, "p1-again": "c"}) == []
    assert found(names={"p0": "a", "p1": "a"}) == ["second_name"]  # nobody has two names: a false alarm
    assert not is_right(TRUTHS["nothing"].must_find, ["second_name"])


# --- the pictures ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    """The table and the folder of a sample of six people."""
    folder = tmp_path_factory.mktemp("clips")
    values = deep_update(params(), {"sample": {"people": 6, "seconds": FRAMES / 10, "artefact": "none"}})
    settings, boxes = section(values, "sample", SampleSettings), section(values, "regions", dict[str, Box])
    rows = sample.obtain(settings, boxes, folder / "cache", folder, ComputeSettings(workers=1))
    return tables.to_dataframe(rows, tables.VIDEOS), folder


@pytest.mark.parametrize("plant", TRUTHS)
def test_the_pictures_differ_in_what_is_planted_alone(
    plant: planted.Plant, clips: tuple[pd.DataFrame, Path], tmp_path: Path
) -> None:
    write_pictures(plant, *clips, tmp_path)
    names = pd.read_csv(tmp_path / planted.PEOPLE).set_index("file")["identity"]
    assert set(names.index) == {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*.jpg")}
    shown = {label: names[names.index.str.startswith(label)] for label in tables.LABELS}
    sizes, luminance = {}, {}
    for file in names.index:
        with Image.open(tmp_path / file) as picture:
            sizes[file], luminance[file] = picture.size, mean_quantisation(tmp_path / file)[0]
    odd = {file for file in names.index if sizes[file] != (320, 240)}
    coarse = {file for file in names.index if luminance[file] > min(luminance.values())}
    fakes = set(shown["fake"].index)
    again = {file for file in names.index if AGAIN in file}
    assert odd == {"resolution": fakes}.get(plant, set())
    assert coarse == {"jpeg_quality": fakes, "second_name": again}.get(plant, set())
    assert len(again) == (COPIES if plant == "second_name" else 0) and not again & fakes
    assert names[sorted(again)].str.endswith(AGAIN).all()
    if plant == "one_person":
        (star,) = set(shown["fake"]) - set(shown["real"])
        assert (shown["fake"] == star).sum() == FRAMES and shown["fake"].value_counts().drop(star).eq(1).all()
    else:
        assert set(shown["fake"]) == set(shown["real"].drop(sorted(again)))


# --- the whole of it -------------------------------------------------------------------------------


@pytest.mark.timeout(400)
def test_a_small_sample_shows_what_is_planted(tmp_path: Path) -> None:
    values = {"sample": {"people": 14, "seconds": 0.8}, "split": {"test": 0.4, "validation": 0.15}}
    settings = Planted(plants=list(TRUTHS), first_seed=7, runs=1, override=values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("multiprocessing.spawn._python_exe", os.fsencode(forked.programs() / "python"))
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            table = pool.submit(run_planted, params(), settings, 7, tmp_path).result()
    assert list(table["planted"]) == list(TRUTHS)
    assert (table["right"] == "yes").all(), table
    auc = table.set_index("planted")["auc"]
    assert auc["jpeg_quality"] > 0.95 > 0.65 > auc["nothing"] and np.isfinite(table["low"]).all()


def test_what_is_missed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("nothing", "", "", "yes"), ("resolution", "without_face resolution", "", "no")]
    table = pd.DataFrame(rows, columns=["planted", "must_find", "found", "right"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calibrate, "map_items", lambda *_: iter([table.assign(seed=3)]))
    settings = Planted(plants=["resolution", "nothing"], first_seed=3, runs=1, override={})
    message = "1 of 2 rows of metrics/planted.csv are not right; the first: planted resolution, seed 3, must find"
    with pytest.raises(StudyError, match=message):
        calibrate.plant(params(), settings, tmp_path)
    written = pd.read_csv("metrics/planted.csv", keep_default_na=False)
    assert list(written["right"]) == ["no", "yes"]  # in the order of the settings
    assert "| nothing | nothing | 1 | 1 |" in planted.summary(written)


# --- only some cases -------------------------------------------------------------------------------


def test_rows_of_cases_that_did_not_run_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = check(calibrate.CalibrationSettings, params()["calibrate"], "calibrate")
    values: dict[str, Any] = {"seeds": 1, "auc": 0.5, "auc_low": 0.4, "auc_high": 0.6, "variant": "full"}
    verdict = {"hypothesis": "cropped_is_worse", "verdict": "undecided", "reason": "crop: unclear"}

    def rows(auc: float, *_: object) -> tuple[pd.DataFrame, pd.DataFrame]:
        return pd.DataFrame([{**about, **values, "auc": auc}]), pd.DataFrame([{**about, **verdict}])

    for name, auc in (("place_none", 0.1), ("known", 0.2), ("half", 0.3), ("known", 0.4)):
        about = {"case": name, "artefact": "none", "seed": 1}
        monkeypatch.setattr(calibrate, "map_items", lambda *_, auc=auc: iter([rows(auc)]))
        calibrate.calibrate([name], params(), settings, tmp_path)
    table = pd.read_csv(calibrate.OUT)
    assert list(zip(table["case"], table["auc"], strict=True)) == [("known", 0.4), ("half", 0.3), ("place_none", 0.1)]
    assert list(pd.read_csv(calibrate.VERDICTS)["case"]) == ["place_none"]
