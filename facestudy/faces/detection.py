"""Faces in frames: find them with MTCNN, choose among them, follow a person through a clip, cut them out.

MTCNN is the package `mtcnn` (Zhang et al. 2016, arXiv:1604.02878). It takes RGB pictures. It searches reduced copies
of the frames, where it finds faces several times faster. Coordinates are in pixels of the source frame;
the centre of a pixel has whole coordinates.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from pydantic import Field

from facestudy.core.arrays import Picture
from facestudy.core.errors import StudyError
from facestudy.core.regions import LANDMARKS
from facestudy.core.settings import Section
from facestudy.faces.face import Face
from facestudy.faces.quality import QualitySettings
from facestudy.media.frames import reduce
from facestudy.runtime.work_cache import file_sha256

CANVAS_STEP = 64
"""Copies are padded to multiples of this many pixels, because every new picture size costs MTCNN time and memory."""

SMALLEST_SIDE = 24
"""Pixels; below it the first network's 12 px window does not fit at the scales searched."""

WEIGHTS = {
    "pnet.lz4": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet.lz4": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet.lz4": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}
"""The sha256 of each network's weights in the package mtcnn 1.0.0. Reading them runs any code that they contain."""

LATER_SIDES = (24, 48)
"""Sides of the pictures that the second and the third network take, pixels; the first takes any size."""
SMALLEST_FACE, SCALE_FACTOR = 20, 0.709
"""Side of the smallest face searched for, pixels, and of one reduced copy to the next: mtcnn's own."""
PROPOSAL_CONFIDENCE, OVERLAP_OF_SCALE, OVERLAP_OF_ALL = 0.6, 0.5, 0.7
"""Of the first network's boxes: the least confidence, the overlap within a copy and between copies; mtcnn's own."""


class FaceSettings(Section):
    """Section `faces` of params.yaml."""

    min_confidence: Annotated[float, Field(ge=0, le=1)]
    detect_side: Annotated[int, Field(ge=64)]
    batch: Annotated[int, Field(ge=1)]
    all: bool
    track_overlap: Annotated[float, Field(gt=0, lt=1)]
    quality: QualitySettings

    def of_search(self) -> dict[str, object]:
        """Return the settings that decide what is found and cut out; the others only choose among the faces found."""
        return self.model_dump(exclude={"track_overlap", "quality"})


