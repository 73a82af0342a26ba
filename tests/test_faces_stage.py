"""The stage `faces`: everyone in a clip, followed by track, and what thresholds on quality drop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from facestudy.faces.detection import FaceSettings
from facestudy.faces.extraction import rows_of
from facestudy.faces.quality import exclusion_table, summary
from facestudy.media.archive import write_picture
from facestudy.sample.clips import draw, list_clips
from tests.project import deep_update, params, stage, write_params
from tests.test_sample import REGIONS
from tests.test_sample import settings as sample_settings

LIMITED = FaceSettings.model_validate(
    deep_update(params()["faces"], {"all": True, "quality": {"min_size": 40, "max_brightness": 200}})
)
Answer = dict[str, Any]


def found(x: float, size: float, brightness: float = 100) -> dict[str, Any]:
    measures = {"size": size, "sharpness": 50.0, "brightness": brightness, "landmark_error": 0.1, "blockiness": 1.0}
    return {"x": x, "y": 10.0, "w": size, "h": size, **measures, "path": f"{x}.png"}


def test_all_faces_keep_tracks_and_poor_ones_are_dropped() -> None:
    answers: list[Answer] = [
        {"faces": [found(200, 60), found(10, 50)], "reason": ""},
        {"faces": [], "reason": "no_face"},
        {"faces": [found(12, 52), found(205, 38), found(400, 90, 220)], "reason": ""},
    ]
    kept, dropped = rows_of("v", "fake", ["v_0", "v_1", "v_2"], answers, LIMITED)
    assert [(row["face_id"], row["track_id"]) for row in kept] == [
        ("v_0_f0", "v_t0"),
        ("v_0_f1", "v_t1"),
        ("v_2_f0", "v_t1"),
    ]
    assert [(row["face_id"], row["reason"]) for row in dropped] == [
        ("v_1_f0", "no_face"),
        ("v_2_f1", "size_below_40"),
        ("v_2_f2", "brightness_above_200"),
    ]
    one = [{**answer, "faces": answer["faces"][:1]} for answer in answers]
    largest, _ = rows_of("v", "fake", ["v_0", "v_1", "v_2"], one, LIMITED.model_copy(update={"all": False}))
    assert {row["track_id"] for row in largest} == {"v_t0"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two people side by side, the right one smaller; real ones and fake ones."""
    folder = tmp_path_factory.mktemp("pairs")
    wanted = sample_settings(people=6, seconds=0.1, width=320, height=240)
    drawn = {label: [clip for clip in list_clips(wanted) if clip.label == label] for label in ("real", "fake")}
    for label, own in drawn.items():
        (folder / label).mkdir()
        for number in range(3):
            left, right = (next(draw(clip, wanted, REGIONS)).picture for clip in own[2 * number : 2 * number + 2])
            small = np.pad(right[::2, ::2], ((60, 60), (80, 80), (0, 0)), constant_values=128)
            write_picture(folder / label / f"{number}.png", np.hstack([left, small]))
    return folder


def test_the_stage_finds_both_and_says_what_a_threshold_took(tmp_path: Path, pairs: Path) -> None:
    changes = {"folder": {"path": str(pairs)}, "faces": {"all": True}, "compute": {"workers": 1}}
    values = deep_update(params(), {"source": "folder", **changes})
    write_params(tmp_path, values)
    for name in ("videos", "frames", "faces"):
        done = stage(tmp_path, name)
        assert done.returncode == 0, done.stderr
    everyone = pd.read_csv(tmp_path / "data/faces/index.csv")
    per_picture = everyone.groupby("video_id")["track_id"].nunique()
    assert len(per_picture) == 6 and (per_picture == 2).sum() >= 4  # MTCNN misses a drawn face now and then
    assert (everyone.sort_values("face_id").groupby("video_id")["size"].first() > everyone["size"].median()).all()
    for path in everyone["path"]:
        assert (tmp_path / "data/faces" / path).is_file()

    small = int((everyone["size"] < 80).sum())
    assert small >= 4
    write_params(tmp_path, deep_update(values, {"faces": {"quality": {"min_size": 80}}}))
    done = stage(tmp_path, "faces")
    assert done.returncode == 0, done.stderr
    assert f"{len(everyone) - small} faces out" in done.stdout
    dropped = pd.read_csv(tmp_path / "data/faces/dropped.csv")
    assert (dropped["reason"] == "size_below_80").sum() == small
    table = pd.read_csv(tmp_path / "metrics/faces.csv").set_index("reason")
    assert table.loc["size_below_80", ["real_dropped", "fake_dropped"]].sum() == small
    assert list(exclusion_table([]).columns) == list(table.reset_index().columns)

    write_params(tmp_path, deep_update(values, {"faces": {"quality": {"min_size": 500}}}))
    done = stage(tmp_path, "faces")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"no face is left of 6 frames ({len(everyone)} size_below_500" in done.stderr


def test_the_summary_tells_how_many_clips_were_turned() -> None:
    rows = [{"video_id": f"v{n // 2}", "label": "real", "rotation": 90 * (n // 4)} for n in range(12)]
    assert summary(12, rows, []).splitlines()[1:] == ["  4 videos turned upright (column `rotation` of the faces)"]
    assert len(summary(4, rows[:4], []).splitlines()) == 1
