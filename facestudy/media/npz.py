"""Arrays in an .npz file, which `np.load` reads and whose bytes do not depend on the version of Python.

np.savez asks for the format of large files; what `zipfile` then writes has changed between versions of Python.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

TIME = (1980, 1, 1, 0, 0, 0)
"""The date of every array."""


@contextmanager
def member(file: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> Iterator[IO[bytes]]:
    """Begin an array in an archive; its values follow in order, so that a long one need not be in memory.

    Parameters
    ----------
    file
        The archive, open for writing.
    name
        The name under which `np.load` finds the array.
    dtype
        Its type.
    shape
        Its shape.

    Yields
    ------
    binary file
        What the bytes of the values, in C order, are written to.
    """
    header = io.BytesIO()
    described = {"descr": dtype.str, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(header, described)
    info = zipfile.ZipInfo(f"{name}.npy", TIME)
    info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
    info.file_size = len(header.getvalue()) + math.prod(shape) * dtype.itemsize  # decides on the format of large files
    with file.open(info, "w") as opened:
        opened.write(header.getvalue())
        yield opened
