"""Each case hurts a study in one way and says what was wrong afterwards; nothing wrong is an empty list."""

from __future__ import annotations

import functools
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import yaml

from tests.faults.harness import STAGES, Study, differing, fill, gone_within, tmpfs
from tests.pipeline_files import ROOT

Problems = list[str]
VARIANT = ["--variant", "eyes_lower"]
MODEL = ["--model", "mesonet", *VARIANT]
CELL = {"crops": VARIANT, "altered": VARIANT, "train": MODEL, "evaluate": MODEL}
OUTPUT_OF = {
    "videos": ["data/videos", ".cache/videos"],
    "frames": ["data/frames", ".cache/frames"],
    "faces": ["data/faces", ".cache/faces"],
    "duplicates": ["data/duplicates.csv"],
    "split": ["data/split.csv"],
    "crops": ["data/crops/eyes_lower"],
    "altered": ["data/altered/eyes_lower"],
    "train": ["models/eyes_lower/mesonet", ".cache/train"],
    "evaluate": ["metrics/eyes_lower/mesonet.json"],
    "clips": ["data/clip_counts.csv"],
    "compare": ["metrics/results.json"],
    "curves": ["metrics/curves"],
    "robustness": ["metrics/robustness.csv"],
    "shortcuts": ["metrics/shortcuts.csv"],
    "hypotheses": ["metrics/hypotheses.csv"],
    "attribution": ["metrics/attribution.csv"],
    "report": ["metrics/results.md"],
    "page": ["reports/figures"],
    "focus": ["metrics/focus.json"],
}


WORKING = ("videos", "frames", "faces", "duplicates", "crops", "altered", "train", "shortcuts")
"""The stages with worker processes."""
IMPORTS_S = 1.5


