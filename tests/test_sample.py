"""The built-in sample: same bytes, artefacts where they should be, twins alike everywhere else."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facestudy.core.errors import StudyError
from facestudy.core.regions import CANONICAL_LANDMARKS, Box, to_canonical
from facestudy.core.settings import check
from facestudy.faces import detection
from facestudy.media.video import OWN_FILES, probe, read_video
from facestudy.sample.clips import Clip, Drawing, SampleSettings, draw, inner_face, list_clips, render
from facestudy.sample.people import draw_light, draw_person, mixed_light, paint_head
from tests.project import params

REGIONS: dict[str, Box] = {
    "face": (0.08, 0.06, 0.92, 0.98),
    "eyes": (0.17, 0.26, 0.83, 0.47),
    "lower_face": (0.17, 0.64, 0.83, 0.98),
}
VALUES = {
    "seed": 7,
    "people": 2,
    "artefact": "everywhere",
    "seconds": 0.3,
    "fps": 10,
    "width": 160,
    "height": 120,
    "bottleneck": 64,
    "feather": 0.03,
    "noise": 3.0,
    "quantizer": 20,
}
ARTEFACTS = ("everywhere", "eyes", "lower_face", "eyes_lower", "outside_eyes_lower")


def settings(**changes: object) -> SampleSettings:
    return check(SampleSettings, {**VALUES, **changes}, "sample")


def twins(person: int = 0, **changes: object) -> tuple[list[Drawing], list[Drawing]]:
    """The drawings of a person's real and fake clip."""
    chosen = settings(**changes)
    real, fake = list_clips(chosen)[2 * person : 2 * person + 2]
    return list(draw(real, chosen, REGIONS)), list(draw(fake, chosen, REGIONS))


def canonical(drawing: Drawing) -> tuple[np.ndarray, np.ndarray]:
    """Canonical x and y of every pixel."""
    height, width = drawing.mask.shape
    matrix = to_canonical(drawing.landmarks)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return tuple(row[0] * x + row[1] * y + row[2] for row in matrix)


def within(box: Box, x: np.ndarray, y: np.ndarray, by: float = 0.0) -> np.ndarray:
    return (x > box[0] - by) & (x < box[2] + by) & (y > box[1] - by) & (y < box[3] + by)


def test_a_real_and_a_fake_clip_for_each_person() -> None:
    found = list_clips(settings(people=3))
    assert [clip.video_id for clip in found[:2]] == ["p0000_real", "p0000_fake"]
    assert [clip.donor for clip in found] == ["", "d0000", "", "d0001", "", "d0002"]
    assert {clip.method for clip in found} == {"none", "everywhere"}
    assert all(clip.donor == "" for clip in list_clips(settings(artefact="none")))


SCRIPT = """
import hashlib, sys
from pathlib import Path
from tests.test_sample import REGIONS, settings
from facestudy.sample.clips import render, list_clips
folder, order = Path(sys.argv[1]), int(sys.argv[2])
chosen = settings()
for clip in list_clips(chosen)[::order]:
    render(clip, chosen, REGIONS, folder)
"""


def test_same_bytes_from_two_processes_in_any_order(tmp_path: Path) -> None:
    digests = []
    for order in (1, -1):
        folder = tmp_path / str(order)
        folder.mkdir()
        command = [sys.executable, "-c", SCRIPT, str(folder), str(order)]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
        digests.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()})
    assert len(digests[0]) == 8
    assert digests[0] == digests[1]


def test_a_clip_does_not_depend_on_how_many_people_there_are(tmp_path: Path) -> None:
    for people in (2, 5):
        chosen = settings(people=people)
        (tmp_path / str(people)).mkdir()
        render(list_clips(chosen)[3], chosen, REGIONS, tmp_path / str(people))
    first, second = ((tmp_path / name / "p0001_fake.mp4").read_bytes() for name in ("2", "5"))
    assert first == second


