"""Lists of links to videos: ours (a CSV with a header) and the earlier study's (no header).

Ours has the columns `url,label,identity,donor,method,start,end`, all but `url` optional; `start` and
`end` are seconds or [h:]m:s. The study's has lines of `URL, [FAKE|REAL] free text`. Both are read
with all that people put into such files: stray quotes, a byte order mark, empty lines, repeats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from facestudy.core.errors import StudyError
from facestudy.core.settings import quoted
from facestudy.core.tables import LABELS
from facestudy.sources import user_csv
from facestudy.sources.folder import as_id, make_id

COLUMNS = ("label", "identity", "donor", "method", "start", "end")
MAX_BYTES = 5_000_000
"""Larger files are refused: they are not lists of links."""
MAX_URL = 2_000

STUDY_LINE = re.compile(r"""["'\s]*(?P<url>[^\s,"']+)["'\s]*(?:,["'\s]*\[\s*(?P<label>FAKE|REAL)\s*\].*)?""", re.I)
YOUTUBE_HOST = re.compile(r"(?:(?:www|m|music)\.)?(?:youtube(?:-nocookie)?\.com|youtu\.be)")
YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")


@dataclass(frozen=True)
class Link:
    """A wanted video, or a part of one.

    Attributes
    ----------
    url : str
    label : str
        "real" or "fake".
    identity, donor, method : str
        Empty where the list does not say.
    start_s, end_s : float or None
        The part that is wanted, seconds.
    where : str
        The file and row that the link comes from, for messages.
    """

    url: str
    label: str
    identity: str = ""
    donor: str = ""
    method: str = ""
    start_s: float | None = None
    end_s: float | None = None
    where: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """What is fetched, the same for all spellings of a YouTube address.

        Examples
        --------
        >>> Link("https://youtu.be/_iiOEQOtBlQ?t=3", "real").key
        'youtube:_iiOEQOtBlQ'
        """
        video = youtube_id(self.url)
        return f"youtube:{video}" if video else self.url

    @property
    def video_id(self) -> str:
        """The id of the row in videos/index.csv."""
        part = "" if self.start_s is None and self.end_s is None else f"#{self.start_s}-{self.end_s}"
        video = youtube_id(self.url)
        return make_id(video + part, "yt") if video else make_id(self.url + part, "link")


def youtube_id(url: str) -> str:
    """The 11 characters that name a YouTube video, or "" for any other address.

    Examples
    --------
    >>> youtube_id("https://www.youtube.com/watch?v=_iiOEQOtBlQ&list=x"), youtube_id("https://a.org/b.mp4")
    ('_iiOEQOtBlQ', '')
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return ""
    if not YOUTUBE_HOST.fullmatch(host):
        return ""
    if host.endswith("youtu.be"):
        found = parts.path[1:12]
    elif parts.path.startswith(("/shorts/", "/embed/", "/live/", "/v/")):
        found = parts.path.split("/")[2][:11]
    else:
        found = parse_qs(parts.query).get("v", [""])[0]
    return found if YOUTUBE_ID.fullmatch(found) else ""


def is_address(url: str) -> bool:
    """Whether a text is an http(s) address with a host, without a user name and without unprintable characters.

    Examples
    --------
    >>> is_address("https://a.org/b.mp4"), is_address("file:///etc/passwd"), is_address("https://me@a.org")
    (True, False, False)
    """
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and "@" not in parts.netloc
            and len(url) <= MAX_URL
            and url.isprintable()
            and (parts.port is None or 0 < parts.port < 65536)
        )
    except ValueError:
        return False


def parse(data: bytes, name: str, label: str | None) -> list[Link]:
    """Read the links of one list, in its order, repeats included.

    Parameters
    ----------
    data
        The content of the file.
    name
        The name of the file, for messages.
    label
        The label of all its links; None when each row has its own.

    Returns
    -------
    list of Link

    Raises
    ------
    StudyError
        When the file is not a list of links; the message names the file and the row.

    Examples
    --------
    >>> [(link.url, link.label) for link in parse(b"https://youtu.be/_iiOEQOtBlQ, [FAKE] a speech", "a.csv", None)]
    [('https://youtu.be/_iiOEQOtBlQ', 'fake')]
    """
    if len(data) > MAX_BYTES:
        raise StudyError(f"{name} has {len(data) / 1e6:.1f} MB; split it into lists of at most {MAX_BYTES / 1e6:g} MB.")
    text = user_csv.decode(data, name)
    first = next((line for line in text.splitlines() if line.strip()), "")
    header = [cell.strip().lower() for cell in first.split(",")]
    links = list(_ours(text, name, label) if "url" in header else _study(text, name, label))
    if not links:
        raise StudyError(f"{name} has no links; give it rows, or remove it from youtube.lists.")
    return links


def _ours(text: str, name: str, label: str | None) -> Iterable[Link]:
    for where, row in user_csv.rows(text, name, "url", COLUMNS):
        cells = {column: cell.strip("\"' \t") for column, cell in row.items()}
        if not cells["url"]:
            raise StudyError(f"{where}: the url is missing.")
        start, end = _seconds(cells["start"], where, "start"), _seconds(cells["end"], where, "end")
        if end is not None and end <= (start or 0):
            raise StudyError(f"{where}: end = {cells['end']!r} is not after start = {cells['start'] or '0'!r}.")
        who = as_id(cells["identity"]), as_id(cells["donor"]), cells["method"]
        yield Link(cells["url"], _label(cells["label"], label, where), *who, start, end, where)


def _study(text: str, name: str, label: str | None) -> Iterable[Link]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip(" \t\"',"):
            continue
        where = f"{name}, row {number}"
        found = STUDY_LINE.match(line)
        if found is None:
            raise StudyError(f"{where}: {quoted(line[:60])} is not of the form `URL, [FAKE|REAL] text`.")
        yield Link(found["url"], _label(found["label"] or "", label, where), where=where)


def _label(cell: str, label: str | None, where: str) -> str:
    """The label of a row, which its list may give for all rows."""
    own = cell.lower()
    if own and own not in LABELS:
        raise StudyError(f"{where}: label = {quoted(cell)} is neither real nor fake; write one of the two.")
    if own and label and own != label:
        raise StudyError(f"{where}: the row says {own}, youtube.lists says {label}; set the list's label to null.")
    if not (own or label):
        raise StudyError(f"{where}: no label; give the row one, or the list in youtube.lists.")
    return own or str(label)


def _seconds(cell: str, where: str, column: str) -> float | None:
    """Seconds of '90', '1:30' or '0:01:30'; None for an empty cell."""
    if not cell:
        return None
    if not re.fullmatch(r"(?:\d{1,4}:){0,2}\d{1,6}(?:\.\d{1,6})?", cell):
        raise StudyError(f"{where}: {column} = {quoted(cell)} is not a time in seconds or h:m:s.")
    total = 0.0
    for part in cell.split(":"):
        total = 60 * total + float(part)
    return total


def without_repeats(links: Iterable[Link]) -> tuple[list[Link], int]:
    """Keep each wanted video once.

    Parameters
    ----------
    links
        Of all lists.

    Returns
    -------
    links : list of Link
        In the order of their first rows.
    repeats : int
        How many rows repeat another.

    Raises
    ------
    StudyError
        When two rows want the same footage under two labels, or two videos would get the same id.

    Examples
    --------
    >>> kept, repeats = without_repeats([Link("https://a.org/b.mp4", "real"), Link("https://a.org/b.mp4", "real")])
    >>> len(kept), repeats
    (1, 1)
    """
    kept: dict[str, Link] = {}
    labels: dict[str, Link] = {}
    repeats = 0
    for link in links:
        other = labels.setdefault(link.key, link)
        if other.label != link.label:
            raise StudyError(
                f"{link.where}: {quoted(link.url)} is {link.label} here and {other.label} in {other.where}; "
                "keep one of the two."
            )
        same = kept.setdefault(link.video_id, link)
        if (same.key, same.start_s, same.end_s) != (link.key, link.start_s, link.end_s):
            raise StudyError(
                f"{link.where}: {quoted(link.url)} gets the id of {quoted(same.url)} in {same.where}; "
                "keep one of the two."
            )
        repeats += same is not link
    return list(kept.values()), repeats
