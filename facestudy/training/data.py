"""The faces for training and testing a model: pictures, labels and subsets.

This module is separate from `facestudy.training.loop` because it does not need TensorFlow.
"""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from facestudy.core import tables
from facestudy.core.arrays import Float32Array, IntArray, Picture
from facestudy.core.errors import StudyError
from facestudy.crops.jitter import copies_folder
from facestudy.media.archive import read_picture


@dataclass(frozen=True)
class Faces:
    """The faces of one subset.

    Attributes
    ----------
    pictures : ndarray of uint8, shape (all, height, width, 3)
        RGB pictures of all subsets.
    rows : ndarray of int, shape (n,)
        Where the faces of the subset are in `pictures`.
    labels : ndarray of float32, shape (n,)
        1 for fake, 0 for real.
    copies : int
        How many misplaced copies each picture has for training. `pictures` holds all faces in place, then all of them
        in the first copy, and so on.
    """

    pictures: Picture
    rows: IntArray
    labels: Float32Array
    copies: int = 0


def read_split(path: Path) -> dict[int, pd.DataFrame]:
    """Read the faces that are used, for each split.

    Parameters
    ----------
    path : Path
        A file of tables.SPLIT.

    Returns
    -------
    dict of int to DataFrame
        Rows of tables.SPLIT by the number of the split, from 1.

    Raises
    ------
    StudyError
        When the training or validation faces of a split are of one class.
    """
    table = tables.read(path, tables.SPLIT).query("subset != 'unused'")
    splits = {int(number): part.reset_index(drop=True) for number, part in table.groupby("repeat")}
    for split in splits.values():
        check_classes(split, str(path))
    return splits


def crops_of_split(path: Path, split: pd.DataFrame) -> pd.DataFrame:
    """Read the crops of the faces of a split.

    Parameters
    ----------
    path : Path
        A file of tables.CROPS.
    split : DataFrame
        Rows of tables.SPLIT.

    Returns
    -------
    DataFrame
        Rows of tables.CROPS, indexed by face_id, in the order of `split`.

    Raises
    ------
    StudyError
        When a face has no crop.
    """
    index = tables.read(path, tables.CROPS).set_index("face_id")
    missing = split.loc[~split["face_id"].isin(index.index), "face_id"]
    if len(missing):
        raise StudyError(f"{path} has no crop of the face {missing.iloc[0]}; run `dvc repro`.")
    return index.loc[split["face_id"]]


def crops_and_copies(folder: Path, split: pd.DataFrame) -> pd.DataFrame:
    """Read the crops of the faces of a split, then their misplaced copies, one copy of all faces after another.

    Parameters
    ----------
    folder : Path
        The crops of a variant, with tables of tables.CROPS.
    split : DataFrame
        Rows of tables.SPLIT.

    Returns
    -------
    DataFrame
        Rows of tables.CROPS, indexed by face_id, as many for each copy as `split` has; paths are relative to `folder`.

    Raises
    ------
    StudyError
        When a face has no crop.
    """
    found = [crops_of_split(folder / "index.csv", split)]
    while (copies := copies_folder(folder, len(found))).is_dir():
        table = crops_of_split(copies / "index.csv", split)
        found.append(table.assign(path=copies.relative_to(folder).as_posix() + "/" + table["path"]))
    return pd.concat(found)


def store_pictures(folder: Path, crops: pd.DataFrame, file: Path) -> None:
    """Decode pictures once, into a file that several processes can map (`open_pictures`).

    Parameters
    ----------
    folder : Path
        The folder that the paths in `crops` are relative to.
    crops : DataFrame
        Rows of tables.CROPS.
    file : Path
        The NumPy file to write: uint8 RGB of shape (n, height, width, 3), in the order of `crops`.

    Raises
    ------
    StudyError
        When a picture cannot be read, was altered or has another size than the first; the message names it. Also when
        the disk has too little space.
    """
    paths = [folder / path for path in crops["path"]]
    first = read_crop(paths[0], crops["sha256"].iloc[0])
    shape = (len(paths), *first.shape)
    size = math.prod(shape)
    free = shutil.disk_usage(file.parent).free
    if size > free:
        raise StudyError(
            f"{len(paths)} decoded crops need {size / 1e6:.1f} MB of disk in {file.parent}, {free / 1e6:.1f} MB are "
            "free; make room or lower crops.size."
        )
    pictures = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:  # if the disk filled up later, writing would kill the process
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    for row, (path, sha256) in enumerate(zip(paths, crops["sha256"], strict=True)):
        picture = read_crop(path, sha256)
        if picture.shape != first.shape:
            raise StudyError(
                f"crop {path} is {picture.shape[1]}x{picture.shape[0]} pixels, {paths[0]} is "
                f"{first.shape[1]}x{first.shape[0]}; all crops need one size, `dvc repro -f` makes them again."
            )
        pictures[row] = picture
    pictures.flush()


def open_pictures(file: Path) -> Picture:
    """Map the pictures that `store_pictures` wrote into memory, without reading all of them.

    Parameters
    ----------
    file : Path
        The NumPy file.

    Returns
    -------
    ndarray of uint8, shape (n, height, width, 3)
        RGB, read-only.
    """
    pictures: Picture = np.load(file, mmap_mode="r")
    return pictures


def read_crop(path: Path, sha256: str) -> Picture:
    """Read a crop.

    Parameters
    ----------
    path : Path
        The picture, in a folder or an archive.
    sha256 : str
        Of the picture, as its table says.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB.

    Raises
    ------
    StudyError
        When it is missing, no picture, or not the one that was stored; the message names it.
    """
    picture = read_picture(path, sha256)
    if picture is None:
        raise StudyError(f"crop {path} is missing or no picture; `dvc repro -f` makes it again, `dvc pull` fetches it.")
    return picture


def subset_faces(split: pd.DataFrame, subset: str, pictures: Picture) -> Faces:
    """Select the faces of one subset.

    Parameters
    ----------
    split : DataFrame
        Rows of tables.SPLIT; row i belongs to picture i.
    subset : str
        "train", "validation" or "test".
    pictures : ndarray of uint8, shape ((1 + copies) n, height, width, 3)
        RGB pictures of all n faces of all subsets, then their misplaced copies.

    Returns
    -------
    Faces

    Examples
    --------
    >>> split = pd.DataFrame({"subset": ["train", "test", "train"], "label": ["real", "real", "fake"]})
    >>> faces = subset_faces(split, "train", np.zeros((3, 8, 8, 3), np.uint8))
    >>> faces.rows.tolist(), faces.labels.tolist()
    ([0, 2], [0.0, 1.0])
    """
    rows = np.flatnonzero(split["subset"] == subset)
    labels = (split["label"].to_numpy()[rows] == "fake").astype(np.float32)
    return Faces(pictures, rows, labels, len(pictures) // len(split) - 1)


def check_classes(split: pd.DataFrame, source: str) -> None:
    """Check that the training faces and the validation faces are of both classes.

    Parameters
    ----------
    split : DataFrame
        Rows of tables.SPLIT.
    source : str
        What to call the split in the message.

    Raises
    ------
    StudyError
        When a class is missing. The message names `source`, the subset and the counts.
    """
    for subset in ("train", "validation"):
        labels = split["label"][split["subset"] == subset]
        real, fake = int((labels == "real").sum()), int((labels == "fake").sum())
        if real == 0 or fake == 0:
            raise StudyError(
                f"{source}: the subset {subset} has {real} real and {fake} fake faces; training needs both, "
                "so add videos of the missing class or change the section split in params.yaml."
            )
