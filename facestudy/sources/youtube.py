"""Source `youtube`: videos from lists of links, downloaded once, with a reason for each video that is missing.

Each download runs in its own process (facestudy.sources.download). Complete videos, and the reasons of those that are
permanently unavailable, are kept in the work cache. Their key is the link and the settings that decide the bytes of
the video. The next run tries links again that failed for a temporary reason, and continues partial files.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import hashlib
import json
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator
from tqdm import tqdm

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.settings import Section
from facestudy.core.tables import LABELS, Table
from facestudy.media.video import VIDEO_SUFFIXES, Limits
from facestudy.runtime.child import Child, Ended
from facestudy.runtime.work_cache import MANIFEST, WorkCache, file_sha256, key_of, link_or_copy
from facestudy.sources import links, user_files
from facestudy.sources.download import REASONS
from facestudy.sources.folder import FORMULA, method_of
from facestudy.sources.links import Link

LISTS = "data/lists"
"""The folder of lists that the pipeline watches."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ListSettings(Section):
    """One entry of youtube.lists: a file, or an address with the sha256 of its content."""

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
    """What became of a link.

    Attributes
    ----------
    link : Link
        The link.
    entry : Path or None
        The entry of the work cache that holds its file; None when there is no video.
    reason : str
        Why there is no video: a key of REASONS, or "".
    detail : str
        What was found, for people to read.
    """

    link: Link
    entry: Path | None
    reason: str = ""
    detail: str = ""


COMMAND = (sys.executable, "-m", "facestudy.sources.download")
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
"""The table videos/requests.csv: every link with what became of it, for people to read."""


def wanted(settings: YoutubeSettings, cache: WorkCache) -> tuple[list[Link], int]:
    """Read all lists of links.

    Parameters
    ----------
    settings : YoutubeSettings
        `lists` names the lists.
    cache : WorkCache
        Keeps lists from the network.

    Returns
    -------
    links : list of Link
        Each wanted video once.
    repeats : int
        How many rows repeat an earlier one.

    Raises
    ------
    StudyError
        When a list is missing, cannot be read or has another sha256, or when the file of cookies is missing. The
        message names the file.
    """
    if not settings.lists:
        raise StudyError("youtube.lists is empty; name the lists of links, or take the preset `youtube`.")
    if settings.cookies is not None and not Path(settings.cookies).is_file():
        raise StudyError(f"youtube.cookies: {settings.cookies} is not a file.")
    found: list[Link] = []
    for item in settings.lists:
        path = _list_by_address(item, settings, cache) if item.url else Path(str(item.path))
        name = item.url or str(item.path)
        try:
            data = user_files.read(path, links.MAX_BYTES)
        except user_files.Unreadable as why:
            raise StudyError(f"youtube.lists: {name} cannot be read ({why}).") from None
        digest = hashlib.sha256(data).hexdigest()
        if item.sha256 is None and Path(LISTS).resolve() not in path.resolve().parents:
            raise StudyError(
                f"youtube.lists: {name} lies outside {LISTS}, where its changes are not noticed; move it there or "
                f"add sha256: {digest}."
            )
        if item.sha256 not in (None, digest):
            raise StudyError(
                f"youtube.lists: {name} has the sha256 {digest}, not {item.sha256}; "
                "look at what changed, then set the new one."
            )
        found += links.parse(data, name, item.label)
    return links.without_repeats(found)


def _list_by_address(item: ListSettings, settings: YoutubeSettings, cache: WorkCache) -> Path:
    """Return a list from the network; it is downloaded once, and kept by its sha256."""

    def build(folder: Path) -> None:
        request = {"work": "list", "url": item.url, "file": str(folder / "list.csv"), "max_bytes": links.MAX_BYTES}
        answer = Downloads(settings).ask(request)
        if answer.get("detail"):
            raise StudyError(
                f"youtube.lists: {item.url} could not be fetched ({answer['detail']}); "
                "fetch it by hand and name it as path."
            )
        digest = file_sha256(folder / "list.csv")
        if digest != item.sha256:
            raise StudyError(
                f"youtube.lists: {item.url} has the sha256 {digest}, not {item.sha256}, so "
                "the list has changed; check it, then set the new sha256."
            )

    cache.root.mkdir(parents=True, exist_ok=True)
    return cache.entry(key_of("list", item.sha256), build) / "list.csv"


