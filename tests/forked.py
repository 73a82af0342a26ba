"""`python …` and `dvc …` as forks of a process that has the packages loaded: seconds saved with each command.

TensorFlow takes 5 seconds of CPU time to import; pandas, SciPy and DVC take one each. A server loads them once and
starts each command as a fork of itself. It has none of the project's own modules: a command imports those of its
PYTHONPATH, so a copy of the project runs its own code. `programs` makes a folder with a `python` and a `dvc` that ask
the server; first on PATH, they also serve the stages that DVC starts and the processes that stages start.

These programs do not show how a command starts and how it ends: TensorFlow is there before anything imports it, and a
fork is not the child of its caller. Tests of that start real programs.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import fcntl
import functools
import gc
import hashlib
import importlib
import io
import json
import multiprocessing
import os
import pickle
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

PACKAGES = (
    "av.subtitles.stream", "cv2", "imagehash", "joblib", "keras", "mtcnn.assets.weights", "networkx", "pandas",
    "pydantic.fields", "pydantic.functional_validators", "pydantic.type_adapter", "pyparsing", "ruamel.yaml",
    "scipy.stats", "sklearn.metrics", "tensorflow", "yaml", "yt_dlp",
    "dvc.cachemgr", "dvc.cli.parser", "dvc.data_cloud", "dvc.lock", "dvc.repo.artifacts", "dvc.repo.datasets",
    "dvc.repo.graph", "dvc.repo.index", "dvc.repo.metrics", "dvc.repo.open_repo", "dvc.repo.params", "dvc.repo.plots",
    "dvc.repo.stage", "dvc.repo.trie", "dvc.rwlock", "dvc.scm", "dvc_data.index.checkout", "dvc_data.index.collect",
    "dvc_data.index.fetch", "dvc_s3", "dvc_ssh.client", "dvc_ssh.spec", "dvc_webdav", "s3fs", "webdav4.fsspec",
)  # fmt: skip
"""Modules that commands import, also those that packages import only when they are used."""
PREFIX = "forked-"
FILES = 200
"""At most so many open files are passed on."""
READ_AT_IMPORT = ("KERAS_BACKEND", "TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "NPY_DISABLE_CPU_FEATURES")
"""Variables that the packages read when they are imported; a command with other values is not forked."""
CLIENT = """#!{python} -IS
import _socket, json, os, sys
parent = os.getppid()
streams = [int(number) for number in os.listdir("/proc/self/fd")]
streams = [number for number in streams if number < 3 or os.path.exists("/proc/self/fd/%d" % number)]
server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
server.connect({address!r})
words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
request = json.dumps([words, os.getcwd(), dict(os.environ), streams, parent]).encode()
passed = b"".join(number.to_bytes(4, sys.byteorder) for number in streams)
server.sendmsg([len(request).to_bytes(8, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, passed)])
while request:
    request = request[server.send(request):]
server.settimeout(0.2)
answer = None
while answer is None:
    try:
        answer = server.recv(4)
    except TimeoutError:
        if os.getppid() != parent:
            os._exit(1)
code = int.from_bytes(answer, "big", signed=True)
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@functools.cache
def programs() -> Path:
    """Start the server of this process, which ends with it.

    Returns
    -------
    Path
        The folder with `python` and `dvc`; the real ones where the packages do not endure a fork.
    """
    first = Path(shutil.which("python") or sys.executable).parent
    if first.name.startswith(PREFIX):  # this is pytest in such a command
        return first
    if sys.platform != "linux":
        return Path(sys.executable).parent
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("python", "dvc"):
        (folder / name).write_text(CLIENT.format(python=sys.executable, address=str(folder / "server")))
        (folder / name).chmod(0o755)
    command = [sys.executable, __file__, str(folder / "server")]
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder
    )
    assert server.stdout is not None and server.stdout.readline() == b"ready\n", f"{command} ended"
    return folder


def serve(listener: socket.socket) -> list[str]:
    """Fork for each client, and tell it how the command ended. Return in the fork, which is to run the command."""
    clients: dict[int, socket.socket] = {}

    def answer(*_: object) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                code = os.waitstatus_to_exitcode(ended[1])
                with clients.pop(ended[0]) as client, suppress(OSError):
                    client.sendall(code.to_bytes(4, "big", signed=True))

    signal.signal(signal.SIGCHLD, answer)
    while True:
        client, _ = listener.accept()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        if not (command := os.fork()):
            break
        clients[command] = client
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    for other in (listener, *clients.values()):
        other.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    return become(client)


