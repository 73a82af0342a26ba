"""Source `folder`: every file gets a row, whatever it is and however it is called."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from facestudy.core.errors import StudyError
from facestudy.core.settings import check
from facestudy.core.tables import ID
from facestudy.sources.folder import FolderSettings, as_id, examine, list_items, make_id, of_other_types
from facestudy.sources.layouts import Item
from tests.media import LIMITS, write_clip, write_picture
from tests.project import params


def settings(path: Path, table: str | None = None) -> FolderSettings:
    return check(
        FolderSettings,
        {**params()["folder"], "path": str(path), "table": table},
        "folder",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_clip(tmp_path / "real/one.mp4")
    write_picture(tmp_path / "real/deep/two.JPG".replace("JPG", "jpg"))
    write_clip(tmp_path / "fake/three.mkv")
    (tmp_path / "fake/notes.txt").write_text("not looked at")
    return tmp_path


def test_lists_media_of_both_classes(folder: Path) -> None:
    items = list_items(settings(folder))
    assert [(item.file, item.label) for item in items] == [
        ("fake/three.mkv", "fake"),
        ("real/deep/two.jpg", "real"),
        ("real/one.mp4", "real"),
    ]


def test_other_files_get_a_row_and_are_never_opened(folder: Path) -> None:
    real = folder / "real"
    for name in ("Thumbs.DB", "README", ".hidden", "._one.mp4", ".git/config", "odd.\x1b[2J", "deep/sound.wav"):
        (real / name).parent.mkdir(exist_ok=True)
        (real / name).touch()
    (folder / "beside.txt").touch()
    os.mkfifo(real / "pipe.fifo")  # who opened it would wait for ever
    rows = of_other_types(settings(folder))
    assert {row["path"]: row["reason"] for row in rows} == {
        "fake/notes.txt": "not a video or picture (.txt)",
        "real/README": "not a video or picture",
        "real/Thumbs.DB": "not a video or picture (.db)",
        "real/deep/sound.wav": "not a video or picture (.wav)",
        "real/odd.\x1b[2J": "not a video or picture ('.\\x1b[2j')",
        "real/pipe.fifo": "not a video or picture (.fifo)",
    }
    assert {row["status"] for row in rows} == {"rejected"}
    chosen = settings(folder).model_copy(update={"max_per_class": 1})
    assert len(list_items(chosen)) == 2 and len(of_other_types(chosen)) == 6


def test_among_pictures_a_video_is_another_type(folder: Path) -> None:
    chosen = settings(folder).model_copy(update={"layout": "images"})
    assert {row["path"]: row["reason"] for row in of_other_types(chosen)} == {
        "fake/notes.txt": "not a picture (.txt)",
        "fake/three.mkv": "not a picture (.mkv)",
        "real/one.mp4": "not a picture (.mp4)",
    }


def test_a_good_file(folder: Path) -> None:
    row = examine(Item("real/one.mp4", "real"), settings(folder), LIMITS)
    assert (row["status"], row["codec"], row["width"], row["height"]) == ("ok", "h264", 64, 48)
    assert row["duration_s"] == pytest.approx(1.2, abs=0.05)
    assert len(str(row["sha256"])) == 64
    assert row["path"] == "real/one.mp4"


NAMES = [
    "with space.mp4",
    'quote".mp4',
    "it's.mp4",
    "new\nline.mp4",
    "😀 emoji.mp4",
    "=1+1.mp4",
    "..%2f..mp4",
    "-rf.mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_kept_and_get_plain_ids(folder: Path, name: str) -> None:
    write_clip(folder / "real/plain.mp4").rename(folder / "real" / name)
    (item,) = (item for item in list_items(settings(folder)) if item.file == f"real/{name}")
    row = examine(item, settings(folder), LIMITS)
    assert row["status"] == "ok"
    assert ID.fullmatch(str(row["video_id"]))


def test_a_name_that_is_no_text_is_rejected_with_a_reason(folder: Path) -> None:
    write_clip(folder / "real/plain.mp4").rename(folder / "real" / os.fsdecode(b"latin-\xe9.mp4"))
    rows = [examine(item, settings(folder), LIMITS) for item in list_items(settings(folder))]
    (row,) = (row for row in rows if row["status"] == "rejected")
    assert "UTF-8" in str(row["reason"])
    str(row["path"]).encode("utf-8")


def test_rejections_name_their_reason(folder: Path) -> None:
    (folder / "real/empty.mp4").touch()
    (folder / "real/text.mp4").write_text("no video")
    write_picture(folder / "real/huge.png", np.zeros((1500, 1000, 3), np.uint8))
    outside = write_clip(folder.parent / f"{folder.name}-outside.mp4")
    (folder / "real/link.mp4").symlink_to(outside)
    (folder / "real/dangling.mp4").symlink_to(folder / "real/nothing.mp4")
    (folder / "real/device.mp4").symlink_to("/dev/zero")
    (folder / "real/loop.mp4").symlink_to("loop.mp4")
    os.mkfifo(folder / "real/fifo.mp4")
    rows = {
        item.file: examine(item, settings(folder), replace(LIMITS, max_pixels=10**6))
        for item in list_items(settings(folder))
    }
    reasons = {file: row["reason"] for file, row in rows.items() if row["status"] == "rejected"}
    assert reasons.pop("real/empty.mp4") == "the file is empty"
    assert "not decodable" in str(reasons.pop("real/text.mp4"))
    assert "megapixels" in str(reasons.pop("real/huge.png"))
    assert "out of the folder" in str(reasons.pop("real/link.mp4"))
    assert "No such file" in str(reasons.pop("real/dangling.mp4"))
    assert "out of the folder" in str(reasons.pop("real/device.mp4"))
    assert reasons.pop("real/loop.mp4") == "cannot be read (Too many levels of symbolic links)"
    assert reasons.pop("real/fifo.mp4") == "not a regular file"
    assert not reasons
    outside.unlink()


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"~ is not expanded; write the whole path"):
        list_items(settings(Path("~/videos")))
    with pytest.raises(StudyError, match="is not a folder; set it to"):
        list_items(settings(tmp_path / "nowhere"))
    with pytest.raises(StudyError, match=r"no video or picture in real/ and fake/; put real videos into .*/real and"):
        list_items(settings(tmp_path))
    write_clip(tmp_path / "real/one.mp4")
    with pytest.raises(StudyError, match="fake holds no video or picture"):
        list_items(settings(tmp_path))


def test_the_table_gives_identity_donor_method(folder: Path) -> None:
    (folder / "who.csv").write_text("file,identity,donor,method\nfake/three.mkv,Ann,Bob,face-swap\n")
    by_file = {item.file: item for item in list_items(settings(folder, "who.csv"))}
    row = examine(by_file["fake/three.mkv"], settings(folder, "who.csv"), LIMITS)
    assert row["identity"] == make_id("Ann") and row["donor"] == make_id("Bob")
    assert row["method"] == "face-swap"
    assert examine(by_file["real/one.mp4"], settings(folder), LIMITS)["identity"] == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,identity\nreal/none.mp4,Ann\n", r"row 2: there is no video or picture 'real/none.mp4'"),
        ("file,identity\nreal/one.mp4,Ann\nreal/one.mp4,Bob\n", r"row 3: 'real/one.mp4' has a row already"),
        ("name,identity\nreal/one.mp4,Ann\n", r"they should be file and any of identity, donor, method"),
        ("file,identity\nreal/one.mp4\n", r"row 2: the number of cells"),
        ("file\n/etc/passwd\n", r"row 2: '/etc/passwd' is an absolute path"),
        (f"file\n{'x' * 100_000}\n", r"row 2: there is no video or picture 'xxx"),
        ("file\n\x1b[2J\n", r"there is no video or picture '\\x1b\[2J'"),
        (f"file,subset\nreal/one.mp4,{'x' * 100_000}\n", r"row 2: subset = 'xxx"),
        ("file" + ",x" * 300_000 + "\n", r"the columns are 'file', 'x', .*'x', …; they should be"),
        ("file,identity\nreal/one.mp4,Ann,x\n", r"row 2: the number of cells"),
        ("", r"the columns are missing"),
    ],
)
def test_a_bad_table_is_refused_by_row(folder: Path, text: str, message: str) -> None:
    (folder / "who.csv").write_text(text)
    with pytest.raises(StudyError, match=message) as error:
        list_items(settings(folder, "who.csv"))
    assert len(str(error.value)) < 1000 and str(error.value).isprintable()


def test_a_table_does_not_name_a_file_by_its_place_on_the_disk(folder: Path) -> None:
    (folder / "who.csv").write_text(f"file,identity\n{folder}/real/one.mp4,Ann\n")
    with pytest.raises(StudyError, match=r"row 2: '.*real/one.mp4' is an absolute path; give the path relative to"):
        list_items(settings(folder, "who.csv"))


def test_a_table_that_is_missing_or_no_text(folder: Path) -> None:
    with pytest.raises(StudyError, match="who.csv cannot be read"):
        list_items(settings(folder, "who.csv"))
    (folder / "who.csv").write_bytes(b"file,identity\n\xff\xfe,x\n")
    with pytest.raises(StudyError, match="who.csv cannot be read as a CSV in UTF-8"):
        list_items(settings(folder, "who.csv"))


def test_a_name_can_be_as_long_as_the_system_lets_it(folder: Path) -> None:
    for letters in ("a" * 251, "\u00e9" * 125):
        write_clip(folder / "real/plain.mp4").rename(folder / f"real/{letters}.mp4")
    rows = [examine(item, settings(folder), LIMITS) for item in list_items(settings(folder))]
    assert all(row["status"] == "ok" and len(str(row["video_id"])) < 64 for row in rows)
    with pytest.raises(StudyError, match="is not a folder"):
        list_items(settings(folder / ("a" * 300)))
    for table in ("a" * 300, "zero\0byte"):
        with pytest.raises(StudyError, match="cannot be read"):
            list_items(settings(folder, table))


def test_names_that_look_alike_stay_apart(folder: Path) -> None:
    names = ["clip", "Clip", "CLIP", "clip ", "c\u013eip", "cl\u0456p", "\uff43lip", "clip\u200b", "\u00e9", "e\u0301"]
    for name in names:
        write_clip(folder / "real/plain.mp4").rename(folder / f"real/{name}.mp4")
    items = list_items(settings(folder))
    assert len({make_id(item.file, item.label) for item in items}) == len(items) == len(names) + 3


def test_two_files_with_one_id_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facestudy.sources.folder.make_id", lambda text, *prefix: "same")
    with pytest.raises(StudyError, match=r"'fake/three.mkv' and 'real/deep/two.jpg' get the same id; rename one"):
        list_items(settings(folder))


def test_no_path_or_id_begins_as_a_formula(tmp_path: Path) -> None:
    names = ["=1+1.mp4", "+1.mp4", "-rf.mp4", "@x.mp4", "plain.mp4"]
    for name in names:
        write_clip(tmp_path / "plain.mp4").rename(tmp_path / name)
    labels = {name: {"label": "REAL" if name == "plain.mp4" else "FAKE"} for name in names}
    (tmp_path / "metadata.json").write_text(json.dumps(labels))
    chosen = check(FolderSettings, {**params()["folder"], "path": str(tmp_path), "layout": "dfdc"}, "folder")
    rows = [examine(item, chosen, LIMITS) for item in list_items(chosen)]
    for row in rows:
        assert row["status"] == "ok" and (tmp_path / str(row["path"])).is_file()
        assert not any(str(cell).startswith(("=", "+", "-", "@")) for cell in row.values())
    assert as_id("-x") == make_id("-x") and as_id("x-") == "x-"
    (tmp_path / "=cmd|calc.png").symlink_to("/etc/passwd")
    (tmp_path / "-empty.png").touch()
    for name in ("=cmd|calc.png", "-empty.png", os.fsdecode(b"=1+1\xe9.png"), "@gone.png"):
        row = examine(Item(name, "fake"), chosen, LIMITS)
        assert row["status"] == "rejected" and str(row["path"]).startswith(f"./{name[:4]}")
        assert not any(str(cell).startswith(("=", "+", "-", "@")) for cell in row.values())


@given(st.lists(st.text(st.characters(exclude_categories=())), unique=True, min_size=2, max_size=20))
@example(["\ud800", "\udfff", "?", "\\ud800"])
@example(["\u00e9", "\udcc3\udca9", "\U00010000", "\ud800\udc00"])
def test_ids_are_plain_and_differ(texts: list[str]) -> None:
    ids = [make_id(text, "real") for text in texts]
    assert all(ID.fullmatch(value) and len(value) < 64 for value in ids)
    assert len(set(ids)) == len(ids)