def obtain(wanted: Sequence[Link], settings: YoutubeSettings, limits: Limits, cache: WorkCache) -> Iterator[Outcome]:
    """Download the videos of links, with one download for all parts of a video.

    Ctrl-C ends the running downloads; their partial files are kept.

    Parameters
    ----------
    wanted : sequence of Link
        The links.
    settings : YoutubeSettings
        How videos are downloaded.
    limits : Limits
        What the files may be.
    cache : WorkCache
        Keeps the videos, and the reasons of those that are gone.

    Yields
    ------
    Outcome
        What became of each link, in their order.

    Raises
    ------
    OSError
        When the disk is full.
    """
    cache.root.mkdir(parents=True, exist_ok=True)
    first: dict[str, Link] = {}
    for link in wanted:
        first.setdefault(link.key, link)
    downloads = Downloads(settings)
    work = functools.partial(_one, settings=settings, limits=limits, cache=cache, downloads=downloads)
    done: dict[str, Outcome] = {}
    bar: Any = tqdm(total=len(first), desc="videos", unit="", mininterval=1.0)
    with ThreadPoolExecutor(settings.concurrent) as pool, bar:
        try:
            for outcome in pool.map(work, first.values()):
                done[outcome.link.key] = outcome
                words = outcome.link.video_id, outcome.link.url, outcome.reason or "ok", outcome.detail
                line = "  ".join(words).rstrip()
                bar.write("".join(c if c.isprintable() else "?" for c in line), file=sys.stderr)
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            downloads.stop()
            raise
    for link in wanted:
        yield dataclasses.replace(done[link.key], link=link)


def row(outcome: Outcome) -> dict[str, object]:
    """Make the row of videos/index.csv of a link.

    Parameters
    ----------
    outcome : Outcome
        What became of the link.

    Returns
    -------
    dict
        Columns of tables.VIDEOS.
    """
    link = outcome.link
    common: dict[str, object] = {
        "video_id": link.video_id,
        "label": link.label,
        "identity": link.identity,
        "donor": link.donor,
        "method": method_of(link.label, link.method),
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
        **found,
        "path": link.video_id + Path(file).suffix,
        "sha256": manifest[file],
        "status": "ok",
    }


def store(outcomes: Iterable[Outcome], out: Path) -> list[dict[str, object]]:
    """Put the downloaded videos into a folder, with requests.csv.

    Parameters
    ----------
    outcomes : iterable of Outcome
        What became of each link.
    out : Path
        The folder to write to.

    Returns
    -------
    list of dict
        The rows of videos/index.csv, one for each link.
    """
    rows, requests = [], []
    for outcome in outcomes:
        rows.append(row(outcome))
        requests.append(request_row(outcome, rows[-1]))
        if outcome.entry is not None:
            link_or_copy(outcome.entry / probe_of(outcome.entry)["file"], out / str(rows[-1]["path"]))
    tables.write(out / "requests.csv", tables.to_dataframe(requests, REQUESTS), REQUESTS)
    return rows


def request_row(outcome: Outcome, row: Mapping[str, object]) -> dict[str, object]:
    """Make the row of requests.csv of a link.

    People may open this table in a spreadsheet, and some of its text comes from lists and servers. A cell that a
    spreadsheet would take for a formula therefore gets an apostrophe in front.

    Parameters
    ----------
    outcome : Outcome
        What became of the link.
    row : mapping of str to object
        Its row of videos/index.csv.

    Returns
    -------
    dict of str to str
        Columns of REQUESTS.
    """
    cells = {**row, "url": outcome.link.url, "detail": outcome.detail, "listed_in": outcome.link.where}
    return {column: no_formula(str(cells.get(column) or "")) for column in REQUESTS.columns}


def no_formula(cell: str) -> str:
    """Put an apostrophe in front of a cell that a spreadsheet would take for a formula.

    Parameters
    ----------
    cell : str
        Any text.

    Returns
    -------
    str

    Examples
    --------
    >>> no_formula("=HYPERLINK(1)"), no_formula("a=b")
    ("'=HYPERLINK(1)", 'a=b')
    """
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def announcement(wanted: Sequence[Link], repeats: int, settings: YoutubeSettings) -> str:
    """Describe what will be downloaded, and the disk space and time that it may take.

    Parameters
    ----------
    wanted : sequence of Link
        The links.
    repeats : int
        How many rows of the lists repeat an earlier one.
    settings : YoutubeSettings
        How videos are downloaded.

    Returns
    -------
    str
        One line for the log.
    """
    counts = " + ".join(f"{sum(link.label == label for link in wanted)} {label}" for label in LABELS)
    return (
        f"youtube: {counts} links ({repeats} rows repeat one); about {expected_video_gb(len(wanted), settings):.1f} GB "
        f"of video expected; the pauses alone take {len(wanted) * settings.sleep_s / 60:.0f} min"
    )


