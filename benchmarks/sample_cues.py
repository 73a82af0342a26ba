"""What the sample gives away, how well MTCNN sees its faces, and how fast it is drawn.

    python -m benchmarks.sample_cues [--people N] [--seed S] [--artefact A]

Renders the sample of params.yaml into a temporary folder, looks at the frames that the study takes
(section `frames`) and prints the figures that docs/sample.md quotes.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from facestudy.controls.audit import CONTROLS, regression
from facestudy.controls.cues import face_cues, file_cues, surroundings
from facestudy.core.regions import LANDMARKS, Box
from facestudy.core.settings import check
from facestudy.faces.detection import FaceSettings
from facestudy.faces.extraction import find_faces
from facestudy.media.frames import FrameSettings, choose
from facestudy.media.video import OWN_FILES, probe, read_video
from facestudy.runtime.parallel import ComputeSettings, map_items
from facestudy.sample.clips import Clip, SampleSettings, draw, list_clips, render
from stages.stage import read_params, section


def timed_render(clip: Clip, settings: SampleSettings, regions: dict[str, Box], folder: Path) -> float:
    """CPU seconds that rendering a clip took."""
    start = time.process_time()
    render(clip, settings, regions, folder)
    return time.process_time() - start


def background_error(clip: Clip, settings: SampleSettings, regions: dict[str, Box], folder: Path) -> float:
    """Root mean square error of the decoded clip against its source, away from the face, grey levels.

    "Away" is where neither twin's mask reaches, 16 pixels wide (a macroblock) around it left out.
    """
    fake = next(c for c in list_clips(settings) if c.identity == clip.identity and c.label == "fake")
    with np.load(folder / f"{fake.video_id}.npz") as truth:
        altered = truth["mask"].any(axis=0)
    rows, columns = np.flatnonzero(altered.any(axis=1)), np.flatnonzero(altered.any(axis=0))
    away = np.ones(altered.shape, bool)
    if len(rows):
        away[max(0, rows[0] - 16) : rows[-1] + 17, max(0, columns[0] - 16) : columns[-1] + 17] = False
    decoded = read_video(folder / f"{clip.video_id}.mp4", range(settings.frames), OWN_FILES)
    squares = [
        np.mean((frame.picture[away].astype(float) - source.picture[away]) ** 2)
        for frame, source in zip(decoded, draw(clip, settings, regions), strict=True)
    ]
    return float(np.sqrt(np.mean(squares)))


def cross_validated_auc(cues: pd.DataFrame, control: str, folds: int = 5) -> float:
    """AUC of the audit's regression on one of CONTROLS; nobody is in training and test of a fold at once."""
    scores = np.zeros(len(cues))
    for training, test in GroupKFold(folds).split(cues, groups=cues["person"]):
        fitted = cues.iloc[training]
        scores[test] = regression(fitted, fitted, cues.iloc[test], CONTROLS[control])
    return float(roc_auc_score(cues["label"] == "fake", scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--artefact")
    options = parser.parse_args()
    params = read_params()
    changes = {key: getattr(options, key) for key in ("people", "seed", "artefact")}
    values = {**params["sample"], **{key: value for key, value in changes.items() if value is not None}}
    settings = check(SampleSettings, values, "sample")
    regions = section(params, "regions", dict[str, Box])
    face_settings = section(params, "faces", FaceSettings)
    with tempfile.TemporaryDirectory() as name:
        numbers = choose(settings.frames, section(params, "frames", FrameSettings))
        report(settings, regions, face_settings, section(params, "compute", ComputeSettings), Path(name), numbers)


def report(
    settings: SampleSettings,
    regions: dict[str, Box],
    face_settings: FaceSettings,
    compute: ComputeSettings,
    folder: Path,
    numbers: list[int],
) -> None:
    clips = list_clips(settings)
    work = functools.partial(timed_render, settings=settings, regions=regions, folder=folder)
    seconds = sum(map_items(work, clips, compute, "render"))
    size = sum((folder / f"{clip.video_id}.mp4").stat().st_size for clip in clips)
    frames = len(clips) * settings.frames
    print(
        f"sample: {len(clips)} clips, {frames} frames {settings.width}x{settings.height}, "
        f"seed {settings.seed}, {settings.artefact}"
    )
    print(f"rendering: {1000 * seconds / frames:.1f} ms of CPU a frame, {size / 2**20:.1f} MiB of video")

    table, offsets, scales = [], [], []
    found = dict.fromkeys(("real", "fake"), 0)
    for clip in clips:
        path = folder / f"{clip.video_id}.mp4"
        pictures = [frame.picture for frame in read_video(path, numbers, OWN_FILES)]
        chosen = [next(iter(faces), None) for faces, _ in find_faces(pictures, face_settings)]
        of_file = file_cues(path, vars(probe(path, OWN_FILES)))
        of_clip = {"video_id": clip.video_id, "label": clip.label, "person": clip.person, **of_file}
        table += [
            {**of_clip, **surroundings(face), **face_cues(face, settings.width, settings.height)}
            for face in chosen
            if face is not None
        ]
        with np.load(folder / f"{clip.video_id}.npz") as truth:
            for number, face in zip(numbers, chosen, strict=True):
                if face is not None:
                    found[clip.label] += 1
                    points = truth["landmarks"][number].astype(float)
                    offsets.append((face.landmarks - points) / np.hypot(*(points[1] - points[0])))
                    scales.append(face.w)
    share = sum(found.values()) / (len(clips) * len(numbers))
    print(f"MTCNN: a face above confidence {face_settings.min_confidence} in {share:.1%} of all frames")
    for label, count in found.items():
        share = count / (settings.people * len(numbers))
        print(f"MTCNN: a face above confidence {face_settings.min_confidence} in {share:.1%} of the {label} frames")
    error = np.hypot(*np.moveaxis(np.array(offsets), -1, 0))
    print(
        f"landmarks: mean error {error.mean():.3f}, 95th percentile {np.quantile(error, 0.95):.3f} "
        "of the eyes' distance"
    )
    for landmark, (x, y), e in zip(LANDMARKS, np.mean(offsets, axis=0), error.mean(axis=0), strict=True):
        print(f"  {landmark}: mean offset {x:+.3f}, {y:+.3f}; mean error {e:.3f}")
    print(
        f"box: {np.mean(scales):.0f} pixels wide on average, "
        f"{np.quantile(scales, 0.05):.0f} to {np.quantile(scales, 0.95):.0f}"
    )

    errors = [[background_error(clip, settings, regions, folder) for clip in clips[k : k + 2]] for k in range(0, 40, 2)]
    real, fake = np.mean(errors, axis=0)
    print(f"background error: {real:.3f} real, {fake:.3f} fake grey levels ({fake / real - 1:+.2%}), first 20 people")
    for control in CONTROLS:
        auc = cross_validated_auc(pd.DataFrame(table), control)
        print(f"AUC of a logistic regression on {control.replace('_', ' ')}: {auc:.3f}")


if __name__ == "__main__":
    main()
