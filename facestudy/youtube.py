"""Source `youtube`: videos behind lists of links, downloaded once, politely, with a reason for each loss.

Each download runs in its own process (facestudy.fetch). What arrived whole and what is gone for good
is kept in the work cache under the link and the settings that decide its bytes; what failed for a
passing reason is tried again by the next run, which continues a half-done file.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator
from scipy.stats import fisher_exact
from tqdm import tqdm

from facestudy import links
from facestudy.errors import StudyError
from facestudy.fetch import REASONS
from facestudy.links import Link
from facestudy.settings import Section
from facestudy.tables import LABELS, Table
from facestudy.work_cache import MANIFEST, WorkCache, file_sha256, key_of

log = logging.getLogger(__name__)
LISTS = "data/lists"
"""The folder of lists that the pipeline watches."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ListSettings(Section):
    """One entry of youtube.lists: a file, or an address pinned by the sha256 of its bytes."""

    path: str | None = None
    url: str | None = None
    sha256: Sha256 | None = None
    label: Literal["real", "fake"] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> ListSettings:
        if (self.path is None) == (self.url is None):
            raise ValueError("set one of path and url")
        if self.url is not None and self.sha256 is None:
            raise ValueError("a list by address needs its sha256")
        return self


class YoutubeSettings(Section):
    """Section `youtube` of params.yaml."""

    lists: list[ListSettings]
    min_videos_per_class: Annotated[int, Field(ge=1)]
    extractors: Annotated[list[Annotated[str, StringConstraints(pattern=r"^[a-z0-9:]+$")]], Field(min_length=1)]
    max_height: Annotated[int, Field(ge=96, le=4320)]
    codecs: list[Literal["h264", "hevc", "vp9", "av1"]]
    max_duration_s: Annotated[float, Field(gt=0)]
    max_filesize_mb: Annotated[float, Field(gt=0)]
    rate_limit_kb: Annotated[int, Field(gt=0)] | None
    sleep_s: Annotated[float, Field(ge=0)]
    retries: Annotated[int, Field(ge=0, le=20)]
    stall_s: Annotated[float, Field(gt=0)]
    limit_s: Annotated[float, Field(gt=0)]
    concurrent: Annotated[int, Field(ge=1, le=16)]
    cookies: str | None
    cookies_from_browser: Literal["brave", "chrome", "chromium", "edge", "firefox", "opera", "safari", "vivaldi"] | None
    proxy: Annotated[str, StringConstraints(pattern=r"^(https?|socks[45]h?)://")] | None
    allow_private: bool


@dataclass(frozen=True)
class Outcome:
    """What became of a link: the work-cache entry that holds its file, or the reason why there is none."""

    link: Link
    entry: Path | None
    reason: str = ""
    detail: str = ""


REQUESTS = Table(
    {
        "video_id": "text",
        "url": "text",
        "label": "text",
        "status": "text",
        "reason": "text",
        "detail": "text",
        "listed_in": "text",
    },
    key="video_id",
)
"""videos/requests.csv: every link with what became of it, for people to read."""


