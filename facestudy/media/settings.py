"""Section `decoding` of params.yaml: what a video or picture may be, whatever its source."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from facestudy.core.settings import Section
from facestudy.media.video import Limits


class DecodingSettings(Section):
    """What a file may be, and what decoding it may take."""

    max_megapixels: Annotated[float, Field(gt=0)]
    max_duration_s: Annotated[float, Field(gt=0)]
    max_file_gb: Annotated[float, Field(gt=0)]
    max_frames: Annotated[int, Field(ge=1)]
    max_streams: Annotated[int, Field(ge=1)]
    max_time_s: Annotated[float, Field(gt=0)]
    max_memory_mb: Annotated[int, Field(ge=64)]

    @property
    def limits(self) -> Limits:
        """The same in pixels, seconds and bytes."""
        return Limits(
            int(self.max_megapixels * 1e6),
            self.max_duration_s,
            int(self.max_file_gb * 1e9),
            self.max_frames,
            self.max_streams,
            self.max_time_s,
            self.max_memory_mb,
        )
