"""Checked settings: the base of every section of params.yaml.

Each module declares the section it needs as a `Section`; unknown keys, wrong types and values
out of range are refused with the key's full name and what is allowed.
"""

from __future__ import annotations

import itertools
import re
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from facestudy.core.errors import StudyError

NAME_PATTERN = r"^[a-z0-9][a-z0-9_]*$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=60)]
"""What a model, a variant or a region may be called: it becomes part of paths and DVC stage names."""


class Section(BaseModel):
    """A group of settings: immutable, without unknown keys and silent conversions of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


S = TypeVar("S")


def check(kind: type[S], values: object, name: str, file: str = "params.yaml") -> S:
    """Turn plain values into settings of type `kind`.

    Parameters
    ----------
    kind
        A `Section` or a plain type.
    values
        What YAML holds: mappings, lists, numbers, text.
    name
        The key of these values, for messages.
    file
        The file that they come from, for messages.

    Returns
    -------
    S
        An object of type `kind`.

    Raises
    ------
    StudyError
        When a value is not allowed; the message names the file, the key, the value and what is allowed.

    Examples
    --------
    >>> check(int, 3, "seed")
    3
    """
    adapter = TypeAdapter(kind)
    try:
        if isinstance(values, Mapping) or not isinstance(kind, type):
            return adapter.validate_python(values)
        return adapter.validate_python(values, strict=True)
    except ValidationError as error:
        raise StudyError(_sentence(error, name, file, kind)) from None


def _sentence(error: ValidationError, name: str, file: str, kind: Any) -> str:
    parts = []
    for problem in error.errors()[:5]:
        key = ".".join(key_name(step) for step in (name, *problem["loc"]) if step != "")
        if problem["type"] == "extra_forbidden":
            allowed = ", ".join(_keys_at(kind, problem["loc"][:-1]))
            parts.append(f"{key} is not a known setting" + (f" (known here: {allowed})" if allowed else ""))
        elif problem["type"] == "missing":
            parts.append(f"{key} is missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            hint = _yaml_hint(problem["input"])
            parts.append(f"{key} = {quoted(problem['input'])}: {message[0].lower()}{message[1:500]}{hint}")
    return f"{file}: " + "; ".join(parts) + "."


def _yaml_hint(value: object) -> str:
    """How to write a number that YAML takes for text.

    >>> _yaml_hint("2e-3")
    ' (YAML reads 2e-3 as text; write 2.0e-3)'
    """
    found = re.fullmatch(r"([+-]?\d{1,20})e([+-]?)(\d{1,4})", value, re.IGNORECASE) if isinstance(value, str) else None
    if found is None:
        return ""
    mantissa, sign, exponent = found.groups()
    return f" (YAML reads {value} as text; write {mantissa}.0e{sign or '+'}{exponent})"


_brief = reprlib.Repr()
_brief.maxlevel, _brief.maxdict, _brief.maxlist, _brief.maxlong = 4, 8, 12, 60
_brief.maxstring = _brief.maxother = 200


def quoted(value: object) -> str:
    """Quote a value for a message; long values are cut short, and characters that a terminal would obey are escaped.

    Examples
    --------
    >>> print(quoted(["a", 1.5]), quoted(chr(27) + "[2J"))
    ['a', 1.5] '\\x1b[2J'
    """
    return _brief.repr(value)


def key_name(key: object) -> str:
    """Write a key for a message: as it is, or quoted where it is long or has unprintable characters.

    Examples
    --------
    >>> key_name("frames"), key_name("a\\nb")
    ('frames', "'a\\\\nb'")
    """
    text = str(key)
    return text if text.isprintable() and len(text) <= 80 else quoted(text)


MAX_YAML_BYTES = 50_000
MAX_YAML_VALUES = 50_000
MAX_YAML_BRACKETS = 1_000


def read_yaml(data: bytes, file: str) -> Any:
    """Read the plain values of a YAML file that people write.

    Parameters
    ----------
    data
        The content of the file.
    file
        The name of the file, for messages.

    Returns
    -------
    Any
        Mappings, lists, numbers and text; None for an empty file.

    Raises
    ------
    StudyError
        When the file is not valid YAML, repeats a key or is too large. Its size counts with aliases (*) written
        out: ten lines of aliases can stand for billions of values.

    Examples
    --------
    >>> read_yaml(b"frames: {per_video: 2}", "params.yaml")
    {'frames': {'per_video': 2}}
    """
    if len(data) > MAX_YAML_BYTES:
        raise StudyError(f"{file} has {len(data) / 1000:.0f} kB; settings have at most {MAX_YAML_BYTES // 1000} kB.")
    if data.count(b"[") + data.count(b"{") > MAX_YAML_BRACKETS:  # reading nested ones takes the square of their number
        raise StudyError(f"{file} has more than {MAX_YAML_BRACKETS} brackets; settings have at most as many.")
    try:
        loader = yaml.CSafeLoader(data.decode("utf-8"))
        node = loader.get_single_node()
        size = _size(node, {})  # before values are made of it: merging (<<) writes aliases out
        _refuse_repeated_keys(node, file, set())
        values = loader.construct_document(node) if node is not None and size <= MAX_YAML_VALUES else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a day 32, a number of 5000 digits
        said = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:300]
        raise StudyError(f"{file} is not valid YAML: {said}.") from None
    if size > MAX_YAML_VALUES:
        raise StudyError(f"{file} has over {MAX_YAML_VALUES} values with its aliases (*) written out; remove some.")
    return values


def _size(node: Any, known: dict[int, int]) -> int:
    """Count the values of a YAML node with its aliases written out. Raises RecursionError when it contains itself."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        parts = itertools.chain(*node.value) if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def _refuse_repeated_keys(node: Any, file: str, known: set[int]) -> None:
    """Raise StudyError for a key that a mapping has twice: which one counts would depend on the reader."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in known:
        return
    known.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen and key.value != "<<":
                where = f"{file}, line {key.start_mark.line + 1}"
                raise StudyError(f"{where}: {key_name(key.value)} appears twice; remove one of the two.")
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
    for part in itertools.chain(*node.value) if isinstance(node, yaml.MappingNode) else node.value:
        _refuse_repeated_keys(part, file, known)


def _keys_at(kind: Any, location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed at a location inside a section, for the message about an unknown one."""
    for step in location:
        fields = getattr(kind, "model_fields", {})
        if step not in fields:
            return []
        kind = fields[step].annotation
    return list(getattr(kind, "model_fields", {}))


