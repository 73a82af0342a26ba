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
from typing import Any

import cv2
import numpy as np

from facestudy.core.arrays import FloatArray, Picture
from facestudy.core.errors import StudyError
from facestudy.models.layers import Resize
from facestudy.prediction.detectors import Detector
from facestudy.runtime import backend
from facestudy.runtime.backend import keras

OPSET = 17
"""Of ONNX 1.12 (2022), ONNX Runtime 1.12 and later."""
INPUT, OUTPUT = "pictures", "p_fake"
TOLERANCE = 1e-4
"""The largest difference of p_fake between a file and the Keras model."""
PICTURES = 24
"""Pictures that both are compared on."""
STRAIGHT = 10
"""Where the sigmoid is flat, beyond a logit of so much, logits are compared relative to their size."""


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


def write(detector: Detector, training: str, path: Path) -> float:
    """Write one training of a detector as ONNX, and compare it with the Keras model before the file is at its place.

    The input `pictures` is uint8 (batch, height, width, 3), RGB, the crop of the detector; the output `p_fake` is
    float32 (batch, 1). The metadata entry `facestudy` is JSON: `name`, `training`, `seen`, and `crop`, the variant.

    Parameters
    ----------
    detector : Detector
    training : str
        One of `detector.trainings`.
    path : Path
        The file, which appears whole or not at all, and replaces an older one; its folder exists.

    Returns
    -------
    float
        As `difference_of`.

    Raises
    ------
    StudyError
        When the network cannot be loaded or has an operation that ONNX lacks, when the file would give another p_fake
        than the Keras model, or when the backend is not TensorFlow.
    """
    if backend.name() != "tensorflow":
        raise StudyError(f"KERAS_BACKEND is {backend.name()}; models are written as ONNX with tensorflow only.")
    network = detector.trainings[training]()
    model = _converted(_with_fixed_size(network, detector.plan.size), detector.name)
    _name_ends(model.graph)
    facts = {"name": detector.name, "training": training, "seen": detector.seen, "crop": detector.plan.name}
    _describe(model, facts)
    difference = difference_of(model, network, pictures_of(detector.plan.size))
    if not difference <= TOLERANCE:
        raise StudyError(
            f"the file would give another p_fake than the Keras model (by up to {difference:.1g}) and is not written; "
            "a layer of the network is not converted faithfully."
        )
    private = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        private.write_bytes(model.SerializeToString())
        private.replace(path)
    finally:
        private.unlink(missing_ok=True)
    return difference


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


def pictures_of(size: tuple[int, int]) -> Picture:
    """Draw pictures to compare two forms of a network on: smooth fields of several contrasts, and noise.

    Parameters
    ----------
    size : (int, int)
        Width and height, pixels.

    Returns
    -------
    ndarray of uint8, shape (PICTURES, height, width, 3)
        RGB.
    """
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (PICTURES, 4, 4, 3)).astype(np.uint8)
    noise = random.integers(0, 256, (PICTURES, size[1], size[0], 3))
    contrast = np.linspace(0, 1, PICTURES)
    smooth = [cv2.resize(one, size, interpolation=cv2.INTER_CUBIC).astype(float) for one in coarse]
    mixed = [128 + (field - 128) * share for field, share in zip(smooth, contrast, strict=True)]
    mixed[::4] = list(noise[::4])
    return np.clip(np.rint(np.stack(mixed)), 0, 255).astype(np.uint8)


def difference_of(model: Any, network: Any, crops: Picture) -> float:
    """Bound the difference of p_fake between a converted network, under ONNX Runtime, and the Keras model.

    Logits are compared: where p_fake is 0 or 1, two networks that differ would look the same.

    Parameters
    ----------
    model : onnx.ModelProto
        It ends in a sigmoid.
    network : keras.Model
        With a layer `logit`.
    crops : ndarray of uint8, shape (n, height, width, 3)
        RGB.

    Returns
    -------
    float
        A quarter, the greatest slope of the sigmoid, of the largest difference of the logits. Beyond STRAIGHT, the
        difference counts relative to the logit over STRAIGHT.

    Raises
    ------
    StudyError
        When ONNX Runtime cannot run the model.
    """
    import onnx
    import onnxruntime

    end = next(node for node in model.graph.node if OUTPUT in node.output)
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    probed.graph.output.append(onnx.helper.make_tensor_value_info(end.input[0], onnx.TensorProto.FLOAT, None))
    try:
        runtime = onnxruntime.InferenceSession(probed.SerializeToString(), providers=["CPUExecutionProvider"])
        (theirs,) = runtime.run([end.input[0]], {INPUT: crops})
    except Exception as error:  # ONNX Runtime has classes of its own, which have no other parent
        raise StudyError(f"ONNX Runtime cannot run the converted network ({str(error).splitlines()[0]}).") from None
    logits = keras.Model(network.inputs, network.get_layer("logit").output)
    ours = np.asarray(logits.predict_on_batch(crops), float)
    return float((np.abs(theirs - ours) / np.maximum(1, np.abs(ours) / STRAIGHT)).max() / 4)


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
    """
    import onnxruntime

    runtime = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (p_fake,) = runtime.run([OUTPUT], {INPUT: crops})
    return np.asarray(p_fake[:, 0], float)
