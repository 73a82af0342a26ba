"""Groups, balance, and the split into train, validation and test.

Frames of one video, videos of one person and a donor's face in a fake are not independent: what
shares any of them forms one group, and a group lies on one side of the split as a whole.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from facestudy.errors import StudyError
from facestudy.settings import Section
from facestudy.tables import LABELS, SPLIT, SUBSETS

USED = SUBSETS[:3]


class SplitSettings(Section):
    """Section `split` of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    faces_per_class: Annotated[int, Field(ge=1)] | None
    test: Annotated[float, Field(gt=0, lt=1)]
    validation: Annotated[float, Field(gt=0, lt=1)]

    def shares(self) -> dict[str, float]:
        """The share of the faces that each subset is to have."""
        rest = 1 - self.test
        return {
            "train": rest * (1 - self.validation),
            "validation": rest * self.validation,
            "test": self.test,
        }


def groups(videos: pd.DataFrame) -> pd.Series:
    """A group id for every video: the connected component over video, person, donor and content.

    videos: columns video_id, identity, donor, sha256. An identity and a donor of the same name are
    the same person; an empty cell links nothing. Files with the same sha256 are the same video.
    Returns a series indexed by video_id; a group is called by its first video id.

    >>> videos = pd.DataFrame({"video_id": ["a", "b", "c"], "identity": ["p", "q", "r"],
    ...                        "donor": ["", "p", ""], "sha256": ["1", "2", "3"]})
    >>> groups(videos).tolist()
    ['a', 'a', 'c']
    """
    numbers: dict[Hashable, int] = {}
    edges = []
    for row, video in enumerate(videos.itertuples()):
        people = {("person", name) for name in (video.identity, video.donor) if name}
        content = {("content", video.sha256)} if video.sha256 else set()
        edges += [(row, len(videos) + numbers.setdefault(thing, len(numbers))) for thing in sorted(people | content)]
    size = len(videos) + len(numbers)
    rows, columns = (np.array(edges).T) if edges else (np.empty(0, int), np.empty(0, int))
    _, component = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), (size, size)), False)
    data = pd.DataFrame({"video_id": videos["video_id"].to_numpy(), "component": component[: len(videos)]})
    return data.groupby("component")["video_id"].transform("min").set_axis(data["video_id"]).rename("group")


def draw(faces: pd.DataFrame, per_class: int | None, seed: int) -> pd.Series:
    """Which faces to use: the same number of each class, spread evenly over the videos.

    faces: columns face_id, video_id, label. Every video of a class gives one face, drawn at random,
    before any gives a second, and so on. per_class None, or more than there are: as many as the
    smaller class has. Returns a boolean series on the index of `faces`.
    """
    random = np.random.default_rng([seed, 1])
    shuffled = faces.sort_values("face_id").iloc[random.permutation(len(faces))]
    turn = shuffled.groupby("video_id").cumcount()
    ordered = shuffled.assign(turn=turn).sort_values("turn", kind="stable")
    smaller = int(faces["label"].value_counts().reindex(list(LABELS), fill_value=0).min())
    count = smaller if per_class is None else min(per_class, smaller)
    chosen = ordered.groupby("label").head(count).index
    return pd.Series(faces.index.isin(chosen), index=faces.index)


def assign(counts: pd.DataFrame, settings: SplitSettings) -> pd.Series:
    """A subset for every group, so that each class is shared out as the settings ask.

    counts: index group, columns real and fake: faces of each class. Groups come in order of size,
    drawn at random among equals, and go where the classes are furthest below their share (the
    greedy rule of scikit-learn's StratifiedGroupKFold). Returns a series indexed by group.
    """
    random = np.random.default_rng([settings.seed, 2])
    counts = counts.sort_index()
    order = np.lexsort([random.permutation(len(counts)), -counts.sum(axis=1).to_numpy()])
    sizes = counts[list(LABELS)].to_numpy(float)
    shares = np.array([settings.shares()[subset] for subset in USED])
    wanted = shares[:, None] * sizes.sum(axis=0)
    have = np.zeros_like(wanted)
    subset = np.empty(len(counts), dtype=object)
    scale = np.maximum(sizes.sum(axis=0), 1)
    for group in order:
        # The squared shortfall over all subsets after giving the group to each of them in turn,
        # measured in shares of the subset so that small subsets fill at the same pace.
        shortfall = [
            ((((wanted - have - np.eye(3)[i][:, None] * sizes[group]) / scale) ** 2).sum(axis=1) / shares).sum()
            for i in range(3)
        ]
        best = int(np.argmin(shortfall))
        have[best] += sizes[group]
        subset[group] = USED[best]
    return pd.Series(subset, index=counts.index, name="subset")


def make_split(faces: pd.DataFrame, videos: pd.DataFrame, settings: SplitSettings) -> pd.DataFrame:
    """The split: one row a face, columns of tables.SPLIT.

    faces: tables.FACES; videos: tables.VIDEOS. Faces that balance leaves out are `unused`.
    Raises StudyError when a class or a subset would be empty.
    """
    data = faces[["face_id", "video_id", "label"]].merge(
        videos[["video_id", "method"]], on="video_id", validate="many_to_one"
    )
    for label in LABELS:
        if not (data["label"] == label).any():
            raise StudyError(
                f"There is no {label} face to split; both classes are needed (see data/faces/dropped.csv)."
            )
    data["group"] = data["video_id"].map(groups(videos))
    used = draw(data, settings.faces_per_class, settings.seed)
    counts = pd.crosstab(data.loc[used, "group"], data.loc[used, "label"]).reindex(columns=list(LABELS), fill_value=0)
    data["subset"] = "unused"
    data.loc[used, "subset"] = data.loc[used, "group"].map(assign(counts, settings))
    check_split(data)
    return data[SPLIT.names()]


def check_split(data: pd.DataFrame) -> None:
    """Refuse a split in which a group straddles or a subset lacks a class.

    Raises StudyError that says how many groups there are and what to do.
    """
    used = data[data["subset"] != "unused"]
    straddling = used.groupby("group")["subset"].nunique()
    if (straddling > 1).any():
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


def summary(data: pd.DataFrame) -> str:
    """Groups, videos and faces of each class in each subset, on one line."""
    parts = []
    for subset in SUBSETS:
        rows = data[data["subset"] == subset]
        real, fake = ((rows["label"] == label).sum() for label in LABELS)
        parts.append(
            f"{subset} {rows['group'].nunique()} groups, {rows['video_id'].nunique()} videos, "
            f"{real} real + {fake} fake faces"
        )
    return "; ".join(parts)
