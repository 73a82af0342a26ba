"""Source `youtube`: a real server that misbehaves, reasons, resuming, limits, no way to private addresses."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yt_dlp
from yt_dlp.networking import Response
from yt_dlp.networking.exceptions import HTTPError

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.settings import check
from facestudy.media.video import Limits
from facestudy.runtime.work_cache import WorkCache, file_sha256
from facestudy.sources import youtube
from facestudy.sources.download import REASONS, formats, is_public, reason_of, retry_after
from facestudy.sources.links import Link, parse
from facestudy.sources.youtube import REQUESTS, Downloads, ListSettings, Outcome, YoutubeSettings, obtain, request_row
from tests import forked
from tests.media import LIMITS, write_clip
from tests.media_server import REASONS as BEHAVIOURS
from tests.media_server import MediaServer, serving
from tests.project import ENVIRONMENT, call, deep_update, params, stage, write_params

FAST = {
    "extractors": ["generic"],
    "allow_private": True,
    "sleep_s": 0.0,
    "stall_s": 1.0,
    "retries": 2,
    "max_filesize_mb": 2.0,
    "limit_s": 40.0,
    "concurrent": 2,
    "min_videos_per_class": 1,
}


def settings(**changes: Any) -> YoutubeSettings:
    return check(YoutubeSettings, {**params()["youtube"], **FAST, **changes}, "youtube")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(4):
        write_clip(folder / f"{number}.mp4", count=40, size=(320, 240), options={"qp": str(10 + number)})
    return folder


@pytest.fixture(autouse=True)
def forked_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each process that downloads as a fork: importing yt-dlp takes a second."""
    monkeypatch.setattr(youtube, "COMMAND", (str(forked.programs() / "python"), *youtube.COMMAND[1:]))


@pytest.fixture
def server(clips: Path) -> Iterator[MediaServer]:
    with serving(clips, stall_s=4) as found:
        yield found


def fetch_all(links: list[Link], cache: Path, **changes: Any) -> dict[str, Outcome]:
    """behaviour -> what became of the link."""
    outcomes = obtain(links, settings(**changes), LIMITS, WorkCache(cache))
    return {outcome.link.url.split("/")[3]: outcome for outcome in outcomes}


def test_each_server_fault_has_its_reason(server: MediaServer, clips: Path, tmp_path: Path) -> None:
    links = [Link(f"{server.address}/{behaviour}/0.mp4", "real") for behaviour in BEHAVIOURS]
    found = fetch_all(links, tmp_path)
    assert {behaviour: outcome.reason for behaviour, outcome in found.items()} == BEHAVIOURS
    for behaviour, reason in BEHAVIOURS.items():
        if not reason:
            entry = found[behaviour].entry
            assert entry is not None
            assert file_sha256(entry / youtube.probe_of(entry)["file"]) == file_sha256(clips / "0.mp4"), behaviour
    assert server.ranges, "the connection that was cut was not continued by range"

    before = server.requests.copy()
    again = fetch_all(links, tmp_path)
    assert {behaviour: outcome.reason for behaviour, outcome in again.items()} == BEHAVIOURS
    asked = {path.split("/")[1] for path, count in server.requests.items() if count > before[path]}
    assert asked == {behaviour for behaviour, reason in BEHAVIOURS.items() if REASONS.get(reason, False)}


def test_parts_of_a_video_are_fetched_once(server: MediaServer, tmp_path: Path) -> None:
    parts = [Link(f"{server.address}/ok/1.mp4", "real", start_s=s, end_s=s + 1) for s in (0.0, 2.0)]
    first, second = obtain(parts, settings(), LIMITS, WorkCache(tmp_path))
    assert first.entry == second.entry is not None
    assert first.link.video_id != second.link.video_id
    requests = sum(server.requests.values())
    (other,) = obtain([Link(f"{server.address}/ok/1.mp4", "real")], settings(), LIMITS, WorkCache(tmp_path))
    assert other.entry == first.entry and sum(server.requests.values()) == requests


