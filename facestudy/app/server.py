"""The server of the page: Gradio, which listens on this computer only, keeps no file and sends nothing elsewhere.

Arguments and environment variables switch off what Gradio would send. The Content-Security-Policy in every response
makes the browser refuse the rest.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from facestudy.core.errors import StudyError

HOST = "127.0.0.1"
FIRST_PORT, PORTS = 7860, 100
"""Without a given port, the first free one of these PORTS is taken."""
WAITING = 20
"""The most uploads that wait in the queue."""
LEFT_S = 3600
"""An upload is removed after this time without a request from its tab."""
REMOVAL_S = 5
"""The time for which the removal of the folder is retried while something still writes into it."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
"""The browser sends no request to another computer, whatever a script of the page tries. Gradio's scripts are inline
and use eval."""
TITLE = "How fake does a face look?"
FAILED = '<article class="answer"><p class="none">{}</p></article>'
UNFORESEEN = FAILED.format("Something went wrong. The terminal in which this page was started has the details.")
INTRODUCTION = """# How fake does a face look?

Drop a video or a picture with a face. This page shows the faces in it, the crops that the detectors get, their scores
and the regions they rely on. **A score is not proof**: detectors fail on fakes unlike those they know. Do not judge a
person by it.

Everything happens on this computer. The file is removed as soon as the answer is shown, and the answer when you leave
the page.
"""

DOCUMENT = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{}</title><style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }}
body {{ max-width: 48rem; margin: 2rem auto; padding: 0 1rem; }}
pre, table {{ display: block; overflow-x: auto; }}
td, th {{ padding: .2rem .5rem; text-align: left; vertical-align: top; }}
</style></head><body>{}</body></html>
"""

Answer = Callable[[Path, str, Path], str]
"""From a file, what its user calls it and an empty private folder to a piece of HTML."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make the folder for everything that is written while the page is open; nobody else can read it.

    Everything that this process and Gradio write for a while goes there. It is removed in the end, also when a job is
    still writing.

    Yields
    ------
    Path
    """
    folder, before = Path(tempfile.mkdtemp(prefix="facestudy-app-")), tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        end = time.monotonic() + REMOVAL_S
        while folder.exists() and time.monotonic() < end:
            shutil.rmtree(folder, ignore_errors=True)


def prepare_environment(folder: Path) -> None:
    """Make Gradio and its imports keep to the folder and contact no server; call it before the first import.

    Parameters
    ----------
    folder : Path
        For uploads.
    """
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]  # GRADIO_SHARE, GRADIO_SERVER_NAME, GRADIO_ALLOWED_PATHS and others would open the page
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
    }
    for name in ("no_proxy", "NO_PROXY"):  # Gradio asks its own server whether it is there
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), HOST]))


def answered(upload: str, name: str, answer: Answer, folder: Path) -> str:
    """Answer an upload, and remove it and all that was made of it.

    Parameters
    ----------
    upload : str
        The file, in a folder of its own.
    name : str
        What its user calls it.
    answer : callable
    folder : Path
        The private folder.

    Returns
    -------
    str
        HTML.
    """
    given = Path(upload)
    with tempfile.TemporaryDirectory(prefix="job-", dir=folder) as private:
        work, path = Path(private) / "work", Path(private) / f"clip{given.suffix}"
        work.mkdir()
        try:
            given.rename(path)
        except FileNotFoundError:
            return FAILED.format("The upload is no longer there; drop it again.")
        with suppress(OSError):  # another tab has a file of the same content
            given.parent.rmdir()
        return answer(path, name, work)


class Guard:
    """Refuses what does not come from the page itself, and gives each answer the rules for the browser.

    Another web page may send requests to this computer, under a name that leads here (DNS rebinding) or across origins.

    Parameters
    ----------
    app : callable
        The server, as ASGI defines it.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if not allowed(headers.get(b"host", ""), headers.get(b"origin")):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            return await send({"type": "http.response.body", "body": b"This page answers to itself only."})

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                more = [
                    (b"content-security-policy", POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"cache-control", b"no-store"),  # nothing is kept by the browser either
                ]
                own = {name for name, _ in more}
                kept = [one for one in message["headers"] if one[0].lower() not in own]
                message = {**message, "headers": [*kept, *more]}
            await send(message)

        return await self.app(scope, receive, answer)


def allowed(host: str, origin: str | None) -> bool:
    """Check whether a request is meant for this server and made by its page.

    Parameters
    ----------
    host : str
        The header Host.
    origin : str, optional
        The header Origin, which browsers send with what could change something.

    Returns
    -------
    bool

    Examples
    --------
    >>> allowed("127.0.0.1:7860", None), allowed("127.0.0.1:7860", "http://127.0.0.1:7860")
    (True, True)
    >>> allowed("example.org:7860", None), allowed("127.0.0.1:7860", "https://example.org")
    (False, False)
    """
    name = host.rpartition(":")[0] or host
    return name in (HOST, "localhost") and origin in (None, f"http://{host}")


