"""Source `pseudo_fakes`: twins that differ in the face alone, made in the same way from the same clip."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from facestudy.core import tables
from facestudy.core.arrays import Picture
from facestudy.core.errors import AlteredFileError, StudyError
from facestudy.core.settings import check
from facestudy.dataset.split import groups
from facestudy.media.video import OWN_FILES, probe, read_video
from facestudy.pseudo_fakes import clips, tracks, videos
from facestudy.pseudo_fakes.clips import Job, Real, methods_of, render
from facestudy.pseudo_fakes.settings import PseudoFakeSettings
from facestudy.pseudo_fakes.tracks import Source, Track
from facestudy.runtime.parallel import ComputeSettings
from facestudy.runtime.work_cache import file_sha256
from facestudy.sample.clips import SampleSettings, draw, list_clips
from facestudy.sample.clips import render as render_sample
from facestudy.sources.folder import FolderSettings
from stages import faces as faces_stage
from stages import frames as frames_stage
from stages import split as split_stage
from stages import videos as videos_stage
from tests.media import LIMITS, write_clip, write_picture
from tests.project import deep_update, params, write_params

PEOPLE = 4
ONE_PROCESS = ComputeSettings(workers=1)
Row = dict[str, Any]


def settings(**changes: object) -> PseudoFakeSettings:
    return check(PseudoFakeSettings, {**params()["pseudo_fakes"], "max_frames": 4, **changes}, "pseudo_fakes")


def of_folder(path: Path, **changes: object) -> FolderSettings:
    return check(FolderSettings, {**params()["folder"], "path": str(path), **changes}, "folder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real clips of the drawn people, a picture of another, and files that cannot be used."""
    folder = tmp_path_factory.mktemp("clips")
    real, sample = folder / "real", check(SampleSettings, {**params()["sample"], "people": PEOPLE + 1}, "sample")
    (real / "deep").mkdir(parents=True)
    regions = params()["regions"]
    reals = [clip for clip in list_clips(sample) if clip.label == "real"]
    for clip in reals[:PEOPLE]:
        render_sample(clip, sample, regions, folder)
        (folder / f"{clip.video_id}.mp4").rename(real / f"{clip.video_id}.mp4")
    write_picture(real / "deep/still.png", next(draw(reals[PEOPLE], sample, regions)).picture[:-1, :-1])
    write_clip(real / "bars.mp4", size=(320, 240))
    (real / "broken.mp4").write_bytes(b"no video")
    (real / "=empty.mp4").touch()
    (real / "notes.txt").touch()
    write_clip(folder / "fake/not-used.mp4")
    return folder


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """The output, its rows and its parameters."""
    out = tmp_path_factory.mktemp("made") / "out"
    rows, parameters = videos.obtain(settings(), of_folder(folder), LIMITS, out.parent / "cache", out, ONE_PROCESS)
    return out, tables.to_dataframe(rows, tables.VIDEOS), tables.to_dataframe(parameters, videos.TABLE)


@pytest.fixture
def real(folder: Path) -> Real:
    path = folder / "real/p0000_real.mp4"
    source = Source(path, file_sha256(path), None, None)
    return Real(source, track_of(source))


def track_of(source: Source, **changes: object) -> Track:
    folder = source.path.parent.parent / f"frames-{source.path.stem}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return tracks.find_track(tracks.take_frames(source, settings(**changes), LIMITS, folder), folder)


# --- rows -----------------------------------------------------------------------------------------


def test_each_clip_has_a_real_twin_and_pseudo_fakes(made: tuple[Path, pd.DataFrame, pd.DataFrame]) -> None:
    out, rows, parameters = made
    ok = rows[rows["status"] == "ok"]
    assert ok["method"].value_counts().to_dict()["none"] == PEOPLE + 1
    assert (ok.groupby("identity")["label"].value_counts().unstack() == {"fake": 2, "real": 1}).all(axis=None)
    assert set(ok.loc[ok["label"] == "fake", "method"]) == {"self_blend", "donor_swap"}
    assert sorted(ok.loc[ok["label"] == "fake", "video_id"]) == sorted(parameters["video_id"])
    assert {path.name for path in out.iterdir()} == {*ok["path"], *ok["truth_path"]} - {""}
    assert all(file_sha256(out / row.path) == row.sha256 for row in ok.itertuples())
    assert all(tables.ID.fullmatch(row.video_id) for row in rows.itertuples())


