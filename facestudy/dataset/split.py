"""Groups, balance, and the split into train, validation and test.

Frames of one video, videos of one person and a donor's face in a fake are not independent: what
shares any of them forms one group, and a group lies on one side of the split as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from facestudy.core.errors import StudyError
from facestudy.core.settings import Section
from facestudy.core.tables import LABELS, SPLIT, SUBSETS

USED = SUBSETS[:3]
PEOPLE = ("identity", "donor")


class SplitSettings(Section):
    """Section `split` of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    faces_per_class: Annotated[int, Field(ge=1)] | None
    faces_per_video: Annotated[int, Field(ge=1)] | None
    official: bool
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    test: Annotated[float, Field(gt=0, lt=1)]
    validation: Annotated[float, Field(gt=0, lt=1)]
    train_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    unit: Literal["group", "face"] = "group"
    labels: Literal["given", "shuffled"] = "given"

    def control(self) -> str:
        """Say what makes a study a control, whose figures are not results; "" where nothing does."""
        said = [
            *(["faces of one person are on both sides of the split"] if self.unit == "face" else []),
            *(["the labels are shuffled"] if self.labels == "shuffled" else []),
        ]
        return f"Control: {' and '.join(said)}." if said else ""

    def folds(self) -> int:
        """In how many parts the groups are divided when there are repeats; each part is the test subset once."""
        return max(2, round(1 / self.test))

    def test_share(self) -> float:
        """The share of the groups in the test subset of a split."""
        return self.test if self.repeats == 1 else 1 / self.folds()

    def shares(self) -> dict[str, float]:
        """The share of the faces that each subset should get."""
        rest = 1 - self.test
        return {
            "train": rest * (1 - self.validation),
            "validation": rest * self.validation,
            "test": self.test,
        }


def groups(videos: pd.DataFrame, pairs: Iterable[tuple[str, str]] = ()) -> pd.Series:
    """Put videos that share a person or are duplicates into one group.

    A group is a connected component over videos, people (shown, or donors) and pairs of duplicates.

    Parameters
    ----------
    videos : DataFrame
        Columns video_id, identity, donor. An identity and a donor of the same name are the same person; an empty
        cell links nothing.
    pairs
        Video ids of duplicates.

    Returns
    -------
    Series
        The group of each video, indexed by video_id. A group has the name of its first video.

    Examples
    --------
    >>> videos = pd.DataFrame({"video_id": ["a", "b", "c", "d"], "identity": ["p", "q", "r", ""],
    ...                        "donor": ["", "p", "", ""]})
    >>> groups(videos, [("d", "c")]).tolist()
    ['a', 'a', 'c', 'c']
    """
    links: list[tuple[object, object]] = []
    for video in videos.itertuples():
        links += [(video.video_id, ("person", name)) for name in (video.identity, video.donor) if name]
    return _components(videos["video_id"], [*links, *pairs])


def _components(ids: pd.Series, links: Sequence[tuple[object, object]]) -> pd.Series:
    """For each id the first id of its connected component; links may name things that are not ids."""
    numbers: dict[object, int] = {video_id: number for number, video_id in enumerate(ids)}
    edges = [[numbers.setdefault(thing, len(numbers)) for thing in link] for link in links]
    rows, columns = np.array(edges).T if edges else (np.empty(0, int), np.empty(0, int))
    size = len(numbers)
    _, component = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), (size, size)), False)
    data = pd.DataFrame({"video_id": ids.to_numpy(), "component": component[: len(ids)]})
    return data.groupby("component")["video_id"].transform("min").set_axis(data["video_id"]).rename("group")


