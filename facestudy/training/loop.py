"""Fit a model to labelled faces, choose the epoch on the validation faces, and score faces.

Batches are NumPy arrays, and each step calls `train_on_batch`. With Keras's `fit` on the same arrays, an epoch takes
1.2 (ResNet-50) to 1.5 times (MesoNet) as long (`python -m benchmarks.training`, one core), also for a model with a
fixed input size.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from facestudy.core.arrays import Float32Array, FloatArray, IntArray, Picture
from facestudy.core.errors import StudyError
from facestudy.core.scoring import log_loss, roc_auc
from facestudy.models.fused import Adam
from facestudy.models.layers import load_by_name
from facestudy.models.networks import build
from facestudy.models.settings import ModelSettings, TrainSettings
from facestudy.runtime import backend
from facestudy.runtime.backend import keras
from facestudy.training.data import Faces, open_pictures, subset_faces

PREDICTION_BATCH = 32
CLIP = 1e-7
"""p_fake is clipped to [CLIP, 1 - CLIP] in the validation loss, as in Keras's binary_crossentropy."""


@dataclass(frozen=True)
class Epoch:
    """The record of an epoch, a row of history.csv.

    Attributes
    ----------
    epoch : int
        Its number, from 1; 0 for a model that is not trained.
    learning_rate : float
        That of its last step.
    loss : float
        Mean binary cross-entropy of its training batches; of epoch 0, that of the training faces.
    validation_loss, validation_auc : float
        Of the validation faces, after the epoch.
    selected : int
        1 for the epoch whose weights are kept, else 0.
    """

    epoch: int
    learning_rate: float
    loss: float
    validation_loss: float
    validation_auc: float
    selected: int = 0


def train_seed(
    folder: Path,
    split: pd.DataFrame,
    pictures: Path,
    settings: ModelSettings,
    common: TrainSettings,
    seed: int,
    quiet: bool = False,
) -> None:
    """Train a model with one seed, score the validation and test faces, and write the results to a folder.

    The training runs in one thread. The files depend on the arguments only, not on earlier trainings in this process.

    Parameters
    ----------
    folder : Path
        Where model.weights.h5, history.csv and p_fake.npy are written. p_fake.npy has one float64 for each row of
        `split` that is not in the subset train.
    split : DataFrame
        The columns subset and label of tables.SPLIT.
    pictures : Path
        What `facestudy.training.data.store_pictures` wrote: the pictures of all rows of `split`, then their misplaced
        copies.
    settings : ModelSettings
        The network and how it is trained.
    common : TrainSettings
        The settings of all trainings.
    seed : int
        For the initial weights, the order of the batches, flips and dropout.
    quiet : bool
        Show no progress bar.

    Raises
    ------
    StudyError
        When the training diverges, or when weights that the settings name cannot be used.
    """
    with _ONE_AT_A_TIME:
        _set_devices(settings, common)
        model = fresh_model(settings, seed)
        opened = open_pictures(pictures)
        training, validation, test = (subset_faces(split, subset, opened) for subset in ("train", "validation", "test"))
        history = (
            fit(model, training, validation, settings, common.select_on, seed, quiet=quiet)
            if settings.epochs
            else [as_given(model, training, validation)]
        )
        p_fake = np.empty(len(split))
        for faces in (validation, test):
            p_fake[faces.rows] = predict(model, faces)
        np.save(folder / "p_fake.npy", p_fake[split["subset"] != "train"])
        model.save_weights(folder / "model.weights.h5")
        write_history(folder / "history.csv", history)


