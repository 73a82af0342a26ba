"""Source `folder`: videos and pictures on a disk, in one of the layouts of facestudy.sources.layouts."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from facestudy.core.errors import StudyError
from facestudy.core.settings import Section, key_name, quoted
from facestudy.core.tables import ID, LABELS, SUBSETS
from facestudy.media import decode, video
from facestudy.media.video import Limits, MediaError
from facestudy.runtime.parallel import ComputeSettings, map_items
from facestudy.runtime.work_cache import file_sha256
from facestudy.sources import user_csv, user_files
from facestudy.sources.layouts import LAYOUTS, Item, choose, is_linked_folder, other_files


class FolderSettings(Section):
    """Section `folder` of params.yaml."""

    path: str
    layout: Literal["real_fake", "faceforensics", "celeb_df", "dfdc", "images"]
    table: str | None
    methods: list[str] | None
    compressions: list[str] | None
    max_per_class: Annotated[int, Field(ge=1)] | None


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Characters that begin a formula in a spreadsheet; no path or id in our tables begins with one of them."""
TABLE_COLUMNS = ("identity", "donor", "method", "subset")
OFFICIAL = SUBSETS[:3]
MAX_TABLE_BYTES = 50_000_000
"""Largest size of folder.table: about a hundred bytes for each of several hundred thousand files."""
MAX_NAMES = 12
"""Number of names from a folder that a message lists at most."""


def make_id(text: str, *prefix: str) -> str:
    """Make an id ([a-z0-9_-]+) for any text, from its letters a to z and digits and twelve digits of a hash.

    The same text always gives the same id. Different texts give different ids, even if they look alike.

    Parameters
    ----------
    text : str
        Usually the path of a file; only the stem of its name is used for the readable part.
    *prefix : str
        Parts to put in front of the id, joined by "_".

    Returns
    -------
    str

    Examples
    --------
    >>> make_id("real/My Clip (1).mp4", "real")
    'real_my-clip-1_da1e871f4a0e'
    """
    stem = Path(text).stem.lower()
    plain = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:40].strip("-")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return "_".join([*prefix, *([plain] if plain else []), digest])


def as_id(name: str) -> str:
    """Return a name unchanged where it is a valid id, else an id made from it.

    A name that begins with a hyphen is replaced too: a spreadsheet would take it for a formula, and a command for an
    option.

    Parameters
    ----------
    name : str
        May be empty.

    Returns
    -------
    str

    Examples
    --------
    >>> as_id("c23"), as_id("")
    ('c23', '')
    """
    plain = ID.fullmatch(name) and len(name) <= 64 and not name.startswith("-")
    return name if name == "" or plain else make_id(name)


def method_of(label: str, method: str) -> str:
    """Make the id of a manipulation method.

    Parameters
    ----------
    label : str
        "real" or "fake".
    method : str
        The name of the method, or "".

    Returns
    -------
    str
        Without a name, "none" for a real and "unknown" for a fake.

    Examples
    --------
    >>> method_of("fake", "FaceSwap"), method_of("fake", ""), method_of("real", "")
    ('faceswap', 'unknown', 'none')
    """
    return as_id(method.lower()) or ("none" if label == "real" else "unknown")


def obtain(settings: FolderSettings, limits: Limits, compute: ComputeSettings) -> list[dict[str, object]]:
    """Examine every video and picture of the folder.

    Parameters
    ----------
    settings : FolderSettings
        Where the files are.
    limits : Limits
        What the files may be.
    compute : ComputeSettings
        Where the work runs.

    Returns
    -------
    list of dict
        A row of tables.VIDEOS for each file.

    Raises
    ------
    StudyError
        See `list_items`.
    """
    found = map_items(
        functools.partial(examine, settings=settings, limits=limits), list_items(settings), compute, "videos"
    )
    return [*found, *of_other_types(settings)]


def list_items(settings: FolderSettings, labels: Sequence[str] = LABELS) -> list[Item]:
    """List the videos and pictures that the layout and the filters select, with what the optional CSV says of them.

    Parameters
    ----------
    settings : FolderSettings
        Folder, layout, filters and CSV.
    labels : sequence of str
        The classes that are wanted.

    Returns
    -------
    list of Item
        Sorted by file.

    Raises
    ------
    StudyError
        When the folder, a class or the CSV is missing or empty, when a row of the CSV names no file, or when two files
        get the same id.
    """
    root = Path(settings.path)
    try:
        there = root.is_dir()
    except OSError:  # a name that is too long
        there = False
    if settings.path.startswith("~"):
        raise StudyError(f"folder.path: {root}: ~ is not expanded; write the whole path.")
    if not there:
        raise StudyError(f"folder.path: {root} is not a folder; set it to the folder that holds real/ and fake/.")
    found = list(LAYOUTS[settings.layout](root))
    if settings.table is not None:
        found = _with_table(found, root / settings.table, settings.layout == "images")
    found = [item for item in found if item.label in labels]
    items = choose(found, settings.methods, settings.compressions, settings.max_per_class)
    for label in labels:
        if not any(item.label == label for item in items):
            raise StudyError(_none_of(label, found, root, settings, labels))
    files: dict[str, str] = {}
    for item in items:
        other = files.setdefault(make_id(item.file, item.label), item.file)
        if other != item.file:
            raise StudyError(
                f"{root}: the files {quoted(other)} and {quoted(item.file)} get the same id; rename one of the two."
            )
    return items


