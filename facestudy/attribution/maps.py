"""Attribution maps of a network for the true class of a face: occlusion and Grad-CAM.

A map has for each pixel of a crop the evidence for the true class that lies there. It is never negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from facestudy.attribution.settings import Fill
from facestudy.core.arrays import BoolArray, FloatArray, Picture
from facestudy.core.errors import StudyError
from facestudy.media.resizing import resize
from facestudy.runtime import backend
from facestudy.runtime.backend import keras
from facestudy.training.data import Faces
from facestudy.training.loop import PREDICTION_BATCH, predict

PATCHES = 8
"""Occlusion hides the cells of a grid one by one; the grid has this many cells on each side of the crop."""
MIN_CELLS = 7
"""Grad-CAM takes the last layer with at least this many cells on each side, as the last one of ResNet-50 has at 224
pixels: two or four cells cannot tell the eyes from the nose."""


class Probe:
    """A network that also returns its logits and the features of a layer. It shares the weights of the model.

    Parameters
    ----------
    model : keras.Model
        A model whose last layers are `logit` and `p_fake`.

    Raises
    ------
    StudyError
        When no layer has MIN_CELLS cells on each side.
    """

    def __init__(self, model: keras.Model) -> None:
        logit = model.get_layer("logit").output
        self.layer = last_spatial_layer(model)
        self._logits = keras.Model(model.input, logit)
        self._features = keras.Model(model.input, [model.get_layer(self.layer).output, logit])

    def logits(self, pictures: Picture) -> FloatArray:
        """Compute the logits of fake.

        Parameters
        ----------
        pictures : ndarray of uint8, shape (n, height, width, 3)
            RGB.

        Returns
        -------
        ndarray of float64, shape (n,)
        """
        rows = np.arange(len(pictures))
        return predict(self._logits, Faces(pictures, rows, np.zeros(len(rows), np.float32)))

    def gradients(self, pictures: Picture, sign: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Compute the features of the layer and the derivative of the logits by them; needs TensorFlow.

        Parameters
        ----------
        pictures : ndarray of uint8, shape (n, height, width, 3)
            RGB.
        sign : ndarray of shape (n,)
            A factor on the logit of each picture.

        Returns
        -------
        features, derivatives : ndarray of float64, shape (n, rows, columns, channels)
        """
        import tensorflow

        found = []
        for start in range(0, len(pictures), PREDICTION_BATCH):
            part = slice(start, start + PREDICTION_BATCH)
            with tensorflow.GradientTape() as tape:
                features, logit = self._features(pictures[part], training=False)
                target = tensorflow.reduce_sum(logit[:, 0] * sign[part].astype(np.float32))
            found.append((np.asarray(features, float), np.asarray(tape.gradient(target, features), float)))
        features, derivatives = (np.concatenate(side) for side in zip(*found, strict=True))
        return features, derivatives


def last_spatial_layer(model: keras.Model) -> str:
    """Find the last layer whose output still has a place for each part of the picture.

    Parameters
    ----------
    model : keras.Model
        A network.

    Returns
    -------
    str
        The name of the last layer with at least MIN_CELLS cells on each side.

    Raises
    ------
    StudyError
        When there is none.
    """
    for layer in reversed(model.layers):
        shape = tuple(layer.output.shape)
        if len(shape) == 4 and all(side is not None and side >= MIN_CELLS for side in shape[1:3]):
            return str(layer.name)
    raise StudyError(f"{model.name} has no layer of {MIN_CELLS} x {MIN_CELLS} cells; raise input_size for Grad-CAM.")


@dataclass(frozen=True)
class Evidence:
    """The evidence that a network sees in pictures for a class each.

    Attributes
    ----------
    probe : Probe
        The network.
    pictures : ndarray of uint8, shape (n, height, width, 3)
        RGB.
    shown : ndarray of bool, shape (height, width)
        Where they show a face; nothing else is hidden.
    filled : ndarray of uint8, shape (n, height, width, 3)
        What replaces hidden parts.
    sign : ndarray of shape (n,)
        1 for evidence of fake, -1 for evidence of real.
    before : ndarray of shape (n,)
        The logits of fake of the pictures.
    """

    probe: Probe
    pictures: Picture
    shown: BoolArray
    filled: Picture
    sign: FloatArray
    before: FloatArray

    def lost(self, hidden: BoolArray) -> FloatArray:
        """Compute by how much the logit of the class falls when a part of each picture is hidden.

        Parameters
        ----------
        hidden : ndarray of bool, shape (n, height, width), or one that fits it by broadcasting
            What is hidden; with shape (k, 1, height, width), k parts of all pictures, one after the other.

        Returns
        -------
        ndarray of float64, shape (n,) or (k, n)
            Negative where the class becomes more likely.
        """
        hidden = np.broadcast_to(hidden, np.broadcast_shapes(hidden.shape, self.pictures.shape[:3]))
        altered = np.where(hidden[..., None], self.filled, self.pictures)
        logits = self.probe.logits(altered.reshape(-1, *self.pictures.shape[1:])).reshape(hidden.shape[:-2])
        return np.asarray(self.sign * (self.before - logits))


