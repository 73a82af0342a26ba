"""Lists and tables that users provide, checked before they are read."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from facestudy.core.settings import quoted


class Unreadable(Exception):
    """The reason why a file is not read, in a few words."""


def leads_out(path: Path, root: Path) -> bool:
    """Whether a path leads out of a folder once symbolic links are followed.

    Parameters
    ----------
    path
        The path.
    root
        The folder.

    Returns
    -------
    bool

    Raises
    ------
    OSError
        When links form a circle.
    """
    try:
        return not path.resolve().is_relative_to(root.resolve())
    except RuntimeError:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None


def read(path: Path, max_bytes: int, root: Path | None = None) -> bytes:
    """Read a regular file.

    Parameters
    ----------
    path
        The file.
    max_bytes
        The largest size to read.
    root
        The folder in which the file has to lie once links are followed; None for no such limit.

    Returns
    -------
    bytes

    Raises
    ------
    Unreadable
        When the file lies outside `root`, is not a regular file, is larger than `max_bytes` or cannot be read.
    """
    try:
        if root is not None and leads_out(path, root):
            raise Unreadable("a link that leads out of the folder")
        if not stat.S_ISREG(path.stat().st_mode):
            raise Unreadable("not a regular file")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise Unreadable(getattr(error, "strerror", None) or str(error)) from None
    if len(data) > max_bytes:
        raise Unreadable(f"more than {max_bytes / 1e6:g} MB")
    return data


def called(path: object) -> str:
    """Write a path for a message: as it is, or quoted where it is long or has unprintable characters.

    Examples
    --------
    >>> called(Path("part_0/metadata.json")), called("a\\nb")
    ('part_0/metadata.json', "'a\\\\nb'")
    """
    text = str(path)
    return text if text.isprintable() and len(text) <= 500 else quoted(text)
