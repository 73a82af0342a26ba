"""What is fuzzed: each function takes the folder it may write to and gives a Target."""

from __future__ import annotations

import copy
import dataclasses
import functools
import io
import json
import os
import shutil
import unicodedata
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from PIL import Image

from commands import study
from facestudy.alterations.settings import ALTERED_SCORES
from facestudy.controls.jpeg import mean_quantisation
from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.settings import check, merge
from facestudy.core.tables import ID, Table
from facestudy.media import decode
from facestudy.media.decode import DecodingStopped
from facestudy.media.frames import FrameSettings
from facestudy.media.settings import DecodingSettings
from facestudy.media.video import MediaError
from facestudy.sources import links
from facestudy.sources.folder import FORMULA, FolderSettings, as_id, examine, list_items, make_id, method_of
from facestudy.sources.youtube import REQUESTS
from stages.stage import read_params
from tests.fuzz.rules import Target, Violation
from tests.media import LIMITS, numbered_picture, write_clip, write_picture
from tests.project import deep_update, params, params_text

DECODE_S, DECODE_MB = 4.0, 768
"""Two looks at a file and what Python has itself stay below the 10 s and 1 GiB of the rules."""
SMALL = 130_000
"""Larger real files are not mutated, bytes."""

ODD_NUMBERS = [b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff" * 8, b"\0" * 4, b"\0\0\x40\0", b"\x01"]
NASTY = (
    "", " ", "=1+1", "+1", "-1", "@x", "\t", "\r", "\n", '"', "'", ",", ";", "\0", "\x1b[2J", "\u2028", "\ufeff",
    "../../etc/passwd", "/etc/passwd", "CON", "nul.mp4", "%2e%2e%2f", "a" * 300, "ａ", "а", "ﬁ", "İ", "\U0001f600",
    "\udce9", "\ud800", "\udcc3\udca9",
    "1e999", "nan", "inf", "-0", "0x10", "1_000", "9" * 30, "9" * 5000,
    "2001-13-45", "12:99:99", "{}", "[" * 40, "[" * 3000, "&a [*a]", "*a", "&a {<<: [*a, *a]}",
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
        odd = {letter for letter in str(error) if unicodedata.category(letter) in ("Cc", "Cs") and letter != "\n"}
        if odd:
            raise Violation(f"a sentence with {odd}: {str(error)[:200]!r}") from None
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


LAYOUT_PLACES = {
    "real_fake": ("who.csv", "real", "fake"),
    "images": ("who.csv", "train/real", "train/fake"),
    "dfdc": ("p/metadata.json", "p", "p"),
    "celeb_df": ("List_of_testing_videos.txt", "Celeb-real", "Celeb-synthesis"),
    "faceforensics": (
        "splits/train.json",
        "original_sequences/youtube/c23/videos",
        "manipulated_sequences/Deepfakes/c23/videos",
    ),
}
"""Layout -> its list, and a folder of each class."""
KINDS = ("fifo", "zero", "loop", "out", "inside", "away", "folder", "linked folder")


def any_text() -> SearchStrategy[str]:
    """Text with lone surrogates too, which JSON can hold."""
    return st.text(st.characters(exclude_categories=()), max_size=20)


def file_names() -> SearchStrategy[str]:
    odd = ("a.png", "b.png", "\ud800.png", "\udcc3\udca9.png", "=1+1\udce9.png", "\x1b[2J.png", "../a.png", "-.mp4")
    return st.one_of(st.sampled_from([*odd, "\u00e9" * 200, "x" * 20_000]), cells(), any_text())


def dataset_lists(layout: str) -> SearchStrategy[bytes]:
    """What a layout takes its labels or subsets from: as it should be, with hostile values, or nothing of the kind."""
    files, names = ["a.png", "b.png"], file_names()
    if layout in ("real_fake", "images"):
        known = [f"{folder}/{file}" for folder in LAYOUT_PLACES[layout][1:] for file in files]
        return csvs(["file", "identity", "donor", "method", "subset", "label"], [*known, "/etc/passwd", "real", "test"])
    if layout == "celeb_df":
        lines = st.lists(st.one_of(st.just("1 Celeb-real/a.png"), names), max_size=5).map("\n".join)
        return lines.map(lambda text: text.encode("utf-8", "surrogatepass"))
    scalars = st.one_of(names, st.none(), st.booleans(), st.integers(), st.floats())
    values = st.recursive(
        scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=3))
    )
    if layout == "faceforensics":
        likely: SearchStrategy[Any] = st.lists(st.lists(names, max_size=3), max_size=3)
    else:
        labels = st.sampled_from(["REAL", "FAKE", "fake", "real"])
        optional = {"split": st.one_of(st.just("test"), scalars), "original": st.one_of(st.just("a.png"), scalars)}
        entries = st.fixed_dictionaries({"label": labels}, optional=optional)
        likely = st.dictionaries(st.one_of(st.sampled_from(files), names), st.one_of(entries, entries, values))
        plain = {"a.png": {"label": "REAL"}, "b.png": {"label": "FAKE", "original": "a.png"}}
        likely = st.one_of(
            likely, entries.map(lambda entry: {**plain, "b.png": entry}), likely.map(lambda d: d | plain)
        )
    deep = st.tuples(st.sampled_from(["[", '{"a.png":', '[["a",']), st.integers(1, 5000)).map(lambda p: p[0] * p[1])
    nested = st.integers(900, 1100).map(lambda depth: '{"a.png": {"label": ' + "[" * depth + "]" * depth + "}}")
    written = st.one_of(likely, likely, values).map(json.dumps)
    texts = st.one_of(written, written, written, deep, nested)
    return st.one_of(texts.map(str.encode), texts.map(str.encode), mutated(texts.map(str.encode)))


