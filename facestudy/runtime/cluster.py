"""Apply a function to many items on a Dask cluster that shares the current folder.

Workers read and write files in the current folder of this process, at the same path. A worker that cannot see this
folder, or has other code or packages, could store different results under the same names, so it is refused.
"""

from __future__ import annotations

import functools
import json
import logging
import multiprocessing
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from distributed import Client, Future, KilledWorker, Worker, get_worker
from distributed.protocol import pickle
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from facestudy.core.errors import StudyError
from facestudy.core.settings import quoted
from facestudy.runtime import environment
from facestudy.runtime.parallel import begin_run, call_pickled, has_gpu
from facestudy.runtime.work_cache import ROOT, file_sha256, key_of

T = TypeVar("T")
R = TypeVar("R")

WAIT_S = 120.0
"""Seconds that the scheduler may take to answer, and a cluster may be without workers."""
ANNOUNCEMENTS = Path(".cache/cluster")
"""Each run writes a file here with what it demands of workers."""
CARRIED = ("NPY_DISABLE_CPU_FEATURES",)
"""Environment variables that affect results, besides those of `facestudy.runtime.environment`. Workers get this
process's values."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LOADED = file_sha256(Path(__file__))
"""The hash of this module as this process loaded it."""
KEPT = "what was finished is kept"


def map_on_cluster(
    function: Callable[[T], R], items: Sequence[T], scheduler: str | None, workers: int, description: str
) -> Iterator[R]:
    """Apply a function to items on a cluster; each worker runs one item at a time.

    Workers that join later are used too. When a worker dies, another one repeats its item.

    Parameters
    ----------
    function : callable
        Takes an item.
    items : sequence
        The items.
    scheduler : str or None
        The address of the scheduler. None starts a cluster on this machine.
    workers : int
        The number of workers of a cluster on this machine.
    description : str
        What the items are for, in errors and on Dask's dashboard.

    Yields
    ------
    object
        function(item), in the order of the items.

    Raises
    ------
    StudyError
        When the scheduler does not answer or dies, there are no workers, a worker is refused, or several workers died
        at the same item.
    """
    with _connected(scheduler, workers) as client, _announced() as announcement:
        where = client.scheduler.address
        with _loss_reported(where):
            try:
                client.wait_for_workers(1, timeout=WAIT_S)
            except TimeoutError:
                raise _unstaffed(where) from None
            answers = client.run(problem, announcement, on_error="return")
        for worker, found in answers.items():
            if found is not None:
                raise _refusal(found, worker)
        finished: SimpleQueue[Future] = SimpleQueue()
        numbers, running, results = iter(range(len(items))), dict[str, tuple[int, Future]](), dict[int, R]()
        room, looked, staffed = 0, -1.0, time.monotonic()
        for wanted in range(len(items)):
            while wanted not in results:
                with _loss_reported(where):
                    now = time.monotonic()
                    if now > looked + 1:
                        room, looked = len(client.nthreads(callback_timeout=WAIT_S)), now
                        staffed = now if room else staffed
                    if now > staffed + WAIT_S:
                        raise _unstaffed(where)
                    while len(running) < room and (number := next(numbers, None)) is not None:
                        key = f"{description}-{announcement.stem}-{number}"
                        call = pickle.dumps((function, items[number]))
                        running[key] = number, client.submit(work, call, announcement, key=key, pure=False)
                        running[key][1].add_done_callback(finished.put)
                try:
                    number, future = running.pop(finished.get(timeout=1).key)
                except Empty:
                    continue
                results[number] = _result(future, where, f"{description}: {quoted(items[number])}")
                del future  # the workers and the scheduler forget the result
            yield results.pop(wanted)


def work(call: bytes, announcement: Path) -> bytes:
    """Run an item in a child process of a worker, which is kept for the next items of the same run.

    In the worker's own process, Dask's threads draw from the random numbers that a training depends on.

    Parameters
    ----------
    call : bytes
        The pickle of a function and the item.
    announcement : Path
        See `problem`.

    Returns
    -------
    bytes
        The pickle of what the function returns.

    Raises
    ------
    StudyError
        When this worker is refused; it may have joined after the others were checked.
    """
    worker = get_worker()
    found = problem(announcement, worker)
    if found is not None:
        raise _refusal(found, worker.address)
    wanted = _read(announcement)
    # A worker that a nanny started is a daemon, and Python lets daemons start no processes, because these could outlive
    # them. Here they cannot: `begin_run` ends the child process with its worker.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    process = get_reusable_executor(
        max_workers=1,
        timeout=300,
        env=wanted["variables"] | dict.fromkeys(THREADS, "1"),
        initializer=begin_run,
        initargs=(os.getpid(), wanted["folder"], announcement),
    )
    try:
        return bytes(process.submit(call_pickled, call).result())
    except TerminatedWorkerError:
        os._exit(1)  # so that Dask counts the item's failures


def problem(announcement: Path, dask_worker: Worker) -> str | None:
    """Find why a worker cannot work for a run.

    Parameters
    ----------
    announcement : Path
        What the run demands of a worker.
    dask_worker : distributed.Worker
        The worker; Dask gives it to an argument of this name.

    Returns
    -------
    str or None
        None when it can.
    """
    try:
        wanted = _read(announcement)["facts"]
    except OSError as error:
        return f"it cannot read {announcement} ({error.strerror})"
    own = _facts_for(announcement) | {"items at a time": str(dask_worker.state.nthreads)}
    different = [f"{name} is {own.get(name)}, not {value}" for name, value in wanted.items() if own.get(name) != value]
    return ", ".join(different[:3]) or None


@functools.lru_cache(maxsize=4)
def _read(announcement: Path) -> dict[str, Any]:
    wanted: dict[str, Any] = json.loads(announcement.read_text(encoding="utf-8"))
    return wanted


@functools.lru_cache(maxsize=4)
def _facts_for(announcement: Path) -> dict[str, str]:
    """The facts when this worker was first asked about a run."""
    return facts()


def facts() -> dict[str, str]:
    """Describe what the results of this process depend on.

    Returns
    -------
    dict of str to str
        The code, Python, the packages of requirements.txt.

    Examples
    --------
    >>> facts()["Python"] == platform.python_version()
    True
    """
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    installed = {re.sub(r"[-_.]+", "-", one.name).lower(): one.version for one in metadata.distributions()}
    code = {path.relative_to(ROOT).as_posix(): file_sha256(path) for path in ROOT.glob("facestudy/**/*.py")}
    return {
        "the code": key_of(code)[:12],
        "the loaded code": LOADED[:12],
        "Python": platform.python_version(),
        "the processor": platform.machine(),
        "a GPU": "there" if has_gpu() else "missing",
        **{name: installed.get(name, "missing") for name in pinned},
    }


@contextmanager
def _announced() -> Iterator[Path]:
    """Write a new file with what this run demands of a worker, and remove it afterwards; its path is absolute."""
    ANNOUNCEMENTS.mkdir(parents=True, exist_ok=True)
    carried = {name: value for name, value in os.environ.items() if name in CARRIED}
    announced = {
        "folder": str(Path.cwd()),
        "variables": environment.prepare() | carried,
        "facts": facts() | {"items at a time": "1"},
    }
    with tempfile.NamedTemporaryFile("w", dir=ANNOUNCEMENTS.resolve(), suffix=".json", encoding="utf-8") as file:
        json.dump(announced, file)
        file.flush()
        yield Path(file.name)


@contextmanager
def _connected(scheduler: str | None, workers: int) -> Iterator[Client]:
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors become sentences
    local = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    try:
        client = Client(scheduler, timeout=WAIT_S, set_as_default=False, **({} if scheduler else local))
    except OSError:
        raise StudyError(
            f"no Dask scheduler answers at {scheduler}; start it (docs/cluster.md) or set compute.backend to loky."
        ) from None
    with client:
        yield client


@contextmanager
def _loss_reported(where: str) -> Iterator[None]:
    """Report as a StudyError that the scheduler cannot be reached."""
    try:
        yield
    except (OSError, CancelledError):
        raise _lost(where) from None


def _lost(where: str) -> StudyError:
    again = "restart it and its workers (docs/cluster.md) and repeat the command"
    return StudyError(f"the Dask scheduler at {where} died or cannot be reached; {again}; {KEPT}.")


def _unstaffed(where: str) -> StudyError:
    again = "start workers (docs/cluster.md) and repeat the command"
    return StudyError(f"the Dask scheduler at {where} had no worker for {WAIT_S:.0f} s; {again}; {KEPT}.")


def _refusal(found: str | BaseException, worker: str = "") -> StudyError:
    again = "restart it with this folder at the same path and with the same environment (docs/cluster.md)"
    return StudyError(f"a Dask worker{worker and f' ({worker})'} is refused: {found}; {again}.")


def _result(future: Future, where: str, item: str) -> Any:
    """Return the result of a finished item, or raise its error."""
    if future.status == "cancelled":
        raise _lost(where)
    with _loss_reported(where):
        error = future.exception()
        if error is None:
            return pickle.loads(future.result())
    if isinstance(error, KilledWorker):
        raise StudyError(
            f"{item}: {error.allowed_failures + 1} workers died at this item (killed, or out of memory); start fewer "
            f"workers on each machine or look into their logs, then run again; {KEPT}."
        )
    if isinstance(error, ModuleNotFoundError) and str(error.name).startswith("facestudy"):
        raise _refusal(error)
    raise error
