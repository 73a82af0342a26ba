"""Child processes that may use fewer instructions: the same clips, and what oneDNN says it uses."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import pytest

from tests.cpu_features import AVX2, NOT_AVX2, clips_in_child, in_child, restrictions

pytestmark = pytest.mark.skipif(not AVX2, reason=NOT_AVX2)

GOLDEN_NETWORK = "25ab53ada4fe78c6b5ebe4bc278142511061fcbe0315c337582dde26d27bf14a"


@pytest.fixture(scope="module")
def unrestricted() -> dict[str, Any]:
    return clips_in_child({})


@pytest.mark.parametrize("name", restrictions())
def test_fewer_instructions_give_the_same_clips(name: str, unrestricted: dict[str, Any]) -> None:
    changes = restrictions()[name]
    found = clips_in_child(changes)
    took_effect = {
        "NPY_DISABLE_CPU_FEATURES": lambda names: not set(names.split()) & set(found["numpy"]),
        "OPENCV_CPU_DISABLE": lambda feature: f"*{feature}" not in found["opencv"],
        "OPENCV_IPP": lambda _: not found["ipp"],
        "GLIBC_TUNABLES": lambda _: found["libm"] != unrestricted["libm"],
        "OPENBLAS_CORETYPE": lambda core: set(found["openblas"]) == {core},
    }
    for variable, value in changes.items():
        assert took_effect[variable](value), f"{variable} had no effect"
    for stage in ("pixels", "encoded"):
        assert found[stage] == unrestricted[stage]


OF_OPENCV = {name: changes for name, changes in restrictions().items() if any("OPENCV" in key for key in changes)}


@pytest.mark.parametrize("changes", [*OF_OPENCV.values(), {"OPENCV_IPP": "sse42"}], ids=[*OF_OPENCV, "IPP with SSE4.2"])
def test_fewer_instructions_give_the_same_pictures(changes: dict[str, str]) -> None:
    found, expected = (json.loads(in_child("print_pictures", **one).stdout) for one in (changes, {}))
    assert {"full", "full_reduced", "equalised to 600", "downscale", "map", "background"} < found.keys()
    assert found == expected


@functools.cache
def oneDNN_and_answer(task: str, **changes: str) -> tuple[str, str]:
    """The instructions that oneDNN reports, and the last line that the task prints."""
    lines = in_child(task, ONEDNN_VERBOSE="1", **changes).stdout.splitlines()
    reported = re.findall(r"^onednn_verbose.*,cpu,isa:(.*)$", "\n".join(lines), re.MULTILINE)
    assert len(reported) == 1
    return reported[0], next(line for line in reversed(lines) if not line.startswith("onednn_verbose"))


def test_training_uses_avx2_on_every_cpu() -> None:
    reported, digest = oneDNN_and_answer("print_network")
    assert reported == "Intel AVX2"
    assert digest == f"network {GOLDEN_NETWORK}"


def test_no_network_uses_approximate_instructions() -> None:
    found = json.loads(in_child("print_approximate_kernels").stdout.splitlines()[-1])
    assert found.pop("keras")  # so the test would see them
    assert set(found) == {"meso4", "mesoinception4", "vgg19", "resnet50"}
    assert not any(found.values())


def test_mtcnn_uses_avx2_on_every_cpu() -> None:
    assert oneDNN_and_answer("print_detection") == ("Intel AVX2", "faces 0")


def test_the_user_can_choose_other_instructions() -> None:
    reported, digest = oneDNN_and_answer("print_network", ONEDNN_MAX_CPU_ISA="SSE41")
    assert reported == "Intel SSE4.1"
    assert digest != f"network {GOLDEN_NETWORK}"
