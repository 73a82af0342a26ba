"""Write a trained model as an ONNX file, which ONNX Runtime and other programs run without TensorFlow.

    facestudy export models/full/mesonet/1            # one training of this study: mesonet.full.1.onnx
    facestudy export Meso4_DF --out detectors/        # a published detector

The file takes crops as uint8 RGB and gives p_fake. It is compared with the Keras model before it gets its name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from commands.arguments import Parser, status_of
from facestudy.core.errors import StudyError
from facestudy.prediction import published
from facestudy.prediction.arrays import load_model
from facestudy.prediction.detectors import Detector
from facestudy.sources.user_files import called


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What is asked for; from the command line by default."""
    parser = Parser("export", __doc__, "facestudy export")
    names = ", ".join(published.names())
    parser.add_argument("model", nargs="?", help=f"a folder models/<variant>/<model>/<training>, or {names}")
    parser.add_argument("--out", type=Path, help="the file (*.onnx) or a folder for it; default: this folder")
    parser.add_argument("--weights", type=Path, help="a folder with the published weights; nothing is fetched")
    found = parser.parse_args(words)
    if not found.model:
        parser.error(f"give a model: models/<variant>/<model>/<training>, or {names}")
    return found


def detector_of(name: str, weights: Path | None) -> tuple[Detector, str]:
    """The detector that a name or folder stands for, and its one training."""
    place = name if name in published.names() else Path.cwd() / name
    detector = load_model(place, weights and Path.cwd() / weights, allow_sample=True)
    if len(detector.trainings) > 1:
        raise StudyError(
            f"{name} has the trainings {', '.join(detector.trainings)}; a file holds one, as in {name.rstrip('/')}/"
            f"{next(iter(detector.trainings))}."
        )
    return detector, next(iter(detector.trainings))


def place_of(out: Path | None, detector: Detector, training: str) -> Path:
    """Where the file goes; a folder is made."""
    name = detector.name if training == "published" else f"{detector.name}.{training}"
    is_file = out is not None and out.suffix.lower() == ".onnx" and not out.is_dir()
    path = out if out is not None and is_file else (out or Path()) / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def export(wanted: argparse.Namespace) -> None:
    """Do what is asked for, and print a line about it."""
    detector, training = detector_of(wanted.model, wanted.weights)
    path = place_of(wanted.out, detector, training)
    from facestudy.prediction import onnx_file

    checked = onnx_file.write(detector, training, path)
    width, height = detector.plan.size
    low, high = checked.p_fake
    print(
        f"export: {called(str(path))}, {path.stat().st_size / 1e6:.1f} MB: uint8 RGB {width}x{height}, the crop "
        f"{detector.plan.name}, to p_fake; at most {checked.difference:.0e} from Keras on {checked.pictures} drawn "
        f"pictures with p_fake from {low:.2g} to {high:.2g}."
    )


def main() -> NoReturn:
    sys.exit(status_of("export", lambda: export(arguments())))


if __name__ == "__main__":
    main()
