"""What Keras, TensorFlow and oneDNN read from the environment when they start.

Call `prepare` before the first import of Keras or TensorFlow. `facestudy.runtime.backend` does, and other modules
import both through it. A variable that is already set keeps its value.
"""

from __future__ import annotations

import os
import sys

from facestudy.core.errors import StudyError

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
DEFAULTS = {
    "KERAS_BACKEND": "tensorflow",
    LOG_LEVEL: "3",
    # TensorFlow leaves oneDNN off on CPUs without AVX-512; there a step takes 1.4 (ResNet-50) to 2.7
    # (Meso4) times as long without it.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # oneDNN takes the widest instructions of a CPU and rounds differently with each; with AVX2 on every
    # CPU results are the same. With AVX-512 a step then takes 5 to 12 % more CPU time.
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
JAX_DEFAULTS = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"}
"""With KERAS_BACKEND=jax: the same result every time on a GPU."""


def prepare() -> dict[str, str]:
    """Set the variables that are not set yet.

    Returns
    -------
    dict of str to str
        The value in force of each variable in DEFAULTS, and with JAX in JAX_DEFAULTS.

    Raises
    ------
    StudyError
        When TensorFlow is already imported, and was not given one of them.

    Examples
    --------
    >>> sorted(prepare()) == sorted(DEFAULTS)
    True
    """
    wanted = DEFAULTS | (JAX_DEFAULTS if os.environ.get("KERAS_BACKEND") == "jax" else {})
    missing = [name for name in wanted if name not in os.environ]
    late = [name for name in missing if name in DEFAULTS and name != LOG_LEVEL]
    if late and "tensorflow" in sys.modules:
        raise StudyError(
            f"TensorFlow was imported before facestudy could set {', '.join(late)}, so its results may depend on "
            "the CPU; import facestudy.runtime.backend first, or set them in the environment."
        )
    for name in missing:
        os.environ[name] = wanted[name]
    return {name: os.environ[name] for name in wanted}


def decisive() -> dict[str, str]:
    """Return the variables that results depend on, with their values in force, for the key of a cache."""
    return {name: value for name, value in prepare().items() if name != LOG_LEVEL}
