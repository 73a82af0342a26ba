"""Published weights: each file is pinned by its digest and fetched once."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal

from facestudy.core.errors import StudyError

TIMEOUT_S = 30


@dataclass(frozen=True)
class Pinned:
    """A published file.

    Attributes
    ----------
    name : str
        What it is called in a folder.
    address : str
        Where it is fetched from.
    digest : str
        Of its bytes, in hexadecimal.
    max_bytes : int
        No more is fetched.
    algorithm : {"sha256", "md5"}
        Of the digest: that which its publisher names.
    """

    name: str
    address: str
    digest: str
    max_bytes: int
    algorithm: Literal["sha256", "md5"] = "sha256"

    def is_right(self, content: bytes) -> bool:
        """Whether these are the bytes of the file."""
        return hashlib.new(self.algorithm, content, usedforsecurity=False).hexdigest() == self.digest


def at_its_place(file: Pinned, folder: Path, fetch: bool = True) -> Path:
    """Find a published file in a folder, or fetch it into the folder.

    Parameters
    ----------
    file : Pinned
    folder : Path
        It is made when the file is fetched.
    fetch : bool
        Whether a missing file is fetched.

    Returns
    -------
    Path
        The file, whose digest is right.

    Raises
    ------
    StudyError
        When the file is missing and cannot be fetched, or is another file; the message says which file belongs where.
    """
    path = folder / file.name
    remedy = f"get {file.address} ({file.algorithm} {file.digest}) and put it at {path}"
    if path.is_file():
        if not file.is_right(path.read_bytes()):
            raise StudyError(
                f"{path} is not the published file (its {file.algorithm} differs); remove it and {remedy}."
            )
        return path
    if not fetch:
        raise StudyError(f"{path} is missing; {remedy}.")
    try:
        # Not keras.utils.get_file: it waits without end and wraps every failure in a bare Exception.
        with urllib.request.urlopen(file.address, timeout=TIMEOUT_S) as answer:
            content = answer.read(file.max_bytes)
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", None) or error
        raise StudyError(f"{file.name} cannot be fetched here ({why}); {remedy}.") from None
    if not file.is_right(content):
        raise StudyError(
            f"{file.address} sent another file than the published one (its {file.algorithm} differs); {remedy}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    private = path.with_name(f".{file.name}.{os.getpid()}")
    try:
        private.write_bytes(content)
        private.replace(path)
    finally:
        private.unlink(missing_ok=True)
    return path
