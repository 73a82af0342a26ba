"""How fake does a clip look to a detector? One line for each person in it.

    facestudy predict clip.mp4                                   # by the published MesoNet detectors
    facestudy predict folder/ "more/*.mp4" https://…/clip.mp4    # several
    facestudy predict clip.mp4 --model mesonet --variant full --study studies/mine

Exit status: 0 every source has a score, 1 wrong use or no source has a score, 2 some have a score and some have none.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from commands.arguments import Parser, status_of
from facestudy.faces.detection import FaceSettings
from facestudy.media.frames import FrameSettings
from facestudy.media.settings import DecodingSettings
from facestudy.media.video import Limits, MediaError
from facestudy.prediction import published, text
from facestudy.prediction.annotated import write_video
from facestudy.prediction.answer import Answer, ClipAnswer, about, not_scored, scored
from facestudy.prediction.clip import Examined, examine, minimum
from facestudy.prediction.detectors import Detector
from facestudy.prediction.pictures import write_report
from facestudy.prediction.trained import trained
from facestudy.runtime.work_cache import ROOT, WorkCache
from facestudy.sources import youtube
from facestudy.sources.folder import make_id
from facestudy.sources.layouts import MEDIA_SUFFIXES, media_below, others_below
from facestudy.sources.links import Link
from facestudy.sources.user_files import called
from facestudy.sources.youtube import YoutubeSettings
from stages.stage import PARAMS, read_params, section

SETTINGS = ROOT / PARAMS
FRAMES = 10
"""Frames of a clip that are examined, unless --frames says how many."""
EVERY, NONE, SOME = 0, 1, 2
"""Exit status."""


def add_detectors(parser: argparse.ArgumentParser) -> None:
    """The options of `prepared`, without --study: its default is another one on the page."""
    parser.add_argument("--model", default="", help="a model of a study; default: the published detectors")
    parser.add_argument("--variant", default="", help="the crop variant that the model was trained on")
    parser.add_argument("--seed", default="", help="one training of the model; default: all of them")
    parser.add_argument("--allow-sample", action="store_true", help="use models that have seen drawn people only")
    parser.add_argument("--weights", type=Path, help="a folder with the published weights; nothing is fetched")
    parser.add_argument("--frames", type=int, default=FRAMES, help=f"frames of a clip to examine; default: {FRAMES}")


def check_detectors(parser: argparse.ArgumentParser, found: argparse.Namespace) -> None:
    """Refuse values of these options that do not go together."""
    if not 1 <= found.frames <= 1000:
        parser.error(f"--frames {found.frames}: give 1 to 1000")
    if bool(found.model) != bool(found.variant):
        parser.error("--model and --variant go together, as in --model mesonet --variant full")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What is asked for; from the command line by default."""
    parser = Parser("predict", __doc__, "facestudy predict")
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="video, picture, folder, pattern or link")
    parser.add_argument("--study", type=Path, default=Path(), help="the study's folder; default: the current one")
    add_detectors(parser)
    parser.add_argument("--faces", action="store_true", help="also a line for each face")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text (docs/one-clip.md)")
    parser.add_argument("--schema", action="store_true", help="print the schema of this JSON, and do nothing else")
    parser.add_argument("--out", type=Path, help="a folder for the faces as pictures, scores over time, CSV and JSON")
    parser.add_argument("--video", action="store_true", help="also the clip with boxes and scores, in --out")
    found = parser.parse_args(words)
    if not found.sources and not found.schema:
        parser.error("give a video, a picture, a folder, a pattern or a link")
    check_detectors(parser, found)
    if found.video and found.out is None:
        parser.error("--video needs --out, the folder to write to")
    if found.model and found.weights:
        parser.error("--weights is for the published detectors; a study has its own")
    if not found.model and (found.seed or found.allow_sample or found.study != Path()):
        parser.error("--study, --seed and --allow-sample need --model and --variant")
    return found


def files_of(source: str) -> Iterator[tuple[str, str]]:
    """The files that a source names, each with why it is not examined, or ""."""
    path = Path(source)
    try:
        if path.is_dir():
            found = [*media_below(path, "")]
            for name in found:
                yield str(path / name), ""
            for name in others_below(path, "", MEDIA_SUFFIXES):
                yield str(path / name), "not a video or picture"
            if not found:
                yield source, "the folder holds no video or picture"
        elif os.path.lexists(path):
            yield source, "" if path.suffix.lower() in MEDIA_SUFFIXES else "not a video or picture, by its suffix"
        elif glob.has_magic(source):
            matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207  (Path.glob takes no absolute pattern)
            for match in matches:
                yield from files_of(match)
            if not matches:
                yield source, "the pattern matches no file"
        else:
            yield source, "there is no such file"
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        yield source, f"cannot be read ({getattr(error, 'strerror', None) or error})"


def fetched(url: str, settings: YoutubeSettings, limits: Limits, folder: Path) -> Path:
    """Download a link into a folder as the stage `videos` does. Raises MediaError."""
    allowed = settings.model_copy(update={"extractors": [*settings.extractors, "generic"]})
    (outcome,) = youtube.obtain([Link(url, "")], allowed, limits, WorkCache(folder))
    if outcome.entry is None:
        raise MediaError(f"the link gives no video ({outcome.reason}: {outcome.detail})")
    return outcome.entry / str(youtube.probe_of(outcome.entry)["file"])


