"""Groups never straddle, classes are balanced, shares are met, and too little is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facestudy.core.errors import StudyError
from facestudy.dataset.split import SplitSettings, assign, check_split, draw, groups, make_split, summary

SETTINGS = SplitSettings(seed=1, faces_per_class=None, faces_per_video=None, official=True, test=0.2, validation=0.15)


def tables(videos: list[tuple[str, str, str, str, int]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Faces and videos from (video_id, label, identity, donor, number of faces)."""
    video_rows = pd.DataFrame(
        [(v, label, person, donor, "m", "") for v, label, person, donor, _ in videos],
        columns=["video_id", "label", "identity", "donor", "method", "official_subset"],
    )
    face_rows = [(f"{v}_{i:03d}", v, f"{v}_t0", label) for v, label, _, _, count in videos for i in range(count)]
    return pd.DataFrame(face_rows, columns=["face_id", "video_id", "track_id", "label"]), video_rows


def drawable(faces: pd.DataFrame, methods: dict[str, str] | None = None) -> pd.DataFrame:
    """The columns that `draw` wants; methods by video id."""
    return faces.assign(method=faces["video_id"].map(methods or {}).fillna("m"), official="")


def with_settings(**changes: object) -> SplitSettings:
    return SETTINGS.model_copy(update=changes)


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
    found = groups(videos, [("c", "e")])
    assert found.to_dict() == {"a": "a", "b": "a", "c": "c", "d": "d", "e": "c"}


def reference_components(videos: pd.DataFrame) -> set[frozenset[str]]:
    """Connected components by repeated merging, to hold the real ones against."""
    sets = [({row.video_id}, {name for name in (row.identity, row.donor) if name}) for row in videos.itertuples()]
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
    used = draw(drawable(faces), SETTINGS)
    chosen = faces[used].groupby("video_id").size()
    assert (chosen == 3).all()
    seven = faces[draw(drawable(faces), with_settings(faces_per_class=7))]
    assert seven.groupby("label").size().tolist() == [7, 7]
    assert seven.groupby("video_id").size().max() == 2
    two = faces[draw(drawable(faces), with_settings(faces_per_video=2))]
    assert (two.groupby("video_id").size() == 2).all()


def test_the_draw_is_even_over_methods_before_videos() -> None:
    """Two videos of one method and twenty of another: half of the fakes come from each, while they last."""
    fakes = {f"f{n:02d}": "rare" if n < 2 else "common" for n in range(22)}
    faces, _ = tables([(v, "fake", "", "", 20) for v in fakes] + [(f"r{n:02d}", "real", "", "", 20) for n in range(22)])
    data = drawable(faces, fakes)
    chosen = data[draw(data, with_settings(faces_per_class=60)) & (data["label"] == "fake")]
    assert chosen.groupby("method").size().to_dict() == {"common": 30, "rare": 30}
    assert chosen.groupby("video_id").size().loc[["f00", "f01"]].tolist() == [15, 15]
    everything = data[draw(data, SETTINGS) & (data["label"] == "fake")]
    assert everything.groupby("method").size().to_dict() == {"common": 400, "rare": 40}


def test_shares_of_single_pictures_as_in_the_paper() -> None:
    faces, videos = tables([(f"{label}{n:04d}", label, "", "", 1) for label in ("real", "fake") for n in range(2000)])
    split = make_split(faces, videos, SETTINGS)
    counts = split.groupby(["subset", "label"]).size()
    assert counts["test"].tolist() == [400, 400]
    assert counts["train"].tolist() == [1360, 1360]


def official(videos: pd.DataFrame, subsets: dict[str, str]) -> pd.DataFrame:
    return videos.assign(official_subset=videos["video_id"].map(subsets).fillna("train"))


def test_official_split_gives_validation_from_training() -> None:
    faces, videos = twins(60)
    tested = {f"p{n}_{label}": "test" for n in range(20) for label in ("real", "fake")}
    split = make_split(faces, official(videos, tested), SETTINGS)
    by_video = split.groupby("video_id")["subset"].first()
    assert set(by_video.index[by_video == "test"]) == set(tested)
    assert (split.groupby("group")["subset"].nunique() == 1).all()
    assert split["subset"].value_counts().to_dict() == {"train": 272, "test": 160, "validation": 48}
    with_validation = official(videos, tested | {"p30_real": "validation", "p30_fake": "validation"})
    split = make_split(faces, with_validation, SETTINGS)
    assert set(split.loc[split["subset"] == "validation", "video_id"]) == {"p30_real", "p30_fake"}
    ignored = make_split(faces, with_validation, with_settings(official=False))
    assert set(ignored.loc[ignored["subset"] == "test", "video_id"]) != set(tested)
    # What has no test part is no split.
    assert make_split(faces, official(videos, {}), SETTINGS).equals(make_split(faces, videos, SETTINGS))