def test_seeds_and_people_differ() -> None:
    chosen = settings()
    one = next(draw(list_clips(chosen)[0], chosen, REGIONS)).picture
    other_person = next(draw(list_clips(chosen)[2], chosen, REGIONS)).picture
    other_seed = next(draw(list_clips(chosen)[0], settings(seed=8), REGIONS)).picture
    for other in (other_person, other_seed):
        assert np.abs(one.astype(int) - other).mean() > 10


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_the_mask_is_zero_outside_the_artefact_and_its_edge(artefact: str) -> None:
    real, fake = twins(artefact=artefact, noise=0.0)
    eyes, lower, feather = REGIONS["eyes"], REGIONS["lower_face"], 0.03
    for before, after in zip(real, fake, strict=True):
        x, y = canonical(after)
        allowed = {
            "everywhere": within(inner_face(REGIONS), x, y, feather),
            "eyes": within(eyes, x, y, feather),
            "lower_face": within(lower, x, y, feather),
            "eyes_lower": within(eyes, x, y, feather) | within(lower, x, y, feather),
            "outside_eyes_lower": within(inner_face(REGIONS), x, y, feather)
            & ~within(eyes, x, y, 0.999 * feather)
            & ~within(lower, x, y, 0.999 * feather),
        }[artefact]
        assert (after.mask > 0).any()
        assert not after.mask[~allowed].any()
        # Without noise, pixels that the mask does not name are untouched, and those it does differ.
        assert (before.picture == after.picture)[after.mask == 0].all()
        assert np.abs(before.picture.astype(int) - after.picture)[after.mask > 200].mean() > 1


def test_the_twin_of_none_differs_by_noise_alone() -> None:
    real, fake = twins(artefact="none")
    for before, after in zip(real, fake, strict=True):
        assert not after.mask.any()
        np.testing.assert_array_equal(before.landmarks, after.landmarks)
        difference = before.picture.astype(float) - after.picture
        assert abs(difference.mean()) < 0.1
        assert 2 < difference.std() < 8  # sqrt(2) x 3 grey levels, times the camera's gain
    quiet = twins(artefact="none", noise=0.0)
    assert all((a.picture == b.picture).all() for a, b in zip(*quiet, strict=True))


def test_twins_share_the_take() -> None:
    for before, after in zip(*twins(), strict=True):
        np.testing.assert_array_equal(before.landmarks, after.landmarks)
        assert not before.mask.any()


def test_landmarks_lie_on_the_face_and_move() -> None:
    for person in range(4):
        chosen = settings(people=4, seconds=1.0)
        drawings = list(draw(list_clips(chosen)[2 * person], chosen, REGIONS))
        points = np.array([drawing.landmarks for drawing in drawings])
        assert (points > 0).all() and (points < [chosen.width, chosen.height]).all()
        assert np.ptp(points, axis=0).max() > 0.5
        for drawing in drawings:
            aligned = to_canonical(drawing.landmarks)
            back = drawing.landmarks @ aligned[:, :2].T + aligned[:, 2]
            assert np.abs(back - CANONICAL_LANDMARKS).max() < 0.05


def test_the_files_hold_the_frames_and_the_truth(tmp_path: Path) -> None:
    chosen = settings()
    fake = list_clips(chosen)[1]
    render(fake, chosen, REGIONS, tmp_path)
    drawings = list(draw(fake, chosen, REGIONS))
    found = probe(tmp_path / "p0000_fake.mp4", OWN_FILES)
    assert (found.codec, found.width, found.height, found.frames) == ("h264", 160, 120, 3)
    with np.load(tmp_path / "p0000_fake.npz") as truth:
        assert truth["landmarks"].shape == (3, 5, 2)
        np.testing.assert_allclose(truth["landmarks"], [d.landmarks for d in drawings], atol=1e-4)
        np.testing.assert_array_equal(truth["mask"], [d.mask for d in drawings])
    for frame, drawing in zip(read_video(tmp_path / "p0000_fake.mp4", range(3), OWN_FILES), drawings, strict=True):
        assert np.abs(frame.picture.astype(float) - drawing.picture).mean() < 8


