"""Arrays in .npz files: np.load reads them, and nothing in their bytes depends on the version of Python."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from facestudy.media import npz


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, array in arrays.items():
            with npz.member(file, name, array.dtype, array.shape) as opened:
                for part in array:
                    opened.write(part.tobytes())


def test_numpy_reads_what_was_written_part_by_part(tmp_path: Path) -> None:
    arrays = {"mask": np.arange(2 * 5 * 7, dtype=np.uint8).reshape(2, 5, 7), "points": np.ones((3, 2), np.float32)}
    write(tmp_path / "truth.npz", arrays)
    with np.load(tmp_path / "truth.npz") as found:
        assert found.files == list(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype and np.array_equal(found[name], array)


def test_the_format_of_large_files_is_used_where_it_must_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11.2 and 3.11.7 write other headers in that format; version 2.0 of ZIP has one form only."""
    array = np.zeros((4, 1000), np.uint8)
    for limit, version, extra in ((2**31 - 1, 20, 0), (1000, 45, 20)):
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
        write(tmp_path / "truth.npz", {"mask": array})
        content = (tmp_path / "truth.npz").read_bytes()
        assert (int.from_bytes(content[4:6], "little"), int.from_bytes(content[28:30], "little")) == (version, extra)
        assert np.array_equal(np.load(tmp_path / "truth.npz")["mask"], array)