def _put(path: Path, kind: str, data: bytes, root: Path) -> None:
    """A file, or what may lie where one is expected; names that the disk does not take are left out."""
    outside = root.parent / "outside"
    targets = {
        "zero": Path("/dev/zero"),
        "loop": path,
        "out": outside,
        "inside": root / "inside",
        "away": root / "away",
    }
    try:
        path.unlink(missing_ok=True)
        if kind == "file":
            path.write_bytes(data)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            for place in (outside, root / "inside"):
                place.write_bytes(data)
            path.symlink_to(targets.get(kind, root))
    except (OSError, ValueError):
        pass


def layouts(folder: Path) -> Target:
    root = folder / "set"
    buffer = io.BytesIO()
    Image.fromarray(numbered_picture(5, 96, 64)).save(buffer, "PNG")
    picture = buffer.getvalue()

    def files(layout: str) -> SearchStrategy[tuple[str, bytes, str, list[tuple[bool, str, str]], int | None]]:
        kinds = st.sampled_from(["file"] * 24 + list(KINDS))
        names = file_names().map(lambda name: name.replace("/", "_"))
        others = st.lists(st.tuples(st.booleans(), names, st.sampled_from(["file", *KINDS])), max_size=3)
        return st.tuples(st.just(layout), dataset_lists(layout), kinds, others, st.sampled_from([None, None, 1]))

    def call(value: tuple[str, bytes, str, list[tuple[bool, str, str]], int | None]) -> str:
        layout, data, kind, others, per_class = value
        name, *classes = LAYOUT_PLACES[layout]
        shutil.rmtree(root, ignore_errors=True)
        for place in (*classes, str(Path(name).parent)):
            (root / place).mkdir(parents=True, exist_ok=True)
        for place, file in zip(classes, ("a.png", "b.png"), strict=True):
            (root / place / file).write_bytes(picture)
        _put(root / name, kind, data, root)
        for fake, file, other in others:
            _put(root / classes[fake] / file, other, picture, root)
        table = name if name.endswith(".csv") else None
        given = {"path": str(root), "layout": layout, "table": table, "max_per_class": per_class}
        settings = check(FolderSettings, {**params_of_folder, **given}, "folder")

        def read() -> None:
            for item in list_items(settings):
                row = examine(item, settings, LIMITS)
                for column in ("video_id", "identity", "donor", "method"):
                    _check_id(str(row[column]) or "none")
                if str(row["path"]).startswith(FORMULA):
                    raise Violation(f"{row['path']!r} begins as a formula")
                str(row["path"]).encode("utf-8")
                if row["status"] == "ok" and (root / str(row["path"])).read_bytes() != picture:
                    raise Violation(f"{row['path']!r} is another file")

        return refused(read)

    params_of_folder = params()["folder"]
    return Target(st.sampled_from(sorted(LAYOUT_PLACES)).flatmap(files), call)


def ids(folder: Path) -> Target:
    names = st.one_of(cells(), any_text(), st.binary(max_size=300).map(os.fsdecode), st.text(max_size=300))

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
    original = params_text().encode()
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
    kinds = [value for value in vars(tables).values() if isinstance(value, Table)] + [REQUESTS, ALTERED_SCORES]
    originals = []
    for place, table in enumerate(kinds):
        rows = [{name: f"a{row}" if kind == "text" else row for name, kind in table.columns.items()} for row in (1, 2)]
        tables.write(folder / f"{place}.csv", tables.to_dataframe(rows, table), table)
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
    limits = check(DecodingSettings, values["decoding"], "decoding").limits
    limits = dataclasses.replace(limits, decode_s=DECODE_S, decode_mb=DECODE_MB)
    settings = check(FrameSettings, values["frames"], "frames")
    out = folder / "frames"

    def call(value: tuple[str, bytes]) -> str:
        path = folder / f"case{value[0]}"
        path.write_bytes(value[1])
        out.mkdir()
        mean_quantisation(path)
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
    """A PNG with the checksums that its chunks should have, so that damage in them is examined."""
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
        raise Violation(f"{name!r} is not an id")


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
    "layouts": (layouts, 2),
    "ids": (ids, 2),
    "settings": (settings_files, 2),
    "stage tables": (stage_tables, 2),
    "pictures": (pictures, 4),
    "videos": (videos, 5),
}
"""Name -> how to make it, and its share of the inputs."""
