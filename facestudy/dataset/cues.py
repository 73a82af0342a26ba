"""What file size, colour, sharpness and the box alone reveal about the class of a clip.

A detector that only notices such things has not looked for a manipulation. Here a logistic
regression tries it. A network's result means something only if it is far above what the regression reaches.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from facestudy.core.arrays import FloatArray, Picture
from facestudy.faces.face import Face
from facestudy.faces.quality import sharpness

CUES = (
    "log_file_size",
    "mean_red",
    "mean_green",
    "mean_blue",
    "log_sharpness_frame",
    "log_sharpness_box",
    "box_x",
    "box_y",
    "box_w",
    "box_h",
)
CUE_GROUPS = {
    "file size": ("log_file_size",),
    "mean colour": ("mean_red", "mean_green", "mean_blue"),
    "sharpness": ("log_sharpness_frame", "log_sharpness_box"),
    "box": ("box_x", "box_y", "box_w", "box_h"),
    "all": CUES,
}


def _sharpness(picture: Picture) -> float:
    return sharpness(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))


def clip_cues(file_bytes: int, pictures: Sequence[Picture], faces: Sequence[Face | None]) -> FloatArray:
    """The cues of one clip, means over its frames.

    Parameters
    ----------
    file_bytes
        The size of the video file.
    pictures : sequence of ndarray of shape (h, w, 3), uint8
        Its frames, RGB.
    faces
        The face found in each frame, or None. Frames without a face count for the colour and sharpness of the frame
        only.

    Returns
    -------
    ndarray of shape (10,)
        In the order of CUES. When no frame has a face, the cues of the box are NaN.
    """
    boxes, inside = [], []
    for picture, face in zip(pictures, faces, strict=True):
        if face is None:
            continue
        boxes.append((face.x, face.y, face.w, face.h))
        x0, y0 = max(0, round(face.x)), max(0, round(face.y))
        inside.append(_sharpness(picture[y0 : round(face.y + face.h), x0 : round(face.x + face.w)]))
    colour = np.mean([picture.mean(axis=(0, 1)) for picture in pictures], axis=0)
    whole = np.log(np.mean([_sharpness(picture) for picture in pictures]) + 1e-6)
    box = np.mean(boxes, axis=0) if boxes else np.full(4, np.nan)
    within = np.log(np.mean(inside) + 1e-6) if inside else np.nan
    return np.array([np.log(file_bytes), *colour, whole, within, *box])


def cue_auc(
    cues: FloatArray,
    fake: npt.ArrayLike,
    groups: npt.ArrayLike,
    names: Sequence[str] = CUES,
    folds: int = 5,
) -> float:
    """ROC AUC of a logistic regression on some of the cues, cross-validated by group.

    Parameters
    ----------
    cues : ndarray of shape (n, 10)
        One row per clip, in the order of CUES; rows with a missing cue are left out.
    fake : array_like of shape (n,)
        0 or 1.
    groups : array_like of shape (n,)
        The people; nobody is in training and test at once.
    names
        The cues to use.
    folds
        In how many parts the groups are divided.

    Returns
    -------
    float
        0 to 1. With cues that tell nothing it is near .5 or below.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> cues = rng.normal(size=(80, len(CUES)))
    >>> cues[::2, 4] += 5
    >>> round(cue_auc(cues, np.arange(80) % 2 == 0, np.arange(80) // 2), 2)
    1.0
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    columns = [CUES.index(name) for name in names]
    used = np.isfinite(cues[:, columns]).all(axis=1)
    truth = np.asarray(fake, bool)[used]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    scores = cross_val_predict(
        model,
        cues[used][:, columns],
        truth,
        groups=np.asarray(groups)[used],
        cv=GroupKFold(folds),
        method="decision_function",
    )
    return float(roc_auc_score(truth, scores))