def documents(folder: Path) -> dict[str, str]:
    """Read the documents that the page leads to.

    Parameters
    ----------
    folder : Path
        With Markdown.

    Returns
    -------
    dict of str to str
        File name and HTML.
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    return {
        path.name: DOCUMENT.format(path.stem, markdown.render(path.read_text(encoding="utf-8")))
        for path in sorted(folder.glob("*.md"))
    }


@dataclass(frozen=True)
class Running:
    """A page that can be opened.

    Attributes
    ----------
    address : str
    close : callable
        Ends the server.
    """

    address: str
    close: Callable[[], None]


def start(
    answer: Answer,
    folder: Path,
    suffixes: list[str],
    max_bytes: int,
    port: int | None = None,
    pages: Mapping[str, str] | None = None,
    first: Callable[[], object] = lambda: None,
) -> Running:
    """Open the page.

    Parameters
    ----------
    answer : callable
        Called by one thread, for one upload after the other.
    folder : Path
        The private folder, for uploads and what is made of them.
    suffixes : list of str
        Of files that can be answered.
    max_bytes : int
        The largest upload.
    port : int, optional
        By default the first free one from FIRST_PORT on.
    pages : mapping of str to str, optional
        Documents by their names, as HTML.
    first : callable
        What the thread does before the first upload, while people still look for their clip.

    Returns
    -------
    Running

    Raises
    ------
    StudyError
        When the port is not free.
    """
    prepare_environment(folder / "uploads")
    import gradio
    from starlette.middleware import Middleware

    worker = ThreadPoolExecutor(1)  # the decoder's process and the networks belong to one thread

    def in_turn(upload: str, name: str) -> str:
        return worker.submit(answered, upload, name, answer, folder).result()

    blocks = built(in_turn, suffixes, max_bytes)
    sans, mono = (gradio.themes.Font(name) for name in ("sans-serif", "monospace"))  # the reader's own
    theme = gradio.themes.Default(font=[sans], font_mono=[mono])
    try:
        blocks.launch(
            server_name=HOST, server_port=port, share=False, inbrowser=False, prevent_thread_lock=True, quiet=True,
            show_error=False, max_file_size=max_bytes, allowed_paths=[], run_history=False, footer_links=[],
            enable_monitoring=False, ssr_mode=False, pwa=False, mcp_server=False, theme=theme,
            css_paths=Path(__file__).with_name("page.css"),
            app_kwargs={"middleware": [Middleware(Guard)], "routes": [_documents_at("/docs/{name}", pages or {})]},
        )  # fmt: skip
    except OSError:
        tried = f"port {port} is" if port else f"the ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} are"
        raise StudyError(f"{tried} not free on {HOST}; name another one, as in --port 8000.") from None
    worker.submit(first)
    return Running(blocks.local_url, lambda: blocks.close(verbose=False))


def _documents_at(path: str, pages: Mapping[str, str]) -> Any:
    from starlette.requests import Request
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    async def page(request: Request) -> HTMLResponse:
        html = pages.get(request.path_params["name"])
        return HTMLResponse(html or "There is no such document.", 200 if html else 404)

    return Route(path, page)


def built(answer: Callable[[str, str], str], suffixes: list[str], max_bytes: int) -> Any:
    """Lay the page out.

    Parameters
    ----------
    answer : callable
        From the path of an upload and its name to a piece of HTML.
    suffixes : list of str
        Of files that can be answered.
    max_bytes : int
        The largest upload.

    Returns
    -------
    gradio.Blocks
    """
    import gradio

    with gradio.Blocks(analytics_enabled=False, title=TITLE, delete_cache=(60, LEFT_S)) as blocks:
        gradio.Markdown(INTRODUCTION)
        label = f"Video or picture: {' '.join(suffixes)}, up to {max_bytes / 1e9:g} GB"
        drop = gradio.File(label=label, file_types=suffixes, elem_id="drop")
        # Gradio's own leaves an empty file behind for each upload, and alters the name.
        drop.preprocess = lambda payload: (payload.path, payload.orig_name or Path(payload.path).name)
        shown = gradio.HTML(elem_id="shown", padding=False)
        answered = drop.upload(
            lambda upload: (None, answer(*upload)), drop, [drop, shown],
            concurrency_limit=1, api_visibility="private", show_progress_on=shown,
        )  # fmt: skip
        # Gradio prints the error in the terminal.
        answered.failure(lambda: (None, UNFORESEEN), None, [drop, shown], api_visibility="private")
    blocks.queue(max_size=WAITING, api_open=False, default_concurrency_limit=1)
    return blocks