def wanted(settings: YoutubeSettings, cache: WorkCache) -> tuple[list[Link], int]:
    """The links of all lists, each wanted video once, and how many rows repeated one.

    Raises StudyError naming the list, for one that is missing, has other bytes than its sha256 says,
    or cannot be read.
    """
    if not settings.lists:
        raise StudyError("youtube.lists is empty; name the lists of links, or take the preset `youtube`.")
    if settings.cookies is not None and not Path(settings.cookies).is_file():
        raise StudyError(f"youtube.cookies: {settings.cookies} is no file.")
    found: list[Link] = []
    for item in settings.lists:
        path = _list_by_address(item, settings, cache) if item.url else Path(str(item.path))
        name = item.url or str(item.path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StudyError(f"youtube.lists: {name} cannot be read ({error.strerror}).") from None
        if item.sha256 is None and Path(LISTS).resolve() not in path.resolve().parents:
            raise StudyError(
                f"youtube.lists: {name} lies outside {LISTS}, where its changes are not noticed; move it there or "
                f"add sha256: {file_sha256(path)}."
            )
        if item.sha256 and file_sha256(path) != item.sha256:
            raise StudyError(
                f"youtube.lists: {name} has the sha256 {file_sha256(path)}, not {item.sha256}; "
                "look at what changed, then set the new one."
            )
        found += links.parse(data, name, item.label)
    return links.without_repeats(found)


def _list_by_address(item: ListSettings, settings: YoutubeSettings, cache: WorkCache) -> Path:
    """A list from the network, kept by its sha256: it is fetched once."""

    def build(folder: Path) -> None:
        request = {"work": "list", "url": item.url, "file": str(folder / "list.csv"), "max_bytes": links.MAX_BYTES}
        answer = _ask(request, settings, [])
        if answer.get("detail"):
            raise StudyError(f"youtube.lists: {item.url} could not be fetched ({answer['detail']}).")
        digest = file_sha256(folder / "list.csv")
        if digest != item.sha256:
            raise StudyError(f"youtube.lists: {item.url} has the sha256 {digest}, not {item.sha256}; it is refused.")

    cache.root.mkdir(parents=True, exist_ok=True)
    return cache.entry(key_of("list", item.sha256), build) / "list.csv"


def obtain(wanted: Sequence[Link], settings: YoutubeSettings, max_pixels: int, cache: WorkCache) -> Iterator[Outcome]:
    """What became of each link, in their order; two parts of one video are one download.

    Raises StudyError when the disk is full. Ctrl-C ends the running downloads and keeps what they have.
    """
    cache.root.mkdir(parents=True, exist_ok=True)
    first: dict[str, Link] = {}
    for link in wanted:
        first.setdefault(link.key, link)
    running: list[subprocess.Popen[str]] = []
    polite = _Pace(settings.sleep_s)
    work = functools.partial(
        _one, settings=settings, max_pixels=max_pixels, cache=cache, running=running, polite=polite
    )
    done: dict[str, Outcome] = {}
    bar: Any = tqdm(total=len(first), desc="videos", unit="", mininterval=1.0)
    with ThreadPoolExecutor(settings.concurrent) as pool, bar:
        try:
            for outcome in pool.map(work, first.values()):
                done[outcome.link.key] = outcome
                words = outcome.link.video_id, outcome.link.url, outcome.reason or "ok", outcome.detail
                bar.write("  ".join(words).rstrip(), file=sys.stderr)
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            polite.stop()
            for process in running:
                process.kill()
            raise
    for link in wanted:
        outcome = done[link.key]
        yield dataclasses.replace(outcome, link=link)


def row(outcome: Outcome) -> dict[str, object]:
    """The row of videos/index.csv of a link."""
    link = outcome.link
    common: dict[str, object] = {
        "video_id": link.video_id,
        "label": link.label,
        "identity": link.identity,
        "donor": link.donor,
        "method": link.method or ("none" if link.label == "real" else "unknown"),
        "start_s": link.start_s,
        "end_s": link.end_s,
        "origin": "youtube" if links.youtube_id(link.url) else "link",
    }
    if outcome.entry is None:
        return {**common, "status": "unavailable", "reason": outcome.reason}
    found = probe_of(outcome.entry)
    file = str(found["file"])
    manifest = json.loads((outcome.entry / MANIFEST).read_text())
    return {
        **common,
        **{name: found[name] for name in ("codec", "width", "height", "fps", "duration_s")},
        "path": link.video_id + Path(file).suffix,
        "sha256": manifest[file],
        "status": "ok",
    }


def announcement(wanted: Sequence[Link], repeats: int, settings: YoutubeSettings) -> str:
    """What is about to be fetched, and what it may take."""
    counts = " + ".join(f"{sum(link.label == label for link in wanted)} {label}" for label in LABELS)
    return (
        f"youtube: {counts} links ({repeats} rows repeat one); about {expected_video_gb(len(wanted), settings):.1f} GB "
        f"of video at most; the pauses alone take {len(wanted) * settings.sleep_s / 60:.0f} min"
    )


STREAM_BYTES = 1000.0
"""Of an hour of one of YouTube's streams, a pixel of its picture, on the upper side (720p: 0.9 GB)."""
EXPECTED_S = 300.0
"""Length of a video that nothing is known of yet, seconds."""


def expected_video_gb(count: int, settings: YoutubeSettings) -> float:
    """Gigabytes of so many videos, on the upper side, before anything is known of them."""
    pixels = settings.max_height**2 * 16 / 9
    seconds = min(EXPECTED_S, settings.max_duration_s)
    return count * min(settings.max_filesize_mb * 1e6, pixels * STREAM_BYTES * seconds / 3600) / 1e9


def report(rows: Sequence[Mapping[str, object]]) -> str:
    """How many links of each class gave a video, why the others did not, and what may be tried again."""
    lines = []
    for label in LABELS:
        own = [row for row in rows if row["label"] == label]
        lost = Counter(str(row["reason"]) for row in own if row["status"] != "ok")
        share = f" ({1 - lost.total() / len(own):.0%})" if own else ""
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(lost.items()))
        lines.append(f"  {label}: {len(own) - lost.total()} of {len(own)} links{share}" + (f"; {reasons}" * bool(lost)))
    again = sum(REASONS.get(str(row.get("reason", "")), False) for row in rows)
    if again:
        lines.append(f"  {again} may pass: `make retry` tries them again")
    imbalance = _imbalance(rows)
    return "\n".join(["youtube:", *lines, *([imbalance] if imbalance else [])])


