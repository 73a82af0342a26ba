"""What dvc.yaml should say, computed from the code: each stage's import closure."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def module_file(name: str) -> str | None:
    """The project's file for a module, relative to the root; None when it is someone else's."""
    path = Path(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if (ROOT / candidate).is_file():
            return candidate.as_posix()
    return None


def direct_imports(file: str) -> set[str]:
    """The project's files that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide dependencies from this check"
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {path for name in names if (path := module_file(name))}
    return found


def import_closure(file: str) -> set[str]:
    """All of the project's files that running a file loads; packages' bare __init__.py left out."""
    seen: set[str] = set()
    waiting = {file}
    while waiting:
        current = waiting.pop()
        seen.add(current)
        package = (Path(current).parent / "__init__.py").as_posix()
        waiting |= direct_imports(current) | ({package} if (ROOT / package).is_file() else set())
        waiting -= seen
    return {path for path in seen if not is_bare(path)}


def is_bare(file: str) -> bool:
    """Whether a file holds nothing but a docstring."""
    body = ast.parse((ROOT / file).read_text()).body
    return file.endswith("__init__.py") and len(body) <= 1