def duplicates_across(videos: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> set[str]:
    """The videos to leave out because an official split puts a duplicate of them on another side.

    Of duplicates on several sides those in test stay, or else those in validation: what was published for the test
    is tested on, and nothing like it is trained on.

    Parameters
    ----------
    videos : DataFrame
        Columns video_id, official_subset.
    pairs
        Video ids of duplicates.

    Returns
    -------
    set of str
        Video ids.
    """
    place = videos["official_subset"].map({"test": 0, "validation": 1, "train": 2}).set_axis(videos["video_id"])
    component = _components(videos["video_id"], pairs)
    return set(place.index[place > place.groupby(component).transform("min")])


def draw(faces: pd.DataFrame, settings: SplitSettings) -> pd.Series:
    """Choose the faces to use: the same number of each class, evenly over its methods, then over their videos.

    Every video of a method gives one face, drawn at random, before any gives a second. The methods of a class take
    turns. Each official subset is balanced on its own.

    Parameters
    ----------
    faces : DataFrame
        Columns face_id, video_id, label, method, official.
    settings
        Section `split` of the settings. When `faces_per_class` is None or larger than the smaller class, each class
        gives as many faces as the smaller one has.

    Returns
    -------
    Series of bool
        Whether a face is used, on the index of `faces`.
    """
    random = np.random.default_rng([settings.seed, 1])
    shuffled = faces.sort_values("face_id").iloc[random.permutation(len(faces))]
    ordered = shuffled.assign(turn=shuffled.groupby("video_id").cumcount()).sort_values("turn", kind="stable")
    if settings.faces_per_video is not None:
        ordered = ordered[ordered["turn"] < settings.faces_per_video]
    turn = ordered.groupby(["official", "label", "method"]).cumcount()
    ordered = ordered.assign(turn=turn).sort_values("turn", kind="stable")
    there = pd.crosstab(ordered["official"], ordered["label"]).reindex(columns=list(LABELS), fill_value=0)
    counts = there.min(axis=1)
    if settings.faces_per_class is not None and settings.faces_per_class < counts.sum():
        counts = counts * settings.faces_per_class // counts.sum()
    chosen = [rows.head(counts[official]).index for (official, _), rows in ordered.groupby(["official", "label"])]
    return pd.Series(faces.index.isin(np.concatenate(chosen) if chosen else []), index=faces.index)


def assign(counts: pd.DataFrame, shares: Mapping[str, float], seed: Sequence[int]) -> pd.Series:
    """Give every group a subset, so that the faces of each class are divided in proportion to `shares`.

    Groups come in order of size, in random order among equals. Each goes to the subset where the classes are
    furthest below their share (the greedy rule of scikit-learn's StratifiedGroupKFold).

    Parameters
    ----------
    counts : DataFrame
        The faces of each class: columns real and fake, indexed by group.
    shares : mapping of str to float
        The share of each subset; they need not add up to 1.
    seed : sequence of int
        Seeds the order among equal groups.

    Returns
    -------
    Series
        Subset, indexed by group.

    Examples
    --------
    >>> counts = pd.DataFrame({"real": [4, 2, 2], "fake": [4, 2, 2]}, index=["a", "b", "c"])
    >>> assign(counts, {"train": 0.5, "test": 0.5}, [1]).to_dict()
    {'a': 'train', 'b': 'test', 'c': 'test'}
    """
    random = np.random.default_rng(seed)
    subsets = list(shares)
    counts = counts.sort_index()
    order = np.lexsort([random.permutation(len(counts)), -counts.sum(axis=1).to_numpy()])
    sizes = counts[list(LABELS)].to_numpy(float)
    parts = np.array(list(shares.values())) / sum(shares.values())
    wanted = parts[:, None] * sizes.sum(axis=0)
    have = np.zeros_like(wanted)
    subset = np.empty(len(counts), dtype=object)
    scale = np.maximum(sizes.sum(axis=0), 1)
    for group in order:
        # The squared shortfall over all subsets after giving the group to each of them in turn,
        # measured in shares of the subset so that small subsets fill at the same pace.
        shortfall = [
            ((((wanted - have - given[:, None] * sizes[group]) / scale) ** 2).sum(axis=1) / parts).sum()
            for given in np.eye(len(subsets))
        ]
        best = int(np.argmin(shortfall))
        have[best] += sizes[group]
        subset[group] = subsets[best]
    return pd.Series(subset, index=counts.index, name="subset")


def make_split(
    faces: pd.DataFrame, videos: pd.DataFrame, settings: SplitSettings, duplicates: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Split faces into training, validation and test.

    Where the videos have an official subset (and `split.official` is set), it is kept, and a person who is on two
    sides of it has a group on each. Duplicates never lie on two sides.

    With `split.unit: face`, single faces are divided, so groups lie on all sides: a control, which shows what this
    leak would have claimed. The column `group` is the same as without.

    Parameters
    ----------
    faces : DataFrame
        The columns of tables.FACES.
    videos : DataFrame
        The columns of tables.VIDEOS.
    settings
        Section `split` of the settings.
    duplicates : DataFrame or None
        The columns of tables.DUPLICATES.

    Returns
    -------
    DataFrame
        One row per face and repeat, the columns of tables.SPLIT. Faces that the balance leaves out are `unused`; the
        same faces are used in all repeats.

    Raises
    ------
    StudyError
        When a class or a subset would be empty, only some videos have an official subset, or an official split is
        to be repeated.
    """
    columns = ["video_id", "method", "official_subset"]
    data = faces[["face_id", "video_id", "track_id", "label"]].merge(
        videos[columns], on="video_id", validate="many_to_one"
    )
    for label in LABELS:
        if not (data["label"] == label).any():
            raise StudyError(
                f"There is no {label} face to split; both classes are needed (see data/faces/dropped.csv)."
            )
    pairs = [] if duplicates is None else list(zip(duplicates["first"], duplicates["second"], strict=True))
    data["official"] = _official(data, settings)
    if (data["official"] != "").any():
        gone = duplicates_across(videos, pairs)
        kept_pairs = [pair for pair in pairs if not gone & set(pair)]
        data["group"] = data["video_id"].map(groups(_apart(videos), kept_pairs))
    else:
        gone = set()
        data["group"] = data["video_id"].map(groups(videos, pairs))
    usable = data[~data["video_id"].isin(gone)]
    used = draw(usable, settings)
    drawn = usable[used]
    if settings.repeats > 1 and (data["official"] != "").any():
        raise StudyError(
            f"split.repeats = {settings.repeats} does not go with an official split, which is one split; set "
            "split.official: false or split.repeats: 1."
        )
    parts = []
    for repeat in range(1, settings.repeats + 1):
        part = data.assign(repeat=repeat, subset="unused")
        subsets = _fewer_to_train(drawn, _subsets(drawn, settings, repeat), settings, repeat)
        part.loc[drawn.index, "subset"] = subsets
        if settings.labels == "shuffled":
            part.loc[drawn.index, "label"] = shuffled_labels(part.loc[drawn.index], [settings.seed, 6, repeat])
        check_split(part, settings.unit)
        parts.append(part)
    split = pd.concat(parts, ignore_index=True)
    split["repeat"] = split["repeat"].astype("Int64")
    return split[SPLIT.names()]


def _apart(videos: pd.DataFrame) -> pd.DataFrame:
    """The videos with other names for the people on each side of an official split, so that no group spans sides.

    Donors are ignored in training, where groups only serve to draw the validation subset: in a dataset that
    swaps everyone with everyone (Celeb-DF), donors would join all videos into one group.
    """
    side, tested = videos["official_subset"] + ":", videos["official_subset"] == "test"
    identity = (side + videos["identity"]).where(videos["identity"] != "", "")
    donor = (side + videos["donor"]).where(tested & (videos["donor"] != ""), "")
    return videos.assign(identity=identity, donor=donor)


def _official(data: pd.DataFrame, settings: SplitSettings) -> pd.Series:
    """Get the official subset of each face, or "" where there is no official split. A split needs a test subset."""
    official = data["official_subset"]
    without = data.loc[official == "", "video_id"]
    if not settings.official or settings.unit == "face" or "test" not in set(official):
        return pd.Series("", index=data.index)
    if len(without):
        raise StudyError(
            f"{without.nunique()} of {data['video_id'].nunique()} videos, as {without.iloc[0]}, have no official "
            "subset; leave them out (folder.methods), name theirs in folder.table, or set split.official: false."
        )
    return official


def _subsets(drawn: pd.DataFrame, settings: SplitSettings, repeat: int) -> pd.Series:
    """The subset of each drawn face: the official one; where there is none, or none for validation, by `assign`."""
    official = drawn["official"]
    if "validation" in set(official):
        return official
    free = (official == "").all()
    rows = drawn if free else drawn[official == "train"]
    counts = _class_counts(rows, settings)
    shares = settings.shares()
    if settings.repeats > 1:
        assigned = _repeat(counts, settings, repeat)
    else:
        assigned = assign(
            counts, {subset: shares[subset] for subset in (USED if free else USED[:2])}, [settings.seed, 2]
        )
    return _units(rows, settings).map(assigned).reindex(drawn.index).fillna(official)


def _units(faces: pd.DataFrame, settings: SplitSettings) -> pd.Series:
    """What lies on one side of the split as a whole: the group of each face, or in the control the face itself."""
    return faces["group" if settings.unit == "group" else "face_id"]


def _class_counts(faces: pd.DataFrame, settings: SplitSettings) -> pd.DataFrame:
    """The faces of each class, by what lies on one side as a whole."""
    return pd.crosstab(_units(faces, settings), faces["label"]).reindex(columns=list(LABELS), fill_value=0)


def _repeat(counts: pd.DataFrame, settings: SplitSettings, repeat: int) -> pd.Series:
    """The subsets of one of several splits: in as many repeats as there are folds, each group is tested once."""
    turn, fold = divmod(repeat - 1, settings.folds())
    folds = assign(counts, {str(number): 1.0 for number in range(settings.folds())}, [settings.seed, 3, turn])
    rest = counts[folds.reindex(counts.index) != str(fold)]
    shares = settings.shares()
    fitted = assign(rest, {subset: shares[subset] for subset in USED[:2]}, [settings.seed, 4, repeat])
    return fitted.reindex(counts.index).fillna("test")


def _fewer_to_train(drawn: pd.DataFrame, subsets: pd.Series, settings: SplitSettings, repeat: int) -> pd.Series:
    """Leave out training groups until `train_share` of their faces remain."""
    rows = drawn[subsets == "train"]
    if settings.train_share == 1 or rows.empty:
        return subsets
    shares = {"train": settings.train_share, "unused": 1 - settings.train_share}
    assigned = assign(_class_counts(rows, settings), shares, [settings.seed, 5, repeat])
    return subsets.mask(subsets == "train", _units(drawn, settings).map(assigned))


def shuffled_labels(faces: pd.DataFrame, seed: Sequence[int]) -> pd.Series:
    """Exchange the labels of whole groups, and of whole videos within a group that has both classes.

    What is exchanged lies in one subset. So each subset keeps its groups of each class, and nothing that a detector
    could learn about the new labels holds for another group.

    Parameters
    ----------
    faces : DataFrame
        Columns video_id, group, label, subset.
    seed : sequence of int
        Seeds the permutations.

    Returns
    -------
    Series
        The new label of each face, on the index of `faces`.
    """
    random = np.random.default_rng(seed)
    mixed = faces.groupby("group")["label"].transform("nunique") > 1
    unit = faces["group"].where(~mixed, faces["video_id"])
    block = faces["subset"].where(~mixed, faces["group"])
    new = pd.Series(index=faces.index, dtype=object)
    for _, rows in faces.assign(unit=unit).groupby([mixed, faces["subset"], block]):
        labels = rows.groupby("unit")["label"].first()
        new.loc[rows.index] = rows["unit"].map(pd.Series(random.permutation(labels), labels.index))
    return new


def check_split(data: pd.DataFrame, unit: str = "group") -> None:
    """Refuse a split in which a group lies in two subsets, or a subset lacks a class.

    Parameters
    ----------
    data : DataFrame
        Columns group, label, subset of one repeat.
    unit : {"group", "face"}
        See `make_split`; with "face", a group may lie in two subsets.

    Raises
    ------
    StudyError
        With the number of groups and what to do.
    """
    used = data[data["subset"] != "unused"]
    straddling = used.groupby("group")["subset"].nunique()
    if unit == "group" and (straddling > 1).any():
        raise StudyError(f"The group {straddling.idxmax()} lies in more than one subset; the split is not written.")
    for subset in USED:
        for label in LABELS:
            if not ((used["subset"] == subset) & (used["label"] == label)).any():
                per_class = used.groupby("label")["group"].nunique()
                raise StudyError(
                    f"No {label} face is left for {subset}: {used['group'].nunique()} groups "
                    f"({per_class.get('real', 0)} with real faces, {per_class.get('fake', 0)} with fake ones) are too "
                    f"few to share out. Add videos of other people, or give identities and donors in folder.table."
                )


def summary(data: pd.DataFrame, videos: pd.DataFrame) -> str:
    """Say how many groups, videos and faces each subset has, and what to know about an official split.

    Parameters
    ----------
    data : DataFrame
        The columns of tables.SPLIT.
    videos : DataFrame
        The columns of tables.VIDEOS.

    Returns
    -------
    str
        One line.
    """
    parts = []
    repeats, tested = int(data["repeat"].max()), data[data["subset"] == "test"]
    first = data[data["repeat"] == 1]
    for subset in SUBSETS:
        rows = first[first["subset"] == subset]
        real, fake = ((rows["label"] == label).sum() for label in LABELS)
        parts.append(
            f"{subset} {rows['group'].nunique()} groups, {rows['video_id'].nunique()} videos, "
            f"{real} real + {fake} fake faces"
        )
    both = people_on_both_sides(first, videos)
    if both:
        parts.append(
            f"warning: {both} of the people in test are also in training or validation in the official split; with "
            "split.official: false, nobody is on both sides"
        )
    several = f"{repeats} splits, {tested['group'].nunique()} groups are tested in one or more; in the first: "
    return (several if repeats > 1 else "") + "; ".join(parts)


def people_on_both_sides(data: pd.DataFrame, videos: pd.DataFrame) -> int:
    """Count the people (shown, or donors) in test videos who are in training or validation videos too.

    Parameters
    ----------
    data : DataFrame
        Columns video_id, subset.
    videos : DataFrame
        Columns video_id, identity, donor.

    Returns
    -------
    int
    """
    shown = {}
    for side, subsets in (("test", ["test"]), ("fitted", ["train", "validation"])):
        ids = data.loc[data["subset"].isin(subsets), "video_id"]
        shown[side] = set(videos.loc[videos["video_id"].isin(ids), list(PEOPLE)].to_numpy().ravel()) - {""}
    return len(shown["test"] & shown["fitted"])