def score_altered(
    folder: Path, weights: Path, rows: IntArray, pictures: Path, settings: ModelSettings, common: TrainSettings
) -> None:
    """Score altered test faces with a trained model, and write the result to a folder.

    The model that this process has trained is used again. Trainings that follow are the same as without it.

    Parameters
    ----------
    folder : Path
        Where p_fake.npy is written: float64, of the shape of `rows`.
    weights : Path
        The model.weights.h5 that `train_seed` wrote.
    rows : ndarray of int, shape (alterations, faces)
        Where the altered faces are in `pictures`. Each alteration is scored in batches of its own, as the unaltered
        test faces are: the same pictures in the same order get the same scores.
    pictures : Path
        What `facestudy.training.data.store_pictures` wrote.
    settings : ModelSettings
        The network.
    common : TrainSettings
        The settings of all trainings.

    Raises
    ------
    StudyError
        When the weights are not those of such a network.
    """
    with _ONE_AT_A_TIME:
        _set_devices(settings, common)
        model = _built[settings] if settings in _built else fresh_model(settings, seed=0)
        load_by_name(model, weights)
        opened, labels = open_pictures(pictures), np.zeros(rows.shape[1], np.float32)
        np.save(folder / "p_fake.npy", np.stack([predict(model, Faces(opened, part, labels)) for part in rows]))


def _set_devices(settings: ModelSettings, common: TrainSettings) -> None:
    if common.distribution == "auto":
        backend.distribute(settings.batch_size, PREDICTION_BATCH)


_ONE_AT_A_TIME = threading.Lock()
"""Held while a model is used: Dask may run tasks in threads, which share random generators, model and optimizer."""
_built: dict[ModelSettings, keras.Model] = {}
"""The models that this process has trained; a stage trains one."""


def fresh_model(settings: ModelSettings, seed: int) -> keras.Model:
    """Return the model that `build` gives in a new process with this seed.

    A model that this process has trained before gets the new initial weights: tracing its training step again takes
    seconds (MesoNet) to half a minute (ResNet-50).

    Parameters
    ----------
    settings : ModelSettings
        The network.
    seed : int
        For the initial weights and dropout.

    Returns
    -------
    keras.Model
    """
    backend.make_deterministic(seed)
    model = build(settings)
    used = _built.setdefault(settings, model)
    for variable, initial in zip(used.variables, model.variables, strict=True):  # also dropout's generators
        variable.assign(initial)
    return used


@functools.lru_cache(maxsize=1)
def with_optimizer(model: keras.Model) -> keras.Model:
    """Make a model with the same layers up to `logit`, ready for training.

    Parameters
    ----------
    model : keras.Model
        A model with a layer `logit`.

    Returns
    -------
    keras.Model
        It shares its weights with `model`.
    """
    return compiled(keras.Model(model.input, model.get_layer("logit").output))


def compiled(logits: keras.Model, optimizer: keras.optimizers.Optimizer | None = None) -> keras.Model:
    """Add `cross_entropy` and an optimizer to a model that gives logits.

    Parameters
    ----------
    logits : keras.Model
        The model; it is changed.
    optimizer : keras.optimizers.Optimizer, optional
        Adam by default.

    Returns
    -------
    keras.Model
        The same model.
    """
    logits.compile(
        optimizer or Adam(),
        cross_entropy,
        jit_compile=False,  # TensorFlow's XLA supports neither op determinism nor the resizing
    )
    logits.optimizer.build(logits.trainable_variables)  # else the step is traced twice, slow for ResNet-50
    return logits


def cross_entropy(labels: Any, logits: Any) -> Any:
    """Compute the binary cross-entropy of logits, in operations that round the same on every CPU.

    Keras's BinaryCrossentropy(from_logits=True) has the same value. Its gradient in TensorFlow is computed with the
    CPU's instruction for approximate reciprocals, which AMD and Intel round differently.

    Parameters
    ----------
    labels : tensor of shape (batch, 1), float32
        1 for fake, 0 for real.
    logits : tensor of shape (batch, 1), float32

    Returns
    -------
    tensor of shape (batch,), float32
        softplus(-logit) = -log(p_fake) of a fake face, softplus(logit) = -log(1 - p_fake) of a real one.

    Examples
    --------
    >>> loss = cross_entropy(np.float32([[1], [0], [0]]), np.float32([[0], [0], [-200]]))
    >>> [round(float(value), 3) for value in loss]
    [0.693, 0.693, 0.0]
    """
    return keras.ops.mean(keras.ops.softplus((1 - 2 * labels) * logits), axis=-1)


