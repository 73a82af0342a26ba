"""Attribution: geometry against crops, networks whose preference is known, intervals, the stage."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.special import expit

from facestudy.attribution.areas import altered_area, region_area, shown_places
from facestudy.attribution.cell import Cell, Measured, choose_faces, measure, shuffled
from facestudy.attribution.findings import ATTRIBUTION, MISTAKES
from facestudy.attribution.inputs import Sight, crop_areas
from facestudy.attribution.maps import (
    MIN_CELLS,
    Evidence,
    Probe,
    attribution_maps,
    concentration,
    grad_cam,
    patches,
    replacement,
)
from facestudy.attribution.mistakes import HEIGHT, most_wrong_faces
from facestudy.attribution.overlays import GAP
from facestudy.attribution.results import attribution_table, figure
from facestudy.attribution.settings import ALTERED, AttributionSettings, chosen_regions
from facestudy.core import regions, tables
from facestudy.core.arrays import BoolArray, FloatArray, Picture
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import check
from facestudy.crops import cutting
from facestudy.crops.cutting import CropSettings, Plan, Variant
from facestudy.faces.face import Face
from facestudy.media import archive
from facestudy.media.archive import read_picture
from facestudy.models.layers import p_fake_out, pictures_in
from facestudy.models.networks import build
from facestudy.models.settings import ModelSettings
from facestudy.report.markdown import _attribution_section
from facestudy.runtime.backend import keras, make_deterministic
from stages import attribution as stage
from tests.pipeline_files import ROOT
from tests.project import ENVIRONMENT, deep_update, params, write_params

BOXES = check(dict[str, Box], params()["regions"], "regions")
VARIANTS = check(dict[str, Variant], params()["crop_variants"], "crop_variants")
SIDE = 64
MESO = ModelSettings(network="meso4", input_size=SIDE, epochs=1, learning_rate=0.01)


def plan_of(name: str) -> Plan:
    return cutting.resolve(name, VARIANTS, BOXES, CropSettings(size=(SIDE, SIDE)), 0.03)


# --- where regions lie in a crop -----------------------------------------------------------------


def upright(side: int, label: str = "fake") -> Face:
    """A face whose canonical square is the whole frame, and the frame its cut-out."""
    landmarks = side * regions.CANONICAL_LANDMARKS - 0.5
    return Face(0, 0, side, side, 0.99, landmarks, face_id="f", video_id="v", label=label)


def painted(box: Box, side: int) -> npt.NDArray[np.uint8]:
    """A frame that is white in a box of the canonical face."""
    frame = np.zeros((side, side), np.uint8)
    x0, y0, x1, y1 = (round(value * side) for value in box)
    frame[y0:y1, x0:x1] = 255
    return frame


ALIGNED = [name for name, variant in VARIANTS.items() if variant.face == "aligned"]


@pytest.mark.parametrize("name", ALIGNED)
@pytest.mark.parametrize("region", ["eyes", "lower_face", "left_cheek", "forehead"])
def test_a_region_is_where_its_pixels_are_in_the_crop(name: str, region: str) -> None:
    """The crop itself is the oracle: only the region is white in the cut-out."""
    plan = plan_of(name)
    frame = np.repeat(painted(BOXES[region], 400)[..., None], 3, axis=2)
    white = cutting.crop(frame, upright(400), plan, (0, 0, 0))[..., 0] >= 128
    found = region_area(shown_places(plan), BOXES[region])
    assert (white != found).sum() <= 0.1 * max(found.sum(), 40)  # rows of pixels on the edge of the box
    assert (white != found).mean() < 0.04


@pytest.mark.parametrize("name", ["full", "eyes_lower", "eyes_lower_mask", "complement"])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_altered_part_is_where_its_pixels_are_in_the_crop(name: str, scale: float) -> None:
    side, plan = 300, plan_of(name)
    box = (0.25, 0.35, 0.6, 0.8)
    frame = np.repeat(painted(box, side)[..., None], 3, axis=2)
    white = cutting.crop(frame, upright(side), plan, (0, 0, 0))[..., 0] >= 128
    found = altered_area(shown_places(plan), upright(side), painted(box, round(scale * side)), scale)
    assert found.any() and (white != found).mean() < 0.03


def test_only_what_a_crop_shows_in_part_is_an_area() -> None:
    names = {name: crop_areas(plan_of(name), BOXES, [])[0] for name in ("full", "eyes_lower", "eyes", "complement")}
    assert set(names["full"]) == set(BOXES) - {"face"}
    assert names["eyes_lower"] == ("eyes", "lower_face", "mouth")
    assert names["eyes"] == ()
    assert not {"eyes", "lower_face", "mouth"} & set(names["complement"])


def test_altered_is_known_of_fakes_with_a_truth_only(tmp_path: Path) -> None:
    mask = painted((0.3, 0.3, 0.7, 0.7), 200)
    np.savez_compressed(tmp_path / "v.npz", mask=np.stack([np.zeros_like(mask), mask]))
    seen = [
        Sight(upright(200, label), 1, 200, 0, tmp_path / "v.npz" if known else None)
        for label, known in (("fake", True), ("real", True), ("fake", False))
    ]
    names, areas, shown = crop_areas(plan_of("full"), {}, seen)
    assert names == (ALTERED,)
    assert (areas[0].sum(axis=(1, 2)) > 0).tolist() == [True, False, False]
    assert areas[0, 0].sum() / shown.sum() == pytest.approx(0.16 / (0.84 * 0.92), rel=0.05)
    assert crop_areas(plan_of("full"), {}, seen[1:])[0] == ()
    (tmp_path / "v.npz").write_bytes(b"no masks")
    with pytest.raises(StudyError, match=r"v\.npz has no mask of frame 1"):
        crop_areas(plan_of("full"), {}, seen)


def test_a_turned_frame_has_a_turned_mask(tmp_path: Path) -> None:
    upper = painted((0.0, 0.0, 1.0, 0.5), 200)
    np.savez_compressed(tmp_path / "v.npz", mask=np.rot90(upper)[None])  # the clip lies on its left side
    _, areas, _ = crop_areas(plan_of("full"), {}, [Sight(upright(200), 0, 200, 90, tmp_path / "v.npz")])
    assert areas[0, 0, : SIDE // 3].all() and not areas[0, 0, -SIDE // 3 :].any()


# --- networks whose preference is known ------------------------------------------------------------


def colour_network() -> keras.Model:
    """Red speaks for fake, blue for real, and grey for nothing."""
    pictures, x = pictures_in(SIDE, "unit")
    x = keras.layers.Conv2D(2, 1, activation="relu", use_bias=False, name="colours")(x)
    model = keras.Model(pictures, p_fake_out(keras.layers.GlobalAveragePooling2D()(x)), name="colour")
    model.get_layer("colours").set_weights([np.array([[[[1, -1], [-1, -1], [-1, 1]]]], np.float32)])
    model.get_layer("logit").set_weights([np.array([[50], [-50]], np.float32), np.zeros(1, np.float32)])
    return model


def coloured(area: BoolArray, fake: BoolArray, seed: int = 1) -> Picture:
    """Grey noise with the area red in fakes and blue in reals."""
    grey = np.random.default_rng(seed).integers(100, 140, (len(fake), SIDE, SIDE, 1))
    pictures = np.repeat(grey, 3, axis=3)
    for one, is_fake in zip(pictures, fake, strict=True):
        one[area] = (220, 20, 20) if is_fake else (20, 20, 220)
    return pictures.astype(np.uint8)


AREA = np.zeros((SIDE, SIDE), bool)
AREA[8:24, 16:48] = True  # whole patches
REST = np.roll(AREA, 32, axis=0)
SHOWN = np.ones((SIDE, SIDE), bool)
FAKE = np.array([True, False, True, False])
SIGN = np.where(FAKE, 1.0, -1.0)


@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_both_methods_point_to_the_region_that_decides(fill: Any) -> None:
    probe, pictures = Probe(colour_network()), coloured(AREA, FAKE)
    assert probe.layer == "colours"
    evidence = Evidence(probe, pictures, SHOWN, replacement(pictures, SHOWN, fill), SIGN, probe.logits(pictures))
    assert ((evidence.before > 0) == FAKE).all()
    maps = attribution_maps(evidence)
    assert set(maps) == {"occlusion", "grad_cam"}
    areas = np.repeat(np.stack([AREA, REST])[:, None], len(FAKE), axis=1)
    for method, one in maps.items():
        found = concentration(one, areas, SHOWN)
        assert found[0] == pytest.approx(1 / AREA.mean(), rel=0.15 if fill == "blur" else 1e-6), method
        assert found[1] == pytest.approx(0, abs=0.15 if fill == "blur" else 1e-9), method


def test_evidence_for_the_other_class_does_not_count() -> None:
    probe, pictures = Probe(colour_network()), coloured(AREA, FAKE)
    filled = replacement(pictures, SHOWN, "mean")
    maps = attribution_maps(Evidence(probe, pictures, SHOWN, filled, -SIGN, probe.logits(pictures)))
    assert all(not one.any() for one in maps.values())
    areas = np.repeat(AREA[None, None], len(FAKE), axis=1)
    assert np.isnan(concentration(maps["grad_cam"], areas, SHOWN)).all()


def test_what_a_crop_does_not_show_is_never_hidden() -> None:
    probe, pictures = Probe(colour_network()), coloured(AREA, FAKE)
    shown = ~AREA
    filled = replacement(pictures, shown, "mean")
    maps = attribution_maps(Evidence(probe, pictures, shown, filled, SIGN, probe.logits(pictures)))
    assert not maps["occlusion"].any()


def test_grad_cam_by_hand() -> None:
    """Equations 1 and 2 of the paper, with the derivative of pooling and dense layer written out."""
    model, pictures = colour_network(), coloured(AREA, FAKE)
    weights = np.array([[1.5], [-0.5]], np.float32)
    model.get_layer("logit").set_weights([weights, np.zeros(1, np.float32)])
    scaled = pictures / 255
    red, blue = (np.maximum(scaled @ np.array(kernel), 0) for kernel in ([1, -1, -1], [-1, -1, 1]))
    expected = np.maximum(SIGN[:, None, None] * (1.5 * red - 0.5 * blue) / SIDE**2, 0)
    assert np.allclose(grad_cam(Probe(model), pictures, SIGN), expected, atol=1e-7)


@pytest.mark.parametrize(("network", "size"), [("meso4", 64), ("mesoinception4", 64), ("vgg19", 64), ("resnet50", 64)])
def test_every_network_has_a_layer_that_tells_regions_apart(network: str, size: int) -> None:
    width = 1.0 if network.startswith("meso") else 1 / 16
    model = build(ModelSettings(network=network, input_size=size, epochs=1, learning_rate=0.01, width=width))
    probe = Probe(model)
    rows, columns = model.get_layer(probe.layer).output.shape[1:3]
    assert rows == columns == 8 >= MIN_CELLS
    pictures = np.random.default_rng(1).integers(0, 256, (3, 48, 40, 3), np.uint8)
    assert grad_cam(probe, pictures, np.ones(3)).shape == (3, 48, 40)
    assert expit(probe.logits(pictures)) == pytest.approx(np.asarray(model(pictures))[:, 0], abs=1e-6)


# --- a cell ----------------------------------------------------------------------------------------


def write_weights(folder: Path, seeds: tuple[int, ...], settings: ModelSettings = MESO) -> tuple[Path, ...]:
    """Networks with random weights in the place of trained ones."""
    paths = []
    for seed in seeds:
        path = folder / str(seed) / "model.weights.h5"
        path.parent.mkdir(parents=True)
        make_deterministic(seed)
        build(settings).save_weights(path)
        paths.append(path)
    return tuple(paths)


def random_cell(folder: Path, seeds: tuple[int, ...], faces: int = 16) -> Cell:
    """Networks with random weights on noise, and the regions of a full face."""
    weights = write_weights(folder, seeds)
    pictures = np.random.default_rng(1).integers(0, 256, (faces, SIDE, SIDE, 3), np.uint8)
    stored = []
    for seed in seeds:
        make_deterministic(seed)
        stored.append(expit(Probe(build(MESO)).logits(pictures)))
    plan = plan_of("full")
    chosen = {name: BOXES[name] for name in ("eyes", "nose", "lower_face", "forehead")}
    names, areas, shown = crop_areas(plan, chosen, [Sight(upright(SIDE), 0, SIDE, 0, None)] * faces)
    wrong = pd.DataFrame([("a", "fake"), ("b", "real"), ("c", "real")], columns=["face_id", "label"])
    return Cell(
        "mesonet", "full", MESO, weights, tuple(seed + 100 for seed in seeds), np.array(stored), pictures,
        np.arange(faces) % 2 == 0, np.arange(faces) // 2, shown, names, areas, wrong, pictures[:3],
    )  # fmt: skip


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cell, Measured]:
    cell = random_cell(tmp_path_factory.mktemp("models"), (1, 2, 3, 4))
    return cell, measure(cell, "mean")


def test_random_weights_have_no_preference(random: tuple[Cell, Measured]) -> None:
    cell, measured = random
    table = attribution_table([(cell, measured)])
    assert len(table) == 2 * 4 and (table["finding"] == "none").all()
    # Hidden patches on the edge of the crop reach fewer features, so the middle has a little more than its share.
    assert (table["value_low"] < 1.1).all() and (table["value_high"] > 0.9).all()
    assert table["value"].between(0.6, 1.4).all()
    assert (table["trainings"] == 4).all() and (table["faces"] == 16).all()


def test_every_training_has_random_weights_of_its_own(random: tuple[Cell, Measured]) -> None:
    _, measured = random
    for method in ("occlusion", "grad_cam"):
        trained, others = measured.trained[method], measured.random[method]
        assert trained.shape == others.shape == (4, 4, 16)
        assert not np.allclose(trained, others, equal_nan=True)
        assert not np.allclose(others[0], others[1], equal_nan=True)


def test_random_weights_are_the_trained_ones_in_another_order() -> None:
    weights = [np.arange(12, dtype=np.float32).reshape(3, 4), np.arange(50, 80, dtype=np.float32)]
    found = shuffled(weights, seed=1)
    assert all((np.sort(one.ravel()) == old.ravel()).all() for one, old in zip(found, weights, strict=True))
    assert all(one.shape == old.shape and (one != old).any() for one, old in zip(found, weights, strict=True))
    assert all((one == again).all() for one, again in zip(found, shuffled(weights, seed=1), strict=True))
    assert any((one != other).any() for one, other in zip(found, shuffled(weights, seed=2), strict=True))


def test_weights_or_crops_of_another_run_are_refused(tmp_path: Path) -> None:
    cell = random_cell(tmp_path, (1,), faces=4)
    other = Cell(**{**vars(cell), "pictures": 255 - cell.pictures})
    with pytest.raises(StudyError, match="not of the same run"):
        measure(other, "mean")
    lost = Cell(**{**vars(cell), "weights": (tmp_path / "9/model.weights.h5",)})
    with pytest.raises(StudyError, match=r"9/model\.weights\.h5 is missing.*dvc pull"):
        measure(lost, "mean")


def test_maps_of_wrong_faces_are_of_the_wrong_class(random: tuple[Cell, Measured]) -> None:
    """The mean over the trainings of what `attribution_maps` computes for one network and the other class."""
    cell, measured = random
    pictures, sign = cell.wrong_pictures, np.array([-1.0, 1.0, 1.0])  # fake, real, real
    filled, expected = replacement(pictures, cell.shown, "mean"), []
    for seed in (1, 2, 3, 4):
        make_deterministic(seed)
        probe = Probe(build(MESO))
        evidence = Evidence(probe, pictures, cell.shown, filled, sign, probe.logits(pictures))
        expected.append(attribution_maps(evidence)["occlusion"])
    np.testing.assert_allclose(measured.wrong, np.mean(expected, axis=0), atol=1e-6)
    assert measured.wrong.any(axis=(1, 2)).all()


def test_a_cell_without_wrong_faces_is_measured(tmp_path: Path) -> None:
    cell = random_cell(tmp_path, (1,), faces=4)
    right = Cell(**{**vars(cell), "wrong": cell.wrong[:0], "wrong_pictures": cell.wrong_pictures[:0]})
    assert measure(right, "mean").wrong.shape == (0, SIDE, SIDE)


def test_the_most_wrong_faces_are_of_different_videos() -> None:
    rng = np.random.default_rng(5)
    rows = [
        {"face_id": f"{video}_{n}", "video_id": video, "label": label, "subset": subset}
        for label, subset in (("real", "test"), ("fake", "test"), ("fake", "train"))
        for video in (f"{label}{subset}{i}" for i in range(6))
        for n in range(3)
    ]
    trainings = [pd.DataFrame(rows).assign(p_fake=rng.random(len(rows))) for _ in range(3)]
    chosen = most_wrong_faces(trainings, 3)
    mean = pd.DataFrame(rows).assign(p_fake=np.mean([table["p_fake"] for table in trainings], axis=0))
    for label, worst, side in (("real", "max", 1), ("fake", "min", -1)):
        of_class = mean[(mean["label"] == label) & (mean["subset"] == "test")]
        per_video = of_class.groupby("video_id")["p_fake"].agg(worst)
        expected = per_video[side * (per_video - 0.5) > 0].sort_values(ascending=side < 0)[:3]
        found = chosen[chosen["label"] == label]
        assert found["video_id"].tolist() == expected.index.tolist()
        np.testing.assert_allclose(found["p_fake"], expected)


def test_faces_are_of_as_many_groups_as_possible() -> None:
    rows = [
        {"face_id": f"{group}_{label}_{n}", "group": group, "label": label, "subset": subset}
        for group, subset in (("a", "test"), ("b", "test"), ("c", "test"), ("d", "validation"))
        for label in tables.LABELS
        for n in range(3)
    ]
    table = pd.DataFrame(rows).sample(frac=1, random_state=1)
    chosen = choose_faces(table, 4)
    assert chosen["label"].value_counts().to_dict() == {"real": 4, "fake": 4}
    assert chosen.groupby("label")["group"].nunique().to_dict() == {"real": 3, "fake": 3}
    assert chosen["face_id"].is_monotonic_increasing
    assert len(choose_faces(table, 100)) == 18


# --- figures ---------------------------------------------------------------------------------------


def made_up(rng: np.random.Generator, mean: float, trainings: int = 5, groups: int = 25) -> FloatArray:
    """Two faces a group; trainings, groups and faces vary."""
    return np.asarray(
        mean
        + rng.normal(0, 0.1, (trainings, 1))
        + np.repeat(rng.normal(0, 0.3, groups), 2)
        + rng.normal(0, 0.2, (trainings, 2 * groups))
    )


GROUP = np.repeat(np.arange(25), 2)


def test_intervals_contain_the_truth() -> None:
    rng = np.random.default_rng(1)
    found = [figure(made_up(rng, 1.3), GROUP, (0, 4)) for _ in range(300)]
    assert 0.92 <= np.mean([one.low <= 1.3 <= one.high for one in found]) <= 0.995
    # The p-value and the interval agree on 0.
    found = [figure(made_up(rng, 0.15), GROUP, (-4, 4)) for _ in range(100)]
    excluded = np.array([one.low > 0 or one.high < 0 for one in found])
    assert 10 < excluded.sum() < 90
    assert (excluded == (np.array([one.p for one in found]) < 0.05)).all()


def test_figures_without_enough_values() -> None:
    values = np.array([[1.0, np.nan, 3.0, 5.0]])
    one = figure(values, np.array([0, 0, 1, 2]), (0, 10))
    assert one.value == 3 and one.low < 3 < one.high and np.isnan(one.p)  # one training
    assert np.isnan(figure(values, np.zeros(4, int), (0, 10)).low)  # one group
    assert np.isnan(figure(values * np.nan, np.array([0, 0, 1, 2]), (0, 10)).value)


def test_few_groups_with_values_are_not_many() -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(400):
        values = made_up(rng, 0.0, trainings=3)
        values[:, GROUP > 1] = np.nan
        found.append(figure(values, GROUP, (-4, 4)))
    assert np.mean([one.p < 0.05 for one in found]) <= 0.07
    few = values[:, GROUP <= 1]
    assert figure(few, GROUP[GROUP <= 1], (-4, 4)) == found[-1]


def made_up_cell(
    values: dict[str, tuple[float, float]],
    broken: bool = False,
    trainings: int = 5,
    empty: tuple[str, int] | None = None,
) -> pd.DataFrame:
    """The table of a cell from the means of trained models and of random weights, each region an eighth of the crop.

    `empty` names a region and a training that has no value there.
    """
    rng, faces = np.random.default_rng(2), len(GROUP)
    areas = np.zeros((len(values), faces, 8, 8), bool)
    for number in range(len(values)):
        areas[number, :, number] = True
    sides = [np.stack([made_up(rng, pair[side], trainings) for pair in values.values()], axis=1) for side in (0, 1)]
    if empty is not None:
        sides[0][empty[1], list(values).index(empty[0])] = np.nan
    cell = Cell(
        "mesonet", "full", MESO, (), tuple(range(trainings)), np.zeros((trainings, faces)),
        np.zeros((faces, 8, 8, 3), np.uint8), np.zeros(faces, bool), GROUP, np.ones((8, 8), bool),
        tuple(values), areas, pd.DataFrame(), np.zeros((0, 8, 8, 3), np.uint8), broken,
    )  # fmt: skip
    measured = Measured({"occlusion": sides[0]}, {"occlusion": sides[1]}, sides[0], np.zeros((0, 8, 8)))
    return attribution_table([(cell, measured)])


def test_findings_follow_the_rule() -> None:
    values = {"eyes": (2.0, 1.0), "nose": (2.0, 2.0), "lower_face": (0.7, 0.2), "forehead": (0.3, 1.0)}
    table = made_up_cell(values).set_index("region")
    assert table["finding"].to_dict() == {
        "eyes": "preferred",
        "nose": "none",  # no more than without training
        "lower_face": "none",  # more than without training, less than its share
        "forehead": "avoided",
    }
    assert (table["area"] == 1 / 8).all()
    assert (table["p_holm"] >= table["p"]).all() and table["p_holm"].max() <= 1
    broken = made_up_cell(values, broken=True)
    assert broken["finding"].eq("broken").all()
    rows = [line.split("|")[5:-1] for line in _attribution_section(broken) if line.startswith("| mesonet")]
    assert [[cell.strip() for cell in row] for row in rows] == [["broken", "", ""]] * len(values)
    unfilled = made_up_cell(values, empty=("nose", 1)).set_index("region")
    assert unfilled.loc["nose", "finding"] == "none" and unfilled.loc["nose", "trainings"] == 4
    assert unfilled.loc["nose", ["p", "p_holm", "value_low"]].isna().all()
    others = unfilled.index != "nose"
    assert (unfilled.loc[others, "finding"] == table.loc[others, "finding"]).all()
    smallest = unfilled.loc[others, ["p", "p_holm"]].min()
    assert smallest["p_holm"] == pytest.approx(len(values) * smallest["p"])  # the family is as large as before
    single = made_up_cell(values, trainings=1)
    assert single["finding"].eq("").all() and single["p"].isna().all() and single["value_low"].notna().all()


# --- settings and the stage ------------------------------------------------------------------------


def test_unknown_regions_are_refused() -> None:
    with pytest.raises(StudyError, match=r"attribution\.regions names 'ear'.*known: face, eyes"):
        chosen_regions(AttributionSettings(regions=["ear"]), BOXES)
    for names, faces in ((["eyes", "eyes"], 0), ([], 1)):
        with pytest.raises(StudyError, match="one or more different"):
            chosen_regions(AttributionSettings(regions=names, faces=faces), BOXES)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What the stages before leave: five people, two variants, two trainings of a network that is random."""
    monkeypatch.chdir(tmp_path)
    values = deep_update(
        params(),
        {"variants": ["full", "eyes_lower"], "seeds": [1, 2], "crops": {"size": [SIDE, SIDE]},
         "compute": {"workers": 1}, "attribution": {"faces": 4}},
    )  # fmt: skip
    values["models"] = {"mesonet": MESO.model_dump()}
    write_params(tmp_path, values)
    rng, side = np.random.default_rng(3), 96
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("videos", "frames", "faces", "crops", "split")}
    pictures: dict[str, list[Picture]] = {name: [] for name in values["variants"]}
    for name in ("videos", "frames", "faces/f", "crops/full", "crops/eyes_lower"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for person in range(5):
        for label in tables.LABELS:
            video, face = f"p{person}_{label}", f"p{person}_{label}_f0"
            mask = painted((0.2, 0.3, 0.8, 0.5), side) * (label == "fake")
            np.savez_compressed(tmp_path / f"data/videos/{video}.npz", mask=mask[None])
            cut_out = rng.integers(0, 256, (side, side, 3), np.uint8)
            record = upright(side, label)
            shared = {"video_id": video, "label": label}
            rows["videos"].append({**shared, "truth_path": f"{video}.npz", "status": "ok"})
            rows["frames"].append(
                {"frame_id": video, "video_id": video, "frame_number": 0, "width": side, "height": side}
            )
            rows["faces"].append({**record.row(), **shared, "face_id": face, "frame_id": video, "rotation": 0})
            rows["split"].append(
                {**shared, "face_id": face, "track_id": video, "group": f"p{person}", "method": "", "subset": "test"}
            )
            for variant, found in pictures.items():
                crop = cutting.crop(cut_out, record, plan_of(variant), (0, 0, 0))
                sha256 = archive.write_picture(tmp_path / f"data/crops/{variant}/{face}.png", crop)
                found.append(crop)
                rows["crops"].append({"variant": variant, "face_id": face, "path": f"{face}.png", "sha256": sha256})
    for name, kind in (("videos", tables.VIDEOS), ("frames", tables.FRAMES), ("faces", tables.FACES)):
        tables.write(tmp_path / f"data/{name}/index.csv", tables.to_dataframe(rows[name], kind), kind)
    for variant, found in pictures.items():
        crops = [row for row in rows["crops"] if row["variant"] == variant]
        tables.write(
            tmp_path / f"data/crops/{variant}/index.csv", tables.to_dataframe(crops, tables.CROPS), tables.CROPS
        )
        write_weights(tmp_path / "models" / variant / "mesonet", (1, 2))
        for seed in (1, 2):
            make_deterministic(seed)
            p_fake = expit(Probe(build(MESO)).logits(np.stack(found)))
            scored = [{**row, "p_fake": p} for row, p in zip(rows["split"], p_fake, strict=True)]
            path = tmp_path / "predictions" / variant / "mesonet" / f"{seed}.csv"
            tables.write(path, tables.to_dataframe(scored, tables.PREDICTIONS), tables.PREDICTIONS)
    yield tmp_path


def test_stage_examines_every_cell(study: Path) -> None:
    said = stage.main()
    table = tables.read(Path("metrics/attribution.csv"), ATTRIBUTION)
    assert said.startswith(f"2 cells, {len(table)} figures; preferred: ")
    shown = table.groupby("variant")["region"].agg(set).to_dict()
    assert shown["eyes_lower"] == {"eyes", "lower_face", ALTERED}
    assert shown["full"] == {*params()["attribution"]["regions"], ALTERED}
    faces = table.groupby("region")["faces"].max()
    assert faces["eyes"] == 8 and faces[ALTERED] == 4  # the fakes
    areas = table.set_index(["variant", "method", "region"])["area"]
    assert areas["full", "occlusion", ALTERED] == pytest.approx(0.6 * 0.2 / (0.84 * 0.92), rel=0.15)
    assert table.loc[table["method"] == "occlusion", "change"].notna().all()


def test_stage_shows_the_faces_that_are_most_wrong(study: Path) -> None:
    stage.main()
    table = tables.read(Path("reports/mistakes/index.csv"), MISTAKES)
    assert len(table)
    assert ((table["p_fake"] < 0.5) == (table["label"] == "fake")).all()
    for row in table.to_dict("records"):
        picture = read_picture(study / "reports/mistakes" / row["path"], row["sha256"])
        assert picture is not None and picture.shape == (HEIGHT, 2 * HEIGHT + GAP, 3)
        crop = read_picture(study / "data/crops" / row["variant"] / f"{row['face_id']}.png")
        assert crop is not None
        np.testing.assert_array_equal(picture[:, :HEIGHT], cv2.resize(crop, (HEIGHT, HEIGHT)))
        overlay = picture[:, -HEIGHT:].astype(int)
        assert (overlay[..., 0] > overlay[..., 2]).any()  # the colour of the map


def test_stage_names_what_is_missing_or_of_another_run(study: Path) -> None:
    (study / "models/full/mesonet/2/model.weights.h5").unlink()
    with pytest.raises(StudyError, match=r"models/full/mesonet/2/model\.weights\.h5 is missing"):
        stage.main()
    (study / "data/crops/full/p0_fake_f0.png").unlink()
    with pytest.raises(StudyError, match=r"p0_fake_f0\.png is missing"):
        stage.main()
    (study / "data/frames/index.csv").write_text(",".join(tables.FRAMES.names()) + "\n")
    with pytest.raises(StudyError, match="of another run"):
        stage.main()


def test_without_faces_the_table_is_empty_and_nothing_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, deep_update(params(), {"attribution": {"faces": 0}}))
    assert "no face examined" in stage.main()
    assert tables.read(Path("metrics/attribution.csv"), ATTRIBUTION).empty
    assert [path.name for path in tmp_path.iterdir() if path.name != "params.yaml"] == ["metrics", "reports"]
    assert tables.read(Path("reports/mistakes/index.csv"), MISTAKES).empty
    code = "import sys, stages.attribution; sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT).returncode == 0


def test_the_default_run_examines_no_face() -> None:
    assert params()["attribution"]["faces"] == 0


def test_patches_cover_what_is_shown_once() -> None:
    shown = np.ones((20, 30), bool)
    shown[:9, :] = False
    found = patches(shown)
    assert (found.sum(axis=0) == shown).all() and found.any(axis=(1, 2)).all()
