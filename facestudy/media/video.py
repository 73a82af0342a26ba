"""Videos and still pictures: what a file holds, and its frames as RGB arrays.

PyAV decodes, with the FFmpeg of its wheel. The wheel of OpenCV returns neither frames nor an error for AV1, a codec
that YouTube uses. A still picture is treated as a video of one frame.

Files are not trusted. Only the containers and codecs named here are opened, so that a file cannot be a script that
makes FFmpeg open other files, and `Limits` bound what is decoded. facestudy.media.decode limits the time and memory of
FFmpeg and survives its crashes.
"""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from PIL import Image, ImageOps

from facestudy.core.arrays import Picture

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm"})
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
VIDEO_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg"})
PICTURE_FORMATS = ("JPEG", "PNG", "WEBP")
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
DECODERS = "h264,hevc,vp8,vp9,libdav1d,av1,mpeg4,mjpeg"
"""FFmpeg's names of the decoders for VIDEO_CODECS; CONTAINERS has those of the formats for VIDEO_SUFFIXES."""
SKIP = ("h264", "hevc")
"""Decoders that can skip frames to which no other frame refers."""


class MediaError(Exception):
    """A file cannot be used as a video or picture; the message is the reason for its row."""


@dataclass(frozen=True)
class Limits:
    """Limits on a file and on the resources for decoding it, from the section `decoding` of params.yaml.

    Attributes
    ----------
    max_pixels : int
        Pixels of a frame.
    max_duration_s : float
        Duration of a video, seconds.
    max_bytes : int
        Size of the file.
    max_frames : int
        Frames of a video.
    max_streams : int
        Streams of a video, including sound and subtitles.
    decode_s : float
        Time for probing a file or extracting its frames, seconds.
    decode_mb : int
        Memory for it, beyond that of the idle process, in units of 2**20 bytes.
    """

    max_pixels: int
    max_duration_s: float
    max_bytes: int
    max_frames: int
    max_streams: int
    decode_s: float
    decode_mb: int


OWN_FILES = Limits(10**9, math.inf, 2**63, 2**31, 1000, math.inf, 2**31)
"""For files that this project wrote itself."""


@dataclass(frozen=True)
class Probe:
    """What a file holds.

    Attributes
    ----------
    codec : str
        FFmpeg's name of the codec; of a picture, its format.
    width, height : int
        Pixels as shown, after rotation.
    fps : float
        Frames per second; 0 for a picture.
    duration_s : float
        Seconds; 0 for a picture.
    frames : int
        The number of frames.
    """

    codec: str
    width: int
    height: int
    fps: float
    duration_s: float
    frames: int


def is_picture(path: Path) -> bool:
    """Check by its suffix whether a file is a still picture.

    Parameters
    ----------
    path : Path
        The file, which is not opened.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_picture(Path("a.JPG")), is_picture(Path("a.mp4"))
    (True, False)
    """
    return path.suffix.lower() in PICTURE_SUFFIXES


