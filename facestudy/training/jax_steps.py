"""Training steps with JAX that leave the variables in JAX.

Keras's `train_on_batch` copies all variables from JAX to Python and back at each step. On an H100 it takes 1.7 times as
long for MesoNet (`python -m benchmarks.jax_steps`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from facestudy.core.arrays import Float32Array, Picture
from facestudy.runtime.backend import keras

PRECISION = "tensorfloat32"
"""Of products of matrices and of convolutions on a GPU: inputs rounded to 10 bits, sums in float32."""
State = tuple[list[Any], list[Any], list[Any]]
"""The values of the variables: trained, not trained, and the optimizer's."""


def take_steps(
    logits: keras.Model,
    loss: Callable[[Any, Any], Any],
    rates: Sequence[float],
    data: Iterable[tuple[Picture, Float32Array]],
) -> list[float]:
    """Train a model for some steps, as `train_on_batch` does, but with PRECISION.

    Parameters
    ----------
    logits : keras.Model
        A compiled model.
    loss : callable
        Takes labels and logits of shape (batch, 1) and returns losses of shape (batch,).
    rates : sequence of float
        The learning rate of each step.
    data : iterable of (ndarray of uint8, ndarray of float32)
        As many batches, as `facestudy.training.loop.batches` yields them.

    Returns
    -------
    list of float
        The mean loss of each batch.
    """
    step = _step(logits, loss)
    variables = logits.trainable_variables, logits.non_trainable_variables, logits.optimizer.variables
    state: Any = tuple([variable.value for variable in part] for part in variables)
    losses = []
    with jax.default_matmul_precision(PRECISION):
        for rate, batch in zip(rates, data, strict=True):
            state, value = step(state, *map(_distributed, batch), np.float32(rate))
            losses.append(value)  # a float would make Python wait for the step
    for part, values in zip(variables, state, strict=True):
        for variable, value in zip(part, values, strict=True):
            variable.assign(value)
    return [float(value) for value in losses]


def _distributed(array: Any) -> Any:
    """Split a batch over the devices in use; each device computes all of a batch that cannot be split."""
    distribution = keras.distribution.distribution()
    if distribution is None or len(array) % distribution.num_model_replicas:
        return array
    return keras.distribution.distribute_tensor(array, distribution.get_data_layout(array.shape))


@functools.lru_cache(maxsize=1)
def _step(logits: keras.Model, loss: Callable[[Any, Any], Any]) -> Callable[..., tuple[State, Any]]:
    """A compiled step."""
    rate_at = [variable.name for variable in logits.optimizer.variables].index("learning_rate")

    def loss_of(trained: list[Any], others: list[Any], pictures: Any, labels: Any) -> tuple[Any, list[Any]]:
        found, others, added = logits.stateless_call(trained, others, pictures, training=True, return_losses=True)
        return jax.numpy.mean(loss(labels, found)) + sum(added), others

    @jax.jit
    def step(state: State, pictures: Any, labels: Any, rate: Any) -> tuple[State, Any]:
        trained, others, own = state
        own = [*own[:rate_at], rate, *own[rate_at + 1 :]]
        (value, others), slopes = jax.value_and_grad(loss_of, has_aux=True)(trained, others, pictures, labels)
        trained, own = logits.optimizer.stateless_apply(own, slopes, trained)
        return (list(trained), list(others), list(own)), value

    found: Callable[..., tuple[State, Any]] = step
    return found
