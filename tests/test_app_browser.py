"""The page for one clip in Chromium: a real clip, text named .mp4, a clip without a face; nothing leaves or stays."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from facestudy.prediction.published import DETECTORS
from tests.media import write_clip, write_picture
from tests.pipeline_files import ROOT
from tests.project import ENVIRONMENT, params
from tests.test_predict import write_study

NAMES = [one.name for one in DETECTORS]
HOSTILE = "<img src=x onerror=alert(1)>${alert(2)}{{7*7}}.mp4"
MEGABYTES = 2
"""The largest upload in these tests."""
LOADED_MS = 120_000
"""The networks are loaded while the first upload waits."""
OWN_TO_GRADIO: set[str] = set()
"""Rules of axe-core that Gradio's own elements break."""


@dataclass
class App:
    """A page that is open."""

    address: str
    process: subprocess.Popen[str]
    folder: Path

    @property
    def private(self) -> Path:
        """The only thing that it writes into the folder for temporary files."""
        (found,) = (self.folder / "tmp").iterdir()
        assert found.name.startswith("facestudy-app-")
        return found

    def home(self) -> set[str]:
        """What it leaves in the user's folder; Keras makes a file of settings there when it is first imported."""
        return {path.name for path in (self.folder / "home").iterdir()} - {".keras"}

    def files(self) -> list[str]:
        """What is there of uploads and their answers."""
        return [path.name for path in self.private.rglob("*") if path.is_file()]


HERE = """
from pathlib import Path
from commands import app, predict
predict.SETTINGS = Path("params.yaml")  # of this folder, not the project's
app.main()
"""


@contextlib.contextmanager
def opened(folder: Path, *options: str, program: str = HERE) -> Iterator[App]:
    """A program in a folder with a small limit on uploads, and a home and a folder for temporary files of its own."""
    for name in ("tmp", "home"):
        (folder / name).mkdir()
    settings = params()
    settings["decoding"]["max_file_gb"] = MEGABYTES / 1000
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    own = {
        "TMPDIR": str(folder / "tmp"),
        "HOME": str(folder / "home"),
        "GRADIO_SHARE": "true",
        "FACESTUDY_APP": "--frames 3",
    }
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *options], cwd=folder, env=ENVIRONMENT | own,
            stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    assert process.stdout
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line + (folder / "stderr").read_text()
        yield App(found[0], process, folder)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """With a small study, so that no other people's data is needed."""
    folder = tmp_path_factory.mktemp("app")
    with opened(folder, "--study", str(write_study(tmp_path_factory.mktemp("study")))) as running:
        yield running


@contextlib.contextmanager
def page_of(browser: Browser, app: App, scheme: str = "light", width: int = 1440) -> Iterator[Page]:
    """The page; a message on the console, an error, a dialog or a request to another place fails the test."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})  # type: ignore[arg-type]
    page, messages = context.new_page(), []
    page.on("console", lambda message: messages.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    local = (app.address, app.address.replace("http:", "ws:"), "data:", "blob:")
    page.on("request", lambda call: messages.append(call.url) if not call.url.startswith(local) else None)
    page.goto(app.address)
    page.wait_for_selector("#drop input[type=file]", state="attached", timeout=60_000)
    yield page
    context.close()
    assert messages == []


def drop(page: Page, file: Path, text: str) -> None:
    """Give a file to the page, and wait until its answer has a text and Gradio has faded it in."""
    page.locator("#drop input[type=file]").set_input_files(file)
    expect(page.locator(".answer")).to_contain_text(text, timeout=LOADED_MS)
    page.wait_for_function(
        """() => {
            for (let e = document.querySelector(".answer"); e; e = e.parentElement)
                if (getComputedStyle(e).opacity !== "1") return false;
            return true;
        }"""
    )


def check_look(page: Page) -> None:
    """Nothing is clipped or scrolls sideways, and a screen reader has all it needs."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    wide = (
        "[...document.querySelectorAll('.answer *')].filter(e => e.getBoundingClientRect().right > innerWidth).length"
    )
    assert page.evaluate(wide) == 0
    violations = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in violations if one["id"] not in OWN_TO_GRADIO] == []