def test_a_part_of_another_file_is_not_believed(server: MediaServer, clips: Path, tmp_path: Path) -> None:
    link = [Link(f"{server.address}/cut/2.mp4", "real")]
    assert fetch_all(link, tmp_path, retries=0)["cut"].reason == "network"
    (part,) = (tmp_path / "partial").rglob("*.part")
    assert 0 < part.stat().st_size < (clips / "2.mp4").stat().st_size
    part.write_bytes(bytes(part.stat().st_size))
    entry = fetch_all(link, tmp_path, retries=5)["cut"].entry
    assert entry is not None and file_sha256(entry / "video.mp4") == file_sha256(clips / "2.mp4")


def test_complete_file_of_a_killed_run_is_used(server: MediaServer, clips: Path, tmp_path: Path) -> None:
    downloads = Downloads(settings())
    link = Link(f"{server.address}/ok/3.mp4", "real")
    first = downloads.fetch(link, tmp_path, LIMITS)  # and nobody took the file away
    sent = sum(server.sent.values())
    assert downloads.fetch(link, tmp_path, LIMITS) == first
    assert file_sha256(tmp_path / first["file"]) == file_sha256(clips / "3.mp4")
    assert sum(server.sent.values()) - sent <= sent / 2, "it was downloaded again"


def test_limits_apply_to_existing_downloads(server: MediaServer, tmp_path: Path) -> None:
    link = [Link(f"{server.address}/ok/0.mp4", "real")]
    assert fetch_all(link, tmp_path)["ok"].reason == ""
    requests = sum(server.requests.values())
    assert fetch_all(link, tmp_path, max_duration_s=2.0)["ok"].reason == "too_long"
    assert fetch_all(link, tmp_path, max_filesize_mb=0.001)["ok"].reason == "too_large"
    assert fetch_all(link, tmp_path)["ok"].reason == ""
    assert sum(server.requests.values()) == requests
    assert fetch_all(link, tmp_path / "new", max_duration_s=2.0)["ok"].reason == "too_long"
    assert fetch_all(link, tmp_path / "other", max_filesize_mb=0.001)["ok"].reason == "too_large"


def test_too_long_video_is_not_called_corrupt(server: MediaServer, tmp_path: Path) -> None:
    link, short = Link(f"{server.address}/ok/0.mp4", "real"), replace(LIMITS, max_duration_s=1.0)

    def reason(cache: str, limits: Limits) -> str:
        return next(iter(obtain([link], settings(), limits, WorkCache(tmp_path / cache)))).reason

    assert [reason("new", short), reason("there", LIMITS), reason("there", short)] == ["too_long", "", "too_long"]


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("120", 120, 120),
        ("99999999", 3600, 3600),
        ("9" * 400, 0, 0),
        ("", 0, 0),
        ("soon", 0, 0),
        ("-5", 0, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Mon, 01 Jan 99999 00:00:00 GMT", 0, 0),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0, 0),
    ],
)
def test_the_wait_that_a_server_asks_for(header: str, least: float, most: float) -> None:
    assert least <= retry_after(refusal(header)) <= most


def test_the_wait_until_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    assert 300 <= retry_after(refusal(date)) <= 600


def refusal(header: str) -> Exception:
    error = Exception()
    error.__cause__ = HTTPError(Response(io.BytesIO(), "http://a.org", {"Retry-After": header}, status=429))
    return error


def test_only_the_allowed_extractors_look_at_a_link(server: MediaServer, tmp_path: Path) -> None:
    link = [Link(f"{server.address}/ok/0.mp4", "real")]
    assert fetch_all(link, tmp_path, extractors=["youtube"])["ok"].reason == "unsupported"
    assert not server.requests