def test_validation_exists_when_everyone_is_swapped() -> None:
    """Celeb-DF: donors join all of its people into one component."""
    people = [(f"p{n}_real", "real", f"p{n}", "", 2) for n in range(30)]
    people += [(f"p{n}_{m}_fake", "fake", f"p{n}", f"p{m}", 2) for n in range(30) for m in ((n + 1) % 30, (n + 7) % 30)]
    faces, videos = tables(people)
    tested = {video: "test" for video in videos["video_id"] if video.startswith(("p0_", "p1_", "p2_", "p3_"))}
    split = make_split(faces, official(videos, tested), SETTINGS)
    shown = videos.set_index("video_id")["identity"]
    sides = split.assign(person=split["video_id"].map(shown))
    sides = sides[sides["subset"].isin(["train", "validation"])].groupby("person")["subset"].nunique()
    assert (sides == 1).all()
    counts = split.groupby(["subset", "label"]).size()
    assert counts["validation", "fake"] >= 4 and counts["validation", "real"] >= 4
    with pytest.raises(StudyError, match="too few to share out"):
        make_split(faces, videos, SETTINGS)  # by person and donor there is one group


def test_an_official_split_balances_each_subset_on_its_own() -> None:
    faces, videos = tables(
        [(f"r{n:02d}", "real", f"r{n}", "", 10) for n in range(40)]
        + [(f"f{n:02d}", "fake", "", "", 10) for n in range(60)]
    )
    subsets = {f"r{n:02d}": "test" for n in range(10)} | {f"f{n:02d}": "test" for n in range(50)}
    split = make_split(faces, official(videos, subsets), with_settings(faces_per_class=100))
    counts = split.groupby(["subset", "label"]).size().unstack()
    assert counts.loc["test"].tolist() == [50, 50]
    assert counts.loc[["train", "validation"]].sum().tolist() == [50, 50]


def test_official_split_with_people_on_both_sides() -> None:
    faces, videos = twins(60)
    tested = {f"p{n}_real": "test" for n in range(20)} | {f"p{n + 1}_fake": "test" for n in range(20)}
    pairs = pd.DataFrame({"first": ["p3_real"], "second": ["p40_real"]})
    split = make_split(faces, official(videos, tested), SETTINGS, pairs)
    assert set(split.loc[split["video_id"] == "p40_real", "subset"]) == {"unused"}
    assert set(split.loc[split["video_id"] == "p3_real", "subset"]) == {"test"}
    # p0 is tested as real and fitted on as fake, p20 the other way round; donors differ.
    said = summary(split, videos)
    assert "warning" in said and "2 of the people in test are also in training or validation" in said
    assert "warning" not in summary(make_split(faces, videos, SETTINGS), videos)


def test_an_official_split_of_some_videos_only_is_refused() -> None:
    faces, videos = twins(60)
    videos.loc[:20, "official_subset"] = "test"
    with pytest.raises(StudyError, match="99 of 120 videos, as p10_fake, have no official subset; leave them out"):
        make_split(faces, videos, SETTINGS)


def test_duplicates_join_groups() -> None:
    faces, videos = twins(60)
    pairs = pd.DataFrame({"first": ["p1_real"], "second": ["p2_fake"]})
    split = make_split(faces, videos, SETTINGS, pairs).groupby("video_id")["group"].first()
    assert split["p1_real"] == split["p1_fake"] == split["p2_real"] == split["p2_fake"]
    assert split["p3_real"] != split["p1_real"]


def test_one_class_only_is_refused() -> None:
    faces, videos = tables([("a", "real", "", "", 5)])
    with pytest.raises(StudyError, match="no fake face to split; both classes are needed"):
        make_split(faces, videos, SETTINGS)


def test_too_few_groups_are_refused_with_their_number() -> None:
    with pytest.raises(StudyError, match="2 groups .* are too few to share out. Add videos"):
        make_split(*twins(2), SETTINGS)


def test_the_leak_divides_faces_and_keeps_their_groups() -> None:
    faces, videos = twins(40)
    honest, leaky = make_split(faces, videos, SETTINGS), make_split(faces, videos, with_settings(unit="face"))
    assert leaky.drop(columns="subset").equals(honest.drop(columns="subset"))
    shares = leaky.groupby("label")["subset"].value_counts(normalize=True)
    for name, share in SETTINGS.shares().items():
        assert shares[:, name].to_numpy() == pytest.approx(share, abs=0.02), name
    trained = set(leaky.query("subset == 'train'")["group"])
    assert leaky.query("subset == 'test'")["group"].isin(trained).mean() > 0.9
    assert not honest.query("subset == 'test'")["group"].isin(honest.query("subset == 'train'")["group"]).any()
    fewer = make_split(faces, videos, with_settings(unit="face", train_share=0.5))
    assert (fewer["subset"] == "train").sum() == pytest.approx((leaky["subset"] == "train").sum() / 2, abs=2)
    official = videos.assign(official_subset=["test" if name < "p2" else "train" for name in videos["video_id"]])
    assert make_split(faces, official, with_settings(unit="face"))["subset"].equals(leaky["subset"])