def until_gone(app: App) -> None:
    """Wait until nothing is left of an upload: it is removed just before its answer is sent."""
    end = time.monotonic() + 10
    while app.files() and time.monotonic() < end:
        time.sleep(0.1)
    assert app.files() == []


# --- what people see -------------------------------------------------------------------------------------------------


def test_a_real_clip(browser: Browser, outside_data: Path, tmp_path: Path) -> None:
    clip = outside_data / "videos/fake/fomm_cam1.mp4"
    with opened(tmp_path, "--weights", str(outside_data / "mesonet")) as app:
        with page_of(browser, app) as page:
            drop(page, clip, "A score is not proof")
            text = page.locator(".answer").inner_text()
            for words in ("fomm_cam1.mp4", "3 frames examined", "frames of 864x432, known", *NAMES):
                assert words in text
            assert page.locator(".answer .faces").first.locator("figure").count() == 3
            assert page.locator(".answer .overlays figure").count() == len(NAMES)
            broken = "[...document.querySelectorAll('.answer img')].filter(e => !e.naturalWidth || !e.alt).length"
            assert page.evaluate(broken) == 0
            crops = page.locator(".answer .faces:not(.overlays) figure img:nth-of-type(2)")
            assert [crop.evaluate("e => e.naturalWidth") for crop in crops.all()] == [256] * 3
            link = page.locator(".answer a").first
            with page.context.expect_page() as other:
                link.click()
            expect(other.value.locator("h1")).to_have_text("Which parts the models rely on")
            check_look(page)
            until_gone(app)
        for scheme, width in (("dark", 1440), ("light", 360), ("dark", 360)):
            with page_of(browser, app, scheme, width) as page:
                drop(page, clip, "A score is not proof")
                check_look(page)
        assert app.files() == [] and app.home() == set()


