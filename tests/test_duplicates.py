"""The same clip is found again after re-encoding, other people's are not, and pairs are counted right."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from facestudy.core.regions import Box
from facestudy.dataset import duplicates
from facestudy.dataset.duplicates import BITS, DuplicateSettings, find, hash_of, summary
from facestudy.sample.clips import draw, list_clips
from tests.project import params
from tests.test_sample import REGIONS
from tests.test_sample import settings as sample_settings

LIMITS = DuplicateSettings.model_validate(params()["duplicates"])


def about(ids: list[str], **columns: list[str]) -> pd.DataFrame:
    data = pd.DataFrame({"video_id": ids, "label": ["real" if id.startswith("r") else "fake" for id in ids]})
    for name in ("identity", "donor"):
        data[name] = columns.get(name, [""] * len(ids))
    data["sha256"] = columns.get("sha256", [f"bytes of {id}" for id in ids])
    return data


def test_duplicates_survive_reencoding_and_resizing(tmp_path: Path) -> None:
    regions: dict[str, Box] = REGIONS
    wanted = sample_settings(people=12, seconds=0.1, width=320, height=240)
    pictures = [next(draw(clip, wanted, regions)).picture for clip in list_clips(wanted) if clip.label == "real"]
    hashes, videos, faces = [], [], []
    for number, picture in enumerate(pictures):
        small = cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
        for kind, shown, options in (("r", picture, []), ("f", small, [cv2.IMWRITE_JPEG_QUALITY, 25])):
            path = tmp_path / f"{kind}{number:02d}{'.jpg' if options else '.png'}"
            cv2.imwrite(str(path), cv2.cvtColor(shown, cv2.COLOR_RGB2BGR), options)
            hashes.append(hash_of(path))
            videos.append(path.stem)
            faces.append({"video_id": path.stem})
    found = find(about(videos), pd.DataFrame(faces), np.array(hashes), LIMITS)
    assert set(zip(found["first"], found["second"], strict=True)) == {(f"f{n:02d}", f"r{n:02d}") for n in range(12)}
    assert (found["kind"] == "near").all() and (found["same_person"] == "unknown").all()
    assert "12 near pairs (12 of a real and a fake, 12 not known to show one person)" in summary(found)


def flipped(bits: np.ndarray, count: int) -> np.ndarray:
    other = bits.copy()
    other[:count] ^= True
    return other


def test_half_of_the_faces_of_the_shorter_clip_have_to_match() -> None:
    rng = np.random.default_rng(3)
    long, other = rng.random((8, BITS)) < 0.5, rng.random((3, BITS)) < 0.5
    two_of_four = np.array([flipped(long[0], 32), flipped(long[5], 3), *other[:2]])
    one_of_three = np.array([flipped(long[1], 0), flipped(long[2], 33), other[2]])
    faces = pd.DataFrame({"video_id": ["r1"] * 8 + ["f2"] * 4 + ["r3"] * 3})
    hashes = np.concatenate([long, two_of_four, one_of_three])
    videos = about(["r1", "f2", "r3"], identity=["ann", "bob", "cat"], donor=["", "ann", ""])
    (pair,) = find(videos, faces, hashes, LIMITS).to_dict("records")
    assert (pair["first"], pair["second"], pair["first_label"], pair["second_label"]) == ("f2", "r1", "fake", "real")
    assert (pair["faces"], pair["matched"], pair["distance"], pair["same_person"]) == (4, 2, 3, "yes")
    thirds = LIMITS.model_copy(update={"min_share": 0.3})
    assert len(find(videos, faces, hashes, thirds)) == 2
    assert find(videos, faces, hashes, LIMITS.model_copy(update={"max_distance": None})).empty


def test_identical_files_are_pairs_with_the_first_of_them() -> None:
    rng = np.random.default_rng(4)
    hashes = rng.random((4, BITS)) < 0.5
    hashes[1] = hashes[0]
    hashes[3] = flipped(hashes[0], 10)
    videos = about(["r2", "r1", "f3", "f4"], sha256=["same", "same", "same", "own"])
    faces = pd.DataFrame({"video_id": ["r1", "r2", "f3", "f4"]})
    found = find(videos, faces, hashes, LIMITS)
    kinds = {(row["first"], row["second"]): row["kind"] for row in found.to_dict("records")}
    assert kinds == {("f3", "r1"): "identical", ("f3", "r2"): "identical"}


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 40)), min_size=2, max_size=20),
    st.integers(1, 20),
)
def test_pairs_are_those_of_a_plain_double_loop(drawn: list[tuple[int, int, int]], block: int) -> None:
    centres = np.random.default_rng(9).random((4, BITS)) < 0.5
    rows = [(f"r{video}", flipped(centres[centre], bits)) for video, centre, bits in drawn]
    ids = sorted({video for video, _ in rows})
    expected = set()
    for i, first in enumerate(ids):
        for second in ids[i + 1 :]:
            one, two = ([bits for video, bits in rows if video == name] for name in (first, second))
            few, many = (one, two) if len(one) <= len(two) else (two, one)
            matched = sum(min((a != b).sum() for b in many) <= 32 for a in few)
            if matched >= len(few) / 2 and matched:
                expected.add((first, second, matched))
    faces, hashes = pd.DataFrame({"video_id": [video for video, _ in rows]}), np.array([bits for _, bits in rows])
    with mock.patch.object(duplicates, "BLOCK", block):
        found = find(about(ids), faces, hashes, LIMITS)
    assert {tuple(row) for row in found[["first", "second", "matched"]].to_numpy().tolist()} == expected
