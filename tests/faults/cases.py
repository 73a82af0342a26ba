"""Each case hurts a study in one way and says what was wrong afterwards; nothing wrong is an empty list."""

from __future__ import annotations

import functools
import itertools
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.faults.harness import STAGES, Study, differing, fill, gone_within, tmpfs

Problems = list[str]
CELL = {"crops": ["--variant", "eyes_lower"], "evaluate": ["--model", "mesonet", "--variant", "eyes_lower"]}
CELL["train"] = [*CELL["evaluate"], "--seed", "1"]
OUTPUT_OF = {
    "videos": ["data/videos", ".cache/videos"],
    "frames": ["data/frames", ".cache/frames"],
    "faces": ["data/faces", ".cache/faces"],
    "duplicates": ["data/duplicates.csv"],
    "split": ["data/split.csv"],
    "crops": ["data/crops/eyes_lower"],
    "train": ["models/eyes_lower/mesonet/1"],
    "evaluate": ["metrics/eyes_lower/mesonet.json"],
    "compare": ["metrics/results.md"],
    "focus": ["metrics/focus"],
}


class Bench:
    """What the cases share: the pristine project, the outputs of an undisturbed run and its seconds."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source, self.folder, self.numbers = source, folder, itertools.count()
        undisturbed = self.study()
        start = time.monotonic()
        done = undisturbed.run()
        self.seconds = time.monotonic() - start
        assert done.code == 0, done.text[-3000:]
        self.expected = undisturbed.outputs()
        shutil.rmtree(undisturbed.folder)

    def study(self, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> Study:
        """A fresh copy of the pristine project."""
        return Study(self.source, folder or self.folder / f"try{next(self.numbers)}", environment or {})

    def mended(self, study: Study) -> Problems:
        """Run again: it has to end well and leave what an undisturbed run leaves."""
        done = study.run("bash", "-c", "python study.py check && dvc repro")  # what `make run` does
        if done.code:
            return [f"the run after it failed: {done.text.strip().splitlines()[-1:]}"]
        wrong = differing(self.expected, study.outputs())
        return [f"{len(wrong)} files differ, as {wrong[0]}"] if wrong else []


def one_kill(bench: Bench, target: str, sign: signal.Signals, after_s: float) -> Problems:
    """A signal at a moment; the next run begins at once, whoever is still at work."""
    study = bench.study()
    study.start()
    time.sleep(after_s)
    assert study.process is not None
    if study.process.poll() is not None:  # it had ended: nothing was hurt
        shutil.rmtree(study.folder)
        return one_kill(bench, target, sign, after_s / 2)
    study.hurt(target, sign)
    if target == "dvc":
        study.process.wait(60)
    else:
        study.finish()
    problems = bench.mended(study)
    problems += [f"still at work: {line}" for line in gone_within(study, 10)]
    shutil.rmtree(study.folder, ignore_errors=True)
    return problems


def kills(bench: Bench, count: int, seed: int, at_once: int) -> Iterator[tuple[str, Problems]]:
    """So many signals to dvc, a stage or a worker at random moments of a run, in so many studies at once."""
    rng = random.Random(seed)
    targets = [("dvc", "stage", "worker")[number % 3] for number in range(count)]
    signs = [(signal.SIGKILL, signal.SIGTERM)[number // 3 % 2] for number in range(count)]
    moments = [rng.uniform(0.5, at_once * bench.seconds) for _ in range(count)]
    with ThreadPoolExecutor(at_once) as pool:
        found = pool.map(functools.partial(one_kill, bench), targets, signs, moments)
        for target, sign, after_s, problems in zip(targets, signs, moments, found, strict=True):
            yield f"{sign.name} to {target}", [f"after {after_s:.1f} s: {text}" for text in problems]


def ctrl_c(bench: Bench, seed: int) -> Iterator[tuple[str, Problems]]:
    """Ctrl-C leaves no process behind, and no traceback of ours."""
    rng = random.Random(seed)
    for _ in range(4):
        study, after_s = bench.study(), rng.uniform(2, bench.seconds)
        study.start()
        time.sleep(after_s)
        study.hurt("all", signal.SIGINT)
        done = study.finish()
        problems = [f"still at work: {line}" for line in gone_within(study, 10)]
        if "/stages/" in done.text and "Traceback" in done.text:
            problems.append("a traceback was shown")
        problems += bench.mended(study)
        shutil.rmtree(study.folder, ignore_errors=True)
        yield "Ctrl-C", [f"Ctrl-C after {after_s:.1f} s: {text}" for text in problems]


def disk_full(bench: Bench) -> Iterator[tuple[str, Problems]]:
    """Each stage on a full disk: one sentence, nothing half-written; with room again all is as ever."""
    with tmpfs(bench.folder / "disk", 700) as disk:
        study = bench.study(disk / "study")
        done = study.run()
        assert done.code == 0, done.text[-2000:]
        for name in STAGES:
            for path in OUTPUT_OF[name]:
                whole = study.folder / path
                shutil.rmtree(whole) if whole.is_dir() else whole.unlink()
            command = ["python", "-m", f"stages.{name}", *CELL.get(name, [])]
            balloon = fill(disk, 0)
            done = study.run(*command)
            balloon.unlink()
            said = [line for line in done.text.splitlines() if line.startswith(f"{name}:") and "disk" in line]
            wrong = []
            if done.code == 0:
                wrong.append("it ended well on a full disk")
            elif not said or "MB" not in said[-1]:
                wrong.append(f"no sentence with the room: {done.text.strip().splitlines()[-1:]}")
            if "Traceback" in done.text:
                wrong.append("a traceback was shown")
            if (study.folder / OUTPUT_OF[name][0]).exists():
                wrong.append("half of its output is there")
            resumed = study.run(*command)
            if resumed.code or differing(bench.expected, study.outputs()):
                wrong.append("with room again it does not come right")
            yield "disk full", [f"{name}: {text}" for text in wrong]


def two_at_once(bench: Bench) -> Iterator[tuple[str, Problems]]:
    """Two `dvc repro` in one folder: what they leave together is right, or the next run makes it so."""
    study = bench.study()
    other = subprocess.Popen(
        ["dvc", "repro"], cwd=study.folder, env=study.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    first = study.run()
    other.communicate(timeout=240)
    problems = [] if first.code == 0 or other.returncode == 0 else ["neither of the two ended well"]
    yield "two runs at once", problems + bench.mended(study)


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
    """DVC's cache or the work cache cannot be written: refused in a sentence, mended when it can."""
    for name in (".dvc/cache", ".cache"):
        study = bench.study()
        (study.folder / name).mkdir(parents=True, exist_ok=True)
        with read_only(study.folder / name):
            done = study.run()
        problems = ["it ended well"] if done.code == 0 else []
        if "Traceback" in done.text or "ead-only" not in done.text:
            problems.append(f"{name}: not said in a sentence: {done.text.strip().splitlines()[-1:]}")
        yield "read-only cache", problems + bench.mended(study)


