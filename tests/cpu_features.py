"""Short clips and a small network in child processes whose libraries may use fewer instructions.

    python -m tests.cpu_features

prints the md5 of eight clips, before and after encoding, for each of `restrictions` and for none.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__  # type: ignore[import-not-found]
from threadpoolctl import threadpool_info

from facestudy.core.regions import Box
from facestudy.runtime import environment
from facestudy.sample.clips import Clip, SampleSettings, draw, list_clips, render
from tests.pipeline_files import ROOT

AVX2 = platform.machine() == "x86_64" and bool(__cpu_features__.get("AVX2"))
NOT_AVX2 = "the bytes are promised on x86-64 CPUs with AVX2"

REGIONS: dict[str, Box] = {
    "face": (0.08, 0.06, 0.92, 0.98),
    "eyes": (0.17, 0.26, 0.83, 0.47),
    "lower_face": (0.17, 0.64, 0.83, 0.98),
}
SETTINGS = SampleSettings(
    seed=11,
    people=4,
    artefact="everywhere",
    seconds=1.0,
    fps=4,
    width=160,
    height=120,
    bottleneck=64,
    feather=0.03,
    noise=3.0,
    quantizer=20,
)


def restrictions() -> dict[str, dict[str, str]]:
    """By name, the environment that takes instructions from a library, none of AVX2 where that matters.

    NumPy and the C library are restricted below AVX2 as well: the renderer does not depend on them at
    all. AVX-512 is taken from NumPy and OpenCV where the CPU has it.
    """
    in_use = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
    wide = [name for name in in_use if name.startswith(("AVX512", "X86_V4"))]
    found = {"NumPy": {"NPY_DISABLE_CPU_FEATURES": " ".join(in_use)}}
    if wide:
        found["NumPy without AVX-512"] = {"NPY_DISABLE_CPU_FEATURES": " ".join(wide)}
        found["OpenCV without AVX-512"] = {"OPENCV_CPU_DISABLE": "AVX512-SKX"}
    found["IPP"] = {"OPENCV_IPP": "disabled"}
    found["C library"] = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA"}
    found["OpenBLAS"] = {"OPENBLAS_CORETYPE": "Haswell"}
    together = {name: value for setting in reversed(found.values()) for name, value in setting.items()}
    return {**found, "all together": together}


def in_child(task: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a function of this module that prints, in a process with a changed environment.

    Settings of the surroundings that restrict instructions are left out.
    """
    left_out = {*environment.DEFAULTS, *(name for setting in restrictions().values() for name in setting)}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    command = [sys.executable, "-c", f"from tests import cpu_features; cpu_features.{task}()"]
    done = subprocess.run(command, cwd=ROOT, env={**kept, **changes}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{task} with {changes}: {done.stderr[-2000:]}")
    return done


def pixels(clip: Clip) -> bytes:
    """The frames of a clip before encoding, with masks and landmarks."""
    return b"".join(
        drawing.picture.tobytes() + drawing.mask.tobytes() + drawing.landmarks.astype(np.float32).tobytes()
        for drawing in draw(clip, SETTINGS, REGIONS)
    )


def encoded(clip: Clip) -> bytes:
    """The video file of a clip."""
    with tempfile.TemporaryDirectory() as folder:
        render(clip, SETTINGS, REGIONS, Path(folder))
        return (Path(folder) / f"{clip.video_id}.mp4").read_bytes()


def print_clips() -> None:
    """What this process may use, and the md5 of the clips, as JSON."""
    found = {
        "numpy": [name for name in __cpu_dispatch__ if __cpu_features__[name]],
        "opencv": cv2.getCPUFeaturesLine().split(),
        "ipp": cv2.ipp.useIPP(),
        "libm": libm_digest(),
        "openblas": [pool["architecture"] for pool in threadpool_info() if pool["internal_api"] == "openblas"],
        "pixels": _md5(b"".join(pixels(clip) for clip in list_clips(SETTINGS))),
        "encoded": _md5(b"".join(encoded(clip) for clip in list_clips(SETTINGS))),
    }
    print(json.dumps(found))


def libm_digest() -> str:
    """The md5 of some results of the C library, which depend on its instructions."""
    values = np.random.default_rng(0).uniform(0, 50, 20_000).tolist()
    return _md5(repr([(math.exp(v), math.sin(v), math.pow(v, 0.7)) for v in values]).encode())


def print_network() -> None:
    """The sha256 of a small network's weights and outputs before and after a training step on one thread."""
    from facestudy.models import fused
    from facestudy.runtime import backend
    from facestudy.runtime.backend import keras
    from facestudy.training.loop import compiled

    backend.make_deterministic(5)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(16, 3, padding="same"),
            fused.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(4),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    compiled(model, fused.Adam(0.01))
    pictures = np.random.default_rng(5).random((8, 32, 32, 3), dtype=np.float32)
    labels = np.arange(8, dtype=np.float32) % 2
    before = model.predict_on_batch(pictures)
    model.train_on_batch(pictures, labels)
    after = [model.predict_on_batch(pictures), *model.get_weights()]
    print("network", hashlib.sha256(b"".join(part.tobytes() for part in (before, *after))).hexdigest())


def print_approximate_kernels() -> None:
    """For each network, and one made of Keras's own parts, the kernels that use approximate instructions, as JSON."""
    from facestudy.models.networks import build
    from facestudy.models.settings import ModelSettings
    from facestudy.runtime.backend import keras
    from facestudy.training.loop import with_optimizer

    pictures, labels = np.zeros((4, 64, 64, 3), np.uint8), np.array([[0], [1], [0], [1]], np.float32)
    found = {}
    for network, width in {"meso4": 1.0, "mesoinception4": 1.0, "vgg19": 1 / 16, "resnet50": 1 / 16}.items():
        model = build(ModelSettings(network=network, width=width, input_size=64, epochs=1, learning_rate=1e-3))
        found[network] = _approximate_kernels(
            functools.partial(with_optimizer(model).train_on_batch, pictures, labels),
            functools.partial(model.predict_on_batch, pictures),
        )
    plain = keras.Sequential(
        [
            keras.Input((64, 64, 3)),
            keras.layers.Conv2D(8, 3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1),
        ]
    )
    plain.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    found["keras"] = _approximate_kernels(functools.partial(plain.train_on_batch, pictures, labels))
    print(json.dumps(found))


def _approximate_kernels(*runs: Callable[[], object]) -> list[str]:
    """The kernels with approximate instructions (rcpps, rsqrtps) in the graphs that these calls run.

    TensorFlow's optimisation of a graph can bring them in: it is the optimised graphs that are searched.
    """
    from tensorflow import float32
    from tensorflow.python.eager import context

    context.enable_graph_collection()
    for run in runs:
        run()
    graphs = [graph for run in context.export_run_metadata().function_graphs for graph in run.partition_graphs]
    context.disable_graph_collection()
    nodes = [
        node for graph in graphs for node in (*graph.node, *(n for f in graph.library.function for n in f.node_def))
    ]
    assert any("Conv2D" in node.op for node in nodes)
    approximate = {"Reciprocal", "ReciprocalGrad", "Inv", "InvGrad", "Rsqrt", "RsqrtGrad"}
    return sorted(
        {
            node.op
            for node in nodes
            if (node.op in approximate and node.attr["T"].type == float32.as_datatype_enum)
            or b"FusedBatchNorm" in node.attr["fused_ops"].list.s
        }
    )


def print_detection() -> None:
    """How many faces MTCNN finds in an empty picture."""
    from facestudy.faces.detection import FaceSettings, detect
    from facestudy.faces.quality import QualitySettings

    settings = FaceSettings.model_validate(
        {"min_confidence": 0.9, "detect_side": 64, "batch": 1, "all": False, "track_overlap": 0.3}
        | {"quality": dict.fromkeys(QualitySettings.model_fields)}
    )
    print("faces", len(detect([np.zeros((64, 64, 3), np.uint8)], settings)[0]))


def print_pictures() -> None:
    """The md5 of each crop variant of a face, equalised crops, the face after each alteration, a map, a background."""
    from facestudy.alterations.altering import altered_picture
    from facestudy.alterations.settings import Alteration
    from facestudy.crops.cutting import CropSettings, Equalise, crop
    from facestudy.media.resizing import resize
    from facestudy.sample.scenes import paint_background
    from tests.test_crops import GREY, VARIANTS, cut, detector_box, plan_of, pose

    matrix = pose(150, 0.1, 200, 200)
    frame = np.random.default_rng(1).integers(0, 256, (400, 400, 3), np.uint8)
    cut_out, face = cut(frame, matrix, detector_box(matrix))
    plans = {name: plan_of(name) for name in VARIANTS}
    for side in (96, 600):
        settings = CropSettings(size=(128, 128), equalise=Equalise(side=side, jpg_quality=75))
        plans[f"equalised to {side}"] = plan_of("full", settings)
    pictures = {name: crop(cut_out, face, plan, GREY) for name, plan in plans.items()}
    for kind, severity in {"jpeg": 50, "blur": 2, "noise": 4, "downscale": 32, "brightness": 0.7}.items():
        pictures[kind] = altered_picture(cut_out, 126, Alteration(kind, severity), "face")
    map_ = np.asarray(frame[:8, :8, 0] / 7, np.float32)  # as of Grad-CAM
    floats = {
        "map": resize(map_, (64, 64), cv2.INTER_LINEAR),
        "background": paint_background(np.random.default_rng(1), (240, 426)),
    }
    print(json.dumps({name: _md5(picture.tobytes()) for name, picture in (pictures | floats).items()}))


def clips_in_child(changes: Mapping[str, str]) -> dict[str, Any]:
    """What `print_clips` says in a process with a changed environment."""
    return dict(json.loads(in_child("print_clips", **changes).stdout))


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def main() -> None:
    print(f"{'restricted':24} {'md5 of the pixels':34} md5 of the encoded clips")
    for name, changes in {"nothing": {}, **restrictions()}.items():
        found = clips_in_child(changes)
        print(f"{name:24} {found['pixels']:34} {found['encoded']}")


if __name__ == "__main__":
    main()
