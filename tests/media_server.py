"""A real HTTP server on loopback that serves clips and misbehaves on request. Run by tests, or by hand:

    python -m tests.media_server FOLDER LIST.csv

serves FOLDER/real and FOLDER/fake until Ctrl-C and writes the list of links to them, every third one
broken, for `youtube.lists`. A link is ADDRESS/BEHAVIOUR/FILE.

Behaviours: ok, missing (404), forbidden (403), private_redirect (to 127.0.0.2), page (HTML named
.mp4), page_as_video (HTML said to be video/mp4), octets (the clip as application/octet-stream),
busy (429 with Retry-After, then the clip), always_busy, cut (the connection ends half-way, ranges are
served), broken (half the bytes, said to be all), stall (half, then silence), endless (bytes without
end), large (says 10 GB), down (503 without end).
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

REASONS = {
    "ok": "",
    "octets": "",
    "busy": "",
    "cut": "",
    "missing": "removed",
    "forbidden": "login_required",
    "page": "unsupported",
    "page_as_video": "corrupt",
    "broken": "corrupt",
    "always_busy": "rate_limited",
    "down": "rate_limited",
    "stall": "network",
    "endless": "too_large",
    "large": "too_large",
}
"""What a download should make of each behaviour: the file, or a reason."""
GOOD, BAD = ([name for name, reason in REASONS.items() if bool(reason) == bad] for bad in (False, True))
PAGE = b"<!DOCTYPE html><html><head><title>Sign up</title></head><body>Nothing to see</body></html>"


class MediaServer(ThreadingHTTPServer):
    """`requests` counts the requests for each path, `sent` the bytes of bodies."""

    daemon_threads = True

    def __init__(self, folder: Path, stall_s: float = 30.0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.stall_s = folder, stall_s
        self.requests: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.sent: Counter[str] = Counter()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the play."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: MediaServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None: ...

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.requests[self.path] += 1
        if range_ := self.headers.get("Range"):
            self.server.ranges.append(range_)
        _, behaviour, *rest = unquote(self.path.partition("?")[0]).split("/", 2)
        path = self.server.folder / (rest[0] if rest else "")
        act = getattr(self, f"do_{behaviour}", None)
        if act is None:
            self._status(404)
        elif path.is_file() and path.resolve().is_relative_to(self.server.folder.resolve()):
            act(path.read_bytes())
        else:
            act(b"")

    def _status(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self._write(body)

    def _write(self, body: bytes) -> None:
        self.wfile.write(body)
        self.server.sent[self.path] += len(body)

    def do_ok(self, data: bytes, content_type: str = "video/mp4", upto: int | None = None) -> None:
        """The clip or the range of it that is asked for; `upto`: the connection ends after that byte."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(found[1]) if found else 0
        if start >= len(data) > 0:
            self._status(416, Content_Range=f"bytes */{len(data)}")
            return
        headers = {"Content-Type": content_type, "Accept-Ranges": "bytes", "Connection": "close"}
        self.send_response(206 if found else 200)
        if found:
            end = min(int(found[2] or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            data, start = data[: end + 1], start
        headers["Content-Length"] = str(len(data) - start)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._write(data[start : upto if upto is not None and upto > start else None])

    def do_missing(self, data: bytes) -> None:
        self._status(404)

    def do_forbidden(self, data: bytes) -> None:
        self._status(403)

    def do_down(self, data: bytes) -> None:
        self._status(503)

    def do_private_redirect(self, data: bytes) -> None:
        port = self.server.server_address[1]
        self._status(302, Location=f"http://127.0.0.2:{port}/ok/{self.path.rsplit('/', 1)[-1]}")

    def do_page(self, data: bytes) -> None:
        self._status(200, PAGE, Content_Type="text/html")

    def do_page_as_video(self, data: bytes) -> None:
        self.do_ok(PAGE * 20)

    def do_octets(self, data: bytes) -> None:
        self.do_ok(data, "application/octet-stream")

    def do_busy(self, data: bytes) -> None:
        if self.server.requests[self.path] == 1:
            self._status(429, Retry_After="1")
        else:
            self.do_ok(data)

    def do_always_busy(self, data: bytes) -> None:
        self._status(429, Retry_After="1")

    def do_cut(self, data: bytes) -> None:
        """Each answer ends a third of the clip later than the one before."""
        self.do_ok(data, upto=(self.server.requests[self.path]) * (len(data) // 3 + 1))

    def do_broken(self, data: bytes) -> None:
        self.do_ok(data[: len(data) // 3])

    def do_stall(self, data: bytes) -> None:
        self.send_response(200)
        for name, value in {"Content-Type": "video/mp4", "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self._write(data[: len(data) // 2])
        self.wfile.flush()
        time.sleep(self.server.stall_s)

    def do_endless(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.end_headers()
        while True:
            self._write(bytes(1 << 16))

    def do_large(self, data: bytes) -> None:
        self.send_response(200)
        for name, value in {"Content-Type": "video/mp4", "Content-Length": str(10**10)}.items():
            self.send_header(name, value)
        self.end_headers()
        self._write(bytes(1 << 16))

    def do_list(self, data: bytes) -> None:
        self._status(200, data, Content_Type="text/csv")


@contextmanager
def serving(folder: Path, stall_s: float = 30.0) -> Iterator[MediaServer]:
    """A server of the files in folder for the time of the block."""
    server = MediaServer(folder, stall_s)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def links(server: MediaServer) -> dict[str, tuple[str, str]]:
    """Links to the files below real/ and fake/ of the server's folder, every third broken: url -> label, reason."""
    files = sorted(path.relative_to(server.folder) for path in server.folder.glob("[rf]*/*") if path.is_file())
    found = {}
    for number, file in enumerate(files):
        behaviour = BAD[number // 3 % len(BAD)] if number % 3 == 2 else GOOD[number % len(GOOD)]
        found[f"{server.address}/{behaviour}/{quote(str(file))}"] = (file.parts[0], REASONS[behaviour])
    return found


def write_list(path: Path, found: Mapping[str, tuple[str, str]]) -> None:
    """The links as a list of the project's own form."""
    rows = [f"{url},{label}" for url, (label, _) in found.items()]
    path.write_text("\n".join(["url,label", *rows]) + "\n")


if __name__ == "__main__":
    with serving(Path(sys.argv[1])) as chosen:
        write_list(Path(sys.argv[2]), links(chosen))
        print(f"serving {sys.argv[1]} at {chosen.address}; the list is {sys.argv[2]}; Ctrl-C ends", flush=True)
        threading.Event().wait()
