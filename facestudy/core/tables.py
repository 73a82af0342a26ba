"""The tables that stages pass to each other: their columns, how they are read and written.

Every table is a UTF-8 CSV file with a header and "\\n" as line end, sorted by its key. The same rows give the same
bytes. Text is never read as a number or as a missing value; an empty cell of a number column is a missing value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from facestudy.core.errors import StudyError
from facestudy.core.settings import quoted

ID = re.compile(r"[a-z0-9_-]+")
LANDMARK_COLUMNS = tuple(
    f"{point}_{axis}" for point in ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right") for axis in "xy"
)
QUALITY_COLUMNS: dict[str, str | int] = {
    "size": 1,
    "sharpness": 1,
    "brightness": 1,
    "landmark_error": 4,
    "blockiness": 3,
}
"""Measures of facestudy.faces.quality, and their decimals."""


@dataclass(frozen=True)
class Table:
    """The columns of a table, and the key that tells its rows apart.

    Attributes
    ----------
    columns : mapping of str to str or int
        Each column in order: "text", "int", or the number of decimals of a float.
    key : str or tuple of str
        One or more columns.
    """

    columns: Mapping[str, str | int]
    key: str | tuple[str, ...]

    def names(self) -> list[str]:
        """The names of the columns, in order."""
        return list(self.columns)

    def key_columns(self) -> list[str]:
        """The names of the columns that tell rows apart."""
        return [self.key] if isinstance(self.key, str) else list(self.key)


VIDEOS = Table(
    {
        "video_id": "text",
        "label": "text",
        "identity": "text",
        "donor": "text",
        "method": "text",
        "official_subset": "text",
        "path": "text",
        "sha256": "text",
        "codec": "text",
        "width": "int",
        "height": "int",
        "fps": 3,
        "duration_s": 3,
        "start_s": 3,
        "end_s": 3,
        "origin": "text",
        "truth_path": "text",
        "status": "text",
        "reason": "text",
    },
    key="video_id",
)
FRAMES = Table(
    {
        "frame_id": "text",
        "video_id": "text",
        "frame_number": "int",
        "time_s": 3,
        "width": "int",
        "height": "int",
        "path": "text",
        "sha256": "text",
    },
    key="frame_id",
)
FACES = Table(
    {
        "face_id": "text",
        "frame_id": "text",
        "video_id": "text",
        "label": "text",
        "track_id": "text",
        "rotation": "int",
        "x": 2,
        "y": 2,
        "w": 2,
        "h": 2,
        "confidence": 6,
        **dict.fromkeys(LANDMARK_COLUMNS, 2),
        "cut_x": 2,
        "cut_y": 2,
        "cut_scale": 6,
        "valid_x0": "int",
        "valid_y0": "int",
        "valid_x1": "int",
        "valid_y1": "int",
        **QUALITY_COLUMNS,
        "path": "text",
        "sha256": "text",
    },
    key="face_id",
)
DROPPED = Table(
    {"face_id": "text", "frame_id": "text", "video_id": "text", "label": "text", "reason": "text"}, key="face_id"
)
DUPLICATES = Table(
    {
        "pair_id": "text",
        "first": "text",
        "second": "text",
        "first_label": "text",
        "second_label": "text",
        "kind": "text",
        "faces": "int",
        "matched": "int",
        "distance": "int",
        "same_person": "text",
    },
    key="pair_id",
)
_FACE_SUBSET: dict[str, str | int] = {
    "face_id": "text",
    "video_id": "text",
    "track_id": "text",
    "group": "text",
    "method": "text",
    "label": "text",
    "subset": "text",
}
SPLIT = Table({"repeat": "int", **_FACE_SUBSET}, key=("repeat", "face_id"))
UNDECODED = Table({"video_id": "text", "reason": "text"}, key="video_id")
CROPS = Table({"face_id": "text", "path": "text", "sha256": "text"}, key="face_id")
TRAININGS = Table(
    {"training": "text", "epoch": "int", "loss": 6, "validation_loss": 6, "validation_auc": 6, "selected": "int"},
    key=("training", "epoch"),
)
"""The epochs of the trainings of a cell; `selected` is 1 for the epoch whose weights are kept."""
PREDICTIONS = Table({**_FACE_SUBSET, "p_fake": 6}, key="face_id")
CLIPS = Table(
    {
        "video_id": "text",
        "label": "text",
        "origin": "text",
        "path": "text",
        "status": "text",
        "reason": "text",
        "frames": "int",
        "faces": "int",
        "kept": "int",
        "subset": "text",
    },
    key="video_id",
)

LABELS = ("real", "fake")
SUBSETS = ("train", "validation", "test", "unused")


def training_name(seed: int, repeat: int, repeats: int) -> str:
    """Name the files of one training below models/ and predictions/.

    Parameters
    ----------
    seed
        The seed of the training.
    repeat
        The number of the split, from 1.
    repeats
        How many splits the study has.

    Returns
    -------
    str
        The seed, followed by the split where there are several.

    Examples
    --------
    >>> training_name(3, 1, 1), training_name(3, 2, 5)
    ('3', '3-2')
    """
    return str(seed) if repeats == 1 else f"{seed}-{repeat}"


def clips_table(models: Iterable[str], variants: Sequence[str]) -> Table:
    """Make the table data/clips.csv: CLIPS with a column for the mean p_fake of each model on each variant.

    Parameters
    ----------
    models : iterable of str
        Names of the models.
    variants : sequence of str
        Names of the crop variants.

    Returns
    -------
    Table
        The columns of the scores are called <model>.<variant> and have six decimals.

    Examples
    --------
    >>> clips_table(["mesonet"], ["full", "nose"]).names()[-2:]
    ['mesonet.full', 'mesonet.nose']
    """
    scores = {f"{model}.{variant}": 6 for model in models for variant in variants}
    return Table({**CLIPS.columns, **scores}, CLIPS.key)


def to_dataframe(rows: Iterable[Mapping[str, object]], table: Table) -> pd.DataFrame:
    """Make a data frame with the columns and types of a table.

    Parameters
    ----------
    rows
        Values by column. Text that is absent becomes empty, a number that is absent becomes missing.
    table
        The table that the rows belong to.

    Returns
    -------
    DataFrame
        Columns of dtype object (text), Int64 (int) and float64.

    Examples
    --------
    >>> to_dataframe([{"face_id": "a"}], CROPS).to_dict("records")
    [{'face_id': 'a', 'path': '', 'sha256': ''}]
    """
    data = pd.DataFrame.from_records([dict(row) for row in rows], columns=table.names())
    for column, kind in table.columns.items():
        if kind == "text":
            data[column] = data[column].fillna("").astype(object)
        elif kind == "int":
            data[column] = pd.to_numeric(data[column]).astype("Int64")
        else:
            data[column] = pd.to_numeric(data[column]).astype("float64")
    return data


def write(path: Path, data: pd.DataFrame, table: Table) -> None:
    """Write a table as CSV, sorted by its key, floats with the decimals of the table.

    Parameters
    ----------
    path
        The file; its folder is made.
    data
        The rows, with exactly the columns of the table.
    table
        The table that the rows belong to.

    Raises
    ------
    ValueError
        When a column is missing or a key repeats. Both are errors in the calling code.
    """
    if list(data.columns) != table.names():
        raise ValueError(f"{path.name}: columns {list(data.columns)} are not {table.names()}")
    if data[table.key_columns()].duplicated().any():
        raise ValueError(f"{path.name}: {', '.join(table.key_columns())} repeats")
    text = data.sort_values(table.key_columns(), kind="stable").copy()
    for column, kind in table.columns.items():
        if isinstance(kind, int):
            text[column] = [_decimals(value, kind) for value in text[column]]
    path.parent.mkdir(parents=True, exist_ok=True)
    text.to_csv(path, index=False, encoding="utf-8", lineterminator="\n")


def _decimals(value: float, digits: int) -> str:
    if pd.isna(value):
        return ""
    written = f"{value:.{digits}f}"
    return written[1:] if float(written) == 0 and written.startswith("-") else written


def read(path: Path, table: Table) -> pd.DataFrame:
    """Read a table and check its columns, types and ids, and that no key repeats.

    Parameters
    ----------
    path
        A file that `write` wrote.
    table
        The table that it should hold.

    Returns
    -------
    DataFrame
        Columns as `to_dataframe` makes them.

    Raises
    ------
    StudyError
        When the file is missing or holds something else; the message names the file, the row and the value.
    """
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(f"{path} is missing; `dvc repro` makes it.") from None
    except (ValueError, OSError) as error:
        raise StudyError(f"{path} is not a readable CSV table ({error}); `dvc repro -f` makes it again.") from None
    # If the rows have more cells than the header, pandas takes the first column for the index.
    if list(raw.columns) != table.names() or not isinstance(raw.index, pd.RangeIndex):
        expected = ", ".join(table.names())
        raise StudyError(f"{path}: the columns should be {expected}; `dvc repro -f` makes the table again.")
    data: dict[str, object] = {}
    for column, kind in table.columns.items():
        if kind == "text":
            data[column] = raw[column].astype(object)
            continue
        numbers = pd.to_numeric(raw[column].where(raw[column] != ""), errors="coerce")
        bad = (raw[column] != "") & numbers.isna()
        if bad.any():
            row = int(bad.to_numpy().argmax())
            raise StudyError(f"{path}, row {row + 2}: {column} = {quoted(raw[column][row])} is not a number.")
        if kind == "int" and not ((numbers % 1 == 0) & (numbers.abs() < 2**53) | numbers.isna()).all():
            raise StudyError(f"{path}: {column} does not hold whole numbers; `dvc repro -f` makes it again.")
        data[column] = numbers.astype("Int64" if kind == "int" else "float64")
    checked = pd.DataFrame(data, columns=table.names())
    for key in table.key_columns():
        for row, value in enumerate(checked[key] if table.columns[key] == "text" else ()):
            if not ID.fullmatch(value):
                raise StudyError(f"{path}, row {row + 2}: {key} = {quoted(value)} is not an id ([a-z0-9_-]+).")
    repeated = checked[table.key_columns()].duplicated()
    if repeated.any():
        row = int(repeated.to_numpy().argmax())
        values = ", ".join(f"{key} = {quoted(checked[key][row])}" for key in table.key_columns())
        raise StudyError(f"{path}, row {row + 2}: {values} has a row already; `dvc repro -f` makes the table again.")
    return checked


def read_text(path: Path) -> pd.DataFrame:
    """Read a table of results, whose columns no contract fixes, as text cells.

    Parameters
    ----------
    path : Path
        A CSV file.

    Returns
    -------
    DataFrame of str

    Raises
    ------
    StudyError
        When the file is missing or not a table.
    """
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read ({error}); `dvc repro` makes it.") from None
