"""Deepfake detectors on whole and cropped faces: the library behind the stages.

Notebooks and other programs need four calls of it; docs/notebooks.md has more examples.

    import facestudy

    faces = facestudy.find_faces(picture)           # uint8 RGB, (height, width, 3)
    model = facestudy.load_model("Meso4_DF")        # or models/<variant>/<model>/<training>
    crops = [facestudy.crop(face, model) for face in faces]
    p_fake = facestudy.score(model, crops)          # 0 to 1, one for each crop

Nothing is imported before it is used, TensorFlow least of all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facestudy.prediction.arrays import crop, find_faces, load_model, score

__all__ = ["crop", "find_faces", "load_model", "score"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("facestudy.prediction.arrays"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
