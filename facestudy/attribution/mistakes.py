"""The test faces that a cell gets most wrong, and what in them speaks for the wrong class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from facestudy.attribution.cell import Cell, Measured
from facestudy.attribution.findings import MISTAKES
from facestudy.attribution.overlays import beside
from facestudy.core import tables
from facestudy.evaluation.scores import furthest_wrong
from facestudy.media.archive import write_picture

COUNT = 2
"""Faces of each class and cell."""
HEIGHT = 160
"""Of a picture, pixels."""


def most_wrong_faces(predictions: Sequence[pd.DataFrame], count: int = COUNT) -> pd.DataFrame:
    """Choose the test faces whose mean p_fake is furthest on the wrong side, each from another video.

    Parameters
    ----------
    predictions : sequence of DataFrame
        Rows of tables.PREDICTIONS of each training, in the same order.
    count : int
        How many of each class, at most.

    Returns
    -------
    DataFrame
        Rows of the first table with the mean p_fake: real faces first, of each class the furthest first.

    Examples
    --------
    >>> rows = [("a1", "a", "real", "test", 0.9), ("a2", "a", "real", "test", 0.8), ("b1", "b", "real", "train", 0.9),
    ...         ("c1", "c", "fake", "test", 0.3), ("d1", "d", "fake", "test", 0.6)]
    >>> table = pd.DataFrame(rows, columns=["face_id", "video_id", "label", "subset", "p_fake"])
    >>> most_wrong_faces([table, table])["face_id"].tolist()
    ['a1', 'c1']
    """
    mean = sum(table["p_fake"] for table in predictions) / len(predictions)
    scored = predictions[0].assign(p_fake=mean)
    wrong = furthest_wrong(scored[scored["subset"] == "test"]).drop_duplicates("video_id")
    return wrong.groupby("label", sort=False).head(count).reset_index(drop=True)


def write_mistakes(folder: Path, cells: Iterable[tuple[Cell, Measured]]) -> None:
    """Write a picture of each face in `Cell.wrong`, the crop beside its map, and their table (MISTAKES), index.csv.

    Parameters
    ----------
    folder : Path
        Where they go.
    cells : iterable of (Cell, Measured)
        The cells and what was measured of them.
    """
    rows = []
    for cell, measured in cells:
        faces = cell.wrong.to_dict("records")
        for face, picture, found in zip(faces, cell.wrong_pictures, measured.wrong, strict=True):
            path = Path(cell.variant) / cell.model / f"{face['face_id']}.png"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            sha256 = write_picture(folder / path, beside(picture, found, HEIGHT))
            named = {"model": cell.model, "variant": cell.variant, "path": str(path), "sha256": sha256}
            rows.append({**named, **{name: face[name] for name in ("face_id", "video_id", "label", "p_fake")}})
    tables.write(folder / "index.csv", tables.to_dataframe(rows, MISTAKES), MISTAKES)
