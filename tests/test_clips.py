"""What became of each clip: every one has a row, counts in are counts out, scores are those of the metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.dataset.clips import ENTERED, WORDS, clip_scores, clip_table, counted, with_scores
from facestudy.evaluation.scores import by_video, subset_scores
from stages import clips as stage

Rows = list[dict[str, Any]]
REASONS = ("no_face", "low_confidence", "size_below_60")


class Data:
    """The tables that the stages before `clips` write, filled clip by clip."""

    def __init__(self) -> None:
        self.rows: dict[str, Rows] = {
            name: [] for name in ("videos", "frames", "undecoded", "faces", "dropped", "split")
        }

    def add(
        self,
        label: str,
        status: str = "ok",
        subsets: tuple[str, ...] = (),
        dropped: tuple[str, ...] = (),
        repeats: int = 1,
    ) -> str:
        """A clip with a face for each subset and a frame without one for each reason; with neither, no frame."""
        video = f"v{len(self.rows['videos']):03}"
        reason = "" if status == "ok" else "the file is empty"
        row = {"video_id": video, "label": label, "origin": "folder", "path": f"{label}/{video}.mp4"}
        self.rows["videos"].append({**row, "status": status, "reason": reason})
        if status != "ok":
            return video
        if not subsets and not dropped:
            self.rows["undecoded"].append({"video_id": video, "reason": "2 of 2 frames cannot be decoded"})
        for number, what in enumerate([*subsets, *dropped]):
            frame = {"frame_id": f"{video}_{number}", "video_id": video}
            face = {**frame, "face_id": f"{video}_{number}_f0", "label": label}
            self.rows["frames"].append(frame)
            if number >= len(subsets):
                self.rows["dropped"].append({**face, "reason": what})
                continue
            self.rows["faces"].append(face)
            for repeat in range(1, repeats + 1):
                subset = what if repeat == 1 else "test"
                self.rows["split"].append(
                    {**face, "repeat": repeat, "subset": subset, "track_id": f"{video}_t0", "group": video}
                )
        return video

    def tables(self) -> dict[str, pd.DataFrame]:
        kinds = (tables.VIDEOS, tables.FRAMES, tables.UNDECODED, tables.FACES, tables.DROPPED, tables.SPLIT)
        return {
            name: tables.to_dataframe(rows, kind) for (name, rows), kind in zip(self.rows.items(), kinds, strict=True)
        }


@given(
    st.lists(
        st.tuples(
            st.sampled_from(tables.LABELS),
            st.sampled_from(("ok", "ok", "ok", "rejected", "unavailable")),
            st.sampled_from(("train", "validation", "test")),
            st.lists(st.booleans(), max_size=4),
            st.lists(st.sampled_from(REASONS), max_size=4),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_counts_in_are_counts_out(clips: list[tuple[str, str, str, list[bool], list[str]]]) -> None:
    data = Data()
    for label, status, subset, used, dropped in clips:
        data.add(label, status, tuple(subset if one else "unused" for one in used), tuple(dropped), repeats=2)
    given_tables = data.tables()
    found = clip_table(**given_tables)
    assert list(found.columns) == tables.CLIPS.names()
    assert list(found["video_id"]) == list(given_tables["videos"]["video_id"])
    for name in ("frames", "faces"):
        assert found[name].sum() == len(given_tables[name])
    assert found["kept"].sum() == sum(sum(used) for _, status, _, used, _ in clips if status == "ok")
    assert sum(found["status"].value_counts().get(status, 0) for status in WORDS) == len(clips)
    assert ((found["status"] == "used") == (found["kept"] > 0)).all()
    assert (found["status"].isin(ENTERED) == (found["faces"] > 0)).all()
    assert ((found["reason"] != "") | (found["status"] == "used")).all()
    in_reasons = found["reason"].str.findall(r"(\d+) (?:no_face|low_confidence|size_below_60)")
    assert sum(int(number) for numbers in in_reasons for number in numbers) == len(given_tables["dropped"])
    for subset, row in zip((clip[2] for clip in clips), found.itertuples(), strict=True):
        assert row.subset == {"used": subset, "unused": "unused"}.get(row.status, "")


def test_each_clip_says_what_was_lost() -> None:
    data = Data()
    data.add("real", subsets=("train", "train"), dropped=("no_face", "size_below_60", "no_face"))
    data.add("real", subsets=("unused",))
    data.add("fake", dropped=("no_face",))
    data.add("fake")
    data.add("fake", "rejected")
    found = with_scores(clip_table(**data.tables()), {"a.full": pd.Series({"v000": 0.25})})
    assert found[["status", "reason", "frames", "faces", "kept", "subset"]].to_numpy().tolist() == [
        ["used", "2 no_face, 1 size_below_60", 5, 2, 2, "train"],
        ["unused", "left out by the split", 1, 1, 0, "unused"],
        ["no_face", "1 no_face", 1, 0, 0, ""],
        ["no_frame", "2 of 2 frames cannot be decoded", 0, 0, 0, ""],
        ["rejected", "the file is empty", 0, 0, 0, ""],
    ]
    assert found["a.full"].iloc[0] == 0.25 and found["a.full"].iloc[1:].isna().all()
    assert counted(found) == (
        "5 clips: 1 used, 1 left out by the split, 1 without a face, 1 without a frame, 1 rejected"
    )


def predictions(seed: int) -> pd.DataFrame:
    """Clips of two persons with different numbers of faces."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "face_id": f"v{video}-{track}-{face}",
            "video_id": f"v{video}",
            "track_id": f"v{video}_t{track}",
            "group": f"v{video}",
            "label": tables.LABELS[video % 2],
            "subset": "test",
            "p_fake": rng.random().__round__(6),
        }
        for video in range(8)
        for track in range(2)
        for face in range(1 + (video + track) % 3)
    ]
    return tables.to_dataframe(rows, tables.PREDICTIONS)


def test_scores_are_those_of_the_metrics(tmp_path: Path) -> None:
    files = [tmp_path / f"{seed}.csv" for seed in (1, 2)]
    for seed, file in enumerate(files):
        tables.write(file, predictions(seed), tables.PREDICTIONS)
    read = {file: tables.read(file, tables.PREDICTIONS) for file in files}
    found = clip_scores(list(read.values()))
    assert list(found.index) == [f"v{video}" for video in range(8)]
    np.testing.assert_allclose(found, by_video(subset_scores(read, "test")).p_fake.mean(axis=0), atol=1e-12)


def test_the_stage_writes_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = Data()
    for video in range(8):
        data.add(tables.LABELS[video % 2], subsets=("test",))
    data.add("real", "rejected")
    files = ("videos/index", "frames/index", "frames/dropped", "faces/index", "faces/dropped", "split")
    kinds = (tables.VIDEOS, tables.FRAMES, tables.UNDECODED, tables.FACES, tables.DROPPED, tables.SPLIT)
    for name, table, kind in zip(files, data.tables().values(), kinds, strict=True):
        tables.write(Path(f"data/{name}.csv"), table, kind)
    assert stage.main() == "9 clips: 8 used, 1 rejected (data/clip_counts.csv)"
    before = Path("data/clip_counts.csv").read_bytes()
    assert tables.read(Path("data/clip_counts.csv"), tables.CLIPS)["kept"].tolist() == [1] * 8 + [0]
    stage.main()
    assert Path("data/clip_counts.csv").read_bytes() == before
    Path("data/faces/dropped.csv").unlink()
    with pytest.raises(StudyError, match=r"data/faces/dropped\.csv is missing"):
        stage.main()
    assert Path("data/clip_counts.csv").read_bytes() == before
