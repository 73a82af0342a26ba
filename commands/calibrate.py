"""Known answers: the whole study on samples of other seeds, where the truth is known.

`make calibrate` runs the stages of dvc.yaml in private folders and writes every run to
metrics/calibration.csv, and its verdicts to metrics/known_verdicts.csv. A detector must find an
artefact in eyes and lower face on `full` and `eyes_lower`, and must not on `complement`. On many
independent samples, the interval of the difference between two variants must contain the mean
difference, and must contain 0 where the sample has no artefact. The verdicts must be right for
every place of the artefact. What is planted in a sample, a shortcut or a leak, must be found:
metrics/planted.csv. A run that is finished is kept in .cache/calibrate, so an interrupted
calibration continues where it stopped.

    python -m commands.calibrate --only planted known    # these cases; other rows of the tables stay
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import io
import itertools
import json
import math
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import pandas as pd
import yaml
from pydantic import Field

from commands import planted
from commands.arguments import Parser, status_of
from commands.planted import Planted
from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.settings import Section, check, merge, quoted
from facestudy.runtime import environment
from facestudy.runtime.parallel import ComputeSettings, map_items
from facestudy.runtime.work_cache import WorkCache, code_below, file_sha256, key_of
from stages.stage import WORK_CACHE, output_file, read_params

ROOT = Path(__file__).resolve().parent.parent
OUT = Path("metrics/calibration.csv")
VERDICTS = Path("metrics/known_verdicts.csv")
FOUND = Path("metrics/planted.csv")
LAST_STAGE = "hypotheses"
METRICS = ("accuracy", "auc")
PLACE = "place_"
"""Begins the name of a case of `calibrate.places`."""
PLANTED = "planted"
"""The name of the case `calibrate.planted`."""

WRONG = {
    "eyes": {"cropped_is_worse": {"supported"}, "wrong_regions": {"supported"}},
    "lower_face": {"cropped_is_worse": {"supported"}, "wrong_regions": {"supported"}},
    "eyes_lower": {"cropped_is_worse": {"supported"}, "wrong_regions": {"supported"}},
    "outside_eyes_lower": {"cropped_is_worse": {"contradicted"}, "wrong_regions": {"contradicted"}},
    "none": {
        "cropped_is_worse": {"supported", "contradicted"},
        "wrong_regions": {"supported", "contradicted"},
    },
}
"""By place of the artefact and hypothesis: the verdicts that docs/protocol.md calls wrong."""
RIGHT = {
    "eyes": {"wrong_regions": {"contradicted"}},
    "lower_face": {"wrong_regions": {"contradicted"}},
    "eyes_lower": {"wrong_regions": {"contradicted"}},
    "outside_eyes_lower": {"cropped_is_worse": {"supported"}, "wrong_regions": {"supported"}},
    "none": {"cropped_is_worse": {"undecided"}, "wrong_regions": {"undecided"}},
}
"""The verdicts that a study with enough power must give there."""


class Case(Section):
    """One kind of run: an artefact, what is drawn again, how many trainings, and what differs from params.yaml.

    The runs take seeds of the sample from `first_seed` on; with `vary: split`, seeds of the split of one sample. Each
    run trains with seeds of its own: with common seeds, the same initial weights would be good or bad in every run.
    """

    artefact: str
    vary: Literal["sample", "split"] = "sample"
    first_seed: Annotated[int, Field(ge=0)]
    runs: Annotated[int, Field(ge=1)]
    trainings: Annotated[int, Field(ge=1)]
    variants: Annotated[list[str], Field(min_length=1)]
    override: dict[str, Any]

    @property
    def seeds(self) -> range:
        """The seed of each run."""
        return range(self.first_seed, self.first_seed + self.runs)

    def training_seeds(self, seed: int) -> list[int]:
        """The seeds of the trainings of the run with this seed; no other run of the case has one of them."""
        return [seed * self.trainings + number for number in range(self.trainings)]


class Places(Section):
    """Runs with the artefact in each of several places, as `Case` has them for one.

    `changes` has, by place, the settings that differ there.
    """

    artefacts: Annotated[list[str], Field(min_length=1)]
    first_seed: Annotated[int, Field(ge=0)]
    runs: Annotated[int, Field(ge=1)]
    trainings: Annotated[int, Field(ge=1)]
    variants: Annotated[list[str], Field(min_length=1)]
    override: dict[str, Any]
    changes: dict[str, dict[str, Any]]

    def all_cases(self) -> dict[str, Case]:
        """The case of each place, by its name. Raises StudyError when `changes` has what it must not have."""
        where = "params.yaml: calibrate.places.changes"
        if unknown := sorted(set(self.changes) - set(self.artefacts)):
            raise StudyError(f"{where} has {quoted(unknown[0])}; the places are {', '.join(self.artefacts)}.")
        if any("variants" in changed for changed in self.changes.values()):
            raise StudyError(f"{where} has `variants`; all places have those of calibrate.places.variants.")
        cases = {}
        for artefact in self.artefacts:
            values = self.model_dump(exclude={"artefacts", "changes"})
            merge(values, self.changes.get(artefact, {}), f"{where}.{artefact}")
            cases[PLACE + artefact] = check(Case, {"artefact": artefact, **values}, f"calibrate.places.{artefact}")
        return cases


class CalibrationSettings(Section):
    """Section `calibrate` of params.yaml."""

    model: str
    cases: dict[str, Case]
    places: Places
    planted: Planted

    def all_cases(self) -> dict[str, Case]:
        """The cases by name, those of the places last."""
        return self.cases | self.places.all_cases()


def case_params(params: dict[str, Any], model: str, case: Case, seed: int) -> dict[str, Any]:
    """The settings of one run: params.yaml with the case's seed, artefact, variants and overrides."""
    values = copy.deepcopy(params)
    merge(values, case.override, "params.yaml: calibrate")
    values["source"] = "sample"
    values["sample"] |= {"artefact": case.artefact}
    values[case.vary] |= {"seed": seed}
    values["models"] = {model: values["models"][model]}
    values["variants"] = case.variants
    values["seeds"] = case.training_seeds(seed)
    values["focus"] = case.variants[0]
    values["robustness"] = {}  # no alterations
    values["compute"] = {"backend": "loky", "workers": 1, "scheduler": None}
    values["calibrate"] = {}  # other cases do not matter
    return values


