"""Everything that speaks to the library under Keras: choice, threads, seeds, determinism.

Import `keras` from here, never directly: which backend it uses is decided when it is first
imported, and so are what TensorFlow logs and which instructions it uses (facestudy.environment).

>>> from facestudy.backend import keras
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from facestudy import environment

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


with _silent():
    import keras

__all__ = ["keras", "make_deterministic", "name", "use_one_thread"]


def name() -> str:
    """The backend in use: tensorflow, jax or torch."""
    return str(keras.backend.backend())


def make_deterministic(seed: int) -> None:
    """Same seed, same weights: seeds every generator Keras draws from and picks repeatable kernels.

    Affects the whole process. JAX needs no more than the seed on a CPU; on a GPU set
    XLA_FLAGS=--xla_gpu_deterministic_ops=true as well.
    """
    keras.utils.set_random_seed(seed)
    if name() == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
    elif name() == "torch":
        import torch

        torch.use_deterministic_algorithms(True)


def use_one_thread() -> None:
    """Compute in one thread, so that no result depends on the number of cores.

    Must come before the first operation; later calls change nothing. JAX takes its number of threads from the cores
    that the process may use (`taskset`).

    Raises
    ------
    RuntimeError
        When TensorFlow has already started more threads.
    """
    if name() == "tensorflow":
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(1)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    elif name() == "torch":
        import torch

        torch.set_num_threads(1)