def become(client: socket.socket) -> list[str]:
    """Take over the open files, folder and variables of a client, and end when it ends. Return its command line."""
    passed = array.array("i")
    size, ancillary, *_ = client.recvmsg(8, socket.CMSG_SPACE(FILES * passed.itemsize))
    passed.frombytes(ancillary[0][2])
    request = b""
    while len(request) < int.from_bytes(size, "big"):
        request += client.recv(1 << 16)
    words, folder, environment, numbers, parent = json.loads(request)
    for what, value in ((fcntl.F_SETOWN, os.getpid()), (fcntl.F_SETSIG, signal.SIGKILL), (fcntl.F_SETFL, os.O_ASYNC)):
        fcntl.fcntl(client, what, value)  # the server keeps the connection open
    above = [fcntl.fcntl(file, fcntl.F_DUPFD, FILES + max(numbers)) for file in passed]
    os.closerange(3, min(above))
    for file, number in zip(above, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)
    client.detach()
    os.getppid = lambda: int(parent)  # the client ends with its parent, and this with the client
    os.chdir(folder)
    changed = [name for name in READ_AT_IMPORT if environment.get(name) != os.environ.get(name)]
    os.environ.clear()
    os.environ.update(environment)
    if changed or (words[0] == "python" and words[1][0] == "-" and words[1] not in ("-B", "-c", "-m", "-u")):
        os.execv(Path(sys.executable).parent / words[0], words)
    return list(words)


def keep_parsed_yaml(folder: Path) -> None:
    """Have DVC parse a text once for all commands, and in a command no text that it wrote itself.

    It reads params.yaml again for each section of each stage, and dvc.lock before it adds a stage, by a parser that
    takes most of the time of a small `dvc repro`.
    """
    serialize, strictyaml = (importlib.import_module(f"dvc.utils.{name}") for name in ("serialize", "strictyaml"))
    parse, dump = serialize._yaml.parse_yaml, serialize._yaml._dump
    written: dict[str, object] = {}

    @functools.cache
    def parsed(text: str) -> bytes:
        kept = folder / hashlib.sha256(text.encode()).hexdigest()
        if not kept.exists():
            own = kept.with_suffix(f".{os.getpid()}")
            own.write_bytes(pickle.dumps(parse(text, "text")))
            own.replace(kept)
        return kept.read_bytes()

    def parse_yaml(text: str, path: str, typ: str = "safe") -> object:
        if typ == "safe":
            return pickle.loads(parsed(text))
        return written.pop(text) if text in written else parse(text, path, typ)

    def dump_yaml(data: object, stream: TextIO) -> None:
        dump(data, text := io.StringIO())
        stream.write(text.getvalue())
        written.clear()
        written[text.getvalue()] = data

    serialize._yaml._dump = dump_yaml
    for module in (serialize._yaml, serialize, strictyaml):
        module.parse_yaml = parse_yaml  # type: ignore[union-attr]


def run(words: list[str]) -> None:
    """Be `dvc …`, `python -m …`, `python -c …` or `python FILE …`."""
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.executable = str(Path(sys.argv[1]).with_name("python"))
    multiprocessing.set_executable(sys.executable)
    while words[1:] and words[1] in ("-B", "-u"):
        if words.pop(1) == "-u":
            sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    if words[0] == "dvc":
        sys.argv = words
        sys.exit(importlib.import_module("dvc.cli").main(words[1:]))
    elif words[1] == "-m":
        sys.argv = words[2:]
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)
    elif words[1] == "-c":
        sys.argv = ["-c", *words[3:]]
        sys.path.insert(0, "")
        exec(compile(words[2], "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    else:
        sys.argv = words[1:]
        sys.path.insert(0, str(Path(words[1]).resolve().parent))
        runpy.run_path(words[1], run_name="__main__")


def leave(words: list[str]) -> NoReturn:
    """Run a command and end, without the second that Python takes to take all packages apart."""
    code: Any = 0
    try:
        run(words)
    except SystemExit as error:
        code = error.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(int(code or 0))


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: ends with its parent
    own = str(Path(__file__).parent)
    roots = {own, str(Path(own).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    sys.path[:] = [path for path in sys.path if path not in roots]
    for package in PACKAGES:
        with suppress(ImportError):  # of a remote that is not installed
            importlib.import_module(package)
    keep_parsed_yaml(Path(sys.argv[1]).parent)
    gc.freeze()  # forks share what nobody counts
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(sys.argv[1])
        sock.listen(64)
        print("ready", flush=True)
        words = serve(sock)
    leave(words)
