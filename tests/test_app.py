"""The page for one clip, without a browser: its HTML, the overlay, what is removed, who is answered, wrong use."""

from __future__ import annotations

import base64
import contextlib
import functools
import html
import os
import re
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from commands import app as command
from commands.predict import Work, prepared
from facestudy.app import server
from facestudy.app.answer import SHOWN_FACES, SHOWN_PEOPLE, as_html
from facestudy.app.overlay import occlusion, overlay
from facestudy.attribution import maps
from facestudy.attribution.overlays import painted
from facestudy.core.arrays import Picture
from facestudy.core.errors import StudyError
from facestudy.core.settings import check
from facestudy.crops.cutting import crop
from facestudy.models.networks import build
from facestudy.models.settings import ModelSettings
from facestudy.prediction import text
from facestudy.prediction.answer import Meaning, not_scored, scored
from facestudy.prediction.detectors import Detector, Known
from facestudy.prediction.trained import cells
from tests.media import write_clip
from tests.pipeline_files import ROOT
from tests.test_predict import BINS, MODEL, PLAN, examined_of, write_lock, write_study

HOSTILE = "<img src=x onerror=alert(1)>${alert(2)}{{7*7}}.mp4"


def detector(name: str = "tiny", trainings: int = 1, **more: Any) -> Detector:
    """Networks with random weights on crops of 8 x 8 pixels."""
    load = functools.partial(build, check(ModelSettings, MODEL, "tiny"))
    return Detector(
        name, {str(seed): functools.cache(functools.partial(load)) for seed in range(trainings)}, PLAN, **more
    )


@pytest.fixture(scope="module")
def detectors() -> list[Detector]:
    return [detector("one", 2, seen="cats", bins=BINS, known=Known(codecs=frozenset({"vp9"}))), detector("other")]