def _imbalance(rows: Sequence[Mapping[str, object]]) -> str:
    """A warning when the classes lost different shares of their links, beyond chance (Fisher's test)."""
    table = [
        [sum(row["label"] == label and (row["status"] == "ok") == there for row in rows) for there in (True, False)]
        for label in LABELS
    ]
    if min(map(sum, table)) == 0 or fisher_exact(table).pvalue >= 0.05:
        return ""
    return (
        "  beware: the classes lost different shares of their links; what is still there is no random choice, "
        "and a detector may learn the difference"
    )


def check_enough(rows: Sequence[Mapping[str, object]], settings: YoutubeSettings) -> None:
    """Raises StudyError when a class has fewer usable videos than `youtube.min_videos_per_class`."""
    for label in LABELS:
        own = [row for row in rows if row["label"] == label]
        there = sum(row["status"] == "ok" for row in own)
        if there < settings.min_videos_per_class:
            raise StudyError(
                f"{there} of {len(own)} {label} links gave a video, youtube.min_videos_per_class asks for "
                f"{settings.min_videos_per_class}; run again later (what is here is kept), name more links, "
                "or lower it."
            )


class _Pace:
    """A pause between two downloads, however many run at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._lock, self._next = seconds, threading.Lock(), 0.0
        self._stopped = threading.Event()

    def wait(self, at_least: float = 0.0) -> None:
        """Sleep until it is this download's turn; `at_least` seconds hold up all of them."""
        with self._lock:
            now = time.monotonic()
            turn = max(now + at_least, self._next)
            self._next = turn + self._seconds
        if self._stopped.wait(turn - now):
            raise KeyboardInterrupt

    def stop(self) -> None:
        self._stopped.set()


def _one(
    link: Link,
    settings: YoutubeSettings,
    max_pixels: int,
    cache: WorkCache,
    running: list[subprocess.Popen[str]],
    polite: _Pace,
) -> Outcome:
    """Fetch a link, or take what an earlier run found."""
    # Limits do not decide a file's bytes: loosening one must not fetch again what is there.
    key = key_of(link.key, settings.max_height, settings.codecs)
    others = settings.model_dump(include={*_LIMITS, *_ACCESS})
    gone = cache.root / "gone" / f"{key_of(key, others, max_pixels)}.json"
    if gone.is_file():
        return Outcome(link, None, **json.loads(gone.read_text()))
    partial = cache.root / "partial" / key

    def build(folder: Path) -> None:
        _fetch(link, settings, max_pixels, partial, folder, running, polite)

    try:
        entry = cache.entry(key, build)
        _check_limits(entry, settings)
        return Outcome(link, entry)
    except _NotThere as problem:
        if not REASONS[problem.reason]:
            gone.parent.mkdir(parents=True, exist_ok=True)
            private = gone.with_suffix(f".{threading.get_ident()}")
            private.write_text(json.dumps({"reason": problem.reason, "detail": problem.detail}))
            private.replace(gone)
            shutil.rmtree(partial, ignore_errors=True)
        return Outcome(link, None, problem.reason, problem.detail)