def commands(pipeline: dict[str, Any], params: dict[str, Any]) -> Iterator[list[str]]:
    """The stages of dvc.yaml up to `hypotheses`, each with its arguments, in the order of the file.

    Parameters
    ----------
    pipeline : dict
        What dvc.yaml holds.
    params : dict
        What params.yaml holds; a stage's matrix takes its values from there.

    Yields
    ------
    list of str
        Name of the stage's module below stages/, then its arguments.
    """
    for name, stage in pipeline["stages"].items():
        matrix = {key: list(params[source.strip("${}")]) for key, source in stage.get("matrix", {}).items()}
        for values in itertools.product(*matrix.values()):
            command = stage["cmd"]
            for key, value in zip(matrix, values, strict=True):
                command = command.replace(f"${{item.{key}}}", str(value))
            module, *arguments = shlex.split(command)[2:]
            yield [module.removeprefix("stages."), *arguments]
        if name == LAST_STAGE:
            return


def run_stages(values: dict[str, Any], folder: Path, stages: Iterable[list[str]] | None = None) -> None:
    """Run stages in `folder` with the settings `values`, all in this process.

    `stages` is as `commands` gives it, without it all up to `hypotheses`. Raises StudyError with the words of the stage
    that fails.
    """
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    for stage, *arguments in commands(pipeline, values) if stages is None else stages:
        main = importlib.import_module(f"stages.{stage}").main
        options = dict(zip((name.removeprefix("--") for name in arguments[::2]), arguments[1::2], strict=True))
        with contextlib.chdir(folder):
            try:
                main(**options)
            except StudyError as error:
                raise StudyError(f"{stage} failed: {error}") from None


