"""Everything that depends on the library under Keras: choice, threads, seeds, determinism.

Import `keras` from here, never directly: which backend it uses is decided when it is first
imported, and so are what TensorFlow logs and which instructions it uses (facestudy.runtime.environment). It
computes in one thread; work runs side by side in processes (facestudy.runtime.parallel).

>>> from facestudy.runtime.backend import keras
"""

from __future__ import annotations

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


with _silent():
    import keras

__all__ = ["keras", "make_deterministic", "name"]


def name() -> str:
    """The backend in use: tensorflow, jax or torch."""
    return str(keras.backend.backend())


def _use_one_thread() -> None:
    """Compute in one thread, so that no result depends on the number of cores; JAX takes its number from `taskset`."""
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


_use_one_thread()


def make_deterministic(seed: int) -> None:
    """Seed all random numbers that Keras draws, and choose kernels that give the same result every time.

    This affects the whole process. On a GPU, JAX also needs XLA_FLAGS=--xla_gpu_deterministic_ops=true.

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
