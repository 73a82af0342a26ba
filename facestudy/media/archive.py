"""Writing and reading of stored pictures: loose files, or one archive for each video where a run has very many.

DVC spends its time per file, so a hundred thousand pictures of 25 kB are slow to add, push and pull,
and the same bytes in two thousand files are not. An archive is a ZIP without compression (pictures are
compressed already) that `unzip` opens; a picture in it has the path `<video_id>.zip/<name>`, and
`read_bytes` takes that as well as a file's.
"""

from __future__ import annotations

import functools
import hashlib
import re
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from facestudy.core.arrays import Picture
from facestudy.core.errors import StudyError
from facestudy.core.settings import Section

SUFFIX = ".zip"
PICTURES = "pictures.zip"
"""The name of a video's archive in the work cache, which knows videos by their content only."""
TIME = (1980, 1, 1, 0, 0, 0)
"""The time of every member, the earliest that a ZIP can hold: the bytes must not depend on when they are written."""
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", re.ASCII)
"""What a member may be called: its name holds no folder and does not lead out of one."""
OPEN = 8
"""Archives that a process keeps open; readers go through the pictures video by video."""


class StorageSettings(Section):
    """Section `storage` of params.yaml."""

    archive_above: Annotated[int, Field(ge=0)]

    def archived(self, pictures: float, videos: int) -> bool:
        """Whether a stage archives its pictures.

        Parameters
        ----------
        pictures
            The number of pictures that the stage expects.
        videos
            The number of videos that they come from. Where each video is one picture, archives would be as many files
            as the pictures, so there are none.

        Returns
        -------
        bool

        Examples
        --------
        >>> storage = StorageSettings(archive_above=1000)
        >>> storage.archived(2000, 100), storage.archived(2000, 2000)
        (True, False)
        """
        return pictures > max(self.archive_above, videos)


def pack(pictures: Iterable[Path], archive: Path) -> None:
    """Move pictures into a new archive, which has the same bytes on every machine.

    Parameters
    ----------
    pictures
        The files, which are removed.
    archive
        The archive to write. Without pictures none is written.

    Raises
    ------
    ValueError
        When `read_bytes` would refuse a name, or two names are equal. Both are errors in the calling code.
    """
    paths = sorted(pictures, key=lambda path: path.name)
    names = [path.name for path in paths]
    if not all(NAME.fullmatch(name) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"{archive.name}: {names} are not plain, different names")
    if not paths:
        return
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for path in paths:
            member = zipfile.ZipInfo(path.name, TIME)
            member.create_system = 3  # Unix, on any system: else the permissions mean something else
            member.external_attr = 0o100644 << 16
            file.writestr(member, path.read_bytes())
            path.unlink()


def read_bytes(path: Path, sha256: str | None = None) -> bytes:
    """Read a picture, which is a file or a member of an archive.

    Parameters
    ----------
    path
        The path of a file, or of an archive followed by the name of a member.
    sha256
        The sha256 that the picture's table holds; with None it is not checked.

    Returns
    -------
    bytes
        The file, still encoded.

    Raises
    ------
    OSError
        When a file cannot be read.
    StudyError
        When a member cannot be read (the message names archive and member), or the sha256 differs.
    """
    content = _read_bytes(path)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise StudyError(
            f"{path} is not the picture that was stored (its sha256 is not the one in index.csv); `dvc checkout` "
            "brings it back, `dvc repro -f` makes it again."
        )
    return content


def _read_bytes(path: Path) -> bytes:
    archive = path.parent
    if archive.suffix != SUFFIX:
        return path.read_bytes()
    try:
        found = archive.stat()
        file = _opened(archive, (found.st_ino, found.st_size, found.st_mtime_ns))
        member = file.getinfo(path.name)
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size > found.st_size:
            raise ValueError("it is compressed, or larger than the archive")  # ours never are
        return file.read(member)
    except KeyError:
        problem = "no such member"
    except (OSError, zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OverflowError, struct.error) as error:
        said = " ".join(str(getattr(error, "strerror", None) or error).split())
        problem = said[:120] or type(error).__name__  # a damaged name may be as long as the archive
    raise StudyError(
        f"{archive}: its picture {path.name} cannot be read ({problem}); `dvc checkout` brings the archive back, "
        "`dvc repro -f` makes it again."
    ) from None


@functools.lru_cache(OPEN)
def _opened(archive: Path, version: tuple[int, int, int]) -> zipfile.ZipFile:
    """An open archive; version tells a file that took its place from the one that was opened.

    Raises zipfile.BadZipFile when it is not an archive, or holds names that `pack` would not have written.
    """
    file = zipfile.ZipFile(archive)
    for name in file.namelist():
        if not NAME.fullmatch(name):
            file.close()
            raise zipfile.BadZipFile(f"it holds {name[:80]!r}, which is not a plain name")
    return file


def read_picture(path: Path, sha256: str | None = None) -> Picture | None:
    """Read and decode a stored picture.

    Parameters
    ----------
    path, sha256
        As in `read_bytes`.

    Returns
    -------
    ndarray of shape (h, w, 3), uint8 or None
        RGB; None when the file is missing or is not a picture.

    Raises
    ------
    StudyError
        As `read_bytes`.
    """
    try:
        content = np.frombuffer(read_bytes(path, sha256), np.uint8)
    except OSError:
        return None
    bgr = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    return None if bgr is None else np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)
"""One filter for all rows: trying every filter on each row takes twice as long, and the files are not smaller."""


def write_picture(path: Path, picture: Picture, quality: int = 95) -> str:
    """Write a picture as PNG (lossless) or JPEG.

    Parameters
    ----------
    path : Path
        The file. A name that ends in .jpg makes it a JPEG, any other a PNG.
    picture : ndarray of uint8, shape (height, width, 3)
        RGB.
    quality : int
        Of a JPEG, 1 to 100.

    Returns
    -------
    str
        The sha256 of the file.

    Raises
    ------
    OSError
        When the picture cannot be encoded or written.
    """
    kind, options = (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]) if path.suffix.lower() == ".jpg" else (".png", PNG)
    ok, data = cv2.imencode(kind, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not ok:
        raise OSError(f"{path.name} cannot be encoded")
    content = data.tobytes()
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()