def run_study(values: dict[str, Any], folder: Path) -> pd.DataFrame:
    """Run the stages in `folder` with `run_stages` and return one row per variant; verdicts are left in `folder`.

    Returns
    -------
    DataFrame
        Columns variant; accuracy and auc with the ends of their intervals; difference_<metric>,
        difference_<metric>_low, _high and p_<metric> against the first variant; counts.
    """
    run_stages(values, folder)
    (model,) = values["models"]
    compared = pd.read_csv(folder / "metrics/comparison.csv")
    rows = []
    for variant in values["variants"]:
        metrics = json.loads((folder / "metrics" / variant / f"{model}.json").read_text())
        row: dict[str, Any] = {"variant": variant}
        for name in METRICS:
            interval = name if f"{name}_low" in metrics else f"{name}_groups"
            row |= {name: metrics[name], f"{name}_low": metrics[f"{interval}_low"]}
            row |= {f"{name}_high": metrics[f"{interval}_high"], f"{name}_seed_sd": metrics[f"{name}_seed_sd"]}
        for name in METRICS:
            found = compared[(compared["variant"] == variant) & (compared["metric"] == name)]
            numbers = found.iloc[0] if len(found) else dict.fromkeys(("difference", "low", "high", "p"), math.nan)
            row |= {f"difference_{name}": numbers["difference"], f"difference_{name}_low": numbers["low"]}
            row |= {f"difference_{name}_high": numbers["high"], f"p_{name}": numbers["p"]}
        rows.append(row | {key: int(metrics[key]) for key in ("test_groups", "test_faces", "seeds")})
    return pd.DataFrame(rows)


def stages_of_a_run() -> list[str]:
    """The names of the stages up to `hypotheses`."""
    names = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    return names[: names.index(LAST_STAGE) + 1]


def code(*modules: str) -> list[object]:
    """What decides the result of a run, apart from its settings: the code below these modules, and what they run in."""
    files = [file_sha256(ROOT / name) for name in ("dvc.yaml", "requirements.txt")]
    return [environment.decisive(), code_below(*modules), files]


