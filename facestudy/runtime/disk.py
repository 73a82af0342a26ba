"""How many bytes pictures and weights take on the disk: for estimates before a run and messages about a full disk."""

from __future__ import annotations

FRAME_BYTES = {"png": 1.2, "jpg": 0.23}
"""Bytes per pixel of a frame of real video, by format. Of 32 web clips, nine in ten take less."""
CUT_OUT_SIDE = 0.8
"""Side of a cut-out as a share of the frame's height: a face of two fifths, cut out at twice its size."""
CROP_BYTES = 1.5
"""Bytes per pixel of a stored crop (PNG)."""
CLIP_BYTES = 0.15
"""Bytes per pixel of a frame of a sample clip (H.264 of noisy pictures) and its truth."""

WEIGHTS_BYTES = {"meso4": 0.0, "mesoinception4": 0.0, "vgg19": 80e6, "resnet50": 94e6}
"""Size of a network's weights at width 1; the rest of the file takes WEIGHTS_FILE_BYTES."""
WEIGHTS_FILE_BYTES = 300e3


def frame_bytes(pixels: float, picture_format: str) -> float:
    """Estimate the size of a stored frame.

    Parameters
    ----------
    pixels
        The number of pixels of the frame.
    picture_format
        "png" or "jpg".

    Returns
    -------
    float
        Bytes.

    Examples
    --------
    >>> round(frame_bytes(640 * 360, "jpg"))
    52992
    """
    return pixels * FRAME_BYTES[picture_format]


def cut_out_bytes(frame_height: float) -> float:
    """Estimate the size in bytes of the cut-out of the face in a frame of this height in pixels."""
    return float((CUT_OUT_SIDE * frame_height) ** 2 * FRAME_BYTES["png"])


def crop_bytes(size: tuple[int, int]) -> float:
    """Estimate the size in bytes of a stored crop of this width and height in pixels."""
    return size[0] * size[1] * CROP_BYTES


def weights_bytes(network: str, width: float) -> float:
    """Estimate the size of the weights file of one trained network.

    Parameters
    ----------
    network
        A key of WEIGHTS_BYTES.
    width
        The factor on the number of filters. The size grows with its square, because both the input and the output
        of a layer grow with it.

    Returns
    -------
    float
        Bytes.

    Examples
    --------
    >>> weights_bytes("resnet50", 0.5) / 1e6
    23.8
    """
    return WEIGHTS_BYTES[network] * width**2 + WEIGHTS_FILE_BYTES
