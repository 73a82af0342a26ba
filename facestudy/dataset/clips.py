"""What became of each clip, from the source to the faces that were used, and its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from facestudy.core.tables import CLIPS

WORDS = {
    "used": "used",
    "unused": "left out by the split",
    "no_face": "without a face",
    "no_frame": "without a frame",
    "rejected": "rejected",
    "unavailable": "unavailable",
}
"""Meaning of each status of a clip, in the order in which they are reported."""
ENTERED = ("used", "unused")
"""Statuses of a clip that gave faces to the split."""


def clip_table(
    videos: pd.DataFrame,
    frames: pd.DataFrame,
    undecoded: pd.DataFrame,
    faces: pd.DataFrame,
    dropped: pd.DataFrame,
    split: pd.DataFrame,
) -> pd.DataFrame:
    """Make a table with one row for each clip.

    Parameters
    ----------
    videos, frames, undecoded, faces, dropped, split : DataFrame
        As tables.VIDEOS, FRAMES, UNDECODED, FACES, DROPPED and SPLIT.

    Returns
    -------
    DataFrame
        As tables.CLIPS. `status` is a key of WORDS. `reason` says what was lost, also for a clip that is used.
        `kept` and `subset` are those of the first split.
    """
    ids = videos["video_id"]
    kept = split[(split["repeat"] == 1) & (split["subset"] != "unused")]
    counts = {
        name: ids.map(rows["video_id"].value_counts()).fillna(0).astype("Int64")
        for name, rows in (("frames", frames), ("faces", faces), ("kept", kept))
    }
    usable = videos["status"] == "ok"
    status = np.select(
        [~usable, *(counts[name] == 0 for name in ("frames", "faces", "kept"))],
        [videos["status"], "no_frame", "no_face", "unused"],
        "used",
    )
    lost = [
        videos["reason"],
        ids.map(undecoded.set_index("video_id")["reason"]).fillna(""),
        ids.map(_listed(dropped)).fillna(""),
        pd.Series(np.where(status == "unused", WORDS["unused"], ""), index=videos.index),
    ]
    subset = ids.map(kept.groupby("video_id")["subset"].first()).fillna("")
    found = videos[["video_id", "label", "origin", "path"]].assign(
        status=status,
        reason=["; ".join(filter(None, reasons)) for reasons in zip(*lost, strict=True)],
        **counts,
        subset=subset.mask(status == "unused", "unused"),
    )
    return found[CLIPS.names()]


def _listed(dropped: pd.DataFrame) -> pd.Series:
    """List for each video why faces were left out, most frequent reason first, as in "3 no_face, 1 size_below_60"."""
    counts = dropped.groupby(["video_id", "reason"]).size().rename("count").reset_index()
    ordered = counts.sort_values(["count", "reason"], ascending=[False, True])
    texts = ordered["count"].astype(str) + " " + ordered["reason"]
    return texts.groupby(ordered["video_id"]).agg(", ".join)


def clip_scores(predictions: Sequence[pd.DataFrame]) -> pd.Series:
    """Average p_fake of each clip that was validated or tested, over trainings.

    Parameters
    ----------
    predictions : sequence of DataFrame
        As tables.PREDICTIONS, one for each training.

    Returns
    -------
    Series of float64
        Indexed by video_id. For each training, the score of a person is the mean over the person's faces, and the score
        of a clip is the greatest of its persons, as in facestudy.evaluation.scores.by_video.
    """
    each = [
        rows.groupby(["video_id", "track_id"])["p_fake"].mean().groupby("video_id").max().round(12)
        for rows in predictions
    ]
    return pd.concat(each).groupby("video_id").mean()


def with_scores(clips: pd.DataFrame, scores: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Add a column for each of the scores to the clips.

    Parameters
    ----------
    clips : DataFrame
        With a column video_id.
    scores : mapping of str to Series of float64
        Names of the new columns, and p_fake indexed by video_id, as `clip_scores` returns it.

    Returns
    -------
    DataFrame
        A copy; the score of a clip without predictions is missing.

    Examples
    --------
    >>> clips = pd.DataFrame({"video_id": ["a", "b"]})
    >>> with_scores(clips, {"mesonet.full": pd.Series({"a": 0.75})})["mesonet.full"].tolist()
    [0.75, nan]
    """
    return clips.assign(**{name: clips["video_id"].map(score) for name, score in scores.items()})


def counted(clips: pd.DataFrame) -> str:
    """Count the clips of each status, as in "12 clips: 10 used, 2 rejected".

    Parameters
    ----------
    clips : DataFrame
        With a column status.

    Returns
    -------
    str
        The counts in the order of WORDS.
    """
    counts = clips["status"].value_counts()
    told = ", ".join(f"{counts[status]} {words}" for status, words in WORDS.items() if status in counts)
    return f"{len(clips)} clip{'' if len(clips) == 1 else 's'}: {told}"
