"""The trainings of one model on one crop variant: which there are, each an entry of the work cache.

It imports no TensorFlow, which takes seconds: only the process that trains does.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.models.settings import ModelSettings, training_seed
from facestudy.runtime import environment
from facestudy.runtime.parallel import has_gpu
from facestudy.runtime.work_cache import WorkCache, code_below, file_sha256, key_of


class Training(NamedTuple):
    """One training of the cell: its name, seed and split, the seed of its generators, its work-cache key."""

    name: str
    repeat: int
    seed: int
    key: str


def plan(
    seeds: Sequence[int],
    variant: str,
    splits: Mapping[int, pd.DataFrame],
    settings: ModelSettings,
    common: Sequence[object],
) -> list[Training]:
    """List the trainings of a cell: every seed on every split.

    Parameters
    ----------
    seeds : sequence of int
    variant : str
    splits : mapping of int to DataFrame
        By number: rows of tables.SPLIT, of the same faces in the same order.
    settings : ModelSettings
    common : sequence of object
        What else decides the bytes of a training: the pictures, the settings of all trainings.

    Returns
    -------
    list of Training
        The key is a hash of everything that decides the bytes of the training.
    """
    variables = environment.decisive()
    library = variables["KERAS_BACKEND"]
    weights = Path(settings.weights or "")
    shared = [
        common,
        settings.model_dump(),
        file_sha256(weights) if weights.is_file() else None,
        [library, version(library), version("keras"), has_gpu()],
        variables,
        code_below("facestudy.training.loop"),
    ]
    found = []
    for repeat, split in splits.items():
        subsets = [split["subset"].tolist(), split["label"].tolist()]
        for seed in seeds:
            number = training_seed(seed, variant, repeat)
            name = tables.training_name(seed, repeat, len(splits))
            found.append(Training(name, repeat, number, key_of(shared, subsets, number)))
    return found


def train_one(
    training: Training,
    splits: Mapping[int, pd.DataFrame],
    pictures: Path,
    settings: ModelSettings,
    select_on: str,
    cache: Path,
    cell: str,
    quiet: bool,
) -> Path:
    """Run a training into its entry of the work cache.

    Parameters
    ----------
    training : Training
    splits : mapping of int to DataFrame
        The columns subset and label, by number.
    pictures : Path
        What `facestudy.training.data.store_pictures` wrote.
    settings : ModelSettings
    select_on : str
        See `facestudy.training.loop.fit`.
    cache : Path
        The work cache's folder.
    cell : str
        How errors name the model and the variant.
    quiet : bool
        Show no progress bar.

    Returns
    -------
    Path
        The entry, with the files of `facestudy.training.loop.train_seed`.

    Raises
    ------
    StudyError
        See `train_seed`.
    """
    from facestudy.training.loop import train_seed

    build = functools.partial(
        train_seed,
        split=splits[training.repeat],
        pictures=pictures,
        settings=settings,
        select_on=select_on,
        seed=training.seed,
        quiet=quiet,
    )
    try:
        return WorkCache(cache).entry(training.key, build)
    except StudyError as error:
        raise StudyError(f"{cell}, seed {training.name}: {error}") from None


def summary(cell: str, histories: Sequence[pd.DataFrame], run_now: int) -> str:
    """Say how many trainings a cell has, which epochs they keep, and their validation AUC.

    Parameters
    ----------
    cell : str
    histories : sequence of DataFrame
        history.csv of each training.
    run_now : int
        How many of them ran in this process.
    """
    kept = [history.query("selected == 1").iloc[0] for history in histories]
    epochs = ", ".join(f"{row['epoch']:.0f}" for row in kept)
    aucs = [row["validation_auc"] for row in kept]
    return (
        f"{cell}: {len(kept)} training{'s' if len(kept) > 1 else ''} ({run_now} run now), {len(histories[0])} epochs; "
        f"epochs kept: {epochs} (validation AUC {min(aucs):.3f} to {max(aucs):.3f})"
    )