_LIMITS = ("max_duration_s", "max_filesize_mb")
_ACCESS = ("extractors", "cookies", "cookies_from_browser", "proxy", "allow_private")
"""What decides, besides the link, whether a video can be had: a change of it makes the gone worth a try."""


def _check_limits(entry: Path, settings: YoutubeSettings) -> None:
    """Raises _NotThere for a file that an earlier run kept under wider limits."""
    found = probe_of(entry)
    if found["duration_s"] > settings.max_duration_s:
        raise _NotThere("too_long", f"{found['duration_s']:.0f} s")
    if (entry / found["file"]).stat().st_size > settings.max_filesize_mb * 1e6:
        raise _NotThere("too_large", f"more than {settings.max_filesize_mb:g} MB")


def probe_of(entry: Path) -> dict[str, Any]:
    """`file` and the fields of `video.Probe` of a work-cache entry."""
    return dict(json.loads((entry / "probe.json").read_text()))


class _NotThere(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def _fetch(
    link: Link,
    settings: YoutubeSettings,
    max_pixels: int,
    partial: Path,
    folder: Path,
    running: list[subprocess.Popen[str]],
    polite: _Pace,
) -> None:
    """Download into `partial`, then move the file and its probe into `folder`, a new work-cache entry."""
    if not links.is_address(link.url):
        raise _NotThere("unsupported", "no http or https address")
    partial.mkdir(parents=True, exist_ok=True)
    request = {
        "work": "fetch",
        "url": link.url,
        "youtube": bool(links.youtube_id(link.url)),
        "folder": str(partial),
        "max_pixels": max_pixels,
    }
    wait = 0.0
    for attempt in range(settings.retries + 1):
        polite.wait(wait)
        answer = _ask(request, settings, running)
        if answer.get("reason") != "rate_limited":
            break
        wait = answer["retry_after_s"] or settings.sleep_s * 2 ** (attempt + 1)
        if wait > settings.limit_s:
            break
    if "file" not in answer:
        if not answer["reason"]:
            free = shutil.disk_usage(partial).free / 2**20
            raise StudyError(f"{answer['detail']} while downloading ({free:.0f} MiB free); make room and run again.")
        raise _NotThere(answer["reason"], answer["detail"])
    (partial / answer["file"]).rename(folder / answer["file"])
    (folder / "probe.json").write_text(json.dumps(answer, sort_keys=True))
    shutil.rmtree(partial, ignore_errors=True)


def _ask(request: dict[str, Any], settings: YoutubeSettings, running: list[subprocess.Popen[str]]) -> dict[str, Any]:
    """Run facestudy.fetch on a request; its answer."""
    options = settings.model_dump(exclude={"lists"})
    text = json.dumps({**request, "settings": options, "limit_s": settings.limit_s})
    process = subprocess.Popen(
        [sys.executable, "-m", "facestudy.fetch"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the downloads
    )  # fmt: skip
    running.append(process)
    assert process.stdin and process.stdout
    try:
        process.stdin.write(text + "\n")
        process.stdin.flush()
        # Its input stays open: the process ends when this one does.
        words = process.stdout.read()
        process.wait()
    finally:
        process.stdin.close()
        process.stdout.close()
        running.remove(process)
    try:
        answer = json.loads(words.splitlines()[-1])
    except (IndexError, ValueError):
        said = re.sub(r"\s+", " ", words)[-200:] or f"ended with code {process.returncode}"
        return {"reason": "network", "detail": f"the download process broke: {said}", "retry_after_s": 0}
    return dict(answer)