def test_addresses_that_are_none_start_nothing(tmp_path: Path) -> None:
    links = [Link(f"{scheme}x{number}", "real") for scheme in ("file:///etc/", "ftp://a.org/") for number in range(600)]
    outcomes = list(obtain(links, settings(sleep_s=5.0), LIMITS, WorkCache(tmp_path)))
    assert len(outcomes) == 1200 and {outcome.reason for outcome in outcomes} == {"unsupported"}


# --- private addresses ----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_refused(server: MediaServer, tmp_path: Path, host: str) -> None:
    port = server.server_address[1]
    link = Link(f"http://{host}:{port}/ok/0.mp4", "real")
    (outcome,) = obtain([link], settings(allow_private=False), LIMITS, WorkCache(tmp_path))
    assert (outcome.reason, outcome.entry) == ("unsupported", None)
    assert "not a public address" in outcome.detail
    assert not server.requests


REDIRECT = """
import json, sys
from facestudy.sources import download
download.is_public = lambda host: host == "127.0.0.1"  # the server plays a public one
print(json.dumps(download.fetch(json.loads(sys.argv[1]))))
"""


def test_a_redirect_to_a_private_address_is_refused(server: MediaServer, tmp_path: Path) -> None:
    request = {
        "url": f"{server.address}/private_redirect/0.mp4",
        "youtube": False,
        "folder": str(tmp_path),
        "limits": vars(LIMITS),
        "settings": settings(allow_private=False).model_dump(exclude={"lists"}),
    }
    done = call(tmp_path, "python", "-c", REDIRECT, json.dumps(request))
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["reason"] == "unsupported" and "127.0.0.2" in answer["detail"], answer
    assert list(server.requests) == ["/private_redirect/0.mp4"]


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
    ],
)
def test_public_addresses(host: str, public: bool) -> None:
    assert is_public(host) is public


# --- reasons of YouTube ---------------------------------------------------------------------------

ERRORS = [  # as yt-dlp 2026.08.19 words them, YouTube's own sentences inside
    ("removed", "[youtube] aaaaaaaaaaa: Video unavailable"),
    ("removed", "[youtube] aaaaaaaaaaa: Video unavailable. This video has been removed by the uploader"),
    ("removed", "[youtube] a: Video unavailable. This video is no longer available because the YouTube account "
     "associated with this video has been terminated."),
    ("removed", "[youtube] a: Video unavailable. This video is no longer available due to a copyright claim by X"),
    ("removed", "[youtube] a: This video has been removed for violating YouTube's Community Guidelines"),
    ("removed", "[youtube] a: Video unavailable. This video contains content from X, who has blocked it on "
     "copyright grounds"),
    ("private", "[youtube] a: Private video. Sign in if you've been granted access to this video. Use "
     "--cookies-from-browser or --cookies for the authentication."),
    ("private", "[youtube] a: This video is private"),
    ("age_restricted", "[youtube] a: Sign in to confirm your age. This video may be inappropriate for some users. "
     "Use --cookies-from-browser or --cookies for the authentication."),
    ("geo_blocked", "[youtube] a: The uploader has not made this video available in your country\nYou might want to "
     "use a VPN or a proxy server (with --proxy) to workaround."),
    ("geo_blocked", "[youtube] a: Video unavailable. This video contains content from X, who has blocked it in your "
     "country on copyright grounds"),
    ("geo_blocked", "[generic] This video is not available from your location due to geo restriction"),
    ("login_required", "[youtube] a: Join this channel to get access to members-only content like this video, and "
     "other exclusive perks."),
    ("login_required", "[youtube] a: This video is available to this channel's members on level: X (or any higher "
     "level). Join this channel to get access to members-only content and other exclusive perks."),
    ("login_required", "[youtube] a: This video requires payment to watch"),
    ("login_required", "[youtube] a: Login details are needed to download this content."),
    ("rate_limited", "[youtube] a: Sign in to confirm you’re not a bot. Use --cookies-from-browser or --cookies for "
     "the authentication."),
    ("rate_limited", "[youtube] a: Video unavailable. This content isn't available, try again later. The current "
     "session has been rate-limited by YouTube for up to an hour."),
    ("rate_limited", "[youtube] a: Video unavailable. YouTube is requiring a captcha challenge before playback"),
    ("rate_limited", "unable to download video data: HTTP Error 403: Forbidden"),
    ("rate_limited", "[youtube] a: Unable to download API page: HTTP Error 429: Too Many Requests"),
    ("unsupported", "[youtube] a: This live event will begin in 3 days."),
    ("unsupported", "[youtube] a: Premieres in 8 hours"),
    ("unsupported", "[youtube] a: Requested format is not available. Use --list-formats for a list"),
    ("unsupported", "[youtube] a: This video is DRM protected"),
    ("unsupported", "Unsupported URL: https://www.youtube.com/about/"),
    ("unsupported", "No suitable extractor found for URL https://vimeo.com/1"),
    ("unsupported", "[youtube:truncated_id] abc: Incomplete YouTube ID abc. URL https://youtu.be/abc looks truncated."),
    ("network", "[youtube] a: Failed to extract any player response; please report this issue"),
    ("network", "[youtube] a: Unable to download webpage: [Errno -3] Temporary failure in name resolution"),
    ("network", "unable to download video data: HTTP Error 500: Internal Server Error"),
    ("network", "The read operation timed out"),
    ("network", "The current connection sent a different range, parent closed"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "message"), ERRORS)
