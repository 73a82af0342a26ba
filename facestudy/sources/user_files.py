"""Lists and tables that users provide, checked before they are read."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from facestudy.core.settings import quoted


class Unreadable(Exception):
    """Why a file is not read, in a few words."""


def leads_out(path: Path, root: Path) -> bool:
    """Whether a path leads out of the folder once its links are followed. Raises OSError for links in a circle."""
    try:
        return not path.resolve().is_relative_to(root.resolve())
    except RuntimeError:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None


def read(path: Path, max_bytes: int, root: Path | None = None) -> bytes:
    """The bytes of a regular file.

    root: the folder that it has to lie in, its links followed; without one it may lie anywhere.
    Raises Unreadable, for one with more than max_bytes too.
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
    """A file's name in a message, as it stands unless it is long or odd.

    >>> called(Path("part_0/metadata.json")), called("a\\nb")
    ('part_0/metadata.json', "'a\\\\nb'")
    """
    text = str(path)
    return text if text.isprintable() and len(text) <= 500 else quoted(text)
