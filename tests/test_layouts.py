"""The layouts of known datasets, on tiny trees of the same names with real clips in them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from facestudy.core.errors import StudyError
from facestudy.core.settings import check
from facestudy.sources.folder import FolderSettings, examine, list_items
from facestudy.sources.layouts import Item
from tests.media import LIMITS, write_clip
from tests.project import deep_update, params, stage, write_params


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


def tree(root: Path, clip: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clip, root / file)
    return root


def items(root: Path, layout: str, **changes: Any) -> dict[str, Item]:
    settings = check(FolderSettings, {**params()["folder"], "path": str(root), "layout": layout, **changes}, "folder")
    return {item.file: item for item in list_items(settings)}


FACEFORENSICS = (
    "original_sequences/youtube/c23/videos/000.mp4",
    "original_sequences/youtube/c40/videos/000.mp4",
    "original_sequences/youtube/c23/videos/003.mp4",
    "original_sequences/actors/c23/videos/01__exit_phone_room.mp4",
    "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4",
    "manipulated_sequences/Deepfakes/c40/videos/000_003.mp4",
    "manipulated_sequences/Face2Face/c23/videos/003_000.mp4",
    "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__exit_phone_room__YVGY8LOK.mp4",
    "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4",
)


def test_faceforensics_official_split(tmp_path: Path, clip: Path) -> None:
    root = tree(tmp_path, clip, *FACEFORENSICS)
    (root / "splits").mkdir()
    (root / "splits/train.json").write_text('[["003", "100"]]')
    (root / "splits/test.json").write_text('[["000", "200"]]')
    found = items(root, "faceforensics")
    assert found[FACEFORENSICS[0]].subset == found[FACEFORENSICS[4]].subset == "test"
    assert found[FACEFORENSICS[2]].subset == found[FACEFORENSICS[6]].subset == "train"
    assert found[FACEFORENSICS[3]].subset == found[FACEFORENSICS[7]].subset == ""  # its actors have no official split
    (root / "splits/val.json").write_text('[["003", "101"]]')
    with pytest.raises(StudyError, match="val.json: the video 003 is in another official subset too"):
        items(root, "faceforensics")
    (root / "splits/train.json").write_text('[["\\u001b[2J", "100"]]')
    for text, message in (
        ("{}", "should be a list of pairs"),
        ("[7]", "7 is not a pair"),
        ("[", "is not readable JSON"),
        (json.dumps([[7, "x" * 100_000]]), "is not a pair"),
        ('[["\\u001b[2J"]]', r"the video '\\x1b\[2J' is in another"),
    ):
        (root / "splits/val.json").write_text(text)
        with pytest.raises(StudyError, match=f"val.json.*{message}") as error:
            items(root, "faceforensics")
        assert len(str(error.value)) < 1000 and str(error.value).isprintable()


def test_faceforensics(tmp_path: Path, clip: Path) -> None:
    root = tree(tmp_path, clip, *FACEFORENSICS)
    found = items(root, "faceforensics")
    assert set(found) == set(FACEFORENSICS[:-1])  # a mask is no video
    fake = found[FACEFORENSICS[4]]
    assert (fake.label, fake.identity, fake.donor, fake.method) == ("fake", "000", "003", "Deepfakes")
    actors = found[FACEFORENSICS[7]]
    assert (actors.identity, actors.donor, actors.method) == ("actor01", "actor02", "DeepFakeDetection")
    assert found[FACEFORENSICS[3]].identity == "actor01" and found[FACEFORENSICS[0]].identity == "000"
    assert all(item.donor == item.method == "" for item in found.values() if item.label == "real")


def test_filters(tmp_path: Path, clip: Path) -> None:
    root = tree(tmp_path, clip, *FACEFORENSICS)
    found = items(root, "faceforensics", methods=["Deepfakes"], compressions=["c23"])
    assert sorted(found) == sorted((FACEFORENSICS[0], FACEFORENSICS[2], FACEFORENSICS[3], FACEFORENSICS[4]))
    with pytest.raises(StudyError, match=r"leave none of the 4 fake files \(methods there: DeepFakeDetection, Deep"):
        items(root, "faceforensics", methods=["NeuralTextures"])
    with pytest.raises(StudyError, match="compressions: c23, c40"):
        items(root, "faceforensics", compressions=["raw"])
    names = [f"manipulated_sequences/\x1b{number}{'x' * 200}/c23/videos/000_003.mp4" for number in range(40)]
    with pytest.raises(StudyError, match=r"methods there: '\\x1b0x.*, …; compressions") as error:
        items(tree(tmp_path, clip, *names), "faceforensics", methods=["NeuralTextures"])
    assert len(str(error.value)) < 4000 and str(error.value).isprintable()


def test_at_most_so_many_of_a_class_the_methods_in_turn(tmp_path: Path, clip: Path) -> None:
    names = [f"manipulated_sequences/{method}/c23/videos/{n:03}_{n + 1:03}.mp4" for method in "ABC" for n in range(6)]
    names += [f"original_sequences/youtube/c23/videos/{n:03}.mp4" for n in range(9)]
    found = items(tree(tmp_path, clip, *names), "faceforensics", max_per_class=7)
    methods = [item.method for item in found.values() if item.label == "fake"]
    assert {method: methods.count(method) for method in "ABC"} == {"A": 3, "B": 2, "C": 2}
    assert sum(item.label == "real" for item in found.values()) == 7
    more = items(
        tree(tmp_path, clip, "original_sequences/youtube/c23/videos/100.mp4"), "faceforensics", max_per_class=7
    )
    assert len(set(found) - set(more)) <= 1  # a new file displaces one at most


def test_celeb_df(tmp_path: Path, clip: Path) -> None:
    root = tree(
        tmp_path, clip, "Celeb-real/id0_0000.mp4", "YouTube-real/00000.mp4", "Celeb-synthesis/id0_id16_0001.mp4"
    )
    found = items(root, "celeb_df")
    real, youtube, fake = (found[file] for file in sorted(found, key=lambda f: (f.startswith("Celeb-s"), f)))
    assert (real.label, real.identity, real.donor) == ("real", "id0", "")
    assert (youtube.label, youtube.identity) == ("real", "")
    assert (fake.label, fake.identity, fake.donor, fake.method) == ("fake", "id0", "id16", "celeb_df")


def test_dfdc(tmp_path: Path, clip: Path) -> None:
    root = tree(tmp_path, clip, "part_0/aaa.mp4", "part_0/bbb.mp4", "part_1/ccc.mp4", "part_1/not_listed.mp4")
    parts = {
        "part_0": {
            "aaa.mp4": {"label": "FAKE", "split": "train", "original": "bbb.mp4"},
            "bbb.mp4": {"label": "REAL", "split": "train", "original": None},
            "away.mp4": {"label": "FAKE", "split": "train", "original": "bbb.mp4"},
        },
        "part_1": {"ccc.mp4": {"label": "REAL", "split": "train"}},
    }
    for part, entries in parts.items():
        (root / part / "metadata.json").write_text(json.dumps(entries))
    found = items(root, "dfdc")
    assert {file: (item.label, item.identity) for file, item in found.items()} == {
        "part_0/aaa.mp4": ("fake", "bbb"),
        "part_0/bbb.mp4": ("real", "bbb"),
        "part_1/ccc.mp4": ("real", "ccc"),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not readable JSON"),
        ("[]", "should map file names"),
        ('{"a.mp4": {"label": "MAYBE"}}', "the entry 'a.mp4' has no label"),
        ('{"../../a.mp4": {"label": "REAL"}}', "the entry '../../a.mp4'"),
        ('{"a.mp4": 3}', "the entry 'a.mp4'"),
        ("[" * 100_000, "is not readable JSON"),
        (json.dumps({"a" * 300 + ".mp4": {"label": "REAL"}}), "is not the name of a file"),
        (json.dumps({"\u00e9" * 200: {"label": "REAL"}}), "is not the name of a file"),
        (json.dumps({"/etc/passwd": {"label": "REAL"}}), "'/etc/passwd', which is not the name of a file"),
        (json.dumps({"\ud800.mp4": {"label": "REAL"}}), r"'\ud800.mp4', which is not the name of a file"),
        (json.dumps({"a.mp4": {"label": "FAKE", "original": "/etc/passwd"}}), "'a.mp4' names '/etc/passwd', which is"),
        (json.dumps({"a.mp4": {"label": "FAKE", "original": "\ud800.mp4"}}), r"'a.mp4' names '\ud800.mp4', which is"),
        (json.dumps({"x" * 3_000_000: 3}), "has no label"),
        (json.dumps({"\x1b[2J": 3}), r"'\x1b[2J' has no label"),
    ],
)
def test_a_metadata_file_that_is_none(tmp_path: Path, clip: Path, text: str, says: str) -> None:
    (tree(tmp_path, clip, "p/a.mp4") / "p/metadata.json").write_text(text)
    with pytest.raises(StudyError) as error:
        items(tmp_path, "dfdc")
    assert says in str(error.value) and "metadata.json" in str(error.value)
    assert len(str(error.value)) < 1000 and str(error.value).isprintable()


def test_a_name_that_the_disk_does_not_take_is_not_looked_for(tmp_path: Path, clip: Path) -> None:
    deep = f"{'d' * 250}/" * 15 + "d" * (200 - len(str(tmp_path)))  # with 255 more, too long a path
    entries = {"real.mp4": {"label": "REAL"}, "fake.mp4": {"label": "FAKE", "original": 7}}
    root = tree(tmp_path, clip, *(f"{deep}/{name}" for name in entries))
    more = {"a" * 255: {"label": "REAL"}, "a\udce9.mp4": {"label": "REAL"}}
    (root / deep / "metadata.json").write_text(json.dumps({**entries, **more}))
    assert {Path(file).name for file in items(root, "dfdc")} == set(entries)


LISTED = [
    ("dfdc", "p/metadata.json", ("p/a.mp4", "p/b.mp4"), '{"a.mp4": {"label": "REAL"}, "b.mp4": {"label": "FAKE"}}'),
    ("faceforensics", "splits/train.json", FACEFORENSICS, "[]"),
    ("celeb_df", "List_of_testing_videos.txt", ("Celeb-real/id0_0.mp4", "Celeb-synthesis/id0_id1_0.mp4"), "1 x.mp4"),
    ("real_fake", "who.csv", ("real/a.mp4", "fake/b.mp4"), "file,identity\n"),
]


@pytest.mark.parametrize(("layout", "name", "files", "text"), LISTED, ids=[case[0] for case in LISTED])
def test_a_list_is_looked_at_before_it_is_read(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, layout: str, name: str, files: list[str], text: str
) -> None:
    root = tree(tmp_path / "set", clip, *files)
    table = "who.csv" if layout == "real_fake" else None
    path = root / name
    path.parent.mkdir(exist_ok=True)
    inside, outside = root / "list.txt", tmp_path / "list.txt"
    for place in (inside, outside):
        place.write_text(text)

    def refused(said: str) -> None:
        with pytest.raises(StudyError, match=said) as error:
            items(root, layout, table=table)
        assert str(path) in str(error.value)
        path.unlink()

    os.mkfifo(path)
    refused("not a regular file")
    path.symlink_to("/dev/zero")
    refused("not a regular file" if table else "a link that leads out of the folder")
    path.symlink_to(path)
    refused("[Ss]ymbolic link|not a regular file")
    path.symlink_to(inside)
    items(root, layout, table=table)
    path.unlink()
    path.symlink_to(outside)
    if table:
        items(root, layout, table=str(outside))  # who sets folder.table says where it is
    else:
        refused("a link that leads out of the folder")
    path.unlink(missing_ok=True)
    path.write_text(text)
    monkeypatch.setattr("facestudy.sources.layouts.MAX_LIST_BYTES", 1)
    monkeypatch.setattr("facestudy.sources.folder.MAX_TABLE_BYTES", 1)
    refused("more than 1e-06 MB")


@pytest.mark.parametrize(
    ("layout", "files", "linked"),
    [
        ("real_fake", ("real/a.mp4", "fake/b.mp4"), ("real/more", "fake/deep/more")),
        ("celeb_df", ("Celeb-real/id0_0.mp4", "Celeb-synthesis/id0_id1_0.mp4"), ("Celeb-real/more",)),
        ("faceforensics", FACEFORENSICS, ("manipulated_sequences/NeuralTextures", "original_sequences/youtube/raw")),
        ("images", ("train/real/a.jpg", "train/fake/b.jpg"), ("test/real", "train/fake/more.jpg", "loose")),
    ],
)
def test_a_linked_folder_gets_a_row(
    tmp_path: Path, clip: Path, layout: str, files: tuple[str, ...], linked: tuple[str, ...]
) -> None:
    root = tree(tmp_path / "set", clip, *files)
    write_clip(tmp_path / "elsewhere/c.mp4")
    write_clip(root / "inside/c.mp4")
    before = items(root, layout)
    for place, target in ((tmp_path / "elsewhere", "out of the folder"), (root / "inside", "link to a folder")):
        for name in linked:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).unlink(missing_ok=True)
            (root / name).symlink_to(place)
        found = items(root, layout)
        assert set(found) - set(before) == {name for name in linked if name != "loose"}  # of no class
        settings = check(FolderSettings, {**params()["folder"], "path": str(root), "layout": layout}, "folder")
        rows = [examine(found[name], settings, LIMITS) for name in linked if name in found]
        assert all(row["status"] == "rejected" and target in str(row["reason"]) for row in rows)
        assert {row["label"] for row in rows} <= {"real", "fake"}
    if layout == "faceforensics":
        assert found["manipulated_sequences/NeuralTextures"].method == "NeuralTextures"


@pytest.mark.parametrize("layout", ["faceforensics", "celeb_df", "dfdc"])
def test_a_tree_of_another_layout_is_refused(tmp_path: Path, clip: Path, layout: str) -> None:
    with pytest.raises(StudyError, match=f"no real video where folder.layout = {layout} has them"):
        items(tree(tmp_path, clip, "real/a.mp4", "fake/b.mp4"), layout)


def test_the_stage_writes_identity_donor_and_method(tmp_path: Path, clip: Path) -> None:
    tree(tmp_path / "set", clip, *FACEFORENSICS)
    changes = {"source": "folder", "folder": {"path": "set", "layout": "faceforensics", "compressions": ["c23"]}}
    write_params(tmp_path, deep_update(params(), {**changes, "compute": {"workers": 1}}))
    done = stage(tmp_path, "videos")
    assert done.returncode == 0, done.stderr
    index = pd.read_csv(tmp_path / "data/videos/index.csv", keep_default_na=False, dtype=str).set_index("path")
    row = index.loc["manipulated_sequences/Deepfakes/c23/videos/000_003.mp4"]
    assert (row["identity"], row["donor"], row["label"], row["status"]) == ("000", "003", "fake", "ok")
    assert row["method"] == "deepfakes"
    assert (index["status"] == "ok").all() and len(index) == 6


def test_celeb_df_official_test_list(tmp_path: Path, clip: Path) -> None:
    files = "Celeb-real/id0_0000.mp4", "YouTube-real/00000.mp4", "Celeb-synthesis/id0_id16_0001.mp4"
    root = tree(tmp_path, clip, *files)
    (root / "List_of_testing_videos.txt").write_text(f"1 {files[1]}\r\n\n0 {files[2]}\n")
    assert {file: item.subset for file, item in items(root, "celeb_df").items()} == {
        files[0]: "train",
        files[1]: "test",
        files[2]: "test",
    }


IMAGES = (
    "train/real/a.jpg",
    "train/fake/gan/b.png",
    "valid/Fake/c.jpg",
    "Test/training_real/d.webp",
    "loose/e.jpg",
    "real/notes/clip.mp4",
)


def test_images_by_the_names_of_their_folders(tmp_path: Path, clip: Path) -> None:
    root = tree(tmp_path, clip, *IMAGES)
    found = items(root, "images")
    assert {file: (item.label, item.subset) for file, item in found.items()} == {
        "train/real/a.jpg": ("real", "train"),
        "train/fake/gan/b.png": ("fake", "train"),
        "valid/Fake/c.jpg": ("fake", "validation"),
        "Test/training_real/d.webp": ("real", "train"),  # the nearest folder counts
    }


def test_images_by_a_table(tmp_path: Path, clip: Path) -> None:
    root = tree(tmp_path, clip, *IMAGES)
    (root / "who.csv").write_text("file,label,identity,subset\nloose/e.jpg,REAL,ann,Test\ntrain/real/a.jpg,fake,,\n")
    found = items(root, "images", table="who.csv")
    assert (found["loose/e.jpg"].label, found["loose/e.jpg"].identity, found["loose/e.jpg"].subset) == (
        "real",
        "ann",
        "test",
    )
    assert found["train/real/a.jpg"].label == "fake" and found["train/real/a.jpg"].subset == "train"
    for text, message in (
        ("file,label\nloose/e.jpg,maybe\n", "row 2: label = 'maybe' is not one of real, fake"),
        ("file,subset\nloose/e.jpg,unused\n", "row 2: subset = 'unused' is not one of train, validation, test"),
    ):
        (root / "who.csv").write_text(text)
        with pytest.raises(StudyError, match=message):
            items(root, "images", table="who.csv")
    (root / "who.csv").write_text("file,label\nreal/notes/clip.mp4,real\n")
    with pytest.raises(StudyError, match=r"they should be file and any of identity, donor, method, subset, each"):
        items(root, "real_fake", table="who.csv")


def test_official_subsets_reach_the_table_of_videos(tmp_path: Path, clip: Path) -> None:
    root = tree(tmp_path / "set", clip, "Celeb-real/id0_0000.mp4", "Celeb-synthesis/id0_id16_0001.mp4")
    (root / "List_of_testing_videos.txt").write_text("1 Celeb-real/id0_0000.mp4\n")
    values = deep_update(params(), {"source": "folder", "folder": {"path": str(root), "layout": "celeb_df"}})
    write_params(tmp_path, values)
    done = stage(tmp_path, "videos")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "data/videos/index.csv").set_index("label")
    assert table["official_subset"].to_dict() == {"real": "test", "fake": "train"}
