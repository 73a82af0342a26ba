"""Real clips behind a server that breaks every third link. A file of its own, so that both cores have work."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from facestudy.runtime.work_cache import file_sha256
from tests.media_server import links, serving, write_list
from tests.project import deep_update, params, stage, write_params
from tests.test_youtube import FAST


def test_real_clips_behind_broken_links(outside_data: Path, tmp_path: Path) -> None:
    """Reasons exact, nothing lost, nothing fetched twice; what a kill leaves is in tests/test_youtube.py."""
    with serving(outside_data / "videos", stall_s=4) as server:
        wanted = links(server)
        assert len(wanted) >= 30 and len({reason for _, reason in wanted.values()}) == 8  # ok and seven reasons

        (tmp_path / "data/lists").mkdir(parents=True)
        write_list(tmp_path / "data/lists/local.csv", wanted)
        changes = {**FAST, "max_filesize_mb": 60.0, "lists": [{"path": "data/lists/local.csv"}]}
        write_params(tmp_path, deep_update(params(), {"source": "youtube", "youtube": changes}))
        done = stage(tmp_path, "videos")
        assert done.returncode == 0, done.stderr
        requests = pd.read_csv(tmp_path / "data/videos/requests.csv", keep_default_na=False).set_index("video_id")
        assert dict(zip(requests["url"], requests["reason"], strict=True)) == {
            url: reason for url, (_, reason) in wanted.items()
        }
        for path in (tmp_path / "data/videos").glob("*.mp4"):
            label, name = requests.loc[path.stem, "url"].split("/")[-2:]
            assert file_sha256(path) == file_sha256(outside_data / "videos" / label / name)
        before = server.requests.copy()
        assert stage(tmp_path, "videos").returncode == 0
        asked = {path.split("/")[1] for path, count in server.requests.items() if count > before[path]}
        assert asked == {"always_busy", "down", "stall"}  # what may pass; nothing that came is fetched again
