"""The preset `youtube` from links to the results table, against a server that stands in for the lists."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from facestudy.work_cache import file_sha256
from tests.media_server import links, serving, write_list
from tests.project import call, copy_project, deep_update, environment_for, params, stage, write_params
from tests.test_pipeline import SMALL
from tests.test_youtube import FAST, outputs


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sample clips as files of other people: real/ and fake/, names without a meaning."""
    folder = tmp_path_factory.mktemp("rendered")
    write_params(folder, deep_update(params(), {"sample": {"people": 12, "seconds": 0.4, "fps": 5}}))
    done = stage(folder, "videos")
    assert done.returncode == 0, done.stderr
    for number, row in enumerate(pd.read_csv(folder / "data/videos/index.csv").itertuples()):
        target = folder / "clips" / str(row.label) / f"{number * 7919 % 1000:03d}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "data/videos" / str(row.path), target)
    return folder / "clips"


@pytest.mark.timeout(280)
def test_the_preset_runs_from_links_to_the_results_table(tmp_path: Path, clips: Path) -> None:
    tiny = {
        "crops": {"size": [64, 64], "sheet_faces": 2},
        "split": {"test": 0.34, "validation": 0.3},
        "models": {"mesonet": SMALL},
        "seeds": [1],
        "evaluate": {"resamples": 200},
        "youtube": FAST,
    }
    values = deep_update(params(), tiny)
    values["models"] = {"mesonet": values["models"]["mesonet"]}
    project = copy_project(tmp_path, values)
    with serving(clips, stall_s=4) as server:
        wanted = links(server)
        write_list(project / "data/lists/local.csv", wanted)
        settings = ["youtube.lists=[{path: data/lists/local.csv}]", "frames.per_video=2", "variants=[full]"]
        done = subprocess.run(
            ["python", "study.py", "run", "youtube", *settings],
            cwd=project, env=environment_for(project), capture_output=True, text=True, timeout=270,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "disk: videos" in done.stdout and done.stdout.index("disk: videos") < done.stdout.index("Running stage")
    assert "normal (full)" in done.stdout and "This is the experiment youtube" in done.stdout
    requests = pd.read_csv(project / "data/videos/requests.csv", keep_default_na=False)
    found = dict(zip(requests["url"], zip(requests["label"], requests["reason"], strict=True), strict=True))
    assert found == wanted
    # Twins of one take come under names that say nothing: those that are found are kept on one side.
    pairs = pd.read_csv(project / "data/duplicates.csv")
    split = pd.read_csv(project / "data/split.csv")
    sides = split[split["subset"] != "unused"].groupby("video_id")["subset"].first()
    both = pairs[pairs["first"].isin(sides.index) & pairs["second"].isin(sides.index)]
    assert len(both) and (sides[both["first"]].to_numpy() == sides[both["second"]].to_numpy()).all()
    assert call(project, "dvc", "exp", "list", "--name-only").stdout.split()[-1] == "youtube"


def test_real_clips_behind_broken_links(outside_data: Path, tmp_path: Path) -> None:
    """Reasons exact, nothing lost, nothing fetched twice, and the same bytes after a kill."""
    with serving(outside_data / "videos", stall_s=4) as server:
        wanted = links(server)
        assert len(wanted) >= 30 and len({reason for _, reason in wanted.values()}) == 8  # ok and seven reasons

        def project(name: str) -> Path:
            (tmp_path / name / "data/lists").mkdir(parents=True)
            write_list(tmp_path / name / "data/lists/local.csv", wanted)
            changes = {**FAST, "max_filesize_mb": 60.0, "lists": [{"path": "data/lists/local.csv"}]}
            write_params(tmp_path / name, deep_update(params(), {"source": "youtube", "youtube": changes}))
            return tmp_path / name

        undisturbed = project("undisturbed")
        done = stage(undisturbed, "videos")
        assert done.returncode == 0, done.stderr
        requests = pd.read_csv(undisturbed / "data/videos/requests.csv", keep_default_na=False).set_index("video_id")
        assert dict(zip(requests["url"], requests["reason"], strict=True)) == {
            url: reason for url, (_, reason) in wanted.items()
        }
        for path in (undisturbed / "data/videos").glob("*.mp4"):
            label, name = requests.loc[path.stem, "url"].split("/")[-2:]
            assert file_sha256(path) == file_sha256(outside_data / "videos" / label / name)
        before = server.requests.copy()
        assert stage(undisturbed, "videos").returncode == 0
        asked = {path.split("/")[1] for path, count in server.requests.items() if count > before[path]}
        assert asked == {"always_busy", "down", "stall"}  # what may pass; nothing that came is fetched again

        killed = project("killed")
        process = subprocess.Popen(
            ["python", "-m", "stages.videos"],
            cwd=killed, env=environment_for(Path.cwd()), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(6)
        process.kill()
        process.wait()
        assert stage(killed, "videos").returncode == 0
        assert outputs(killed) == outputs(undisturbed)
