"""Faces as they look in a clip that was encoded once more.

A quantizer is constant: it does not depend on the pictures, and frame n looks the same whatever follows it. Frames
refer to earlier ones back to a key frame, of which `facestudy.media.encoding` makes one every GROUP_OF_PICTURES frames.
So the frames from the key frame to the one that shows the face are enough, however long the clip is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from facestudy.core.arrays import Picture
from facestudy.core.errors import StudyError
from facestudy.faces.face import Face
from facestudy.faces.orientation import turned
from facestudy.media.archive import write_picture
from facestudy.media.encoding import GROUP_OF_PICTURES, encode, one_thread
from facestudy.media.frames import FrameSettings, reduce
from facestudy.media.video import OWN_FILES, Limits, MediaError, is_picture, read_picture, read_video

FPS = Fraction(25)
"""Of the new clip; with a constant quantizer it changes no pixel."""


@dataclass(frozen=True)
class Origin:
    """Where a face comes from.

    Attributes
    ----------
    path : Path
        The clip.
    frame_number : int
        Of the frame, in order of presentation, from 0.
    rotation : int
        Degrees clockwise by which its frames were turned.
    """

    path: Path
    frame_number: int
    rotation: int


@dataclass(frozen=True)
class Footage:
    """The clips that the faces were cut out of.

    Attributes
    ----------
    origins : mapping of str to Origin
        By the id of the face.
    settings : FrameSettings
        How frames are reduced and stored.
    limits : Limits
        What a clip may be.
    """

    origins: Mapping[str, Origin]
    settings: FrameSettings
    limits: Limits

    def stills(self) -> int:
        """The number of faces that come from a still picture, which has no clip to encode."""
        return sum(is_picture(origin.path) for origin in self.origins.values())


def origins(faces: pd.DataFrame, frames: pd.DataFrame, videos: pd.DataFrame, sources: Path) -> dict[str, Origin]:
    """Find out where faces come from.

    Parameters
    ----------
    faces, frames, videos : DataFrame
        As tables.FACES (the faces to look up), tables.FRAMES and tables.VIDEOS.
    sources : Path
        The folder of the videos.

    Returns
    -------
    dict of str to Origin
        By the id of the face.
    """
    numbers = frames.set_index("frame_id")["frame_number"]
    paths = videos.set_index("video_id")["path"]
    for name, known in (("frame", numbers.index), ("video", paths.index)):
        if len(lost := faces.loc[~faces[f"{name}_id"].isin(known), f"{name}_id"]):
            raise StudyError(
                f"data/{name}s/index.csv has no {name} {lost.iloc[0]}, which a face is from; run `dvc repro`."
            )
    return {
        row.face_id: Origin(sources / paths[row.video_id], int(numbers[row.frame_id]), int(row.rotation))
        for row in faces.itertuples()
    }


def recoded(cut_out: Picture, face: Face, footage: Footage, quantizer: int) -> Picture:
    """Cut a face out of its clip as it is after it was encoded again.

    Parameters
    ----------
    cut_out : ndarray of shape (side, side, 3), uint8
        The stored cut-out; only its size matters.
    face
        The face.
    footage
        The clips.
    quantizer
        Of H.264, 0 to 51.

    Returns
    -------
    ndarray of shape (side, side, 3), uint8
        RGB, the same part of the frame as `cut_out`.

    Raises
    ------
    StudyError
        When the clip cannot be read; the message names it.
    """
    origin = footage.origins[face.face_id]
    frame = recoded_frame(origin.path, origin.frame_number, quantizer, footage.limits)
    picture = turned(stored(frame, footage.settings), origin.rotation)
    side, left, top = len(cut_out), int(face.cut_x), int(face.cut_y)
    rows = np.clip(np.arange(top, top + side), 0, picture.shape[0] - 1)  # beyond the frame its edge is repeated
    columns = np.clip(np.arange(left, left + side), 0, picture.shape[1] - 1)
    return np.ascontiguousarray(picture[rows][:, columns])


def recoded_frame(path: Path, number: int, quantizer: int, limits: Limits) -> Picture:
    """Encode a clip again and decode one of its frames.

    Parameters
    ----------
    path
        The clip.
    number
        The frame, in order of presentation, from 0.
    quantizer
        Of H.264, 0 to 51.
    limits
        What the clip may be.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        RGB.

    Raises
    ------
    StudyError
        When the clip cannot be read; the message names it.
    """
    first = number - number % GROUP_OF_PICTURES
    try:
        read = list(read_video(path, range(first, number + 1), limits))
    except (MediaError, OSError) as error:
        raise StudyError(f"{path} cannot be read ({error}); `dvc repro` brings the videos back.") from None
    if not read or read[-1].number != number:
        raise StudyError(f"{path} has no frame {number} any more; `dvc repro -f` looks at the videos again.")
    height, width = read[-1].picture.shape[:2]
    edges = ((0, height % 2), (0, width % 2), (0, 0))  # H.264 with halved chroma needs even sides
    pictures = [np.pad(one.picture, edges, "edge") for one in read if one.picture.shape[:2] == (height, width)]
    with one_thread(), TemporaryDirectory() as folder:
        again = Path(folder) / "again.mp4"
        encode(iter(pictures), FPS, quantizer, again)
        (last,) = read_video(again, [len(pictures) - 1], OWN_FILES)
    return np.ascontiguousarray(last.picture[:height, :width])


def stored(frame: Picture, settings: FrameSettings) -> Picture:
    """Reduce and store a frame as the stage `frames` does, and read it again.

    Parameters
    ----------
    frame : ndarray of shape (height, width, 3), uint8
        RGB.
    settings
        Section `frames` of the settings.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        RGB.
    """
    frame = reduce(frame, settings.max_side)
    if settings.format == "png":
        return frame
    with TemporaryDirectory() as folder:
        path = Path(folder) / "frame.jpg"
        write_picture(path, frame, settings.jpg_quality)
        return read_picture(path, OWN_FILES.max_pixels)
