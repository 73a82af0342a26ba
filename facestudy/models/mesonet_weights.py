"""The weights that MesoNet's authors published, trained on deepfakes of the web of 2018 (Apache licence 2.0).

The networks they were trained with give P(real), and take pictures of 256 pixels. The module has no need of Keras.
"""

from __future__ import annotations

import os
from pathlib import Path

from facestudy.models.pinned import Pinned

PLACE = "https://raw.githubusercontent.com/DariusAf/MesoNet/f3aa786e8f87e0894dcf36f6dba2f77a25293566/weights"
"""The authors' repository."""
INPUT_SIZE = 256
"""The `input_size` of these networks, pixels."""
MAX_BYTES = 1_000_000
"""Five times the larger of the two files."""


def _pinned(name: str, sha256: str) -> Pinned:
    return Pinned(name, f"{PLACE}/{name}", sha256, MAX_BYTES)


PUBLISHED = {
    "meso4": _pinned("Meso4_DF.h5", "036ed30d04ffd9c7506f825b97c86aa64915f5818931da96817b169aad790af5"),
    "mesoinception4": _pinned(
        "MesoInception_DF.h5", "234586d40058e76ef8b6f27ca4b63c06e31c2a5a69c0d8ba6f30b1468ab7bafa"
    ),
}
"""By network."""


def cache_folder() -> Path:
    """Find the folder where published weights are kept: in the user's own cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "facestudy"
