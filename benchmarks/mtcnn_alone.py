"""The package mtcnn by itself, in a process of its own with TensorFlow's own settings: what the stages are compared to.

`python -m benchmarks.mtcnn_alone` answers requests (facestudy.runtime.child). It imports nothing that sets threads or
instructions, and reads pictures as the earlier study does.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from facestudy.runtime.child import Child, serve

MIN_CONFIDENCE = 0.9
"""Of the earlier study."""
ANSWER_S = 3600.0
STUDY, BATCHES = "a new detector for each picture", "one detector, batches"


class Alone:
    """The process.

    Attributes
    ----------
    start_s : float
        Seconds that it took to start, imports and the first picture included.
    """

    def __init__(self, first: Path) -> None:
        start = time.perf_counter()
        self.child = Child((sys.executable, "-m", "benchmarks.mtcnn_alone"))
        self.search(STUDY, [[first]])
        self.start_s = time.perf_counter() - start

    def search(self, way: str, batches: Sequence[Sequence[Path]]) -> list[list[float] | None]:
        """Search pictures at their full size.

        Parameters
        ----------
        way : str
            STUDY or BATCHES.
        batches : sequence of sequence of Path
            The pictures of each batch have one size.

        Returns
        -------
        list
            x, y, w, h of the largest sure face of each picture; None where there is none.
        """
        request = {"way": way, "batches": [[str(path) for path in batch] for batch in batches]}
        found: list[list[float] | None] = self.child.ask(request, ANSWER_S)["faces"]
        return found


def main() -> None:
    serve(answer)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Search the pictures of a request."""
    from mtcnn import MTCNN  # here, so that `serve` keeps what TensorFlow prints from the terminal

    found: list[list[float] | None] = []
    for batch in request["batches"]:
        pictures = [cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB) for path in batch]
        if request["way"] == STUDY:
            found += [largest(MTCNN().detect_faces(picture)) for picture in pictures]
        else:
            answers = kept().detect_faces(pictures)
            # Without a face in any picture the package returns one empty list.
            found += [largest(one) for one in answers] if len(answers) == len(pictures) else [None] * len(pictures)
    return {"faces": found}


@functools.cache
def kept() -> Any:
    """The detector of BATCHES."""
    from mtcnn import MTCNN

    return MTCNN()


def largest(faces: Sequence[dict[str, Any]]) -> list[float] | None:
    """The box of the largest sure face."""
    boxes = [[float(value) for value in face["box"]] for face in faces if face["confidence"] > MIN_CONFIDENCE]
    return max(boxes, key=lambda box: box[2] * box[3], default=None)


if __name__ == "__main__":
    main()
