"""Scoring and training with the Keras backend JAX, in processes that cannot import TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from facestudy.models.layers import load_by_name
from facestudy.models.settings import ModelSettings
from facestudy.runtime.backend import keras
from facestudy.training.data import Faces
from facestudy.training.loop import batches, fresh_model, predict, take_steps, with_optimizer
from tests.project import ENVIRONMENT
from tests.test_training import CELL, change, files_below, settings, some_faces, study

NETWORKS = ["meso4", "mesoinception4", "vgg19", "resnet50"]
RATES = [0.001, 0.002, 0.0005]


def with_jax(folder: Path, code: str, *words: str, **variables: str) -> None:
    alone = "import sys; sys.modules['tensorflow'] = None; "
    done = subprocess.run(
        [sys.executable, "-c", alone + code, *words],
        cwd=folder, env=ENVIRONMENT | {"KERAS_BACKEND": "jax"} | variables, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def model_of(network: str, weights: Path | None = None) -> keras.Model:
    narrow = {} if network.startswith("meso") else {"width": 1 / 8}
    model = fresh_model(ModelSettings(**settings(network=network).model_dump() | narrow), 1)
    if weights is not None:
        load_by_name(model, weights)
    return model


def logits(model: keras.Model, faces: Faces) -> list[float]:
    return predict(keras.Model(model.input, model.get_layer("logit").output), faces).tolist()


def steps(model: keras.Model, faces: Faces) -> list[float]:
    return take_steps(with_optimizer(model), RATES, batches(faces, 4, True, 1, 0))


def steps_by_keras(model: keras.Model, faces: Faces) -> list[float]:
    trained, losses = with_optimizer(model), []
    for variable in trained.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    for rate, batch in zip(RATES, batches(faces, 4, True, 1, 0), strict=True):
        trained.optimizer.learning_rate = rate
        losses.append(float(trained.train_on_batch(*batch)))
    return losses


def compute(folder: Path) -> None:
    """What the other process does with the weights in a folder."""
    faces = some_faces(12)
    found: dict[str, Any] = {
        network: logits(model_of(network, folder / f"{network}.weights.h5"), faces) for network in NETWORKS
    }
    found["losses"] = steps(model_of("vgg19", folder / "vgg19.weights.h5"), faces)
    ways = []
    for way in (steps, steps_by_keras):
        model = model_of("meso4", folder / "meso4.weights.h5")
        losses = way(model, faces)
        ways.append([*losses, *(float(np.abs(weight).sum()) for weight in model.get_weights())])
    (folder / "found.json").write_text(json.dumps(found | {"ways": ways}))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What TensorFlow and JAX compute from the same weights."""
    folder, faces, noise = tmp_path_factory.mktemp("weights"), some_faces(12), np.random.default_rng(1)
    expected = {}
    for network in NETWORKS:
        model = model_of(network)
        model.set_weights([value * noise.uniform(0.8, 1.2, value.shape) for value in model.get_weights()])
        model.save_weights(folder / f"{network}.weights.h5")
        expected[network] = logits(model, faces)
    expected["losses"] = steps(model_of("vgg19", folder / "vgg19.weights.h5"), faces)
    with_jax(
        folder, "import pathlib; from tests.test_jax import compute; compute(pathlib.Path(sys.argv[1]))", str(folder)
    )
    return expected, json.loads((folder / "found.json").read_text())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_same_weights_give_the_same_scores(compared: tuple[dict[str, Any], dict[str, Any]], network: str) -> None:
    expected, found = compared
    assert np.ptp(expected[network]) > 1e-3
    assert found[network] == pytest.approx(expected[network], abs=1e-4)


def test_a_training_without_dropout_has_the_same_losses(compared: tuple[dict[str, Any], dict[str, Any]]) -> None:
    expected, found = compared
    assert found["losses"][0] == pytest.approx(expected["losses"][0], rel=1e-5)
    assert found["losses"] == pytest.approx(expected["losses"], rel=1e-2)  # Adam's first steps go by signs


def test_steps_are_those_of_train_on_batch(compared: tuple[dict[str, Any], dict[str, Any]]) -> None:
    ours, theirs = compared[1]["ways"]
    assert ours == pytest.approx(theirs, rel=1e-4)


STAGE = "import runpy; runpy.run_module('stages.train', run_name='__main__', alter_sys=True)"
TWO_IN_USE = "; import keras; assert keras.distribution.distribution().num_model_replicas == 2"


@pytest.mark.timeout(600)
def test_the_stage_trains_and_repeats_its_bytes(tmp_path: Path) -> None:
    for name, seeds in {"both": [1, 2], "second": [2], "split": [2]}.items():
        study(tmp_path / name, seeds, learning_rate=0.001)
    for name in ("both", "second"):
        with_jax(tmp_path / name, STAGE, *CELL)
    both, second = (files_below(tmp_path / name) for name in ("both", "second"))
    assert second and {name: both[name] for name in second} == second
    history = pd.read_csv(tmp_path / "both/models/full/tiny/1/history.csv")
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]

    change(tmp_path / "split", {"train": {"distribution": "auto"}})
    with_jax(tmp_path / "split", STAGE + TWO_IN_USE, *CELL, XLA_FLAGS="--xla_force_host_platform_device_count=2")
    one, two = (pd.read_csv(tmp_path / name / "models/full/tiny/2/history.csv") for name in ("second", "split"))
    assert two.to_numpy() == pytest.approx(one.to_numpy(), rel=1e-4)
