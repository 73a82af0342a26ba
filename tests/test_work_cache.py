"""The work cache: whole entries or none, damage found and repaired, nothing done twice."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import shutil
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from facestudy.runtime import work_cache
from facestudy.runtime.work_cache import (
    SHARED_BYTES,
    WorkCache,
    closure_of,
    code_below,
    key_of,
    link_or_copy,
    share,
    working_folder,
)
from stages.stage import sweep


def build_counted(folder: Path, log: Path) -> None:
    with log.open("a") as file:
        file.write("built\n")
    (folder / "data.bin").write_bytes(b"x" * 1000)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.txt"


def test_built_once(tmp_path: Path, log: Path) -> None:
    cache = WorkCache(tmp_path / "cache")
    entries = {cache.entry(key_of("a"), lambda folder: build_counted(folder, log)) for _ in range(3)}
    assert len(entries) == 1
    assert log.read_text().count("built") == 1


@pytest.mark.parametrize("damage", ["truncate", "alter", "delete", "no manifest"])
def test_damage_is_found_said_and_mended(
    tmp_path: Path, log: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = WorkCache(tmp_path / "cache")
    entry = cache.entry(key_of("a"), lambda folder: build_counted(folder, log))
    file = entry / "data.bin"
    if damage == "truncate":
        file.write_bytes(b"x" * 10)
    elif damage == "alter":
        file.write_bytes(b"x" * 999 + b"y")
    elif damage == "delete":
        file.unlink()
    else:
        (entry / "manifest.json").unlink()
    with caplog.at_level(logging.WARNING):
        again = cache.entry(key_of("a"), lambda folder: build_counted(folder, log))
    assert (again / "data.bin").read_bytes() == b"x" * 1000
    assert log.read_text().count("built") == 2
    assert "made again" in caplog.text


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    cache = WorkCache(tmp_path / "cache")

    def fail(folder: Path) -> None:
        (folder / "half.bin").write_bytes(b"half")
        raise RuntimeError("stopped half-way")

    with pytest.raises(RuntimeError):
        cache.entry(key_of("a"), fail)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def _enter(root: Path, log: Path) -> None:
    WorkCache(root).entry(key_of("same"), lambda folder: build_counted(folder, log))


def test_several_processes_at_once(tmp_path: Path, log: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_enter, args=(tmp_path / "cache", log)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    files = sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert files == ["data.bin", "manifest.json"]


def _hold(root: Path, held: Connection) -> None:
    with working_folder(root) as folder:
        os.utime(folder, (0, 0))
        held.send(folder)
        held.recv()


def test_leftovers_are_removed_unless_somebody_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed work is a leftover, however long it took; work that goes on is not."""
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / ".cache/frames"
    (cache / ".making-young").mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_hold, args=(cache, there))
    process.start()
    there.close()
    old = here.recv()
    sweep()
    assert old.is_dir()
    process.kill()
    process.join()
    sweep()
    assert [path.name for path in cache.iterdir()] == [".making-young"]


def test_keys_depend_on_values_not_on_order() -> None:
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert len({key_of(1), key_of("1"), key_of([1]), key_of(1, 1), key_of(None)}) == 5


@pytest.mark.parametrize("module", ["sample.clips", "media.decode", "faces.extraction", "training.loop"])
def test_an_edit_of_any_module_of_a_builder_changes_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    shutil.copytree(work_cache.ROOT / "facestudy", tmp_path / "facestudy")
    monkeypatch.setattr(work_cache, "ROOT", tmp_path)
    before = code_below(f"facestudy.{module}")
    assert f"facestudy/{module.replace('.', '/')}.py" in before
    for name in before:
        original = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(original + b"# edited")
        assert key_of(code_below(f"facestudy.{module}")) != key_of(before), name
        (tmp_path / name).write_bytes(original)


def test_what_measures_a_face_is_part_of_its_key() -> None:
    assert {"facestudy/core/regions.py", "facestudy/faces/quality.py"} <= code_below(
        "facestudy.faces.extraction"
    ).keys()


def test_a_closure_follows_imports_wherever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {
        "package/__init__.py": '"""Bare."""',
        "package/first.py": "import os\ndef later():\n    from package import second",
        "package/second.py": "from package.inner import thing",
        "package/inner/__init__.py": "thing = 1\nimport package.first",
        "package/alone.py": "",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(work_cache, "ROOT", tmp_path)
    names = ["package/first.py", "package/inner/__init__.py", "package/second.py"]
    assert closure_of("package.first") == [tmp_path / name for name in names]
    before = code_below("package.first")
    assert list(before) == names
    (tmp_path / "package/alone.py").write_text("changed = True")
    assert code_below("package.first") == before
    (tmp_path / "package/second.py").write_text("from package.inner import thing  # changed")
    assert code_below("package.first") != before
    (tmp_path / "package/second.py").write_text("from . import first")
    with pytest.raises(ValueError, match="relative"):
        closure_of("package.first")


def test_what_lies_in_both_caches_lies_there_once(tmp_path: Path) -> None:
    root, objects = tmp_path / "cache", tmp_path / "dvc"
    large, small = b"a" * SHARED_BYTES, b"a" * 100
    contents = {"large": large, "small": small, "alone": b"b" * SHARED_BYTES, "rotten": b"c" * SHARED_BYTES}

    def build(folder: Path) -> None:
        for name, data in contents.items():
            (folder / name).write_bytes(data)

    entry = WorkCache(root / "faces").entry(key_of("x"), build)
    for name in ("large", "small", "rotten"):
        digest = hashlib.md5(contents[name]).hexdigest()
        (objects / digest[:2]).mkdir(parents=True, exist_ok=True)
        (objects / digest[:2] / digest[2:]).write_bytes(contents[name] if name != "rotten" else b"short")
    assert share(root, objects) == SHARED_BYTES
    assert {name: (entry / name).stat().st_nlink for name in contents} == {
        "large": 2,
        "small": 1,
        "alone": 1,
        "rotten": 1,
    }
    assert {name: (entry / name).read_bytes() for name in contents} == contents
    assert WorkCache(root / "faces").find(key_of("x")) == entry
    assert share(root, objects) == 0
    assert sorted(path.name for path in entry.iterdir()) == sorted([*contents, "manifest.json"])


def test_link_or_copy_makes_folders(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("hello")
    link_or_copy(tmp_path / "a", tmp_path / "deep/er/b")
    assert (tmp_path / "deep/er/b").read_text() == "hello"
