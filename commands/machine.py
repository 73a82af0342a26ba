"""The machine in words, for tables of measured figures."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def machine(packages: Sequence[str], device: str = "") -> str:
    """Describe this machine and the versions that decide how long work takes.

    Parameters
    ----------
    packages : sequence of str
        Those that are not installed are left out.
    device : str
        What the processor does not say, such as the GPU.

    Returns
    -------
    str
    """
    processor, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.is_file() and (found := re.search(r"model name\s*: (.+)", info.read_text(encoding="utf-8"))):
        processor = found[1]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    parts = [processor, f"{os.cpu_count()} cores", f"{memory:.0f} GiB", *([device] if device else [])]
    parts += [platform.system(), f"Python {platform.python_version()}"]
    for package in packages:
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(parts)