def damaged_work_cache(bench: Bench) -> Iterator[tuple[str, Problems]]:
    """Work-cache files truncated or altered: found by their checksums, said, made again."""
    for alter in (lambda data: data[: len(data) // 2], lambda data: data[:-1] + bytes([data[-1] ^ 1])):
        study = bench.study()
        study.run()
        for name in ("videos", "frames", "faces"):
            path = max((study.folder / ".cache" / name).rglob("*.*"), key=lambda path: path.stat().st_size)
            data = path.read_bytes()
            path.unlink()  # not through a hard link to the output
            path.write_bytes(alter(data))
        done = study.run("dvc", "repro", "--force", "faces")
        said = done.text.count("made again")
        problems = [] if said == 3 else [f"{said} of 3 damaged entries were told of"]
        yield "work cache damaged", problems + bench.mended(study)


def altered_output(bench: Bench) -> Iterator[tuple[str, Problems]]:
    """Outputs altered, removed or added to by hand: DVC notices and the stages make them again."""
    for way in ("altered", "removed", "added"):
        study = bench.study()
        study.run()
        for pattern in ("data/faces/*/*.png", "data/crops/*/*.png", "models/*/*/*/*.h5"):
            path = sorted(study.folder.glob(pattern))[0]
            path.chmod(0o644)
            if way == "altered":
                data = path.read_bytes()
                path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            elif way == "removed":
                path.unlink()
            else:
                path.with_name(f"extra{path.suffix}").write_bytes(b"extra")
        status = study.run("dvc", "status").text
        missed = [name for name in ("data/faces", "data/crops", "models") if name not in status]
        problems = [f"dvc status does not notice {name}" for name in missed]
        yield f"output {way} by hand", problems + bench.mended(study)


def surroundings(bench: Bench) -> Iterator[tuple[str, Problems]]:
    """Other time zone, language, hash seed, number of workers, clock: the same bytes."""
    cases: list[tuple[str, dict[str, str], int, list[str]]] = [
        ("time zone and language", {"TZ": "Pacific/Kiritimati", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}, 2, []),
        ("hash seed random, 1 worker", {"PYTHONHASHSEED": "random"}, 1, []),
        ("8 workers", {"PYTHONHASHSEED": "77"}, 8, []),
    ]
    if shutil.which("faketime"):
        cases.append(("clock set back", {}, 2, ["faketime", "2001-02-03 04:05:06"]))
    for name, environment, workers, prefix in cases:
        study = bench.study(environment=environment)
        path = study.folder / "params.yaml"
        values = yaml.safe_load(path.read_text())
        values["compute"]["workers"] = workers
        path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
        done = study.run(*prefix, "dvc", "repro")
        wrong = differing(bench.expected, study.outputs())
        problems = [f"it failed: {done.text.strip().splitlines()[-1:]}"] if done.code else []
        yield name, problems + ([f"{len(wrong)} files differ, as {wrong[0]}"] if wrong else [])
        shutil.rmtree(study.folder, ignore_errors=True)


CASES: dict[str, Callable[[Bench], Iterator[tuple[str, Problems]]]] = {
    "disk": disk_full,
    "two": two_at_once,
    "read_only": read_only_caches,
    "work_cache": damaged_work_cache,
    "output": altered_output,
    "surroundings": surroundings,
}
"""Those that take no number of tries."""
MOUNTING = ("disk", "read_only")
