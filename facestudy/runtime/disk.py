"""How many bytes pictures and weights take on the disk: for estimates before a run and sentences on a full disk."""

from __future__ import annotations

FRAME_BYTES = {"png": 1.2, "jpg": 0.23}
"""A pixel of a frame of real video; a cut-out is PNG. From 32 web clips, nine of ten take less."""
CUT_OUT_SIDE = 0.8
"""Of the frame's height: a face of two fifths, cut out at twice its size."""
CROP_BYTES = 1.5
"""A pixel of a stored crop (PNG)."""
CLIP_BYTES = 0.15
"""A pixel of a frame of a sample clip (H.264 of noisy pictures) with what is known of it."""

WEIGHTS_BYTES = {"meso4": 0.0, "mesoinception4": 0.0, "vgg19": 80e6, "resnet50": 94e6}
"""The file of a network's weights at width 1, without what every such file has (WEIGHTS_FILE_BYTES)."""
WEIGHTS_FILE_BYTES = 300e3


def frame_bytes(pixels: float, picture_format: str) -> float:
    """Bytes of a stored frame, from its number of pixels."""
    return pixels * FRAME_BYTES[picture_format]


def cut_out_bytes(frame_height: float) -> float:
    """The cut-out of the face in a frame."""
    return float((CUT_OUT_SIDE * frame_height) ** 2 * FRAME_BYTES["png"])


def crop_bytes(size: tuple[int, int]) -> float:
    """A stored crop of size (width, height)."""
    return size[0] * size[1] * CROP_BYTES


def weights_bytes(network: str, width: float) -> float:
    """The weights of one trained network; the number of filters grows with the width on both sides of a layer."""
    return WEIGHTS_BYTES[network] * width**2 + WEIGHTS_FILE_BYTES
