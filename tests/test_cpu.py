"""Neither the CPU nor the C library decides a pixel, and oneDNN is held to one set of instructions."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from facestudy.core.errors import StudyError
from facestudy.runtime import environment
from facestudy.sample import clips, people, scenes
from tests.cpu_features import AVX2, NOT_AVX2, ROOT, SETTINGS, encoded, pixels

GOLDEN_CLIP = "p0001_fake"
GOLDEN_PIXELS = "2e1fb856f24bb024fda485084453ce765616036098b2c5fb4bbdc58575de4f24"
GOLDEN_FILE = "fcf9e6dba2a6540af1cd039498aad3abf31a94a0ffcdd5241f65f5283a9c8bba"

IN_USE = {"exp", "power", "sin", "cos", "arctan2"}
"""Functions that the renderer calls."""
INEXACT = IN_USE | {
    "exp2", "expm1", "float_power", "pow", "log", "log2", "log10", "log1p", "logaddexp", "tan", "arcsin", "arccos",
    "arctan", "atan2", "asin", "acos", "atan", "sinh", "cosh", "tanh", "sinc", "hypot", "cbrt",
}  # fmt: skip
"""Functions of NumPy whose last bits depend on the CPU or the C library."""

FROM_LIBM = 3.654
"""Beyond it a normal number comes from the C library's logarithm."""

Array = npt.NDArray[np.floating]


def moved(values: Any, rng: np.random.Generator) -> Array:
    """The values as another library might give them: up to two units in the last place away."""
    values = np.asarray(values)
    steps = rng.integers(-2, 3, values.shape).astype(values.dtype)
    return np.asarray(values + steps * np.spacing(values), values.dtype)


class OtherGenerator(np.random.Generator):
    """Random numbers with another C library."""

    rng = np.random.default_rng(0)
    from_libm = 0

    def standard_normal(self, *size: Any, **options: Any) -> Array:  # type: ignore[override]
        values = np.asarray(super().standard_normal(*size, **options))
        beyond = np.abs(values) > FROM_LIBM
        OtherGenerator.from_libm += int(beyond.sum())
        # Far more than a library would, so that one number that is not cut off shows.
        return np.where(beyond, 2 * values, values)

    def exponential(self, *options: Any) -> Array:  # type: ignore[override]
        return moved(super().exponential(*options), self.rng)

    def normal(self, *_: Any, **__: Any) -> Array:  # type: ignore[override]
        raise AssertionError("normal numbers are drawn with standard_normal, for cut_off")


@pytest.fixture(params=range(3))
def other_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """All of INEXACT and the generators as another library gives them; which functions were called."""
    called: set[str] = set()
    rng = np.random.default_rng(request.param)

    def other(name: str, function: Callable[..., Any]) -> Callable[..., Array]:
        def call(*arguments: Any, **options: Any) -> Array:
            called.add(name)
            return moved(function(*arguments, **options), rng)

        return call

    for name in INEXACT:
        monkeypatch.setattr(np, name, other(name, getattr(np, name)))
    monkeypatch.setattr(np.random, "default_rng", lambda seed: OtherGenerator(np.random.PCG64(seed)))
    yield called


def all_pixels() -> list[str]:
    return [hashlib.sha256(pixels(clip)).hexdigest() for clip in clips.list_clips(SETTINGS)]


AS_IT_IS = all_pixels()


def test_another_library_changes_no_byte(other_library: set[str]) -> None:
    before = OtherGenerator.from_libm
    assert all_pixels() == AS_IT_IS
    assert other_library == IN_USE
    assert OtherGenerator.from_libm > before


def test_float32_functions_would_change_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the rule is for: two units of float32 reach the pixels."""
    rng = np.random.default_rng(2)

    rounded = people.rounded

    def narrow(function: Callable[..., Any], *arguments: npt.ArrayLike) -> Array:
        return moved(rounded(function, *arguments), rng)

    for module in (people, scenes, clips):
        monkeypatch.setattr(module, "rounded", narrow)
    assert all_pixels() != AS_IT_IS


@pytest.mark.parametrize("module", [people, scenes, clips])
def test_powers_in_the_renderer_are_squares(module: ModuleType) -> None:
    """`**` cannot be replaced as a function can, and only squares are products."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    powers = [n for n in ast.walk(tree) if isinstance(n, ast.BinOp | ast.AugAssign) and isinstance(n.op, ast.Pow)]
    assert powers
    for power in powers:
        assert isinstance(power, ast.BinOp)
        of_integers = all(isinstance(part, ast.Constant) for part in (power.left, power.right))
        assert of_integers or ast.unparse(power.right) == "2", ast.unparse(power)


@pytest.mark.parametrize("module", [people, scenes, clips])
def test_the_renderer_does_not_use_math(module: ModuleType) -> None:
    """The module math has the C library's functions."""
    assert not hasattr(module, "math")


@pytest.mark.skipif(not AVX2, reason=NOT_AVX2)
def test_a_clip_has_its_golden_bytes() -> None:
    """With the pinned versions, on every CPU. Another hash means that other samples have other bytes too."""
    clip = next(clip for clip in clips.list_clips(SETTINGS) if clip.video_id == GOLDEN_CLIP)
    assert hashlib.sha256(pixels(clip)).hexdigest() == GOLDEN_PIXELS
    assert hashlib.sha256(encoded(clip)).hexdigest() == GOLDEN_FILE


# --- the environment of TensorFlow ----------------------------------------------------------------


def test_defaults_are_set_and_what_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    found = environment.prepare()
    assert found["ONEDNN_MAX_CPU_ISA"] == os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert found["TF_CPP_MIN_LOG_LEVEL"] == os.environ["TF_CPP_MIN_LOG_LEVEL"] == "1"


def test_tensorflow_imported_too_early_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", ModuleType("tensorflow"))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert environment.prepare()["ONEDNN_MAX_CPU_ISA"] == "SSE41"
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    with pytest.raises(StudyError, match=r"TensorFlow.*ONEDNN_MAX_CPU_ISA"):
        environment.prepare()


def test_tensorflow_started_with_several_threads_is_refused() -> None:
    code = (
        "from facestudy.runtime import environment; environment.prepare(); import tensorflow; tensorflow.zeros(1); "
        "import facestudy.runtime.backend"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "import facestudy.runtime.backend before TensorFlow computes anything" in done.stderr


def test_importing_the_environment_is_cheap() -> None:
    code = "import sys; from facestudy.runtime import environment; environment.prepare(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"tensorflow", "keras", "mtcnn", "numpy"} & set(done.stdout.split())


def test_tensorflow_starts_without_scikit_learn_and_jax() -> None:
    """They can be imported afterwards."""
    code = (
        "import sys; import facestudy.runtime.backend; print(*sys.modules); "
        "import jax, sklearn.linear_model; print(jax.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[0].split())
    assert {"tensorflow", "keras"} <= loaded and not {"jax", "sklearn"} & loaded
