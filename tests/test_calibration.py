"""Known answers: the committed calibration says what it must, and a small run of it still does."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
import yaml

import calibrate
from calibrate import Case, case_params, run_study
from tests.committed import committed
from tests.project import deep_update, params


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(io.StringIO(committed("metrics/calibration.csv")))


def test_every_run_of_the_settings_is_listed(table: pd.DataFrame) -> None:
    cases = yaml.safe_load(committed("params.yaml"))["calibrate"]["cases"]
    wanted = {
        (name, seed, variant) for name, case in cases.items() for seed in case["seeds"] for variant in case["variants"]
    }
    assert set(table[["case", "sample_seed", "variant"]].itertuples(index=False, name=None)) == wanted


def test_an_artefact_in_the_crop_is_found(table: pd.DataFrame) -> None:
    known = table[table["case"] == "known"]
    assert known["sample_seed"].nunique() >= 5
    for variant in ("full", "eyes_lower"):
        aucs = known.loc[known["variant"] == variant, "auc"]
        assert (aucs >= 0.9).sum() >= len(aucs) - 1, variant


def test_an_artefact_outside_the_crop_is_not(table: pd.DataFrame) -> None:
    hidden = table[(table["case"] == "known") & (table["variant"] == "complement")]
    inside = (hidden["auc_low"] <= 0.5) & (hidden["auc_high"] >= 0.5)
    assert inside.sum() >= len(hidden) - 1


def test_nothing_to_find_is_not_found(table: pd.DataFrame) -> None:
    none = table[table["case"] == "none"]
    assert len(none) >= 20
    inside = (none["auc_low"] <= 0.5) & (none["auc_high"] >= 0.5)
    assert inside.mean() >= 0.85
    assert abs(none["auc"].mean() - 0.5) <= 0.02


def small(**changes: object) -> dict[str, object]:
    """The project's settings with a sample of 30 persons and 60 clips of two frames."""
    values = {
        "sample": {"people": 30, "seconds": 0.4, **changes},
        "frames": {"per_video": 2},
        "split": {"test": 0.4, "validation": 0.15},
    }
    return deep_update(params(), values)


def run_small(case: Case, values: dict[str, object], folder: Path) -> dict[str, float]:
    return run_study(case_params(values, "mesonet", case, case.seeds[0]), folder).iloc[0].to_dict()


@pytest.mark.timeout(400)
def test_a_small_run_finds_nothing_where_there_is_nothing(tmp_path: Path) -> None:
    case = Case(artefact="none", seeds=[7], trainings=[1], variants=["full"], override={})
    found = run_small(case, small(), tmp_path)
    assert found["auc_low"] <= 0.5 <= found["auc_high"]
    table = pd.DataFrame([{"case": "none", "variant": "full", **found}])
    assert "interval contains .5 in 1 (100%)" in calibrate.summary(table)


@pytest.mark.timeout(400)
def test_a_small_run_finds_what_is_there(tmp_path: Path) -> None:
    """Little noise, fine compression and long training make up for the few faces."""
    case = Case(
        artefact="eyes_lower", seeds=[7], trainings=[1], variants=["eyes_lower"], override={"models": {"mesonet": {"epochs": 60}}}
    )
    found = run_small(case, small(noise=0.5, quantizer=10), tmp_path)
    assert found["auc_low"] > 0.5
