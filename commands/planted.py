"""Faults planted in a sample: a shortcut must raise its warning, and a leak must be found.

The sample has no artefact, so its classes differ in nothing but what is planted. Each clip becomes a JPEG picture, and
the pictures are a folder with real/ and fake/, as a user would have it. `python -m commands.calibrate --only planted`
takes the folder through the stages up to `shortcuts` (STAGES) and writes metrics/planted.csv.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field

from facestudy.controls.shortcuts import ONE_CLASS, SHORTCUTS, WITHOUT_FACE, one_class_warning, told_apart
from facestudy.core import tables
from facestudy.core.settings import Section
from facestudy.media.archive import write_picture
from facestudy.media.frames import reduce
from facestudy.media.video import OWN_FILES, read_video

STAGES = ("videos", "frames", "faces", "duplicates", "split", "shortcuts")
"""The stages that a folder of pictures goes through."""
SECTIONS = ("folder", "decoding", "sample", "regions", "frames", "faces", "duplicates", "split", "storage")
"""The sections of params.yaml that these stages read, apart from `source` and `compute`."""
FOLDER, PEOPLE = "pictures", "people.csv"
QUALITY, OTHER_QUALITY = 90, 75
"""JPEG quality of the pictures, and that of what is planted."""
SMALLER = 0.75
"""Width and height of the fakes over those of the reals, for `resolution`."""
COPIES, AGAIN = 5, "-again"
"""How many people are planted under a second name, and what it adds to the first."""
SECOND_NAME = "second_name"
"""Found: pictures with different names are in one group, which is on one side of the split as a whole."""

Plant = Literal["nothing", "jpeg_quality", "resolution", "one_person", "second_name"]


@dataclass(frozen=True)
class Truth:
    """What a plant is, and what the study must find.

    Attributes
    ----------
    what : str
        In words, for the table of the documents.
    must_find : tuple of str
        Words of `findings`. Where it is empty, nothing at all must be found.
    """

    what: str
    must_find: tuple[str, ...] = ()


TRUTHS: Mapping[Plant, Truth] = {
    "nothing": Truth("nothing"),
    "jpeg_quality": Truth(
        f"the fakes are saved with JPEG quality {OTHER_QUALITY} instead of {QUALITY}", (WITHOUT_FACE, "jpeg")
    ),
    "resolution": Truth(
        f"the fakes have {SMALLER:.0%} of the width and height of the reals", (WITHOUT_FACE, "resolution")
    ),
    "one_person": Truth("a third of the fakes show one person, who is in no real picture", (ONE_CLASS,)),
    "second_name": Truth(
        f"{COPIES} people have a second name, with a copy of their picture saved with quality {OTHER_QUALITY}",
        (SECOND_NAME,),
    ),
}


class Planted(Section):
    """Section `calibrate.planted` of params.yaml: each plant in samples with seeds from `first_seed` on."""

    plants: Annotated[list[Plant], Field(min_length=1)]
    first_seed: Annotated[int, Field(ge=0)]
    runs: Annotated[int, Field(ge=1)]
    override: dict[str, Any]

    @property
    def seeds(self) -> range:
        """The seed of each sample."""
        return range(self.first_seed, self.first_seed + self.runs)


def write_pictures(plant: Plant, videos: pd.DataFrame, clips: Path, out: Path) -> None:
    """Make the pictures of a sample, with a plant among them.

    Parameters
    ----------
    plant : str
        One of TRUTHS.
    videos : DataFrame
        The sample's table, as tables.VIDEOS.
    clips : Path
        The folder of its clips.
    out : Path
        Where real/, fake/ and PEOPLE, which names the person in each picture, are made.
    """
    people = sorted(set(videos["identity"]))
    rows = []
    for video in videos.to_dict("records"):
        fake, person = video["label"] == "fake", video["identity"]
        alone = plant == "one_person" and person == people[0]
        frames = range(round(video["fps"] * video["duration_s"]) if alone else 1)
        pictures = [frame.picture for frame in read_video(clips / video["path"], frames, OWN_FILES)]
        chosen = {f"{person}.jpg": (pictures[0], QUALITY, person)}
        if plant == "jpeg_quality" and fake:
            chosen = {f"{person}.jpg": (pictures[0], OTHER_QUALITY, person)}
        elif plant == "resolution" and fake:
            chosen = {f"{person}.jpg": (reduce(pictures[0], round(video["width"] * SMALLER)), QUALITY, person)}
        elif alone:
            chosen = {f"{person}-{n}.jpg": (one, QUALITY, person) for n, one in enumerate(pictures)} if fake else {}
        elif plant == "second_name" and person in people[:COPIES] and not fake:
            chosen[f"{person}{AGAIN}.jpg"] = (pictures[0], OTHER_QUALITY, f"{person}{AGAIN}")
        for name, (picture, quality, shown) in chosen.items():
            path = out / video["label"] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_picture(path, picture, quality)
            rows.append({"file": f"{video['label']}/{name}", "identity": shown})
    pd.DataFrame(rows).to_csv(out / PEOPLE, index=False)


def findings(shortcuts: pd.DataFrame, split: pd.DataFrame, identities: Mapping[str, str]) -> list[str]:
    """List what a study of pictures found.

    Parameters
    ----------
    shortcuts, split : DataFrame
        As SHORTCUTS and tables.SPLIT.
    identities : mapping of str to str
        The name of the person in each video.

    Returns
    -------
    list of str
        Of the shortcut audit WITHOUT_FACE with its groups of cues, and ONE_CLASS, where they raise a warning;
        SECOND_NAME where a group joins several names, unless someone's two names are in two groups.
    """
    found = told_apart(shortcuts)
    if one_class_warning(shortcuts):
        found.append(ONE_CLASS)
    of_group = split["video_id"].map(identities).groupby(split["group"]).agg(set)
    joined = [names for names in of_group if len(names) > 1]
    shown = set().union(*of_group)
    twice = [{name, name + AGAIN} for name in shown if name + AGAIN in shown]
    if joined and all(any(pair <= names for names in joined) for pair in twice):
        found.append(SECOND_NAME)
    return found


def row(plant: Plant, folder: Path) -> dict[str, object]:
    """Compare what a study found with what it must find.

    Parameters
    ----------
    plant : str
        One of TRUTHS.
    folder : Path
        Where STAGES have run on the pictures.

    Returns
    -------
    dict
        A row of metrics/planted.csv, without the seed; the AUC and its interval are those of WITHOUT_FACE.
    """
    shortcuts = tables.read(folder / "metrics/shortcuts.csv", SHORTCUTS)
    videos = tables.read(folder / "data/videos/index.csv", tables.VIDEOS)
    identities = dict(zip(videos["video_id"], videos["identity"], strict=True))
    found = findings(shortcuts, tables.read(folder / "data/split.csv", tables.SPLIT), identities)
    must_find = TRUTHS[plant].must_find
    auc = shortcuts.set_index("control").loc[WITHOUT_FACE]
    return {
        "planted": plant,
        "must_find": " ".join(must_find),
        "found": " ".join(found),
        "right": "yes" if is_right(must_find, found) else "no",
        **{"auc": auc["value"], "low": auc["low"], "high": auc["high"]},
    }


def is_right(must_find: Sequence[str], found: Sequence[str]) -> bool:
    """Whether all that must be found was found; where nothing must be, whether nothing was.

    Examples
    --------
    >>> is_right(["jpeg"], ["jpeg", "file_size"]), is_right(["jpeg"], []), is_right([], ["jpeg"])
    (True, False, False)
    """
    return set(must_find) <= set(found) if must_find else not found


def summary(table: pd.DataFrame) -> str:
    """What was planted, what had to be found, and in how many samples it was, as a Markdown table.

    Parameters
    ----------
    table : DataFrame
        As metrics/planted.csv.
    """
    lines = ["| planted | must be found | samples | right | also found |", "|---|---|---|---|---|"]
    for plant, rows in table.groupby("planted", sort=False):
        truth = TRUTHS[plant]
        must = ", ".join(f"`{word}`" for word in truth.must_find) or "nothing"
        counts = Counter(word for found in rows["found"] for word in found.split() if word not in truth.must_find)
        besides = ", ".join(f"`{word}` {count}" for word, count in sorted(counts.items()))
        right = (rows["right"] == "yes").sum()
        lines.append(f"| {truth.what} | {must} | {len(rows)} | {right} | {besides} |")
    return "\n".join(lines)