@dataclass(frozen=True)
class Work:
    """The tools that examine and score clips, the folder for pictures, if any, and whether it gets a video."""

    detectors: Sequence[Detector]
    frames: FrameSettings
    faces: FaceSettings
    limits: Limits
    links: YoutubeSettings
    out: Path | None = None
    video: bool = False


def clips_of(sources: Sequence[str], work: Work) -> Iterator[ClipAnswer]:
    """What is known of each file of each source."""
    for source in sources:
        if source.lower().startswith(("http://", "https://")):
            yield clip_of(source, "", work, link=True)
            continue
        for name, reason in files_of(source):
            yield clip_of(name, reason, work)


def clip_of(name: str, reason: str, work: Work, link: bool = False) -> ClipAnswer:
    """What is known of a file or link; `reason` says why it is not examined."""
    source = called(name)
    with tempfile.TemporaryDirectory(prefix="facestudy-") as private:
        try:
            if reason:
                raise MediaError(reason)
            path = fetched(name, work.links, work.limits, Path(private) / "link") if link else Path(name)
            clip, found = seen(source, path, work, Path(private))
        except MediaError as error:
            return not_scored(source, str(error))
        if work.out is not None and found.found:
            write_report(work.out, clip, found, work.detectors[0])
            if work.video and clip.duration_s:
                write_annotated(path, clip, work, work.out)
    return clip


def write_annotated(path: Path, clip: ClipAnswer, work: Work, out: Path) -> None:
    """Write the clip with its boxes and scores into a folder; standard error has the reason where it is cut short."""
    target = out / f"{make_id(clip.source)}_scores.mp4"
    if reason := write_video(path, clip, work.frames, work.limits, target):
        print(f"predict: {clip.source}: the video is cut short: {reason}.", file=sys.stderr)


def seen(source: str, path: Path, work: Work, private: Path) -> tuple[ClipAnswer, Examined]:
    """What is known of a file that is called `source`, and its faces; frames go to a private folder.

    Raises MediaError when the file cannot be used.
    """
    frames = private / "frames"
    frames.mkdir()
    found = examine(path, work.frames, work.faces, work.limits, frames)
    return scored(source, found, work.detectors), found


def prepared(wanted: argparse.Namespace, cells: Sequence[tuple[str, str]] = ()) -> Work:
    """The detectors that are asked for, with the settings that go with them.

    They are those of --model and --variant, or else of `cells` (models and variants of the study), or else the
    published ones. Settings that no study fixes are those of the project's params.yaml, wherever the command runs.
    """
    params = read_params(SETTINGS)
    count = {"per_video": wanted.frames, "every": None, "max_per_video": wanted.frames}
    frames = section(params, "frames", FrameSettings, SETTINGS)
    faces = section(params, "faces", FaceSettings, SETTINGS)
    if chosen := [(wanted.model, wanted.variant)] if wanted.model else cells:
        seed, sample = wanted.seed, wanted.allow_sample
        found = [trained(wanted.study, model, variant, seed, sample) for model, variant in chosen]
        detectors, frames, faces = [one.detector for one in found], found[0].frames, found[0].faces
    else:
        detectors = published.detectors(wanted.weights or published.cache_folder(), fetch=wanted.weights is None)
        count |= {"format": "png", "max_side": None}  # as in the clip, whatever the study here does
    return Work(
        detectors,
        frames.model_copy(update=count),
        minimum(faces),
        section(params, "decoding", DecodingSettings, SETTINGS).limits,
        section(params, "youtube", YoutubeSettings, SETTINGS),
    )


def status(clips: Sequence[ClipAnswer]) -> int:
    """The exit status for these answers."""
    there = [clip.status == "scored" for clip in clips]
    return EVERY if all(there) and there else SOME if any(there) else NONE


def predict(wanted: argparse.Namespace) -> int:
    """Do what is asked for, and return the exit status."""
    if wanted.schema:
        print(json.dumps(Answer.model_json_schema(), indent=2))
        return EVERY
    work = replace(prepared(wanted), out=wanted.out, video=wanted.video)
    if wanted.out is not None:
        wanted.out.mkdir(parents=True, exist_ok=True)
    detectors = [about(detector) for detector in work.detectors]
    say: Any = (lambda lines: None) if wanted.json else (lambda lines: print("\n".join(lines), flush=True))
    clips: list[ClipAnswer] = []
    for clip in clips_of(wanted.sources, work):
        if clip.status == "scored" and not any(earlier.status == "scored" for earlier in clips):
            say(text.heading(detectors))
        clips.append(clip)
        say(text.of_clip(clip, wanted.faces))
    if footer := text.footer(clips):
        say(footer)
    answer = Answer(detectors=detectors, clips=clips).model_dump_json(indent=2)
    if wanted.json:
        print(answer)
    if wanted.out is not None:
        (wanted.out / "predict.json").write_text(answer + "\n", encoding="utf-8")
    return status(clips)


def main() -> NoReturn:
    sys.exit(status_of("predict", lambda: predict(arguments())))


if __name__ == "__main__":
    main()
