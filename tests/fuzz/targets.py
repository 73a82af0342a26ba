"""What is fuzzed: each function takes the folder it may write to and gives a Target."""

from __future__ import annotations

import copy
import dataclasses
import functools
import io
import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from PIL import Image

import study
from facestudy import decode, links, tables
from facestudy.decode import DecodingStopped
from facestudy.errors import StudyError
from facestudy.folder import FolderSettings, as_id, list_items, make_id, method_of
from facestudy.frames import FrameSettings
from facestudy.settings import check, merge
from facestudy.tables import ID, Table
from facestudy.video import MediaError
from facestudy.youtube import REQUESTS
from stages.stage import read_params
from tests.fuzz.rules import Target, Violation
from tests.media import numbered_picture, write_clip, write_picture
from tests.pipeline_files import ROOT
from tests.project import deep_update, params

DECODE_S, DECODE_MB = 4.0, 768
"""Two looks at a file and what Python has itself stay below the 10 s and 1 GiB of the rules."""
SMALL = 130_000
"""Larger real files are not mutated, bytes."""

ODD_NUMBERS = [b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff" * 8, b"\0" * 4, b"\0\0\x40\0", b"\x01"]
NASTY = (
    "", " ", "=1+1", "+1", "-1", "@x", "\t", "\r", "\n", '"', "'", ",", ";", "\0", "\x1b[2J", "\u2028", "\ufeff",
    "../../etc/passwd", "/etc/passwd", "CON", "nul.mp4", "%2e%2e%2f", "a" * 300, "ａ", "а", "ﬁ", "İ", "\U0001f600",
    "\udce9", "1e999", "nan", "inf", "-0", "0x10", "1_000", "9" * 30, "9" * 5000, "2001-13-45", "12:99:99", "{}",
    "[" * 40, "[" * 3000, "&a [*a]", "*a", "&a {<<: [*a, *a]}",
    "!!python/object:os.system x", "null", "~", "yes", "<script>", "${x}",
)  # fmt: skip


@st.composite
def mutated(draw: Callable[[SearchStrategy[Any]], Any], originals: SearchStrategy[bytes]) -> bytes:
    """A real file with a few changes: bytes overwritten, cut out, repeated, put in, the end cut off."""
    data = bytearray(draw(originals))
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["set", "set", "odd", "odd", "cut", "repeat", "insert", "truncate", "swap"]))
        # Containers have their structure at both ends: half of the changes go there.
        near = draw(st.sampled_from([False, True]))
        place = draw(st.integers(0, max(0, min(len(data), 600) - 1 if near else len(data) - 1)))
        if near and draw(st.booleans()):
            place = max(0, len(data) - 1 - place)
        length = draw(st.integers(1, 64))
        if kind == "set":
            data[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "odd":
            value = draw(st.sampled_from(ODD_NUMBERS))
            data[place : place + len(value)] = value
        elif kind == "cut":
            del data[place : place + length]
        elif kind == "repeat":
            data[place:place] = data[place : place + length] * draw(st.sampled_from([1, 2, 50]))
        elif kind == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=16))
        elif kind == "truncate":
            del data[place:]
        else:
            other = draw(st.integers(0, max(0, len(data) - 1)))
            data[place : place + length], data[other : other + length] = (
                data[other : other + length],
                data[place : place + length],
            )
    return bytes(data)


def cells() -> SearchStrategy[str]:
    return st.one_of(st.sampled_from(NASTY), st.text(max_size=20))


@st.composite
def csvs(draw: Callable[[SearchStrategy[Any]], Any], columns: list[str], known: list[str]) -> bytes:
    """A CSV of the right form with hostile cells, now and then of a wrong form."""
    names = draw(st.lists(st.sampled_from(columns), min_size=1, max_size=len(columns), unique=True))
    rows = draw(st.lists(st.lists(st.one_of(st.sampled_from(known), cells()), max_size=len(names)), max_size=6))
    quoted = draw(st.booleans())
    lines = [names, *(row + ["x"] * (len(names) - len(row)) if draw(st.integers(0, 9)) else row for row in rows)]
    text = "\n".join(",".join(f'"{cell}"' if quoted else cell for cell in line) for line in lines)
    return text.encode("utf-8", "surrogatepass" if draw(st.booleans()) else "replace")


