"""Fit one model to one crop variant and score the validation and test faces: models/, predictions/."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from facestudy import backend, tables
from facestudy.errors import StudyError
from facestudy.model_settings import ModelSettings, TrainSettings
from facestudy.models import build
from facestudy.settings import NAME_PATTERN, check
from facestudy.training import check_classes, fit, load_pictures, predict, subset_faces, write_history
from stages.stage import WORK_CACHE, needs, output_file, output_folder, read_params, run, section

SPLIT = Path("data/split.csv")


def main() -> str:
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("--model", required=True, help="a key of `models` in params.yaml")
    parser.add_argument("--variant", required=True, help="a variant whose crops are made")
    parser.add_argument("--seed", required=True, type=int, help="of weights, order and dropout")
    cell = parser.parse_args()

    params = read_params()
    if cell.model not in params["models"]:
        raise StudyError(f"params.yaml: models has no {cell.model} (it has: {', '.join(params['models'])}).")
    for name in (cell.model, cell.variant):
        if not re.match(NAME_PATTERN, name):
            raise StudyError(f"{name!r} is no name of a model or variant (letters a-z, digits, _ and -).")
    settings = check(ModelSettings, params["models"][cell.model], f"models.{cell.model}")
    common = section(params, "train", TrainSettings)

    crops = Path("data/crops") / cell.variant
    split = tables.read(SPLIT, tables.SPLIT).query("subset != 'unused'").reset_index(drop=True)
    check_classes(split, str(SPLIT))
    index = tables.read(crops / "index.csv", tables.CROPS).set_index("face_id")
    for face_id in split["face_id"]:
        if face_id not in index.index:
            raise StudyError(f"{crops / 'index.csv'} has no crop of the face {face_id} of {SPLIT}; run `dvc repro`.")

    backend.use_threads(common.threads)
    backend.make_deterministic(cell.seed)
    pictures = load_pictures(crops, index.loc[split["face_id"]], WORK_CACHE / "train")
    model = build(settings)
    needs(4 * model.count_params())
    training, validation = (subset_faces(split, subset, pictures) for subset in ("train", "validation"))
    history = fit(model, training, validation, settings, common.select_on, cell.seed)

    scored = [(subset, subset_faces(split, subset, pictures)) for subset in ("validation", "test")]
    predictions = split[split["subset"] != "train"].copy()
    for subset, faces in scored:
        predictions.loc[predictions["subset"] == subset, "p_fake"] = predict(model, faces)
    with output_folder(Path("models") / cell.variant / cell.model / str(cell.seed)) as folder:
        model.save_weights(folder / "model.weights.h5")
        write_history(folder / "history.csv", history)
    with output_file(Path("predictions") / cell.variant / cell.model / f"{cell.seed}.csv") as path:
        tables.write(path, predictions[tables.PREDICTIONS.names()], tables.PREDICTIONS)
    best = next(record for record in history if record.selected)
    return (
        f"{cell.model} on {cell.variant}, seed {cell.seed}: {len(training.rows)} faces trained on for "
        f"{len(history)} epochs, epoch {best.epoch} kept (validation loss {best.validation_loss:.3f}, "
        f"AUC {best.validation_auc:.3f}), {len(predictions)} faces scored."
    )


if __name__ == "__main__":
    run("train", main)
