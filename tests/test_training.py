"""Fitting, the choice of the epoch, scoring, and the stage that does them."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn import metrics

from facestudy import tables
from facestudy.backend import keras
from facestudy.errors import StudyError
from facestudy.labelled import Faces, check_classes, open_pictures, store_pictures, subset_faces
from facestudy.model_settings import ModelSettings
from facestudy.models import build
from facestudy.training import batches, fit, learning_rate_at, log_loss, predict, roc_auc, write_history
from stages import train
from tests.project import ENVIRONMENT, params, write_params


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


def test_batches_show_every_face_in_an_order_of_the_seed_and_epoch() -> None:
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


def test_flips_mirror_about_half_and_leave_the_stored_pictures_alone() -> None:
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    faces = Faces(np.repeat(picture[None], 200, axis=0), np.arange(200), np.zeros(200, np.float32))
    ((batch, _),) = batches(faces, 200, True, 1, 0)
    mirrored = (batch == picture[:, ::-1]).all(axis=(1, 2, 3))
    assert ((batch == picture).all(axis=(1, 2, 3)) ^ mirrored).all()
    assert 70 < mirrored.sum() < 130
    assert (faces.pictures == picture).all()


def write_picture(path: Path, rgb: npt.NDArray[np.uint8]) -> Path:
    assert cv2.imwrite(str(path), rgb[:, :, ::-1])
    return path


def listed(*paths: Path) -> pd.DataFrame:
    """The pictures as a crops table has them."""
    content = [path.read_bytes() if path.exists() else b"" for path in paths]
    return pd.DataFrame(
        {"path": [path.name for path in paths], "sha256": [hashlib.sha256(data).hexdigest() for data in content]}
    )


def test_pictures_are_read_as_rgb_and_leave_nothing_behind(tmp_path: Path) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (3, 5, 7, 3), np.uint8)
    paths = [write_picture(tmp_path / f"{row} ü.png", picture) for row, picture in enumerate(pictures)]
    scratch = tmp_path / "scratch"
    read = load_pictures(tmp_path, listed(*paths), scratch)
    assert isinstance(read, np.memmap)
    assert np.array_equal(read, pictures)
    assert list(scratch.iterdir()) == []


def test_pictures_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    good = write_picture(tmp_path / "good.png", np.zeros((4, 4, 3), np.uint8))
    other = write_picture(tmp_path / "other.png", np.zeros((4, 6, 3), np.uint8))
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(StudyError, match=r"other\.png is 6x4 pixels, .*good\.png is 4x4"):
        load_pictures(tmp_path, listed(good, other), tmp_path)
    for name in ("empty.png", "text.png", "gone.png"):
        with pytest.raises(StudyError, match=rf"{name} is missing or no picture"):
            load_pictures(tmp_path, listed(good, tmp_path / name), tmp_path)


def test_auc_and_log_loss_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        labels = np.append(generator.integers(0, 2, 30), [0, 1]).astype(np.float32)
        p_fake = generator.integers(0, 11, 32) / 10  # many ties, also at 0 and 1
        assert roc_auc(labels, p_fake) == pytest.approx(metrics.roc_auc_score(labels, p_fake))
        held = np.clip(p_fake, 1e-7, 1 - 1e-7)
        assert log_loss(labels, p_fake) == pytest.approx(metrics.log_loss(labels, held))


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


def study(folder: Path, **model: Any) -> pd.DataFrame:
    """A folder with params.yaml, a split of 16 faces and their crops; returns the split."""
    values = params()
    values["models"] = {"tiny": settings(**model).model_dump()}
    folder.mkdir(exist_ok=True)
    write_params(folder, values)
    faces = some_faces(18, 40)
    subsets = ["train"] * 8 + ["validation"] * 4 + ["test"] * 4 + ["unused"] * 2
    split = tables.frame(
        (
            {
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
    return split


OUTPUTS = ("models/full/tiny/3/model.weights.h5", "models/full/tiny/3/history.csv", "predictions/full/tiny/3.csv")


def test_the_stage_gives_the_same_bytes_again_in_another_process(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    split, _ = (study(folder) for folder in folders)
    command = [sys.executable, "-m", "stages.train", "--model", "tiny", "--variant", "full", "--seed", "3"]
    runs = [
        subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for folder in folders
    ]
    for process in runs:
        said, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors.decode()
        assert said.decode().startswith("train: tiny on full, seed 3: 8 faces trained on for 3 epochs, epoch ")
        assert said.decode().endswith("8 faces scored.\n")
    for name in OUTPUTS:
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second, name
    predictions = tables.read(folders[0] / OUTPUTS[2], tables.PREDICTIONS)
    scored = split[split["subset"].isin(["validation", "test"])].reset_index(drop=True)
    assert predictions[tables.SPLIT.names()].equals(scored)
    assert predictions["p_fake"].between(0, 1).all()
    kept = build(settings())
    kept.load_weights(folders[0] / OUTPUTS[0])
    faces = subset_faces(split, "test", some_faces(18, 40).pictures)
    test_rows = predictions["subset"] == "test"
    assert predict(kept, faces) == pytest.approx(predictions.loc[test_rows, "p_fake"].to_numpy(), abs=2e-6)


def call_stage(monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str) -> str:
    cell = {"--model": "tiny", "--variant": "full", "--seed": "1"} | dict(zip(options[::2], options[1::2], strict=True))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["train", *(word for pair in cell.items() for word in pair)])
    with pytest.raises(StudyError) as refusal:
        train.main()
    return str(refusal.value)


def test_the_stage_refuses_what_it_cannot_train_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = study(tmp_path)
    assert "models has no big (it has: tiny)" in call_stage(monkeypatch, tmp_path, "--model", "big")
    assert "data/crops/eyes/index.csv is missing" in call_stage(monkeypatch, tmp_path, "--variant", "eyes")
    assert "'../x' is no name" in call_stage(monkeypatch, tmp_path, "--variant", "../x")
    index = tmp_path / "data" / "crops" / "full" / "index.csv"
    tables.write(index, tables.read(index, tables.CROPS).query("face_id != 'f05'"), tables.CROPS)
    assert "data/crops/full/index.csv has no crop of the face f05" in call_stage(monkeypatch, tmp_path)
    split.loc[(split["subset"] == "validation"), "label"] = "real"
    tables.write(tmp_path / "data" / "split.csv", split, tables.SPLIT)
    assert "the subset validation has 4 real and 0 fake faces" in call_stage(monkeypatch, tmp_path)


def test_both_classes_are_needed_for_training() -> None:
    split = pd.DataFrame({"label": ["real", "fake"], "subset": ["train", "train"]})
    with pytest.raises(StudyError, match="validation has 0 real and 0 fake"):
        check_classes(split, "data/split.csv")
