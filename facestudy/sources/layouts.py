"""Layouts of common datasets on a disk, and what their file names say about who is shown.

Each layout turns a folder into `Item`s: the files, relative to the folder, with label, identity (who
is shown), donor (whose face or motion was put in), method and, where the dataset has one, the subset of
its official split. Names follow each dataset's own naming:

- real_fake: real/ and fake/, any subfolders.
- faceforensics: FaceForensics++ (Roessler et al. 2019): original_sequences/<source>/<compression>/videos
  and manipulated_sequences/<method>/<compression>/videos, a fake named <target>_<donor>; the actors of
  its DeepFakeDetection part are <target>_<donor>__<scene>__<code>. Official split: the pairs in
  splits/train.json, val.json and test.json.
- celeb_df: Celeb-DF (Li et al. 2020): Celeb-real, YouTube-real, Celeb-synthesis, a fake named
  <target>_<donor>_<number>. Official split: List_of_testing_videos.txt; the rest is for training.
- dfdc: the Deepfake Detection Challenge (Dolhansky et al. 2020): metadata.json beside the videos, with
  each file's label, split and, for a fake, its original.
- images: pictures below folders called real and fake (also training_real and the like), these below
  folders called train, valid(ation) or test where there is an official split.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facestudy.core.errors import StudyError
from facestudy.core.settings import key_name, quoted
from facestudy.core.tables import LABELS
from facestudy.media import video
from facestudy.sources import user_files


@dataclass(frozen=True)
class Item:
    """A file to examine.

    Attributes
    ----------
    file : str
        Its path relative to the folder, with "/" between its parts.
    label : str
        "real", "fake", or empty where neither the layout nor a table says.
    identity : str
        Who is shown.
    donor : str
        Whose face or motion was put in.
    method : str
        The manipulation method of a fake.
    compression : str
        As the dataset calls it, such as "c23".
    subset : str
        Of the official split: "train", "validation" or "test".
    """

    file: str
    label: str
    identity: str = ""
    donor: str = ""
    method: str = ""
    compression: str = ""
    subset: str = ""


SUBSET_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validate": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of subsets in datasets, and their names in this project."""
MAX_LIST_BYTES = 20_000_000
"""Largest size of a list or JSON file of a dataset; that of the whole DFDC is smaller."""


MEDIA_SUFFIXES = video.VIDEO_SUFFIXES | video.PICTURE_SUFFIXES


def media_below(root: Path, folder: str) -> Iterator[str]:
    """List videos, pictures and linked folders below a folder.

    What lies in a linked folder is not listed.

    Parameters
    ----------
    root
        The folder that paths are relative to.
    folder
        The folder to look into, relative to `root`; "" for `root` itself.

    Yields
    ------
    str
        Paths relative to `root`, with "/" between their parts, sorted within each folder.
    """
    for path, folders, files in os.walk(root / folder):
        folders.sort()
        linked = {name for name in folders if (Path(path) / name).is_symlink()}
        for name in sorted([*files, *linked]):
            if (name in linked or Path(name).suffix.lower() in MEDIA_SUFFIXES) and not name.startswith("._"):
                yield (Path(path) / name).relative_to(root).as_posix()


