"""The preset `youtube` from links to the results table, against a server that stands in for the lists."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.media_server import links, serving, write_list
from tests.project import SMALL, call, copy_project, deep_update, environment_for, params, stage, write_params
from tests.test_youtube import FAST


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
        "youtube": FAST,
        "compute": {"workers": 1},
    }
    values = deep_update(params(), tiny)
    values["models"] = {"mesonet": values["models"]["mesonet"]}
    project = copy_project(tmp_path, values)
    with serving(clips, stall_s=4) as server:
        wanted = links(server)
        write_list(project / "data/lists/local.csv", wanted)
        settings = ["youtube.lists=[{path: data/lists/local.csv}]", "frames.per_video=2", "variants=[full]"]
        settings += ["crops.size=[64,64]", f"models.mesonet.input_size={SMALL['input_size']}"]
        settings += [f"models.mesonet.epochs={SMALL['epochs']}", "models.vgg19=null", "models.resnet50=null"]
        done = subprocess.run(
            ["python", "-m", "commands.study", "run", "youtube", *settings],
            cwd=project, env=environment_for(project), capture_output=True, text=True, timeout=270,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "disk: videos" in done.stdout and done.stdout.index("disk: videos") < done.stdout.index("Running stage")
    assert "normal (full)" in done.stdout and "The study is the DVC experiment youtube" in done.stdout
    made = project / "studies/youtube"
    requests = pd.read_csv(made / "data/videos/requests.csv", keep_default_na=False)
    found = dict(zip(requests["url"], zip(requests["label"], requests["reason"], strict=True), strict=True))
    assert found == wanted
    # Twins of one take come under names that say nothing: those that are found are kept on one side.
    pairs = pd.read_csv(made / "data/duplicates.csv")
    split = pd.read_csv(made / "data/split.csv")
    sides = split[split["subset"] != "unused"].groupby("video_id")["subset"].first()
    both = pairs[pairs["first"].isin(sides.index) & pairs["second"].isin(sides.index)]
    assert len(both) and (sides[both["first"]].to_numpy() == sides[both["second"]].to_numpy()).all()
    assert call(project, "dvc", "exp", "list", "--name-only").stdout.split()[-1] == "youtube"
