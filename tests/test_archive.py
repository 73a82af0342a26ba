"""Pictures in archives: what is packed is read, the same bytes everywhere, and every stage reads both ways."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.tables import Table
from facestudy.media.archive import NAME, PICTURES, StorageSettings, pack, read_bytes, read_picture
from facestudy.media.extraction import expected_frames
from facestudy.runtime.work_cache import SHARED_BYTES, WorkCache, share
from facestudy.training.data import store_pictures
from tests.faults.harness import tiny_params
from tests.fuzz.targets import mutated
from tests.media import numbered_picture, write_picture
from tests.project import ENVIRONMENT, deep_update, stage, write_params
from tests.test_frames import settings as frame_settings

CONTENTS = {"000002.png": b"two" * 100, "000000.png": b"", "000001.png": bytes(range(256))}
SHA256 = "0cb93cf45a6caa3f705bda4ec078cb4af54f7727d5f2d5b98dec2567fac91e3c"
"""Of an archive of CONTENTS, wherever and whenever it is packed."""


def packed(folder: Path, contents: dict[str, bytes]) -> Path:
    """An archive of these pictures, in a folder of its own."""
    (folder / "loose").mkdir(parents=True)
    for name, data in contents.items():
        (folder / "loose" / name).write_bytes(data)
    pack((folder / "loose").iterdir(), folder / "v.zip")
    return folder / "v.zip"


@given(st.dictionaries(st.from_regex(NAME, fullmatch=True), st.binary(max_size=300), min_size=1, max_size=8))
def test_what_is_packed_is_read(contents: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = packed(Path(folder), contents)
        assert {name: read_bytes(archive / name) for name in contents} == contents
        assert not list((Path(folder) / "loose").iterdir())
        with zipfile.ZipFile(archive) as file:
            assert file.namelist() == sorted(contents)


@given(st.data())
def test_a_damaged_archive_gives_the_right_bytes_or_a_sentence(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = packed(Path(folder), CONTENTS)
        archive.write_bytes(data.draw(mutated(st.just(archive.read_bytes()))))
        for name, content in CONTENTS.items():
            try:
                assert read_bytes(archive / name) == content
            except StudyError as error:
                assert str(archive) in str(error) and name in str(error) and len(str(error)) < 600


def test_a_truncated_archive_and_a_missing_one_are_named(tmp_path: Path) -> None:
    archive = packed(tmp_path, CONTENTS)
    whole = archive.read_bytes()
    with pytest.raises(StudyError, match=r"v\.zip: its picture gone\.png cannot be read \(no such member\); `dvc ch"):
        read_bytes(archive / "gone.png")
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        archive.write_bytes(whole[:length])
        with pytest.raises(StudyError, match=r"v\.zip: its picture 000001\.png cannot be read \(File is not a zip"):
            read_bytes(archive / "000001.png")
    archive.unlink()
    with pytest.raises(StudyError, match=r"v\.zip: its picture 000001\.png cannot be read \(No such file"):
        read_bytes(archive / "000001.png")


@pytest.mark.parametrize("name", ["../evil.png", "a/b.png", "/etc/passwd", "..", ".hidden", "a\\b.png", "C:a", "ü.png"])
def test_an_archive_with_a_name_that_is_not_plain_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as file:
        file.writestr("good.png", b"good")
        file.writestr(name, b"evil")
    for wanted in ("good.png", Path(name).name):
        with pytest.raises(StudyError, match=r"v\.zip: .* is not a plain name\)"):
            read_bytes(tmp_path / "v.zip" / wanted)


def test_a_compressed_member_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "v.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.png", bytes(10**6))
    with pytest.raises(StudyError, match=r"bomb\.png cannot be read \(it is compressed"):
        read_bytes(tmp_path / "v.zip/bomb.png")


@pytest.mark.parametrize("names", [["a b.png"], [".a.png"], ["one/a.png", "two/a.png"]])
def test_names_that_could_not_be_read_are_not_packed(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="not plain, different names"):
        pack([tmp_path / name for name in names], tmp_path / "v.zip")
    assert all((tmp_path / name).exists() for name in names) and not (tmp_path / "v.zip").exists()


def test_no_pictures_no_archive(tmp_path: Path) -> None:
    pack([], tmp_path / "v.zip")
    assert not list(tmp_path.iterdir())


PACK = """
import os, sys
from pathlib import Path
from facestudy.media.archive import pack
os.umask(0o077)
pack(sorted(Path("loose").iterdir(), reverse=True), Path("v.zip"))
"""


def test_the_bytes_do_not_tell_who_packed_and_when(tmp_path: Path) -> None:
    here = packed(tmp_path / "here", CONTENTS)
    assert hashlib.sha256(here.read_bytes()).hexdigest() == SHA256
    (tmp_path / "there/loose").mkdir(parents=True)
    for name, data in CONTENTS.items():
        path = tmp_path / "there/loose" / name
        path.write_bytes(data)
        path.chmod(0o600)
        os.utime(path, (10**9, 10**9))
    environment = ENVIRONMENT | {"TZ": "Pacific/Auckland", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", PACK], cwd=tmp_path / "there", env=environment, check=True)
    assert (tmp_path / "there/v.zip").read_bytes() == here.read_bytes()


def test_an_archive_that_takes_anothers_place_is_opened_anew(tmp_path: Path) -> None:
    first = packed(tmp_path / "first", {"a.png": b"first"})
    second = packed(tmp_path / "second", {"a.png": b"later"})
    assert read_bytes(first / "a.png") == b"first"
    second.replace(first)
    assert read_bytes(first / "a.png") == b"later"


def test_pictures_are_the_same_either_way(tmp_path: Path) -> None:
    picture = numbered_picture(5)
    for name in ("a.png", "a.jpg"):
        path = write_picture(tmp_path / name, picture)
        loose = read_picture(path)
        pack([path], tmp_path / "v.zip")
        within = read_picture(tmp_path / "v.zip" / name)
        assert loose is not None and within is not None and np.array_equal(loose, within)
    (tmp_path / "text.png").write_text("no picture")
    assert read_picture(tmp_path / "text.png") is None and read_picture(tmp_path / "gone.png") is None


def test_only_many_pictures_of_fewer_videos_are_archived() -> None:
    storage = StorageSettings(archive_above=100)
    assert [storage.archived(pictures, 10) for pictures in (0, 100, 101)] == [False, False, True]
    assert not storage.archived(1000, 1000)  # a folder of pictures: each is a video
    assert not StorageSettings(archive_above=0).archived(0, 0)


@pytest.mark.parametrize(
    ("fps", "duration", "changes", "count"),
    [
        (10, 60, {}, 4),
        (10, 0.2, {}, 2),
        (0, 0, {}, 1),  # a still picture
        (10, 60, {"per_video": None, "every": 200}, 3),
        (10, 60, {"per_video": None, "every": 2}, 100),
        (10, 1, {"per_video": None, "every": 200}, 1),
    ],
)
def test_the_expected_number_of_frames(fps: float, duration: float, changes: dict[str, object], count: float) -> None:
    assert expected_frames({"fps": fps, "duration_s": duration}, frame_settings(**changes)) == count


def test_the_work_cache_and_dvcs_share_an_archive(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "a.png").write_bytes(b"a" * SHARED_BYTES)
        pack(folder.glob("*.png"), folder / PICTURES)

    cache = WorkCache(tmp_path / "cache/frames")
    entry = cache.entry("0123", build)
    data = (entry / PICTURES).read_bytes()
    digest = hashlib.md5(data).hexdigest()
    twin = tmp_path / "dvc" / digest[:2] / digest[2:]
    twin.parent.mkdir(parents=True)
    twin.write_bytes(data)
    assert share(tmp_path / "cache", tmp_path / "dvc") == len(data)
    assert twin.samefile(cache.entry("0123", build) / PICTURES)
    assert read_bytes(entry / PICTURES / "a.png") == b"a" * SHARED_BYTES


# --- the stages --------------------------------------------------------------------------------

SAME = (
    "metrics/faces.csv",
    "data/duplicates.csv",
    "data/split.csv",
    "data/crops/eyes_lower/variant.json",
    "reports/crops/eyes_lower.png",
    "models/eyes_lower/mesonet/1/model.weights.h5",
    "predictions/eyes_lower/mesonet/1.csv",
    "predictions/eyes_lower/mesonet/1.altered.csv",
)


def run_here(folder: Path, name: str, **options: str) -> None:
    """A stage's main in this process: TensorFlow and the detector are loaded once for both ways."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        importlib.import_module(f"stages.{name}").main(**options)


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny study from its videos to its predictions, with loose files and with archives."""
    values: dict[str, Any] = deep_update(tiny_params(), {"compute": {"workers": 1}})
    values["models"]["mesonet"] |= {"epochs": 1, "warmup_epochs": 0}
    folders = {way: tmp_path_factory.mktemp(way) / "study" for way in ("files", "archives")}
    folders["files"].mkdir()
    write_params(folders["files"], values)
    run_here(folders["files"], "videos")
    shutil.copytree(folders["files"], folders["archives"])
    write_params(folders["archives"], deep_update(values, {"storage": {"archive_above": 0}}))
    for folder in folders.values():
        for name in ("frames", "faces", "duplicates", "split"):
            run_here(folder, name)
        run_here(folder, "crops", variant="eyes_lower")
        run_here(folder, "altered", variant="eyes_lower")
        # a process of its own, as its threads and determinism hold for all of it
        done = stage(folder, "train", "--model", "mesonet", "--variant", "eyes_lower")
        assert done.returncode == 0, done.stdout + done.stderr
    return folders


@pytest.mark.timeout(400)  # with what the fixture takes on a busy machine
def test_results_are_the_same_either_way(ways: dict[str, Path]) -> None:
    for name in SAME:
        assert (ways["files"] / name).read_bytes() == (ways["archives"] / name).read_bytes(), name
    assert len(pd.read_csv(ways["files"] / "data/duplicates.csv")) > 0, "the comparison should be of something"


@pytest.mark.parametrize(
    ("name", "table"), [("frames", tables.FRAMES), ("faces", tables.FACES), ("crops/eyes_lower", tables.CROPS)]
)
def test_the_same_pictures_lie_in_archives(ways: dict[str, Path], name: str, table: Table) -> None:
    roots = {way: folder / "data" / name for way, folder in ways.items()}
    indices = {way: tables.read(root / "index.csv", table) for way, root in roots.items()}
    assert indices["files"].drop(columns="path").equals(indices["archives"].drop(columns="path"))
    assert len(indices["files"]) >= 30
    for loose, within in zip(indices["files"]["path"], indices["archives"]["path"], strict=True):
        assert (roots["files"] / loose).is_file()
        assert read_bytes(roots["files"] / loose) == read_bytes(roots["archives"] / within)
    assert not list(roots["files"].rglob("*.zip"))
    archives = {Path(path).parent.name for path in indices["archives"]["path"]}
    stored = {path.name for path in roots["archives"].rglob("*") if path.suffix != ".csv" and path.suffix != ".json"}
    assert stored == archives
    videos = indices["archives"]["face_id" if name.startswith("crops") else "video_id"].str.extract(r"^(p\d+_[a-z]+)")
    assert archives == {f"{video}.zip" for video in videos[0]}


def test_two_workers_write_the_same_archives(ways: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    made = (".cache", "frames", "faces", "crops", "altered")
    shutil.copytree(ways["archives"], folder, ignore=shutil.ignore_patterns(*made))
    values = yaml.safe_load((folder / "params.yaml").read_text())
    write_params(folder, deep_update(values, {"compute": {"workers": 2}}))
    variant = ["--variant", "eyes_lower"]
    for name, *options in (["frames"], ["faces"], ["crops", *variant], ["altered", *variant]):
        done = stage(folder, name, *options)  # workers keep the folder they were started in
        assert done.returncode == 0, done.stdout + done.stderr
    assert contents(folder / "data") == contents(ways["archives"] / "data")


@pytest.mark.parametrize("name", ["frames", "faces"])
def test_the_work_cache_holds_no_second_copy(ways: dict[str, Path], name: str) -> None:
    cached = {path.stat().st_ino for path in (ways["archives"] / ".cache" / name).rglob(PICTURES)}
    assert cached == {path.stat().st_ino for path in (ways["archives"] / "data" / name).glob("*.zip")}
    assert not list((ways["archives"] / ".cache" / name).rglob("*.png"))


def test_growing_run_is_packed_without_rework(
    ways: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(*anything: object) -> None:
        raise AssertionError("the work was done before")

    folder = tmp_path / "study"
    shutil.copytree(ways["files"], folder)
    shutil.copyfile(ways["archives"] / "params.yaml", folder / "params.yaml")
    monkeypatch.setattr("facestudy.media.decode.extract", again)
    monkeypatch.setattr("facestudy.faces.detection.detect", again)
    for name in ("frames", "faces"):
        before = {path: path.read_bytes() for path in (folder / ".cache" / name).rglob("*") if path.is_file()}
        run_here(folder, name)
        assert contents(folder / "data" / name) == contents(ways["archives"] / "data" / name)
        assert all(path.read_bytes() == data for path, data in before.items())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("way", ["files", "archives"])
def test_a_stage_refuses_a_picture_that_is_another(ways: dict[str, Path], tmp_path: Path, way: str) -> None:
    folder = tmp_path / "study"
    shutil.copytree(ways[way], folder)
    for source in ("frames", "faces", "crops/eyes_lower"):
        stored = [path for path in (folder / "data" / source).rglob("*") if path.suffix in (".zip", ".png")]
        first, second = sorted(stored)[:2]
        first.write_bytes(second.read_bytes())  # as sound as it was
    refused = r"data/{}/\S+\.(png is not the picture that was stored|zip: its picture \S+ cannot be read)"
    for name, options, source in (
        ("faces", {}, "frames"),
        ("duplicates", {}, "faces"),
        ("crops", {"variant": "eyes_lower"}, "faces"),
    ):
        with pytest.raises(StudyError, match=refused.format(source)):
            run_here(folder, name, **options)
    crops = folder / "data/crops/eyes_lower"
    with pytest.raises(StudyError, match=refused.format("crops/eyes_lower")):
        store_pictures(crops, tables.read(crops / "index.csv", tables.CROPS), tmp_path / "pictures.npy")


def test_video_changed_after_listing_is_not_cached(ways: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(ways["files"], folder, ignore=shutil.ignore_patterns(".cache"))
    first, second = sorted((folder / "data/videos").glob("*.mp4"))[:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(StudyError, match=rf"{first.name} is not the file that was examined before"):
        run_here(folder, "frames")
    assert len(list((folder / ".cache/frames").rglob("frames.json"))) == 0


def test_a_stage_names_the_archive_that_is_damaged(ways: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(ways["archives"], folder)
    for source in ("frames", "faces", "crops/eyes_lower"):
        (archive, *_) = sorted((folder / "data" / source).glob("*.zip"))
        archive.write_bytes(archive.read_bytes()[:-30])
    for name, options, source in (
        ("faces", {}, "frames"),
        ("duplicates", {}, "faces"),
        ("crops", {"variant": "eyes_lower"}, "faces"),
    ):
        with pytest.raises(StudyError, match=rf"data/{source}/{archive.name}: its picture \S+\.png cannot be read"):
            run_here(folder, name, **options)
    crops = folder / "data/crops/eyes_lower"
    with pytest.raises(StudyError, match=rf"eyes_lower/{archive.name}: its picture \S+\.png cannot be read"):
        store_pictures(crops, tables.read(crops / "index.csv", tables.CROPS), tmp_path / "pictures.npy")