class _Detector:
    """The networks of the package mtcnn; they give the same numbers as its `MTCNN.detect_faces`.

    Each network is one graph for pictures of all sizes, whereas the package runs each layer on its own. Pictures are
    converted once, whereas the package converts them again for each scale. This takes less than half of the CPU time.
    """

    def __init__(self) -> None:
        from facestudy.runtime import backend

        assert backend.name()  # must start TensorFlow with the study's environment before mtcnn imports it

        import mtcnn
        import tensorflow
        from mtcnn.stages import StageONet, StagePNet, StageRNet

        # Absolute paths: a bare name is searched for in the working directory first.
        paths = checked_weights(Path(mtcnn.__file__).parent / "assets/weights")
        networks = (StagePNet, StageRNet, StageONet)
        first, *self._later = [stage(weights=path) for stage, path in zip(networks, paths, strict=True)]
        for stage, side in zip(self._later, LATER_SIDES, strict=True):
            signature = [tensorflow.TensorSpec((None, side, side, 3), tensorflow.float32)]
            stage._model = tensorflow.function(stage._model, input_signature=signature, autograph=False)

        @functools.cache
        def pyramid(scales: int) -> Any:
            """A graph that runs the first network on reduced copies of the pictures."""

            def run(pictures: Any, sizes: Any) -> list[Any]:
                copies = [tensorflow.image.resize(pictures, sizes[scale], method="area") for scale in range(scales)]
                return [first._model(copy) for copy in copies]

            signature = [
                tensorflow.TensorSpec((None, None, None, 3), tensorflow.float32),
                tensorflow.TensorSpec((scales, 2), tensorflow.int32),
            ]
            return tensorflow.function(run, input_signature=signature, autograph=False)

        self._pyramid = pyramid
        self._tensorflow = tensorflow

    def search(self, pictures: Picture) -> list[list[dict[str, Any]]]:
        """Find the faces in pictures of one size, shape (n, height, width, 3); [] when there is none in any."""
        from mtcnn.utils import bboxes

        try:
            with self._tensorflow.device("CPU:0"):  # a GPU rounds differently
                normalised = self._tensorflow.constant((pictures.astype(np.float32) - 127.5) / 128)
                boxes = self._proposals(normalised)
                for stage in self._later:
                    boxes = stage(bboxes_batch=boxes, images_normalized=normalised)
        except self._tensorflow.errors.InvalidArgumentError:  # a network got no box; other faults look the same
            boxes = np.empty((0, 16))
        found: list[list[dict[str, Any]]] = bboxes.to_json(
            boxes, images_count=len(pictures), output_as_width_height=True, input_as_width_height=False
        )
        return found

    def _proposals(self, pictures: Any) -> Any:
        """Find where the first network sees faces: mtcnn's StagePNet, with its thresholds."""
        from mtcnn.utils import bboxes
        from mtcnn.utils.images import build_scale_pyramid

        count, height, width, _ = pictures.shape
        scales = build_scale_pyramid(width, height, min_face_size=SMALLEST_FACE, scale_factor=SCALE_FACTOR)
        sizes = (scales[:, None] * [height, width]).astype(np.int32)
        found = []
        for scale, answers in zip(scales, self._pyramid(len(scales))(pictures, sizes), strict=True):
            seen = bboxes.generate_bounding_box(answers[0], answers[1], PROPOSAL_CONFIDENCE)
            seen = bboxes.upscale_bboxes(seen, np.full(count, scale))
            found.append(bboxes.smart_nms_from_bboxes(seen, threshold=OVERLAP_OF_SCALE, initial_sort=False))
        kept = bboxes.smart_nms_from_bboxes(np.concatenate(found), threshold=OVERLAP_OF_ALL, initial_sort=True)
        return bboxes.resize_to_square(kept)


@functools.cache
def _detector() -> _Detector:
    """Load the detector, once per process, as that takes seconds."""
    return _Detector()


def checked_weights(folder: Path) -> list[str]:
    """Check the sha256 of MTCNN's weights.

    Parameters
    ----------
    folder : Path
        The folder with the files named in WEIGHTS.

    Returns
    -------
    list of str
        The absolute paths of the weights, in the order of the networks.

    Raises
    ------
    StudyError
        When a file is missing or has another sha256; the message names the file.
    """
    paths = [folder.absolute() / name for name in WEIGHTS]
    for path, sha256 in zip(paths, WEIGHTS.values(), strict=True):
        if not path.is_file() or file_sha256(path) != sha256:
            raise StudyError(
                f"{path} is not the file of the pinned package mtcnn (its sha256 differs) and is not opened; "
                "remove .venv and run `make env`."
            )
    return [str(path) for path in paths]


def detect(pictures: Sequence[Picture], settings: FaceSettings) -> list[list[Face]]:
    """Find the faces in each picture.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (height, width, 3)
        RGB, any sizes.
    settings : FaceSettings
        `detect_side` is the longer side of the copies that are searched, in pixels. One forward pass takes up to
        `batch` pictures.

    Returns
    -------
    list of list of Face
        The faces of each picture, in the order of MTCNN, in pixels of that picture.

    References
    ----------
    Zhang et al., Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks, 2016,
    arXiv:1604.02878.

    Examples
    --------
    >>> settings = FaceSettings(min_confidence=0.9, detect_side=640, batch=8, all=False, track_overlap=0.3,
    ...                         quality=dict.fromkeys(QualitySettings.model_fields))
    >>> detect([np.zeros((240, 320, 3), np.uint8)], settings)
    [[]]
    """
    copies = [reduce(picture, settings.detect_side) for picture in pictures]
    found: list[list[Face]] = []
    for start in range(0, len(copies), settings.batch):
        batch = copies[start : start + settings.batch]
        answers = _detect_batch(batch)
        if len(batch) > 1 and not any(answers):
            # After an error in a batch, the package returns no face for all pictures: try them one by one.
            answers = [_detect_batch([copy])[0] for copy in batch]
        for picture, copy, answer in zip(pictures[start:], batch, answers, strict=False):
            scale = picture.shape[1] / copy.shape[1], picture.shape[0] / copy.shape[0]
            found.append([_scaled(face, scale) for face in answer])
    return found