def test_twins_have_the_same_codec_size_rate_and_length(made: tuple[Path, pd.DataFrame, pd.DataFrame]) -> None:
    out, rows, _ = made
    for _, twins in rows[rows["status"] == "ok"].groupby("identity"):
        assert len({tuple(vars(probe(out / path, OWN_FILES)).values()) for path in twins["path"]}) == 1
    assert {(w % 2, h % 2) for w, h in zip(rows["width"].dropna(), rows["height"].dropna(), strict=True)} == {(0, 0)}


def test_what_cannot_be_used_has_a_row_with_a_reason(made: tuple[Path, pd.DataFrame, pd.DataFrame]) -> None:
    _, rows, _ = made
    rejected = rows[rows["status"] == "rejected"].set_index("path")["reason"].to_dict()
    assert rejected.pop("real/broken.mp4").startswith("not decodable as a video")
    assert rejected == {
        "real/bars.mp4": "no face was found in it",
        "real/=empty.mp4": "the file is empty",
        "real/notes.txt": "not a video or picture (.txt)",
    }


def test_donors_are_in_the_same_group_of_two_people(made: tuple[Path, pd.DataFrame, pd.DataFrame]) -> None:
    _, rows, parameters = made
    ok = rows[rows["status"] == "ok"]
    group = ok["video_id"].map(groups(ok))
    assert ok.groupby(group)["identity"].nunique().tolist() == [2, 2, 1]
    swaps = parameters[parameters["method"] == "donor_swap"]
    assert (swaps["donor"] != "").all() and (swaps["donor"] != swaps["real"]).all()
    alone = ok.loc[group.isin(group.value_counts()[lambda sizes: sizes == 3].index)]
    assert set(alone["method"]) == {"none", "self_blend"}  # the last of an odd number has no donor


def test_a_still_picture_becomes_a_clip_of_one_frame(made: tuple[Path, pd.DataFrame, pd.DataFrame]) -> None:
    out, _, parameters = made
    still = parameters[parameters["real"] == "real/deep/still.png"]
    assert still["frames"].tolist() == [1, 1]
    for video_id in still["video_id"]:
        found = probe(out / f"{video_id}.mp4", OWN_FILES)
        assert (found.frames, found.width, found.height) == (1, 318, 238)
        assert np.load(out / f"{video_id}.npz")["mask"].shape == (1, 238, 318)


def test_the_parameters_and_masks_are_kept(made: tuple[Path, pd.DataFrame, pd.DataFrame]) -> None:
    out, _, parameters = made
    for row in parameters.itertuples():
        truth = np.load(out / f"{row.video_id}.npz")
        assert truth["mask"].dtype == np.uint8 and truth["landmarks"].shape == (row.frames, 5, 2)
        assert truth["mask"].reshape(row.frames, -1).any(axis=1).all()
        known = json.loads(row.parameters)
        names = {"source", "move"} if row.method == "self_blend" else {"gain", "offset", "donor_frames"}
        assert known.keys() == {"mask", "target"} | names
        assert truth["mask"].max() == np.ceil(255 * known["mask"]["ratio"])
        if row.method == "self_blend":
            assert (known["source"] is None) != (known["target"] is None)  # one of the two copies is altered


# --- pixels before encoding -----------------------------------------------------------------------


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Picture]]:
    """What is given to the encoder, by the name of the file; nothing is encoded."""
    given: dict[str, list[Picture]] = {}

    def encode(pictures: Iterator[Picture], fps: Fraction, quantizer: int, path: Path) -> None:
        given[path.name] = list(pictures)

    monkeypatch.setattr(clips, "encode", encode)
    return given


