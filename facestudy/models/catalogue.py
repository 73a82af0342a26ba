"""Which networks there are: the public functions of facestudy/models/ that begin with the parameter `input_size`.

It reads the sources and imports none of them, so that settings can be checked without TensorFlow, and so that a new
network changes nothing for the others.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import NamedTuple


class Builder(NamedTuple):
    """Where the builder of a network is: the name of the module, and the keywords that the function takes."""

    module: str
    keywords: frozenset[str]


@functools.cache
def builders() -> dict[str, Builder]:
    """Find the builder of each network, by the network's name.

    Examples
    --------
    >>> builders()["meso4"].module
    'facestudy.models.mesonet'
    """
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and [argument.arg for argument in node.args.args] == ["input_size"]:
                keywords = frozenset(argument.arg for argument in node.args.kwonlyargs)
                found[node.name] = Builder(f"facestudy.models.{path.stem}", keywords)
    return found


def networks_with(keyword: str) -> str:
    """Name the networks whose builder takes a keyword, as in "resnet50 and vgg19"."""
    return " and ".join(sorted(name for name, builder in builders().items() if keyword in builder.keywords))