NAMED_THINGS = ("models", "crop_variants", "regions")
"""Sections of named things: an override may add to them, and removes an entry by setting it to null."""


def merge(base: Any, over: Mapping[str, Any], file: str, path: str = "") -> None:
    """Put the values of `over` into the settings `base`, in place.

    Sections are merged key by key; lists, plain values and crop variants are replaced.

    Parameters
    ----------
    base
        The settings.
    over
        The values to put in. In the sections NAMED_THINGS a null removes an entry.
    file
        The file that `over` comes from, for messages.
    path
        The section that `base` is, with a dot at its end; empty for all settings.

    Raises
    ------
    StudyError
        When `over` has a key that `base` lacks, except in the sections NAMED_THINGS.

    Examples
    --------
    >>> settings = {"seeds": [1, 2], "split": {"test": 0.2, "seed": 1}}
    >>> merge(settings, {"seeds": [7], "split": {"test": 0.4}}, "my.yaml")
    >>> settings
    {'seeds': [7], 'split': {'test': 0.4, 'seed': 1}}
    """
    for key, value in over.items():
        name = f"{path}{key_name(key)}"
        named = path.rstrip(".") in NAMED_THINGS
        if key not in base and not named:
            raise StudyError(f"{file}: {name} is not a known setting (known here: {', '.join(map(key_name, base))}).")
        if named and value is None:
            base.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(base.get(key), Mapping) and path.rstrip(".") != "crop_variants":
            merge(base[key], value, file, f"{name}.")
        else:
            base[key] = value
