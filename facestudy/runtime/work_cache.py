"""A content-addressed cache of expensive per-item work, outside the stages' outputs.

An entry is a folder of files under `<root>/<first two digits>/<key>/`, the key a hash of
everything that decides its bytes: the input's content, the settings, the code. An entry appears
whole or not at all, and is checked against its own list of checksums whenever it is used, so a
truncated or altered file is found, reported and made again.
"""

from __future__ import annotations

import ast
import fcntl
import functools
import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = "manifest.json"
SHARED_BYTES = 16_384
"""Files smaller than this are not worth a link."""
log = logging.getLogger(__name__)


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(*parts: object) -> str:
    """Hash plain values (text, numbers, lists, dicts); the order of the keys of a dict does not matter.

    Parameters
    ----------
    *parts
        The values.

    Returns
    -------
    str
        A sha256 in hexadecimal.

    Examples
    --------
    >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def closure_of(module: str) -> list[Path]:
    """Find the project's files that a module loads, from the import statements anywhere in them.

    Nothing is imported. Files with nothing but a docstring (of packages) are left out.

    Parameters
    ----------
    module
        Its name, such as "facestudy.training.loop".

    Returns
    -------
    list of Path
        Sorted; the module's own file is among them.

    Raises
    ------
    ValueError
        When there is no such module, or a file has relative imports.
    """
    start = _file_of(module)
    if start is None:
        raise ValueError(f"{module} is not a module of this project")
    found: dict[Path, bool] = {}
    waiting = {start}
    while waiting:
        path = waiting.pop()
        loads = _loads(path.read_bytes())
        if loads.relative:
            raise ValueError(f"{path}: relative imports are not followed")
        found[path] = loads.code
        names = (".".join(path.relative_to(ROOT).parent.parts), *loads.names)  # importing a module imports its package
        waiting |= {file for name in names if (file := _file_of(name)) is not None} - found.keys()
    return sorted(path for path, code in found.items() if path.name != "__init__.py" or code)


class _Loads(NamedTuple):
    """Import statements of a file: what they may load, whether one is relative; and whether it has code at all."""

    names: tuple[str, ...]
    relative: bool
    code: bool


@functools.cache
def _loads(content: bytes) -> _Loads:
    tree = ast.parse(content)
    names, relative = [], False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            relative = relative or node.level > 0
            names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return _Loads(tuple(names), relative, len(tree.body) > 1)


def _file_of(module: str) -> Path | None:
    """The project's file for a module; None when it is not the project's."""
    place = ROOT.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def code_below(*modules: str) -> dict[str, str]:
    """Hash the files that modules load, for use in a key: changed code then makes new entries.

    Parameters
    ----------
    *modules
        Names of modules, as `closure_of` takes them.

    Returns
    -------
    dict of str to str
        The sha256 of each file, by its path relative to the project.

    Raises
    ------
    ValueError
        As `closure_of`.
    """
    paths = sorted({path for module in modules for path in closure_of(module)})
    return {path.relative_to(ROOT).as_posix(): file_sha256(path) for path in paths}


def link_or_copy(source: Path, target: Path) -> None:
    """Make a hard link to a file, or a copy where the file system cannot link.

    Parameters
    ----------
    source
        The file.
    target
        The new name; its folder is made.

    Raises
    ------
    OSError
        When the file cannot be copied either.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def share(root: Path, objects: Path) -> int:
    """Replace files below `root` by hard links to equal files of DVC's cache.

    Both are caches that nobody edits, and an entry is checked whenever it is used.

    Parameters
    ----------
    root
        The folder of the work caches of all stages.
    objects
        The folder of DVC's cache, in which a file has its md5 as its name.

    Returns
    -------
    int
        The number of bytes freed; 0 where the file system cannot link.
    """
    freed = 0
    for path in root.glob("*/??/*/**/*"):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_size < SHARED_BYTES:
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        twin = objects / digest[:2] / digest[2:]
        if not twin.is_file() or twin.stat().st_size != found.st_size:
            continue
        link = path.with_name(f".{path.name}.link")
        try:
            link.unlink(missing_ok=True)
            os.link(twin, link)
            link.replace(path)
            freed += found.st_size
        except OSError:
            link.unlink(missing_ok=True)
            return freed
    return freed


@contextmanager
def working_folder(root: Path) -> Iterator[Path]:
    """A folder below `root` for work in progress; it is removed at the end, if it is still there.

    It is locked, so that no other process takes it for a leftover, however long the work takes.
    """
    folder = Path(tempfile.mkdtemp(prefix=".making-", dir=root))
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # on some network file systems
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder
        finally:
            os.close(descriptor)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class WorkCache:
    """Entries below one folder; safe for several processes at once.

    Parameters
    ----------
    root
        The folder.

    Examples
    --------
    >>> cache = WorkCache(Path(tempfile.mkdtemp()))
    >>> entry = cache.entry(key_of("a", 1), lambda folder: (folder / "x.txt").write_text("hello"))
    >>> (entry / "x.txt").read_text()
    'hello'
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, key: str) -> Path | None:
        """The folder of the entry `key`, or None when it is absent or damaged; a damaged entry is removed."""
        final = self.root / key[:2] / key
        if not final.is_dir():
            return None
        problem = _damage(final)
        if problem is None:
            return final
        log.warning("work cache: entry %s is damaged (%s) and is made again", final, problem)
        shutil.rmtree(final)
        return None

    def entry(self, key: str, build: Callable[[Path], object]) -> Path:
        """The folder of the entry `key`, which is made when it is absent or damaged.

        Parameters
        ----------
        key
            From `key_of`.
        build
            A function that writes the files of the entry into the folder that it is given.

        Returns
        -------
        Path
            Files in it must not be changed: link or copy them out with `link_or_copy`.
        """
        found = self.find(key)
        if found is not None:
            return found
        final = self.root / key[:2] / key
        final.parent.mkdir(parents=True, exist_ok=True)
        with working_folder(self.root) as private:
            build(private)
            names = sorted(str(path.relative_to(private)) for path in private.rglob("*") if path.is_file())
            manifest = {name: file_sha256(private / name) for name in names}
            (private / MANIFEST).write_text(json.dumps(manifest, indent=0, sort_keys=True))
            try:
                private.rename(final)
            except OSError:
                if not final.is_dir():  # not just another process that was first
                    raise
        return final

    def copy(self, key: str, folder: Path) -> bool:
        """Link the files of an entry into a folder.

        Parameters
        ----------
        key
            From `key_of`.
        folder
            Where the files go; it is made.

        Returns
        -------
        bool
            Whether there is such an entry.
        """
        found = self.find(key)
        for path in [] if found is None else found.iterdir():
            if path.name != MANIFEST:
                link_or_copy(path, folder / path.name)
        return found is not None


def _damage(entry: Path) -> str | None:
    """Return what is wrong with an entry, or None."""
    try:
        manifest = json.loads((entry / MANIFEST).read_text())
        if set(manifest) != {str(path.relative_to(entry)) for path in entry.rglob("*") if path.is_file()} - {MANIFEST}:
            return "files are missing or have been added"
        for name, digest in manifest.items():
            if file_sha256(entry / name) != digest:
                return f"{name} is not the file that was stored"
    except (OSError, ValueError, AttributeError):
        return "a file is missing or unreadable"
    return None
