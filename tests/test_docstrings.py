"""Public functions and classes of facestudy have docstrings in the NumPy style that agree with their signatures."""

from __future__ import annotations

import re
from collections.abc import Iterator

import griffe
import pytest

from tests.pipeline_files import ROOT

PACKAGE = griffe.load("facestudy", search_paths=[ROOT], allow_inspection=False, docstring_parser="numpy")
MODULES = [module for package in PACKAGE.modules.values() for module in (package, *package.modules.values())]


def public(parent: griffe.Object | griffe.Alias) -> Iterator[griffe.Class | griffe.Function | griffe.Attribute]:
    """Classes, functions, methods and properties whose names do not begin with _, without imported ones."""
    for name, member in parent.members.items():
        if isinstance(member, griffe.Alias) or name.startswith("_"):
            continue
        if isinstance(member, griffe.Class):
            yield member
            yield from public(member)
        elif isinstance(member, griffe.Function) or (
            isinstance(member, griffe.Attribute) and member.has_labels("property")
        ):
            yield member


def arguments(member: griffe.Object) -> list[str]:
    """The names of the parameters of a function, or of what makes an object of a class."""
    function = member.members.get("__init__") if isinstance(member, griffe.Class) else member
    if not isinstance(function, griffe.Function):
        return []
    return [parameter.name for parameter in function.parameters if parameter.name not in ("self", "cls")]


def described(docstring: griffe.Docstring, kind: griffe.DocstringSectionKind) -> list[str] | None:
    """The names in a section of a docstring; None without that section."""
    for section in docstring.parsed:
        if section.kind is kind:
            return [name.lstrip("*") for part in section.value for name in part.name.split(", ")]
    return None


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path.removeprefix("facestudy."))
def test_docstrings_agree_with_signatures(module: griffe.Module) -> None:
    assert module.docstring, "the module has no docstring"
    for member in public(module):
        docstring = member.docstring
        assert docstring, f"{member.path} has no docstring"
        text = docstring.value
        names, parameters = arguments(member), described(docstring, griffe.DocstringSectionKind.parameters)
        if isinstance(member, griffe.Class):
            attributes = described(docstring, griffe.DocstringSectionKind.attributes) or []
            assert set(attributes) <= set(member.members), f"{member.path} has other attributes than {attributes}"
        if parameters is not None:
            assert parameters == names, f"{member.path} describes {parameters}, its parameters are {names}"
        elif isinstance(member, griffe.Function):
            assert len(names) < 2, f"{member.path} has {len(names)} parameters and no section Parameters"
        assert not re.search(r"\bRaises [A-Z]\w+", text), f"{member.path} needs a section Raises"
        assert len(text.splitlines()[0]) <= 120 and text[0] != "\n", f"{member.path}: the summary is one line"
