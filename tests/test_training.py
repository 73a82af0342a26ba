"""Fitting, the choice of the epoch, scoring, and the stage that does them."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import sklearn.metrics
import yaml

from facestudy.alterations.settings import ALTERED_SCORES
from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.media.archive import read_picture
from facestudy.models.mesonet import meso4
from facestudy.models.networks import build
from facestudy.models.settings import ModelSettings, training_seed
from facestudy.runtime.backend import keras, make_deterministic
from facestudy.runtime.disk import weights_bytes
from facestudy.runtime.work_cache import file_sha256
from facestudy.training import cell, loop
from facestudy.training.data import Faces, check_classes, open_pictures, store_pictures, subset_faces
from facestudy.training.gaps import gaps
from facestudy.training.loop import (
    Epoch,
    batches,
    fit,
    fresh_model,
    learning_rate_at,
    predict,
    write_history,
)
from stages import train
from tests.pipeline_files import ROOT
from tests.project import call, deep_update, params, stage, write_params
from tests.weights_files import write_notop


def settings(**values: Any) -> ModelSettings:
    base: dict[str, Any] = {"network": "meso4", "input_size": 64, "epochs": 3, "batch_size": 4, "learning_rate": 0.01}
    return ModelSettings(**(base | values))


def some_faces(count: int = 10, size: int = 64) -> Faces:
    """Dark reals and bright fakes, with noise."""
    generator = np.random.default_rng(1)
    labels = (np.arange(count) % 2).astype(np.float32)
    pictures = generator.integers(0, 100, (count, size, size, 3)) + 100 * labels[:, None, None, None]
    return Faces(pictures.astype(np.uint8), np.arange(count), labels)


@pytest.mark.parametrize(
    ("step", "warmup", "schedule", "rate"),
    [
        (0, 10, "cosine", 0.001),  # linear from zero
        (9, 10, "cosine", 0.01),
        (10, 10, "cosine", 0.01),  # the cosine begins at its height,
        (55, 10, "cosine", 0.005),  # is at half of it halfway
        (99, 10, "cosine", 0.01 * 0.5 * (1 + math.cos(math.pi * 89 / 90))),  # and almost zero at the end
        (0, 0, "constant", 0.01),
        (99, 0, "constant", 0.01),
        (4, 10, "constant", 0.005),
    ],
)
def test_learning_rates(step: int, warmup: int, schedule: str, rate: float) -> None:
    assert learning_rate_at(step, 100, warmup, settings(schedule=schedule)) == pytest.approx(rate)


def test_batches_show_every_face_in_a_seeded_order() -> None:
    pictures = np.arange(11, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    rows = np.arange(1, 11)
    faces = Faces(pictures, rows, (rows % 2).astype(np.float32))

    def order(seed: int, epoch: int) -> list[int]:
        seen = list(batches(faces, 4, False, seed, epoch))
        assert [len(batch) for batch, _ in seen] == [4, 4, 4]
        for batch, labels in seen:
            assert np.array_equal(labels[:, 0], batch[:, 0, 0, 0] % 2)
        return [int(value) for batch, _ in seen for value in batch[:, 0, 0, 0]]

    first = order(1, 0)
    assert sorted(first[:10]) == rows.tolist() and first[10:] == first[:2]
    assert first == order(1, 0)
    assert first != order(1, 1) and first != order(2, 0)


def test_flips_mirror_half_and_keep_stored_pictures() -> None:
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    faces = Faces(np.repeat(picture[None], 200, axis=0), np.arange(200), np.zeros(200, np.float32))
    ((batch, _),) = batches(faces, 200, True, 1, 0)
    mirrored = (batch == picture[:, ::-1]).all(axis=(1, 2, 3))
    assert ((batch == picture).all(axis=(1, 2, 3)) ^ mirrored).all()
    assert 70 < mirrored.sum() < 130
    assert (faces.pictures == picture).all()


def test_each_epoch_draws_one_of_a_faces_pictures() -> None:
    copies, count = 3, 50
    pictures = np.arange((1 + copies) * count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    split = pd.DataFrame({"subset": ["train"] * 40 + ["test"] * 10, "label": ["real", "fake"] * 25})
    faces = subset_faces(split, "train", pictures)
    assert faces.copies == copies
    epochs = [batch[:, 0, 0, 0] for epoch in range(100) for batch, _ in batches(faces, 40, False, 1, epoch)]
    copy, face = np.divmod(np.array(epochs), count)
    assert (np.sort(face, axis=1) == np.arange(40)).all()  # each face once
    shares = np.bincount(copy.ravel(), minlength=4) / copy.size
    assert shares == pytest.approx(np.full(4, 0.25), abs=0.03)
    tested = subset_faces(split, "test", pictures)
    assert tested.rows.tolist() == list(range(40, 50))  # in place


def write_picture(path: Path, rgb: npt.NDArray[np.uint8]) -> Path:
    assert cv2.imwrite(str(path), rgb[:, :, ::-1])
    return path


def listed(*paths: Path) -> pd.DataFrame:
    """The pictures as a crops table has them."""
    content = [path.read_bytes() if path.exists() else b"" for path in paths]
    return pd.DataFrame(
        {"path": [path.name for path in paths], "sha256": [hashlib.sha256(data).hexdigest() for data in content]}
    )


def test_pictures_are_read_as_rgb_and_mapped(tmp_path: Path) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (3, 5, 7, 3), np.uint8)
    paths = [write_picture(tmp_path / f"{row} ü.png", picture) for row, picture in enumerate(pictures)]
    store_pictures(tmp_path, listed(*paths), tmp_path / "pictures.npy")
    read = open_pictures(tmp_path / "pictures.npy")
    assert isinstance(read, np.memmap)
    assert np.array_equal(read, pictures)


def test_pictures_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    good = write_picture(tmp_path / "good.png", np.zeros((4, 4, 3), np.uint8))
    other = write_picture(tmp_path / "other.png", np.zeros((4, 6, 3), np.uint8))
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    file = tmp_path / "pictures.npy"
    with pytest.raises(StudyError, match=r"other\.png is 6x4 pixels, .*good\.png is 4x4"):
        store_pictures(tmp_path, listed(good, other), file)
    for name in ("empty.png", "text.png", "gone.png"):
        with pytest.raises(StudyError, match=rf"{name} is missing or no picture"):
            store_pictures(tmp_path, listed(good, tmp_path / name), file)


@pytest.mark.parametrize(
    ("select_on", "scores", "best"),
    [
        # p_fake of a real and a fake face after each epoch; the middle one ranks wrongly but costs least
        ("validation_loss", [(0.10, 0.11), (0.51, 0.50), (0.90, 0.91)], 1),
        ("validation_auc", [(0.51, 0.50), (0.10, 0.11), (0.45, 0.55)], 2),  # equal AUC: the smaller loss
        ("validation_loss", [(0.40, 0.60), (0.40, 0.60), (0.40, 0.60)], 0),  # equal: the first
    ],
)
def test_the_kept_weights_are_those_of_the_best_epoch(
    select_on: str, scores: list[tuple[float, float]], best: int
) -> None:
    weights: list[list[npt.NDArray[np.float32]]] = []

    def score(model: keras.Model, _: Faces) -> npt.NDArray[np.float64]:
        weights.append(model.get_weights())
        return np.array(scores[len(weights) - 1])

    model = build(settings())
    validation = Faces(np.zeros((2, 64, 64, 3), np.uint8), np.arange(2), np.array([0, 1], np.float32))
    history = fit(model, some_faces(), validation, settings(), select_on, 1, score)
    assert [record.selected for record in history] == [int(epoch == best) for epoch in range(3)]
    assert all(np.array_equal(*pair) for pair in zip(model.get_weights(), weights[best], strict=True))
    for other in {0, 1, 2} - {best}:
        assert not all(np.array_equal(*pair) for pair in zip(model.get_weights(), weights[other], strict=True))


def test_a_training_that_diverges_is_refused() -> None:
    model = build(settings())
    model.set_weights([np.full_like(value, np.nan) for value in model.get_weights()])
    with pytest.raises(StudyError, match="meso4 diverged"):
        fit(model, some_faces(), some_faces(4), settings(), "validation_loss", 1)


def test_predictions_do_not_depend_on_the_batch_they_are_in() -> None:
    faces = some_faces(37)
    model = build(settings())
    whole = predict(model, faces)
    assert whole == pytest.approx(np.asarray(model.predict_on_batch(faces.pictures))[:, 0], abs=1e-6)
    last = Faces(faces.pictures, faces.rows[30:], faces.labels[30:])
    assert predict(model, last) == pytest.approx(whole[30:], abs=1e-6)


def test_history_has_a_row_an_epoch(tmp_path: Path) -> None:
    history = fit(build(settings()), some_faces(), some_faces(4), settings(), "validation_loss", 1)
    write_history(tmp_path / "history.csv", history)
    written = pd.read_csv(tmp_path / "history.csv")
    assert list(written) == ["epoch", "learning_rate", "loss", "validation_loss", "validation_auc", "selected"]
    assert written["epoch"].tolist() == [1, 2, 3] and written["selected"].sum() == 1


def change(folder: Path, changes: dict[str, Any]) -> None:
    """Put settings over those of a study that `study` made."""
    values = yaml.safe_load((folder / "params.yaml").read_text())
    write_params(folder, deep_update(values, changes))


FACTORS = {"brightness_1": 1.0, "brightness_0_5": 0.5}
"""The alterations of the test faces: one that changes nothing, and one that halves the grey levels."""


def write_altered(folder: Path, split: pd.DataFrame, factors: Mapping[str, float] = FACTORS) -> None:
    """data/altered/full/: the test faces with these factors."""
    altered, pictures = folder / "data/altered/full", some_faces(18, 40).pictures
    for name, factor in factors.items():
        (altered / name).mkdir(parents=True, exist_ok=True)
        tested = split[split["subset"] == "test"].drop_duplicates("face_id")
        paths = [
            write_picture(altered / name / f"{face}.png", (factor * pictures[row]).astype(np.uint8))
            for row, face in tested["face_id"].items()
        ]
        rows = listed(*paths).assign(face_id=tested["face_id"].tolist())
        tables.write(altered / name / "index.csv", rows[tables.CROPS.names()], tables.CROPS)
    altered.mkdir(parents=True, exist_ok=True)
    (altered / "alterations.json").write_text(json.dumps(list(factors)))


def study(folder: Path, seeds: Sequence[int] = (1,), workers: int = 1, **model: Any) -> pd.DataFrame:
    """A folder with params.yaml, a split of 16 faces, their crops and altered crops; returns the split."""
    values = params() | {"seeds": list(seeds), "models": {"tiny": settings(**model).model_dump()}}
    values["compute"]["workers"] = workers
    folder.mkdir(exist_ok=True)
    write_params(folder, values)
    faces = some_faces(18, 40)
    subsets = ["train"] * 8 + ["validation"] * 4 + ["test"] * 4 + ["unused"] * 2
    split = tables.to_dataframe(
        (
            {
                "repeat": 1,
                "face_id": f"f{row:02d}",
                "video_id": f"v{row}",
                "track_id": f"v{row}_t0",
                "group": f"g{row}",
                "method": "",
                "subset": subset,
            }
            | {"label": "fake" if label else "real"}
            for row, (subset, label) in enumerate(zip(subsets, faces.labels, strict=True))
        ),
        tables.SPLIT,
    )
    crops = folder / "data" / "crops" / "full"
    (crops / "pictures").mkdir(parents=True)
    used = split[split["subset"] != "unused"]
    paths = [crops / "pictures" / f"{face_id}.png" for face_id in used["face_id"]]
    for row, path in enumerate(paths):
        write_picture(path, faces.pictures[row])
    rows = listed(*paths).assign(path=[f"pictures/{path.name}" for path in paths], face_id=used["face_id"].tolist())
    tables.write(crops / "index.csv", rows[tables.CROPS.names()], tables.CROPS)
    tables.write(folder / "data" / "split.csv", split, tables.SPLIT)
    write_altered(folder, split)
    return split


CELL = ("--model", "tiny", "--variant", "full")
ENDS = (".csv", ".altered.csv")
"""Of the predictions of a training."""


def files_below(folder: Path) -> dict[str, bytes]:
    """What the stage wrote, by path."""
    found = [path for name in ("models", "predictions") for path in (folder / name).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


ON_ONE_CORE = """
import os, runpy
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
runpy.run_module("stages.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.timeout(600)
def test_bytes_depend_on_no_worker_core_or_other_seed(tmp_path: Path) -> None:
    """Seeds 1 to 3 in one process, in two workers, and seed 3 alone in a process of one core, without alterations."""
    folders = {"one": ([1, 2, 3], 1), "two": ([1, 2, 3], 2), "alone": ([3], 1)}
    split = pd.DataFrame()
    for name, (seeds, workers) in folders.items():
        split = study(tmp_path / name, seeds, workers)
    write_altered(tmp_path / "alone", split, {})
    done = {name: stage(tmp_path / name, "train", *CELL) for name in ("one", "two")}
    done["alone"] = call(tmp_path / "alone", "python", "-c", ON_ONE_CORE, *CELL)
    for name, result in done.items():
        assert result.returncode == 0, result.stderr
        assert f"({len(folders[name][0])} run now)" in result.stdout
        assert result.stdout.endswith("8 faces scored.\n")
    written = files_below(tmp_path / "one")
    models, predicted = "models/full/tiny/{}/", "predictions/full/tiny/{}"
    names = (models + "model.weights.h5", models + "history.csv", predicted + ".csv", predicted + ".altered.csv")
    assert set(written) == {name.format(seed) for name in names for seed in (1, 2, 3)}
    assert len({written[names[0].format(seed)] for seed in (1, 2, 3)}) == 3
    assert files_below(tmp_path / "two") == written
    third = {name.format(3): written[name.format(3)] for name in names}
    assert files_below(tmp_path / "alone") == third | {names[3].format(3): b"alteration,face_id,p_fake\n"}
    write_altered(tmp_path / "alone", split)
    later = stage(tmp_path / "alone", "train", *CELL)
    assert "(0 run now)" in later.stdout and files_below(tmp_path / "alone") == third

    losses = gaps(tables.read(tmp_path / "one/metrics/training/full/tiny.csv", tables.TRAININGS))
    kept_losses = [
        pd.read_csv(tmp_path / "one" / names[1].format(seed)).query("selected == 1").iloc[0] for seed in (1, 2, 3)
    ]
    means = [np.mean([row[name] for row in kept_losses]) for name in ("loss", "validation_loss")]
    assert losses["trainings"] == 3
    assert [losses["kept_loss"], losses["kept_validation_loss"]] == pytest.approx(means, abs=2e-6)
    assert losses["kept_gap"] == pytest.approx(means[1] - means[0], abs=2e-6)
    predictions = tables.read(tmp_path / "one" / names[2].format(3), tables.PREDICTIONS)
    scored = split[split["subset"].isin(["validation", "test"])].reset_index(drop=True)
    columns = tables.PREDICTIONS.names()[:-1]
    assert predictions[columns].equals(scored[columns])
    assert predictions["p_fake"].between(0, 1).all()
    kept = build(settings())
    kept.load_weights(tmp_path / "one" / names[0].format(3))
    faces = subset_faces(split, "test", some_faces(18, 40).pictures)
    test_rows = predictions["subset"] == "test"
    assert predict(kept, faces) == pytest.approx(predictions.loc[test_rows, "p_fake"].to_numpy(), abs=2e-6)

    altered = tables.read(tmp_path / "one" / names[3].format(3), ALTERED_SCORES)
    tested = predictions.loc[test_rows, ["face_id", "p_fake"]].reset_index(drop=True)
    same, dark = (altered[altered["alteration"] == name].reset_index(drop=True) for name in FACTORS)
    assert same[["face_id", "p_fake"]].equals(tested), "the same pictures have the same scores"
    halved = Faces((0.5 * faces.pictures).astype(np.uint8), faces.rows, faces.labels)
    assert predict(kept, halved) == pytest.approx(dark["p_fake"].to_numpy(), abs=2e-6)
    assert (dark["p_fake"] != same["p_fake"]).any() and len(altered) == 2 * len(tested)


class Trainer:
    """Stands in for `train_seed` and `score_altered`: notes the seeds and writes small files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trained: list[int] = []
        self.scored: list[int] = []
        self.diverges: set[int] = set()
        monkeypatch.chdir(folder)
        monkeypatch.setattr(loop, "train_seed", self)
        monkeypatch.setattr(loop, "score_altered", self.score)

    def __call__(self, folder: Path, split: pd.DataFrame, seed: int, settings: ModelSettings, **_: Any) -> None:
        seed = next(number for number in range(1, 10) if seed in {training_seed(number, "full", r) for r in (1, 2)})
        self.trained.append(seed)
        if seed in self.diverges:
            raise StudyError("it diverged")
        (folder / "model.weights.h5").write_text(f"{seed} {settings.learning_rate}")
        write_history(folder / "history.csv", [Epoch(1, 0.1, 0.5, 0.5, 0.9, 1)])
        np.save(folder / "p_fake.npy", np.full((split["subset"] != "train").sum(), seed / 10))

    def score(self, folder: Path, weights: Path, rows: npt.NDArray[np.integer], pictures: Path, **_: Any) -> None:
        """p_fake is the mean brightness."""
        self.scored.append(int(weights.read_text().split()[0]))
        np.save(folder / "p_fake.npy", open_pictures(pictures)[rows].mean(axis=(2, 3, 4)) / 255)

    def run(self) -> list[int]:
        """The seeds that a run of the stage trains."""
        self.trained.clear()
        self.scored.clear()
        train.main("tiny", "full")
        return sorted(self.trained)


def test_only_a_new_or_damaged_seed_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study(tmp_path, [1, 2])
    trainer = Trainer(tmp_path, monkeypatch)
    assert trainer.run() == [1, 2]
    written = files_below(tmp_path)
    assert trainer.run() == []
    assert files_below(tmp_path) == written

    change(tmp_path, {"seeds": [1, 2, 3]})
    assert trainer.run() == [3]
    assert written.items() <= files_below(tmp_path).items()
    change(tmp_path, {"seeds": [2, 3]})
    assert trainer.run() == []
    assert {path.name for path in (tmp_path / "models/full/tiny").iterdir()} == {"2", "3"}
    names = {"2.csv", "2.altered.csv", "3.csv", "3.altered.csv"}
    assert {path.name for path in (tmp_path / "predictions/full/tiny").iterdir()} == names

    written = files_below(tmp_path)
    damaged = next(path for path in Path(".cache/train").rglob("*.h5") if path.read_text().startswith("2 "))
    damaged.unlink()  # not through a hard link to the output
    damaged.write_text("2 ?")
    assert trainer.run() == [2]
    assert files_below(tmp_path) == written


def test_weights_that_are_not_trained_score_once_for_all_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = meso4(256)
    write_notop(tmp_path / "other.h5", published)
    weights = {"weights": str(tmp_path / "other.h5"), "weights_sha256": file_sha256(tmp_path / "other.h5")}
    split = study(tmp_path, [1, 2, 3], workers=2, input_size=256, epochs=0, **weights)
    result = stage(tmp_path, "train", *CELL)
    assert result.returncode == 0, result.stderr
    assert "tiny on full: not trained, weights as given (validation AUC " in result.stdout
    written = files_below(tmp_path)
    for end in ENDS:
        assert len({written[f"predictions/full/tiny/{seed}{end}"] for seed in (1, 2, 3)}) == 1
    assert len([*(tmp_path / ".cache/train").rglob("model.weights.h5")]) == 1
    assert {written[f"models/full/tiny/{seed}/history.csv"].count(b"\n") for seed in (1, 2, 3)} == {2}

    found = tables.read(tmp_path / "predictions/full/tiny/1.csv", tables.PREDICTIONS)
    assert found["face_id"].tolist() == split.query("subset in ['validation', 'test']")["face_id"].tolist()
    paths = [tmp_path / f"data/crops/full/pictures/{face}.png" for face in found["face_id"]]
    pictures = [picture for path in paths if (picture := read_picture(path)) is not None]
    p_real = np.asarray(published.predict_on_batch(np.stack(pictures)))[:, 0]  # what such a file says is P(real)
    assert found["p_fake"].to_numpy() == pytest.approx(1 - p_real, abs=1e-5)
    (row,) = pd.read_csv(tmp_path / "metrics/training/full/tiny.csv").query("training == 2").to_dict("records")
    checked = found.query("subset == 'validation'")
    loss = sklearn.metrics.log_loss(checked["label"] == "fake", checked["p_fake"])
    assert (row["epoch"], row["selected"]) == (0, 1) and row["validation_loss"] == pytest.approx(loss, abs=1e-5)


def test_what_decides_the_bytes_trains_every_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = study(tmp_path, [1, 2])
    trainer = Trainer(tmp_path, monkeypatch)
    assert trainer.run() == [1, 2]
    change(tmp_path, {"models": {"tiny": {"learning_rate": 0.02}}})
    assert trainer.run() == [1, 2]
    change(tmp_path, {"train": {"select_on": "validation_auc"}})
    assert trainer.run() == [1, 2]
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert trainer.run() == [1, 2]
    crops = tmp_path / "data/crops/full"
    index = tables.read(crops / "index.csv", tables.CROPS)
    other = write_picture(crops / index["path"][0], np.zeros((40, 40, 3), np.uint8))
    index.loc[0, "sha256"] = hashlib.sha256(other.read_bytes()).hexdigest()
    tables.write(crops / "index.csv", index, tables.CROPS)
    assert trainer.run() == [1, 2]
    split.loc[split["face_id"] == "f00", "subset"] = "test"
    tables.write(tmp_path / "data/split.csv", split, tables.SPLIT)
    write_altered(tmp_path, split)
    assert trainer.run() == [1, 2]
    monkeypatch.setattr(cell, "code_below", lambda *_: {"facestudy/training/loop.py": "changed"})
    assert trainer.run() == [1, 2]
    assert trainer.run() == []


def test_each_seed_is_trained_on_each_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = study(tmp_path, [1, 2])
    other = split.assign(repeat=2, subset=split["subset"].map({"test": "train"}).fillna(split["subset"]))
    other.loc[[0, 1, 6, 7], "subset"] = "test"
    both = pd.concat([split, other]).astype(split.dtypes)
    tables.write(tmp_path / "data/split.csv", both, tables.SPLIT)
    write_altered(tmp_path, both)
    assert Trainer(tmp_path, monkeypatch).run() == [1, 1, 2, 2]
    folder = tmp_path / "predictions/full/tiny"
    trainings = ["1-1", "1-2", "2-1", "2-2"]
    assert {path.name for path in folder.iterdir()} == {f"{name}{end}" for name in trainings for end in ENDS}
    assert {path.name for path in (tmp_path / "models/full/tiny").iterdir()} == {"1-1", "1-2", "2-1", "2-2"}
    for repeat, rows in both.groupby("repeat"):
        found = tables.read(folder / f"2-{repeat}.csv", tables.PREDICTIONS)
        expected = rows[rows["subset"].isin(["validation", "test"])]
        assert found[["face_id", "subset"]].to_numpy().tolist() == expected[["face_id", "subset"]].to_numpy().tolist()
        altered = tables.read(folder / f"2-{repeat}.altered.csv", ALTERED_SCORES)
        tested = rows.loc[rows["subset"] == "test", "face_id"].tolist()
        assert altered.groupby("alteration")["face_id"].agg(list).to_dict() == dict.fromkeys(FACTORS, tested)


def test_other_alterations_train_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = study(tmp_path, [1, 2])
    trainer = Trainer(tmp_path, monkeypatch)
    assert trainer.run() == [1, 2] and sorted(trainer.scored) == [1, 2]
    first = files_below(tmp_path)
    assert trainer.run() == trainer.scored == []
    assert files_below(tmp_path) == first

    write_altered(tmp_path, split, {"brightness_0_2": 0.2})
    assert trainer.run() == [] and sorted(trainer.scored) == [1, 2]
    written = files_below(tmp_path)
    path = "predictions/full/tiny/1.altered.csv"
    table = tables.read(tmp_path / path, ALTERED_SCORES)
    dark = (0.2 * some_faces(18, 40).pictures[12:16]).astype(np.uint8).mean(axis=(1, 2, 3)) / 255
    assert table["p_fake"].tolist() == pytest.approx(dark, abs=1e-6)
    assert {name for name in first if first[name] != written[name]} == {path, path.replace("1.", "2.")}
    write_altered(tmp_path, split)
    assert trainer.run() == trainer.scored == []
    assert files_below(tmp_path) == first

    # A training that the work cache lost is run again; its scores of altered faces are there.
    lost = next(path for path in Path(".cache/train").rglob("*.h5") if path.read_text().startswith("2 "))
    lost.unlink()
    assert trainer.run() == [2] and trainer.scored == []
    assert files_below(tmp_path) == first


def test_altered_crops_that_cannot_be_used_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = study(tmp_path)
    Trainer(tmp_path, monkeypatch)
    altered = tmp_path / "data/altered/full"
    index = altered / "brightness_0_5/index.csv"
    table = tables.read(index, tables.CROPS)
    tables.write(index, table.query("face_id != 'f13'"), tables.CROPS)
    assert "data/altered/full/brightness_0_5 has no crop of the face f13" in refusal_of(monkeypatch, tmp_path)
    tables.write(index, table.assign(sha256=table["sha256"].iloc[0]), tables.CROPS)
    assert "brightness_0_5/f13.png is not the picture that was stored" in refusal_of(monkeypatch, tmp_path)
    for content in ("", '"shift_4"'):
        (altered / "alterations.json").write_text(content)
        assert "data/altered/full/alterations.json" in refusal_of(monkeypatch, tmp_path)
    write_altered(tmp_path, split)
    assert Trainer(tmp_path, monkeypatch).run() == [1]


def test_trainings_share_no_seed() -> None:
    """Nested in variants and splits: no two trainings of a study begin alike."""
    numbers = {
        training_seed(seed, variant, repeat)
        for seed in range(20)
        for variant in ("full", "eyes_lower", "nose")
        for repeat in range(1, 11)
    }
    assert len(numbers) == 20 * 3 * 10
    assert all(0 <= number < 2**32 for number in numbers)


def test_names_of_groups_and_workers_train_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = study(tmp_path, [1, 2])
    trainer = Trainer(tmp_path, monkeypatch)
    assert trainer.run() == [1, 2]
    split["group"] = [f"other{row}" for row in range(len(split))]
    tables.write(tmp_path / "data/split.csv", split, tables.SPLIT)
    change(tmp_path, {"compute": {"workers": 3}})
    assert trainer.run() == []
    assert "other9" in (tmp_path / "predictions/full/tiny/1.csv").read_text()


def test_a_diverged_seed_is_named_and_the_others_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study(tmp_path, [1, 2, 3])
    trainer = Trainer(tmp_path, monkeypatch)
    trainer.diverges = {2}
    with pytest.raises(StudyError, match="^tiny on full, seed 2: it diverged$"):
        trainer.run()
    assert files_below(tmp_path) == {}
    assert {path.name for path in Path(".cache/train").glob(".making-*")} == set()
    trainer.diverges = set()
    assert trainer.run() == [2, 3]


def test_a_seed_that_fails_in_a_worker_is_one_sentence(tmp_path: Path) -> None:
    study(tmp_path, [1, 2], 2, network="vgg19", batch_norm=False, weights="none.h5")
    done = stage(tmp_path, "train", *CELL)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("train: ")]
    assert len(said) == 1 and re.match(r"train: tiny on full, seed [12]: weights file none\.h5 does not exist", said[0])
    assert "Traceback" not in done.stderr


def test_a_gpu_trains_one_seed_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study(tmp_path, [1, 2, 3], 3)
    trainer = Trainer(tmp_path, monkeypatch)  # in this process: other processes know nothing of it
    monkeypatch.setattr(cell, "has_gpu", lambda: True)
    assert trainer.run() == [1, 2, 3]


def test_the_stage_itself_does_not_import_tensorflow() -> None:
    code = "import sys, stages.train; print({'keras', 'tensorflow', 'facestudy.runtime.backend'} & set(sys.modules))"
    assert call(ROOT, sys.executable, "-c", code).stdout == "set()\n"


@pytest.mark.parametrize("network", ["mesoinception4", "vgg19", "resnet50"])
def test_a_used_model_begins_like_a_new_one(network: str) -> None:
    values = settings(network=network, **({} if network == "mesoinception4" else {"width": 1 / 16}))
    first = fresh_model(values, 1)
    for variable in first.variables:
        variable.assign(np.ones_like(variable))
    again = fresh_model(values, 3)
    make_deterministic(3)
    new = build(values)
    assert again is first
    assert [variable.shape for variable in again.variables] == [variable.shape for variable in new.variables]
    assert all(np.array_equal(*pair) for pair in zip(again.variables, new.variables, strict=True))
    assert (len(new.variables) > len(new.weights)) == (network == "mesoinception4")  # the state of dropout too


@pytest.mark.parametrize("network", ["meso4", "vgg19", "resnet50"])
def test_the_disk_for_weights_is_about_what_they_take(network: str, tmp_path: Path) -> None:
    width = 1.0 if network == "meso4" else 0.25
    build(settings(network=network, width=width)).save_weights(tmp_path / "model.weights.h5")
    size = (tmp_path / "model.weights.h5").stat().st_size
    assert size / 2 < weights_bytes(network, width) < 3 * size


def refusal_of(monkeypatch: pytest.MonkeyPatch, folder: Path, model: str = "tiny", variant: str = "full") -> str:
    monkeypatch.chdir(folder)
    with pytest.raises(StudyError) as refusal:
        train.main(model, variant)
    return str(refusal.value)


def test_the_stage_refuses_what_it_cannot_train_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = study(tmp_path)
    assert "models has no big (it has: tiny)" in refusal_of(monkeypatch, tmp_path, model="big")
    assert "data/crops/eyes/index.csv is missing" in refusal_of(monkeypatch, tmp_path, variant="eyes")
    assert "'../x' is not a valid name" in refusal_of(monkeypatch, tmp_path, variant="../x")
    index = tmp_path / "data" / "crops" / "full" / "index.csv"
    tables.write(index, tables.read(index, tables.CROPS).query("face_id != 'f05'"), tables.CROPS)
    assert "data/crops/full/index.csv has no crop of the face f05" in refusal_of(monkeypatch, tmp_path)
    split.loc[(split["subset"] == "validation"), "label"] = "real"
    tables.write(tmp_path / "data" / "split.csv", split, tables.SPLIT)
    assert "the subset validation has 4 real and 0 fake faces" in refusal_of(monkeypatch, tmp_path)


def test_both_classes_are_needed_for_training() -> None:
    split = pd.DataFrame({"label": ["real", "fake"], "subset": ["train", "train"]})
    with pytest.raises(StudyError, match="validation has 0 real and 0 fake"):
        check_classes(split, "data/split.csv")
