"""Download one video, in a separate process (`facestudy.runtime.child`).

The download goes through the Python API of yt-dlp. It reads no configuration of the user, loads no plugins and starts
no program except the JavaScript runtime from the wheel. `guard` checks every connection of the process, including
those that a redirect or a host name leads to.
"""

from __future__ import annotations

import ipaddress
import math
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from facestudy.media import decode, video
from facestudy.media.video import Limits, MediaError
from facestudy.runtime.child import serve
from facestudy.sources.links import is_address

REASONS = {
    "removed": False,
    "private": False,
    "age_restricted": False,
    "geo_blocked": False,
    "login_required": False,
    "rate_limited": True,
    "too_long": False,
    "too_large": False,
    "unsupported": False,
    "network": True,
    "corrupt": False,
}
"""Reasons why a link gave no video, and whether it is worth trying again."""

PATTERNS = (
    ("rate_limited", r"not a bot|rate.?limit|captcha|too many requests|http error (429|503)|try again later"),
    ("age_restricted", r"confirm your age|age.?restricted|inappropriate for some users"),
    ("private", r"private video|video is private"),
    ("geo_blocked", r"(in|from) your (country|location)|geo.?restrict|http error 451"),
    ("removed", r"has been removed|no longer available|been terminated|does not exist|http error (404|410)"),
    ("removed", r"copyright (claim|grounds)|account .* closed|video unavailable|isn't available anymore"),
    ("login_required", r"members.only|join this channel|members on level|\blogin\b|log in|sign in|registered users"),
    ("login_required", r"requires payment|\bpremium\b|\brent\b|\bpurchase|http error (401|403)"),
    (
        "unsupported",
        r"unsupported url|no suitable extractor|format is not available|drm|live event|\bpremieres\b|upcoming",
    ),
    ("unsupported", r"is not a valid url|incomplete youtube id|no video formats|live stream recording"),
)
"""Reasons, and patterns of the messages of yt-dlp 2026.8 and of YouTube that mean them. The first match counts. An
error that matches no pattern is `network`, as it may pass."""

CODECS = {"h264": "(avc1|h264)", "hevc": "(hev1|hvc1)", "vp9": "(vp0?9)", "av1": "(av01|av1)"}


def reason_of(message: str, youtube: bool) -> str:
    """Find the reason in REASONS for the text of an error.

    Parameters
    ----------
    message : str
        The text of an error of yt-dlp.
    youtube : bool
        Whether the link is on YouTube, where "403" means that YouTube throttles, not that access needs a login.

    Returns
    -------
    str
        "network" when no pattern matches, as such an error may pass.

    Examples
    --------
    >>> reason_of("[youtube] abc: Private video. Sign in if you've been granted access", youtube=True)
    'private'
    """
    text = message.lower()
    if youtube and re.search(r"http error 403", text):
        return "rate_limited"
    return next((reason for reason, pattern in PATTERNS if re.search(pattern, text)), "network")


NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that stand for the IPv4 address in their last 32 bits (RFC 6052)."""


class Refused(Exception):
    """A link is refused.

    Parameters
    ----------
    reason : str
        A key of REASONS.
    detail : str
        What was found, for people to read.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def is_public(host: str) -> bool:
    """Check whether an IP address belongs to the public internet.

    Parameters
    ----------
    host : str
        An IPv4 or IPv6 address, possibly with a zone ("%eth0").

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        When `host` is not an IP address.

    Examples
    --------
    >>> [is_public(host) for host in ("8.8.8.8", "127.0.0.1", "::ffff:10.0.0.1", "169.254.169.254")]
    [True, False, False, False]
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    if mapped is not None:
        address = mapped
    elif address in NAT64:
        address = ipaddress.ip_address(int(address) & 0xFFFFFFFF)
    return address.is_global and not address.is_multicast and not address.is_reserved


def guard(proxy: str | None) -> list[str]:
    """Refuse every further connection of this process to an address that is not public.

    The refusal cannot be undone: it is an audit hook of Python.

    Parameters
    ----------
    proxy : str or None
        The address of the proxy. Connections to it are allowed even if it is not public.

    Returns
    -------
    list of str
        Empty at first; each refused address is appended to it.
    """
    allowed: set[str] = set()
    if proxy:
        parts = urlsplit(proxy)
        allowed = {str(info[4][0]) for info in socket.getaddrinfo(parts.hostname, parts.port or 1080)}
    refused: list[str] = []

    def hook(event: str, values: tuple[Any, ...]) -> None:
        if event not in ("socket.connect", "socket.sendto") or not isinstance(values[1], tuple):
            return
        host = str(values[1][0])
        try:
            fine = host in allowed or is_public(host)
        except ValueError:  # a host name: the connection resolves it later, where it cannot be checked
            fine = False
        if not fine:
            refused.append(host)
            raise Refused("unsupported", f"leads to {host}, which is not a public address")

    sys.addaudithook(hook)
    return refused


def formats(max_height: int, codecs: Iterable[str]) -> str:
    """Write the choice of a stream in the language of yt-dlp.

    Streams without sound are preferred, in the order of the codecs, over plain HTTP. A stream with sound comes last.

    Parameters
    ----------
    max_height : int
        The largest height of a picture, pixels.
    codecs : iterable of str
        Keys of CODECS, the preferred one first.

    Returns
    -------
    str

    Examples
    --------
    >>> formats(720, [])
    'bv[height<=?720][protocol^=http]/b[height<=?720][protocol^=http]'
    """
    limit = f"[height<=?{max_height}][protocol^=http]"
    wanted = [f"bv[vcodec~='^{CODECS[codec]}']{limit}" for codec in codecs]
    return "/".join([*wanted, f"bv{limit}", f"b{limit}"])


def fetch(request: Mapping[str, Any]) -> dict[str, Any]:
    """Download the video of a link, and probe it.

    If an earlier try left a part of the file in the folder, the download continues it.

    Parameters
    ----------
    request : mapping
        `url`; `youtube`, whether the link is on YouTube; `folder` to write to; `settings`, those of YoutubeSettings;
        and `limits`, those of facestudy.media.video.Limits.

    Returns
    -------
    dict
        `file` and the fields of `video.Probe`. Without a video: `reason`, `detail`, and `retry_after_s` in seconds,
        which is 0 where the server named no time.
    """
    settings = request["settings"]
    refused = [] if settings["allow_private"] else guard(settings["proxy"])
    try:
        if not is_address(request["url"]):
            raise Refused("unsupported", "no http or https address")
        limits = Limits(**request["limits"])
        file, found = _probed(request, replace(limits, max_duration_s=math.inf))
        if found.duration_s > min(settings["max_duration_s"], limits.max_duration_s):
            file.unlink()
            raise Refused("too_long", f"{found.duration_s:.0f} s")
        return {"file": file.name, **vars(found)}
    except Exception as error:
        return {**_why(error, request["youtube"], refused), "retry_after_s": retry_after(error)}


def _probed(request: Mapping[str, Any], limits: Limits) -> tuple[Path, video.Probe]:
    """Download a file and probe it."""
    folder = Path(request["folder"])
    continued = any(folder.iterdir())
    file = _download(request["url"], folder, request["settings"])
    try:
        return file, decode.probe(file, limits)
    except MediaError as error:
        for path in folder.iterdir():
            path.unlink()
        if not continued:
            raise Refused("corrupt", str(error)) from None
        return _probed(request, limits)  # the partial file may belong to another file: start again


def _why(error: BaseException, youtube: bool, refused: list[str]) -> dict[str, str]:
    if refused:
        return {"reason": "unsupported", "detail": f"leads to {refused[0]}, which is not a public address"}
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Refused):
            return {"reason": cause.reason, "detail": cause.detail}
        if isinstance(cause, OSError) and cause.errno == 28:
            return {"reason": "", "detail": "no space left on the disk"}
        cause = _cause(cause)
    text = re.sub(r"\x1b\[[0-9;]*m", "", " ".join(str(error).split())).removeprefix("ERROR: ")
    if "No space left" in text:
        return {"reason": "", "detail": "no space left on the disk"}
    return {"reason": reason_of(text, youtube), "detail": text[:300]}


def _cause(error: BaseException) -> BaseException | None:
    """Return the error behind an error; yt-dlp keeps it in `exc_info` or `cause`."""
    info = getattr(error, "exc_info", None)
    inner = info[1] if info and info[1] is not error else getattr(error, "cause", None)
    return inner if isinstance(inner, BaseException) else error.__cause__


def retry_after(error: BaseException) -> float:
    """Read from an error how long the server asks to wait.

    Parameters
    ----------
    error : BaseException
        An error of yt-dlp.

    Returns
    -------
    float
        Seconds, at most 3600; 0 when the server sent no Retry-After.

    References
    ----------
    RFC 9110, section 10.2.3: Retry-After is a number of seconds or a date.
    """
    cause: BaseException | None = error
    for _ in range(10):
        response = getattr(cause, "response", None)
        if response is not None:
            value = (response.headers.get("Retry-After") or "").strip()
            return min(max(0.0, _seconds(value)), 3600.0)
        cause = _cause(cause) if cause is not None else None
    return 0.0


def _seconds(value: str) -> float:
    if value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        return parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0


class _Silent:
    """A log for yt-dlp that drops all messages; the answer says what happened."""

    def debug(self, message: str) -> None: ...

    warning = error = info = debug


def _download(url: str, folder: Path, settings: Mapping[str, Any]) -> Path:
    import deno
    import yt_dlp
    from yt_dlp.utils import DownloadError

    limit = int(settings["max_filesize_mb"] * 1e6)

    def progress(state: Mapping[str, Any]) -> None:
        size = max(state.get("downloaded_bytes") or 0, state.get("total_bytes") or 0)
        if size > limit:
            raise Refused("too_large", f"more than {settings['max_filesize_mb']:g} MB")

    with tempfile.TemporaryDirectory() as private:
        cookies = None
        if settings["cookies"]:  # yt-dlp writes to the file that it is given
            cookies = str(shutil.copy(settings["cookies"], Path(private) / "cookies.txt"))
        options: dict[str, Any] = {
            "allowed_extractors": settings["extractors"],
            "cachedir": False,
            "color": "never",
            "continuedl": True,
            "cookiefile": cookies,
            "cookiesfrombrowser": (settings["cookies_from_browser"],) if settings["cookies_from_browser"] else None,
            "extract_flat": "in_playlist",
            "extractor_retries": settings["retries"],
            "fixup": "never",
            "format": formats(settings["max_height"], settings["codecs"]),
            "fragment_retries": settings["retries"],
            "js_runtimes": {"deno": {"path": deno.find_deno_bin()}},
            "logger": _Silent(),
            "noplaylist": True,
            "outtmpl": {"default": "video-%(format_id)s.%(ext)s"},  # a partial file is continued only in its own format
            "paths": {"home": str(folder)},
            "postprocessors": [],
            "progress_hooks": [progress],
            "proxy": settings["proxy"] or "",
            "quiet": True,
            "ratelimit": settings["rate_limit_kb"] * 1024 if settings["rate_limit_kb"] else None,
            "retries": settings["retries"],
            "socket_timeout": settings["stall_s"],
            "updatetime": False,
            "usenetrc": False,
            "writethumbnail": False,
        }
        with yt_dlp.YoutubeDL(options) as downloader:
            info: Any = downloader.extract_info(url, download=False)
            if not info or info.get("_type", "video") != "video":
                raise Refused("unsupported", "not one video")
            if info.get("live_status") in ("is_live", "is_upcoming") or info.get("is_live"):
                raise Refused("unsupported", "a live stream")
            if (info.get("duration") or 0) > settings["max_duration_s"]:
                raise Refused("too_long", f"{info['duration']:.0f} s")
            if max(info.get("filesize") or 0, info.get("filesize_approx") or 0) > limit:
                raise Refused("too_large", f"more than {settings['max_filesize_mb']:g} MB")
            done: Any = downloader.process_ie_result(info, download=True)
    files = [Path(part["filepath"]) for part in done.get("requested_downloads") or []]
    if len(files) != 1 or not files[0].is_file():
        raise DownloadError("the download ended without a file")
    return files[0]


def read_list(request: Mapping[str, Any]) -> dict[str, Any]:
    """Download a small file, a list of links.

    Parameters
    ----------
    request : mapping
        `url`; `file` to write to; `max_bytes`, the largest size; and `settings`, those of YoutubeSettings.

    Returns
    -------
    dict
        Empty, or `reason` and `detail` of a failure.
    """
    import yt_dlp

    settings = request["settings"]
    refused = [] if settings["allow_private"] else guard(settings["proxy"])
    options: Any = {"proxy": settings["proxy"] or "", "socket_timeout": settings["stall_s"], "logger": _Silent()}
    try:
        if not is_address(request["url"]):
            raise Refused("unsupported", "no http or https address")
        with yt_dlp.YoutubeDL(options, auto_init=False) as downloader:
            data = downloader.urlopen(request["url"]).read(request["max_bytes"] + 1)
        if len(data) > request["max_bytes"]:
            raise Refused("too_large", f"more than {request['max_bytes'] / 1e6:g} MB")
        Path(request["file"]).write_bytes(data)
        return {}
    except Exception as error:
        return _why(error, youtube=False, refused=refused)


WORK: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {"fetch": fetch, "list": read_list}

if __name__ == "__main__":
    serve(lambda request: WORK[request["work"]](request))