def attribution_maps(evidence: Evidence) -> dict[str, FloatArray]:
    """Compute the maps of a network by every method that the backend allows.

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    dict of str to ndarray of float64, shape (n, height, width)
        `occlusion`, and `grad_cam` with TensorFlow: Keras has no gradients of its own.
    """
    maps = {"occlusion": occlusion(evidence)}
    if backend.name() == "tensorflow":
        maps["grad_cam"] = grad_cam(evidence.probe, evidence.pictures, evidence.sign)
    return maps


def grad_cam(probe: Probe, pictures: Picture, sign: FloatArray) -> FloatArray:
    """Compute Grad-CAM maps: where the features lie that speak for a class.

    Parameters
    ----------
    probe : Probe
        The network.
    pictures : ndarray of uint8, shape (n, height, width, 3)
        RGB.
    sign : ndarray of shape (n,)
        1 for evidence of fake, -1 for evidence of real.

    Returns
    -------
    ndarray of float64, shape (n, height, width)
        Enlarged to the size of the pictures.

    References
    ----------
    Selvaraju et al. 2017, Grad-CAM: visual explanations from deep networks via gradient-based localization, ICCV,
    equations 1 and 2.
    """
    features, derivatives = probe.gradients(pictures, sign)
    weights = derivatives.mean(axis=(1, 2), keepdims=True)
    maps = np.maximum((weights * features).sum(axis=3), 0)
    height, width = pictures.shape[1:3]
    return np.stack([resize(one, (width, height), cv2.INTER_LINEAR) for one in maps])


def replacement(pictures: Picture, shown: BoolArray, fill: Fill) -> Picture:
    """Make what hidden parts are replaced with.

    Parameters
    ----------
    pictures : ndarray of uint8, shape (n, height, width, 3)
        RGB.
    shown : ndarray of bool, shape (height, width)
        Where they show a face.
    fill : {"mean", "blur"}
        The mean colour of what all of them show, or each of them blurred (Gaussian, an eighth of the crop).

    Returns
    -------
    ndarray of uint8, shape (n, height, width, 3)
    """
    if fill == "mean":
        colour = np.rint(pictures[:, shown].mean(axis=(0, 1))).astype(np.uint8)
        return np.broadcast_to(colour, pictures.shape)
    sigma = max(pictures.shape[1:3]) / PATCHES
    return np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in pictures])


def occlusion(evidence: Evidence) -> FloatArray:
    """Compute occlusion maps: how much evidence of a class is lost when a small patch is hidden, by pixel.

    All patches have the same size, so regions of different size can be compared: when a whole region is hidden, the
    change of the logit by area falls with the size of the region, also where a network prefers no region.

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    ndarray of float64, shape (n, height, width)
        0 where hiding the patch does not lower the logit of the class.

    References
    ----------
    Zeiler and Fergus 2014, Visualizing and understanding convolutional networks, ECCV, section 4.2.
    """
    maps, hidden = np.zeros(evidence.pictures.shape[:3]), patches(evidence.shown)
    at_once = max(1, PREDICTION_BATCH // len(evidence.pictures))  # few pictures: several patches fill a batch
    for start in range(0, len(hidden), at_once):
        part = hidden[start : start + at_once]
        for patch, lost in zip(part, evidence.lost(part[:, None]), strict=True):
            maps[:, patch] = np.maximum(lost, 0)[:, None] / patch.sum()
    return maps


def patches(shown: BoolArray) -> BoolArray:
    """Divide what a crop shows into the patches that `occlusion` hides.

    Parameters
    ----------
    shown : ndarray of bool, shape (height, width)
        Where it shows a face.

    Returns
    -------
    ndarray of bool, shape (patches, height, width)
        Without empty ones.
    """
    rows, columns = (np.linspace(0, side, PATCHES + 1).round().astype(int) for side in shown.shape)
    found = np.zeros((PATCHES, PATCHES, *shown.shape), bool)
    for row, (top, bottom) in enumerate(pairwise(rows)):
        for column, (left, right) in enumerate(pairwise(columns)):
            found[row, column, top:bottom, left:right] = shown[top:bottom, left:right]
    return found.reshape(-1, *shown.shape)[found.any(axis=(2, 3)).ravel()]


def concentration(maps: FloatArray, areas: BoolArray, shown: BoolArray) -> FloatArray:
    """Compute the share of each map that lies in an area, over the area's share of what the crop shows.

    Parameters
    ----------
    maps : ndarray of shape (n, height, width)
        Not negative.
    areas : ndarray of bool, shape (k, n, height, width)
        Within `shown`.
    shown : ndarray of bool, shape (height, width)
        Where the crops show a face.

    Returns
    -------
    ndarray of float64, shape (k, n)
        1: no preference. NaN where a map or an area is empty, or the area is all that is shown.

    Examples
    --------
    >>> shown, area = np.ones((1, 4), bool), np.array([[[[True, False, False, False]]]])
    >>> concentration(np.array([[[1.0, 1, 0, 0]]]), area, shown).tolist()
    [[2.0]]
    """
    mass = (maps * shown).sum(axis=(1, 2))
    inside = np.einsum("nhw,knhw->kn", maps, areas.astype(float))
    share = areas.sum(axis=(2, 3)) / shown.sum()
    defined = (mass > 0) & (share > 0) & (share < 1)
    return np.where(defined, inside / np.where(defined, mass * share, 1), np.nan)
