"""Does the sample give the answer away? What file size, colour, sharpness and the box alone reveal.

A detector that only notices such things has not looked for a manipulation. Here a logistic
regression tries: what it reaches, a network's result has to beat by far to mean anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from facestudy.core.regions import FloatArray
from facestudy.faces.face import Face
from facestudy.faces.quality import sharpness
from facestudy.media.video import Picture

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
    """The cues of one clip in the order of CUES, means over its frames.

    file_bytes: size of the video file. pictures: RGB frames; faces: the face found in each, or None.
    Frames without a face count for colour and sharpness of the frame only; with none at all the
    cues of the box are NaN.
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

    cues: (n, len(CUES)), one row a clip; rows with a missing cue are left out. fake: (n,) 0 or 1.
    groups: (n,), the people; nobody is in training and test at once. Below .5 is chance as well.

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
