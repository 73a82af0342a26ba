"""Apply a function to many items, in processes of this machine or of a cluster."""

from __future__ import annotations

import os
import pickle
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
    scheduler: Annotated[str, Field(pattern=r"^(tcp|tls)://[^\s/]+:\d+$")] | None = None

    def count(self) -> int:
        """The number of worker processes on this machine."""
        return self.workers or os.cpu_count() or 1


def map_items(
    function: Callable[[T], R], items: Sequence[T], settings: ComputeSettings, description: str
) -> Iterator[R]:
    """Apply a function to items in worker processes, with a progress bar.

    Results are passed on as they arrive, so memory does not grow with the number of items. Without Dask, everything
    runs in this process if there is one worker or one item.

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
        When a worker process dies; with Dask, see `facestudy.runtime.cluster.map_on_cluster`.

    Examples
    --------
    >>> list(map_items(abs, [-1, 2], ComputeSettings(workers=1), "numbers"))
    [1, 2]
    """
    if not items:
        return
    bar: Any = tqdm(total=len(items), desc=description, unit="", mininterval=1.0)
    with bar:
        for result in _results(function, items, settings, description):
            yield result
            bar.update()


def _results(
    function: Callable[[T], R], items: Sequence[T], settings: ComputeSettings, description: str
) -> Iterator[R]:
    if settings.backend == "dask":
        from facestudy.runtime.cluster import map_on_cluster  # takes a second to import

        return map_on_cluster(function, items, settings.scheduler, settings.count(), description)
    workers = min(settings.count(), len(items))
    return _in_processes(function, items, workers) if workers > 1 else map(function, items)


def _in_processes(function: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[R]:
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1), _deaths_reported():
        parallel = joblib.Parallel(
            n_jobs=workers,
            return_as="generator",
            pre_dispatch="2*n_jobs",
            initializer=end_with,
            initargs=(os.getpid(),),
        )
        yield from parallel(joblib.delayed(function)(item) for item in items)


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


def end_with(parent: int) -> None:
    """End an orphaned worker, whose results nobody waits for; a worker calls this before its first item.

    Parameters
    ----------
    parent : int
        The process that started the worker.
    """
    if os.getppid() != parent:
        os._exit(1)
    watch_parent()


def begin_run(parent: int, folder: str, run: Path) -> None:
    """Prepare a child process of a cluster's worker for the items of a run.

    Parameters
    ----------
    parent : int
        The worker.
    folder : str
        The current folder of the items.
    run : Path
        Identifies the run: joblib starts a new process when an argument changes.
    """
    end_with(parent)
    os.chdir(folder)


def call_pickled(call: bytes) -> bytes:
    """Call a function on an item; only this process has to import their modules.

    Parameters
    ----------
    call : bytes
        The pickle of a function and the item.

    Returns
    -------
    bytes
        The pickle of what it returns.

    Examples
    --------
    >>> pickle.loads(call_pickled(pickle.dumps((abs, -1))))
    1
    """
    function, item = pickle.loads(call)
    return pickle.dumps(function(item))


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