STREAM_BYTES = 1000.0
"""Assumed bytes per hour of a stream and pixel of its picture: 0.9 GB at 720p, a cautious estimate."""
EXPECTED_S = 300.0
"""Assumed length of a video before anything is known about it, seconds."""


def expected_video_gb(count: int, settings: YoutubeSettings) -> float:
    """Estimate the size of the videos before anything is known about them, from STREAM_BYTES and EXPECTED_S.

    Parameters
    ----------
    count : int
        The number of videos.
    settings : YoutubeSettings
        The limits on height, duration and size.

    Returns
    -------
    float
        Gigabytes.
    """
    pixels = settings.max_height**2 * 16 / 9
    seconds = min(EXPECTED_S, settings.max_duration_s)
    return count * min(settings.max_filesize_mb * 1e6, pixels * STREAM_BYTES * seconds / 3600) / 1e9


def report(rows: Sequence[Mapping[str, object]]) -> str:
    """Describe how many links of each class gave a video, why the others did not, and how many may be tried again.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of videos/index.csv.

    Returns
    -------
    str
        Lines for the log.
    """
    lines = []
    for label in LABELS:
        own = [row for row in rows if row["label"] == label]
        lost = Counter(str(row["reason"]) for row in own if row["status"] != "ok")
        share = f" ({1 - lost.total() / len(own):.0%})" if own else ""
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(lost.items()))
        lines.append(f"  {label}: {len(own) - lost.total()} of {len(own)} links{share}" + (f"; {reasons}" * bool(lost)))
    again = sum(REASONS.get(str(row.get("reason", "")), False) for row in rows)
    if again:
        lines.append(f"  {again} may be temporary: `make retry` tries them again")
    imbalance = _imbalance(rows)
    return "\n".join(["youtube:", *lines, *([imbalance] if imbalance else [])])


def _imbalance(rows: Sequence[Mapping[str, object]]) -> str:
    """Warn when the classes lost different shares of their links, beyond chance (Fisher's test)."""
    table = [
        [sum(row["label"] == label and (row["status"] == "ok") == there for row in rows) for there in (True, False)]
        for label in LABELS
    ]
    if min(map(sum, table)) == 0:
        return ""
    from scipy.stats import fisher_exact  # takes most of a second

    if fisher_exact(table).pvalue >= 0.05:
        return ""
    return (
        "  warning: the classes lost different shares of their links, so the remaining videos are not a random "
        "sample; a detector may learn the difference"
    )


def check_enough(rows: Sequence[Mapping[str, object]], settings: YoutubeSettings) -> None:
    """Check that each class has enough usable videos.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of videos/index.csv.
    settings : YoutubeSettings
        `min_videos_per_class` is the least number.

    Raises
    ------
    StudyError
        When a class has fewer.
    """
    for label in LABELS:
        own = [row for row in rows if row["label"] == label]
        there = sum(row["status"] == "ok" for row in own)
        if there < settings.min_videos_per_class:
            raise StudyError(
                f"{there} of {len(own)} {label} links gave a video, youtube.min_videos_per_class asks for "
                f"{settings.min_videos_per_class}; run again later (what is here is kept), name more links, "
                "or lower it."
            )