def _none_of(label: str, found: list[Item], root: Path, settings: FolderSettings, labels: Sequence[str]) -> str:
    """Say why a class has no file, and what to do."""
    own = [item for item in found if item.label == label]
    if own:
        methods, compressions = ({getattr(item, name) for item in own} - {""} for name in ("method", "compression"))
        return (
            f"{root}: folder.methods and folder.compressions leave none of the {len(own)} {label} files "
            f"(methods there: {_listed(methods)}; compressions: {_listed(compressions)})."
        )
    if settings.layout != "real_fake":
        return (
            f"{root} holds no {label} video where folder.layout = {settings.layout} has them; "
            "the README says what each layout looks like."
        )
    suffixes = ", ".join(sorted(video.VIDEO_SUFFIXES | video.PICTURE_SUFFIXES))
    if not found and len(labels) > 1:
        return (
            f"{root} holds no video or picture in real/ and fake/; put real videos into {root / 'real'} and fake "
            f"videos into {root / 'fake'} ({suffixes}), or set folder.layout to the layout of your dataset."
        )
    return f"{root / label} holds no video or picture; put the {label} videos there ({suffixes})."


def _listed(names: Collection[str]) -> str:
    """List the first names of a folder, for a message."""
    more = ["…"] if len(names) > MAX_NAMES else []
    return ", ".join([*map(key_name, sorted(names)[:MAX_NAMES]), *more]) or "none"


def _with_table(items: list[Item], path: Path, labels: bool) -> list[Item]:
    """Add to the items what a CSV says of them; with `labels`, the CSV may give the class too."""
    place = user_files.called(path)
    try:
        data = user_files.read(path, MAX_TABLE_BYTES)
    except user_files.Unreadable as why:
        raise StudyError(f"{place} cannot be read ({why}); folder.table should name a CSV.") from None
    allowed = {"label": LABELS, "subset": OFFICIAL}
    columns = (*TABLE_COLUMNS, "label") if labels else TABLE_COLUMNS
    known = {item.file: item for item in items}
    seen: set[str] = set()
    for where, cells in user_csv.rows(user_csv.decode(data, place), place, "file", columns):
        name = cells["file"]
        if name.startswith("/"):
            raise StudyError(f"{where}: {quoted(name)} is an absolute path; give the path relative to the folder.")
        if name not in known:
            raise StudyError(
                f"{where}: there is no video or picture {quoted(name)} in the folder; correct it or remove the row."
            )
        if name in seen:
            raise StudyError(f"{where}: {quoted(name)} has a row already; remove one of the two.")
        seen.add(name)
        said = {column: cells[column].strip() for column in columns if cells[column].strip()}
        for column in allowed.keys() & said.keys():
            said[column] = said[column].lower()
            if said[column] not in allowed[column]:
                raise StudyError(
                    f"{where}: {column} = {quoted(said[column])} is not one of {', '.join(allowed[column])}."
                )
        known[name] = dataclasses.replace(known[name], **said)
    return list(known.values())


def _name(item: Item) -> str:
    """Return the name of a file as text, whatever its bytes are."""
    return item.file.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _row(item: Item, **cells: object) -> dict[str, object]:
    """Make the row of videos/index.csv for a file from its name and the given cells."""
    name = _name(item)
    return {
        "video_id": make_id(item.file, item.label),
        "label": item.label,
        "identity": as_id(item.identity),
        "donor": as_id(item.donor),
        "method": method_of(item.label, item.method),
        "official_subset": item.subset,
        "path": f"./{name}" if name.startswith(FORMULA) else name,
        "origin": "folder",
        **cells,
    }


def examine(item: Item, settings: FolderSettings, limits: Limits) -> dict[str, object]:
    """Examine a video or picture.

    Parameters
    ----------
    item : Item
        The file and what its name says.
    settings : FolderSettings
        `path` is the folder of the file.
    limits : Limits
        What the file may be.

    Returns
    -------
    dict
        The row of videos/index.csv. Its status is "ok", or "rejected" with a reason when the file cannot be used.
    """
    root = Path(settings.path)
    path = root / item.file
    try:
        if _name(item) != item.file:
            raise MediaError("the file's name is not valid UTF-8; rename it")
        if user_files.leads_out(path, root):
            raise MediaError("a link that leads out of the folder")
        if is_linked_folder(path):
            raise MediaError("a link to a folder is not followed; put the folder itself there")
        if not stat.S_ISREG(path.stat().st_mode):
            raise MediaError("not a regular file")
        found = decode.probe(path, limits)
    except MediaError as error:
        return _row(item, status="rejected", reason=str(error))
    except OSError as error:
        return _row(item, status="rejected", reason=f"cannot be read ({error.strerror})")
    return _row(item, sha256=file_sha256(path), **vars(found), status="ok")


def of_other_types(settings: FolderSettings) -> list[dict[str, object]]:
    """Make a row for each file among the videos and pictures that has another type, without opening it.

    Parameters
    ----------
    settings : FolderSettings
        Folder and layout.

    Returns
    -------
    list of dict
        Rows of videos/index.csv with the status "rejected".
    """
    kind = "picture" if settings.layout == "images" else "video or picture"
    rows = []
    for item in other_files(Path(settings.path), settings.layout):
        suffix = Path(item.file).suffix.lower()
        reason = f"not a {kind} ({key_name(suffix)})" if suffix else f"not a {kind}"
        rows.append(_row(item, status="rejected", reason=reason))
    return rows