def test_youtubes_words_mean(reason: str, message: str) -> None:
    assert reason_of(message, youtube=True) == reason


def test_the_words_were_read_from_the_installed_version() -> None:
    """A new yt-dlp: read what it says now, add it to ERRORS, then change the version here and in download.py."""
    assert yt_dlp.version.__version__ == "2026.08.19"


def test_yt_dlp_understands_our_choice_of_formats() -> None:
    with yt_dlp.YoutubeDL({"quiet": True}, auto_init=False) as downloader:
        select = downloader.build_format_selector(formats(720, ["h264", "vp9"]))
    streams: list[dict[str, Any]] = [
        {"format_id": "18", "vcodec": "avc1.42", "acodec": "mp4a", "height": 360, "protocol": "https", "ext": "mp4"},
        {"format_id": "136", "vcodec": "avc1.4d", "acodec": "none", "height": 720, "protocol": "https", "ext": "mp4"},
        {"format_id": "247", "vcodec": "vp9", "acodec": "none", "height": 720, "protocol": "https", "ext": "webm"},
        {"format_id": "232", "vcodec": "avc1.4d", "acodec": "none", "height": 720, "protocol": "m3u8", "ext": "mp4"},
        {"format_id": "137", "vcodec": "avc1.64", "acodec": "none", "height": 1080, "protocol": "https", "ext": "mp4"},
    ]

    def chosen(*names: str) -> str:
        left = [{**stream, "url": "x"} for stream in streams if stream["format_id"] in names]
        (found,) = select({"formats": left, "has_merged_format": True, "incomplete_formats": False})
        return str(found["format_id"])

    assert chosen("18", "136", "247", "232", "137") == "136"
    assert chosen("18", "247", "232", "137") == "247"
    assert chosen("18", "137") == "18"