def learning_rate_at(step: int, steps: int, warmup_steps: int, settings: ModelSettings) -> float:
    """Compute the learning rate of a step: a linear warm-up, then constant or a cosine down to zero.

    Parameters
    ----------
    step : int
        The number of the step, from 0.
    steps : int
        The number of steps of the training.
    warmup_steps : int
        The number of steps of the warm-up.
    settings : ModelSettings
        `learning_rate` and `schedule`.

    Returns
    -------
    float

    References
    ----------
    Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, equation 5, here without
    restarts.
    """
    if step < warmup_steps:
        return settings.learning_rate * (step + 1) / warmup_steps
    if settings.schedule == "constant":
        return settings.learning_rate
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def batches(faces: Faces, batch_size: int, flip: bool, seed: int, epoch: int) -> Iterator[tuple[Picture, Float32Array]]:
    """Yield the batches of one epoch, in an order that depends on seed and epoch.

    All batches have the same size, and no face is left out: the last batch is filled up with the first faces of the
    epoch. A small last batch would distort the statistics of batch normalisation.

    Parameters
    ----------
    faces : Faces
        The faces to train on. Of a face with misplaced copies, one picture is drawn in each epoch, all equally likely.
    batch_size : int
        The number of faces in a batch; at most all faces.
    flip : bool
        Mirror each picture with probability one half.
    seed : int
        The seed of the training.
    epoch : int
        The number of the epoch.

    Yields
    ------
    pictures : ndarray of uint8, shape (batch, height, width, 3)
        RGB.
    labels : ndarray of float32, shape (batch, 1)
        1 for fake, 0 for real.
    """
    generator = np.random.default_rng([seed, epoch])
    batch_size = min(batch_size, len(faces.rows))
    steps = math.ceil(len(faces.rows) / batch_size)
    order = np.resize(generator.permutation(len(faces.rows)), steps * batch_size)
    for chosen in order.reshape(steps, batch_size):
        rows = faces.rows[chosen]
        if faces.copies:
            in_place = len(faces.pictures) // (faces.copies + 1)
            rows = rows + in_place * generator.integers(faces.copies + 1, size=batch_size)
        pictures = faces.pictures[rows]
        if flip:
            mirrored = generator.random(batch_size) < 0.5
            pictures[mirrored] = pictures[mirrored, :, ::-1]
        yield pictures, faces.labels[chosen][:, None]


def fit(
    model: keras.Model,
    training: Faces,
    validation: Faces,
    settings: ModelSettings,
    select_on: str,
    seed: int,
    score: Callable[[keras.Model, Faces], FloatArray] | None = None,
    quiet: bool = False,
) -> list[Epoch]:
    """Train a model in place; it ends with the weights of the epoch that was best on the validation faces.

    The optimizer is Adam. The loss is binary cross-entropy on the layer `logit`, because a saturated sigmoid has no
    gradient.

    Parameters
    ----------
    model : keras.Model
        The model to train.
    training, validation : Faces
        The faces to train on, and those to choose the epoch on.
    settings : ModelSettings
        How the model is trained.
    select_on : str
        "validation_loss", or "validation_auc", where the loss decides between equal AUCs. Of equal epochs the first is
        chosen.
    seed : int
        For the order of the batches and flips.
    score : callable, optional
        Takes a model and faces, and returns p_fake of the faces. By default `predict`.
    quiet : bool
        Show no progress bar.

    Returns
    -------
    list of Epoch
        One record per epoch; one of them is marked as selected.

    Raises
    ------
    StudyError
        When the loss is not finite in any epoch.

    References
    ----------
    Kingma and Ba, Adam: A Method for Stochastic Optimization, ICLR 2015.
    """
    score = score or predict
    logits = with_optimizer(model)
    for variable in logits.optimizer.variables:  # reset after an earlier training; each step sets the learning rate
        variable.assign(np.zeros(variable.shape, variable.dtype))
    per_epoch = math.ceil(len(training.rows) / settings.batch_size)
    warmup_steps = round(settings.warmup * per_epoch)
    history: list[Epoch] = []
    best, best_rank, best_weights = -1, (math.inf, math.inf), model.get_weights()
    progress = tqdm(range(settings.epochs), desc=model.name, unit="epoch", mininterval=1.0, disable=quiet)
    for epoch in progress:
        numbers = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        rates = [learning_rate_at(step, settings.epochs * per_epoch, warmup_steps, settings) for step in numbers]
        losses = take_steps(logits, rates, batches(training, settings.batch_size, settings.flip, seed, epoch))
        of_validation = _loss_and_auc(validation, score(model, validation))
        record = Epoch(epoch + 1, rates[-1], float(np.mean(losses)), *of_validation)
        history.append(record)
        progress.set_postfix(loss=f"{record.loss:.3f}", validation_auc=f"{record.validation_auc:.3f}")
        rank = (record.validation_loss, 0.0)
        if select_on == "validation_auc":
            rank = (-record.validation_auc, record.validation_loss)
        if math.isfinite(record.loss) and rank < best_rank:
            best, best_rank, best_weights = epoch, rank, model.get_weights()
    if best < 0:
        raise StudyError(
            f"{model.name} diverged: its loss is not finite in any epoch; lower learning_rate "
            f"(now {settings.learning_rate:g}) or raise warmup_epochs."
        )
    model.set_weights(best_weights)
    history[best] = replace(history[best], selected=1)
    return history