def refused(call: Callable[[], object]) -> str:
    """'accepted', or 'refused' with one sentence."""
    try:
        call()
    except StudyError as error:
        if len(str(error)) > 5_000:
            raise Violation(f"a sentence of {len(str(error))} letters: {str(error)[:200]}") from None
        return "refused"
    return "accepted"


LISTS = [
    b"https://www.youtube.com/watch?v=_iiOEQOtBlQ, [FAKE] a film\nhttps://youtu.be/qHrN5Mf5sgo, [REAL]\n",
    b"url,label,identity,donor,method,start,end\nhttps://a.org/b.mp4,fake,Ann,Bob,swap,1:30,0:01:40\n"
    b"https://youtu.be/_iiOEQOtBlQ,real,,,,,12.5\n",
]


def link_lists(folder: Path) -> Target:
    originals = [*LISTS, *(path.read_bytes()[:3000] for path in _outside("seed_urls", ".csv"))]
    known = ["https://youtu.be/_iiOEQOtBlQ", "http://[::1", "http://a:99999/", "real", "fake", "1:30", "90"]
    files = st.one_of(
        mutated(st.sampled_from(originals)), csvs(["url", *links.COLUMNS], known), st.binary(max_size=400)
    )

    def call(value: tuple[bytes, str | None]) -> str:
        def read() -> None:
            kept, _ = links.without_repeats(links.parse(value[0], "list.csv", value[1]))
            for link in kept:
                _check_id(link.video_id)
                _check_id(method_of(link.label, link.method))
                for name in (link.identity, link.donor):
                    _check_id(name or "none")
                if links.is_address(link.url) and not link.url.isprintable():
                    raise Violation(f"{link.url!r} counts as an address")

        return refused(read)

    return Target(st.tuples(files, st.sampled_from([None, "real", "fake"])), call)


def folder_tables(folder: Path) -> Target:
    for name in ("real/one.png", "real/=1+1.png", "fake/three.png"):
        write_picture(folder / "set" / name)
    settings = check(FolderSettings, {**params()["folder"], "path": str(folder / "set"), "table": "t.csv"}, "folder")
    known = ["real/one.png", "real/=1+1.png", "fake/three.png", "Ann", "Bob"]
    original = b"file,identity,donor,method\nreal/one.png,Ann,,\nfake/three.png,Ann,Bob,face swap\n"

    def call(data: bytes) -> str:
        (folder / "set/t.csv").write_bytes(data)

        def read() -> None:
            for item in list_items(settings):
                for name in (as_id(item.identity), as_id(item.donor), method_of(item.label, item.method)):
                    _check_id(name or "none")

        return refused(read)

    files = st.one_of(csvs(["file", "identity", "donor", "method", "x"], known), mutated(st.just(original)))
    return Target(files, call)


def ids(folder: Path) -> Target:
    names = st.one_of(cells(), st.binary(max_size=300).map(os.fsdecode), st.text(max_size=300))

    def call(pair: tuple[str, str]) -> str:
        made = []
        for name in pair:
            _check_id(make_id(name, "real"))
            _check_id(as_id(name) or "none")
            _check_id(method_of("fake", name))
            links.youtube_id(name)
            links.is_address(name)
            made.append(make_id(name, "real"))
        if (made[0] == made[1]) != (pair[0] == pair[1]):
            raise Violation("two names with one id, or one with two")
        return "made"

    return Target(st.tuples(names, names), call)