class Bench:
    """What the cases share: the pristine project, the outputs of an undisturbed run and its seconds, by stage too."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source, self.folder, self.numbers = source, folder, itertools.count()
        undisturbed = self.study()
        undisturbed.start()
        assert undisturbed.process is not None
        start = now = time.monotonic()
        self.spans = dict.fromkeys(STAGES, 0.0)
        while undisturbed.process.poll() is None:
            before, now = now, time.monotonic()
            name, _ = undisturbed.stage()
            self.spans[name] = self.spans.get(name, 0.0) + now - before
            time.sleep(0.05)
        self.seconds = time.monotonic() - start
        done = undisturbed.finish()
        assert done.code == 0, done.text[-3000:]
        self.expected = undisturbed.outputs()
        shutil.rmtree(undisturbed.folder)

    def study(self, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> Study:
        """A fresh copy of the pristine project."""
        return Study(self.source, folder or self.folder / f"try{next(self.numbers)}", environment or {})

    def recovered(self, study: Study) -> Problems:
        """Run again: it has to end well and leave what an undisturbed run leaves."""
        done = study.run("bash", "-c", "python -m commands.study check && dvc repro")  # what `make run` does
        if done.code:
            return [f"the run after it failed: {done.text.strip().splitlines()[-1:]}"]
        wrong = differing(self.expected, study.outputs())
        return [f"{len(wrong)} files differ, as {wrong[0]}"] if wrong else []


@dataclass(frozen=True)
class Kill:
    """A signal, to whom, and when: so long after a stage began (or its workers), or after the run began."""

    target: str
    sign: signal.Signals
    stage: str | None
    after_s: float


def plan(spans: Mapping[str, float], seconds: float, count: int, seed: int, at_once: int) -> list[Kill]:
    """Random moments over all stages: of stages and workers in turn, of dvc in a stage's imports and anywhere."""
    rng = random.Random(seed)
    kills = []
    for number in range(count):
        turn = number // 3
        target = ("dvc", "stage", "worker")[number % 3]
        sign = rng.choice((signal.SIGKILL, signal.SIGTERM))
        stages = WORKING if target == "worker" else STAGES
        step = max(1, 3 * len(stages) // count)  # a few kills are spread over the stages too
        stage = stages[(turn * step + number % 3 * (step - 1)) % len(stages)]
        if target != "dvc":
            kills.append(Kill(target, sign, stage, rng.uniform(0, at_once * spans[stage])))
        elif turn % 4 < 2:
            kills.append(Kill(target, sign, stage, rng.uniform(0, IMPORTS_S)))
        else:
            kills.append(Kill(target, sign, None, rng.uniform(0.5, at_once * seconds)))
    return kills


def one_kill(bench: Bench, kill: Kill) -> tuple[str, str, Problems]:
    """A signal at a moment; the next run begins at once, whoever is still at work."""
    study = bench.study()
    study.start()
    if kill.stage is not None:
        study.wait_for(kill.stage, workers=kill.target == "worker")
    time.sleep(kill.after_s)
    assert study.process is not None
    if study.process.poll() is not None:  # it had ended: nothing was hurt
        shutil.rmtree(study.folder)
        return one_kill(bench, replace(kill, after_s=kill.after_s / 2))
    reached, stage = study.hurt(kill.target, kill.sign)
    if reached == "dvc":
        study.process.wait(60)
    else:
        study.finish()
    problems = bench.recovered(study)
    problems += [f"still at work: {line}" for line in gone_within(study, 10)]
    shutil.rmtree(study.folder, ignore_errors=True)
    return reached, stage, problems


def kills(bench: Bench, count: int, seed: int, at_once: int) -> Iterator[tuple[str, Problems]]:
    """So many signals to dvc, a stage or a worker over all stages of a run, in so many studies at once."""
    planned = plan(bench.spans, bench.seconds, count, seed, at_once)
    hit: Counter[str] = Counter()
    with ThreadPoolExecutor(at_once) as pool:
        found = pool.map(functools.partial(one_kill, bench), planned)
        for kill, (reached, stage, problems) in zip(planned, found, strict=True):
            hit[stage] += 1
            yield f"{kill.sign.name} to {reached}", [f"in {stage}: {text}" for text in problems]
    print("hit while it ran:", ", ".join(f"{stage} {hit[stage]}" for stage in sorted(hit)), flush=True)


def ctrl_c(bench: Bench, seed: int) -> Iterator[tuple[str, Problems]]:
    """Ctrl-C, also while a stage imports, leaves no process behind, and no traceback of ours."""
    rng = random.Random(seed)
    for stage in (None, None, None, None, "faces", "train", "compare"):
        study, after_s = bench.study(), rng.uniform(2, bench.seconds)
        study.start()
        if stage is not None:
            study.wait_for(stage, workers=False)
            after_s = rng.uniform(0, IMPORTS_S)
        time.sleep(after_s)
        study.hurt("all", signal.SIGINT)
        done = study.finish()
        problems = [f"still at work: {line}" for line in gone_within(study, 10)]
        if done.code == 0:
            problems.append("it took no notice")
        if "/stages/" in done.text and "Traceback" in done.text:
            problems.append("a traceback was shown")
        problems += bench.recovered(study)
        shutil.rmtree(study.folder, ignore_errors=True)
        yield "Ctrl-C", [f"Ctrl-C {after_s:.1f} s after {stage or 'the start'}: {text}" for text in problems]


def disk_full(bench: Bench) -> Iterator[tuple[str, Problems]]:
    """Each stage on a full disk, and on one that fills up half-way: one sentence, nothing half-written; with room
    again all is as ever."""
    with tmpfs(bench.folder / "disk", 700) as disk:
        study = bench.study(disk / "study")
        done = study.run()
        assert done.code == 0, done.text[-2000:]
        for name in STAGES:
            size = written(study.folder / OUTPUT_OF[name][0])
            for leave_kb in (0, size // 2048) if size > WORTH_HALVING else (0,):
                yield "disk full", [f"{name}, {leave_kb} kB left: {text}" for text in one_full_disk(
                    bench, study, disk, name, leave_kb, size
                )]  # fmt: skip


WORTH_HALVING = 100_000


def written(output: Path) -> int:
    """Bytes of an output; what the work cache has of it are links."""
    return sum(file.stat().st_size for file in [output, *output.rglob("*")] if file.is_file())


def one_full_disk(bench: Bench, study: Study, disk: Path, name: str, leave_kb: int, size: int) -> Problems:
    """One stage runs while only so much room is left; size: bytes that it writes."""
    for path in OUTPUT_OF[name]:
        whole = study.folder / path
        shutil.rmtree(whole) if whole.is_dir() else whole.unlink()
    command = ["python", "-m", f"stages.{name}", *CELL.get(name, [])]
    balloon = fill(disk, leave_kb)
    done = study.run(*command)
    balloon.unlink()
    said = [line for line in done.text.splitlines() if line.startswith(f"{name}:") and "disk" in line]
    room = re.search(r"needs? (?:about )?([\d.]+) MB", said[-1]) if said else None
    wrong = []
    if done.code == 0:
        wrong.append("it ended well on a full disk")
    elif room is None:
        wrong.append(f"no sentence with the room: {done.text.strip().splitlines()[-1:]}")
    elif float(room[1]) < size / 2e6:
        wrong.append(f"it writes {size / 1e6:.1f} MB and says that it needs {room[1]} MB")
    if "Traceback" in done.text:
        wrong.append("a traceback was shown")
    if (study.folder / OUTPUT_OF[name][0]).exists():
        wrong.append("half of its output is there")
    resumed = study.run(*command)
    if resumed.code or differing(bench.expected, study.outputs()):
        wrong.append("with room again it does not come right")
    return wrong


def two_at_once(bench: Bench) -> Iterator[tuple[str, Problems]]:
    """Two `dvc repro` in one folder: one at least ends well, one that fails says why, and the next run is right."""
    study = bench.study()
    other = subprocess.Popen(
        ["dvc", "repro"], cwd=study.folder, env=study.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    first = study.run()
    said, _ = other.communicate(timeout=240)
    problems = [] if first.code == 0 or other.returncode == 0 else ["neither of the two ended well"]
    for code, text in ((first.code, first.text), (other.returncode, said)):
        if code and "lock" not in text:
            problems.append(f"one failed without a word of the other: {text.strip().splitlines()[-1:]}")
    yield "two runs at once", problems + bench.recovered(study)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder as a read-only file system; needs root."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def read_only_caches(bench: Bench) -> Iterator[tuple[str, Problems]]:
    """DVC's cache or the work cache cannot be written: refused in a sentence, recovered when it can."""
    for name in (".dvc/cache", ".cache"):
        study = bench.study()
        (study.folder / name).mkdir(parents=True, exist_ok=True)
        with read_only(study.folder / name):
            done = study.run()
        problems = ["it ended well"] if done.code == 0 else []
        if "Traceback" in done.text or "ead-only" not in done.text:
            problems.append(f"{name}: not said in a sentence: {done.text.strip().splitlines()[-1:]}")
        yield "read-only cache", problems + bench.recovered(study)


def damaged_work_cache(bench: Bench) -> Iterator[tuple[str, Problems]]:
    """Work-cache files truncated or altered: found by their checksums, said, made again."""
    for alter in (lambda data: data[: len(data) // 2], lambda data: data[:-1] + bytes([data[-1] ^ 1])):
        study = bench.study()
        study.run()
        for name in ("videos", "frames", "faces", "train"):
            path = max((study.folder / ".cache" / name).rglob("*.*"), key=lambda path: path.stat().st_size)
            data = path.read_bytes()
            path.unlink()  # not through a hard link to the output
            path.write_bytes(alter(data))
        done = study.run("dvc", "repro", "--force", "train")
        said = done.text.count("made again")
        problems = [] if said == 4 else [f"{said} of 4 damaged entries were reported"]
        yield "work cache damaged", problems + bench.recovered(study)


def altered_output(bench: Bench) -> Iterator[tuple[str, Problems]]:
    """Outputs altered, removed or added to by hand: DVC notices, and so does the stage that reads a picture."""
    for way in ("altered", "removed", "added"):
        study = bench.study()
        study.run()
        hurt = {}
        pictures = [f"data/{name}/*.png" for name in ("frames/*", "faces/*", "crops/*", "altered/*/*")]
        for pattern in (*pictures, "models/*/*/*/*.h5"):
            path = sorted(study.folder.glob(pattern))[0]
            hurt["/".join(pattern.split("/")[:2]).removesuffix("/*")] = path
            path.chmod(0o644)
            if way == "altered":
                data = path.read_bytes()
                path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            elif way == "removed":
                path.unlink()
            else:
                path.with_name(f"extra{path.suffix}").write_bytes(b"extra")
        status = study.run("dvc", "status").text
        problems = [f"dvc status does not notice {name}" for name in hurt if name not in status]
        for reader, name in (("faces", "data/frames"), ("crops", "data/faces"), ("train", "data/crops")):
            done = study.run("python", "-m", f"stages.{reader}", *CELL.get(reader, []))
            noticed = done.code == 1 and f"{reader}:" in done.text and hurt[name].name in done.text
            if noticed != (way != "added"):  # what no table lists is not read
                problems.append(f"{name} {way}, {reader}: {done.text.strip().splitlines()[-1:]}")
        yield f"output {way} by hand", problems + bench.recovered(study)


def turkish(folder: Path) -> dict[str, str]:
    """The environment of a Turkish user, whose capital of i is another letter; the language is made where it lacks.

    Empty when that cannot be done: Debian's package `locales` has what it takes.
    """
    environment = {"LOCPATH": str(folder), "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}
    if shutil.which("localedef") is None:
        return {}
    folder.mkdir()
    subprocess.run(["localedef", "-i", "tr_TR", "-f", "UTF-8", str(folder / "tr_TR.UTF-8")], capture_output=True)
    check = [sys.executable, "-c", "import locale; locale.setlocale(locale.LC_ALL, '')"]
    return environment if subprocess.run(check, env=os.environ | environment).returncode == 0 else {}


def surroundings(bench: Bench) -> Iterator[tuple[str, Problems]]:
    """Other time zone, language, hash seed, number of workers, clock: the same bytes."""
    cases: list[tuple[str, dict[str, str], int, list[str]]] = [
        ("time zone", {"TZ": "Pacific/Kiritimati"}, 2, []),
        ("hash seed random, 1 worker", {"PYTHONHASHSEED": "random"}, 1, []),
        ("8 workers", {"PYTHONHASHSEED": "77"}, 8, []),
    ]
    language = turkish(bench.folder / "locales")
    if language:
        cases.insert(1, ("language", language, 2, []))
    else:
        print("language is left out: there is no tr_TR.UTF-8 (Debian: locales)", flush=True)
    if shutil.which("faketime"):
        cases.append(("clock set back", {}, 2, ["faketime", "2001-02-03 04:05:06"]))
    else:
        print("clock set back is left out: there is no faketime", flush=True)
    for name, environment, workers, prefix in cases:
        study = bench.study(environment=environment)
        path = study.folder / "params.yaml"
        values = yaml.safe_load(path.read_text())
        values["compute"]["workers"] = workers
        path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
        if prefix:  # half of the run is of today, and the other long before it
            study.run("dvc", "repro", "faces")
        done = study.run(*prefix, "dvc", "repro")
        wrong = differing(bench.expected, study.outputs())
        problems = [f"it failed: {done.text.strip().splitlines()[-1:]}"] if done.code else []
        yield name, problems + ([f"{len(wrong)} files differ, as {wrong[0]}"] if wrong else [])
        shutil.rmtree(study.folder, ignore_errors=True)


def remotes(bench: Bench) -> Iterator[tuple[str, Problems]]:
    """Each kind of remote dies in the middle of a push and a pull, and damages an object: tests/test_remotes.py."""
    report = bench.folder / "remotes.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/test_remotes.py", "-k", "that_was_cut or interrupted_sharing",
         f"--junitxml={report}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    tests = list(ElementTree.parse(report).iter("testcase"))
    assert len(tests) >= 8, done.stdout[-2000:]
    for test in tests:
        wrong = [str(part.get("message"))[:300] for part in test if part.tag in ("failure", "error", "skipped")]
        what = "cut off" if "that_was_cut" in test.attrib["name"] else "damaged, cut off"
        yield f"remote {what}", [f"{test.attrib['name']}: {text}" for text in wrong]


CASES: dict[str, Callable[[Bench], Iterator[tuple[str, Problems]]]] = {
    "disk": disk_full,
    "two": two_at_once,
    "read_only": read_only_caches,
    "work_cache": damaged_work_cache,
    "output": altered_output,
    "surroundings": surroundings,
    "remotes": remotes,
}
"""Those that take no number of tries."""
MOUNTING = ("disk", "read_only")
