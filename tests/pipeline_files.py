"""What dvc.yaml should say, computed from the code: each stage's import closure."""

from __future__ import annotations

import functools
from pathlib import Path

from facestudy.runtime.work_cache import closure_of

ROOT = Path(__file__).resolve().parent.parent


@functools.cache
def import_closure(module: str) -> set[str]:
    """The project's files that a module loads, relative to the project's folder; see `closure_of`."""
    return {path.relative_to(ROOT).as_posix() for path in closure_of(module)}
