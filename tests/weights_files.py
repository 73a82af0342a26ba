"""Weights files in the layout of keras.applications, in which MesoNet's authors published theirs too."""

from __future__ import annotations

from pathlib import Path

import h5py

from facestudy.runtime.backend import keras


def write_notop(path: Path, model: keras.Model) -> None:
    """Write the weights of a model, layer by layer in its order."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{index}:0" for index, _ in enumerate(layer.weights)]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value
