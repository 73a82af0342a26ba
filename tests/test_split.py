"""Groups never straddle, classes are balanced, shares are met, and too little is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facestudy.errors import StudyError
from facestudy.split import SplitSettings, assign, check_split, draw, groups, make_split

SETTINGS = SplitSettings(seed=1, faces_per_class=None, test=0.2, validation=0.15)


def tables(videos: list[tuple[str, str, str, str, int]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Faces and videos from (video_id, label, identity, donor, number of faces)."""
    video_rows = pd.DataFrame(
        [(v, label, person, donor, "m", f"hash-{v}") for v, label, person, donor, _ in videos],
        columns=["video_id", "label", "identity", "donor", "method", "sha256"],
    )
    face_rows = [(f"{v}_{i:03d}", v, label) for v, label, _, _, count in videos for i in range(count)]
    return pd.DataFrame(face_rows, columns=["face_id", "video_id", "label"]), video_rows


def twins(people: int, faces: int = 4) -> tuple[pd.DataFrame, pd.DataFrame]:
    return tables(
        [
            (f"p{n}_{label}", label, f"p{n}", f"d{n}" if label == "fake" else "", faces)
            for n in range(people)
            for label in ("real", "fake")
        ]
    )


def test_groups_join_over_person_donor_and_content() -> None:
    _, videos = tables(
        [
            ("a", "real", "ann", "", 1),
            ("b", "fake", "bob", "ann", 1),
            ("c", "real", "cat", "", 1),
            ("d", "real", "", "", 1),
            ("e", "fake", "", "", 1),
        ]
    )
    videos.loc[4, "sha256"] = videos.loc[2, "sha256"]  # the same bytes under two names
    found = groups(videos)
    assert found.to_dict() == {"a": "a", "b": "a", "c": "c", "d": "d", "e": "c"}


def reference_components(videos: pd.DataFrame) -> set[frozenset[str]]:
    """Connected components by repeated merging, to hold the real ones against."""
    sets = [
        ({row.video_id}, {("p", name) for name in (row.identity, row.donor) if name} | {("s", row.sha256)})
        for row in videos.itertuples()
    ]
    merged = True
    while merged:
        merged = False
        for i in range(len(sets)):
            for j in range(i + 1, len(sets)):
                if sets[i][1] & sets[j][1]:
                    sets[i] = (sets[i][0] | sets[j][0], sets[i][1] | sets[j][1])
                    del sets[j]
                    merged = True
                    break
            if merged:
                break
    return {frozenset(ids) for ids, _ in sets}


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from(["", "a", "b", "c", "d"]), st.sampled_from(["", "a", "b", "e"])),
        min_size=1,
        max_size=12,
    )
)
def test_groups_are_the_connected_components(people: list[tuple[str, str]]) -> None:
    _, videos = tables([(f"v{n:02d}", "real", person, donor, 1) for n, (person, donor) in enumerate(people)])
    found = groups(videos)
    sets = {frozenset(ids) for ids in found.groupby(found).groups.values()}
    assert sets == reference_components(videos)
    assert all(group in ids for group, ids in found.groupby(found).groups.items())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["real", "fake"]), st.integers(0, 30), st.integers(1, 9)), min_size=40, max_size=120
    ),
    st.integers(0, 5),
)
def test_no_group_straddles_and_classes_balance(rows: list[tuple[str, int, int]], seed: int) -> None:
    faces, videos = tables(
        [(f"v{n:03d}", label, f"p{person}", "", count) for n, (label, person, count) in enumerate(rows)]
    )
    try:
        split = make_split(faces, videos, SETTINGS.model_copy(update={"seed": seed}))
    except StudyError:
        return  # a draw with a class missing or all in one group
    used = split[split["subset"] != "unused"]
    assert used.groupby("group")["subset"].nunique().max() == 1
    assert (used["label"] == "real").sum() == (used["label"] == "fake").sum()
    assert len(split) == len(faces)


def test_twins_are_shared_out_exactly() -> None:
    split = make_split(*twins(120), SETTINGS)
    counts = split.groupby(["subset", "label"]).size().unstack()
    assert counts.loc["test"].tolist() == [96, 96]
    assert abs(counts.loc["validation", "fake"] - 480 * 0.8 * 0.15) <= 4
    assert split.loc[split["subset"] == "test", "group"].nunique() == 24


def test_same_seed_same_split_other_seed_other_split() -> None:
    faces, videos = twins(40)
    once, again = (make_split(faces.sample(frac=1, random_state=n), videos, SETTINGS) for n in (1, 2))
    columns = ["face_id", "subset"]
    assert (
        once[columns].sort_values("face_id").to_numpy().tolist()
        == again[columns].sort_values("face_id").to_numpy().tolist()
    )
    other = make_split(faces, videos, SETTINGS.model_copy(update={"seed": 2}))
    assert set(other.loc[other["subset"] == "test", "group"]) != set(once.loc[once["subset"] == "test", "group"])


def test_the_draw_is_even_over_videos() -> None:
    faces, _ = tables(
        [(f"v{n}", "real", "", "", 50) for n in range(5)] + [(f"w{n}", "fake", "", "", 3) for n in range(5)]
    )
    used = draw(faces, None, 1)
    chosen = faces[used].groupby("video_id").size()
    assert (chosen == 3).all()
    assert faces[draw(faces, 7, 1)].groupby("label").size().tolist() == [7, 7]
    assert faces[draw(faces, 7, 1)].groupby("video_id").size().max() == 2


def test_shares_of_single_pictures_as_in_the_paper() -> None:
    faces, videos = tables([(f"{label}{n:04d}", label, "", "", 1) for label in ("real", "fake") for n in range(2000)])
    split = make_split(faces, videos, SETTINGS)
    counts = split.groupby(["subset", "label"]).size()
    assert counts["test"].tolist() == [400, 400]
    assert counts["train"].tolist() == [1360, 1360]


def test_one_class_only_is_refused() -> None:
    faces, videos = tables([("a", "real", "", "", 5)])
    with pytest.raises(StudyError, match="no fake face to split; both classes are needed"):
        make_split(faces, videos, SETTINGS)


def test_too_few_groups_are_refused_with_their_number() -> None:
    with pytest.raises(StudyError, match="2 groups .* are too few to share out. Add videos"):
        make_split(*twins(2), SETTINGS)


def test_a_straddling_group_is_refused() -> None:
    split = make_split(*twins(20), SETTINGS)
    split.loc[split.index[0], "subset"] = "test" if split.loc[split.index[0], "subset"] != "test" else "train"
    with pytest.raises(StudyError, match="lies in more than one subset"):
        check_split(split)


def test_a_giant_group_does_not_starve_the_test_set() -> None:
    """Donors can join most people into one component: it goes to train, the rest is shared out."""
    counts = pd.DataFrame({"real": [300, *[5] * 40], "fake": [300, *[5] * 40]}, index=[f"g{n:02d}" for n in range(41)])
    subset = assign(counts, SETTINGS)
    assert subset["g00"] == "train"
    total = counts.to_numpy().sum()
    for name, share in SETTINGS.shares().items():
        have = counts[subset == name].to_numpy().sum() / total
        assert have == pytest.approx(share, abs=0.02), name
    assert np.isin(["train", "validation", "test"], subset).all()