def test_files_without_a_score_get_a_sentence(browser: Browser, app: App, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    write_clip(tmp_path / "nobody.mp4", count=3)
    write_picture(tmp_path / "picture.png")
    with page_of(browser, app, "light", 360) as page:
        drop(page, tmp_path / "text.mp4", "text.mp4")
        assert "no score: not decodable as a video" in page.locator(".answer").inner_text()
        drop(page, tmp_path / "nobody.mp4", "nobody.mp4")
        assert "no score: no usable face in 3 frames: no face found (3)." in page.locator(".answer").inner_text()
        drop(page, tmp_path / "picture.png", "picture.png")
        assert "no score: no usable face in 1 frame" in page.locator(".answer").inner_text()
        check_look(page)
        assert str(app.folder) not in page.content()
    until_gone(app)


BROKEN = """
import threading
from facestudy.app import server
with server.private_folder() as folder:
    print(server.start(lambda *_: 1 / 0, folder, [".mp4"], 10**6).address, flush=True)
    threading.Event().wait()
"""


def test_an_error_that_nobody_foresaw_is_a_sentence(browser: Browser, tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"a clip")
    with opened(tmp_path, program=BROKEN) as app, page_of(browser, app) as page:
        drop(page, clip, "Something went wrong. The terminal in which this page was started has the details.")
        assert "division" not in page.content() and "ZeroDivisionError" in (tmp_path / "stderr").read_text()
        until_gone(app)


def test_a_hostile_name_runs_nothing(browser: Browser, app: App, tmp_path: Path) -> None:
    """A dialog fails the test, as does a picture that is asked for."""
    (tmp_path / HOSTILE).write_text("x")
    with page_of(browser, app) as page:
        drop(page, tmp_path / HOSTILE, "no score")
        name = page.locator(".answer h2").inner_text()
        assert name == HOSTILE and not page.locator(".answer h2 *").count()


def test_what_is_too_large_is_refused(browser: Browser, app: App, tmp_path: Path) -> None:
    (tmp_path / "large.mp4").write_bytes(bytes(MEGABYTES * 10**6 + 1))
    context = browser.new_context()
    page = context.new_page()
    page.goto(app.address)
    page.locator("#drop input[type=file]").set_input_files(tmp_path / "large.mp4")
    expect(page.get_by_text(re.compile("exceeds|maximum|too large", re.IGNORECASE)).first).to_be_visible()
    assert page.locator(".answer").count() == 0
    context.close()
    assert uploaded(app, bytes(MEGABYTES * 10**6 + 1)) == 413
    until_gone(app)


# --- who can reach what ----------------------------------------------------------------------------------------------


def status(address: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> int:
    """The status of an answer."""
    request = urllib.request.Request(address, body, headers or {})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def uploaded(app: App, content: bytes) -> int:
    """The status of the answer to an upload that nobody asks about."""
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n' + content + b"\r\n--x--\r\n"
    return status(f"{app.address}gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"})


def test_the_server_listens_on_this_computer_only(app: App) -> None:
    listening = {
        one.laddr.ip
        for process in (psutil.Process(app.process.pid), *psutil.Process(app.process.pid).children(recursive=True))
        for one in process.net_connections()
        if one.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_files_of_the_computer_are_not_served(app: App) -> None:
    assert status(app.address) == 200
    for name in ("/etc/passwd", str(app.folder / "params.yaml"), str(ROOT / "README.md"), "params.yaml"):
        assert status(f"{app.address}gradio_api/file={name}") in (403, 404)
    assert status(f"{app.address}docs/attribution.md") == 200
    for name in ("..%2fREADME.md", "%2fetc%2fpasswd", "nothing.md"):
        assert status(f"{app.address}docs/{name}") == 404


def test_other_pages_are_refused(app: App) -> None:
    """A page elsewhere can send requests here, under a name of its own that leads here, too."""
    assert status(app.address, headers={"Origin": app.address.rstrip("/")}) == 200
    assert status(app.address, headers={"Origin": "https://example.org"}) == 403
    assert status(app.address, headers={"Host": "example.org"}) == 403


# --- how it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_when_it_ends(tmp_path: Path, study: Path, number: int) -> None:
    with opened(tmp_path, "--study", str(study)) as app:
        assert uploaded(app, b"x") == 200
        assert app.files() == ["a.mp4"]
        app.process.send_signal(number)
        assert app.process.wait(60) == 0
        assert not list((tmp_path / "tmp").iterdir()) and app.home() == set()
        assert (tmp_path / "stderr").read_text() == ""


def test_nothing_is_left_when_it_ends_at_work(browser: Browser, tmp_path: Path, study: Path) -> None:
    """While the decoder's process looks at a clip, and while another upload waits."""
    clip = write_clip(tmp_path / "clip.mp4", count=400, size=(640, 480))
    with opened(tmp_path, "--study", str(study), "--frames", "400") as app:
        context = browser.new_context()
        for _ in range(2):
            page = context.new_page()
            page.goto(app.address)
            page.locator("#drop input[type=file]").set_input_files(clip)
        end = time.monotonic() + 120
        while not any("frames" in path.parts for path in app.private.rglob("*.png")) and time.monotonic() < end:
            time.sleep(0.05)
        assert app.files()
        app.process.send_signal(signal.SIGTERM)
        assert app.process.wait(60) == 0
        assert not list((tmp_path / "tmp").iterdir())
        context.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path, study: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = f"app: port {port} is not free on 127.0.0.1; name another one"
        with pytest.raises(AssertionError, match=said), opened(tmp_path, "--study", str(study), "--port", port):
            pass
    assert not list((tmp_path / "tmp").iterdir())
    assert (tmp_path / "stderr").read_text().count("\n") == 1