def probe(path: Path, limits: Limits) -> Probe:
    """Find out what a file holds, without trusting its header: the first frame is decoded.

    Parameters
    ----------
    path : Path
        A video or picture.
    limits : Limits
        What the file may be.

    Returns
    -------
    Probe

    Raises
    ------
    MediaError
        When the file cannot be used; the message is the reason.
    OSError
        When the file cannot be read.
    """
    size = path.stat().st_size
    if size == 0:
        raise MediaError("the file is empty")
    if size > limits.max_bytes:
        raise MediaError(f"{size / 1e9:.1f} GB are more than {limits.max_bytes / 1e9:g} (decoding.max_file_gb)")
    if is_picture(path):
        with _open_picture(path, limits.max_pixels) as picture:
            width, height = _upright(picture).size
            return Probe((picture.format or "").lower(), width, height, 0.0, 0.0, 1)
    try:
        with _open_video(path, limits) as container:
            stream = _video_stream(container, limits)
            context = stream.codec_context
            if context.width * context.height > limits.max_pixels:
                raise MediaError(_too_large(context.width, context.height, limits.max_pixels))
            times, _ = _packet_times(container, stream, limits)
            if not times:
                raise MediaError("the file has no video frames")
            container.seek(times[0], stream=stream)
            first = next(container.decode(stream), None)
            if first is None:
                raise MediaError("no frame can be decoded")
            _check_frame(first, limits)
            width, height = _as_shown(first)
            base = float(stream.time_base or 0)
            duration = (times[-1] - times[0]) * base * len(times) / max(1, len(times) - 1)
            if duration > limits.max_duration_s:
                raise MediaError(f"{duration:.0f} s are more than {limits.max_duration_s:g} (decoding.max_duration_s)")
            fps = len(times) / duration if duration > 0 else float(stream.average_rate or 0)
            return Probe(context.name, width, height, fps, duration, len(times))
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError, EOFError, OverflowError) as error:
        raise MediaError(f"not decodable as a video ({_brief(error)})") from None


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    Attributes
    ----------
    number : int
        Its place in the order of presentation, from 0.
    time_s : float
        Its time after the first frame, seconds.
    picture : ndarray of uint8, shape (height, width, 3)
        RGB.
    """

    number: int
    time_s: float
    picture: Picture


def read_picture(path: Path | BinaryIO, max_pixels: int) -> Picture:
    """Read a still picture as RGB; the EXIF orientation is applied, and an alpha channel is dropped.

    Parameters
    ----------
    path : Path or binary file
        A picture in one of PICTURE_FORMATS.
    max_pixels : int
        The largest number of pixels that is decoded.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB.

    Raises
    ------
    MediaError
        When the picture cannot be used; the message is the reason.
    """
    with _open_picture(path, max_pixels) as picture:
        try:
            return np.asarray(_upright(picture).convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            raise MediaError(f"not decodable as a picture ({_brief(error)})") from None


def frame_times(path: Path, limits: Limits) -> list[float]:
    """Read the time of every frame from the packets, without decoding.

    Headers can be wrong about the number of frames, and the frame rate can vary. Packets are reliable.

    Parameters
    ----------
    path : Path
        A video.
    limits : Limits
        What the file may be.

    Returns
    -------
    list of float
        Seconds after the first frame, in order of presentation.

    Raises
    ------
    MediaError
        When the file cannot be used; the message is the reason.
    """
    try:
        with _open_video(path, limits) as container:
            stream = _video_stream(container, limits)
            times, _ = _packet_times(container, stream, limits)
            base = float(stream.time_base or 0)
            return [(time - times[0]) * base for time in times]
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError, EOFError, OverflowError) as error:
        raise MediaError(f"not decodable as a video ({_brief(error)})") from None


def read_video(path: Path, numbers: Sequence[int], limits: Limits) -> Iterator[Frame]:
    """Decode the frames with the given numbers.

    The reader seeks to the key frame before a wanted frame when this skips frames, and otherwise decodes on. It skips
    unwanted frames to which no other frame refers. A rotation flag is applied. A frame that cannot be decoded is left
    out, which the caller can see from the numbers.

    Parameters
    ----------
    path : Path
        A video.
    numbers : sequence of int
        Frame numbers in order of presentation, from 0, ascending.
    limits : Limits
        What the file may be.

    Yields
    ------
    Frame

    Raises
    ------
    MediaError
        When the file cannot be opened, or a frame is larger than the limit.
    """
    try:
        with _open_video(path, limits) as container:
            stream = _video_stream(container, limits)
            stream.thread_type = "NONE"
            times, keys = _packet_times(container, stream, limits)
            base = float(stream.time_base or 0)
            wanted = {times[number]: number for number in numbers if number < len(times)}
            position = None
            for time, number in sorted(wanted.items()):
                before = bisect_right(keys, time)
                key = keys[before - 1] if before else times[0]
                if position is None or key > position:
                    container.seek(key, stream=stream)
                    decoder = _decoded(container, stream, wanted)
                for decoded in decoder:
                    position = decoded.pts
                    if position is None or position < time:
                        continue
                    if position == time:
                        _check_frame(decoded, limits)
                        picture = decoded.to_ndarray(format="rgb24")
                        turned = np.rot90(picture, round(decoded.rotation / 90) % 4)
                        yield Frame(number, (time - times[0]) * base, np.ascontiguousarray(turned))
                    break
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError, EOFError, OverflowError) as error:
        raise MediaError(f"decoding stopped ({_brief(error)})") from None


def _decoded(
    container: av.container.InputContainer, stream: av.VideoStream, wanted: Container[int]
) -> Iterator[av.VideoFrame]:
    """Decode from the current position on, but skip unwanted frames to which no other frame refers.

    Only decoders in SKIP can do this from one packet to the next. The wanted frames have the same bytes as without it.
    """
    can_skip, keep = stream.codec_context.name in SKIP, False
    for packet in container.demux(stream):
        is_wanted = packet.pts is None or packet.pts in wanted
        if can_skip:  # except the packet after a wanted one, which may have the second field of an interlaced frame
            stream.codec_context.skip_frame = "DEFAULT" if is_wanted or keep else "NONREF"
        keep = is_wanted
        yield from packet.decode()


def _open_picture(path: Path | BinaryIO, max_pixels: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=PICTURE_FORMATS)
    except Image.DecompressionBombError:
        raise MediaError(f"a picture of more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} megapixels") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise MediaError(f"not decodable as a picture ({_brief(error)})") from None
    if picture.width * picture.height > max_pixels:
        raise MediaError(_too_large(picture.width, picture.height, max_pixels))
    return picture


def _upright(picture: Image.Image) -> Image.Image:
    """Decode a picture, and turn it according to its EXIF orientation."""
    try:
        return ImageOps.exif_transpose(picture)
    except MemoryError:
        raise
    except Exception as error:  # Pillow reads EXIF in Python; damaged tags end in errors of any kind
        raise MediaError(f"not decodable as a picture ({_brief(error)})") from None


def _too_large(width: int, height: int, max_pixels: int) -> str:
    return f"{width}x{height} pixels are more than {max_pixels / 1e6:g} megapixels"


def _brief(error: BaseException) -> str:
    """Return an error's text on one line, without the name of the file, which is in the row."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return text[:120] or type(error).__name__