class _NotThere(Exception):
    """A link has no video: a reason of REASONS and what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


_LIMITS = ("max_duration_s", "max_filesize_mb")
_ACCESS = ("extractors", "cookies", "cookies_from_browser", "proxy", "allow_private")
"""Settings that decide whether a video is available; after a change, missing videos are tried again."""


def _one(link: Link, settings: YoutubeSettings, limits: Limits, cache: WorkCache, downloads: Downloads) -> Outcome:
    """Download a link, or return what an earlier run found."""
    # Limits do not decide a file's bytes: a looser limit must not cause a second download.
    key = key_of(link.key, settings.max_height, settings.codecs)
    gone_key = key_of("gone", key, settings.model_dump(include={*_LIMITS, *_ACCESS}), vars(limits))
    gone = cache.find(gone_key)
    if gone is not None:
        return Outcome(link, None, **json.loads((gone / "gone.json").read_text()))
    partial = cache.root / "partial" / key

    def build(folder: Path) -> None:
        if not links.is_address(link.url):
            raise _NotThere("unsupported", "no http or https address")
        partial.mkdir(parents=True, exist_ok=True)
        answer = downloads.fetch(link, partial, limits)
        suffix = Path(answer["file"]).suffix.lower()
        name = "video" + (suffix if suffix in VIDEO_SUFFIXES else ".mp4")
        (partial / answer["file"]).rename(folder / name)
        (folder / "probe.json").write_text(json.dumps({**answer, "file": name}, sort_keys=True))
        shutil.rmtree(partial, ignore_errors=True)

    try:
        entry = cache.entry(key, build)
        _check_limits(entry, settings, limits)
        return Outcome(link, entry)
    except _NotThere as problem:
        words = {"reason": problem.reason, "detail": problem.detail}
        if not REASONS[problem.reason]:
            cache.entry(gone_key, lambda folder: (folder / "gone.json").write_text(json.dumps(words)))
            shutil.rmtree(partial, ignore_errors=True)
        return Outcome(link, None, **words)


def _check_limits(entry: Path, settings: YoutubeSettings, limits: Limits) -> None:
    """Raise _NotThere for a file that an earlier run kept under wider limits."""
    found = probe_of(entry)
    if found["duration_s"] > min(settings.max_duration_s, limits.max_duration_s):
        raise _NotThere("too_long", f"{found['duration_s']:.0f} s")
    if (entry / found["file"]).stat().st_size > settings.max_filesize_mb * 1e6:
        raise _NotThere("too_large", f"more than {settings.max_filesize_mb:g} MB")


def probe_of(entry: Path) -> dict[str, Any]:
    """Read `file` and the fields of `video.Probe` from an entry of the work cache.

    Parameters
    ----------
    entry : Path
        The entry of a video.

    Returns
    -------
    dict
    """
    return dict(json.loads((entry / "probe.json").read_text()))


class Downloads:
    """The download processes of a run, with a pause between two downloads.

    Parameters
    ----------
    settings : YoutubeSettings
        How videos are downloaded.
    """

    def __init__(self, settings: YoutubeSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._next = 0.0
        self._running: set[Child] = set()

    def stop(self) -> None:
        """End the running downloads and start no others."""
        with self._lock:
            self._stopped.set()
            for child in self._running:
                child.process.kill()

    def _wait(self, at_least: float) -> None:
        """Sleep until this download may start; `at_least` delays all downloads, seconds."""
        with self._lock:
            now = time.monotonic()
            turn = max(now + at_least, self._next)
            self._next = turn + self._settings.sleep_s
        self._stopped.wait(turn - now)

    def fetch(self, link: Link, folder: Path, limits: Limits) -> dict[str, Any]:
        """Download the video of a link; when the server limits the rate, wait and try again.

        Parameters
        ----------
        link : Link
            The link.
        folder : Path
            The folder to write to; it may hold a partial file.
        limits : Limits
            What the file may be.

        Returns
        -------
        dict
            `file` and the fields of `video.Probe`.

        Raises
        ------
        _NotThere
            When the link has no video.
        OSError
            When the disk is full.
        """
        request = {
            "work": "fetch",
            "url": link.url,
            "youtube": bool(links.youtube_id(link.url)),
            "folder": str(folder),
            "limits": vars(limits),
        }
        wait = 0.0
        for attempt in range(self._settings.retries + 1):
            self._wait(wait)
            answer = self.ask(request)
            if answer.get("reason") != "rate_limited":
                break
            wait = answer["retry_after_s"] or self._settings.sleep_s * 2 ** (attempt + 1)
            if wait > self._settings.limit_s:
                break
        if "file" in answer:
            return answer
        if not answer["reason"]:
            raise OSError(errno.ENOSPC, answer["detail"])
        raise _NotThere(answer["reason"], answer["detail"])

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run facestudy.sources.download on a request.

        Parameters
        ----------
        request : dict
            What `fetch` or `read_list` of that module takes, and `work`, a key of its WORK.

        Returns
        -------
        dict
            The answer. A process that takes too long or breaks gives the reason "network".
        """
        seconds = self._settings.limit_s
        child = Child(COMMAND)
        with self._lock:
            self._running.add(child)
            stopped = self._stopped.is_set()
        try:
            if stopped:
                raise KeyboardInterrupt
            return child.ask({**request, "settings": self._settings.model_dump(exclude={"lists"})}, seconds)
        except Ended as problem:
            words = f"not done in {seconds:.0f} s" if problem.late else f"the download process broke ({problem})"
            return {"reason": "network", "detail": words, "retry_after_s": 0}
        finally:
            self._running.discard(child)
            child.end()