def test_the_background_is_coded_equally_well_in_both_twins(tmp_path: Path) -> None:
    chosen = settings(people=4, seconds=1.0, width=320, height=240)
    errors = {"real": [0.0], "fake": [0.0]}
    for pair in zip(list_clips(chosen)[::2], list_clips(chosen)[1::2], strict=True):
        altered = np.max([drawing.mask for drawing in draw(pair[1], chosen, REGIONS)], axis=0) > 0
        for clip in pair:
            render(clip, chosen, REGIONS, tmp_path)
            decoded = read_video(tmp_path / f"{clip.video_id}.mp4", range(chosen.frames), OWN_FILES)
            for frame, source in zip(decoded, draw(clip, chosen, REGIONS), strict=True):
                squares = (frame.picture.astype(float) - source.picture)[~altered] ** 2
                errors[clip.label].append(float(squares.mean()))
    assert np.mean(errors["fake"]) == pytest.approx(np.mean(errors["real"]), rel=0.03)


def test_every_state_of_eyes_and_mouth_is_its_own_picture() -> None:
    rng = np.random.default_rng(3)
    head = paint_head(draw_person(rng), draw_light(rng), 0.0, 100.0)
    pictures = {head.picture(eyes, mouth).tobytes() for eyes in range(4) for mouth in range(6)}
    assert len(pictures) == 24
    assert np.isfinite(head.base).all() and head.base[..., 3].max() <= 1 and head.base.min() >= 0


def test_a_mixed_light_goes_from_one_to_the_other() -> None:
    rng = np.random.default_rng(4)
    first, second = draw_light(rng), draw_light(rng)
    for share, end in ((0.0, first), (1.0, second)):
        mixed = mixed_light(first, second, share)
        np.testing.assert_allclose(mixed.direction, end.direction)
        assert mixed.ambient == pytest.approx(end.ambient)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("width", 161, "even"),
        ("people", 1, "greater than or equal to 2"),
        ("bottleneck", 32, "greater than or equal to 64"),
        ("artefact", "ears", "'everywhere'"),
        ("noise", -1.0, "greater than or equal to 0"),
        ("quantizer", 60, "less than or equal to 51"),
        ("seconds", 0.0, "greater than 0"),
        ("fps", "ten", "integer"),
        ("colour", 1, "known here: seed, people"),
    ],
)
def test_settings_out_of_range_are_refused(key: str, value: object, says: str) -> None:
    with pytest.raises(StudyError, match=rf"params\.yaml: sample\.{key}.*{says}"):
        settings(**{key: value})


def test_a_missing_region_is_named() -> None:
    chosen = settings(artefact="eyes")
    with pytest.raises(StudyError, match="needs the region eyes"):
        next(draw(list_clips(chosen)[1], chosen, {"lower_face": REGIONS["lower_face"]}))


def test_mtcnn_sees_the_faces_where_they_are() -> None:
    chosen = settings(people=24, seconds=0.1, width=320, height=240)
    wanted = detection.FaceSettings.model_validate(params()["faces"])

    def of(label: str) -> list[Clip]:
        return [clip for clip in list_clips(chosen) if clip.label == label][:12]

    drawings = [next(draw(clip, chosen, REGIONS)) for clip in of("real") + of("fake")]
    pictures = [drawing.picture for drawing in drawings]
    found = [
        next(iter(detection.select(seen, picture.shape, wanted)[0]), None)
        for seen, picture in zip(detection.detect(pictures, wanted), pictures, strict=True)
    ]
    errors = [
        np.hypot(*(face.landmarks - drawing.landmarks).T).mean()
        / np.hypot(*(drawing.landmarks[1] - drawing.landmarks[0]))
        for face, drawing in zip(found, drawings, strict=True)
        if face is not None
    ]
    assert len(errors) >= 0.85 * len(drawings)  # 95 % and more of a large sample; this one is small
    assert np.mean(errors) < 0.06