def others_below(root: Path, folder: str, suffixes: Collection[str]) -> Iterator[str]:
    """List the files below a folder whose suffix is not in a collection.

    Hidden files and the contents of hidden folders are not listed.

    Parameters
    ----------
    root
        The folder that paths are relative to.
    folder
        The folder to look into, relative to `root`; "" for `root` itself.
    suffixes
        Suffixes to leave out, in lower case, with the dot.

    Yields
    ------
    str
        Paths relative to `root`, with "/" between their parts, sorted within each folder.
    """
    for path, folders, files in os.walk(root / folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() not in suffixes and not name.startswith("."):
                yield (Path(path) / name).relative_to(root).as_posix()


def is_linked_folder(path: Path) -> bool:
    """Whether a path is a symbolic link to a folder."""
    return path.is_symlink() and path.is_dir()


def real_fake(root: Path) -> Iterator[Item]:
    """List the videos and pictures below real/ and fake/ of a folder.

    Parameters
    ----------
    root
        The folder that holds real/ and fake/.

    Yields
    ------
    Item
    """
    for label in LABELS:
        for file in media_below(root, label):
            yield Item(file, label)


FF_PATH = re.compile(r"(original|manipulated)_sequences/([^/]+)/(raw|c\d+)/videos/([^/]+)\.\w+")
FF_ACTORS = re.compile(r"(\d+)(?:_(\d+))?__.*")


def faceforensics(root: Path) -> Iterator[Item]:
    """List the videos of FaceForensics++ in a folder, without masks and the pictures of the benchmark.

    Parameters
    ----------
    root
        The folder that holds original_sequences/ and manipulated_sequences/.

    Yields
    ------
    Item

    Raises
    ------
    StudyError
        When a file of the official split does not have the format of the benchmark.

    References
    ----------
    Roessler et al., FaceForensics++: Learning to Detect Manipulated Facial Images, ICCV 2019.
    """
    subsets = _ff_subsets(root)
    for kind in ("original", "manipulated"):
        for file in media_below(root, f"{kind}_sequences"):
            fake = kind == "manipulated"
            place = FF_PATH.fullmatch(file)
            if place is None:
                if is_linked_folder(root / file):
                    yield Item(file, "fake" if fake else "real", method=Path(file).parts[1] if fake else "")
                continue
            _, source, compression, stem = place.groups()
            actors = FF_ACTORS.fullmatch(stem)
            target, donor = actors.groups("") if actors else stem.partition("_")[::2]
            prefix = "actor" if actors else ""
            yield Item(
                file,
                "fake" if fake else "real",
                prefix + target,
                prefix + donor if fake and donor else "",
                source if fake else "",
                compression,
                "" if actors else subsets.get(target, ""),
            )


def _ff_subsets(root: Path) -> dict[str, str]:
    """Return the official subset of each original video; empty where the files of the split are missing."""
    subsets: dict[str, str] = {}
    for name in ("train", "val", "test"):
        path = root / "splits" / f"{name}.json"
        pairs = _json(path, root) if os.path.lexists(path) else []
        if not isinstance(pairs, list):
            raise StudyError(f"{path} should be a list of pairs of video numbers; fetch it again.")
        for pair in pairs:
            if not (isinstance(pair, list) and all(isinstance(number, str) for number in pair)):
                raise StudyError(f'{path}: {quoted(pair)} is not a pair of video numbers as in ["071", "054"].')
            for number in pair:
                if subsets.setdefault(number, SUBSET_NAMES[name]) != SUBSET_NAMES[name]:
                    raise StudyError(f"{path}: the video {key_name(number)} is in another official subset too.")
    return subsets


def celeb_df(root: Path) -> Iterator[Item]:
    """List the videos of Celeb-DF in a folder.

    Parameters
    ----------
    root
        The folder that holds Celeb-real/, YouTube-real/ and Celeb-synthesis/.

    Yields
    ------
    Item

    Raises
    ------
    StudyError
        When List_of_testing_videos.txt exists and cannot be read.

    References
    ----------
    Li et al., Celeb-DF: A Large-scale Challenging Dataset for DeepFake Forensics, CVPR 2020.
    """
    tested = _celeb_df_test(root)
    for folder, label in (("Celeb-real", "real"), ("YouTube-real", "real"), ("Celeb-synthesis", "fake")):
        for file in media_below(root, folder):
            people = [*re.findall(r"id\d+", Path(file).stem), "", ""]
            fake = label == "fake"
            subset = ("test" if file in tested else "train") if tested else ""
            yield Item(file, label, people[0], people[1] if fake else "", "celeb_df" if fake else "", subset=subset)


def _celeb_df_test(root: Path) -> set[str]:
    """The files of the official test subset, named by lines such as "1 YouTube-real/00170.mp4"."""
    path = root / "List_of_testing_videos.txt"
    if not os.path.lexists(path):
        return set()
    try:
        lines = user_files.read(path, MAX_LIST_BYTES, root).decode("utf-8").splitlines()
    except (user_files.Unreadable, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read ({error}); fetch it again.") from None
    return {line.split(maxsplit=1)[-1].strip() for line in lines if line.strip()}


def dfdc(root: Path) -> Iterator[Item]:
    """List the videos of DFDC: the files that a metadata.json beside them names.

    Parameters
    ----------
    root
        The folder; every folder below it with a metadata.json counts, linked ones do not.

    Yields
    ------
    Item

    Raises
    ------
    StudyError
        When a metadata.json does not have the format of DFDC; the message names the file and the entry.

    References
    ----------
    Dolhansky et al., The DeepFake Detection Challenge (DFDC) Dataset, arXiv:2006.07397, 2020.
    """
    for folder in sorted(Path(path) for path, _, files in os.walk(root) if "metadata.json" in files):
        entries = _json(folder / "metadata.json", root)
        place = user_files.called(folder / "metadata.json")
        if not isinstance(entries, dict):
            raise StudyError(f"{place} should map file names to their label, as DFDC's own does.")
        for name, entry in sorted(entries.items()):
            item = _dfdc_item(place, name, entry)
            if os.path.lexists(folder / name):  # parts of the set are often used alone
                yield replace(item, file=(folder / name).relative_to(root).as_posix())


def _dfdc_item(place: str, name: str, entry: Any) -> Item:
    """Make an item of an entry of metadata.json; messages call the file `place`."""
    said = {key: value for key, value in entry.items() if isinstance(value, str)} if isinstance(entry, dict) else {}
    label = said.get("label", "").lower()
    if label not in LABELS:
        raise StudyError(f"{place}: the entry {quoted(name)} has no label REAL or FAKE; fetch the file again.")
    fake = label == "fake"
    who = said.get("original", name) if fake else name
    for text in (name, who or name):
        if not _is_file_name(text):
            raise StudyError(
                f"{place}: the entry {quoted(name)} names {quoted(text)}, which is not the name of a file beside it; "
                "fetch the file again."
            )
    subset = SUBSET_NAMES.get(said.get("split", "").lower(), "")
    return Item(name, label, Path(who).stem, "", "dfdc" if fake else "", subset=subset)


def _is_file_name(text: str) -> bool:
    """Check whether a text can be a file name: it has no folder part, and a file system accepts it."""
    try:
        size = len(os.fsencode(text))
    except UnicodeEncodeError:
        return False
    return 0 < size <= 255 and "/" not in text and "\0" not in text and text not in (".", "..")


def _json(path: Path, root: Path) -> Any:
    """The content of a JSON file that lies in the folder; StudyError when it is not readable JSON."""
    try:
        return json.loads(user_files.read(path, MAX_LIST_BYTES, root).decode("utf-8"))
    except (user_files.Unreadable, ValueError, RecursionError) as error:
        said = user_files.called(path)
        raise StudyError(f"{said} is not readable JSON ({error}); fetch it again.") from None


def images(root: Path) -> Iterator[Item]:
    """List the pictures below a folder, with label and subset from the nearest folder above that names one.

    A picture that is not below such a folder has an empty label; it is left out unless folder.table gives one.

    Parameters
    ----------
    root
        The folder.

    Yields
    ------
    Item
    """
    for file in media_below(root, ""):
        folders = Path(file).parts[:-1]
        if Path(file).suffix.lower() not in video.PICTURE_SUFFIXES:
            if not is_linked_folder(root / file):
                continue
            folders = Path(file).parts
        yield _named_by(folders, file)


def _named_by(folders: Sequence[str], file: str) -> Item:
    """Make an item with the label and the subset that the names of its folders give."""
    label, subset = "", ""
    for folder in reversed(folders):
        words = re.split(r"[^a-z]+", folder.lower())
        label = label or next((word for word in words if word in LABELS), "")
        subset = subset or next((SUBSET_NAMES[word] for word in words if word in SUBSET_NAMES), "")
    return Item(file, label, subset=subset)


def other_files(root: Path, layout: str) -> Iterator[Item]:
    """List the files of other types among the videos and pictures of real_fake, or among the pictures of images.

    The other layouts have files of their own beside the videos; nothing is listed for them.

    Parameters
    ----------
    root
        The folder.
    layout
        A key of LAYOUTS.

    Yields
    ------
    Item
        The file and its label.
    """
    if layout == "real_fake":
        for label in LABELS:
            for file in others_below(root, label, MEDIA_SUFFIXES):
                yield Item(file, label)
    elif layout == "images":
        for file in others_below(root, "", video.PICTURE_SUFFIXES):
            item = _named_by(Path(file).parts[:-1], file)
            if item.label:
                yield item


LAYOUTS: dict[str, Callable[[Path], Iterator[Item]]] = {
    "real_fake": real_fake,
    "faceforensics": faceforensics,
    "celeb_df": celeb_df,
    "dfdc": dfdc,
    "images": images,
}


def choose(
    items: Iterable[Item], methods: Sequence[str] | None, compressions: Sequence[str] | None, per_class: int | None
) -> list[Item]:
    """Filter items, and sort them by file.

    Parameters
    ----------
    items
        All items.
    methods
        The methods of the fakes to keep; None keeps all. Real items stay.
    compressions
        The compressions to keep; None keeps all. Items without one stay.
    per_class
        The largest number of items of a class; None for no limit. They are drawn by a hash of their names, from
        the methods in turn, so that the draw depends little on the other files in the folder.

    Returns
    -------
    list of Item

    Examples
    --------
    >>> items = [Item("real/a.mp4", "real"), Item("x/b.mp4", "fake", method="x"), Item("y/c.mp4", "fake", method="y")]
    >>> [item.file for item in choose(items, ["y"], None, None)]
    ['real/a.mp4', 'y/c.mp4']
    """
    kept = [
        item
        for item in items
        if (methods is None or item.label == "real" or item.method in methods)
        and (compressions is None or not item.compression or item.compression in compressions)
    ]
    if per_class is not None:
        kept = [item for label in LABELS for item in _drawn([i for i in kept if i.label == label], per_class)]
    return sorted(kept, key=lambda item: item.file)


def _drawn(items: Sequence[Item], count: int) -> list[Item]:
    by_method: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: hashlib.sha256(os.fsencode(item.file)).digest()):
        by_method.setdefault(item.method, []).append(item)
    turns = sorted((turn, method) for method, own in by_method.items() for turn in range(len(own)))
    return [by_method[method][turn] for turn, method in turns[:count]]
