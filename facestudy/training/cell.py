"""The trainings of one model on one crop variant, each an entry of the work cache.

This module does not import TensorFlow, which takes seconds; only the process that trains does.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from facestudy.alterations.settings import ALTERATIONS_FILE, ALTERED_SCORES, ALTERED_SUFFIX
from facestudy.core import tables
from facestudy.core.arrays import IntArray
from facestudy.core.errors import StudyError
from facestudy.core.settings import check
from facestudy.models.catalogue import builders
from facestudy.models.settings import ModelSettings, TrainSettings, training_seed
from facestudy.runtime import environment
from facestudy.runtime.parallel import ComputeSettings, has_gpu, map_items
from facestudy.runtime.work_cache import WorkCache, code_below, file_sha256, key_of, link_or_copy, working_folder
from facestudy.training.data import crops_and_copies, store_pictures

WEIGHTS = "model.weights.h5"


@dataclass(frozen=True)
class Crops:
    """The crops of a variant.

    Attributes
    ----------
    folder : Path
    table : DataFrame
        Rows of tables.CROPS, indexed by face_id: the faces of a split, then their misplaced copies.
    altered_folder : Path
    altered : DataFrame
        Rows of tables.CROPS, indexed by alteration and face_id: the test faces with each alteration.
    """

    folder: Path
    table: pd.DataFrame
    altered_folder: Path
    altered: pd.DataFrame

    def altered_rows(self, split: pd.DataFrame) -> IntArray:
        """Find the altered test faces of a split.

        Parameters
        ----------
        split : DataFrame
            Rows of tables.SPLIT.

        Returns
        -------
        ndarray of int, shape (alterations, faces)
            Their rows in `altered`; faces are in the order of `split`.

        Raises
        ------
        StudyError
            When a face has no crop.
        """
        names, tested = self.altered.index.unique("alteration"), split.loc[split["subset"] == "test", "face_id"]
        wanted = pd.MultiIndex.from_product([names, tested])
        rows = self.altered.index.get_indexer(wanted)
        if (rows < 0).any():
            name, face = wanted[int((rows < 0).argmax())]
            raise StudyError(f"{self.altered_folder / name} has no crop of the face {face}; run `dvc repro`.")
        return np.asarray(rows.reshape(len(names), len(tested)))


def read_crops(folder: Path, altered: Path, split: pd.DataFrame) -> Crops:
    """Read the tables of the crops of a variant.

    Parameters
    ----------
    folder : Path
        The crops, with tables of tables.CROPS.
    altered : Path
        The altered crops, a folder for each alteration.
    split : DataFrame
        Rows of tables.SPLIT: the faces that are used.

    Returns
    -------
    Crops

    Raises
    ------
    StudyError
        When a table cannot be read or a face has no crop.
    """
    table, path = crops_and_copies(folder, split), altered / ALTERATIONS_FILE
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read ({error}); `dvc repro` makes it.") from None
    parts = []
    for name in check(list[str], names, "alterations", str(path)):
        part = tables.read(altered / name / "index.csv", tables.CROPS)
        parts.append(part.assign(path=f"{name}/" + part["path"], alteration=name))
    empty = pd.DataFrame(columns=[*tables.CROPS.names(), "alteration"])
    return Crops(folder, table, altered, pd.concat(parts or [empty]).set_index(["alteration", "face_id"]))


class Training(NamedTuple):
    """One training of the cell.

    Attributes
    ----------
    name : str
        Of its files.
    repeat : int
        The number of its split.
    seed : int
        Of its generators.
    key : str
        Of its entry in the work cache.
    altered_key : str
        Of the entry with its scores of altered faces; empty without alterations.
    """

    name: str
    repeat: int
    seed: int
    key: str
    altered_key: str

    @property
    def keys(self) -> set[str]:
        """The keys of its entries."""
        return {self.key, self.altered_key} - {""}


def plan(
    seeds: Sequence[int],
    variant: str,
    splits: Mapping[int, pd.DataFrame],
    crops: Crops,
    settings: ModelSettings,
    common: TrainSettings,
) -> list[Training]:
    """List the trainings of a cell: every seed on every split. Without epochs, those of one split share their key.

    Parameters
    ----------
    seeds : sequence of int
    variant : str
    splits : mapping of int to DataFrame
        By number: rows of tables.SPLIT, of the same faces in the same order.
    crops : Crops
    settings : ModelSettings
    common : TrainSettings
        The settings of all trainings.

    Returns
    -------
    list of Training
        The key is a hash of everything that decides the bytes of the training.

    Raises
    ------
    StudyError
        When a test face has no altered crop.
    """
    variables = environment.decisive()
    library = variables["KERAS_BACKEND"]
    weights = Path(settings.weights or "")
    shared = [
        [crops.table["sha256"].tolist(), common.model_dump()],
        settings.model_dump(),
        file_sha256(weights) if weights.is_file() else None,
        [library, version(library), version("keras"), has_gpu()],
        variables,
        code_below("facestudy.training.loop", builders()[settings.network].module),
    ]
    found = []
    for repeat, split in splits.items():
        subsets = [split["subset"].tolist(), split["label"].tolist()]
        altered = crops.altered["sha256"].to_numpy()[crops.altered_rows(split)].tolist()
        for seed in seeds:
            number = (
                training_seed(seed, variant, repeat) if settings.epochs else 0
            )  # without training, all are the same
            name, key = tables.training_name(seed, repeat, len(splits)), key_of(shared, subsets, number)
            found.append(Training(name, repeat, number, key, key_of(key, altered) if altered else ""))
    return found


def train_all(
    trainings: Sequence[Training],
    splits: Mapping[int, pd.DataFrame],
    crops: Crops,
    settings: ModelSettings,
    common: TrainSettings,
    compute: ComputeSettings,
    cache: Path,
    cell: str,
) -> tuple[dict[str, Path], int]:
    """Run the trainings that the work cache lacks, side by side, and let each score the altered faces.

    Parameters
    ----------
    trainings : sequence of Training
    splits : mapping of int to DataFrame
    crops : Crops
    settings : ModelSettings
    common : TrainSettings
        As in `plan`.
    compute : ComputeSettings
        Section `compute` of the settings.
    cache : Path
        The work cache's folder.
    cell : str
        How errors and the progress bar name the model and the variant.

    Returns
    -------
    entries : dict of str to Path
        Every entry of the trainings by its key.
    trained : int
        How many trainings the work cache lacked.

    Raises
    ------
    StudyError
        When a picture is not the one that was stored, also where no training is missing, or a training fails.
    """
    keys = [key for one in trainings for key in one.keys]
    entries = {key: entry for key in keys if (entry := WorkCache(cache).find(key)) is not None}
    missing = [*{one.key: one for one in trainings if not one.keys <= entries.keys()}.values()]
    trained = sum(one.key not in entries for one in missing)
    if has_gpu():  # one training fills it
        compute = compute.model_copy(update={"workers": 1})
    cache.mkdir(parents=True, exist_ok=True)
    with working_folder(cache) as scratch:
        pictures, altered = scratch / "pictures.npy", scratch / "altered.npy"
        store_pictures(crops.folder, crops.table, pictures)
        if len(crops.altered):
            store_pictures(crops.altered_folder, crops.altered, altered)
        work = functools.partial(
            train_one,
            splits={number: split[["subset", "label"]] for number, split in splits.items()},
            pictures=pictures,
            altered_rows={number: crops.altered_rows(split) for number, split in splits.items()},
            altered=altered,
            settings=settings,
            common=common,
            cache=cache,
            cell=cell,
            quiet=len(missing) > 1 or compute.backend == "dask",
        )
        for new in map_items(work, missing, compute, cell):
            entries |= new
    return entries, trained


def train_one(
    training: Training,
    splits: Mapping[int, pd.DataFrame],
    pictures: Path,
    altered_rows: Mapping[int, IntArray],
    altered: Path,
    settings: ModelSettings,
    common: TrainSettings,
    cache: Path,
    cell: str,
    quiet: bool,
) -> dict[str, Path]:
    """Run a training into its entry of the work cache, and let it score the altered faces into another.

    Parameters
    ----------
    training : Training
    splits : mapping of int to DataFrame
        The columns subset and label, by number.
    pictures : Path
        What `facestudy.training.data.store_pictures` wrote.
    altered_rows : mapping of int to ndarray
        By split, see `Crops.altered_rows`.
    altered : Path
        The altered crops, as `pictures`; not read without alterations.
    settings : ModelSettings
    common : TrainSettings
    cache : Path
        The work cache's folder.
    cell : str
        How errors name the model and the variant.
    quiet : bool
        Show no progress bar.

    Returns
    -------
    dict of str to Path
        The entries by key, with the files of `facestudy.training.loop.train_seed` and of `score_altered`.

    Raises
    ------
    StudyError
        See `train_seed`.
    """
    from facestudy.training import loop

    train = functools.partial(
        loop.train_seed,
        split=splits[training.repeat],
        pictures=pictures,
        settings=settings,
        common=common,
        seed=training.seed,
        quiet=quiet,
    )
    try:
        trained = WorkCache(cache).entry(training.key, train)
        if not training.altered_key:
            return {training.key: trained}
        score = functools.partial(
            loop.score_altered,
            weights=trained / WEIGHTS,
            rows=altered_rows[training.repeat],
            pictures=altered,
            settings=settings,
            common=common,
        )
        return {training.key: trained, training.altered_key: WorkCache(cache).entry(training.altered_key, score)}
    except StudyError as error:
        raise StudyError(f"{cell}, seed {training.name}: {error}") from None


def write_results(
    trainings: Sequence[Training],
    entries: Mapping[str, Path],
    splits: Mapping[int, pd.DataFrame],
    crops: Crops,
    models: Path,
    predictions: Path,
) -> None:
    """Write the weights, the history and the scores of trainings.

    Parameters
    ----------
    trainings : sequence of Training
    entries : mapping of str to Path
        As `train_all` returned them.
    splits : mapping of int to DataFrame
    crops : Crops
        As in `plan`.
    models : Path
        The folder for <training>/model.weights.h5 and history.csv.
    predictions : Path
        The folder for <training>.csv (tables.PREDICTIONS) and <training>.altered.csv (ALTERED_SCORES), which has no
        rows without alterations.
    """
    for one in trainings:
        for name in (WEIGHTS, "history.csv"):
            link_or_copy(entries[one.key] / name, models / one.name / name)
        scored = splits[one.repeat].query("subset != 'train'").assign(p_fake=np.load(entries[one.key] / "p_fake.npy"))
        tables.write(predictions / f"{one.name}.csv", scored[tables.PREDICTIONS.names()], tables.PREDICTIONS)
        rows = crops.altered_rows(splits[one.repeat]).ravel()
        altered = crops.altered.index[rows].to_frame(index=False)
        altered["p_fake"] = np.load(entries[one.altered_key] / "p_fake.npy").ravel() if one.altered_key else []
        tables.write(predictions / f"{one.name}{ALTERED_SUFFIX}", altered, ALTERED_SCORES)


def summary(cell: str, histories: Sequence[pd.DataFrame], run_now: int) -> str:
    """Say how many trainings a cell has, which epochs they keep, and their validation AUC.

    Parameters
    ----------
    cell : str
    histories : sequence of DataFrame
        history.csv of each training.
    run_now : int
        How many of them were not in the work cache.
    """
    kept = [history.query("selected == 1").iloc[0] for history in histories]
    epochs = ", ".join(f"{row['epoch']:.0f}" for row in kept)
    aucs = [row["validation_auc"] for row in kept]
    reached = f"validation AUC {min(aucs):.3f} to {max(aucs):.3f}"
    if not any(row["epoch"] for row in kept):
        return f"{cell}: not trained, weights as given ({reached})"
    return (
        f"{cell}: {len(kept)} training{'s' if len(kept) > 1 else ''} ({run_now} run now), {len(histories[0])} epochs; "
        f"epochs kept: {epochs} ({reached})"
    )