def settings_files(folder: Path) -> Target:
    for label in ("real", "fake"):
        write_picture(folder / "set" / label / "one.png")
    plain = deep_update(params(), {"source": "folder", "folder": {"path": str(folder / "set")}})
    original = (ROOT / "params.yaml").read_bytes()
    places = list(_places(plain))

    def like(place: tuple[str, ...]) -> SearchStrategy[Any]:
        """Values of the kind that stands there, so that some pass and later checks are reached."""
        value = functools.reduce(lambda inner, key: inner[key], place, plain)
        if isinstance(value, bool):
            return st.booleans()
        if isinstance(value, int | float):
            return st.integers(-1, 3000) if isinstance(value, int) else st.floats(-0.5, 3000)
        if isinstance(value, list) and value:
            return st.lists(st.sampled_from(value), max_size=len(value))
        return st.sampled_from([value, None, "full", "eyes"])

    scalars = st.one_of(
        cells(), st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from([10**400, -1, 0, 1 << 63])
    )
    values = st.recursive(
        scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(cells(), inner, max_size=3))
    )
    lines = st.tuples(st.sampled_from(original.splitlines()), cells()).map(
        lambda pair: pair[0].partition(b":")[0] + b": " + pair[1].encode("utf-8", "replace")
    )
    changes = st.sampled_from(places).flatmap(lambda place: st.tuples(st.just(place), st.one_of(like(place), values)))
    texts = st.one_of(mutated(st.just(original[:1500])), st.lists(lines, max_size=8).map(b"\n".join))

    def call(value: bytes | list[tuple[tuple[str, ...], Any]]) -> str:
        if isinstance(value, bytes):
            (folder / "params.yaml").write_bytes(value)
            return refused(lambda: study.check_params(read_params(folder / "params.yaml")))
        changed = copy.deepcopy(plain)
        for place, new in value:
            over = new
            for key in reversed(place):
                over = {key: over}
            if refused(lambda over=over: merge(changed, over, "presets/x.yaml")) == "refused":  # type: ignore[misc]
                return "refused"
        return refused(lambda: study.check_params(changed))

    return Target(st.one_of(texts, st.lists(changes, min_size=1, max_size=3)), call)


def stage_tables(folder: Path) -> Target:
    kinds = [value for value in vars(tables).values() if isinstance(value, Table)] + [REQUESTS]
    originals = []
    for place, table in enumerate(kinds):
        rows = [{name: f"a{row}" if kind == "text" else row for name, kind in table.columns.items()} for row in (1, 2)]
        tables.write(folder / f"{place}.csv", tables.frame(rows, table), table)
        originals.append((folder / f"{place}.csv").read_bytes())

    def files(place: int) -> SearchStrategy[tuple[int, bytes]]:
        header, *lines = originals[place].splitlines()

        def with_cell(change: tuple[int, int, str]) -> bytes:
            rows = [line.split(b",") for line in lines]
            row = rows[change[0] % len(rows)]
            row[change[1] % len(row)] = change[2].encode("utf-8", "replace")
            return b"\n".join([header, *(b",".join(row) for row in rows)]) + b"\n"

        damaged = st.tuples(st.integers(0, 9), st.integers(0, 99), cells()).map(with_cell)
        return st.tuples(st.just(place), st.one_of(damaged, mutated(st.just(originals[place]))))

    def call(value: tuple[int, bytes]) -> str:
        (folder / "table.csv").write_bytes(value[1])
        return refused(lambda: tables.read(folder / "table.csv", kinds[value[0]]))

    return Target(st.integers(0, len(kinds) - 1).flatmap(files), call)


def pictures(folder: Path) -> Target:
    return _media(folder, _pictures(folder / "originals"))


def videos(folder: Path) -> Target:
    return _media(folder, _videos(folder / "originals"))


def _media(folder: Path, originals: list[tuple[str, bytes]]) -> Target:
    values = params()
    limits = check(FolderSettings, values["folder"], "folder").limits
    limits = dataclasses.replace(limits, decode_s=DECODE_S, decode_mb=DECODE_MB)
    settings = check(FrameSettings, values["frames"], "frames")
    out = folder / "frames"

    def call(value: tuple[str, bytes]) -> str:
        path = folder / f"case{value[0]}"
        path.write_bytes(value[1])
        out.mkdir()
        try:
            decode.probe(path, limits)
            decode.extract(path, settings, limits, out)
        except DecodingStopped as error:
            words = str(error)
            return "crashed" if "crashed" in words else "out of memory" if " MB " in words else "out of time"
        except MediaError as error:
            str(error).encode("utf-8")
            return "unforeseen error" if "decoding it failed" in str(error) else "rejected"
        finally:
            shutil.rmtree(out)
        return "accepted"

    def files(original: tuple[str, bytes]) -> SearchStrategy[tuple[str, bytes]]:
        changed = mutated(st.just(original[1]))
        if original[0] == ".png":
            changed = st.one_of(changed, changed.map(_with_sums))
        return st.tuples(st.just(original[0]), changed)

    return Target(st.sampled_from(originals).flatmap(files), call)


