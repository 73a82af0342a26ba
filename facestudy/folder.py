"""Source `folder`: videos and pictures that lie on a disk, sorted into real/ and fake/."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from facestudy import video
from facestudy.errors import StudyError
from facestudy.settings import Section
from facestudy.tables import ID, LABELS
from facestudy.video import MediaError
from facestudy.work_cache import file_sha256


class FolderSettings(Section):
    """Section `folder` of params.yaml."""

    path: str
    table: str | None
    max_megapixels: Annotated[float, Field(gt=0)]

    @property
    def max_pixels(self) -> int:
        return int(self.max_megapixels * 1e6)


TABLE_COLUMNS = ("file", "identity", "donor", "method")


@dataclass(frozen=True)
class Item:
    """A file to look into. `file` is relative to the folder, with '/' between its parts."""

    file: str
    label: str
    identity: str = ""
    donor: str = ""
    method: str = ""


def make_id(text: str, *prefix: str) -> str:
    """An id ([a-z0-9_-]+) for any text: its plain letters and digits, and eight digits of a hash.

    The same text always gives the same id; texts that look alike get different ones.

    >>> make_id("real/My Clip (1).mp4", "real")
    'real_my-clip-1_da1e871f'
    """
    stem = Path(text).stem.lower()
    plain = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:40].strip("-")
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return "_".join([*prefix, *([plain] if plain else []), digest])


def _as_id(name: str) -> str:
    return name if name == "" or ID.fullmatch(name) else make_id(name)


def list_items(settings: FolderSettings) -> list[Item]:
    """Every video and picture below real/ and fake/, with what the optional CSV says of it.

    Raises StudyError when the folder, a class or the CSV is missing or empty, or the CSV has a
    row that names no file.
    """
    root = Path(settings.path)
    if not root.is_dir():
        raise StudyError(f"folder.path: {root} is no folder; set it to the folder that holds real/ and fake/.")
    items = [Item(file, label) for label in LABELS for file in _media_below(root, label)]
    for label in LABELS:
        if not any(item.label == label for item in items):
            raise StudyError(
                f"{root / label} holds no video or picture; put {label} ones there "
                f"({', '.join(sorted(video.VIDEO_SUFFIXES | video.PICTURE_SUFFIXES))})."
            )
    if settings.table is not None:
        items = _with_table(items, root / settings.table)
    return sorted(items, key=lambda item: item.file)


def _media_below(root: Path, label: str) -> Iterable[str]:
    suffixes = video.VIDEO_SUFFIXES | video.PICTURE_SUFFIXES
    for folder, folders, files in os.walk(root / label):
        folders.sort()
        for name in sorted(files):
            if Path(name).suffix.lower() in suffixes and not name.startswith("._"):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _with_table(items: list[Item], path: Path) -> list[Item]:
    known = {item.file: item for item in items}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or []
            if "file" not in columns or set(columns) - set(TABLE_COLUMNS):
                raise StudyError(
                    f"{path}: the columns are {', '.join(map(repr, columns)) or 'missing'}; "
                    f"they should be file and any of {', '.join(TABLE_COLUMNS[1:])}."
                )
            seen: set[str] = set()
            for row in reader:
                where = f"{path}, row {reader.line_num}"
                if None in row or None in row.values():
                    raise StudyError(f"{where}: the number of cells is not that of the header.")
                name = row["file"]
                if name not in known:
                    raise StudyError(f"{where}: there is no video or picture {name!r} in real/ or fake/.")
                if name in seen:
                    raise StudyError(f"{where}: {name!r} repeats.")
                seen.add(name)
                values = {column: (row.get(column) or "").strip() for column in TABLE_COLUMNS[1:]}
                known[name] = Item(name, known[name].label, **values)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"{path} cannot be read as a CSV in UTF-8 ({error}).") from None
    return list(known.values())


def examine(item: Item, settings: FolderSettings) -> dict[str, object]:
    """The row of videos/index.csv for a file; `rejected` with a reason when it is of no use."""
    row: dict[str, object] = {
        "video_id": make_id(item.file, item.label),
        "label": item.label,
        "identity": _as_id(item.identity),
        "donor": _as_id(item.donor),
        "method": _as_id(item.method) or ("none" if item.label == "real" else "unknown"),
        "path": item.file.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
        "origin": "folder",
        "status": "rejected",
    }
    root = Path(settings.path)
    path = root / item.file
    try:
        if row["path"] != item.file:
            raise MediaError("the file's name is not valid UTF-8; rename it")
        if not path.resolve().is_relative_to(root.resolve()):
            raise MediaError("a link that leads out of the folder")
        if not stat.S_ISREG(path.stat().st_mode):
            raise MediaError("not a regular file")
        found = video.probe(path, settings.max_pixels)
    except MediaError as error:
        return {**row, "reason": str(error)}
    except OSError as error:
        return {**row, "reason": f"cannot be read ({error.strerror})"}
    return {
        **row,
        "sha256": file_sha256(path),
        "codec": found.codec,
        "width": found.width,
        "height": found.height,
        "fps": found.fps,
        "duration_s": found.duration_s,
        "status": "ok",
    }