@pytest.mark.parametrize("seed", range(4))
def test_twins_are_equal_outside_the_mask(
    folder: Path, real: Real, tmp_path: Path, pixels: dict[str, list[Picture]], seed: int
) -> None:
    path = folder / "real/p0001_real.mp4"
    other = Source(path, file_sha256(path), None, None)
    donor = Real(other, track_of(other))
    render(Job(real, donor, ("self_blend", "donor_swap")), settings(seed=seed), LIMITS, tmp_path)
    for number in (0, 1):
        masks = np.load(tmp_path / f"{number}.npz")["mask"]
        for twin, fake, mask in zip(pixels["real.mp4"], pixels[f"{number}.mp4"], masks, strict=True):
            assert np.array_equal(twin[mask == 0], fake[mask == 0])
            assert (twin != fake).any()
    known = json.loads((tmp_path / clips.PARAMETERS).read_text())[0]["parameters"]
    original = [frame.picture for frame in read_video(real.source.path, range(5), OWN_FILES)]
    same = [any(np.array_equal(twin, picture) for picture in original) for twin in pixels["real.mp4"]]
    assert set(same) == {known["target"] is None}


def test_a_mask_of_zeros_gives_the_twin_back(
    real: Real, tmp_path: Path, pixels: dict[str, list[Picture]], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_mask = clips.masks.draw_mask
    monkeypatch.setattr(clips.masks, "draw_mask", lambda plan, rng: 0 * draw_mask(plan, rng))
    render(Job(real, None, ("self_blend",)), settings(), LIMITS, tmp_path)
    assert np.array_equal(pixels["real.mp4"], pixels["0.mp4"])
    assert not np.load(tmp_path / "0.npz")["mask"].any()


def test_an_altered_file_is_refused(real: Real, tmp_path: Path) -> None:
    job = Job(replace(real, source=replace(real.source, sha256="0" * 64)), None, ("self_blend",))
    with pytest.raises(AlteredFileError, match=r"p0000_real\.mp4 is not the file that was examined"):
        render(job, settings(), LIMITS, tmp_path)


# --- the same bytes -------------------------------------------------------------------------------


def digests(job: Job, chosen: PseudoFakeSettings, folder: Path) -> dict[str, str]:
    folder.mkdir()
    render(job, chosen, LIMITS, folder)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_seed_decides_the_bytes(real: Real, tmp_path: Path) -> None:
    job = Job(real, None, ("self_blend",))
    first = digests(job, settings(), tmp_path / "1")
    assert set(first) == {"real.mp4", "0.mp4", "0.npz", "parameters.json"}
    assert digests(job, settings(), tmp_path / "2") == first
    other = digests(job, settings(seed=2), tmp_path / "3")
    assert all(other[name] != first[name] for name in ("0.mp4", "0.npz", "parameters.json"))


def test_names_order_and_processes_do_not(
    folder: Path, made: tuple[Path, pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    """The same clips under other names, in another order, made by two processes from the same landmarks."""
    names = sorted(path.name for path in (folder / "real").glob("p*.mp4"))
    (tmp_path / "real").mkdir()
    for number, name in enumerate(reversed(names)):
        shutil.copy(folder / "real" / name, tmp_path / f"real/clip{number}.mp4")
    shutil.copytree(folder / "real/deep", tmp_path / "real/z")
    for track in (made[0].parent / "cache").glob("*/*/track.json"):  # a search would start TensorFlow twice
        shutil.copytree(track.parent, tmp_path / "cache" / track.parent.parent.name / track.parent.name)
    rows, parameters = videos.obtain(
        settings(), of_folder(tmp_path), LIMITS, tmp_path / "cache", tmp_path / "out", ComputeSettings(workers=2)
    )
    _, before, known = made

    def content(rows: pd.DataFrame, parameters: pd.DataFrame) -> set[tuple[object, ...]]:
        sha256 = rows.set_index("video_id")["sha256"]
        columns = ["method", "real_sha256", "donor_sha256", "seed", "parameters"]
        return {(*row, sha256[name]) for name, *row in parameters[["video_id", *columns]].itertuples(index=False)}

    assert content(tables.to_dataframe(rows, tables.VIDEOS), tables.to_dataframe(parameters, videos.TABLE)) == content(
        before, known
    )


def test_methods_take_turns_by_content() -> None:
    several = settings(per_clip=3)
    drawn = {methods_of(several, f"{n:064x}", True) for n in range(20)}
    assert drawn == {("self_blend", "donor_swap", "self_blend"), ("donor_swap", "self_blend", "donor_swap")}
    assert methods_of(several, "a", False) == ("self_blend",) * 3
    assert methods_of(settings(methods=["donor_swap"]), "a", False) == ()


# --- tracks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "reason"), [({0, 2}, ""), ({0, 1, 3}, "a face was found in less than half of its frames")]
)
def test_frames_without_a_face_are_left_out(
    real: Real, monkeypatch: pytest.MonkeyPatch, missing: set[int], reason: str
) -> None:
    select, seen = tracks.detection.select, itertools.count()
    monkeypatch.setattr(tracks.orientation, "rotation_of", lambda pictures, settings: 0)
    monkeypatch.setattr(
        tracks.detection, "select", lambda *given: ([], "no_face") if next(seen) in missing else select(*given)
    )
    track = track_of(real.source)
    kept = [name for n, name in enumerate(real.track.names) if n not in missing]
    assert (track.names, track.left_out, track.reason) == (kept, len(missing), reason)
    assert track.fps == real.track.fps


def test_a_long_clip_gives_its_middle(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "real/long.mp4", count=100, size=(64, 48))
    start, end = tracks.middle(probe(path, OWN_FILES).duration_s, 2.0)
    taken = tracks.take_frames(Source(path, file_sha256(path), start, end), settings(), LIMITS, tmp_path)
    numbers = [row["frame_number"] for row in taken["frames"]]
    assert (
        len(numbers) == 4 and min(numbers) >= 40 and max(numbers) <= 60 and np.mean(numbers) == pytest.approx(50, abs=1)
    )


def test_a_clip_on_its_side_is_turned(tmp_path: Path, real: Real) -> None:
    frames = [frame.picture for frame in read_video(real.source.path, range(4), OWN_FILES)]
    path = tmp_path / "real/turned.mp4"
    path.parent.mkdir()
    clips.encode((np.ascontiguousarray(np.rot90(frame)) for frame in frames), Fraction(10), 10, path)
    track = track_of(Source(path, file_sha256(path), None, None))
    assert (track.rotation, track.reason) == (90, "")
    assert np.abs(track.points()[:, 2] - real.track.points()[:4, 2].mean(axis=0)).max() < 10


# --- the stages -----------------------------------------------------------------------------------


def test_a_folder_without_faces_is_refused(folder: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "real/bars.mp4", size=(320, 240))
    with pytest.raises(StudyError, match=r"none of the 1 real clips .* \(1: no face was found in it\)"):
        videos.obtain(settings(), of_folder(tmp_path), LIMITS, tmp_path / "cache", tmp_path, ONE_PROCESS)
    with pytest.raises(StudyError, match=r"/real holds no video or picture; put the real videos there"):
        videos.obtain(settings(), of_folder(folder / "fake"), LIMITS, tmp_path / "cache", tmp_path, ONE_PROCESS)


def test_without_a_partner_a_clip_has_no_donor(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    shutil.copy(folder / "real/p0000_real.mp4", tmp_path / "real")
    with pytest.raises(StudyError, match=r"1: no other person's clip is left to be its donor"):
        videos.obtain(
            settings(methods=["donor_swap"]), of_folder(tmp_path), LIMITS, tmp_path / "cache", tmp_path, ONE_PROCESS
        )


def test_the_study_runs_on_pseudo_fakes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changes = {
        "source": "pseudo_fakes",
        "folder": {"path": str(folder)},
        "pseudo_fakes": {"max_frames": 4, "methods": ["self_blend"]},
        "compute": {"workers": 1},
        "split": {"test": 0.3, "validation": 0.3},
    }
    write_params(tmp_path, deep_update(params(), changes))
    assert "5 real + 10 fake usable" in videos_stage.main()
    frames_stage.main()
    faces_stage.main()
    videos_table = tables.read(Path("data/videos/index.csv"), tables.VIDEOS)
    tables.to_dataframe([], tables.DUPLICATES).to_csv("data/duplicates.csv", index=False)
    assert "test" in split_stage.main()
    assert tables.read(Path("data/videos/pseudo_fakes.csv"), videos.TABLE)["method"].eq("self_blend").all()
    found = tables.read(Path("data/faces/index.csv"), tables.FACES)
    share = found.groupby("label").size() / videos_table[videos_table["status"] == "ok"].groupby("label").size()
    assert (share > 1.5).all()  # of two frames a video
    split = tables.read(Path("data/split.csv"), tables.SPLIT)
    assert split.groupby("group")["subset"].apply(lambda subsets: subsets[subsets != "unused"].nunique()).max() == 1
