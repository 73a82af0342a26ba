"""Settings: wrong types, unknown keys and values out of range are refused by their full name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field

from facestudy.core.errors import StudyError
from facestudy.core.settings import Section, check, read_yaml
from stages.stage import read_params, section


class Inner(Section):
    share: Annotated[float, Field(gt=0, lt=1)]


class Outer(Section):
    count: Annotated[int, Field(ge=1)]
    kind: Literal["a", "b"]
    inner: Inner


GOOD = {"count": 3, "kind": "a", "inner": {"share": 0.5}}


def test_good_values_pass() -> None:
    assert check(Outer, GOOD, "outer").inner.share == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cuont": 3}, r"outer\.cuont is not a known setting \(known here: count, kind, inner\)"),
        ({"count": "three"}, r"outer\.count = 'three': input should be a valid integer"),
        ({"count": "3"}, r"outer\.count = '3': input should be a valid integer"),
        ({"count": True}, r"outer\.count = True: input should be a valid integer"),
        ({"count": 0}, r"outer\.count = 0: input should be greater than or equal to 1"),
        ({"kind": "c"}, r"outer\.kind = 'c': input should be 'a' or 'b'"),
        ({"inner": {"share": 1.5}}, r"outer\.inner\.share = 1.5: input should be less than 1"),
        ({"inner": {"share": 0.5, "x": 1}}, r"outer\.inner\.x is not a known setting \(known here: share\)"),
        ({"inner": 5}, r"outer\.inner = 5"),
        ({"inner": {"share": "5e-1"}}, r"outer\.inner\.share = '5e-1': .* write 5\.0e-1"),
    ],
)
def test_bad_values_are_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(StudyError, match=r"params\.yaml: " + message):
        check(Outer, GOOD | changes, "outer")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(StudyError, match=r"outer\.count is missing"):
        check(Outer, {"kind": "a", "inner": {"share": 0.5}}, "outer")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a list\n", "should hold sections"),
        ("source: [unclosed\n", "is not valid YAML"),
    ],
)
def test_params_as_a_whole(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match=message):
        read_params(path)
    with pytest.raises(StudyError, match="cannot be read"):
        read_params(tmp_path / "none.yaml")


def test_a_missing_section_is_named() -> None:
    with pytest.raises(StudyError, match=r"params\.yaml: the section folder is missing"):
        section({"source": "sample"}, "folder", Outer)


DOUBLED = "".join(f"b{n}: &b{n} {{<<: [*b{n - 1}, *b{n - 1}]}}\n" for n in range(1, 40))
TIMES_TEN = "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 10)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("b0: &b0 {x: 1}\n" + DOUBLED, "has over 50000 values with its aliases"),
        ("b0: &b0 [1]\n" + TIMES_TEN, "has over 50000 values with its aliases"),
        ("a: &a [*a]", "nested too deeply"),
        ("- " * 3000, "nested too deeply"),
        ("[" * 3000, "has more than 1000 brackets"),
        ("a: 2001-13-45", "is not valid YAML: month must be in 1..12"),
        ("a: " + "9" * 5000, "is not valid YAML: Exceeds the limit"),
        ("a: 1\n" * 20_000, "has 100 kB; settings have at most 50"),
        ("a: !!python/object:os.system x", "is not valid YAML: could not determine a constructor"),
    ],
)
def test_hostile_yaml_is_refused_at_once(text: str, sentence: str) -> None:
    with pytest.raises(StudyError, match=rf"x\.yaml.*{sentence}"):
        read_yaml(text.encode(), "x.yaml")


def test_anchors_and_aliases_are_read() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n"
    assert read_yaml(text.encode(), "x.yaml") == yaml.safe_load(text)
    assert read_yaml(b"", "x.yaml") is None


def test_long_values_are_cut_short_and_escaped_in_messages() -> None:
    with pytest.raises(StudyError) as error:
        check(int, "9" * 5000 + chr(27), "seed")
    assert len(str(error.value)) < 400 and str(error.value).isprintable()


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "x:\n  - {b: 1}\n  - {a: 1, a: 1}\n"])
def test_a_key_that_is_there_twice_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match=r"p\.yaml, line 3: a appears twice"):
        read_yaml(text.encode(), "p.yaml")


def test_anchors_and_merges_are_no_repeated_keys() -> None:
    assert read_yaml(b"a: &x {k: 1}\nb: *x\nc: {<<: *x, k: 2}\n", "p.yaml")["c"] == {"k": 2}