def test_the_javascript_runtime_of_the_wheel_is_there() -> None:
    import deno

    done = subprocess.run([deno.find_deno_bin(), "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("deno ")


# --- lists ----------------------------------------------------------------------------------------


def test_a_list_by_address_is_pinned_and_fetched_once(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("https://a.org/1.mp4, [FAKE] x\n")
    digest = file_sha256(tmp_path / "list.csv")
    with serving(tmp_path) as server:
        pinned = settings(lists=[{"url": f"{server.address}/list/list.csv", "sha256": digest}])
        for _ in range(2):
            links, _ = youtube.wanted(pinned, WorkCache(tmp_path / "cache"))
            assert [link.url for link in links] == ["https://a.org/1.mp4"]
        assert sum(server.requests.values()) == 1
        other = settings(lists=[{"url": f"{server.address}/list/list.csv", "sha256": "0" * 64}])
        with pytest.raises(StudyError, match="the list has changed"):
            youtube.wanted(other, WorkCache(tmp_path / "cache"))
        gone = settings(lists=[{"url": f"{server.address}/missing/list.csv", "sha256": "0" * 64}])
        with pytest.raises(StudyError, match="could not be fetched .*404"):
            youtube.wanted(gone, WorkCache(tmp_path / "cache"))
        closed = settings(allow_private=False, lists=[{"url": f"{server.address}/list/list.csv", "sha256": "1" * 64}])
        with pytest.raises(StudyError, match="not a public address"):
            youtube.wanted(closed, WorkCache(tmp_path / "cache"))


def test_a_list_on_disk_is_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list.csv"
    with pytest.raises(StudyError, match="youtube.lists is empty"):
        youtube.wanted(settings(), WorkCache(tmp_path))
    with pytest.raises(StudyError, match="cannot be read"):
        youtube.wanted(settings(lists=[{"path": str(path)}]), WorkCache(tmp_path))
    for odd, said in (("/dev/zero", "not a regular file"), (__file__, "more than 0.001 MB")):
        monkeypatch.setattr("facestudy.sources.links.MAX_BYTES", 1000)
        with pytest.raises(StudyError, match=f"cannot be read \\({said}\\)"):
            youtube.wanted(settings(lists=[{"path": odd}]), WorkCache(tmp_path))
    path.write_text("https://a.org/1.mp4, [FAKE] x\n")
    with pytest.raises(StudyError, match="add sha256: " + file_sha256(path)):
        youtube.wanted(settings(lists=[{"path": str(path)}]), WorkCache(tmp_path))
    with pytest.raises(StudyError, match="has the sha256"):
        youtube.wanted(settings(lists=[{"path": str(path), "sha256": "0" * 64}]), WorkCache(tmp_path))


@pytest.mark.parametrize("values", [{}, {"path": "a", "url": "b", "sha256": "0" * 64}, {"url": "https://a.org/l.csv"}])
def test_a_list_has_one_place(values: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="youtube.lists"):
        check(ListSettings, values, "youtube.lists")


# --- the stage ------------------------------------------------------------------------------------


def project(folder: Path, server: MediaServer, behaviours: dict[str, list[str]], **changes: Any) -> Path:
    """A folder with params.yaml for the stages, and a list of links to the server."""
    rows = [
        f"{server.address}/{behaviour}/{number % 4}.mp4?{label}{number},{label}"
        for label, all_of in behaviours.items()
        for number, behaviour in enumerate(all_of)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data/lists").mkdir(parents=True)
    (folder / "data/lists/list.csv").write_text("\n".join(["url,label", *rows]) + "\n")
    values = deep_update(params(), {"source": "youtube", "youtube": {**FAST, **changes}})
    values["youtube"]["lists"] = [{"path": "data/lists/list.csv"}]
    write_params(folder, values)
    return folder


def test_the_stage_gives_each_link_a_row_and_says_what_was_lost(server: MediaServer, tmp_path: Path) -> None:
    behaviours = {"real": ["ok", "ok", "missing"], "fake": ["ok", "forbidden", "always_busy"]}
    folder = project(tmp_path / "p", server, behaviours)
    done = stage(folder, "videos")
    assert done.returncode == 0, done.stderr
    index = pd.read_csv(folder / "data/videos/index.csv", keep_default_na=False)
    assert sorted(index["reason"]) == ["", "", "", "login_required", "rate_limited", "removed"]
    assert set(index.loc[index["reason"] != "", "status"]) == {"unavailable"}
    for row in index[index["status"] == "ok"].itertuples():
        assert file_sha256(folder / "data/videos" / row.path) == row.sha256
    asked = pd.read_csv(folder / "data/videos/requests.csv", keep_default_na=False)
    assert len(asked) == 6 and asked["url"].str.startswith(server.address).all()
    assert "real: 2 of 3 links (67%); 1 removed" in done.stdout
    assert "fake: 1 of 3 links (33%); 1 login_required, 1 rate_limited" in done.stdout
    assert "1 may be temporary: `make retry`" in done.stdout


def test_too_few_videos_end_the_study_with_what_is_there_kept(server: MediaServer, tmp_path: Path) -> None:
    folder = project(tmp_path / "p", server, {"real": ["ok", "ok"], "fake": ["ok", "missing"]}, min_videos_per_class=2)
    done = stage(folder, "videos")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "1 of 2 fake links gave a video, youtube.min_videos_per_class asks for 2" in done.stderr
    requests = sum(server.requests.values())
    deeper = deep_update(params(), {"source": "youtube", "youtube": {**FAST, "min_videos_per_class": 1}})
    deeper["youtube"]["lists"] = [{"path": "data/lists/list.csv"}]
    write_params(folder, deeper)
    assert stage(folder, "videos").returncode == 0
    assert sum(server.requests.values()) == requests


def test_unequal_losses_are_pointed_out() -> None:
    rows = [{"label": label, "status": "ok" if k >= lost else "unavailable", "reason": "removed" if k < lost else ""}
            for label, lost in (("real", 1), ("fake", 12)) for k in range(20)]  # fmt: skip
    assert "warning" in youtube.report(rows)
    assert "warning" not in youtube.report([row for row in rows if row["label"] == "real"])
    alike = [row for number, row in enumerate(rows) if not 1 <= number % 20 < 12]  # 1 of 9 lost in both
    assert "warning" not in youtube.report(alike)
    assert "real: 19 of 20 links (95%); 1 removed" in youtube.report(rows)


def outputs(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted((folder / "data/videos").iterdir())}


def test_interrupted_runs_are_completed_with_the_same_bytes(server: MediaServer, tmp_path: Path) -> None:
    behaviours = {"real": ["ok", "cut", "ok", "missing"], "fake": ["ok", "busy", "page", "ok"]}
    whole = project(tmp_path / "whole", server, behaviours, sleep_s=0.5)
    assert stage(whole, "videos").returncode == 0
    for sign, after_requests in ((signal.SIGINT, 1), (signal.SIGKILL, 3)):
        hurt = tmp_path / sign.name
        shutil.copytree(whole, hurt, ignore=shutil.ignore_patterns(".cache", "videos"))
        command = [sys.executable, "-m", "stages.videos"]
        before = server.requests.total()
        process = subprocess.Popen(command, cwd=hurt, env=ENVIRONMENT, stderr=subprocess.PIPE)
        while server.requests.total() < before + after_requests and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(sign)
        _, words = process.communicate(timeout=30)
        assert process.returncode != 0, "it had ended before"
        assert b"Traceback" not in words
        assert not (hurt / "data/videos").exists()
        assert stage(hurt, "videos").returncode == 0
        assert outputs(hurt) == outputs(whole)


def test_requests_hold_no_formula_and_the_progress_no_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    links = parse(b'=cmd|calc, [REAL]\n"@SUM(1)\x1b[2J", [FAKE]\nhttps://a.org/1=1.mp4, [REAL]\n', "+list.csv", None)
    outcomes = list(obtain(links, settings(extractors=["youtube"]), LIMITS, WorkCache(tmp_path)))
    table = tables.to_dataframe((request_row(outcome, youtube.row(outcome)) for outcome in outcomes), REQUESTS)
    assert table["url"].tolist() == ["'=cmd|calc", "'@SUM(1)\x1b[2J", "https://a.org/1=1.mp4"]
    assert table["listed_in"].tolist() == [f"'+list.csv, row {number}" for number in (1, 2, 3)]
    assert list(table["label"]) == ["real", "fake", "real"] and list(table.columns) == REQUESTS.names()
    assert "\x1b" not in capsys.readouterr().err
