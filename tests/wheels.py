"""Whether each pinned package has a wheel for each supported Python and platform: `python -m tests.wheels`.

uv reads the index's list of files for all pins at once; nothing is downloaded, and nothing is run. A wheel counts only
when its hash is in the lock. `make wheels` ends with an error when a wheel is missing, and when a package that is known
to have none has one.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

from tests.pipeline_files import ROOT

Package = Mapping[str, Any]
"""An entry of `packages` in a `pylock.toml` (PEP 751)."""

LOCKS = ["requirements.txt", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "remotes").glob("*.txt"))]

SOURCE_ONLY = {
    "antlr4-python3-runtime": "pure Python; this release has a source archive only, which pip builds",
    "wsgidav": "pure Python; this release has a source archive only, which pip builds",
}
"""Packages without any wheel, and why they can be installed all the same."""


@dataclass(frozen=True)
class Platform:
    """What pip on a platform says of itself: the values of markers, and the tags of wheels, the best first."""

    markers: dict[str, str]
    tags: tuple[str, ...]


def _linux(machine: str, glibc: int) -> Platform:
    legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    names = [name for minor in range(glibc, 4, -1) for name in (f"manylinux_2_{minor}", legacy.get(minor)) if name]
    return Platform(
        {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": machine, "os_name": "posix"},
        tuple(f"{name}_{machine}" for name in names),
    )


def _macos(version: int) -> Platform:
    return Platform(
        {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64", "os_name": "posix"},
        tuple(mac_platforms((version, 0), "arm64")),
    )


PLATFORMS = {
    "Linux x86-64, glibc 2.28": _linux("x86_64", 28),
    "Linux aarch64, glibc 2.28": _linux("aarch64", 28),
    "macOS 14, arm64": _macos(14),
}
"""The oldest supported system of each kind; later ones take the same wheels."""


def pythons() -> list[tuple[int, int]]:
    """Supported versions of Python.

    Returns
    -------
    list of (int, int)
        Those that `requires-python` in pyproject.toml allows, the oldest first.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = SpecifierSet(project["requires-python"])
    return [(3, minor) for minor in range(50) if f"3.{minor}" in allowed]


def read_index() -> list[Package]:
    """Files of the pinned packages on the package index.

    Returns
    -------
    list of Package
        Pinned packages, each with its wheels.

    Raises
    ------
    subprocess.CalledProcessError
        When uv cannot read the index; it says why on stderr.
    """
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--no-deps", "--format", "pylock.toml"]
    oldest = "{}.{}".format(*pythons()[0])
    done = subprocess.run(
        [*command, "--python-version", oldest, *LOCKS], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    packages: list[Package] = tomllib.loads(done.stdout)["packages"]
    return packages


def pinned(
    packages: Iterable[Mapping[str, Any]], python: tuple[int, int], platform: Platform
) -> list[Mapping[str, Any]]:
    """Packages that pip would install.

    Parameters
    ----------
    packages : iterable of Package
        Pinned packages.
    python : (int, int)
        Version of CPython.
    platform : Platform
        Where it would install them.

    Returns
    -------
    list of Package
        Those whose marker holds there.
    """
    version = "{}.{}".format(*python)
    values = platform.markers | {
        "python_version": version,
        "python_full_version": f"{version}.0",
        "implementation_name": "cpython",
        "implementation_version": f"{version}.0",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_version": "",
    }
    return [one for one in packages if "marker" not in one or Marker(one["marker"]).evaluate(values)]


def has_wheel(package: Package, python: tuple[int, int], platform: Platform, hashes: set[str]) -> bool:
    """Whether pip can install a package without building it.

    Parameters
    ----------
    package : Package
        A pinned package.
    python : (int, int)
        Version of CPython.
    platform : Platform
        Where pip would install it.
    hashes : set of str
        The sha256 sums in the lock; other wheels do not count.

    Returns
    -------
    bool
        True when one of its wheels has a tag of that Python on that platform.
    """
    interpreter = "cp{}{}".format(*python)
    tags: set[Tag] = {
        *cpython_tags(python, [interpreter], platform.tags),
        *compatible_tags(python, interpreter, platform.tags),
    }
    return any(
        wheel["hashes"]["sha256"] in hashes and tags & parse_wheel_filename(wheel["url"].rsplit("/", 1)[-1])[3]
        for wheel in package.get("wheels", [])
    )


def gaps(packages: Sequence[Package], hashes: set[str], known: Mapping[str, str]) -> tuple[list[str], str]:
    """What is wrong with the wheels, and a table of how many there are.

    Parameters
    ----------
    packages : sequence of Package
        Pinned packages.
    hashes : set of str
        The sha256 sums in the lock.
    known : mapping of str to str
        Packages without any wheel, with the reason.

    Returns
    -------
    tuple of list of str and str
        One line for each missing wheel, and for each package in `known` that has one or is not pinned; the table.
    """
    wrong: list[str] = []
    missing: dict[str, set[str]] = {}
    table = ["| | " + " | ".join(PLATFORMS) + " |", "|---" * (len(PLATFORMS) + 1) + "|"]
    targets = [(python, where) for python in pythons() for where in PLATFORMS]
    for python in pythons():
        cells = []
        for where, platform in PLATFORMS.items():
            wanted = pinned(packages, python, platform)
            without = {one["name"] for one in wanted if not has_wheel(one, python, platform, hashes)}
            cells.append(f"{len(wanted) - len(without)} of {len(wanted)}")
            for name in without:
                missing.setdefault(name, set()).add(f"Python 3.{python[1]} on {where}")
        table.append(f"| Python 3.{python[1]} | " + " | ".join(cells) + " |")
    for name, places in sorted(missing.items()):
        if name not in known:
            wrong += [f"{name} has no wheel for {place}" for place in sorted(places)]
    for name in sorted(known):
        if len(missing.get(name, ())) < len(targets):
            wrong.append(f"{name} has wheels, or is not pinned: remove it from SOURCE_ONLY in tests/wheels.py")
    return wrong, "\n".join(table)


def main() -> None:
    """Print the table, what is built from source, and what is wrong."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        packages = read_index()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"wheels: uv could not read the package index ({error}).")
    hashes = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", "".join((ROOT / name).read_text() for name in LOCKS)))
    wrong, table = gaps(packages, hashes, SOURCE_ONLY)
    print(table)
    for name, reason in SOURCE_ONLY.items():
        print(f"no wheel: {name} ({reason})")
    if wrong:
        sys.exit("\n".join(["FAILED:", *wrong]))


if __name__ == "__main__":
    main()