def test_a_straddling_group_is_refused() -> None:
    split = make_split(*twins(20), SETTINGS)
    split.loc[split.index[0], "subset"] = "test" if split.loc[split.index[0], "subset"] != "test" else "train"
    with pytest.raises(StudyError, match="lies in more than one subset"):
        check_split(split)


def test_a_giant_group_does_not_starve_the_test_set() -> None:
    """Donors can join most people into one component: it goes to train, the rest is shared out."""
    counts = pd.DataFrame({"real": [300, *[5] * 40], "fake": [300, *[5] * 40]}, index=[f"g{n:02d}" for n in range(41)])
    subset = assign(counts, SETTINGS.shares(), [SETTINGS.seed, 2])
    assert subset["g00"] == "train"
    total = counts.to_numpy().sum()
    for name, share in SETTINGS.shares().items():
        have = counts[subset == name].to_numpy().sum() / total
        assert have == pytest.approx(share, abs=0.02), name
    assert np.isin(["train", "validation", "test"], subset).all()


@pytest.mark.parametrize(("test", "repeats"), [(0.2, 5), (0.2, 10), (0.34, 3), (0.3, 7)])
def test_repeats_test_each_group_in_turn(test: float, repeats: int) -> None:
    chosen = with_settings(test=test, repeats=repeats)
    split = make_split(*twins(23), chosen)
    assert sorted(split["repeat"].unique()) == list(range(1, repeats + 1))
    times = split[split["subset"] == "test"].groupby("group")["repeat"].nunique().reindex(split["group"].unique())
    turns = -(-repeats // chosen.folds())
    assert times.fillna(0).between(turns - 1, turns).all()
    if repeats % chosen.folds() == 0:
        assert (times == turns).all()
    for _, part in split.groupby("repeat"):
        check_split(part)
        assert set(part["face_id"]) == set(split["face_id"])
    assert "warning" not in summary(split, twins(23)[1]) and f"{repeats} splits" in summary(split, twins(23)[1])
    tested = [frozenset(part.loc[part["subset"] == "test", "group"]) for _, part in split.groupby("repeat")]
    assert len(set(tested)) == repeats


def test_repeats_refuse_an_official_split() -> None:
    faces, videos = twins(20)
    videos["official_subset"] = ["test" if n % 4 == 0 else "train" for n in range(len(videos))]
    with pytest.raises(StudyError, match=r"split\.repeats = 3"):
        make_split(faces, videos, with_settings(repeats=3))


def test_a_share_of_the_training_groups_leaves_test_as_it_is() -> None:
    faces, videos = twins(40)
    whole, half = (make_split(faces, videos, with_settings(train_share=share)) for share in (1.0, 0.5))
    tested = whole["subset"].isin(["validation", "test"])
    assert (half["subset"][tested] == whole["subset"][tested]).all()
    fitted = half.loc[~tested, ["group", "subset"]].drop_duplicates()
    assert fitted["group"].is_unique
    assert fitted["subset"].value_counts().to_dict() == {"train": 14, "unused": 13}


@given(st.integers(0, 50))
def test_shuffled_labels_keep_the_classes_of_each_subset(seed: int) -> None:
    people = [(f"p{n}_{label}", label, f"p{n}", "", 2) for n in range(12) for label in ("real", "fake")]
    alone = [(f"s{n}", label, f"s{n}", "", 2) for n, label in enumerate(["real", "fake"] * 12)]
    faces, videos = tables([*people, *alone])
    before, after = (make_split(faces, videos, with_settings(seed=seed, labels=of)) for of in ("given", "shuffled"))
    assert before.drop(columns="label").equals(after.drop(columns="label"))
    assert (after.groupby("video_id")["label"].nunique() == 1).all()
    counts = [of.groupby(["subset", "label"]).size().to_dict() for of in (before, after)]
    assert counts[0] == counts[1]
    mixed = after["group"].isin(before.groupby("group")["label"].nunique().loc[lambda n: n > 1].index)
    assert (after[mixed].groupby("group")["label"].nunique() == 2).all()


def test_shuffled_labels_agree_half_of_the_time() -> None:
    faces, videos = twins(20)
    agree = [
        (make_split(faces, videos, with_settings(seed=seed, labels="shuffled"))["label"] == faces["label"]).mean()
        for seed in range(30)
    ]
    assert 0.43 < np.mean(agree) < 0.57
