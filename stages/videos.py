"""The videos named by `source`: data/videos/index.csv, and the clips themselves where the study makes them."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take seconds
    from facestudy.runtime.processes import begin

    begin()

from pathlib import Path
from typing import Any

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.media.settings import DecodingSettings
from facestudy.pseudo_fakes import videos as pseudo_fakes
from facestudy.pseudo_fakes.settings import PseudoFakeSettings
from facestudy.runtime.parallel import ComputeSettings
from facestudy.runtime.work_cache import WorkCache
from facestudy.sample import videos as sample
from facestudy.sample.clips import SampleSettings
from facestudy.sources import folder, youtube
from facestudy.sources.folder import FolderSettings
from facestudy.sources.summary import summary
from facestudy.sources.youtube import YoutubeSettings
from stages.stage import WORK_CACHE, check_disk_space, output_folder, read_params, run, section

CACHE = WORK_CACHE / "videos"
Rows = list[dict[str, object]]


def from_sample(params: dict[str, Any], out: Path) -> Rows:
    settings = section(params, "sample", SampleSettings)
    boxes = section(params, "regions", dict[str, Box])
    check_disk_space(sample.expected_bytes(settings))
    return sample.obtain(settings, boxes, CACHE, out, section(params, "compute", ComputeSettings))


def from_folder(params: dict[str, Any], out: Path) -> Rows:
    """Nothing is copied: `out` stays empty."""
    limits = section(params, "decoding", DecodingSettings).limits
    return folder.obtain(section(params, "folder", FolderSettings), limits, section(params, "compute", ComputeSettings))


def from_youtube(params: dict[str, Any], out: Path) -> Rows:
    settings = section(params, "youtube", YoutubeSettings)
    limits = section(params, "decoding", DecodingSettings).limits
    cache = WorkCache(CACHE)
    links, repeats = youtube.wanted(settings, cache)
    print(youtube.announcement(links, repeats, settings), flush=True)
    check_disk_space(1e9 * youtube.expected_video_gb(len(links), settings))
    rows = youtube.store(youtube.obtain(links, settings, limits, cache), out)
    print(youtube.report(rows), flush=True)
    youtube.check_enough(rows, settings)
    return rows


def from_pseudo_fakes(params: dict[str, Any], out: Path) -> Rows:
    settings = section(params, "pseudo_fakes", PseudoFakeSettings)
    source = section(params, "folder", FolderSettings)
    limits = section(params, "decoding", DecodingSettings).limits
    check_disk_space(pseudo_fakes.expected_bytes(source, settings))
    rows, made = pseudo_fakes.obtain(settings, source, limits, CACHE, out, section(params, "compute", ComputeSettings))
    tables.write(out / "pseudo_fakes.csv", tables.to_dataframe(made, pseudo_fakes.TABLE), pseudo_fakes.TABLE)
    return rows


SOURCES = {
    "sample": from_sample,
    "folder": from_folder,
    "youtube": from_youtube,
    "pseudo_fakes": from_pseudo_fakes,
}


def main() -> str:
    params = read_params()
    source = section(params, "source", str)
    if source not in SOURCES:
        raise StudyError(f"params.yaml: source = {source!r} is not one of {', '.join(SOURCES)}.")
    with output_folder(Path("data/videos")) as out:
        index = tables.to_dataframe(SOURCES[source](params, out), tables.VIDEOS)
        tables.write(out / "index.csv", index, tables.VIDEOS)
        return summary(index)  # refuses when a class has no usable video; nothing is left then


if __name__ == "__main__":
    run("videos", main)
