"""Write a trained model as an ONNX file, which ONNX Runtime and other programs run without TensorFlow.

    python -m commands.export models/full/mesonet/1            # one training of this study: mesonet.full.1.onnx
    python -m commands.export Meso4_DF --out detectors/        # a published detector

The file takes crops as uint8 RGB and gives p_fake. It is compared with the Keras model before the command ends.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from facestudy.core.errors import StudyError
from facestudy.prediction import published
from facestudy.prediction.arrays import load_model
from facestudy.prediction.detectors import Detector
from facestudy.sources.user_files import called


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Wrong use is one sentence and has the status 1."""
        self.exit(1, f"export: {message}; see `python -m commands.export --help`.\n")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What is asked for; from the command line by default, and MODEL of the environment where it names none."""
    parser = _Parser(
        "python -m commands.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(one.name for one in published.DETECTORS)
    parser.add_argument("model", nargs="?", help=f"a folder models/<variant>/<model>/<training>, or {names}")
    parser.add_argument("--out", type=Path, help="the file (*.onnx) or a folder for it; default: this folder")
    parser.add_argument("--weights", type=Path, help="a folder with the published weights; nothing is fetched")
    found = parser.parse_args(words)
    found.model = found.model or os.environ.get("MODEL")
    if not found.model:
        parser.error(f"give a model: models/<variant>/<model>/<training>, or {names}")
    return found


def detector_of(name: str, weights: Path | None) -> tuple[Detector, str]:
    """The detector that a name or folder stands for, and its one training."""
    known = [one.name for one in published.DETECTORS]
    detector = load_model(name if name in known else Path.cwd() / name, weights, allow_sample=True)
    if len(detector.trainings) > 1:
        raise StudyError(
            f"{name} has the trainings {', '.join(detector.trainings)}; a file holds one, as in {name.rstrip('/')}/"
            f"{next(iter(detector.trainings))}."
        )
    return detector, next(iter(detector.trainings))


def place_of(out: Path | None, detector: Detector, training: str) -> Path:
    """Where the file goes; a folder is made."""
    name = detector.name if training == "published" else f"{detector.name}.{training}"
    path = out if out is not None and out.suffix.lower() == ".onnx" else (out or Path()) / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def export(wanted: argparse.Namespace) -> None:
    """Do what is asked for, and print a line about it."""
    detector, training = detector_of(wanted.model, wanted.weights)
    path = place_of(wanted.out, detector, training)
    from facestudy.prediction import onnx_file

    difference = onnx_file.write(detector, training, path)
    width, height = detector.plan.size
    print(
        f"export: {called(str(path))}, {path.stat().st_size / 1e6:.1f} MB: uint8 RGB {width}x{height}, the crop "
        f"{detector.plan.name}, to p_fake; within {difference:.0e} of Keras on {onnx_file.PICTURES} drawn pictures."
    )


def main() -> None:
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # not that each network is traced once
    try:
        export(arguments())
    except StudyError as error:
        sys.exit(f"export: {error}")
    except KeyboardInterrupt:
        print("export: interrupted.", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        where = f"{called(error.filename)}: " if error.filename else ""
        sys.exit(f"export: {where}{error.strerror or error}; fix this and run again.")


if __name__ == "__main__":
    main()
