"""Names for the types of arrays that the packages exchange."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""(height, width, 3) RGB, 0 to 255; also several of one size, (n, height, width, 3)."""
Layer = npt.NDArray[np.float32]
"""(height, width) or (height, width, channels), the picture or layer of one that is being drawn."""
FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]