def _detect_batch(copies: Sequence[Picture]) -> list[list[dict[str, Any]]]:
    height, width = (-(-max(copy.shape[axis] for copy in copies) // CANVAS_STEP) * CANVAS_STEP for axis in (0, 1))
    canvases = np.zeros((len(copies), height, width, 3), np.uint8)
    for canvas, copy in zip(canvases, copies, strict=True):
        canvas[: copy.shape[0], : copy.shape[1]] = copy
    answers = _detector().search(canvases)
    # Without a face in any picture, the package returns one empty list instead of one per picture.
    return list(answers) if len(answers) == len(copies) else [[] for _ in copies]


def _scaled(face: dict[str, Any], scale: tuple[float, float]) -> Face:
    """Convert a face of the reduced copy to pixels of the picture; the centres of pixels have whole coordinates."""
    x, y, w, h = (float(value) for value in face["box"])
    points = np.array([face["keypoints"][name] for name in LANDMARKS], float)
    return Face(
        x=(x + 0.5) * scale[0] - 0.5,
        y=(y + 0.5) * scale[1] - 0.5,
        w=w * scale[0],
        h=h * scale[1],
        confidence=float(face["confidence"]),
        landmarks=(points + 0.5) * np.array(scale) - 0.5,
    )


def select(faces: Sequence[Face], shape: tuple[int, ...], settings: FaceSettings) -> tuple[list[Face], str]:
    """Choose the plausible, upright faces above the confidence threshold.

    Parameters
    ----------
    faces : sequence of Face
        The faces of one frame.
    shape : tuple of int
        Shape of the frame: height, width and possibly channels, in pixels.
    settings : FaceSettings
        `min_confidence` is the threshold. Without `all`, only the largest face is chosen.

    Returns
    -------
    faces : list of Face
        The largest first; empty when no face is chosen.
    reason : str
        Why no face is chosen: "frame_too_small", "no_face", "low_confidence", "implausible_landmarks" or "not_upright".
        "" when there are faces.
    """
    if min(shape[:2]) < SMALLEST_SIDE:
        return [], "frame_too_small"
    if not faces:
        return [], "no_face"
    sure = [face for face in faces if face.confidence > settings.min_confidence]
    if not sure:
        return [], "low_confidence"
    plausible = [face for face in sure if is_plausible(face)]
    if not plausible:
        return [], "implausible_landmarks"
    upright = [face for face in plausible if is_upright(face)]
    if not upright:
        return [], "not_upright"
    ordered = sorted(upright, key=lambda face: (face.w * face.h, face.confidence), reverse=True)
    return ordered if settings.all else ordered[:1], ""


Boxes = Sequence[tuple[float, float, float, float]]
"""x, y, w, h of the faces in one frame, the largest first."""


def tracks(frames: Sequence[Boxes], overlap: float) -> list[list[int]]:
    """Number the persons of a clip: a track number for every face of every frame.

    A face joins the track whose last box it overlaps most, provided that the intersection over union is at least
    `overlap`. Each track has at most one face per frame. A face that overlaps no track begins a new one.

    Parameters
    ----------
    frames : sequence of Boxes
        The boxes x, y, w, h of the faces of each frame, in pixels.
    overlap : float
        The least intersection over union, in (0, 1).

    Returns
    -------
    list of list of int
        The track numbers of the faces of each frame, from 0.

    Examples
    --------
    >>> tracks([[(0, 0, 10, 10)], [(50, 0, 12, 12), (1, 0, 10, 10)], [], [(0, 1, 10, 10)]], 0.3)
    [[0], [1, 0], [], [0]]
    """
    last: list[tuple[float, float, float, float]] = []
    numbers = []
    for boxes in frames:
        pairs = sorted(
            ((intersection_over_union(box, before), -track, -row) for row, box in enumerate(boxes)
             for track, before in enumerate(last)),
            reverse=True,
        )  # fmt: skip
        found: dict[int, int] = {}
        for shared, minus_track, minus_row in pairs:
            if shared >= overlap and -minus_row not in found and -minus_track not in found.values():
                found[-minus_row] = -minus_track
        for row, box in enumerate(boxes):
            if row not in found:
                found[row] = len(last)
                last.append(box)
            last[found[row]] = box
        numbers.append([found[row] for row in range(len(boxes))])
    return numbers


def intersection_over_union(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Compute the area shared by two boxes, divided by the area that they cover together.

    Parameters
    ----------
    first, second : tuple of float
        x, y, w, h in any unit of length.

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> intersection_over_union((0, 0, 2, 2), (1, 0, 2, 2))
    0.3333333333333333
    """
    across = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    down = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    if across <= 0 or down <= 0:
        return 0.0
    shared = across * down
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def is_plausible(face: Face) -> bool:
    """Check whether box and landmarks can be those of a face.

    Parameters
    ----------
    face : Face
        A face as MTCNN reports it.

    Returns
    -------
    bool
        True when the box is at least 1 pixel wide and high, the landmarks are finite, the eyes are at least 2 pixels
        apart and the mouth is below them, seen in the direction of the face.
    """
    left_eye, right_eye, _, mouth_left, mouth_right = face.landmarks
    if min(face.w, face.h) < 1 or not np.isfinite(face.landmarks).all():
        return False
    across = right_eye - left_eye
    down = (mouth_left + mouth_right - left_eye - right_eye) / 2
    # The mouth is on the same side of the eyes as the chin: the cross product is positive.
    return bool(np.hypot(*across) >= 2 and across[0] * down[1] - across[1] * down[0] > 0)


def is_upright(face: Face) -> bool:
    """Check whether a face is upright.

    Parameters
    ----------
    face : Face
        A face with plausible landmarks.

    Returns
    -------
    bool
        True when the eyes are above the mouth, and the line through them is within 45 degrees of the horizontal.
    """
    left_eye, right_eye, _, mouth_left, mouth_right = face.landmarks
    across = right_eye - left_eye
    down = mouth_left + mouth_right - left_eye - right_eye
    return bool(abs(across[1]) <= across[0] and down[1] > 0)


def cut_out(picture: Picture, face: Face) -> Face:
    """Cut a face out of its frame: a square of twice the longer side of the box, around the centre of the box.

    The cut-out has the resolution of the frame and always the full size: beyond the frame, the edge pixels are
    repeated.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        The frame, RGB.
    face : Face
        A face of this frame.

    Returns
    -------
    Face
        The face with its cut-out. Its numbers are rounded to the decimals of the faces table.
    """
    height, width = picture.shape[:2]
    side = max(2, round(2 * max(face.w, face.h)))
    x = round(face.x + face.w / 2 - side / 2)
    y = round(face.y + face.h / 2 - side / 2)
    x0, y0 = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    x1, y1 = min(max(x + side, x0 + 1), width), min(max(y + side, y0 + 1), height)
    inside: Picture = picture[y0:y1, x0:x1]
    # A box entirely outside the frame still gets a square of the right size, filled with the nearest edge.
    top, left = min(max(y0 - y, 0), side - (y1 - y0)), min(max(x0 - x, 0), side - (x1 - x0))
    bottom, right = side - (y1 - y0) - top, side - (x1 - x0) - left
    padded = cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_REPLICATE)
    valid = (left, top, side - right, side - bottom)
    return replace(face.rounded(), picture=padded, cut_x=x, cut_y=y, cut_scale=1.0, valid=valid)
