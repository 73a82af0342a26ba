"""Apply a function to many items, in processes of this machine or of a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError
from pydantic import Field
from tqdm import tqdm

from facestudy.core.errors import StudyError
from facestudy.core.settings import Section
from facestudy.runtime.processes import watch_parent

T = TypeVar("T")
R = TypeVar("R")


class ComputeSettings(Section):
    """Where the work of a stage runs, one task per video or seed; this changes no result."""

    backend: Literal["loky", "dask"] = "loky"
    workers: Annotated[int, Field(ge=0)] = 0
    scheduler: str | None = None

    def count(self) -> int:
        """The number of worker processes on this machine."""
        return self.workers or os.cpu_count() or 1


def map_items(
    function: Callable[[T], R], items: Sequence[T], settings: ComputeSettings, description: str
) -> Iterator[R]:
    """Apply a function to items in worker processes, with a progress bar.

    Results are passed on as they arrive, so memory does not grow with the number of items. With one worker or one item,
    everything runs in this process.

    Parameters
    ----------
    function : callable
        Takes an item. It must be importable: a function at the top level of a module, or functools.partial of one.
    items : sequence
        The items.
    settings : ComputeSettings
        Where the work runs.
    description : str
        The label of the progress bar.

    Yields
    ------
    object
        function(item), in the order of the items.

    Raises
    ------
    StudyError
        When a worker process dies.

    Examples
    --------
    >>> list(map_items(abs, [-1, 2], ComputeSettings(workers=1), "numbers"))
    [1, 2]
    """
    if not items:
        return
    workers = min(settings.count(), len(items))
    bar: Any = tqdm(total=len(items), desc=description, unit="", mininterval=1.0)
    with bar:
        if settings.backend == "loky" and workers <= 1:
            for item in items:
                yield function(item)
                bar.update()
            return
        with _backend(settings), _deaths_reported():
            own = {"initializer": _end_with, "initargs": (os.getpid(),)} if settings.backend == "loky" else {}
            parallel = joblib.Parallel(n_jobs=workers, return_as="generator", pre_dispatch="2*n_jobs", **own)
            for result in parallel(joblib.delayed(function)(item) for item in items):
                yield result
                bar.update()


def has_gpu(devices: Path = Path("/dev")) -> bool:
    """Check whether this process can use an NVIDIA GPU, as far as this can be seen without importing TensorFlow.

    Parameters
    ----------
    devices : Path
        The folder of device files.

    Returns
    -------
    bool
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
    return not hidden and any(devices.glob("nvidia[0-9]*"))


def _end_with(parent: int) -> None:
    """End an orphaned worker, whose results nobody waits for; a worker calls this before its first item."""
    if os.getppid() != parent:
        os._exit(1)
    watch_parent()


@contextmanager
def _deaths_reported() -> Iterator[None]:
    """Report the death of a worker as a StudyError."""
    try:
        yield
    except TerminatedWorkerError:
        raise StudyError(
            "a worker process died (killed, or out of memory); run again, what was finished is kept. If it happens "
            "again, lower compute.workers."
        ) from None


@contextmanager
def _backend(settings: ComputeSettings) -> Iterator[None]:
    if settings.backend == "loky":
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
            yield
        return
    from dask.distributed import Client

    local = {} if settings.scheduler else {"threads_per_worker": 1}
    with Client(settings.scheduler, **local), joblib.parallel_config(backend="dask"):
        yield