def words(page: str) -> str:
    """The text of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def pictures(page: str) -> list[Picture]:
    """The pictures of a page, RGB."""
    found = re.findall(r'src="data:image/png;base64,([^"]*)"', page)
    contents = [np.frombuffer(base64.b64decode(content), np.uint8) for content in found]
    return [np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1] for content in contents]


# --- what the page says ----------------------------------------------------------------------------------------------


def test_the_words_are_those_of_the_command(detectors: list[Detector]) -> None:
    examined = examined_of(1, 1, 2)
    clip = scored("a.mp4", examined, detectors)
    score = clip.persons[0].scores[0].model_copy(update={"meaning": Meaning(low=0, high=0.5, scores=9, fake_share=0.1)})
    clip.persons[0].scores[0] = score
    found = words(as_html(clip, examined, detectors)).lower()
    for line in [*text.of_clip(clip), *text.footer([clip])]:
        line = line.lower().removeprefix("a.mp4:").strip()
        cells_of_a_table = re.fullmatch(r"(\S+) +p\(fake\) (\S+) +(\S+)(?: +\((.*)\))?", line)
        for part in cells_of_a_table.groups() if cells_of_a_table else [line]:
            assert (part or "one face") in found, part
    assert "one: 2 trainings, crop full, trained on cats." in found and "format h264, known: vp9" in found


def test_a_clip_without_a_score_has_its_reason(detectors: list[Detector]) -> None:
    page = as_html(not_scored("a.mp4", "the file is empty"), None, detectors)
    assert words(page) == "a.mp4 no score: the file is empty."


def test_names_are_text(detectors: list[Detector]) -> None:
    examined = examined_of(1)
    without = as_html(not_scored(HOSTILE, HOSTILE), None, detectors)
    for page in (without, as_html(scored(HOSTILE, examined, detectors), examined, detectors)):
        assert HOSTILE in html.unescape(page) and "<img src=x" not in page


def test_crops_are_what_the_models_get(detectors: list[Detector]) -> None:
    examined = examined_of(1, 1)
    page = as_html(scored("a", examined, detectors), examined, detectors)
    face = examined.found[0].face
    assert face.picture is not None
    wanted = crop(face.picture, face, PLAN, (0, 0, 0))
    shown = pictures(page)
    # Per face the cut-out and one crop for both detectors, then an overlay for each.
    assert len(shown) == 2 * 2 + 2
    assert (shown[1] == wanted).all() and (shown[3] == wanted).all()
    assert page.count("full, 8x8, as one and other get it") == 2


def test_a_crowd_does_not_make_an_endless_page(detectors: list[Detector]) -> None:
    many = SHOWN_PEOPLE + 2
    examined = examined_of(*sorted([*range(1, many + 1), *[1] * 20]))
    page = as_html(scored("a", examined, detectors), examined, detectors)
    assert page.count('<section class="person">') == many and page.count('class="faces overlays"') == SHOWN_PEOPLE
    assert page.count("landmarks") == SHOWN_FACES + SHOWN_PEOPLE - 1
    assert f"Pictures of the first {SHOWN_PEOPLE} persons only." in page


# --- the overlay -----------------------------------------------------------------------------------------------------


def test_the_map_is_that_of_the_stage() -> None:
    """For one face many patches are hidden at once, for three faces fewer: the same map."""
    network, noise = detector().trainings["0"](), np.random.default_rng(1)
    faces = noise.integers(0, 256, (3, 64, 48, 3), np.uint8)
    shown = np.ones((64, 48), bool)
    shown[:20, :10] = False
    probe, filled = maps.Probe(network), maps.replacement(faces, shown, "mean")
    for sign in (1.0, -1.0):
        evidence = maps.Evidence(probe, faces, shown, filled, np.full(3, sign), probe.logits(faces))
        found = occlusion(network, faces, 1, shown, sign)
        assert found == pytest.approx(maps.occlusion(evidence)[1], abs=1e-9, rel=1e-4)
        assert found.any() and not found[~shown].any()


def test_the_overlay_is_of_the_most_typical_face() -> None:
    one = detector(trainings=3)
    examined = examined_of(1, 1, 1)
    scores = one.score([face.face for face in examined.found])[:, 0]
    found = overlay(one, examined.found, [0.9, float(scores.mean()), 0.1])
    assert found.time_s == 0.1
    nearest = abs(scores - scores.mean()).argmin()
    assert (found.training, found.p_fake) == (str(nearest), pytest.approx(scores[nearest]))
    assert found.says == ("fake" if found.p_fake > 0.5 else "real")


def test_an_empty_map_paints_nothing() -> None:
    grey = np.full((4, 4, 3), 90, np.uint8)
    assert (painted(grey, np.zeros((4, 4))) == grey).all()


# --- nothing is kept -------------------------------------------------------------------------------------------------


def given(folder: Path, name: str = "my clip.mp4") -> Path:
    upload = folder / "uploads" / ("0" * 64) / name
    upload.parent.mkdir(parents=True)
    upload.write_text("content")
    return upload


def test_an_upload_goes_with_its_answer(tmp_path: Path) -> None:
    seen = []

    def answer(path: Path, name: str, private: Path) -> str:
        seen.append((path.read_text(), name, list(private.iterdir())))
        (private / "frame.png").touch()
        return "<p>done</p>"

    assert server.answered(str(given(tmp_path)), "<my> clip.mp4", answer, tmp_path) == "<p>done</p>"
    assert seen == [("content", "<my> clip.mp4", [])]
    assert [path.name for path in tmp_path.rglob("*")] == ["uploads"]


def test_an_error_removes_the_upload_too(tmp_path: Path) -> None:
    def answer(*_: object) -> str:
        raise FileNotFoundError("weights")

    with pytest.raises(FileNotFoundError, match="weights"):
        server.answered(str(given(tmp_path)), "a.mp4", answer, tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["uploads"]


def test_an_upload_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    assert "drop it again" in server.answered(str(tmp_path / "x/y.mp4"), "y.mp4", lambda *_: "", tmp_path)


def test_the_folder_goes_whatever_writes_into_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stop = threading.Event()
    with contextlib.suppress(KeyboardInterrupt), server.private_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and tempfile.gettempdir() == str(folder)

        def write() -> None:
            for number in range(10**6):
                with contextlib.suppress(OSError):
                    (folder / f"{number}").touch()
                if stop.is_set():
                    return

        thread = threading.Thread(target=write)
        thread.start()
        raise KeyboardInterrupt
    stop.set()
    thread.join()
    assert not folder.exists() and tempfile.gettempdir() == str(tmp_path)


# --- who is answered -------------------------------------------------------------------------------------------------


def test_the_environment_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ |= {"GRADIO_SHARE": "True", "GRADIO_SERVER_NAME": "0.0.0.0", "NO_PROXY": "a"}
    server.prepare_environment(tmp_path)
    own = {name: value for name, value in os.environ.items() if name.startswith("GRADIO_")}
    assert own == {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(tmp_path)}
    assert os.environ["NO_PROXY"] == "a,127.0.0.1" and os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    ("host", "origin", "answer"),
    [
        ("127.0.0.1:7860", None, True),
        ("localhost:7860", "http://localhost:7860", True),
        ("127.0.0.1:7860", "http://localhost:7860", False),
        ("127.0.0.1:7860", "http://127.0.0.1:8000", False),
        ("127.0.0.1:7860", "null", False),
        ("rebound.example:7860", None, False),
        ("127.0.0.1.example:7860", None, False),
        ("", None, False),
    ],
)
def test_only_the_page_itself_is_answered(host: str, origin: str | None, answer: bool) -> None:
    assert server.allowed(host, origin) == answer


def test_documents_are_text() -> None:
    found = server.documents(ROOT / "docs")["attribution.md"]
    assert "<h1>Which parts the models rely on</h1>" in found and "<script" not in found


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


def work_of(*options: str) -> Work:
    wanted = command.arguments(options)
    return prepared(wanted, cells(wanted.study) if wanted.study and not wanted.model else ())


def test_all_cells_of_a_study_are_used(study: Path) -> None:
    assert cells(study) == [("tiny", "full")]
    (found,) = work_of("--study", str(study), "--frames", "3").detectors
    assert (found.name, list(found.trainings)) == ("tiny.full", ["1", "2"])
    (found,) = work_of("--study", str(study), "--model", "tiny", "--variant", "full", "--seed", "2").detectors
    assert list(found.trainings) == ["2"]


def test_the_committed_study_has_its_cells(tmp_path: Path) -> None:
    assert ("mesonet", "eyes_lower") in cells(ROOT) and len(cells(ROOT)) == len(set(cells(ROOT)))
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    with pytest.raises(StudyError, match="has no trained model"):
        cells(tmp_path)


def test_drawn_people_need_consent(tmp_path: Path) -> None:
    drawn = write_study(tmp_path)
    write_lock(drawn, "sample")
    with pytest.raises(StudyError, match="have seen drawn people only"):
        work_of("--study", str(drawn))
    assert work_of("--study", str(drawn), "--allow-sample").detectors


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--port", "0"], "--port 0: give 1 to 65535"),
        (["--frames", "0"], "--frames 0: give 1 to 1000"),
        (["--study", ".", "--model", "mesonet"], "--model and --variant go together"),
        (["--allow-sample"], "need --study"),
        (["--study", ".", "--weights", "w"], "--weights is for the published detectors"),
    ],
)
def test_wrong_use_is_said(capsys: pytest.CaptureFixture[str], words: list[str], sentence: str) -> None:
    with pytest.raises(SystemExit) as ended:
        command.arguments(words)
    said = capsys.readouterr().err
    assert ended.value.code == 1 and said.startswith("app: ") and sentence in said and len(said.splitlines()) == 1


TO_ANOTHER_THREAD = """
import signal, threading, time
from commands.app import end_by_signal
wait = end_by_signal()
def send():
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    time.sleep(60)
threading.Thread(target=send, daemon=True).start()
wait()
"""


def test_a_signal_for_another_thread_ends_it() -> None:
    subprocess.run([sys.executable, "-c", TO_ANOTHER_THREAD], cwd=ROOT, check=True, timeout=30)


def test_an_error_tells_the_page_no_path(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(*_: object) -> None:
        raise StudyError("weights file /home/secret/model.weights.h5 does not exist; correct the path.")

    monkeypatch.setattr(command, "seen", seen)
    page = words(command.answer(tmp_path / "a.mp4", "a.mp4", tmp_path, work_of("--study", str(study))))
    assert (
        "a.mp4 no score: weights file model.weights.h5 does not exist; correct the path." in page
        and "secret" not in page
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("text.mp4", "no score: not decodable as a video"),
        ("text.jpg", "no score: not decodable as a picture"),
        ("notes.txt", "no score: not a video or picture, by its suffix."),
        ("nobody.mp4", "no score: no usable face in 3 frames: no face found (3)."),
    ],
)
def test_input_without_a_score_gets_a_sentence(study: Path, tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / "clip"
    path = path.with_suffix(Path(name).suffix)
    if name.startswith("nobody"):
        write_clip(path, count=3)
    else:
        path.write_text("not a video\n" * 100)
    (tmp_path / "work").mkdir()
    page = words(command.answer(path, name, tmp_path / "work", work_of("--study", str(study))))
    assert page.startswith(f"{name} {reason}") and str(tmp_path) not in page and "/tmp" not in page, page