def _open_video(path: Path, limits: Limits) -> av.container.InputContainer:
    """Open a file; FFmpeg may open no other file and use only the protocol, containers and decoders named here."""
    return av.open(
        f"file:{path}",  # else FFmpeg takes the part of a name before a colon for a protocol
        metadata_errors="ignore",
        container_options={
            "protocol_whitelist": "file",
            "format_whitelist": CONTAINERS,
            "codec_whitelist": DECODERS,
        },
        options=_decoder_options(limits),
    )


def _decoder_options(limits: Limits) -> dict[str, str]:
    """Use one thread, as several videos are decoded at the same time; refuse to allocate a frame above the limit."""
    return {"threads": "1", "max_pixels": str(limits.max_pixels)}


def _video_stream(container: av.container.InputContainer, limits: Limits) -> av.VideoStream:
    if len(container.streams) > limits.max_streams:
        raise MediaError(f"{len(container.streams)} streams are more than {limits.max_streams} (decoding.max_streams)")
    if not container.streams.video:
        raise MediaError("the file has no video stream")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise MediaError("the codec of its video is not supported")
    name = stream.codec_context.name
    if {"libdav1d": "av1", "libaom-av1": "av1"}.get(name, name) not in VIDEO_CODECS:
        raise MediaError(f"the codec {name} is not supported")
    stream.codec_context.options = _decoder_options(limits)
    return stream


def _check_frame(frame: av.VideoFrame, limits: Limits) -> None:
    """Refuse a frame above the limit; a stream can change its size, whatever its header says."""
    if frame.width * frame.height > limits.max_pixels:
        raise MediaError(_too_large(frame.width, frame.height, limits.max_pixels))


def _packet_times(
    container: av.container.InputContainer, stream: av.VideoStream, limits: Limits
) -> tuple[list[int], list[int]]:
    """Read presentation times of all frames and of the key frames, in units of the stream, sorted."""
    container.seek(0)
    times: set[int] = set()
    keys: set[int] = set()
    try:
        for packet in container.demux(stream):
            time = packet.pts if packet.pts is not None else packet.dts
            if packet.size and time is not None and not packet.is_discard:
                times.add(time)
                if len(times) > limits.max_frames:
                    raise MediaError(f"it has more than {limits.max_frames} frames (decoding.max_frames)")
                if packet.is_keyframe:
                    keys.add(time)
    except av.FFmpegError:
        pass  # a truncated file: the frames before its end count
    return sorted(times), sorted(keys)


def _as_shown(frame: av.VideoFrame) -> tuple[int, int]:
    turned = round(frame.rotation / 90) % 2 == 1
    return (frame.height, frame.width) if turned else (frame.width, frame.height)
