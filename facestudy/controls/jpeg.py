"""How strongly a JPEG was compressed, read from its header."""

from __future__ import annotations

import math
from pathlib import Path

START, END, SCAN, TABLES = 0xD8, 0xD9, 0xDA, 0xDB
ALONE = {0x01, *range(0xD0, 0xD8)}
"""Markers without a segment: TEM and RST0 to RST7."""
MAX_SEGMENTS = 10_000
"""Segments that are examined; a file can hold any number of empty ones."""


def mean_quantisation(path: Path) -> tuple[float, float]:
    """Compute the means of the two quantisation tables of a JPEG, by convention of luminance and of chrominance.

    A mean grows as the quality falls: with the tables of the standard, 57.6 and 86.0 at quality 50, 1 at 100.

    Parameters
    ----------
    path : Path
        Any file. Only the headers of its segments and its tables are read, nothing is decoded.

    Returns
    -------
    luminance, chrominance : float
        NaN for a table that the file does not have, and for a file that is not a JPEG.

    Raises
    ------
    OSError
        When the file cannot be read.

    References
    ----------
    ITU-T T.81 (1992): B.1.1 (markers), B.2.4.1 (tables), K.1 (the standard's tables).
    """
    means = {0: math.nan, 1: math.nan}
    with path.open("rb") as file:
        if file.read(2) != bytes([0xFF, START]):
            return means[0], means[1]
        for _ in range(MAX_SEGMENTS):
            byte = file.read(1)
            if byte != b"\xff":
                break
            while byte == b"\xff":  # any number of fill bytes
                byte = file.read(1)
            if not byte or byte[0] in (END, SCAN):
                break
            if byte[0] in ALONE:
                continue
            length = int.from_bytes(file.read(2), "big") - 2
            if length < 0:
                break
            if byte[0] == TABLES:
                means |= _means(file.read(length))
            else:
                file.seek(length, 1)
    return means[0], means[1]


def _means(segment: bytes) -> dict[int, float]:
    """The mean of each table in a segment, by its number."""
    found, start = {}, 0
    while start < len(segment):
        width, number = 1 + (segment[start] >> 4), segment[start] & 15
        values = segment[start + 1 : start + 1 + 64 * width]
        if width > 2 or len(values) < 64 * width:
            break
        numbers = [int.from_bytes(values[i : i + width], "big") for i in range(0, len(values), width)]
        found[number] = sum(numbers) / 64
        start += 1 + 64 * width
    return found