def one_run(
    item: tuple[str, int], params: dict[str, Any], settings: CalibrationSettings, cache: Path, code: list[object]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row per variant, and one per verdict, of one run: a case's name and one of its seeds."""
    name, seed = item
    case = settings.all_cases()[name]
    values = case_params(params, settings.model, case, seed)

    def build(entry: Path) -> None:
        folder = Path(tempfile.mkdtemp(prefix="calibrate-"))
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # progress bars
                run_study(values, folder).to_csv(entry / "rows.csv", index=False)
            shutil.copy(folder / "metrics/hypotheses.csv", entry / "verdicts.csv")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    found = WorkCache(cache).entry(key_of(values, code), build)
    rows, verdicts = (pd.read_csv(found / f"{table}.csv") for table in ("rows", "verdicts"))
    verdicts = verdicts.loc[verdicts["verdict"] != "not_tested", ["hypothesis", "verdict", "reason"]]
    for position, (column, value) in enumerate(
        {"case": name, "artefact": case.artefact, "seed": seed, "model": settings.model}.items()
    ):
        for table in (rows, verdicts):
            table.insert(position, column, value)
    return rows, verdicts


def run_planted(params: dict[str, Any], settings: Planted, seed: int, folder: Path) -> pd.DataFrame:
    """Plant each fault in the sample of a seed, and run the stages up to `shortcuts` on its pictures.

    Returns
    -------
    DataFrame
        A row of metrics/planted.csv for each plant.
    """
    values = copy.deepcopy(params)
    merge(values, settings.override, "params.yaml: calibrate.planted")
    values["source"] = "sample"
    values["sample"] |= {"artefact": "none", "seed": seed}
    values["compute"] = {"backend": "loky", "workers": 1, "scheduler": None}
    run_stages(values, folder, [["videos"]])
    clips = folder / "data/videos"
    videos = tables.read(clips / "index.csv", tables.VIDEOS)
    values["source"] = "folder"
    values["folder"] |= {"path": planted.FOLDER, "layout": "real_fake", "table": planted.PEOPLE}
    rows = []
    for plant in settings.plants:
        study = folder / plant
        study.mkdir()
        planted.write_pictures(plant, videos, clips, study / planted.FOLDER)
        run_stages(values, study, [[stage] for stage in planted.STAGES])
        rows.append({"seed": seed, **planted.row(plant, study)})
    return pd.DataFrame(rows)


def one_planted(seed: int, params: dict[str, Any], settings: Planted, cache: Path, code: list[object]) -> pd.DataFrame:
    """The rows of `run_planted`, from the cache where they are there."""
    values = {name: params[name] for name in planted.SECTIONS}

    def build(entry: Path) -> None:
        quiet = contextlib.redirect_stderr(io.StringIO())  # progress bars
        with quiet, tempfile.TemporaryDirectory(prefix="calibrate-", ignore_cleanup_errors=True) as folder:
            run_planted(values, settings, seed, Path(folder)).to_csv(entry / "planted.csv", index=False)

    found = WorkCache(cache).entry(key_of(values, settings.model_dump(), seed, code), build)
    return pd.read_csv(found / "planted.csv", keep_default_na=False)


def summary(table: pd.DataFrame) -> str:
    """For each case and variant: AUC, how many intervals contain .5; differences and how many intervals are right.

    The places have a table of their own, see `places`.
    """
    lines = []
    table = table[~table["case"].str.startswith(PLACE)]
    for (case, variant), rows in table.groupby(["case", "variant"]):
        inside = ((rows["auc_low"] <= 0.5) & (rows["auc_high"] >= 0.5)).sum()
        trainings = rows["seeds"].iloc[0]
        runs = f"{len(rows)} run{'s' if len(rows) > 1 else ''} of {trainings} training{'s' if trainings > 1 else ''}"
        lines.append(
            f"{case} {variant}: {runs}, AUC mean {rows['auc'].mean():.3f}, {rows['auc'].min():.3f} to "
            f"{rows['auc'].max():.3f}; >= .9 in {(rows['auc'] >= 0.9).sum()}; interval contains .5 in {inside}"
        )
    compared = _compared(table)
    for (case, variant), rows in compared[compared["seeds"] > 1].groupby(["case", "variant"]):
        for name in METRICS if len(rows) > 1 else ():
            lines.append(f"{case} {variant}, {name}: {difference_summary(rows, name)}")
    return "\n".join(lines)


def difference_summary(rows: pd.DataFrame, name: str) -> str:
    """The mean difference from the first variant, how many intervals contain it, how many have p < .05."""
    difference = rows[f"difference_{name}"]
    return (
        f"difference mean {difference.mean():+.3f}, sd {difference.std(ddof=1):.3f}; interval contains the mean in "
        f"{held(rows, name)} of {len(rows)}; p < .05 in {significant(rows, name)}"
    )


def _compared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of all variants but the first of their case."""
    return table[table.groupby("case")["variant"].transform("first") != table["variant"]]


def held(rows: pd.DataFrame, name: str) -> int:
    """How many intervals of the difference contain its mean over the rows."""
    mean = rows[f"difference_{name}"].mean()
    return int(((rows[f"difference_{name}_low"] <= mean) & (rows[f"difference_{name}_high"] >= mean)).sum())


def significant(rows: pd.DataFrame, name: str) -> int:
    """How many differences have p < .05."""
    return int((rows[f"p_{name}"] < 0.05).sum())


def repeated(table: pd.DataFrame) -> str:
    """What many small studies with and without an artefact show, in a sentence."""
    compared = _compared(table)
    one, none = (compared[compared["case"] == case] for case in ("repeat", "none"))
    return (
        f"In small studies on {len(one)} other samples, the interval contains the mean difference over all samples in "
        f"{held(one, 'auc')} (AUC) and {held(one, 'accuracy')} (accuracy). On {len(none)} samples without an artefact, "
        f"p < .05 occurs {significant(none, 'auc')} (AUC) and {significant(none, 'accuracy')} (accuracy) times."
    )


def places(table: pd.DataFrame, verdicts: pd.DataFrame) -> str:
    """The mean AUC of each variant and the verdicts, by place of the artefact, as a Markdown table."""
    runs = table[table["case"].str.startswith(PLACE)]
    variants, hypotheses = list(dict.fromkeys(runs["variant"])), list(dict.fromkeys(verdicts["hypothesis"]))
    lines = [
        "| artefact | " + " | ".join([f"`{variant}`" for variant in variants] + hypotheses) + " |",
        "|" + "---|" * (1 + len(variants) + len(hypotheses)),
    ]
    for case, rows in runs.groupby("case", sort=False):
        auc = rows.groupby("variant")["auc"].mean()
        cells = [f"{auc[variant]:.2f}" for variant in variants]
        for hypothesis in hypotheses:
            found = verdicts[(verdicts["case"] == case) & (verdicts["hypothesis"] == hypothesis)]
            counts = found["verdict"].value_counts()
            cells.append(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
        lines.append(f"| `{rows['artefact'].iloc[0]}` | " + " | ".join(cells) + " |")
    wrong, right = judged(verdicts, WRONG), judged(verdicts, RIGHT)
    counts = f"Wrong verdicts: {wrong.sum()} of {len(wrong)}. Verdicts that the artefact calls for: "
    return "\n".join([*lines, "", f"{counts}{right.sum()} of {len(right)}."])


def judged(verdicts: pd.DataFrame, rules: Mapping[str, Mapping[str, Set[str]]]) -> pd.Series:
    """Tell which verdicts are those of WRONG or RIGHT, for the rows of metrics/known_verdicts.csv that have a rule."""
    rows = zip(verdicts["artefact"], verdicts["hypothesis"], verdicts["verdict"], strict=True)
    return pd.Series(
        [found in rules[place][one] for place, one, found in rows if one in rules.get(place, {})], dtype=bool
    )


def sources(table: pd.DataFrame) -> str:
    """How much the difference of AUC varies with what is drawn again, as a Markdown table.

    Each study reports the mean over its trainings. The share of the trainings is computed from the
    spread between the trainings of each study.
    """
    reference = table["variant"] == table.groupby("case")["variant"].transform("first")
    several = table[table["seeds"] > 1]
    cropped, whole = (several[mask[several.index]].set_index(["case", "seed"]) for mask in (~reference, reference))
    share = (whole["auc_seed_sd"] ** 2 + cropped["auc_seed_sd"] ** 2) / cropped["seeds"]

    def row(case: str, what: str) -> str:
        observed = cropped.loc[case, "difference_auc"].std(ddof=1)
        return f"| {what} | {observed:.3f} | {math.sqrt(share[case].mean()):.3f} | {people} |"

    people = "the test people; the training people with `split.repeats`"
    alone = math.sqrt(share["repeat"].mean())
    lines = [
        "| drawn again | standard deviation of the difference of AUC | of which the trainings explain | covered by the "
        "interval |",
        "|---|---|---|---|",
        f"| the {cropped['seeds'].iloc[0]} trainings (seeds) | {alone:.3f} | {alone:.3f} | yes |",
        row("split", "the trainings and the split of the same people"),
        row("repeat", "the trainings, the split and the people"),
        "| the number of cores, workers or threads | 0 | 0 | nothing to cover |",
    ]
    return "\n".join(lines)


def calibrate(names: Sequence[str], params: dict[str, Any], settings: CalibrationSettings, cache: Path) -> str:
    """Run cases of `calibrate.cases` and `calibrate.places`, put their rows into the tables, and return the summary."""
    cases = settings.all_cases()
    items = [(name, seed) for name in names for seed in cases[name].seeds]
    modules = code(*(f"stages.{stage}" for stage in stages_of_a_run()))
    work = functools.partial(one_run, params=params, settings=settings, cache=cache, code=modules)
    found = zip(*map_items(work, items, ComputeSettings(workers=0), "calibrate"), strict=True)
    table, verdicts = (pd.concat(parts, ignore_index=True) for parts in found)
    verdicts = verdicts[verdicts["case"].str.startswith(PLACE)]
    table, verdicts = _with_other_cases(table, OUT, cases), _with_other_cases(verdicts, VERDICTS, cases)
    for path, content in {OUT: table.round(6), VERDICTS: verdicts}.items():
        with output_file(path) as file:
            content.to_csv(file, index=False, lineterminator="\n")
    return f"{summary(table)}\n\n{places(table, verdicts)}"


def _with_other_cases(rows: pd.DataFrame, path: Path, cases: Iterable[str]) -> pd.DataFrame:
    """The rows of the cases that ran, and those that the table in a file has of other ones, in the order of `cases`."""
    order = list(cases)
    if path.exists():
        kept = pd.read_csv(path)
        rows = pd.concat([rows, kept[kept["case"].isin(set(order).difference(rows["case"]))]])
    return rows.sort_values("case", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)


def plant(params: dict[str, Any], settings: Planted, cache: Path) -> str:
    """Run `calibrate.planted`, write its table, and return what was found.

    Raises StudyError when something planted was not found, or something was found where nothing is.
    """
    modules = code(*(f"stages.{stage}" for stage in planted.STAGES), "commands.planted")
    work = functools.partial(one_planted, params=params, settings=settings, cache=cache, code=modules)
    found = list(map_items(work, settings.seeds, ComputeSettings(workers=0), PLANTED))
    table = pd.concat(found).sort_values("planted", key=lambda names: names.map(settings.plants.index), kind="stable")
    with output_file(FOUND) as file:
        table.to_csv(file, index=False, lineterminator="\n")
    missed = table[table["right"] != "yes"]
    if len(missed):
        first = missed.iloc[0]
        raise StudyError(
            f"{len(missed)} of {len(table)} rows of {FOUND} are not right; the first: planted {first['planted']}, seed "
            f"{first['seed']}, must find {quoted(first['must_find'])}, found {quoted(first['found'])}."
        )
    return planted.summary(table)


def run(only: Sequence[str] | None) -> None:
    """Run the named cases, or all."""
    params = read_params()
    settings = check(CalibrationSettings, params["calibrate"], "calibrate")
    known = [*settings.all_cases(), PLANTED]
    names = known if only is None else only
    for name in names:
        if name not in known:
            raise StudyError(f"--only {name}: there is no such case; params.yaml has {', '.join(known)}.")
    cache = (WORK_CACHE / "calibrate").resolve()
    cache.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONPATH"] = str(ROOT)  # for the processes that a stage starts in another folder
    if trained := [name for name in known[:-1] if name in names]:
        print(calibrate(trained, params, settings, cache), end="\n\n")
    if PLANTED in names:
        print(plant(params, settings.planted, cache))


def main() -> NoReturn:
    parser = Parser("calibrate", __doc__)
    parser.add_argument("--only", nargs="+", metavar="CASE", help="run only these cases of section `calibrate`")
    only = parser.parse_args().only
    sys.exit(status_of("calibrate", lambda: run(only), "finished runs are kept, run again to continue"))


if __name__ == "__main__":
    main()