def take_steps(
    logits: keras.Model, rates: Sequence[float], data: Iterable[tuple[Picture, Float32Array]]
) -> list[float]:
    """Train a model for some steps.

    Parameters
    ----------
    logits : keras.Model
        As `compiled` returns it.
    rates : sequence of float
        The learning rate of each step.
    data : iterable of (ndarray of uint8, ndarray of float32)
        As many batches as rates, as `batches` yields them.

    Returns
    -------
    list of float
        The mean loss of each batch.
    """
    if backend.name() == "jax":
        from facestudy.training import jax_steps

        return jax_steps.take_steps(logits, cross_entropy, rates, data)
    losses = []
    for rate, batch in zip(rates, data, strict=True):
        logits.optimizer.learning_rate = rate
        losses.append(float(logits.train_on_batch(*batch)))
    return losses


def as_given(model: keras.Model, training: Faces, validation: Faces) -> Epoch:
    """Record the validation metrics of a model whose weights are used as they are.

    Parameters
    ----------
    model : keras.Model
        The model.
    training, validation : Faces
        The faces on which a model of the same study would be trained, and its epoch chosen.

    Returns
    -------
    Epoch
        Epoch 0, which is selected.
    """
    loss, _ = _loss_and_auc(training, predict(model, training))
    return Epoch(0, 0.0, loss, *_loss_and_auc(validation, predict(model, validation)), selected=1)


def _loss_and_auc(faces: Faces, p_fake: FloatArray) -> tuple[float, float]:
    fake = faces.labels == 1
    return float(log_loss(fake, p_fake, np.ones((1, len(fake))), CLIP)[0]), roc_auc(fake, p_fake)


def predict(model: keras.Model, faces: Faces) -> FloatArray:
    """Compute p_fake of faces, in batches of one size, so that TensorFlow builds one graph; the last batch is padded.

    Parameters
    ----------
    model : keras.Model
        A trained model.
    faces : Faces
        The faces to score.

    Returns
    -------
    ndarray of float64, shape (n,)
        Probabilities of fake, in [0, 1]; of a model that ends in `logit`, their logits.
    """
    p_fake = np.empty(len(faces.rows))
    batch = np.zeros((PREDICTION_BATCH, *faces.pictures.shape[1:]), np.uint8)
    for start in range(0, len(faces.rows), PREDICTION_BATCH):
        rows = faces.rows[start : start + PREDICTION_BATCH]
        batch[: len(rows)] = faces.pictures[rows]
        answer = np.asarray(model.predict_on_batch(batch))
        p_fake[start : start + len(rows)] = answer[: len(rows), 0]
    return p_fake


def write_history(path: Path, history: Sequence[Epoch]) -> None:
    """Write one CSV row per epoch, with six decimals; the learning rate has eight.

    Parameters
    ----------
    path : Path
        The file.
    history : sequence of Epoch
        As `fit` returned it.
    """
    names = [field.name for field in fields(Epoch)]
    table = pd.DataFrame([astuple(record) for record in history], columns=names)
    table["learning_rate"] = [f"{rate:.8f}" for rate in table["learning_rate"]]
    table.to_csv(path, index=False, float_format="%.6f", lineterminator="\n")
