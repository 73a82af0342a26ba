"""Real servers on loopback for tests/test_remotes.py, and the wire to them, which can be cut.

`opened(kind, folder)` starts one of `directory`, `ssh`, `s3`, `webdav` and stops it when its block ends. All run in
threads of this process, from packages that requirements.txt pins.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = ("directory", "ssh", "s3", "webdav")
PASSWORD = "not-for-git"  # of the S3 and WebDAV servers; must appear in no file that git tracks


class Wire:
    """A forwarder to a server's port. After `cut_after` bytes of one direction it is dead until `restore`."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.sent = bytearray()  # by clients: the requests of an HTTP server can be read in it
        self._budget: dict[str, int] = {}
        self._dead = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, size: int, direction: str) -> None:
        """Die once `size` more bytes went `up` (to the server) or `down` (to its clients)."""
        self._budget = {direction: size}

    def restore(self) -> None:
        self._budget, self._dead = {}, False

    @property
    def dead(self) -> bool:
        return self._dead

    def requests(self, method: str) -> list[str]:
        """The paths that clients asked an HTTP server for with a method."""
        return [path.decode() for path in re.findall(rb"\b%s (\S+) HTTP/1\.1\r\n" % method.encode(), self.sent)]

    def close(self) -> None:
        self._dead = True
        self._listener.close()
        self._cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._dead:
                _reset(client)
                continue
            server = socket.create_connection(("127.0.0.1", self.upstream))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # ssh's many small packets at once
            with self._lock:
                self._open |= {client, server}
            for source, target, direction in ((client, server, "up"), (server, client, "down")):
                threading.Thread(target=self._forward, args=(source, target, direction), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        try:
            while data := source.recv(1 << 14):
                if direction == "up":
                    self.sent += data
                if direction in self._budget:
                    left = self._budget[direction] = self._budget[direction] - len(data)
                    if left < 0:
                        target.sendall(data[:left])  # half of something
                        self._cut()
                        return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other end is gone

    def _cut(self) -> None:
        self._dead = True
        with self._lock:
            for end in self._open:
                _reset(end)
            self._open.clear()


def _reset(end: socket.socket) -> None:
    """Close a connection the way a machine that died does: by RST, with nothing more to come."""
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    end.close()


@dataclass
class Remote:
    """A running server and what `make remote` needs for it."""

    kind: str
    url: str
    store: Path  # where the server keeps its objects; of no meaning for s3
    settings: list[str] = field(default_factory=list)  # KEY=VALUE of `make remote SET=…`
    environment: dict[str, str] = field(default_factory=dict)
    wire: Wire | None = None
    bucket: Any = None

    def objects(self) -> dict[str, bytes]:
        """The objects of DVC that the server holds, by checksum."""
        if self.bucket is not None:
            found = {item.key: item.get()["Body"].read() for item in self.bucket.objects.all()}
        else:
            found = {str(path): path.read_bytes() for path in self.store.rglob("*") if path.is_file()}
        objects = {}
        for name, data in found.items():
            if match := re.search(r"files/md5/([0-9a-f]{2})/([0-9a-f]{30}(?:\.dir)?)$", name):
                objects[match[1] + match[2]] = data
        return objects

    def write(self, checksum: str, data: bytes) -> None:
        """Put other bytes in the place of an object, past DVC."""
        name = f"files/md5/{checksum[:2]}/{checksum[2:]}"
        if self.bucket is not None:
            self.bucket.put_object(Key=f"team/{name}", Body=data)
        else:
            path = self.store / name
            path.chmod(0o644)
            path.write_bytes(data)


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[Remote]:
    """The running server of a kind; it and its wire are gone when the block ends."""
    with {"directory": _directory, "ssh": _ssh, "s3": _s3, "webdav": _webdav}[kind](folder) as remote:
        try:
            yield remote
        finally:
            if remote.wire:
                remote.wire.close()


@contextmanager
def _directory(folder: Path) -> Iterator[Remote]:
    store = folder / "store"
    store.mkdir()
    yield Remote("directory", str(store), store)


@contextmanager
def _ssh(folder: Path) -> Iterator[Remote]:
    import asyncssh

    store, home = folder / "store", folder / "home"
    for path in (store, home / ".ssh"):
        path.mkdir(parents=True, mode=0o700)
    host, client = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    client.write_private_key(folder / "client")
    (folder / "client").chmod(0o600)
    known = asyncssh.import_authorized_keys(client.export_public_key().decode())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[host], authorized_client_keys=known, sftp_factory=True
        )

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    try:
        wire = Wire(server.get_port())
        public = host.export_public_key().decode().strip()
        (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{wire.port} {public}\n")
        settings = [f"keyfile={folder / 'client'}", f"port={wire.port}"]
        url = f"ssh://{getpass.getuser()}@127.0.0.1{store}"
        yield Remote("ssh", url, store, settings, {"HOME": str(home)}, wire)
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def _s3(folder: Path) -> Iterator[Remote]:
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not every request on stderr

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        port = server.get_host_and_port()[1]
        keys = {"aws_access_key_id": "tester", "aws_secret_access_key": PASSWORD}
        client = boto3.resource("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", **keys)
        bucket = client.create_bucket(Bucket="study")
        wire = Wire(port)
        settings = [f"endpointurl=http://127.0.0.1:{wire.port}", "region=us-east-1"]
        environment = {key.upper(): value for key, value in keys.items()} | {"AWS_MAX_ATTEMPTS": "1"}
        yield Remote("s3", "s3://study/team", folder, settings, environment, wire, bucket)
    finally:
        server.stop()


@contextmanager
def _webdav(folder: Path) -> Iterator[Remote]:
    from cheroot.wsgi import Server
    from wsgidav.wsgidav_app import WsgiDAVApp

    logging.getLogger("wsgidav").setLevel(logging.CRITICAL)
    store = folder / "store"
    (store / "team").mkdir(parents=True)  # DVC makes the folders below, not this one
    app = WsgiDAVApp(
        {
            "provider_mapping": {"/": str(store)},
            "simple_dc": {"user_mapping": {"*": {"tester": {"password": PASSWORD}}}},
            "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
            "lock_storage": False,
            "verbose": 0,
            "logging": {"enable": False},
        }
    )
    server = Server(("127.0.0.1", 0), app, numthreads=8)
    server.prepare()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        wire = Wire(server.bind_addr[1])
        url = f"webdav://127.0.0.1:{wire.port}/team"
        yield Remote("webdav", url, store / "team", ["user=tester", f"password={PASSWORD}"], {}, wire)
    finally:
        server.stop()
        thread.join()
