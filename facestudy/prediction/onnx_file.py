"""Networks as ONNX files, which ONNX Runtime and other programs run without TensorFlow.

The graph takes crops as uint8 RGB and gives p_fake: sizes and scales are adjusted in it, as in the Keras model.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from facestudy.core.arrays import FloatArray, Picture
from facestudy.core.errors import StudyError
from facestudy.models.layers import Resize
from facestudy.prediction.detectors import Detector, score_with
from facestudy.runtime import backend
from facestudy.runtime.backend import keras
from facestudy.sources.user_files import called

OPSET = 17
"""Of ONNX 1.12 (2022), ONNX Runtime 1.12 and later."""
INPUT, OUTPUT = "pictures", "p_fake"
TOLERANCE = 1e-4
"""The largest difference of p_fake between a file and the Keras model."""
PICTURES = 48
"""Pictures that both are compared on."""
STEEP = 10
"""A logit up to which a difference counts fully. Beyond it p_fake hardly changes, and rounding grows with the logit."""
VARIES = 0.05
"""The least range of the logits, over all pictures, that shows a difference."""


class FixedResize(keras.layers.Layer):
    """What `Resize` does to pictures of one size, as two products with matrices; ONNX has no operator for its filter.

    Parameters
    ----------
    size : int
        Width and height of the result, pixels.
    taken : (int, int)
        Width and height of the pictures, pixels.
    **keywords
        Of keras.layers.Layer.

    Examples
    --------
    >>> pictures = np.arange(2 * 9 * 7 * 3, dtype=np.uint8).reshape(2, 9, 7, 3)
    >>> np.allclose(FixedResize(5, (7, 9))(pictures), Resize(5)(pictures), atol=1e-3)
    True
    """

    def __init__(self, size: int, taken: tuple[int, int], **keywords: Any) -> None:
        super().__init__(**keywords)
        self.columns, self.rows = (_weights(side, size) for side in taken)

    def call(self, pictures: Any) -> Any:
        """Turn uint8 (batch, h, w, 3) into float32 (batch, size, size, 3)."""
        pictures = keras.ops.cast(pictures, "float32")
        tall = keras.ops.einsum("oh,bhwc->bowc", self.rows, pictures)
        return keras.ops.einsum("ow,bhwc->bhoc", self.columns, tall)


def _weights(side: int, size: int) -> Any:
    """(size, side): the share of each pixel of a line in each pixel of the resized line."""
    lines = np.eye(side, dtype=np.uint8)[:, :, None, None]  # as many pictures, each with one white row
    return np.array(Resize(size)(lines))[:, :, 0, 0].T.copy()


class Checked(NamedTuple):
    """A comparison of a file with the Keras model.

    Attributes
    ----------
    difference : float
        A bound of the difference of p_fake.
    pictures : int
        How many both were compared on.
    p_fake : (float, float)
        The lowest and the highest of the Keras model.
    """

    difference: float
    pictures: int
    p_fake: tuple[float, float]


def write(detector: Detector, training: str, path: Path) -> Checked:
    """Write one training of a detector as ONNX, and compare it with the Keras model.

    The input `pictures` is uint8 (batch, height, width, 3), RGB, the crop of the detector; the output `p_fake` is
    float32 (batch, 1). The metadata entry `facestudy` is JSON: `name`, `training`, `seen`, and `crop`, the variant.

    Parameters
    ----------
    detector : Detector
    training : str
        One of `detector.trainings`.
    path : Path
        The file; its folder exists. It appears, or replaces an older one, once it is whole and compared.

    Returns
    -------
    Checked

    Raises
    ------
    StudyError
        When the network cannot be loaded or has an operation that ONNX lacks, the file gives another p_fake than the
        Keras model or cannot be compared with it, or the backend is not TensorFlow.
    """
    if backend.name() != "tensorflow":
        raise StudyError(f"KERAS_BACKEND is {backend.name()}; models are written as ONNX with tensorflow only.")
    network = detector.trainings[training]()
    model = _converted(_with_fixed_size(network, detector.plan.size), detector.name)
    _name_ends(model.graph)
    facts = {"name": detector.name, "training": training, "seen": detector.seen, "crop": detector.plan.name}
    _describe(model, facts)
    private = path.with_name(f".{path.name}.making-{os.getpid()}")
    try:
        private.write_bytes(model.SerializeToString())
        checked = compare(private, network, drawn_pictures(detector.plan.size))
        private.replace(path)
    finally:
        private.unlink(missing_ok=True)
    return checked


def _with_fixed_size(network: Any, size: tuple[int, int]) -> Any:
    """The network with the same layers and weights, for pictures of one width and height."""

    def layer_for(layer: Any) -> Any:
        fixed = isinstance(layer, Resize) and size != (layer.size, layer.size)
        return FixedResize(layer.size, size) if fixed else layer

    pictures = keras.Input((size[1], size[0], 3), dtype="uint8", name=INPUT)
    return keras.models.clone_model(network, input_tensors=pictures, clone_function=layer_for)


def _converted(network: Any, name: str) -> Any:
    """The network as an onnx.ModelProto."""
    import onnx

    signature = [keras.InputSpec(shape=(None, *network.input_shape[1:]), dtype="uint8", name=INPUT)]
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="facestudy-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Keras about NumPy, and of tf2onnx about itself
        file = Path(folder) / "model.onnx"
        network.export(str(file), format="onnx", verbose=False, input_signature=signature, opset_version=OPSET)
        model = onnx.load(file)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        why = str(error).splitlines()[0]
        raise StudyError(f"{name} cannot be written as ONNX, which lacks one of its operations ({why}).") from None
    return model


def _name_ends(graph: Any) -> None:
    """Call the output OUTPUT, and the first axis of both ends `batch`."""
    given = graph.output[0].name
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [OUTPUT if name == given else name for name in names]
    graph.output[0].name = OUTPUT
    for end in (*graph.input, *graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = "batch"


def _describe(model: Any, facts: Mapping[str, str]) -> None:
    """Say in the file what it is."""
    model.graph.name = facts["name"]
    model.doc_string = f"{INPUT}: uint8 RGB, the crop {facts['crop']}; {OUTPUT}: probability that it is of a fake"
    entry = model.metadata_props.add()
    entry.key, entry.value = "facestudy", json.dumps(dict(facts))


def drawn_pictures(size: tuple[int, int]) -> Picture:
    """Draw pictures to compare networks on: smooth fields of many brightnesses and contrasts, most with some noise.

    On noise alone, nearly all trained networks give a p_fake of 0 or 1.

    Parameters
    ----------
    size : (int, int)
        Width and height, pixels.

    Returns
    -------
    ndarray of uint8, shape (PICTURES, height, width, 3)
        RGB.

    Examples
    --------
    >>> drawn_pictures((40, 30)).shape
    (48, 30, 40, 3)
    """
    rng = np.random.default_rng(0)
    pictures = []
    for number in range(PICTURES):
        coarse = rng.uniform(-1, 1, (3 + number % 6, 3 + number % 6, 3)).astype(np.float32)
        field = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        noise = rng.normal(0, rng.choice([0, 2, 10, 30]), field.shape)
        pictures.append(rng.uniform(40, 216) + rng.uniform(10, 100) * field + noise)
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


def compare(path: Path, network: Any, crops: Picture) -> Checked:
    """Compare p_fake and logits of a file under ONNX Runtime with those of the Keras model.

    Logits also differ where p_fake is 0 or 1 for both.

    Parameters
    ----------
    path : Path
        A file that `write` wrote.
    network : keras.Model
        It ends in a layer `logit` and a sigmoid (facestudy.models.layers.p_fake_out).
    crops : ndarray of uint8, shape (n, height, width, 3)
        RGB, of the size that the file was written for.

    Returns
    -------
    Checked

    Raises
    ------
    StudyError
        When they differ by more than TOLERANCE, ONNX Runtime cannot run the file, or the network hardly tells the
        pictures apart, so that a difference would not show.
    """
    logits = score_with(keras.Model(network.inputs, network.get_layer("logit").output), crops)
    p_fake = (1 + np.tanh(logits / 2)) / 2
    if not np.ptp(logits) >= VARIES:
        raise StudyError(
            f"the model gives nearly the same p_fake for {len(crops)} different pictures (logits from "
            f"{logits.min():.3g} to {logits.max():.3g}), so the file cannot be compared with it and is not written; "
            "give another training."
        )
    model, name = _with_logit(path)
    their_p_fake, their_logits = _answers(model.SerializeToString(), [OUTPUT, name], crops)
    apart = np.abs(their_logits - logits) / np.maximum(1, np.abs(logits) / STEEP)
    difference = float(np.max([np.abs(their_p_fake - p_fake), apart / 4]))  # the sigmoid's greatest slope is 1/4
    if not difference <= TOLERANCE:
        raise StudyError(
            f"the file would give another p_fake than the Keras model (by up to {difference:.1g}) and is not written; "
            "a layer of the network is not converted faithfully."
        )
    return Checked(difference, len(crops), (float(p_fake.min()), float(p_fake.max())))


def _with_logit(path: Path) -> tuple[Any, str]:
    """The onnx.ModelProto of a file, with the logit as a second output, and the name of that."""
    import onnx

    model = onnx.load(path)
    (last,) = (node for node in model.graph.node if OUTPUT in node.output)
    (name,) = last.input
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return model, name


def run(path: Path, crops: Picture) -> FloatArray:
    """Compute p_fake with a file that `write` wrote, under ONNX Runtime on the CPU.

    Parameters
    ----------
    path : Path
        The file.
    crops : ndarray of uint8, shape (n, height, width, 3)
        RGB, of the size that it was written for.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [0, 1].

    Raises
    ------
    StudyError
        When ONNX Runtime cannot run the file.
    """
    (p_fake,) = _answers(path, [OUTPUT], crops)
    return p_fake


def _answers(model: Path | bytes, outputs: list[str], crops: Picture) -> list[FloatArray]:
    """Outputs of shape (n, 1) of a model, as (n,)."""
    import onnxruntime

    try:
        runtime = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        found = runtime.run(outputs, {INPUT: crops})
    except Exception as error:  # its exceptions have no class in common
        said = called(" ".join(str(error).split())[:300] or type(error).__name__)
        raise StudyError(f"ONNX Runtime cannot run the model ({said}).") from None
    return [np.asarray(one[:, 0], float) for one in found]
