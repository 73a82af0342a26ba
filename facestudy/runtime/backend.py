"""Everything that depends on the library under Keras: choice, threads, seeds, determinism.

Import `keras` from here, never directly: which backend it uses is decided when it is first
imported, and so are what TensorFlow logs and which instructions it uses (facestudy.runtime.environment). It
computes in one thread; work runs side by side in processes (facestudy.runtime.parallel).

>>> from facestudy.runtime.backend import keras
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from facestudy.core.errors import StudyError
from facestudy.runtime import environment

environment.prepare()


@contextmanager
def _silent() -> Iterator[None]:
    """TensorFlow logs about missing GPUs before its log level counts: nothing a user can act on."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _without(*packages: str) -> Iterator[None]:
    """Hide packages that are not imported yet, as if they were not installed."""
    hidden = [package for package in packages if package not in sys.modules]
    for package in hidden:
        sys.modules[package] = None  # type: ignore[assignment]  # importing it raises ModuleNotFoundError
    try:
        yield
    finally:
        for package in hidden:
            del sys.modules[package]


# Keras offers wrappers for scikit-learn, TensorFlow a converter for JAX: unused here, and importing both takes 3 s.
with _silent(), _without("sklearn", *(["jax"] if os.environ["KERAS_BACKEND"] == "tensorflow" else [])):
    import keras

__all__ = ["distribute", "keras", "make_deterministic", "name"]


def name() -> str:
    """The backend in use: tensorflow, jax or torch."""
    return str(keras.backend.backend())


def _configure() -> None:
    """Compute in one thread, so that no result depends on the number of cores, and in float32.

    JAX takes its number of threads from `taskset`.
    """
    if name() == "tensorflow":
        import tensorflow

        try:
            tensorflow.config.threading.set_intra_op_parallelism_threads(1)
            tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:
            raise StudyError(
                "TensorFlow has already started several threads, so results may depend on the number of cores; "
                "import facestudy.runtime.backend before TensorFlow computes anything."
            ) from None
    elif name() == "torch":
        import torch

        torch.set_num_threads(1)
    elif name() == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "float32")  # else a GPU rounds to TensorFloat-32


_configure()


def distribute(*batch_sizes: int) -> int:
    """Split batches over the devices of this machine, for the models that are built afterwards.

    Each device has a copy of the variables. With TensorFlow or PyTorch, nothing changes.

    Parameters
    ----------
    *batch_sizes : int
        The sizes of the batches. The number of devices in use divides all of them.

    Returns
    -------
    int
        The number of devices in use.
    """
    if name() != "jax":
        return 1
    devices, size = keras.distribution.list_devices(), math.gcd(*batch_sizes)
    used = max(number for number in range(1, len(devices) + 1) if size % number == 0)
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices[:used]) if used > 1 else None)
    return used


def make_deterministic(seed: int) -> None:
    """Seed all random numbers that Keras draws, and choose kernels that give the same result every time.

    This affects the whole process. JAX on a GPU takes its choice of kernels from facestudy.runtime.environment.

    Parameters
    ----------
    seed
        0 to 2**32 - 1.
    """
    keras.utils.set_random_seed(seed)
    if name() == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
    elif name() == "torch":
        import torch

        torch.use_deterministic_algorithms(True)