def _pictures(folder: Path) -> list[tuple[str, bytes]]:
    found = [(path.suffix, path.read_bytes()) for path in _outside("mesonet", ".jpg")]
    still = Image.fromarray(numbered_picture(5, 96, 64))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a name"
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        (".jpg", "JPEG", {"exif": exif}),
        (".jpg", "JPEG", {"progressive": True, "quality": 90}),
        (".png", "PNG", {"exif": exif}),
        (".webp", "WEBP", {"exif": exif}),
        (".webp", "WEBP", {"lossless": True}),
        (".webp", "WEBP", {"save_all": True, "append_images": [still.rotate(90)]}),
    ]
    for suffix, form, options in kinds:
        buffer = io.BytesIO()
        still.save(buffer, form, **options)
        found.append((suffix, buffer.getvalue()))
    for image in (still.convert("P"), still.convert("1"), still.convert("RGBA"), Image.fromarray(_deep())):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        found.append((".png", buffer.getvalue()))
    return found


def _with_sums(png: bytes) -> bytes:
    """A PNG with the checksums that its chunks should have, so that damage in them is looked at."""
    data, place = bytearray(png), 8
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(data)


def _deep() -> Any:
    return np.arange(96 * 64, dtype=np.uint16).reshape(64, 96)


CLIPS = [
    ("libx264", "mp4", {"bf": "2"}),
    ("libx264", "mkv", {}),
    ("libx264", "avi", {}),
    ("libx265", "mp4", {"x265-params": "log-level=none"}),
    ("libvpx", "webm", {"cpu-used": "8", "deadline": "realtime"}),
    ("libvpx-vp9", "webm", {"cpu-used": "8", "deadline": "realtime"}),
    ("libvpx-vp9", "mp4", {"cpu-used": "8", "deadline": "realtime"}),
    ("mpeg4", "avi", {"qscale": "2"}),
    ("mpeg4", "mov", {"qscale": "2"}),
    ("mjpeg", "avi", {"strict": "unofficial"}),
]
"""AV1 is left to the ordinary tests: its encoder talks and takes seconds."""


def _videos(folder: Path) -> list[tuple[str, bytes]]:
    found = [(path.suffix, path.read_bytes()) for path in _outside("videos/fake", ".mp4")]
    for codec, suffix, options in CLIPS:
        path = write_clip(folder / f"{codec}.{suffix}", 12, codec, options=options)
        found.append((path.suffix, path.read_bytes()))
    return found


def _outside(name: str, suffix: str) -> list[Path]:
    """Small files of the material that is not part of the project, where it is."""
    folder = os.environ.get("FACESTUDY_TEST_DATA")
    if not folder:
        return []
    return [p for p in sorted(Path(folder, name).glob(f"*{suffix}")) if p.stat().st_size <= SMALL]


def _check_id(name: str) -> None:
    if not ID.fullmatch(name) or name.startswith("-") or (len(name) > 64 and not name.isascii()):
        raise Violation(f"{name!r} is no id")


def _places(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in values.items():
        found.append((*above, key))
        if isinstance(value, Mapping):
            found += _places(value, (*above, key))
    return found


TARGETS: dict[str, tuple[Callable[[Path], Target], int]] = {
    "link lists": (link_lists, 3),
    "folder tables": (folder_tables, 2),
    "ids": (ids, 2),
    "settings": (settings_files, 2),
    "stage tables": (stage_tables, 2),
    "pictures": (pictures, 4),
    "videos": (videos, 5),
}
"""Name -> how to make it, and its share of the inputs."""
