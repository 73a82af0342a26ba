"""The decoding process: the same answers as without it, and a bad file costs itself alone."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from facestudy.core.settings import check
from facestudy.media import decode, frames, video
from facestudy.media.decode import DecodingStopped
from facestudy.media.extraction import frames_of_video
from facestudy.media.frames import FrameSettings
from facestudy.media.video import MediaError
from facestudy.runtime.work_cache import file_sha256
from tests.media import LIMITS, write_clip, write_picture
from tests.project import ENVIRONMENT, params

BROKEN = """
import os, signal, time
from pathlib import Path
from facestudy.media import decode, video
seen = []
def probe(path, limits):
    seen.append(path.stem)
    if path.stem == "crash" or (path.stem == "worn" and len(seen) > 1):
        os.kill(os.getpid(), signal.SIGSEGV)
    while path.stem == "hang":
        time.sleep(0.01)
    while path.stem == "busy":
        pass
    held = []
    while path.stem == "eat":
        held.append(bytearray(2**24))
    if path.stem == "odd":
        raise KeyError("a tag")
    return real(path, limits)
real, video.probe = video.probe, probe
take, decode.frames.extract = decode.frames.extract, lambda path, *more: (probe(path, more[1]), take(path, *more))
decode.main()
"""
"""A decoding process that breaks as the file's name says."""


def settings() -> FrameSettings:
    return check(FrameSettings, params()["frames"], "frames")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(decode, "COMMAND", (sys.executable, "-c", BROKEN))
    monkeypatch.setattr(decode._own, "child", None, raising=False)
    yield
    if decode._own.child is not None:
        decode._own.child.end()


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.avi", "still.jpg", "still.png"])
def test_the_same_answers_and_bytes_as_in_this_process(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(path.suffix, "libx264")
    if video.is_picture(path):
        write_picture(path)
    else:
        write_clip(path, 20, codec)
    assert decode.probe(path, LIMITS) == video.probe(path, LIMITS)
    for module, place in ((frames, "here"), (decode, "there")):
        (tmp_path / place).mkdir()
        module.extract(path, settings(), LIMITS, tmp_path / place, 0.5, None)
    here, there = (
        {file.name: file.read_bytes() for file in (tmp_path / place).iterdir()} for place in ("here", "there")
    )
    assert here == there and "frames.json" in here


def test_reasons_and_errors_of_the_system_come_through(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(MediaError, match="not decodable as a video"):
        decode.probe(tmp_path / "text.mp4", LIMITS)
    with pytest.raises(FileNotFoundError, match="No such file"):
        decode.probe(tmp_path / "gone.mp4", LIMITS)
    with pytest.raises(FileNotFoundError):
        decode.extract(write_clip(tmp_path / "a.mp4"), settings(), LIMITS, tmp_path / "no folder")


def test_names_that_are_no_text_reach_the_process(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4").rename(tmp_path / os.fsdecode(b"latin-\xe9 \n.mp4"))
    assert decode.probe(path, LIMITS).frames == 12


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crash", r"the decoder crashed on it \(SIGSEGV\)"),
        ("hang", r"not decoded within 0\.5 s \(decoding\.max_time_s\)"),
        ("busy", r"not decoded within 0\.5 s \(decoding\.max_time_s\)"),
        ("eat", r"takes more than 200 MB \(decoding\.max_memory_mb\)"),
    ],
)
def test_what_breaks_the_process_costs_one_file(tmp_path: Path, broken: None, name: str, reason: str) -> None:
    limits = replace(LIMITS, decode_s=0.5, decode_mb=200)
    good = write_clip(tmp_path / "good.mp4")
    bad = write_clip(tmp_path / f"{name}.mp4")
    started = time.monotonic()
    with pytest.raises(DecodingStopped, match=reason):
        decode.probe(bad, limits if name in ("hang", "busy") else replace(limits, decode_s=30))
    assert time.monotonic() - started < 20
    assert decode.probe(good, replace(limits, decode_s=30)).frames == 12


def test_a_process_worn_out_by_others_is_not_the_files_fault(tmp_path: Path, broken: None) -> None:
    good, worn = write_clip(tmp_path / "good.mp4"), write_clip(tmp_path / "worn.mp4")
    assert decode.probe(good, LIMITS).frames == 12
    assert decode.probe(worn, LIMITS).frames == 12  # crashes in the used process, not in a fresh one


def test_an_error_that_no_one_foresaw_is_a_reason(tmp_path: Path, broken: None) -> None:
    with pytest.raises(MediaError, match=r"decoding it failed \(KeyError: 'a tag'\)"):
        decode.probe(write_clip(tmp_path / "odd.mp4"), LIMITS)


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not bound a process's memory")
def test_a_picture_that_needs_too_much_memory(tmp_path: Path) -> None:
    Image.new("1", (9_000, 9_000)).save(tmp_path / "bomb.png")  # 10 kB
    with pytest.raises(DecodingStopped, match=r"decoding it takes more than 64 MB"):
        decode.probe(tmp_path / "bomb.png", replace(LIMITS, decode_mb=64))
    assert decode.probe(tmp_path / "bomb.png", LIMITS).width == 9_000


@pytest.mark.parametrize(
    ("name", "reason"),
    [("crash", "the decoder crashed on it (SIGSEGV)"), ("odd", "decoding it failed (KeyError: 'a tag')")],
)
def test_a_clip_that_breaks_decoding_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    path = write_clip(tmp_path / f"{name}.mp4")
    take = functools.partial(
        frames_of_video,
        root=tmp_path,
        settings=settings(),
        limits=LIMITS,
        archived=False,
        cache=tmp_path / "cache",
        code={},
    )
    item = (path.name, file_sha256(path), None, None)
    with monkeypatch.context() as patch:
        patch.setattr(decode, "COMMAND", (sys.executable, "-c", BROKEN))
        patch.setattr(decode._own, "child", None, raising=False)
        found = json.loads((take(item) / "frames.json").read_text())
        if decode._own.child is not None:
            decode._own.child.end()
    assert found == {"frames": [], "dropped": reason}
    found = json.loads((take(item) / "frames.json").read_text())
    assert len(found["frames"]) == settings().per_video and found["dropped"] == ""


def test_the_process_ends_with_who_asked(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "hang.mp4")
    script = f"""
import sys
from pathlib import Path
from facestudy.media import decode
from tests.media import LIMITS
decode.COMMAND = (sys.executable, "-c", {BROKEN!r})
child = decode._own.child = decode.Child(decode.COMMAND)
print(child.process.pid, flush=True)
decode.probe(Path({str(path)!r}), LIMITS)
"""
    asking = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert asking.stdout
    child = int(asking.stdout.readline())
    time.sleep(0.3)  # it is in the midst of the file then
    os.kill(child, 0)
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    ended = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and not _is_zombie(child):
        assert time.monotonic() < ended, "the decoding process outlives who asked"
        time.sleep(0.05)


def _is_zombie(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
